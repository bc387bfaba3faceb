//! Values that clients send, parameters and COPY data, as Arrow scalars.

use std::sync::Arc;

use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX, OtherType};
use datafusion::common::ScalarValue;

use super::encode::{EPOCH_DAYS, EPOCH_MICROS};
use super::frontend::utf8;
use super::kept;
use super::text::{self, datetime, number};
use super::types;
use crate::error::{PgError, PgResult};
use crate::session::api::TextSettings;

/// A parameter in the format of this code; `None` is NULL.
///
/// # Errors
/// 22P02 and its relatives for text, 22P03 or 08P01 for binary that is no value of the type.
pub(super) fn parameter(
    ty: &SqlType,
    format: i16,
    value: Option<&[u8]>,
    settings: &TextSettings,
) -> PgResult<ScalarValue> {
    let Some(value) = value else {
        return ScalarValue::try_from(&ty.arrow()).map_err(PgError::internal);
    };
    match format {
        0 => from_text(ty, utf8(value)?, settings),
        1 => from_binary(ty, value),
        code => Err(PgError::new("22023", format!("unsupported format code: {code}"))),
    }
}

/// Reads the text of a value as PostgreSQL's input function of the type does.
///
/// # Errors
/// 22P02, 22007, 22008, 22003, … as the type's text demands.
pub fn from_text(ty: &SqlType, text: &str, settings: &TextSettings) -> PgResult<ScalarValue> {
    Ok(text::read::from_text(ty, text, settings)?)
}

/// Reads the binary form of a value.
///
/// # Errors
/// 22P03 for bytes that are no value of the type, 22021 for text that is not UTF-8.
pub(super) fn from_binary(ty: &SqlType, bytes: &[u8]) -> PgResult<ScalarValue> {
    let wrong = || {
        PgError::new("22P03", format!("incorrect binary data format for type {}", types::name(ty)))
    };
    macro_rules! fixed {
        ($ty:ty) => {
            <$ty>::from_be_bytes(bytes.try_into().map_err(|_| wrong())?)
        };
    }
    Ok(match ty {
        SqlType::Bool => match bytes {
            [byte] => ScalarValue::Boolean(Some(*byte != 0)),
            _ => return Err(wrong()),
        },
        SqlType::Int2 => ScalarValue::Int16(Some(fixed!(i16))),
        SqlType::Int4 => ScalarValue::Int32(Some(fixed!(i32))),
        SqlType::Int8 => ScalarValue::Int64(Some(fixed!(i64))),
        SqlType::Oid => ScalarValue::UInt32(Some(fixed!(u32))),
        SqlType::Float4 => ScalarValue::Float32(Some(fixed!(f32))),
        SqlType::Float8 => ScalarValue::Float64(Some(fixed!(f64))),
        SqlType::Numeric(declared) => {
            let (p, s) = declared.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
            let text = numeric_text(bytes).ok_or_else(wrong)?;
            let value = number::parse_numeric(&text, p, s, declared.is_none())?;
            ScalarValue::Decimal128(Some(value), p, s)
        }
        SqlType::Text | SqlType::Name | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Json => {
            from_text(ty, utf8(bytes)?, &no_settings())?
        }
        SqlType::Bit(_) | SqlType::Varbit(_) => {
            let text = kept::bits_from_binary(bytes).ok_or_else(wrong)?;
            from_text(ty, &text, &no_settings())?
        }
        SqlType::Jsonb | SqlType::Other(OtherType::Jsonpath) => match bytes {
            [1, text @ ..] => from_text(ty, utf8(text)?, &no_settings())?,
            _ => return Err(wrong()),
        },
        SqlType::Other(other) if other.is_character() => {
            from_text(ty, utf8(bytes)?, &no_settings())?
        }
        SqlType::Other(other) => {
            let text = kept::from_binary(*other, bytes, &wrong)?;
            from_text(ty, &text, &no_settings())?
        }
        SqlType::Uuid => {
            let uuid: [u8; 16] = bytes.try_into().map_err(|_| wrong())?;
            ScalarValue::Utf8View(Some(text::to_string(|o| text::write_uuid(o, &uuid))))
        }
        SqlType::Bytea => ScalarValue::BinaryView(Some(bytes.to_vec())),
        SqlType::Date => ScalarValue::Date32(Some(match fixed!(i32) {
            end @ (i32::MAX | i32::MIN) => end,
            day => day.checked_add(EPOCH_DAYS).ok_or_else(wrong)?,
        })),
        SqlType::Time => {
            let micros = fixed!(i64);
            if !(0..=datetime::DAY).contains(&micros) {
                return Err(PgError::new("22008", "time out of range"));
            }
            ScalarValue::Time64Microsecond(Some(micros))
        }
        SqlType::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(timestamp(fixed!(i64))?), None)
        }
        SqlType::Timestamptz => {
            ScalarValue::TimestampMicrosecond(Some(timestamp(fixed!(i64))?), Some(Arc::from("UTC")))
        }
        SqlType::Interval => {
            let [a, b, c, d, e, f, g, h, d1, d2, d3, d4, m1, m2, m3, m4] = bytes else {
                return Err(wrong());
            };
            let micros = i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            let days = i32::from_be_bytes([*d1, *d2, *d3, *d4]);
            text::read::interval_scalar(i32::from_be_bytes([*m1, *m2, *m3, *m4]), days, micros)?
        }
        SqlType::Array(item) => {
            let mut rest = bytes;
            let mut next = || -> PgResult<i32> {
                let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
                rest = tail;
                Ok(i32::from_be_bytes(*head))
            };
            let (dimensions, _nulls, oid) = (next()?, next()?, next()? as u32);
            if oid != types::oid(item) && types::of_oid(oid).as_ref() != Some(item.as_ref()) {
                return Err(PgError::new("42804", "wrong element type"));
            }
            let count = match dimensions {
                0 => 0,
                1 => {
                    let (count, _bound) = (next()?, next()?);
                    usize::try_from(count).map_err(|_| wrong())?
                }
                _ => return Err(PgError::unsupported("an array of arrays")),
            };
            let mut items = Vec::with_capacity(count.min(rest.len() / 4 + 1));
            for _ in 0..count {
                let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(wrong)?;
                let length = i32::from_be_bytes(*head);
                if length == -1 {
                    rest = tail;
                    items.push(ScalarValue::try_from(&item.arrow()).map_err(PgError::internal)?);
                    continue;
                }
                let length = usize::try_from(length).map_err(|_| wrong())?;
                let (value, tail) = tail.split_at_checked(length).ok_or_else(wrong)?;
                rest = tail;
                items.push(from_binary(item, value)?);
            }
            if !rest.is_empty() {
                return Err(wrong());
            }
            text::read::list(item, &items)?
        }
    })
}

