//! Values as PostgreSQL writes and reads them as text. Pure functions: what depends on the
//! session's settings takes them as arguments. Writers append bytes; parsers answer the errors
//! that PostgreSQL answers for the same text.

pub mod array;
pub mod bits;
pub mod bytea;
pub mod datetime;
pub mod interval;
pub mod json;
pub mod kept;
pub mod network;
pub mod normalize;
pub mod number;
pub mod range;
pub mod read;
pub mod record;
mod words;
pub mod write;
pub mod zone;

use crate::error::Error;

/// Bytes that text is appended to.
pub type Out = bytes::BytesMut;

/// The settings that change how values are written as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TextSettings {
    /// `TimeZone`
    pub time_zone: chrono_tz::Tz,
    /// `IntervalStyle`: `postgres`, `postgres_verbose`, `sql_standard` or `iso_8601`.
    pub interval_style: String,
    /// `bytea_output`: `hex` or `escape`.
    pub bytea_escape: bool,
    /// `extra_float_digits`
    pub extra_float_digits: i32,
    /// `DateStyle`: only ISO output so far; kept for SHOW.
    pub date_style: String,
    /// The transaction's timestamp in microseconds since 1970, which words such as `now` and
    /// `today` stand for; without it they are refused.
    pub now: Option<i64>,
}

impl Default for TextSettings {
    fn default() -> Self {
        TextSettings {
            time_zone: chrono_tz::Tz::UTC,
            interval_style: "postgres".to_owned(),
            bytea_escape: false,
            extra_float_digits: 1,
            date_style: "ISO, MDY".to_owned(),
            now: None,
        }
    }
}

/// A bug of our own (XX000).
pub(crate) fn internal(what: impl std::fmt::Display) -> Error {
    Error::postgres("XX000", format!("internal error: {what}"))
}

/// 22P02, or 22007 for dates and times: the text is no value of the type.
pub fn invalid(code: &'static str, ty: &str, text: &str) -> Error {
    Error::postgres(code, format!("invalid input syntax for type {ty}: \"{text}\""))
}

/// Reads a boolean: `t`, `true`, `y`, `yes`, `on`, `1` and their opposites, any case, any prefix
/// that is unique, blanks around it.
///
/// # Errors
/// 22P02
pub fn parse_bool(text: &str) -> Result<bool, Error> {
    let word = number::trim(text);
    let is = |full: &str, least: usize| {
        word.len() >= least
            && word.len() <= full.len()
            && full.as_bytes()[..word.len()].eq_ignore_ascii_case(word.as_bytes())
    };
    if is("true", 1) || is("yes", 1) || is("on", 2) || word == "1" {
        Ok(true)
    } else if is("false", 1) || is("no", 1) || is("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid("22P02", "boolean", text))
    }
}

/// Reads a uuid in any of the forms that PostgreSQL takes (braces, hyphens after any group of
/// four digits, upper case) and gives its 16 bytes.
///
/// # Errors
/// 22P02
pub fn parse_uuid(text: &str) -> Result<[u8; 16], Error> {
    let error = || invalid("22P02", "uuid", text);
    let bytes = text.as_bytes();
    let inner = match bytes {
        [b'{', inner @ .., b'}'] => inner,
        [b'{', ..] => return Err(error()),
        other => other,
    };
    let mut uuid = [0u8; 16];
    let mut at = 0;
    for (i, byte) in uuid.iter_mut().enumerate() {
        let pair = inner.get(at..at + 2).ok_or_else(error)?;
        let digit = |b: u8| (b as char).to_digit(16).ok_or_else(error);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        at += 2;
        if i % 2 == 1 && i < 15 && inner.get(at) == Some(&b'-') {
            at += 1;
        }
    }
    if at == inner.len() { Ok(uuid) } else { Err(error()) }
}

/// Writes a uuid in its canonical form.
pub fn write_uuid(out: &mut Out, uuid: &[u8; 16]) {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.extend_from_slice(b"-");
        }
        bytea::hex_byte(out, *byte);
    }
}

/// A writer's text as a string.
pub fn to_string(write: impl FnOnce(&mut Out)) -> String {
    let mut out = Out::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_take_unique_prefixes_only() {
        for (text, value) in
            [("t", true), (" TRUE ", true), ("on", true), ("of", false), ("n", false)]
        {
            assert_eq!(parse_bool(text).unwrap(), value, "{text}");
        }
        for text in ["o", "", "2", "truee"] {
            assert_eq!(parse_bool(text).unwrap_err().sqlstate(), "22P02", "{text}");
        }
    }

    #[test]
    fn a_uuid_is_read_in_every_form_and_written_in_one() {
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            let uuid = parse_uuid(text).unwrap();
            assert_eq!(to_string(|o| write_uuid(o, &uuid)), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        }
        assert!(parse_uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1").is_err());
        assert!(parse_uuid("a-0eebc999c0b4ef8bb6d6bb9bd380a11").is_err());
    }
}
