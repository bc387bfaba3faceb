//! Values from Arrow arrays and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::value::{Decimal, Value};
use crate::error::Error;
use crate::text::interval::Interval;

/// An array in one of the Arrow types that [`value_at`] reads.
pub(crate) fn readable(array: &ArrayRef) -> Result<ArrayRef> {
    let to = match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::BinaryView
        }
        DataType::Dictionary(_, value) => {
            return readable(&cast(array, value.as_ref())?);
        }
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Nanosecond) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        DataType::Timestamp(unit, zone) if *unit != TimeUnit::Microsecond => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Interval(unit) if *unit != IntervalUnit::MonthDayNano => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Decimal256(_, s) => DataType::Decimal128(38, *s),
        DataType::Float16 => DataType::Float32,
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            DataType::List(Arc::clone(field))
        }
        _ => return Ok(Arc::clone(array)),
    };
    Ok(cast(array, &to)?)
}

/// The value in one row.
pub(crate) fn value_at(array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! int {
        ($ty:ty) => {
            Value::Int(array.as_primitive::<$ty>().value(row).into())
        };
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => int!(Int8Type),
        DataType::Int16 => int!(Int16Type),
        DataType::Int32 => int!(Int32Type),
        DataType::Int64 => int!(Int64Type),
        DataType::UInt8 => int!(UInt8Type),
        DataType::UInt16 => int!(UInt16Type),
        DataType::UInt32 => int!(UInt32Type),
        DataType::UInt64 => Value::Int(
            i64::try_from(array.as_primitive::<UInt64Type>().value(row))
                .map_err(|_| Error::postgres("22003", "bigint out of range"))?,
        ),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            Value::Float(value.into())
        }
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            let units = array.as_primitive::<Decimal128Type>().value(row);
            let factor = 10i128.pow(u32::from(scale.min(&0).unsigned_abs()));
            let overflow = || Error::postgres("22003", "numeric field overflow");
            let units = units.checked_mul(factor).ok_or_else(overflow)?;
            Value::Numeric(Decimal { units, scale: (*scale).max(0) as u8 })
        }
        DataType::Utf8View => Value::Text(array.as_string_view().value(row).to_owned()),
        DataType::Utf8 => Value::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::BinaryView => Value::Bytes(array.as_binary_view().value(row).to_vec()),
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(row)),
        DataType::Time64(_) => {
            Value::Time(array.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            if zone.is_some() { Value::Timestamptz(micros) } else { Value::Timestamp(micros) }
        }
        DataType::Interval(_) => {
            let v = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let micros = v.nanoseconds / 1000;
            Value::Interval(Interval { months: v.months, days: v.days, micros })
        }
        DataType::List(_) => {
            let items = readable(&array.as_list::<i32>().value(row))?;
            let values = (0..items.len()).map(|i| value_at(items.as_ref(), i));
            Value::List(values.collect::<Result<_>>()?)
        }
        other => return Err(Error::Unsupported(format!("a value of type {other}")).into()),
    })
}

