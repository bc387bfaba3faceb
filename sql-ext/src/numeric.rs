//! Arithmetic of numerics with PostgreSQL's results and scales.
//!
//! Scales belong to types here, not to values. So a result's type has the scale that PostgreSQL
//! gives every value of it (`+`, `-`, `%`: the larger one; `*`: the sum), and where that depends
//! on the values (division, and whatever has an operand without a declared scale) a scale that
//! holds the digits, of which the zeros at the end are not shown.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal128Builder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, i256};
use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_DEFAULT_SCALE, NUMERIC_PRECISION_MAX, SQL_TYPE_KEY};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::casts::rescale;
use crate::error::Error;
use crate::text::internal;
use crate::text::number::QUOTIENT_SCALE;

/// An operator on numerics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NumericOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

/// The call of an operator; the operands are numerics or integers, at least one a numeric.
pub(crate) fn call(operator: NumericOperator, left: Expr, right: Expr) -> Expr {
    let function =
        NumericFunction { operator, signature: Signature::user_defined(Volatility::Immutable) };
    ScalarUDF::new_from_impl(function).call(vec![left, right])
}

/// The scale of the average of numerics of a scale.
pub(crate) fn average_scale(scale: i8) -> i8 {
    scale.max(QUOTIENT_SCALE).min(NUMERIC_PRECISION_MAX as i8)
}

