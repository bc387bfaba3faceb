//! Changing `jsonb`: concatenation, deletion, `jsonb_set`, `jsonb_insert`.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::function::{Call, Definition, P, f};
use super::json::{Json, at_index, jsonb, read};
use super::value::Value;
use crate::error::Error;

/// `a || b`: objects joined, anything else as arrays.
fn concat(a: Json, b: Json) -> Result<Json> {
    Ok(match (a, b) {
        (Json::Object(mut a), Json::Object(b)) => {
            a.extend(b);
            Json::Object(a)
        }
        (Json::Array(mut a), Json::Array(b)) => {
            a.extend(b);
            Json::Array(a)
        }
        (Json::Array(mut a), b) => {
            a.push(b);
            Json::Array(a)
        }
        (a, Json::Array(b)) => {
            let mut all = vec![a];
            all.extend(b);
            Json::Array(all)
        }
        (a, b) => Json::Array(vec![a, b]),
    })
}

fn scalar_error(what: &str) -> datafusion::common::DataFusionError {
    Error::postgres("22023", format!("cannot {what} scalar")).into()
}

/// `json - key`
fn delete_keys<'a>(mut json: Json, keys: impl Iterator<Item = &'a str>) -> Result<Json> {
    let keys: Vec<&str> = keys.collect();
    match &mut json {
        Json::Object(members) => members.retain(|key, _| !keys.contains(&key.as_str())),
        Json::Array(items) => {
            items.retain(|item| !item.as_str().is_some_and(|text| keys.contains(&text)));
        }
        _ => return Err(scalar_error("delete from")),
    }
    Ok(json)
}

fn delete_index(mut json: Json, index: i64) -> Result<Json> {
    match &mut json {
        Json::Array(items) => {
            if let Some(at) = at_index(items, index) {
                items.remove(at);
            }
        }
        Json::Object(_) => {
            let message = "cannot delete from object using integer index";
            return Err(Error::postgres("22023", message).into());
        }
        _ => return Err(scalar_error("delete from")),
    }
    Ok(json)
}

/// What to do at the end of a path.
enum Edit {
    Delete,
    /// `create_if_missing`
    Set(Json, bool),
    /// `insert_after`
    Insert(Json, bool),
}

fn edit(json: &mut Json, path: &[Value], depth: usize, action: Edit) -> Result<()> {
    let Some(step) = path.get(depth) else { return Ok(()) };
    if step.is_null() {
        let message = format!("path element at position {} is null", depth + 1);
        return Err(Error::postgres("22004", message).into());
    }
    let last = depth + 1 == path.len();
    match json {
        Json::Object(members) => {
            let key = step.text();
            if !last {
                return match members.get_mut(key) {
                    Some(inner) => edit(inner, path, depth + 1, action),
                    None => Ok(()),
                };
            }
            match action {
                Edit::Delete => {
                    members.shift_remove(key);
                }
                Edit::Set(value, create) => {
                    if create || members.contains_key(key) {
                        members.insert(key.to_owned(), value);
                    }
                }
                Edit::Insert(value, _) => {
                    if members.contains_key(key) {
                        return Err(Error::postgres("22023", "cannot replace existing key")
                            .with_hint("Try using the function jsonb_set to replace key value.")
                            .into());
                    }
                    members.insert(key.to_owned(), value);
                }
            }
        }
        Json::Array(items) => {
            let index: i64 = step.text().trim().parse::<i32>().map(i64::from).map_err(|_| {
                Error::postgres(
                    "22P02",
                    format!(
                        "path element at position {} is not an integer: \"{}\"",
                        depth + 1,
                        step.text()
                    ),
                )
            })?;
            let at = at_index(items, index);
            if !last {
                return match at {
                    Some(at) => edit(&mut items[at], path, depth + 1, action),
                    None => Ok(()),
                };
            }
            match (action, at) {
                (Edit::Delete, Some(at)) => {
                    items.remove(at);
                }
                (Edit::Delete, None) => {}
                (Edit::Set(value, _), Some(at)) => items[at] = value,
                (Edit::Set(value, true), None) => insert_outside(items, index, value),
                (Edit::Set(_, false), None) => {}
                (Edit::Insert(value, after), Some(at)) => {
                    items.insert(at + usize::from(after), value);
                }
                (Edit::Insert(value, _), None) => insert_outside(items, index, value),
            }
        }
        _ if depth == 0 => {
            return Err(scalar_error(match action {
                Edit::Delete => "delete path in",
                _ => "set path in",
            }));
        }
        _ => {}
    }
    Ok(())
}

