//! Reading `json` and `jsonb`: access, containment, sets of elements, and building.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::convert::text_of;
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::text::json as form;

/// A parsed document. Object keys keep the order of the text until it is written as `jsonb`.
pub(crate) type Json = serde_json::Value;

/// Parses a document.
pub(crate) fn read(text: &str) -> Result<Json> {
    Ok(serde_json::from_str(text).map_err(|_| {
        form::validate(text)
            .err()
            .unwrap_or_else(|| Error::postgres("22P02", "invalid input syntax for type json"))
    })?)
}

/// A document as `jsonb` shows it.
pub(crate) fn jsonb(json: &Json) -> Result<Value> {
    let mut out = String::new();
    form::write(&mut out, json)?;
    Ok(Value::Text(out))
}

/// A document in the form of a `json` or a `jsonb`.
fn shown(json: &Json, ty: &SqlType) -> Result<Value> {
    if *ty == SqlType::Json { Ok(Value::Text(json.to_string())) } else { jsonb(json) }
}

/// What `->>` gives: strings without quotes, NULL for null.
fn as_text(json: &Json, ty: &SqlType) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::String(text) => Value::Text(text.clone()),
        other => shown(other, ty)?,
    })
}

pub(crate) fn at_index(items: &[Json], index: i64) -> Option<usize> {
    let at = if index < 0 { index + items.len() as i64 } else { index };
    usize::try_from(at).ok().filter(|at| *at < items.len())
}

fn field<'a>(json: &'a Json, key: &Value) -> Option<&'a Json> {
    match (json, key) {
        (Json::Object(members), Value::Text(key)) => members.get(key),
        (Json::Array(items), Value::Int(index)) => items.get(at_index(items, *index)?),
        _ => None,
    }
}

/// The element at a path of keys and indexes.
fn at_path<'a>(json: &'a Json, path: &[Value]) -> Option<&'a Json> {
    path.iter().try_fold(json, |json, step| match (json, step) {
        (Json::Object(members), Value::Text(key)) => members.get(key),
        (Json::Array(items), Value::Text(index)) => {
            items.get(at_index(items, index.trim().parse().ok()?)?)
        }
        _ => None,
    })
}

/// `a @> b`
pub(crate) fn contains(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Object(a), Json::Object(b)) => {
            b.iter().all(|(key, b)| a.get(key).is_some_and(|a| contains(a, b)))
        }
        (Json::Array(a), Json::Array(b)) => b.iter().all(|b| {
            a.iter().any(|a| match b {
                Json::Object(_) | Json::Array(_) => {
                    std::mem::discriminant(a) == std::mem::discriminant(b) && contains(a, b)
                }
                _ => equal(a, b),
            })
        }),
        (Json::Array(a), b) if !b.is_object() => a.iter().any(|a| equal(a, b)),
        _ => equal(a, b),
    }
}

/// Whether two documents are the same `jsonb`: numbers by value, members in any order.
pub(crate) fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.to_string(), b.to_string());
            a == b || number_key(&a) == number_key(&b)
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Sign, digits without zeros around them, and the place of the point: equal for equal numbers.
fn number_key(text: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let leading = digits.len() - significant.len();
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() {
        return (false, String::new(), 0);
    }
    let exponent: i64 = exponent.parse().unwrap_or(0);
    (negative, significant.to_owned(), whole.len() as i64 - leading as i64 + exponent)
}

/// `?`: a key of an object, a string of an array, or the string itself.
pub(crate) fn exists(json: &Json, key: &str) -> bool {
    match json {
        Json::Object(members) => members.contains_key(key),
        Json::Array(items) => items.iter().any(|item| item.as_str() == Some(key)),
        Json::String(text) => text == key,
        _ => false,
    }
}

