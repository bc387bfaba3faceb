//! Ordered-set aggregates as functions of the ordered array of their inputs.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::compare::compare;
use super::convert::convert;
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::text::interval::Interval;

fn item_type(types: &[SqlType]) -> SqlType {
    match types.first() {
        Some(SqlType::Array(item)) => item.as_ref().clone(),
        _ => SqlType::Text,
    }
}

/// What a percentile between values is: of intervals an interval, else a double.
fn between_type(types: &[SqlType]) -> SqlType {
    match item_type(types) {
        SqlType::Interval => SqlType::Interval,
        _ => SqlType::Float8,
    }
}

fn list_of(ty: SqlType) -> SqlType {
    SqlType::Array(Box::new(ty))
}

fn fraction(value: &Value) -> Result<f64> {
    match value {
        Value::Float(x) if (0.0..=1.0).contains(x) => Ok(*x),
        Value::Float(x) => {
            let message = format!("percentile value {x} is not between 0 and 1");
            Err(Error::postgres("22003", message).into())
        }
        _ => Ok(0.0),
    }
}

fn present(values: &Value) -> Vec<&Value> {
    values.list().iter().filter(|v| !v.is_null()).collect()
}

fn discrete(values: &[&Value], at: f64) -> Value {
    let place = (at * values.len() as f64).ceil().max(1.0) as usize - 1;
    values.get(place).map_or(Value::Null, |v| (*v).clone())
}

fn continuous(c: &Call<'_>, values: &[&Value], at: f64) -> Result<Value> {
    if values.is_empty() {
        return Ok(Value::Null);
    }
    let place = at * (values.len() - 1) as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    let part = place.fract();
    if let (Value::Interval(low), Value::Interval(high)) = (low, high) {
        let mix = |a: i64, b: i64| a as f64 + (b as f64 - a as f64) * part;
        let days = mix(low.days.into(), high.days.into());
        let time = mix(low.micros, high.micros) + days.fract() * 86_400e6;
        return Ok(Value::Interval(Interval {
            months: mix(low.months.into(), high.months.into()) as i32,
            days: days as i32,
            micros: time.round() as i64,
        }));
    }
    let item = item_type(c.types);
    let number = |value: &Value| match convert(value.clone(), &item, &SqlType::Float8, c.zone)? {
        Value::Float(x) => Ok::<f64, datafusion::common::DataFusionError>(x),
        _ => Ok(0.0),
    };
    let (low, high) = (number(low)?, number(high)?);
    Ok(Value::Float(low + (high - low) * part))
}

/// The fractions of an array argument, as doubles.
fn fractions(c: &Call<'_>, a: &Value) -> Result<Vec<Option<f64>>> {
    let SqlType::Array(item) = &c.types[1] else { return Ok(Vec::new()) };
    a.list()
        .iter()
        .map(|value| match convert(value.clone(), item, &SqlType::Float8, c.zone)? {
            Value::Null => Ok(None),
            value => fraction(&value).map(Some),
        })
        .collect()
}

fn mode(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let values = present(&a[0]);
    let mut best: Option<(&Value, usize)> = None;
    let mut at = 0;
    while at < values.len() {
        let run = values[at..].iter().take_while(|v| compare(v, values[at]).is_eq()).count();
        if best.is_none_or(|(_, count)| run > count) {
            best = Some((values[at], run));
        }
        at += run;
    }
    Ok(best.map_or(Value::Null, |(value, _)| value.clone()))
}

/// Rows before a hypothetical one, rows up to it, distinct values before it, and all rows.
fn places(c: &Call<'_>, a: &[Value]) -> Result<(i64, i64, i64, i64)> {
    let item = item_type(c.types);
    let row = convert(a[1].clone(), &c.types[1], &item, c.zone)?;
    let descending = matches!(a[2], Value::Bool(true));
    let order = |v: &Value| {
        let order = compare(v, &row);
        if descending { order.reverse() } else { order }
    };
    let values = a[0].list();
    let before: Vec<&Value> = values.iter().filter(|v| order(v).is_lt()).collect();
    let upto = values.iter().filter(|v| order(v).is_le()).count();
    let mut distinct = 0;
    for (i, value) in before.iter().enumerate() {
        if i == 0 || compare(value, before[i - 1]).is_ne() {
            distinct += 1;
        }
    }
    Ok((before.len() as i64, upto as i64, distinct, values.len() as i64))
}

const INT8: fn(&[SqlType]) -> SqlType = |_| SqlType::Int8;
const FLOAT: fn(&[SqlType]) -> SqlType = |_| SqlType::Float8;

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("_percentile_cont", &[P::Array, P::Float], between_type, |c, a| {
        continuous(c, &present(&a[0]), fraction(&a[1])?)
    }),
    f(
        "_percentile_cont",
        &[P::Array, P::Array],
        |t| list_of(between_type(t)),
        |c, a| {
            let values = present(&a[0]);
            let found = fractions(c, &a[1])?.into_iter().map(|at| match at {
                Some(at) => continuous(c, &values, at),
                None => Ok(Value::Null),
            });
            Ok(Value::List(found.collect::<Result<_>>()?))
        },
    ),
    f("_percentile_disc", &[P::Array, P::Float], item_type, |_, a| {
        Ok(discrete(&present(&a[0]), fraction(&a[1])?))
    }),
    f(
        "_percentile_disc",
        &[P::Array, P::Array],
        |t| list_of(item_type(t)),
        |c, a| {
            let values = present(&a[0]);
            let found = fractions(c, &a[1])?.into_iter();
            Ok(Value::List(
                found.map(|at| at.map_or(Value::Null, |at| discrete(&values, at))).collect(),
            ))
        },
    ),
    f("_mode", &[P::Array], item_type, mode),
    f("_rank", &[P::Array, P::Any, P::Bool], INT8, |c, a| Ok(Value::Int(places(c, a)?.0 + 1))),
    f("_dense_rank", &[P::Array, P::Any, P::Bool], INT8, |c, a| {
        Ok(Value::Int(places(c, a)?.2 + 1))
    }),
    f("_percent_rank", &[P::Array, P::Any, P::Bool], FLOAT, |c, a| {
        let (before, _, _, all) = places(c, a)?;
        Ok(Value::Float(if all == 0 { 0.0 } else { before as f64 / all as f64 }))
    }),
    f("_cume_dist", &[P::Array, P::Any, P::Bool], FLOAT, |c, a| {
        let (_, upto, _, all) = places(c, a)?;
        Ok(Value::Float((upto + 1) as f64 / (all + 1) as f64))
    }),
];
