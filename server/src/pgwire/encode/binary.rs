//! Writers of the binary format.

use bytes::{BufMut, BytesMut};
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};

use chronos_sql_ext::text::normalize;
use chronos_sql_ext::text::write::{Writer, wrong_type};

use super::sized;
use crate::error::{PgError, PgResult};
use crate::pgwire::{kept, text, types};

/// 2000-01-01, where PostgreSQL's dates begin, in days since 1970-01-01.
pub(in crate::pgwire) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(in crate::pgwire) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A writer of an array that is in the Arrow type of its SQL type.
pub(super) fn writer(array: &ArrayRef, ty: &SqlType) -> PgResult<Writer> {
    let wrong = || PgError::from(wrong_type(array, ty));
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
            Box::new(move |row, out| out.put_u8(u8::from(values.value(row))))
        }
        SqlType::Int2 => primitive!(Int16Type, |out, v| out.put_i16(v)),
        SqlType::Int4 => primitive!(Int32Type, |out, v| out.put_i32(v)),
        SqlType::Int8 => primitive!(Int64Type, |out, v| out.put_i64(v)),
        SqlType::Oid => primitive!(UInt32Type, |out, v| out.put_u32(v)),
        SqlType::Float4 => primitive!(Float32Type, |out, v| out.put_f32(v)),
        SqlType::Float8 => primitive!(Float64Type, |out, v| out.put_f64(v)),
        SqlType::Numeric(declared) => {
            let trim = declared.is_none();
            match array.data_type() {
                DataType::Decimal128(_, scale) => {
                    let scale = *scale;
                    primitive!(Decimal128Type, |out, v| {
                        let shown = if trim && scale > 0 {
                            text::number::shown_scale(v, scale)
                        } else {
                            scale
                        };
                        let drop = u32::from((scale - shown).unsigned_abs());
                        let digits = (v.unsigned_abs() / 10u128.pow(drop)).to_string();
                        numeric(out, v < 0, digits.as_bytes(), shown, false);
                    })
                }
                DataType::Decimal256(_, scale) => {
                    let scale = *scale;
                    primitive!(Decimal256Type, |out, v| {
                        let digits = v.to_string();
                        let unsigned = digits.strip_prefix('-');
                        let bytes = unsigned.unwrap_or(&digits).as_bytes();
                        numeric(out, unsigned.is_some(), bytes, scale, trim);
                    })
                }
                _ => return Err(wrong()),
            }
        }
        SqlType::Other(OtherType::Xid) => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| out.put_u32(values.value(row).parse().unwrap_or_default()))
        }
        SqlType::Other(OtherType::Record) => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| record(out, values.value(row)))
        }
        SqlType::Jsonb | SqlType::Other(OtherType::Jsonpath) => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| {
                out.put_u8(1);
                out.extend_from_slice(values.value(row).as_bytes());
            })
        }
        SqlType::Bit(_) | SqlType::Varbit(_) => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| kept::bits_to_binary(values.value(row), out))
        }
        SqlType::Other(other) if !other.is_character() => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            let other = *other;
            // All are looked at first: a writer cannot fail.
            for value in values.iter().flatten() {
                kept::to_binary(other, value, &mut BytesMut::new())?;
            }
            Box::new(move |row, out| {
                let _ = kept::to_binary(other, values.value(row), out);
            })
        }
        SqlType::Other(_)
        | SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Name
        | SqlType::Json => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| out.extend_from_slice(values.value(row).as_bytes()))
        }
        SqlType::Uuid => {
            let values = array.as_string_view_opt().ok_or_else(wrong)?.clone();
            // All are looked at first: a writer cannot fail.
            for value in values.iter().flatten() {
                text::parse_uuid(value)?;
            }
            Box::new(move |row, out| {
                let uuid = text::parse_uuid(values.value(row)).unwrap_or_default();
                out.extend_from_slice(&uuid);
            })
        }
        SqlType::Bytea => {
            let values = array.as_binary_view_opt().ok_or_else(wrong)?.clone();
            Box::new(move |row, out| out.extend_from_slice(values.value(row)))
        }
        SqlType::Date => primitive!(Date32Type, |out, v| {
            out.put_i32(match v {
                i32::MAX | i32::MIN => v,
                day => day.saturating_sub(EPOCH_DAYS),
            });
        }),
        SqlType::Time => primitive!(Time64MicrosecondType, |out, v| out.put_i64(v)),
        SqlType::Timestamp | SqlType::Timestamptz => {
            primitive!(TimestampMicrosecondType, |out, v| {
                out.put_i64(match v {
                    i64::MAX | i64::MIN => v,
                    at => at.saturating_sub(EPOCH_MICROS),
                });
            })
        }
        SqlType::Interval => primitive!(IntervalMonthDayNanoType, |out, v| {
            out.put_i64(v.nanoseconds / 1_000);
            out.put_i32(v.days);
            out.put_i32(v.months);
        }),
        SqlType::Array(item) => {
            let list = array.as_list_opt::<i32>().ok_or_else(wrong)?.clone();
            let values = list.values();
            if matches!(values.data_type(), DataType::List(_)) {
                return Err(PgError::unsupported("an array of arrays in the binary format"));
            }
            let nulls = values.logical_nulls();
            let values = normalize::to_sql_type(values, item)?;
            let mut write = writer(&values, item)?;
            let oid = types::oid(item);
            Box::new(move |row, out| {
                let offsets = list.value_offsets();
                let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
                let is_null = |at| nulls.as_ref().is_some_and(|n| n.is_null(at));
                out.put_i32(i32::from(from < to));
                out.put_i32(i32::from((from..to).any(is_null)));
                out.put_u32(oid);
                if from < to {
                    out.put_i32((to - from) as i32);
                    out.put_i32(1);
                }
                for at in from..to {
                    if is_null(at) {
                        out.put_i32(-1);
                    } else {
                        sized(out, |out| write(at, out));
                    }
                }
            })
        }
    })
}