/// `to_jsonb` of any value.
pub(crate) fn from_value(value: &Value, ty: &SqlType, call: &Call<'_>) -> Result<Json> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Text(text) if matches!(ty, SqlType::Json | SqlType::Jsonb) => read(text)?,
        Value::Int(_) | Value::Numeric(_) => {
            let text = text_of(value, ty, call.zone)?;
            Json::Number(number(&text)?)
        }
        Value::Float(x) if x.is_finite() => {
            let text = text_of(value, ty, call.zone)?;
            Json::Number(number(&text)?)
        }
        // ISO 8601, with a T and the offset in full.
        Value::Timestamp(_) => Json::String(text_of(value, ty, call.zone)?.replacen(' ', "T", 1)),
        Value::Timestamptz(_) => {
            let text = text_of(value, ty, call.zone)?.replacen(' ', "T", 1);
            let offset = text.rfind(['+', '-']).filter(|at| *at > 10);
            let short = offset.is_some_and(|at| text.len() - at == 3);
            Json::String(if short { format!("{text}:00") } else { text })
        }
        Value::List(items) => {
            let SqlType::Array(item) = ty else { return Ok(Json::Null) };
            let items = items.iter().map(|value| match value {
                // A dimension more is of the same type.
                Value::List(_) => from_value(value, ty, call),
                value => from_value(value, item, call),
            });
            Json::Array(items.collect::<Result<_>>()?)
        }
        _ => Json::String(text_of(value, ty, call.zone)?),
    })
}

fn number(text: &str) -> Result<serde_json::Number> {
    match read(text)? {
        Json::Number(number) => Ok(number),
        _ => Err(Error::postgres("22P02", "invalid input syntax for type json").into()),
    }
}

/// The arguments of `jsonb_build_object`, as members.
fn members(call: &Call<'_>, args: &[Value], name: &str) -> Result<serde_json::Map<String, Json>> {
    if args.len() % 2 == 1 {
        return Err(Error::postgres("22023", "argument list must have even number of elements")
            .with_hint(format!(
                "The arguments of {name}() must consist of alternating keys and values."
            ))
            .into());
    }
    let mut members = serde_json::Map::new();
    for (at, pair) in args.chunks(2).enumerate() {
        if pair[0].is_null() {
            return Err(Error::postgres(
                "22023",
                format!("argument {}: key must not be null", at * 2 + 1),
            )
            .into());
        }
        let key = text_of(&pair[0], &call.types[at * 2], call.zone)?;
        members.insert(key, from_value(&pair[1], &call.types[at * 2 + 1], call)?);
    }
    Ok(members)
}

/// The name of a value's type, as `jsonb_typeof` gives it.
pub(super) fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn elements(json: Json, name: &str) -> Result<Vec<Json>> {
    match json {
        Json::Array(items) => Ok(items),
        Json::Object(_) => Err(Error::postgres("22023", format!("cannot {name} an object")).into()),
        _ => Err(Error::postgres("22023", format!("cannot {name} a scalar")).into()),
    }
}

/// An object's members as `jsonb` orders them.
fn ordered(json: Json, name: &str) -> Result<Vec<(String, Json)>> {
    match json {
        Json::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            Ok(members)
        }
        Json::Array(_) => {
            Err(Error::postgres("22023", format!("cannot call {name} on an array")).into())
        }
        _ => Err(Error::postgres("22023", format!("cannot call {name} on a scalar")).into()),
    }
}

fn strip_nulls(json: Json) -> Json {
    match json {
        Json::Object(members) => Json::Object(
            members
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, strip_nulls(value)))
                .collect(),
        ),
        Json::Array(items) => Json::Array(items.into_iter().map(strip_nulls).collect()),
        other => other,
    }
}

fn pretty(out: &mut String, json: &Json, depth: usize) -> Result<()> {
    let indent = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"    ".repeat(depth));
    };
    match json {
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                indent(out, depth + 1);
                pretty(out, item, depth + 1)?;
            }
            indent(out, depth);
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, value)) in ordered(Json::Object(members.clone()), "")?.iter().enumerate()
            {
                out.push_str(if i > 0 { "," } else { "" });
                indent(out, depth + 1);
                form::string(out, key)?;
                out.push_str(": ");
                pretty(out, value, depth + 1)?;
            }
            indent(out, depth);
            out.push('}');
        }
        scalar => form::write(out, scalar)?,
    }
    Ok(())
}

fn boolean(_: &[SqlType]) -> SqlType {
    SqlType::Bool
}

fn text(_: &[SqlType]) -> SqlType {
    SqlType::Text
}

fn first(types: &[SqlType]) -> SqlType {
    types.first().cloned().filter(|ty| *ty == SqlType::Json).unwrap_or(SqlType::Jsonb)
}

fn is_jsonb(_: &[SqlType]) -> SqlType {
    SqlType::Jsonb
}