/// For types whose text does not depend on the session.
fn no_settings() -> TextSettings {
    TextSettings::default()
}

fn timestamp(since_2000: i64) -> PgResult<i64> {
    match since_2000 {
        end @ (i64::MAX | i64::MIN) => Ok(end),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .ok_or_else(|| PgError::new("22008", "timestamp out of range")),
    }
}

/// The text of a numeric's binary form; `None` if it is none.
fn numeric_text(bytes: &[u8]) -> Option<String> {
    let word = |i: usize| bytes.get(2 * i..2 * i + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let (count, weight, sign, scale) = (word(0)?, word(1)? as i16, word(2)?, word(3)?);
    if bytes.len() != 8 + 2 * usize::from(count) {
        return None;
    }
    let mut text = match sign {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    let group = |at: i32| -> Option<u16> {
        let value = usize::try_from(i32::from(weight) - at)
            .ok()
            .filter(|i| *i < usize::from(count))
            .map_or(Some(0), |i| word(4 + i))?;
        (value < 10_000).then_some(value)
    };
    if weight < 0 {
        text.push('0');
    }
    // From the group of the highest weight down to that of ones.
    for at in (0..=i32::from(weight)).rev() {
        text.push_str(&format!("{:04}", group(at)?));
    }
    let mut fraction = String::new();
    let groups = i32::from(scale).div_euclid(4) + 1;
    for at in 1..=groups {
        fraction.push_str(&format!("{:04}", group(-at)?));
    }
    fraction.truncate(usize::from(scale));
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(&fraction);
    }
    Some(text)
}
