//! `chronos.deep_merge(target, patch, …)`: how a document is enriched.
//!
//! - Objects merge member by member; a member that the patch lacks stays.
//! - Arrays are united: what the target has stays in its place and order; of the patch, objects
//!   that match one of the target merge into it, values that the target has already are left
//!   out, and the rest is appended in order. Objects match by the string `id`, else by the string
//!   `_id`, else by being equal.
//! - An array and a patch that is none: the patch is united as its only element.
//! - Anything else, `null` among it, is replaced by the patch.

use chronos_catalog::SqlType;
use datafusion::common::Result;

use super::function::{Call, Definition, P, f};
use super::json::{Json, equal, jsonb, read};
use super::value::Value;

/// Merges a patch into a document.
pub(crate) fn merge(target: &mut Json, patch: Json) {
    match (target, patch) {
        (Json::Object(target), Json::Object(patch)) => {
            for (key, value) in patch {
                match target.get_mut(&key) {
                    Some(inner) => merge(inner, value),
                    None => {
                        target.insert(key, value);
                    }
                }
            }
        }
        (Json::Array(target), Json::Array(patch)) => {
            for item in patch {
                unite(target, item);
            }
        }
        (target @ Json::Array(_), Json::Null) => *target = Json::Null,
        (Json::Array(target), item) => unite(target, item),
        (target, patch) => *target = patch,
    }
}

fn unite(items: &mut Vec<Json>, item: Json) {
    if item.is_object() {
        let matched = ["id", "_id"].into_iter().find_map(|key| {
            let id = item.get(key)?.as_str()?;
            Some(items.iter().position(|i| i.get(key).and_then(Json::as_str) == Some(id)))
        });
        // An object with an identity matches by that alone.
        if let Some(found) = matched {
            match found {
                Some(at) => merge(&mut items[at], item),
                None => items.push(item),
            }
            return;
        }
    }
    if !items.iter().any(|i| equal(i, &item)) {
        items.push(item);
    }
}

fn result(_: &[SqlType]) -> SqlType {
    SqlType::Jsonb
}

fn deep_merge(_: &Call<'_>, args: &[Value]) -> Result<Value> {
    let mut target = read(args[0].text())?;
    for patch in &args[1..] {
        match patch {
            Value::List(patches) => {
                for patch in patches.iter().filter(|patch| !patch.is_null()) {
                    merge(&mut target, read(patch.text())?);
                }
            }
            patch => merge(&mut target, read(patch.text())?),
        }
    }
    jsonb(&target)
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("chronos_deep_merge", &[P::Jsonb, P::Jsonb, P::Jsonb], result, deep_merge).variadic(),
    f("chronos_deep_merge", &[P::Jsonb, P::JsonbArray], result, deep_merge),
];