fn is_json(_: &[SqlType]) -> SqlType {
    SqlType::Json
}

fn texts(_: &[SqlType]) -> SqlType {
    SqlType::Array(Box::new(SqlType::Text))
}

fn jsonbs(_: &[SqlType]) -> SqlType {
    SqlType::Array(Box::new(SqlType::Jsonb))
}

fn jsons(_: &[SqlType]) -> SqlType {
    SqlType::Array(Box::new(SqlType::Json))
}

fn int4(_: &[SqlType]) -> SqlType {
    SqlType::Int4
}

fn get(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    field(&json, &a[1]).map_or(Ok(Value::Null), |found| shown(found, &first(c.types)))
}

fn get_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    field(&json, &a[1]).map_or(Ok(Value::Null), |found| as_text(found, &first(c.types)))
}

fn get_path(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    at_path(&json, a[1].list()).map_or(Ok(Value::Null), |found| shown(found, &first(c.types)))
}

fn get_path_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    at_path(&json, a[1].list()).map_or(Ok(Value::Null), |found| as_text(found, &first(c.types)))
}

fn extract(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    at_path(&json, &a[1..]).map_or(Ok(Value::Null), |found| shown(found, &first(c.types)))
}

fn extract_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    at_path(&json, &a[1..]).map_or(Ok(Value::Null), |found| as_text(found, &first(c.types)))
}

fn array_elements(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let ty = first(c.types);
    let items = elements(read(a[0].text())?, "extract elements from")?;
    Ok(Value::List(items.iter().map(|item| shown(item, &ty)).collect::<Result<_>>()?))
}

fn array_elements_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let ty = first(c.types);
    let items = elements(read(a[0].text())?, "extract elements from")?;
    Ok(Value::List(items.iter().map(|item| as_text(item, &ty)).collect::<Result<_>>()?))
}

fn object_keys(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let json = read(a[0].text())?;
    let keys: Vec<String> = match (first(c.types), json) {
        (SqlType::Json, Json::Object(members)) => members.into_iter().map(|(k, _)| k).collect(),
        (_, json) => ordered(json, "jsonb_object_keys")?.into_iter().map(|(key, _)| key).collect(),
    };
    Ok(Value::List(keys.into_iter().map(Value::Text).collect()))
}

fn object_values(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let ty = first(c.types);
    let members = ordered(read(a[0].text())?, "jsonb_each")?;
    Ok(Value::List(members.iter().map(|(_, value)| shown(value, &ty)).collect::<Result<_>>()?))
}

fn object_values_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let ty = first(c.types);
    let members = ordered(read(a[0].text())?, "jsonb_each_text")?;
    Ok(Value::List(members.iter().map(|(_, value)| as_text(value, &ty)).collect::<Result<_>>()?))
}

/// The members of a `json`, in their order.
fn members_of(a: &[Value], name: &str) -> Result<Vec<(String, Json)>> {
    match read(a[0].text())? {
        Json::Object(members) => Ok(members.into_iter().collect()),
        _ => Err(Error::postgres("22023", format!("cannot call {name} on a non-object")).into()),
    }
}

/// An array of JSON as the text of an array.
fn array_literal(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let Json::Array(items) = read(a[0].text())? else { return Ok(Value::Null) };
    let words: Vec<String> = items
        .iter()
        .map(|item| match item {
            Json::Null => "NULL".to_owned(),
            Json::String(text) => {
                crate::text::to_string(|out| crate::text::array::write_item(out, text.as_bytes()))
            }
            other => {
                let text = other.to_string();
                crate::text::to_string(|out| crate::text::array::write_item(out, text.as_bytes()))
            }
        })
        .collect();
    Ok(Value::Text(format!("{{{}}}", words.join(","))))
}

