//! Text to values of a type.

use std::sync::Arc;

use arrow::array::{ListArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use chronos_catalog::schema::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};
use datafusion::common::ScalarValue;

use super::{TextSettings, array, bits, bytea, datetime, internal, interval, json, kept, number};
use crate::error::{Error, Result};

/// Reads the text of a value as PostgreSQL's input function of the type does.
///
/// # Errors
/// 22P02, 22007, 22008, 22003, … as the type's text demands.
pub fn from_text(ty: &SqlType, text: &str, settings: &TextSettings) -> Result<ScalarValue> {
    let text = match ty {
        SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz => {
            &super::words::expand(text, settings)
        }
        _ => text,
    };
    let int = |least, most, name| number::parse_int(text, least, most, name);
    Ok(match ty {
        SqlType::Bool => ScalarValue::Boolean(Some(super::parse_bool(text)?)),
        SqlType::Int2 => {
            let value = int(i16::MIN.into(), i16::MAX.into(), "smallint")?;
            ScalarValue::Int16(Some(value as i16))
        }
        SqlType::Int4 => {
            let value = int(i32::MIN.into(), i32::MAX.into(), "integer")?;
            ScalarValue::Int32(Some(value as i32))
        }
        SqlType::Int8 => ScalarValue::Int64(Some(int(i64::MIN, i64::MAX, "bigint")?)),
        SqlType::Oid => {
            // PostgreSQL takes negative ones for those above the range of an integer.
            let value = int(i32::MIN.into(), u32::MAX.into(), "oid")?;
            ScalarValue::UInt32(Some(value as u32))
        }
        SqlType::Float4 => ScalarValue::Float32(Some(number::parse_float4(text)?)),
        SqlType::Float8 => ScalarValue::Float64(Some(number::parse_float8(text)?)),
        SqlType::Numeric(declared) => {
            let (p, s) = declared.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
            let value = number::parse_numeric(text, p, s, declared.is_none())?;
            ScalarValue::Decimal128(Some(value), p, s)
        }
        SqlType::Text | SqlType::Name => ScalarValue::Utf8View(Some(text.to_owned())),
        SqlType::Other(OtherType::Char) => {
            ScalarValue::Utf8View(Some(text.chars().take(1).collect()))
        }
        SqlType::Other(other) => {
            ScalarValue::Utf8View(Some(kept::canonical(*other, text, settings)?))
        }
        SqlType::Bit(length) => ScalarValue::Utf8View(Some(bits::fixed(text, *length)?)),
        SqlType::Varbit(length) => ScalarValue::Utf8View(Some(bits::varying(text, *length)?)),
        SqlType::Varchar(length) => {
            let fitted = match length {
                Some(n) => fit(text, *n as usize, "character varying")?,
                None => text,
            };
            ScalarValue::Utf8View(Some(fitted.to_owned()))
        }
        SqlType::Char(n) => {
            let n = *n as usize;
            let fitted = fit(text, n, "character")?;
            let pad = n.saturating_sub(fitted.chars().count());
            ScalarValue::Utf8View(Some(format!("{fitted}{}", " ".repeat(pad))))
        }
        SqlType::Uuid => {
            let uuid = super::parse_uuid(text)?;
            ScalarValue::Utf8View(Some(super::to_string(|o| super::write_uuid(o, &uuid))))
        }
        SqlType::Json => {
            json::validate(text)?;
            ScalarValue::Utf8View(Some(text.to_owned()))
        }
        SqlType::Jsonb => ScalarValue::Utf8View(Some(json::canonical(text)?)),
        SqlType::Bytea => ScalarValue::BinaryView(Some(bytea::parse(text)?)),
        SqlType::Date => ScalarValue::Date32(Some(datetime::parse_date(text)?)),
        SqlType::Time => ScalarValue::Time64Microsecond(Some(datetime::parse_time(text)?)),
        SqlType::Timestamp => {
            ScalarValue::TimestampMicrosecond(Some(datetime::parse_timestamp(text)?), None)
        }
        SqlType::Timestamptz => {
            let value = datetime::parse_timestamptz(text, settings.time_zone)?;
            ScalarValue::TimestampMicrosecond(Some(value), Some(Arc::from("UTC")))
        }
        SqlType::Interval => {
            let v = interval::parse(text)?;
            interval_scalar(v.months, v.days, v.micros)?
        }
        SqlType::Array(item) => {
            let items = array::parse(text)?
                .into_iter()
                .map(|value| match value {
                    Some(value) => from_text(item, &value, settings),
                    None => ScalarValue::try_from(&item.arrow()).map_err(internal),
                })
                .collect::<Result<Vec<_>>>()?;
            list(item, &items)?
        }
    })
}

/// Text of at most `length` characters; only blanks beyond it may be cut.
pub(crate) fn fit<'a>(text: &'a str, length: usize, ty: &str) -> Result<&'a str> {
    match text.char_indices().nth(length) {
        None => Ok(text),
        Some((at, _)) if text[at..].bytes().all(|b| b == b' ') => Ok(&text[..at]),
        Some(_) => Err(Error::postgres("22001", format!("value too long for type {ty}({length})"))),
    }
}

/// An interval as a value.
///
/// # Errors
/// 22008 for more than a 64-bit number of nanoseconds.
pub fn interval_scalar(months: i32, days: i32, micros: i64) -> Result<ScalarValue> {
    let nanoseconds = micros
        .checked_mul(1_000)
        .ok_or_else(|| Error::postgres("22008", "interval out of range"))?;
    let value = IntervalMonthDayNano::new(months, days, nanoseconds);
    Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
}

/// An array as a value.
///
/// # Errors
/// XX000 for items of another type.
pub fn list(item: &SqlType, items: &[ScalarValue]) -> Result<ScalarValue> {
    let values = if items.is_empty() {
        new_empty_array(&item.arrow())
    } else {
        ScalarValue::iter_to_array(items.iter().cloned()).map_err(internal)?
    };
    let DataType::List(field) = SqlType::Array(Box::new(item.clone())).arrow() else {
        return Err(internal("an array type that is no list"));
    };
    let offsets = OffsetBuffer::from_lengths([items.len()]);
    let array = ListArray::try_new(field, offsets, values, None).map_err(internal)?;
    Ok(ScalarValue::List(Arc::new(array)))
}