/// The average of numerics of a scale, from their sum and count; NULL of none.
///
/// # Errors
/// 22003
pub(crate) fn average(sum: i128, count: i64, scale: i8) -> Result<ScalarValue> {
    let result = average_scale(scale);
    if count == 0 {
        return Ok(ScalarValue::Decimal128(None, NUMERIC_PRECISION_MAX, result));
    }
    let function = NumericFunction {
        operator: NumericOperator::Divide,
        signature: Signature::user_defined(Volatility::Immutable),
    };
    let whole = Operand { scale: 0, free: false };
    let value = function
        .apply((sum, Operand { scale, free: false }), (i128::from(count), whole), result)
        .unwrap_or_else(|| Err(overflow(result)))?;
    Ok(ScalarValue::Decimal128(Some(value), NUMERIC_PRECISION_MAX, result))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericFunction {
    operator: NumericOperator,
    signature: Signature,
}

/// What is known of an operand: its scale, and whether its values have scales of their own.
#[derive(Clone, Copy)]
struct Operand {
    scale: i8,
    free: bool,
}

fn operand(field: &Field) -> Operand {
    let free = SqlType::of_field(field) == Some(SqlType::Numeric(None));
    match field.data_type() {
        DataType::Decimal128(_, scale) => Operand { scale: *scale, free },
        _ => Operand { scale: 0, free: false },
    }
}

impl NumericFunction {
    /// Scale of the result, and whether the zeros at its end are shown.
    fn result(&self, left: Operand, right: Operand) -> (i8, bool) {
        let larger = left.scale.max(right.scale);
        let most = NUMERIC_PRECISION_MAX as i8;
        match self.operator {
            NumericOperator::Divide => (larger.max(QUOTIENT_SCALE).min(most), true),
            _ if left.free || right.free => (larger.max(NUMERIC_DEFAULT_SCALE), true),
            NumericOperator::Multiply => (left.scale.saturating_add(right.scale).min(most), false),
            _ => (larger, false),
        }
    }

    fn apply(&self, a: (i128, Operand), b: (i128, Operand), scale: i8) -> Option<Result<i128>> {
        let ((x, left), (y, right)) = (a, b);
        let zero = || Some(Err(Error::postgres("22012", "division by zero").into()));
        match self.operator {
            NumericOperator::Add | NumericOperator::Subtract => {
                let (x, y) = (rescale(x, left.scale, scale)?, rescale(y, right.scale, scale)?);
                let sum = if self.operator == NumericOperator::Add {
                    x.checked_add(y)
                } else {
                    x.checked_sub(y)
                };
                sum.map(Ok)
            }
            NumericOperator::Multiply => {
                let from = left.scale.checked_add(right.scale)?;
                if let Some(product) = x.checked_mul(y) {
                    return rescale(product, from, scale).map(Ok);
                }
                let product = i256::from_i128(x).checked_mul(i256::from_i128(y))?;
                let divisor = power(u32::try_from(from.checked_sub(scale)?).ok()?)?;
                round_divide(product, divisor)?.to_i128().map(Ok)
            }
            NumericOperator::Modulo => {
                if y == 0 {
                    return zero();
                }
                let wide = left.scale.max(right.scale);
                let (x, y) = (widen(x, left.scale, wide)?, widen(y, right.scale, wide)?);
                let rest = x.checked_rem(y)?.to_i128()?;
                rescale(rest, wide, scale).map(Ok)
            }
            NumericOperator::Divide => {
                if y == 0 {
                    return zero();
                }
                let digits = quotient_scale(a, b).min(i32::from(scale)) as i8;
                // x / 10^left ÷ y / 10^right, in units of 10^-digits.
                let shift = i32::from(digits) + i32::from(right.scale) - i32::from(left.scale);
                let (mut x, mut y) = (i256::from_i128(x), i256::from_i128(y));
                if shift >= 0 {
                    x = x.checked_mul(power(shift.unsigned_abs())?)?;
                } else {
                    y = y.checked_mul(power(shift.unsigned_abs())?)?;
                }
                rescale(round_divide(x, y)?.to_i128()?, digits, scale).map(Ok)
            }
        }
    }

    fn run(
        &self,
        left: (&Decimal128Array, Operand),
        right: (&Decimal128Array, Operand),
        scale: i8,
        rows: usize,
    ) -> Result<ArrayRef> {
        let ((a, x), (b, y)) = (left, right);
        let limit = 10u128.pow(u32::from(NUMERIC_PRECISION_MAX));
        let mut out = Decimal128Builder::with_capacity(rows)
            .with_precision_and_scale(NUMERIC_PRECISION_MAX, scale)?;
        for row in 0..rows {
            // An array of one value stands for all rows.
            let (i, j) = (if a.len() == 1 { 0 } else { row }, if b.len() == 1 { 0 } else { row });
            if a.is_null(i) || b.is_null(j) {
                out.append_null();
                continue;
            }
            let value = self
                .apply((a.value(i), x), (b.value(j), y), scale)
                .unwrap_or_else(|| Err(overflow(scale)))?;
            if value.unsigned_abs() >= limit {
                return Err(overflow(scale));
            }
            out.append_value(value);
        }
        Ok(Arc::new(out.finish()))
    }
}

fn overflow(scale: i8) -> datafusion::error::DataFusionError {
    Error::postgres("22003", "value overflows numeric format")
        .with_detail(format!(
            "This result has at most {} digits before and {scale} after the decimal point.",
            i16::from(NUMERIC_PRECISION_MAX) - i16::from(scale)
        ))
        .into()
}

fn power(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

fn widen(value: i128, from: i8, to: i8) -> Option<i256> {
    i256::from_i128(value).checked_mul(power(u32::try_from(to - from).ok()?)?)
}

/// Rounded half away from zero.
fn round_divide(x: i256, y: i256) -> Option<i256> {
    let quotient = x.checked_div(y)?;
    let rest = x.checked_rem(y)?.checked_abs()?;
    let twice = rest.checked_mul(i256::from_i128(2))?;
    if twice < y.checked_abs()? {
        return Some(quotient);
    }
    let step = if (x < i256::ZERO) == (y < i256::ZERO) { i256::ONE } else { i256::MINUS_ONE };
    quotient.checked_add(step)
}

/// How many digits after the point PostgreSQL gives a quotient: enough for 16 significant ones,
/// in groups of four as it stores them, and no fewer than either operand has.
fn quotient_scale(a: (i128, Operand), b: (i128, Operand)) -> i32 {
    let (first_a, weight_a) = leading_group(a.0, a.1.scale);
    let (first_b, weight_b) = leading_group(b.0, b.1.scale);
    let weight = weight_a - weight_b - i32::from(first_a <= first_b);
    (16 - 4 * weight).max(shown_scale(a)).max(shown_scale(b)).max(0)
}

/// The first group of four digits that is not zero, and the power of 10000 that it counts.
fn leading_group(value: i128, scale: i8) -> (u128, i32) {
    let value = value.unsigned_abs();
    let Some(digits) = value.checked_ilog10() else { return (0, 0) };
    let weight = (digits as i32 - i32::from(scale)).div_euclid(4);
    // The group's lowest digit is this far left of the value's.
    let shift = 4 * weight + i32::from(scale);
    let group = if shift >= 0 {
        value / 10u128.pow(shift.unsigned_abs())
    } else {
        value * 10u128.pow(shift.unsigned_abs())
    };
    (group, weight)
}

fn shown_scale((value, operand): (i128, Operand)) -> i32 {
    let mut scale = i32::from(operand.scale);
    if operand.free {
        let mut rest = value;
        while scale > 0 && rest % 10 == 0 {
            rest /= 10;
            scale -= 1;
        }
    }
    scale
}

impl ScalarUDFImpl for NumericFunction {
    fn name(&self) -> &str {
        match self.operator {
            NumericOperator::Add => "numeric_add",
            NumericOperator::Subtract => "numeric_sub",
            NumericOperator::Multiply => "numeric_mul",
            NumericOperator::Divide => "numeric_div",
            NumericOperator::Modulo => "numeric_mod",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        types
            .iter()
            .map(|data_type| {
                Ok(match data_type {
                    // `1e3` has a scale below zero.
                    DataType::Decimal128(p, s) if *s < 0 => {
                        DataType::Decimal128(p.saturating_add(s.unsigned_abs()).min(38), 0)
                    }
                    DataType::Decimal128(..) => data_type.clone(),
                    DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Null => {
                        DataType::Decimal128(19, 0)
                    }
                    DataType::Decimal256(_, s) => {
                        DataType::Decimal128(NUMERIC_PRECISION_MAX, (*s).clamp(0, 38))
                    }
                    other => {
                        return Err(internal(format_args!("{other} is no numeric")).into());
                    }
                })
            })
            .collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(internal("the type of a numeric operator depends on its operands' fields").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [left, right] = args.arg_fields else {
            return Err(internal("an operator has two operands").into());
        };
        let (scale, free) = self.result(operand(left), operand(right));
        let nullable = left.is_nullable() || right.is_nullable();
        let data_type = DataType::Decimal128(NUMERIC_PRECISION_MAX, scale);
        let field = Field::new(self.name(), data_type, nullable);
        Ok(Arc::new(if free {
            field.with_metadata([(SQL_TYPE_KEY.to_owned(), "numeric".to_owned())].into())
        } else {
            field
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let ([a, b], [x, y]) = (args.args.as_slice(), args.arg_fields.as_slice()) else {
            return Err(internal("an operator has two operands").into());
        };
        let DataType::Decimal128(_, scale) = args.return_field.data_type() else {
            return Err(internal("a numeric operator without a numeric result").into());
        };
        let array = |value: &ColumnarValue| -> Result<ArrayRef> {
            let array = match value {
                ColumnarValue::Array(array) => Arc::clone(array),
                ColumnarValue::Scalar(scalar) => scalar.to_array()?,
            };
            match array.data_type() {
                DataType::Decimal128(..) => Ok(array),
                _ => Ok(cast(&array, &DataType::Decimal128(19, 0))?),
            }
        };
        let (left, right) = (array(a)?, array(b)?);
        let scalar = matches!((a, b), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let result = self.run(
            (left.as_primitive::<Decimal128Type>(), operand(x)),
            (right.as_primitive::<Decimal128Type>(), operand(y)),
            *scale,
            rows,
        )?;
        Ok(if scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    }
}