/// Keys and values of `json_object`, from one array of both or from two.
fn paired(a: &[Value]) -> Result<Vec<(String, Json)>> {
    let value = |v: &Value| match v {
        Value::Null => Json::Null,
        other => Json::String(other.text().to_owned()),
    };
    let key = |v: &Value| match v {
        Value::Null => Err(Error::postgres("22004", "null value not allowed for object key")),
        other => Ok(other.text().to_owned()),
    };
    let pairs: Vec<(&Value, &Value)> = match a {
        [both] if both.list().len() % 2 == 1 => {
            let message = "array must have even number of elements";
            return Err(Error::postgres("2202E", message).into());
        }
        [both] => both.list().chunks(2).map(|pair| (&pair[0], &pair[1])).collect(),
        [keys, values] if keys.list().len() != values.list().len() => {
            return Err(Error::postgres("2202E", "mismatched array dimensions").into());
        }
        [keys, values] => keys.list().iter().zip(values.list()).collect(),
        _ => Vec::new(),
    };
    pairs.into_iter().map(|(k, v)| Ok((key(k)?, value(v)))).collect()
}

fn paired_text(a: &[Value]) -> Result<String> {
    let mut out = String::from("{");
    for (i, (key, value)) in paired(a)?.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        form::string(&mut out, key)?;
        out.push_str(" : ");
        out.push_str(&value.to_string());
    }
    out.push('}');
    Ok(out)
}

fn array_length(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    Ok(Value::Int(elements(read(a[0].text())?, "get array length of")?.len() as i64))
}

fn type_of(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    Ok(kind(&read(a[0].text())?).into())
}

fn keys(a: &Value) -> impl Iterator<Item = &str> {
    a.list().iter().filter(|key| !key.is_null()).map(Value::text)
}

fn object(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    jsonb(&Json::Object(members(c, a, "jsonb_build_object")?))
}

/// `json` keeps the order and the blanks of its builder: `{"a" : 1, "b" : 2}`.
fn object_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let mut out = String::from("{");
    for (i, (key, value)) in members(c, a, "json_build_object")?.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        form::string(&mut out, key)?;
        out.push_str(" : ");
        out.push_str(&value.to_string());
    }
    out.push('}');
    Ok(Value::Text(out))
}

fn items(c: &Call<'_>, a: &[Value]) -> Result<Vec<Json>> {
    a.iter().zip(c.types).map(|(value, ty)| from_value(value, ty, c)).collect()
}

fn array(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    jsonb(&Json::Array(items(c, a)?))
}

