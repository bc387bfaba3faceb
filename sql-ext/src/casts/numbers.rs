//! Between numbers: rounded to the nearest where digits are lost, never wrapped.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Decimal256Type, Float32Type, Float64Type,
    Int16Type, Int32Type, Int64Type, UInt32Type, i256,
};
use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX};

use super::convert::plain;
use super::display_name;
use crate::error::{Error, Result};
use crate::text::{internal, number};

/// 22003
fn out_of_range(to: &SqlType) -> Error {
    Error::postgres("22003", format!("{} out of range", display_name(to)))
}

/// 22003 of a numeric with precision and scale.
pub(crate) fn overflow(precision: u8, scale: i8) -> Error {
    Error::postgres("22003", "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{}.",
        i32::from(precision) - i32::from(scale)
    ))
}

/// Casts numbers that are in the Arrow type of their SQL type (numerics: of whatever scale).
pub(super) fn convert(values: &ArrayRef, from: &SqlType, to: &SqlType) -> Result<ArrayRef> {
    use SqlType as T;
    match (from, to) {
        (T::Int2 | T::Int4 | T::Int8, T::Int2 | T::Int4 | T::Int8) => {
            let wide = plain(values, &DataType::Int64)?;
            integers(wide.as_primitive::<Int64Type>(), to, |v| Some(i128::from(v)))
        }
        (T::Float4 | T::Float8, T::Int2 | T::Int4 | T::Int8) => {
            let wide = plain(values, &DataType::Float64)?;
            // Halves go to the even neighbour, as the hardware rounds.
            integers(wide.as_primitive::<Float64Type>(), to, |v| {
                let rounded = v.round_ties_even();
                (rounded.abs() < 1e19).then_some(rounded as i128)
            })
        }
        (T::Numeric(_), T::Int2 | T::Int4 | T::Int8) => {
            let values = narrow(values)?;
            let scale = scale_of(&values);
            integers(values.as_primitive::<Decimal128Type>(), to, |v| rescale(v, scale, 0))
        }
        (T::Int2 | T::Int4 | T::Int8, T::Float4 | T::Float8) | (T::Float4, T::Float8) => {
            plain(values, &to.arrow())
        }
        (T::Float8, T::Float4) => {
            let doubles = values.as_primitive::<Float64Type>();
            let narrowed = each::<_, Float32Type>(doubles, |v| {
                let narrow = v as f32;
                if narrow.is_infinite() && v.is_finite() {
                    return Err(Error::postgres("22003", "value out of range: overflow"));
                }
                if narrow == 0.0 && v != 0.0 {
                    return Err(Error::postgres("22003", "value out of range: underflow"));
                }
                Ok(narrow)
            })?;
            Ok(Arc::new(narrowed))
        }
        (T::Numeric(_), T::Float4) => {
            Ok(Arc::new(through_text::<Float32Type>(values, number::parse_float4)?))
        }
        (T::Numeric(_), T::Float8) => {
            Ok(Arc::new(through_text::<Float64Type>(values, number::parse_float8)?))
        }
        (T::Float4, T::Numeric(declared)) => {
            let floats = values.as_primitive::<Float32Type>();
            from_float(floats, *declared, |v| (f64::from(v), 6))
        }
        (T::Float8, T::Numeric(declared)) => {
            from_float(values.as_primitive::<Float64Type>(), *declared, |v| (v, 15))
        }
        (T::Int2 | T::Int4 | T::Int8, T::Numeric(declared)) => {
            let wide = plain(values, &DataType::Int64)?;
            decimals(wide.as_primitive::<Int64Type>(), *declared, |v, scale| {
                rescale(i128::from(v), 0, scale)
            })
        }
        (T::Numeric(_), T::Numeric(declared)) => {
            let values = narrow(values)?;
            let from = scale_of(&values);
            decimals(values.as_primitive::<Decimal128Type>(), *declared, |v, to| {
                rescale(v, from, to)
            })
        }
        _ => Err(internal("not between numbers")),
    }
}

/// Between integers and oids, whose upper half is an integer's negative half.
pub(super) fn oid(values: &ArrayRef, from: &SqlType, to: &SqlType) -> Result<ArrayRef> {
    match (from, to) {
        (SqlType::Oid, SqlType::Int4) => {
            Ok(Arc::new(values.as_primitive::<UInt32Type>().unary::<_, Int32Type>(|v| v as i32)))
        }
        (SqlType::Int2 | SqlType::Int4, SqlType::Oid) => {
            let wide = plain(values, &DataType::Int32)?;
            Ok(Arc::new(wide.as_primitive::<Int32Type>().unary::<_, UInt32Type>(|v| v as u32)))
        }
        (SqlType::Int8, SqlType::Oid) => {
            let integers = values.as_primitive::<Int64Type>();
            let narrowed = each::<_, UInt32Type>(integers, |v| {
                u32::try_from(v).map_err(|_| Error::postgres("22003", "OID out of range"))
            })?;
            Ok(Arc::new(narrowed))
        }
        _ => plain(values, &to.arrow()),
    }
}

