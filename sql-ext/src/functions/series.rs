//! `generate_series` over numbers and times, as lists that are unnested.

use chronos_catalog::SqlType;
use datafusion::common::{DataFusionError, Result};

use super::datetime::moved;
use super::function::{Call, Definition, P, f};
use super::value::{Decimal, Value};
use crate::error::Error;

/// Items of one series: what a list in memory may have.
const ITEMS_MAX: usize = 50_000_000;

fn list(types: &[SqlType]) -> SqlType {
    let wide = types.contains(&SqlType::Int8);
    SqlType::Array(Box::new(if wide { SqlType::Int8 } else { SqlType::Int4 }))
}

fn no_step() -> DataFusionError {
    Error::postgres("22023", "step size cannot equal zero").into()
}

fn too_long() -> DataFusionError {
    Error::postgres("54000", "the series is too long").into()
}

fn integers(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (start, stop) = (a[0].int(), a[1].int());
    let step = a.get(2).map_or(1, Value::int);
    if step == 0 {
        return Err(no_step());
    }
    let mut items = Vec::new();
    let mut at = start;
    while if step > 0 { at <= stop } else { at >= stop } {
        items.push(Value::Int(at));
        if items.len() > ITEMS_MAX {
            return Err(too_long());
        }
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(Value::List(items))
}

fn decimals(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let numeric = |value: &Value| match value {
        Value::Numeric(n) => *n,
        Value::Int(i) => Decimal { units: (*i).into(), scale: 0 },
        _ => Decimal { units: 0, scale: 0 },
    };
    let one = Decimal { units: 1, scale: 0 };
    let (start, stop) = (numeric(&a[0]), numeric(&a[1]));
    let step = a.get(2).map_or(one, numeric);
    let scale = start.scale.max(stop.scale).max(step.scale);
    let overflow = || Error::postgres("22003", "value overflows numeric format");
    let at_scale = |n: Decimal| n.at_scale(scale).ok_or_else(overflow);
    let (mut at, stop, step) = (at_scale(start)?, at_scale(stop)?, at_scale(step)?);
    if step == 0 {
        return Err(no_step());
    }
    let mut items = Vec::new();
    while if step > 0 { at <= stop } else { at >= stop } {
        items.push(Value::Numeric(Decimal { units: at, scale }));
        if items.len() > ITEMS_MAX {
            return Err(too_long());
        }
        at += step;
    }
    Ok(Value::List(items))
}

fn micros(value: &Value) -> i64 {
    match value {
        Value::Timestamp(t) | Value::Timestamptz(t) => *t,
        _ => 0,
    }
}

fn times(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let Value::Interval(step) = &a[2] else { return Ok(Value::Null) };
    let length = super::compare::span(step);
    if length == 0 {
        return Err(no_step());
    }
    let stop = micros(&a[1]);
    let mut items = Vec::new();
    let mut at = a[0].clone();
    while if length > 0 { micros(&at) <= stop } else { micros(&at) >= stop } {
        items.push(at.clone());
        if items.len() > ITEMS_MAX {
            return Err(too_long());
        }
        at = moved(&at, *step, c.zone)?;
    }
    Ok(Value::List(items))
}

/// The scale of a series is that of its arguments.
fn numerics(types: &[SqlType]) -> SqlType {
    let mut scale = 0;
    for ty in types {
        match ty {
            SqlType::Numeric(Some((_, s))) => scale = scale.max(*s),
            SqlType::Numeric(None) => return SqlType::Array(Box::new(SqlType::Numeric(None))),
            _ => {}
        }
    }
    SqlType::Array(Box::new(SqlType::Numeric(Some((38, scale)))))
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("generate_series", &[P::Int8, P::Int8, P::Int8], list, integers).optional(1),
    f("generate_series", &[P::Numeric, P::Numeric, P::Numeric], numerics, decimals).optional(1),
    f(
        "generate_series",
        &[P::Timestamptz, P::Timestamptz, P::Interval],
        |_| SqlType::Array(Box::new(SqlType::Timestamptz)),
        times,
    ),
    f(
        "generate_series",
        &[P::Timestamp, P::Timestamp, P::Interval],
        |_| SqlType::Array(Box::new(SqlType::Timestamp)),
        times,
    ),
];
