//! Sends the rows of a result as they are made, some or all of them.

use std::sync::Arc;

use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::cancel::canceled;
use super::encode::RowEncoder;
use super::io::{Flow, Io};
use crate::session::api::{FieldDescription, RowStream, TextSettings};

/// A result that is being sent.
pub(super) struct Cursor {
    pub(super) fields: Arc<[FieldDescription]>,
    formats: Vec<i16>,
    rows: RowStream,
    /// The batch at hand and its next row.
    batch: Option<(RowEncoder, usize)>,
}

/// What [`Cursor::send`] sent.
pub(super) struct Sent {
    pub(super) rows: u64,
    /// Whether the result was at its end.
    pub(super) end: bool,
}

impl Cursor {
    /// `formats`: a code for each column, or none for text throughout.
    pub(super) fn new(fields: Arc<[FieldDescription]>, rows: RowStream, formats: Vec<i16>) -> Self {
        Cursor { fields, formats, rows, batch: None }
    }

    /// Passes over up to `most` rows; gives how many there were.
    pub(super) async fn skip(
        &mut self,
        settings: &TextSettings,
        token: &CancellationToken,
        most: u64,
    ) -> Flow<u64> {
        let mut skipped = 0;
        while skipped < most {
            if let Some((encoder, next)) = &mut self.batch {
                let left = (encoder.rows() - *next) as u64;
                let n = left.min(most - skipped);
                *next += usize::try_from(n).unwrap_or(usize::MAX);
                skipped += n;
                if n == left {
                    self.batch = None;
                }
                continue;
            }
            let batch = tokio::select! {
                biased;
                () = token.cancelled() => return Err(canceled().into()),
                batch = self.rows.next() => batch,
            };
            let Some(batch) = batch else { break };
            let encoder = RowEncoder::new(&self.fields, &self.formats, &batch?, settings)?;
            self.batch = Some((encoder, 0));
        }
        Ok(skipped)
    }

    /// Sends up to `most` DataRow messages. When it has sent as many it does not look whether
    /// there are more.
    pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut Io<S>,
        settings: &TextSettings,
        token: &CancellationToken,
        most: u64,
    ) -> Flow<Sent> {
        let mut sent = 0;
        loop {
            if let Some((encoder, next)) = &mut self.batch {
                while *next < encoder.rows() {
                    if sent == most {
                        return Ok(Sent { rows: sent, end: false });
                    }
                    encoder.data_row(*next, &mut io.out)?;
                    *next += 1;
                    sent += 1;
                    io.relieve().await?;
                }
                self.batch = None;
            }
            if sent == most {
                return Ok(Sent { rows: sent, end: false });
            }
            let batch = tokio::select! {
                biased;
                () = token.cancelled() => return Err(canceled().into()),
                batch = self.rows.next() => batch,
            };
            match batch {
                None => return Ok(Sent { rows: sent, end: true }),
                Some(batch) => {
                    let encoder = RowEncoder::new(&self.fields, &self.formats, &batch?, settings)?;
                    self.batch = Some((encoder, 0));
                }
            }
        }
    }
}
