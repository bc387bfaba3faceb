//! What the server sends: messages, written into the connection's output buffer.

use bytes::{BufMut, BytesMut};

use super::types;
use crate::error::PgError;
use crate::session::api::{FieldDescription, TransactionStatus};

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
    message(out, b'K', |b| {
        b.put_i32(process_id);
        b.put_i32(secret);
    });
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
    let byte = match status {
        TransactionStatus::Idle => b'I',
        TransactionStatus::InBlock => b'T',
        TransactionStatus::Failed => b'E',
    };
    message(out, b'Z', |b| b.put_u8(byte));
}

pub(super) fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |b| cstr(b, tag));
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

pub(super) fn parameter_description(out: &mut BytesMut, oids: impl ExactSizeIterator<Item = u32>) {
    message(out, b't', |b| {
        b.put_u16(oids.len() as u16);
        for oid in oids {
            b.put_u32(oid);
        }
    });
}

/// CopyInResponse `G` or CopyOutResponse `H`.
pub(super) fn copy_response(out: &mut BytesMut, kind: u8, binary: bool, columns: usize) {
    message(out, kind, |b| {
        b.put_u8(u8::from(binary));
        b.put_u16(columns as u16);
        for _ in 0..columns {
            b.put_i16(i16::from(binary));
        }
    });
}
