//! The order of values whose texts or lists are in another: keys to sort by, comparisons of
//! arrays, `ANY` and `ALL`.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use chronos_catalog::SqlType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::compare::compare;
use super::convert::{convert, parse};
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::text::kept;

const BOOL: fn(&[SqlType]) -> SqlType = |_| SqlType::Bool;

/// The order of two values of a type; NULL after all others.
pub(super) fn compare_typed(a: &Value, b: &Value, ty: &SqlType) -> Result<Ordering> {
    Ok(match (a, b, ty) {
        (Value::Text(x), Value::Text(y), SqlType::Other(other)) if kept::has_key(ty) => {
            kept::key(*other, x)?.cmp(&kept::key(*other, y)?)
        }
        (Value::List(x), Value::List(y), SqlType::Array(item)) => {
            for (x, y) in x.iter().zip(y) {
                let order = compare_typed(x, y, item)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            x.len().cmp(&y.len())
        }
        _ => compare(a, b),
    })
}

/// The type that values of both are compared as.
fn common(a: &SqlType, b: &SqlType) -> SqlType {
    use SqlType as T;
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (T::Float4 | T::Float8, b) if b.is_number() => T::Float8,
        (a, T::Float4 | T::Float8) if a.is_number() => T::Float8,
        // Integers and decimals compare as they are.
        (a, b) if a.is_number() && b.is_number() => a.clone(),
        (T::Timestamptz, T::Date | T::Timestamp) | (T::Date | T::Timestamp, T::Timestamptz) => {
            T::Timestamptz
        }
        (T::Timestamp, T::Date) | (T::Date, T::Timestamp) => T::Timestamp,
        (a, b) if super::convert::is_text(a) && !super::convert::is_text(b) => b.clone(),
        (a, _) => a.clone(),
    }
}

/// A value as one of the common type, where it is not of integers and decimals.
fn made(value: &Value, from: &SqlType, to: &SqlType, c: &Call<'_>) -> Result<Value> {
    if from == to || (from.is_number() && to.is_number() && *to != SqlType::Float8) {
        return Ok(value.clone());
    }
    convert(value.clone(), from, to, c.zone)
}

fn holds(order: Ordering, op: &str) -> bool {
    match op {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// `x op ANY (array)` and `x op ALL (array)`: the arguments are x, the operator and the array.
fn quantified(c: &Call<'_>, a: &[Value], any: bool) -> Result<Value> {
    let left = &c.types[0];
    // A string literal is an array of the operand's type.
    let (list, item) = match (&c.types[2], &a[2]) {
        (_, Value::Null) => return Ok(Value::Null),
        (SqlType::Array(item), list) => (list.clone(), item.as_ref().clone()),
        (_, Value::Text(text)) => {
            let array = SqlType::Array(Box::new(left.clone()));
            (parse(text, &array, c.zone)?, left.clone())
        }
        _ => {
            let message = "op ANY/ALL (array) requires array on right side";
            return Err(Error::postgres("42809", message).into());
        }
    };
    let ty = common(left, &item);
    let mut unknown = false;
    let x = made(&a[0], left, &ty, c)?;
    for value in flat(&list) {
        if value.is_null() || x.is_null() {
            unknown = true;
            continue;
        }
        let value = made(value, &item, &ty, c)?;
        if holds(compare_typed(&x, &value, &ty)?, a[1].text()) == any {
            return Ok(any.into());
        }
    }
    Ok(if unknown { Value::Null } else { (!any).into() })
}

/// The elements of an array of any dimensions.
pub(super) fn flat(value: &Value) -> Vec<&Value> {
    match value {
        Value::List(items) if items.iter().any(|item| matches!(item, Value::List(_))) => {
            items.iter().flat_map(flat).collect()
        }
        Value::List(items) => items.iter().collect(),
        _ => Vec::new(),
    }
}

fn compared(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (Some(SqlType::Array(left)), Some(SqlType::Array(right))) =
        (c.types.first(), c.types.get(1))
    else {
        return Ok(Value::Null);
    };
    let ty = SqlType::Array(Box::new(common(left, right)));
    let (x, y) = (made(&a[0], &c.types[0], &ty, c)?, made(&a[1], &c.types[1], &ty, c)?);
    Ok(Value::Int(compare_typed(&x, &y, &ty)? as i64))
}

/// The greatest or the least of the arguments that are not NULL.
fn extreme(c: &Call<'_>, a: &[Value], wanted: Ordering) -> Result<Value> {
    let ty = first(c.types);
    let mut best = Value::Null;
    for (value, from) in a.iter().zip(c.types).filter(|(value, _)| !value.is_null()) {
        let value = convert(value.clone(), from, &ty, c.zone)?;
        if best.is_null() || compare_typed(&value, &best, &ty)? == wanted {
            best = value;
        }
    }
    Ok(best)
}

fn first(types: &[SqlType]) -> SqlType {
    types.first().cloned().unwrap_or(SqlType::Text)
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f(
        "_order_key",
        &[P::Any],
        |_| SqlType::Bytea,
        |c, a| match &c.types[0] {
            SqlType::Other(ty) => {
                Ok(kept::key(*ty, a[0].text())?.map_or(Value::Null, Value::Bytes))
            }
            _ => Ok(Value::Null),
        },
    ),
    f("_any", &[P::Any, P::Text, P::Any], BOOL, |c, a| quantified(c, a, true)).called(),
    f("_all", &[P::Any, P::Text, P::Any], BOOL, |c, a| quantified(c, a, false)).called(),
    f("_array_compare", &[P::Array, P::Array], |_| SqlType::Int4, compared),
    f("_greatest", &[P::Any], first, |c, a| extreme(c, a, Ordering::Greater)).variadic().called(),
    f("_least", &[P::Any], first, |c, a| extreme(c, a, Ordering::Less)).variadic().called(),
];

/// `min` or `max` of a type whose order is not that of its texts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    greatest: bool,
    ty: SqlType,
    signature: Signature,
}

/// `min` or `max` of values of a type.
pub(crate) fn extreme_of(ty: &SqlType, greatest: bool) -> Arc<AggregateUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Extreme { greatest, ty: ty.clone(), signature }))
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        if self.greatest { "max" } else { "min" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.ty.arrow())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::new(self.ty.field(self.name(), true)))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let (greatest, ty) = (self.greatest, self.ty.clone());
        Ok(Box::new(Best { greatest, ty, best: None }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(self.ty.field(args.name, true))])
    }
}

#[derive(Debug)]
struct Best {
    greatest: bool,
    ty: SqlType,
    best: Option<(Vec<u8>, String)>,
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let (Some(values), SqlType::Other(ty)) = (values.first(), &self.ty) else { return Ok(()) };
        let values = arrow::compute::cast(values, &DataType::Utf8View)?;
        for text in values.as_string_view().iter().flatten() {
            let key = kept::key(*ty, text)?.unwrap_or_default();
            let better = self
                .best
                .as_ref()
                .is_none_or(|(best, _)| if self.greatest { key > *best } else { key < *best });
            if better {
                self.best = Some((key, text.to_owned()));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Utf8View(self.best.as_ref().map(|(_, text)| text.clone())))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.best.as_ref().map_or(0, |(key, text)| key.len() + text.len())
    }
}