fn array_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let items: Vec<String> = items(c, a)?.iter().map(Json::to_string).collect();
    Ok(Value::Text(format!("[{}]", items.join(", "))))
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("json_get", &[P::Jsonb, P::Text], first, get),
    f("json_get", &[P::Jsonb, P::Int4], first, get),
    f("json_get", &[P::Json, P::Text], first, get),
    f("json_get", &[P::Json, P::Int4], first, get),
    f("json_get_text", &[P::Jsonb, P::Text], text, get_text),
    f("json_get_text", &[P::Jsonb, P::Int4], text, get_text),
    f("json_get_text", &[P::Json, P::Text], text, get_text),
    f("json_get_text", &[P::Json, P::Int4], text, get_text),
    f("json_get_path", &[P::Jsonb, P::TextArray], first, get_path),
    f("json_get_path", &[P::Json, P::TextArray], first, get_path),
    f("json_get_path_text", &[P::Jsonb, P::TextArray], text, get_path_text),
    f("json_get_path_text", &[P::Json, P::TextArray], text, get_path_text),
    f("jsonb_contains", &[P::Jsonb, P::Jsonb], boolean, |_, a| {
        Ok(contains(&read(a[0].text())?, &read(a[1].text())?).into())
    }),
    f("jsonb_contained", &[P::Jsonb, P::Jsonb], boolean, |_, a| {
        Ok(contains(&read(a[1].text())?, &read(a[0].text())?).into())
    }),
    f("jsonb_exists", &[P::Jsonb, P::Text], boolean, |_, a| {
        Ok(exists(&read(a[0].text())?, a[1].text()).into())
    }),
    f("jsonb_exists_any", &[P::Jsonb, P::TextArray], boolean, |_, a| {
        let json = read(a[0].text())?;
        Ok(keys(&a[1]).any(|key| exists(&json, key)).into())
    }),
    f("jsonb_exists_all", &[P::Jsonb, P::TextArray], boolean, |_, a| {
        let json = read(a[0].text())?;
        Ok(keys(&a[1]).all(|key| exists(&json, key)).into())
    }),
    f("jsonb_eq", &[P::Jsonb, P::Jsonb], boolean, |_, a| {
        Ok(equal(&read(a[0].text())?, &read(a[1].text())?).into())
    }),
    f("jsonb_ne", &[P::Jsonb, P::Jsonb], boolean, |_, a| {
        Ok((!equal(&read(a[0].text())?, &read(a[1].text())?)).into())
    }),
    f("jsonb_extract_path", &[P::Jsonb, P::Text], is_jsonb, extract).variadic(),
    f("json_extract_path", &[P::Json, P::Text], is_json, extract).variadic(),
    f("jsonb_extract_path_text", &[P::Jsonb, P::Text], text, extract_text).variadic(),
    f("json_extract_path_text", &[P::Json, P::Text], text, extract_text).variadic(),
    f("jsonb_array_elements", &[P::Jsonb], jsonbs, array_elements),
    f("json_array_elements", &[P::Json], jsons, array_elements),
    f("jsonb_array_elements_text", &[P::Jsonb], texts, array_elements_text),
    f("json_array_elements_text", &[P::Json], texts, array_elements_text),
    f("jsonb_object_keys", &[P::Jsonb], texts, object_keys),
    f("json_object_keys", &[P::Json], texts, object_keys),
    f("_jsonb_values", &[P::Jsonb], jsonbs, object_values),
    f("_jsonb_values_text", &[P::Jsonb], texts, object_values_text),
    f("_json_values", &[P::Json], jsons, |_, a| {
        let members = members_of(a, "json_each")?;
        Ok(Value::List(members.iter().map(|(_, v)| Value::Text(v.to_string())).collect()))
    }),
    f("_json_values_text", &[P::Json], texts, |_, a| {
        let members = members_of(a, "json_each_text")?;
        let texts = members.iter().map(|(_, value)| as_text(value, &SqlType::Json));
        Ok(Value::List(texts.collect::<Result<_>>()?))
    }),
    f("_json_array_text", &[P::Json], text, array_literal),
    f("_json_array_text", &[P::Jsonb], text, array_literal),
    f("json_object", &[P::TextArray], is_json, |_, a| Ok(Value::Text(paired_text(a)?))),
    f("json_object", &[P::TextArray, P::TextArray], is_json, |_, a| {
        Ok(Value::Text(paired_text(a)?))
    }),
    f("jsonb_object", &[P::TextArray], is_jsonb, |_, a| {
        jsonb(&Json::Object(paired(a)?.into_iter().collect()))
    }),
    f("jsonb_object", &[P::TextArray, P::TextArray], is_jsonb, |_, a| {
        jsonb(&Json::Object(paired(a)?.into_iter().collect()))
    }),
    f("jsonb_array_length", &[P::Jsonb], int4, array_length),
    f("json_array_length", &[P::Json], int4, array_length),
    f("jsonb_typeof", &[P::Jsonb], text, type_of),
    f("json_typeof", &[P::Json], text, type_of),
    f("jsonb_build_object", &[P::Any], is_jsonb, object).variadic().called(),
    f("jsonb_build_array", &[P::Any], is_jsonb, array).variadic().called(),
    f("json_build_object", &[P::Any], is_json, object_text).variadic().called(),
    f("json_build_array", &[P::Any], is_json, array_text).variadic().called(),
    f("to_jsonb", &[P::Any], is_jsonb, |c, a| jsonb(&from_value(&a[0], &c.types[0], c)?)),
    f("to_json", &[P::Any], is_json, |c, a| {
        Ok(Value::Text(match (&a[0], &c.types[0]) {
            (Value::Text(text), SqlType::Json | SqlType::Jsonb) => text.clone(),
            (value, ty) => from_value(value, ty, c)?.to_string(),
        }))
    }),
    f("array_to_json", &[P::Array], is_json, |c, a| {
        Ok(Value::Text(from_value(&a[0], &c.types[0], c)?.to_string()))
    }),
    f("jsonb_strip_nulls", &[P::Jsonb], is_jsonb, |_, a| jsonb(&strip_nulls(read(a[0].text())?))),
    f("json_strip_nulls", &[P::Json], is_json, |_, a| {
        Ok(Value::Text(strip_nulls(read(a[0].text())?).to_string()))
    }),
    f("jsonb_pretty", &[P::Jsonb], text, |_, a| {
        let mut out = String::new();
        pretty(&mut out, &read(a[0].text())?, 0)?;
        Ok(Value::Text(out))
    }),
];