/// An array of a type's own Arrow type. Every value is NULL or of the type.
pub(crate) fn array_of(values: &[Value], ty: &SqlType) -> Result<ArrayRef> {
    macro_rules! collect {
        ($array:ty, $($pattern:pat => $value:expr),+) => {{
            let array: $array = values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(None),
                    $($pattern => Ok(Some($value)),)+
                    other => Err(mistyped(other, ty)),
                })
                .collect::<Result<_>>()?;
            array
        }};
    }
    Ok(match ty {
        SqlType::Bool => Arc::new(collect!(BooleanArray, Value::Bool(v) => *v)),
        SqlType::Int2 => Arc::new(collect!(Int16Array, Value::Int(v) => *v as i16)),
        SqlType::Int4 => Arc::new(collect!(Int32Array, Value::Int(v) => *v as i32)),
        SqlType::Int8 => Arc::new(collect!(Int64Array, Value::Int(v) => *v)),
        SqlType::Oid => Arc::new(collect!(UInt32Array, Value::Int(v) => *v as u32)),
        SqlType::Float4 => Arc::new(collect!(Float32Array, Value::Float(v) => *v as f32)),
        SqlType::Float8 => Arc::new(collect!(Float64Array, Value::Float(v) => *v)),
        SqlType::Numeric(_) => {
            let DataType::Decimal128(precision, scale) = ty.arrow() else {
                return Err(mistyped(&Value::Null, ty));
            };
            let values = values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(None),
                    Value::Numeric(v) => v.rescaled(scale as u8, precision).map(Some),
                    other => Err(mistyped(other, ty)),
                })
                .collect::<Result<Decimal128Array>>()?;
            Arc::new(values.with_precision_and_scale(precision, scale)?)
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
        | SqlType::Other(_) => Arc::new(collect!(StringViewArray, Value::Text(v) => v.as_str())),
        SqlType::Bytea => Arc::new(collect!(BinaryViewArray, Value::Bytes(v) => v.as_slice())),
        SqlType::Date => Arc::new(collect!(Date32Array, Value::Date(v) => *v)),
        SqlType::Time => Arc::new(collect!(Time64MicrosecondArray, Value::Time(v) => *v)),
        SqlType::Timestamp => {
            Arc::new(collect!(TimestampMicrosecondArray, Value::Timestamp(v) => *v))
        }
        SqlType::Timestamptz => Arc::new(
            collect!(TimestampMicrosecondArray, Value::Timestamptz(v) => *v).with_timezone("UTC"),
        ),
        SqlType::Interval => {
            let values = values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(None),
                    Value::Interval(v) => {
                        let nanos = v.micros.checked_mul(1000).ok_or_else(|| {
                            Error::Unsupported("an interval of more than 292 years of time".into())
                        })?;
                        Ok(Some(IntervalMonthDayNano::new(v.months, v.days, nanos)))
                    }
                    other => Err(mistyped(other, ty)),
                })
                .collect::<Result<IntervalMonthDayNanoArray>>()?;
            Arc::new(values)
        }
        SqlType::Array(item) => {
            let mut flat = Vec::new();
            let mut lengths = Vec::with_capacity(values.len());
            let mut valid = Vec::with_capacity(values.len());
            for value in values {
                let items = match value {
                    Value::Null => &[][..],
                    Value::List(items) => items.as_slice(),
                    other => return Err(mistyped(other, ty)),
                };
                if items.iter().any(|v| matches!(v, Value::List(_))) {
                    return Err(Error::Unsupported("an array of arrays".into()).into());
                }
                flat.extend_from_slice(items);
                lengths.push(items.len());
                valid.push(!value.is_null());
            }
            Arc::new(ListArray::try_new(
                Arc::new(item.field(Field::LIST_FIELD_DEFAULT_NAME, true)),
                OffsetBuffer::from_lengths(lengths),
                array_of(&flat, item)?,
                Some(NullBuffer::from(valid)),
            )?)
        }
    })
}

fn mistyped(value: &Value, ty: &SqlType) -> datafusion::common::DataFusionError {
    datafusion::common::DataFusionError::Internal(format!("{value:?} is no {ty:?}"))
}

impl Decimal {
    /// Its units at another scale, rounded half away from zero.
    ///
    /// # Errors
    /// 22003 where it has more digits than the precision.
    pub fn rescaled(self, scale: u8, precision: u8) -> Result<i128> {
        let overflow = || Error::postgres("22003", "numeric field overflow");
        let units = self.at_scale(scale).ok_or_else(overflow)?;
        if units.unsigned_abs() >= 10u128.pow(u32::from(precision)) {
            return Err(overflow().into());
        }
        Ok(units)
    }

    /// Its units at another scale, rounded half away from zero; `None` where they overflow.
    pub fn at_scale(self, scale: u8) -> Option<i128> {
        if scale >= self.scale {
            return self.units.checked_mul(10i128.checked_pow((scale - self.scale).into())?);
        }
        let Some(divisor) = 10i128.checked_pow((self.scale - scale).into()) else { return Some(0) };
        let (whole, rest) = (self.units / divisor, self.units % divisor);
        let up = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
        Some(if up { whole + self.units.signum() } else { whole })
    }
}
