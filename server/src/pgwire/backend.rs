//! What the server sends: messages, written into the connection's output buffer.
//!
//! Messages that are ASCII are those of the crate `pgwire`; what carries names, texts and rows is
//! written here (docs/decisions/messages-with-text.md).

use ::pgwire::messages::Message;
use ::pgwire::messages::copy::{CopyInResponse, CopyOutResponse};
use ::pgwire::messages::data::ParameterDescription;
use ::pgwire::messages::response::{self, CommandComplete, ReadyForQuery};
use ::pgwire::messages::startup::{BackendKeyData, SecretKey};
use bytes::{BufMut, BytesMut};

use super::types;
use crate::error::PgError;
use crate::session::api::{FieldDescription, TransactionStatus};

/// Writes a message of `pgwire`. It refuses those beyond 30,000 bytes of kinds that never get near
/// that; then nothing is written.
pub(super) fn put(out: &mut BytesMut, message: &impl Message) {
    let at = out.len();
    if let Err(error) = message.encode(out) {
        out.truncate(at);
        tracing::error!(%error, "a message was not sent");
    }
}

/// Writes one message: `body` writes what follows the length.
pub(super) fn message(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_i32(0);
    body(out);
    end(out, at);
}

/// Fills in the length at `at`, which counts itself.
pub(super) fn end(out: &mut BytesMut, at: usize) {
    let length = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Writes a string and its zero byte. A zero byte within (only a name from elsewhere could have
/// one) would end it early and shift all that follows, so it is left out.
pub(super) fn cstr(out: &mut BytesMut, text: &str) {
    if text.as_bytes().contains(&0) {
        out.extend(text.bytes().filter(|b| *b != 0));
    } else {
        out.put_slice(text.as_bytes());
    }
    out.put_u8(0);
}

pub(super) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |b| {
        cstr(b, name);
        cstr(b, value);
    });
}

pub(super) fn backend_key(out: &mut BytesMut, process_id: i32, secret: i32) {
    put(out, &BackendKeyData::new(process_id, SecretKey::I32(secret)));
}

/// NegotiateProtocolVersion: the newest minor version that is spoken here, and the options that
/// are not known here.
pub(super) fn negotiate(out: &mut BytesMut, newest_minor: i32, unknown: &[String]) {
    message(out, b'v', |b| {
        b.put_i32((3 << 16) | newest_minor);
        b.put_i32(unknown.len() as i32);
        for option in unknown {
            cstr(b, option);
        }
    });
}

pub(super) fn ready(out: &mut BytesMut, status: TransactionStatus) {
    let status = match status {
        TransactionStatus::Idle => response::TransactionStatus::Idle,
        TransactionStatus::InBlock => response::TransactionStatus::Transaction,
        TransactionStatus::Failed => response::TransactionStatus::Error,
    };
    put(out, &ReadyForQuery::new(status));
}

pub(super) fn complete(out: &mut BytesMut, tag: &str) {
    put(out, &CommandComplete::new(tag.to_owned()));
}

pub(super) fn notification(out: &mut BytesMut, process_id: i32, channel: &str, payload: &str) {
    message(out, b'A', |b| {
        b.put_i32(process_id);
        cstr(b, channel);
        cstr(b, payload);
    });
}

/// A message without a body: ParseComplete `1`, BindComplete `2`, CloseComplete `3`, NoData `n`,
/// EmptyQueryResponse `I`, PortalSuspended `s`, CopyDone `c`.
pub(super) fn bare(out: &mut BytesMut, kind: u8) {
    message(out, kind, |_| {});
}

/// ErrorResponse or, for a notice or warning, NoticeResponse.
pub(super) fn error(out: &mut BytesMut, error: &PgError) {
    use crate::error::Severity::{Error, Fatal};
    let kind = if matches!(error.severity, Error | Fatal) { b'E' } else { b'N' };
    message(out, kind, |b| {
        let mut field = |name: u8, value: &str| {
            b.put_u8(name);
            cstr(b, value);
        };
        field(b'S', error.severity.as_str());
        field(b'V', error.severity.as_str());
        field(b'C', error.code);
        field(b'M', &error.message);
        let position = error.position.map(|p| p.to_string());
        for (name, value) in [
            (b'D', &error.detail),
            (b'H', &error.hint),
            (b'P', &position),
            (b'W', &error.context),
            (b's', &error.schema),
            (b't', &error.table),
            (b'c', &error.column),
            (b'd', &error.data_type),
            (b'n', &error.constraint),
        ] {
            if let Some(value) = value {
                field(name, value);
            }
        }
        b.put_u8(0);
    });
}

/// RowDescription; `format` tells the format code of each column.
pub(super) fn row_description(
    out: &mut BytesMut,
    fields: &[FieldDescription],
    format: impl Fn(usize) -> i16,
) {
    message(out, b'T', |b| {
        b.put_u16(fields.len() as u16);
        for (i, field) in fields.iter().enumerate() {
            cstr(b, &field.name);
            b.put_u32(field.table_oid);
            b.put_i16(field.column);
            b.put_u32(types::oid(&field.ty));
            b.put_i16(types::length(&field.ty));
            b.put_i32(types::modifier(&field.ty));
            b.put_i16(format(i));
        }
    });
}

pub(super) fn parameter_description(out: &mut BytesMut, oids: impl Iterator<Item = u32>) {
    put(out, &ParameterDescription::new(oids.collect()));
}

pub(super) fn copy_in_response(out: &mut BytesMut, binary: bool, columns: usize) {
    let formats = vec![i16::from(binary); columns];
    put(out, &CopyInResponse::new(i8::from(binary), columns as i16, formats));
}

pub(super) fn copy_out_response(out: &mut BytesMut, binary: bool, columns: usize) {
    let formats = vec![i16::from(binary); columns];
    put(out, &CopyOutResponse::new(i8::from(binary), columns as i16, formats));
}
