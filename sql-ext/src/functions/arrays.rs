//! Functions of arrays, by PostgreSQL's names and meanings.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::compare::compare;
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;

const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;

/// The type of the first array among the arguments.
fn array_type(types: &[SqlType]) -> SqlType {
    types.iter().find(|ty| matches!(ty, SqlType::Array(_))).cloned().unwrap_or_else(|| {
        SqlType::Array(Box::new(types.first().cloned().unwrap_or(SqlType::Text)))
    })
}

fn item_type(types: &[SqlType]) -> SqlType {
    match array_type(types) {
        SqlType::Array(item) => *item,
        other => other,
    }
}

/// An array of the first argument's type.
fn array_of_first(types: &[SqlType]) -> SqlType {
    SqlType::Array(Box::new(types.first().cloned().unwrap_or(SqlType::Text)))
}

/// An argument as an item of the array.
fn item(c: &Call<'_>, a: &[Value], at: usize) -> Result<Value> {
    super::convert::convert(a[at].clone(), &c.types[at], &item_type(c.types), c.zone)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (a, b) => compare(a, b).is_eq(),
    }
}

fn position(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let wanted = item(c, a, 1)?;
    let from = a.get(2).map_or(1, Value::int).max(1) as usize - 1;
    let found = a[0].list().iter().skip(from).position(|v| same(v, &wanted));
    Ok(found.map_or(Value::Null, |at| Value::Int((at + from + 1) as i64)))
}

fn positions(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let wanted = item(c, a, 1)?;
    let places = a[0].list().iter().enumerate().filter(|(_, v)| same(v, &wanted));
    Ok(Value::List(places.map(|(at, _)| Value::Int(at as i64 + 1)).collect()))
}

fn remove(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let gone = item(c, a, 1)?;
    Ok(Value::List(a[0].list().iter().filter(|v| !same(v, &gone)).cloned().collect()))
}

fn replace(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let (old, new) = (item(c, a, 1)?, item(c, a, 2)?);
    let items = a[0].list().iter();
    Ok(Value::List(items.map(|v| if same(v, &old) { new.clone() } else { v.clone() }).collect()))
}

fn length(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let count = a[0].list().len();
    let first = a.get(1).is_none_or(|d| d.int() == 1);
    Ok(if first && count > 0 { Value::Int(count as i64) } else { Value::Null })
}

/// Items from one place to another, both counted from 1.
fn slice(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let items = a[0].list();
    let low = a[1].int().max(1) as usize - 1;
    let high = (a[2].int().max(0) as usize).min(items.len());
    Ok(Value::List(if low < high { items[low..high].to_vec() } else { Vec::new() }))
}

fn subscript(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let at = usize::try_from(a[1].int()).ok().and_then(|at| at.checked_sub(1));
    Ok(at.and_then(|at| a[0].list().get(at).cloned()).unwrap_or(Value::Null))
}

fn fill(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    match a[1].list() {
        [count] => {
            let count = usize::try_from(count.int()).unwrap_or(0);
            if count > 1 << 24 {
                return Err(
                    Error::postgres("54000", "array size exceeds the maximum allowed").into()
                );
            }
            Ok(Value::List(vec![a[0].clone(); count]))
        }
        [] => Ok(Value::List(Vec::new())),
        _ => Err(Error::unsupported("array_fill of several dimensions").into()),
    }
}

fn append(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let mut items = a[0].list().to_vec();
    items.push(item(c, a, 1)?);
    Ok(Value::List(items))
}

fn prepend(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let mut items = vec![item(c, a, 0)?];
    items.extend(a[1].list().iter().cloned());
    Ok(Value::List(items))
}

fn cat(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() && a[1].is_null() {
        return Ok(Value::Null);
    }
    Ok(Value::List(a[0].list().iter().chain(a[1].list()).cloned().collect()))
}

fn trim(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let items = a[0].list();
    let drop = usize::try_from(a[1].int()).ok().filter(|d| *d <= items.len()).ok_or_else(|| {
        let message = format!("number of elements to trim must be between 0 and {}", items.len());
        Error::postgres("2202E", message)
    })?;
    Ok(Value::List(items[..items.len() - drop].to_vec()))
}

/// An array's items in order; which way, and whether NULLs come first.
fn sorted(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let is = |value: &Value| matches!(value, Value::Bool(true));
    let (ascending, nulls_first) = (is(&a[1]), is(&a[2]));
    let (nulls, mut items): (Vec<Value>, Vec<Value>) =
        a[0].list().iter().cloned().partition(Value::is_null);
    items.sort_by(|a, b| if ascending { compare(a, b) } else { compare(b, a) });
    let sorted = if nulls_first { [nulls, items] } else { [items, nulls] };
    Ok(Value::List(sorted.concat()))
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("_sorted", &[P::Array, P::Bool, P::Bool], array_type, sorted).called(),
    f("_array", &[P::Any], array_of_first, |_, a| Ok(Value::List(a.to_vec()))).variadic().called(),
    f("array_position", &[P::Array, P::Any, P::Int4], INT4, position).optional(1).called(),
    f(
        "array_positions",
        &[P::Array, P::Any],
        |_| SqlType::Array(Box::new(SqlType::Int4)),
        positions,
    )
    .called(),
    f("array_remove", &[P::Array, P::Any], array_type, remove).called(),
    f("array_replace", &[P::Array, P::Any, P::Any], array_type, replace).called(),
    f("array_length", &[P::Array, P::Int4], INT4, length),
    f("array_upper", &[P::Array, P::Int4], INT4, length),
    f("array_lower", &[P::Array, P::Int4], INT4, |c, a| {
        Ok(if length(c, a)?.is_null() { Value::Null } else { Value::Int(1) })
    }),
    f("array_ndims", &[P::Array], INT4, |_, a| {
        Ok(if a[0].list().is_empty() { Value::Null } else { Value::Int(1) })
    }),
    f(
        "array_dims",
        &[P::Array],
        |_| SqlType::Text,
        |_, a| {
            let count = a[0].list().len();
            Ok(if count == 0 { Value::Null } else { Value::Text(format!("[1:{count}]")) })
        },
    ),
    f("cardinality", &[P::Array], INT4, |_, a| Ok(Value::Int(a[0].list().len() as i64))),
    f("_slice", &[P::Array, P::Int8, P::Int8], array_type, slice),
    f("_subscript", &[P::Array, P::Int8], item_type, subscript),
    f("array_fill", &[P::Any, P::Array], array_of_first, fill).called(),
    f("array_append", &[P::Array, P::Any], array_type, append).called(),
    f(
        "array_append",
        &[P::Any, P::Any],
        |t| SqlType::Array(Box::new(t[1].clone())),
        |_, a| Ok(Value::List(vec![a[1].clone()])),
    )
    .called(),
    f("array_prepend", &[P::Any, P::Array], array_type, prepend).called(),
    f("array_cat", &[P::Array, P::Array], array_type, cat).called(),
    f("array_cat", &[P::Any, P::Array], array_type, |_, a| Ok(a[1].clone())).called(),
    f("array_cat", &[P::Array, P::Any], array_type, |_, a| Ok(a[0].clone())).called(),
    f("trim_array", &[P::Array, P::Int4], array_type, trim),
    f(
        "_array_overlap",
        &[P::Array, P::Array],
        |_| SqlType::Bool,
        |_, a| {
            let both = |x: &Value| !x.is_null() && a[1].list().iter().any(|y| same(x, y));
            Ok(a[0].list().iter().any(both).into())
        },
    ),
];