/// Applies a conversion that may fail to every value that is not NULL.
fn each<A: ArrowPrimitiveType, B: ArrowPrimitiveType>(
    values: &PrimitiveArray<A>,
    convert: impl Fn(A::Native) -> Result<B::Native>,
) -> Result<PrimitiveArray<B>> {
    values.try_unary(convert)
}

fn integers<A: ArrowPrimitiveType>(
    values: &PrimitiveArray<A>,
    to: &SqlType,
    convert: impl Fn(A::Native) -> Option<i128>,
) -> Result<ArrayRef> {
    macro_rules! to {
        ($ty:ty) => {
            Arc::new(each::<A, $ty>(values, |v| {
                convert(v).and_then(|v| v.try_into().ok()).ok_or_else(|| out_of_range(to))
            })?)
        };
    }
    Ok(match to {
        SqlType::Int2 => to!(Int16Type),
        SqlType::Int4 => to!(Int32Type),
        _ => to!(Int64Type),
    })
}

fn decimals<A: ArrowPrimitiveType>(
    values: &PrimitiveArray<A>,
    declared: Option<(u8, i8)>,
    convert: impl Fn(A::Native, i8) -> Option<i128>,
) -> Result<ArrayRef> {
    let (precision, scale) = declared.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
    let limit = power(u32::from(precision)).unwrap_or(i128::MAX);
    let array = each::<A, Decimal128Type>(values, |v| {
        convert(v, scale)
            .filter(|v| v.unsigned_abs() < limit.unsigned_abs())
            .ok_or_else(|| overflow(precision, scale))
    })?;
    Ok(Arc::new(array.with_precision_and_scale(precision, scale).map_err(internal)?))
}

/// A float has so many decimal digits that are worth keeping.
fn from_float<A: ArrowPrimitiveType>(
    values: &PrimitiveArray<A>,
    declared: Option<(u8, i8)>,
    wide: impl Fn(A::Native) -> (f64, usize),
) -> Result<ArrayRef> {
    let (precision, scale) = declared.unwrap_or((NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE));
    let array = each::<A, Decimal128Type>(values, |v| {
        let (value, digits) = wide(v);
        if !value.is_finite() {
            return Err(Error::unsupported(format!("numeric \"{value}\"")));
        }
        number::parse_numeric(&format!("{value:.*e}", digits - 1), precision, scale, false)
    })?;
    Ok(Arc::new(array.with_precision_and_scale(precision, scale).map_err(internal)?))
}

/// Numerics as floats, by way of their digits: the nearest float, whatever the scale.
fn through_text<B: ArrowPrimitiveType>(
    values: &ArrayRef,
    parse: impl Fn(&str) -> Result<B::Native>,
) -> Result<PrimitiveArray<B>> {
    let scale = scale_of(values);
    match values.data_type() {
        DataType::Decimal256(..) => {
            let wide = values.as_primitive::<Decimal256Type>();
            each::<_, B>(wide, |v: i256| parse(&format!("{v}e{}", -i32::from(scale))))
        }
        _ => {
            let narrow = values.as_primitive::<Decimal128Type>();
            each::<_, B>(narrow, |v| parse(&format!("{v}e{}", -i32::from(scale))))
        }
    }
}

/// A numeric in 128 bits.
fn narrow(values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Decimal128(..) => Ok(Arc::clone(values)),
        DataType::Decimal256(_, scale) => {
            let wide = values.as_primitive::<Decimal256Type>();
            // Digits beyond the scale of 128 bits are cut.
            let kept = (*scale).min(NUMERIC_PRECISION_MAX as i8);
            let divisor = (kept..*scale)
                .try_fold(i256::ONE, |d, _| d.checked_mul(i256::from_i128(10)))
                .ok_or_else(|| overflow(NUMERIC_PRECISION_MAX, kept))?;
            let narrowed: Decimal128Array = each::<_, Decimal128Type>(wide, |v: i256| {
                v.checked_div(divisor)
                    .and_then(|v| v.to_i128())
                    .ok_or_else(|| overflow(NUMERIC_PRECISION_MAX, kept))
            })?;
            let narrowed =
                narrowed.with_precision_and_scale(NUMERIC_PRECISION_MAX, kept).map_err(internal)?;
            Ok(Arc::new(narrowed))
        }
        other => Err(internal(format_args!("a numeric came as {other}"))),
    }
}

fn scale_of(values: &ArrayRef) -> i8 {
    match values.data_type() {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    }
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// The same number in units of another scale, rounded half away from zero. `None` beyond 128
/// bits.
pub(crate) fn rescale(value: i128, from: i8, to: i8) -> Option<i128> {
    let shift = i32::from(to) - i32::from(from);
    if shift >= 0 {
        return match value {
            0 => Some(0),
            _ => value.checked_mul(power(shift.unsigned_abs())?),
        };
    }
    let Some(divisor) = power(shift.unsigned_abs()) else { return Some(0) };
    let (quotient, rest) = (value / divisor, value % divisor);
    // The divisor is even, and at most 10^38.
    if rest.unsigned_abs() >= divisor.unsigned_abs() / 2 {
        Some(quotient + value.signum())
    } else {
        Some(quotient)
    }
}
