//! COPY's binary format: a header, rows of values with their lengths, a trailer.

use bytes::{Buf, BytesMut};

use crate::error::{PgError, PgResult};

/// What the data begins with.
pub(super) const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Reads the header off the data; false if it is not all there.
///
/// # Errors
/// 22P04
pub(super) fn header(data: &mut BytesMut) -> PgResult<bool> {
    let known = data.len().min(SIGNATURE.len());
    if data[..known] != SIGNATURE[..known] {
        return Err(PgError::new("22P04", "COPY file signature not recognized"));
    }
    let Some(rest) = data.get(SIGNATURE.len()..SIGNATURE.len() + 8) else { return Ok(false) };
    let mut rest = rest;
    let (flags, extension) = (rest.get_u32(), rest.get_i32());
    if flags & (1 << 16) != 0 {
        return Err(PgError::new("22P04", "invalid COPY file header (WITH OIDS)"));
    }
    if flags >> 16 != 0 {
        return Err(PgError::new("22P04", "unrecognized critical flags in COPY file header"));
    }
    let extension = usize::try_from(extension)
        .map_err(|_| PgError::new("22P04", "invalid COPY file header (wrong length)"))?;
    if data.len() < SIGNATURE.len() + 8 + extension {
        return Ok(false);
    }
    data.advance(SIGNATURE.len() + 8 + extension);
    Ok(true)
}

/// A row at the start of the data.
pub(super) enum Row {
    /// How long it is.
    Data(usize),
    /// The trailer.
    End,
    /// It is not all there.
    Partial,
}

/// Measures the row at the start of the data.
///
/// # Errors
/// 22P04
pub(super) fn measure(data: &[u8], columns: usize) -> PgResult<Row> {
    let Some(count) = data.first_chunk::<2>() else { return Ok(Row::Partial) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Row::End);
    }
    if usize::try_from(count) != Ok(columns) {
        return Err(PgError::new(
            "22P04",
            format!("row field count is {count}, expected {columns}"),
        ));
    }
    let mut at = 2;
    for _ in 0..columns {
        let Some(length) = data.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
            return Ok(Row::Partial);
        };
        at += 4;
        match i32::from_be_bytes(*length) {
            -1 => {}
            length => {
                at += usize::try_from(length)
                    .map_err(|_| PgError::new("22P04", "invalid field size"))?;
            }
        }
        if at > data.len() {
            return Ok(Row::Partial);
        }
    }
    Ok(Row::Data(at))
}

/// Takes the next value off a row that was measured.
pub(super) fn value<'a>(row: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = row.split_first_chunk::<4>()?;
    match usize::try_from(i32::from_be_bytes(*length)) {
        Err(_) => {
            *row = rest;
            None
        }
        Ok(length) => {
            let (value, rest) = rest.split_at_checked(length)?;
            *row = rest;
            Some(value)
        }
    }
}
