//! Columns as text.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};

use bytes::BytesMut;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;

use super::interval::Interval;
use super::zone::ZoneOffset;
use super::{
    TextSettings, array as array_text, bytea, datetime, internal, interval, number, range,
};
use crate::error::{Error, Result};

/// Appends the value of a row, which is not NULL, to a buffer.
pub type Writer = Box<dyn FnMut(usize, &mut BytesMut) + Send>;

/// A writer of an array that is in the Arrow type of its SQL type.
///
/// # Errors
/// XX000 for an array of another type.
pub fn writer(array: &ArrayRef, ty: &SqlType, settings: &TextSettings) -> Result<Writer> {
    let wrong = || wrong_type(array, ty);
    macro_rules! primitive {
        ($arrow:ty, |$out:ident, $value:ident| $body:expr) => {{
            let values = array.as_primitive_opt::<$arrow>().ok_or_else(wrong)?.values().clone();
            Box::new(move |row: usize, $out: &mut BytesMut| {
                let $value = values[row];
                $body
            })
        }};
    }
    Ok(match ty {
        SqlType::Bool => {
            let values = array.as_boolean_opt().ok_or_else(wrong)?.values().clone();
            Box::new(move |row, out| {
                out.extend_from_slice(if values.value(row) { b"t" } else { b"f" });
            })
        }
        SqlType::Int2 => primitive!(Int16Type, |out, v| number::write_int(out, i64::from(v))),
        SqlType::Int4 => primitive!(Int32Type, |out, v| number::write_int(out, i64::from(v))),
        SqlType::Int8 => primitive!(Int64Type, |out, v| number::write_int(out, v)),
        SqlType::Oid => primitive!(UInt32Type, |out, v| number::write_int(out, i64::from(v))),
        SqlType::Float4 => {
            let digits = settings.extra_float_digits;
            primitive!(Float32Type, |out, v| number::write_float4(out, v, digits))
        }
        SqlType::Float8 => {
            let digits = settings.extra_float_digits;
            primitive!(Float64Type, |out, v| number::write_float8(out, v, digits))
        }
        SqlType::Numeric(declared) => {
            let trim = declared.is_none();
            match array.data_type() {
                DataType::Decimal128(_, scale) => {
                    let scale = *scale;
                    primitive!(Decimal128Type, |out, v| {
                        if trim && scale > 0 {
                            number::write_free_numeric(out, v, scale);
                        } else {
                            number::write_numeric(out, v, scale, trim);
                        }
                    })
                }
                DataType::Decimal256(_, scale) => {
                    let scale = *scale;
                    primitive!(Decimal256Type, |out, v| {
                        let digits = v.to_string();
                        let unsigned = digits.strip_prefix('-');
                        if unsigned.is_some() {
                            out.extend_from_slice(b"-");
                        }
                        let digits = unsigned.unwrap_or(&digits).as_bytes();
                        number::write_digits(out, digits, scale, trim);
                    })
                }
                _ => return Err(wrong()),
            }
        }
        SqlType::Other(ty @ (OtherType::Tstzrange | OtherType::Tstzmultirange))
            if settings.time_zone != chrono_tz::Tz::UTC =>
        {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            let (ty, zone) = (*ty, settings.time_zone);
            Box::new(move |row, out| {
                let text = values.value(row);
                match range::shown(ty, text, zone) {
                    Ok(shown) => out.extend_from_slice(shown.as_bytes()),
                    Err(_) => out.extend_from_slice(text.as_bytes()),
                }
            })
        }
        SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Name
        | SqlType::Uuid
        | SqlType::Json
        | SqlType::Jsonb
        | SqlType::Bit(_)
        | SqlType::Varbit(_)
        | SqlType::Other(_) => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes()))
        }
        SqlType::Bytea => {
            let values = array.as_binary_view_opt().ok_or_else(wrong)?.clone();
            let escape = settings.bytea_escape;
            Box::new(move |row, out| bytea::write(out, values.value(row), escape))
        }
        SqlType::Date => primitive!(Date32Type, |out, v| datetime::write_date(out, v)),
        SqlType::Time => {
            primitive!(Time64MicrosecondType, |out, v| datetime::write_time(out, v))
        }
        SqlType::Timestamp => {
            primitive!(TimestampMicrosecondType, |out, v| datetime::write_timestamp(out, v))
        }
        SqlType::Timestamptz => {
            let mut zone = ZoneOffset::new(settings.time_zone);
            primitive!(TimestampMicrosecondType, |out, v| {
                datetime::write_timestamptz(out, v, &mut zone);
            })
        }
        SqlType::Interval => {
            let style = settings.interval_style.clone();
            primitive!(IntervalMonthDayNanoType, |out, v| {
                let micros = v.nanoseconds / 1_000;
                let value = Interval { months: v.months, days: v.days, micros };
                interval::write(out, value, &style);
            })
        }
        SqlType::Array(item) => {
            let list = array.as_list_opt::<i32>().ok_or_else(wrong)?.clone();
            let values = list.values();
            let nulls = values.logical_nulls();
            // An array of arrays nests its braces; items are quoted one by one.
            let nested = matches!(values.data_type(), DataType::List(_));
            let mut write = if nested {
                writer(values, ty, settings)?
            } else {
                let values = super::normalize::to_sql_type(values, item)?;
                writer(&values, item, settings)?
            };
            let mut scratch = BytesMut::new();
            Box::new(move |row, out| {
                out.extend_from_slice(b"{");
                let offsets = list.value_offsets();
                for (i, at) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b",");
                    }
                    if nulls.as_ref().is_some_and(|n| n.is_null(at)) {
                        out.extend_from_slice(b"NULL");
                    } else if nested {
                        write(at, out);
                    } else {
                        scratch.clear();
                        write(at, &mut scratch);
                        array_text::write_item(out, &scratch);
                    }
                }
                out.extend_from_slice(b"}");
            })
        }
    })
}

/// A column is not of the type that its description says.
pub fn wrong_type(array: &ArrayRef, ty: &SqlType) -> Error {
    internal(format_args!("a {ty:?} column came as {}", array.data_type()))
}
