//! COPY … FROM STDIN.

use tokio::io::{AsyncRead, AsyncWrite};

use super::decoder::Decoder;
use crate::error::{PgError, Severity};
use crate::pgwire::backend;
use crate::pgwire::cancel::canceled;
use crate::pgwire::connection::Connection;
use crate::pgwire::frontend::Frontend;
use crate::pgwire::io::Flow;
use crate::session::api::{CopyFormat, CopyIn, Executor};

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    /// Takes the client's data and gives the statement's tag. After an error the rest of the
    /// data is on its way still; the connection ignores it.
    pub(in crate::pgwire) async fn copy_in(&mut self, mut sink: Box<dyn CopyIn>) -> Flow<String> {
        let settings = self.executor.text_settings();
        let mut decoder = Decoder::new(sink.relation(), sink.fields(), sink.options(), settings);
        let binary = sink.options().format == CopyFormat::Binary;
        backend::copy_in_response(&mut self.io.out, binary, sink.fields().len());
        self.io.flush().await?;
        loop {
            let message = tokio::select! {
                biased;
                () = self.token.cancelled() => return Err(canceled().into()),
                message = self.io.message() => message?,
            };
            let Some((kind, body)) = message else {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            };
            match Frontend::decode(kind, body)? {
                Frontend::CopyData(data) => {
                    decoder.push(&data)?;
                    while let Some(batch) = decoder.batch(false)? {
                        // The client is read no faster than the rows are taken.
                        sink.rows(batch).await?;
                    }
                }
                Frontend::CopyDone => break,
                Frontend::CopyFail(reason) => {
                    let message = format!("COPY from stdin failed: {reason}");
                    return Err(PgError::new("57014", message).into());
                }
                // Clients may send them without knowing that a COPY began.
                Frontend::Flush | Frontend::Sync => {}
                _ => {
                    let severity = Severity::Error;
                    let message =
                        format!("unexpected message type 0x{kind:02X} during COPY from stdin");
                    return Err(PgError { severity, ..PgError::new("08P01", message) }.into());
                }
            }
        }
        while let Some(batch) = decoder.batch(true)? {
            sink.rows(batch).await?;
        }
        Ok(sink.finish().await?)
    }
}