/// Writes a numeric: its digits to the base 10000, the weight of the first of them, its sign and
/// how many decimal digits follow the point.
fn numeric(out: &mut BytesMut, negative: bool, digits: &[u8], scale: i8, trim: bool) {
    let mut scale = i32::from(scale);
    let mut digits = digits.to_vec();
    if scale < 0 {
        digits.extend(std::iter::repeat_n(b'0', scale.unsigned_abs() as usize));
        scale = 0;
    }
    if trim {
        while scale > 0 && digits.last() == Some(&b'0') {
            digits.pop();
            scale -= 1;
        }
        if digits.is_empty() {
            scale = 0;
        }
    }
    // The digits after the point are filled up to a group of four, then those before it.
    let fraction = scale as usize;
    digits.extend(std::iter::repeat_n(b'0', (4 - fraction % 4) % 4));
    let lead = (4 - digits.len() % 4) % 4;
    let mut groups: Vec<u16> = Vec::with_capacity(digits.len() / 4 + 1);
    let mut group = 0;
    for (i, digit) in std::iter::repeat_n(&b'0', lead).chain(&digits).enumerate() {
        group = group * 10 + u16::from(digit - b'0');
        if i % 4 == 3 {
            groups.push(group);
            group = 0;
        }
    }
    let mut weight = groups.len() as i32 - fraction.div_ceil(4) as i32 - 1;
    let leading = groups.iter().take_while(|g| **g == 0).count();
    weight -= leading as i32;
    groups.drain(..leading);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_u16(groups.len() as u16);
    out.put_i16(weight as i16);
    out.put_u16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_u16(scale as u16);
    for group in groups {
        out.put_u16(group);
    }
}

/// A record from its text: its columns as texts, for their own types are not known any more.
fn record(out: &mut BytesMut, value: &str) {
    const TEXT_OID: u32 = 25;
    let columns = text::record::parse(value);
    out.put_u32(columns.len() as u32);
    for column in columns {
        out.put_u32(TEXT_OID);
        match column {
            Some(text) => {
                out.put_u32(text.len() as u32);
                out.extend_from_slice(text.as_bytes());
            }
            None => out.put_i32(-1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Count, weight, sign, scale and groups.
    fn groups(value: i128, scale: i8, trim: bool) -> Vec<i16> {
        let mut out = BytesMut::new();
        numeric(&mut out, value < 0, value.unsigned_abs().to_string().as_bytes(), scale, trim);
        out.chunks(2).map(|c| i16::from_be_bytes([c[0], c[1]])).collect()
    }

    #[test]
    fn a_numeric_is_groups_of_four_digits() {
        assert_eq!(groups(0, 2, false), [0, 0, 0, 2]);
        assert_eq!(groups(123_456_789, 4, false), [3, 1, 0, 4, 1, 2345, 6789]);
        assert_eq!(groups(-5, 2, false), [1, -1, 0x4000, 2, 500]);
        assert_eq!(groups(10_000, 0, false), [1, 1, 0, 0, 1]);
        assert_eq!(groups(1_500, 3, true), [2, 0, 0, 1, 1, 5000]);
        assert_eq!(groups(1, 6, false), [1, -2, 0, 6, 100]);
        assert_eq!(groups(12, -3, false), [2, 1, 0, 0, 1, 2000]);
    }
}
