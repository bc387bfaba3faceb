//! COPY … TO STDOUT.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};

use super::binary::SIGNATURE;
use crate::pgwire::backend;
use crate::pgwire::cancel::canceled;
use crate::pgwire::connection::Connection;
use crate::pgwire::encode::RowEncoder;
use crate::pgwire::io::Flow;
use crate::session::api::{CopyFormat, CopyOptions, Executor, FieldDescription, RowStream};

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    /// Sends rows as COPY data, a message each, and gives the statement's tag.
    pub(in crate::pgwire) async fn copy_out(
        &mut self,
        fields: Arc<[FieldDescription]>,
        mut rows: RowStream,
        options: CopyOptions,
    ) -> Flow<String> {
        let binary = options.format == CopyFormat::Binary;
        backend::copy_out_response(&mut self.io.out, binary, fields.len());
        let settings = self.executor.text_settings();
        let formats = vec![i16::from(binary); fields.len()];
        let mut sent = 0u64;
        // The binary header travels with the first row, where drivers look for it.
        let mut header = BytesMut::new();
        if binary {
            header.put_slice(SIGNATURE);
            header.put_u64(0);
        } else if options.header {
            backend::message(&mut self.io.out, b'd', |out| {
                for (i, field) in fields.iter().enumerate() {
                    if i > 0 {
                        out.put_u8(options.delimiter);
                    }
                    write(out, field.name.as_bytes(), &options, false, fields.len() == 1);
                }
                out.put_u8(b'\n');
            });
        }
        let mut scratch = BytesMut::new();
        loop {
            let batch = tokio::select! {
                biased;
                () = self.token.cancelled() => return Err(canceled().into()),
                batch = rows.next() => batch,
            };
            let Some(batch) = batch else { break };
            let mut encoder = RowEncoder::new(&fields, &formats, &batch?, &settings)?;
            for row in 0..encoder.rows() {
                backend::message(&mut self.io.out, b'd', |out| {
                    out.unsplit(header.split());
                    if binary {
                        encoder.values(row, out);
                    } else {
                        text_row(out, &mut encoder, row, &options, &mut scratch);
                    }
                });
                sent += 1;
                self.io.relieve().await?;
            }
        }
        if binary {
            backend::message(&mut self.io.out, b'd', |out| {
                out.unsplit(header.split());
                out.put_i16(-1);
            });
        }
        backend::bare(&mut self.io.out, b'c');
        Ok(format!("COPY {sent}"))
    }
}

fn text_row(
    out: &mut BytesMut,
    encoder: &mut RowEncoder,
    row: usize,
    options: &CopyOptions,
    scratch: &mut BytesMut,
) {
    let columns = encoder.columns();
    let alone = columns.len() == 1;
    for (i, column) in columns.iter_mut().enumerate() {
        if i > 0 {
            out.put_u8(options.delimiter);
        }
        if column.is_null(row) {
            out.put_slice(options.null.as_bytes());
            continue;
        }
        scratch.clear();
        column.write(row, scratch);
        write(out, scratch, options, options.force_quote.contains(&i), alone);
    }
    out.put_u8(b'\n');
}

/// Writes a value. `alone`: it is the only one of its line, so that `\.` would be mistaken.
fn write(out: &mut BytesMut, value: &[u8], options: &CopyOptions, quote: bool, alone: bool) {
    if options.format == CopyFormat::Csv {
        csv(out, value, options, quote, alone);
    } else {
        text(out, value, options.delimiter);
    }
}

fn text(out: &mut BytesMut, value: &[u8], delimiter: u8) {
    let mut plain = 0;
    for (at, byte) in value.iter().enumerate() {
        let escaped = match byte {
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            11 => b'v',
            12 => b'f',
            b'\r' => b'r',
            b'\\' => b'\\',
            byte if *byte == delimiter => delimiter,
            _ => continue,
        };
        out.put_slice(&value[plain..at]);
        out.put_slice(&[b'\\', escaped]);
        plain = at + 1;
    }
    out.put_slice(&value[plain..]);
}

fn csv(out: &mut BytesMut, value: &[u8], options: &CopyOptions, quote: bool, alone: bool) {
    let special =
        |b: &u8| *b == options.delimiter || *b == options.quote || matches!(b, b'\n' | b'\r');
    let quote = quote
        || value == options.null.as_bytes()
        || (alone && value == b"\\.")
        || value.iter().any(special);
    if !quote {
        out.put_slice(value);
        return;
    }
    out.put_u8(options.quote);
    for byte in value {
        if *byte == options.quote || *byte == options.escape {
            out.put_u8(options.escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(options.quote);
}
