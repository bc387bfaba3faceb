//! Numbers: integers that refuse to overflow, and rounding.

use arrow::array::ArrayRef;
use arrow::compute::kernels::numeric::{add, div, mul, rem, sub};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use chronos_catalog::SqlType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;

/// An operation on two integers. DataFusion's own wraps around.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    name: &'static str,
    signature: Signature,
}

/// The operations, by names that no statement can spell by accident.
pub(crate) fn checked() -> impl Iterator<Item = Arc<ScalarUDF>> {
    ["_int_add", "_int_sub", "_int_mul", "_int_div", "_int_mod"].into_iter().map(|name| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Checked { name, signature }))
    })
}

/// The wider of two types of integers.
fn wider(args: &[DataType]) -> DataType {
    let width = |ty: &DataType| match ty {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => 2,
        DataType::Int32 | DataType::UInt16 => 4,
        _ => 8,
    };
    match args.iter().map(width).max() {
        Some(2) => DataType::Int16,
        Some(4) => DataType::Int32,
        _ => DataType::Int64,
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![wider(args); args.len()])
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(wider(args))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let [left, right] = args.args.as_slice() else {
            return Err(Error::postgres("42883", "operator takes two arguments").into());
        };
        let (left, right): (ArrayRef, ArrayRef) = (left.to_array(rows)?, right.to_array(rows)?);
        let result = match self.name {
            "_int_add" => add(&left, &right),
            "_int_sub" => sub(&left, &right),
            "_int_mul" => mul(&left, &right),
            "_int_div" => div(&left, &right),
            _ => rem(&left, &right),
        };
        let result = result.map_err(|error| match error {
            ArrowError::DivideByZero => Error::postgres("22012", "division by zero").into(),
            ArrowError::ArithmeticOverflow(_) => {
                let ty = match args.return_field.data_type() {
                    DataType::Int16 => "smallint",
                    DataType::Int32 => "integer",
                    _ => "bigint",
                };
                Error::postgres("22003", format!("{ty} out of range")).into()
            }
            other => datafusion::common::DataFusionError::from(other),
        })?;
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(x) => *x,
        _ => 0.0,
    }
}

fn finite(x: f64, args: &[Value]) -> Result<Value> {
    if x.is_infinite() && args.iter().all(|a| float(a).is_finite()) {
        return Err(Error::postgres("22003", "value out of range: overflow").into());
    }
    Ok(Value::Float(x))
}

const FLOAT: fn(&[SqlType]) -> SqlType = |_| SqlType::Float8;
const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;

fn bucket(x: f64, low: f64, high: f64, count: i64) -> Result<Value> {
    if count <= 0 {
        return Err(Error::postgres("2201G", "count must be greater than zero").into());
    }
    if x.is_nan() || !low.is_finite() || !high.is_finite() {
        let message = "operand, lower bound, and upper bound cannot be NaN";
        return Err(Error::postgres("2201G", message).into());
    }
    if low == high {
        return Err(Error::postgres("2201G", "lower bound cannot equal upper bound").into());
    }
    let (x, low, high) = if low < high { (x, low, high) } else { (-x, -low, -high) };
    Ok(Value::Int(if x < low {
        0
    } else if x >= high {
        count + 1
    } else {
        ((x - low) / (high - low) * count as f64).floor() as i64 + 1
    }))
}

fn power(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (x, y) = (float(&a[0]), float(&a[1]));
    if x == 0.0 && y < 0.0 {
        let message = "zero raised to a negative power is undefined";
        return Err(Error::postgres("2201F", message).into());
    }
    if x < 0.0 && y.fract() != 0.0 {
        let message = "a negative number raised to a non-integer power yields a complex result";
        return Err(Error::postgres("2201F", message).into());
    }
    finite(x.powf(y), a)
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    // A double rounds half to even.
    f("_round_float", &[P::Float], FLOAT, |_, a| Ok(Value::Float(float(&a[0]).round_ties_even()))),
    f("_power", &[P::Float, P::Float], FLOAT, power),
    f("power", &[P::Float, P::Float], FLOAT, power),
    f("pow", &[P::Float, P::Float], FLOAT, power),
    f("width_bucket", &[P::Float, P::Float, P::Float, P::Int4], INT4, |_, a| {
        bucket(float(&a[0]), float(&a[1]), float(&a[2]), a[3].int())
    }),
];