/// Indexes beyond an end mean that end.
fn insert_outside(items: &mut Vec<Json>, index: i64, value: Json) {
    if index < 0 { items.insert(0, value) } else { items.push(value) }
}

fn edited(args: &[Value], action: Edit) -> Result<Value> {
    let mut json = read(args[0].text())?;
    if !matches!(json, Json::Object(_) | Json::Array(_)) {
        return Err(scalar_error(match action {
            Edit::Delete => "delete path in",
            _ => "set path in",
        }));
    }
    edit(&mut json, args[1].list(), 0, action)?;
    jsonb(&json)
}

fn flag(args: &[Value], default: bool) -> bool {
    match args.get(3) {
        Some(Value::Bool(flag)) => *flag,
        _ => default,
    }
}

/// `jsonb_set_lax`: what a NULL as the new value means is the fifth argument.
fn set_lax(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() || a[1].is_null() || a.get(3).is_some_and(Value::is_null) {
        return Ok(Value::Null);
    }
    if !a[2].is_null() {
        return edited(a, Edit::Set(read(a[2].text())?, flag(a, true)));
    }
    match a.get(4).map_or("use_json_null", Value::text) {
        "use_json_null" => edited(a, Edit::Set(Json::Null, flag(a, true))),
        "delete_key" => edited(a, Edit::Delete),
        "return_target" => Ok(a[0].clone()),
        "raise_exception" => Err(Error::postgres("22004", "JSON value must not be null").into()),
        _ => Err(Error::postgres(
            "22023",
            "null_value_treatment must be \"delete_key\", \"return_target\", \
             \"use_json_null\", or \"raise_exception\"",
        )
        .into()),
    }
}

fn result(_: &[SqlType]) -> SqlType {
    SqlType::Jsonb
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("jsonb_concat", &[P::Jsonb, P::Jsonb], result, |_, a| {
        jsonb(&concat(read(a[0].text())?, read(a[1].text())?)?)
    }),
    f("jsonb_delete", &[P::Jsonb, P::Text], result, |_, a| {
        jsonb(&delete_keys(read(a[0].text())?, std::iter::once(a[1].text()))?)
    }),
    f("jsonb_delete", &[P::Jsonb, P::TextArray], result, |_, a| {
        let keys = a[1].list().iter().filter(|key| !key.is_null()).map(Value::text);
        jsonb(&delete_keys(read(a[0].text())?, keys)?)
    }),
    f("jsonb_delete", &[P::Jsonb, P::Int4], result, |_, a| {
        jsonb(&delete_index(read(a[0].text())?, a[1].int())?)
    }),
    f("jsonb_delete_path", &[P::Jsonb, P::TextArray], result, |_, a| edited(a, Edit::Delete)),
    f("jsonb_set", &[P::Jsonb, P::TextArray, P::Jsonb, P::Bool], result, |_, a| {
        edited(a, Edit::Set(read(a[2].text())?, flag(a, true)))
    })
    .optional(1),
    f("jsonb_set_lax", &[P::Jsonb, P::TextArray, P::Jsonb, P::Bool, P::Text], result, set_lax)
        .optional(2)
        .called(),
    f("jsonb_insert", &[P::Jsonb, P::TextArray, P::Jsonb, P::Bool], result, |_, a| {
        edited(a, Edit::Insert(read(a[2].text())?, flag(a, false)))
    })
    .optional(1),
];
