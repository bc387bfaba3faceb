//! The order of values of one type.

use std::cmp::Ordering;

use super::value::{Decimal, Value};

/// Which of two values comes first; NULL after all others. Values of different types, which do
/// not occur, are equal.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => floats(*a, *b),
        (Value::Numeric(a), Value::Numeric(b)) => decimals(*a, *b),
        (Value::Int(a), Value::Numeric(b)) => {
            decimals(Decimal { units: (*a).into(), scale: 0 }, *b)
        }
        (Value::Numeric(a), Value::Int(b)) => {
            decimals(*a, Decimal { units: (*b).into(), scale: 0 })
        }
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b))
        | (Value::Timestamp(a), Value::Timestamp(b))
        | (Value::Timestamptz(a), Value::Timestamptz(b)) => a.cmp(b),
        (Value::Interval(a), Value::Interval(b)) => span(a).cmp(&span(b)),
        (Value::List(a), Value::List(b)) => {
            let differing = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|o| o.is_ne());
            differing.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        _ => Ordering::Equal,
    }
}

/// NaN is equal to itself and above all others; both zeros are one.
fn floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

fn decimals(a: Decimal, b: Decimal) -> Ordering {
    let scale = a.scale.max(b.scale);
    match (a.at_scale(scale), b.at_scale(scale)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => floats(a.to_f64(), b.to_f64()),
    }
}

/// An interval's length in microseconds: a month is 30 days, a day 24 hours.
pub(crate) fn span(i: &crate::text::interval::Interval) -> i128 {
    const DAY: i128 = 86_400_000_000;
    (i128::from(i.months) * 30 + i128::from(i.days)) * DAY + i128::from(i.micros)
}
