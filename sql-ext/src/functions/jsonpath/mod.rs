//! `jsonpath`: its parser and what it finds in a document.

mod eval;
mod parse;
#[cfg(test)]
mod tests;

use chronos_catalog::SqlType;
use datafusion::common::{DataFusionError, Result};

use super::function::{Definition, P, f};
use super::json::{Json, jsonb, read};
use super::value::Value;
use crate::error::Error;

use eval::Evaluation;

/// A step, a literal or an operation: something that gives items.
#[derive(Clone, Debug)]
enum Expr {
    Root,
    Current,
    Last,
    Variable(String),
    Literal(Json),
    Member(Box<Expr>, String),
    Members(Box<Expr>),
    /// `.**{from to to}`
    Depths(Box<Expr>, usize, usize),
    Elements(Box<Expr>),
    Subscripts(Box<Expr>, Vec<(Expr, Option<Expr>)>),
    Filter(Box<Expr>, Box<Test>),
    Method(Box<Expr>, Method),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    Arithmetic(Box<Expr>, char, Box<Expr>),
    /// A test as an item: true, false or null.
    Tested(Box<Test>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

/// Something that is true, false or unknown.
#[derive(Clone, Debug)]
enum Test {
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
    IsUnknown(Box<Test>),
    Exists(Expr),
    Compare(Expr, &'static str, Expr),
    LikeRegex(Expr, String, String),
    StartsWith(Expr, Expr),
}

/// A path.
#[derive(Clone, Debug)]
struct Path {
    strict: bool,
    expr: Expr,
}

fn found(a: &[Value]) -> Result<Vec<Json>> {
    let document = read(a[0].text())?;
    let path = parse::parse(a[1].text())?;
    let variables = match a.get(2).filter(|v| !v.is_null()) {
        Some(vars) => read(vars.text())?,
        None => Json::Object(serde_json::Map::new()),
    };
    if !variables.is_object() {
        return Err(Error::postgres("22023", "\"vars\" argument is not an object").into());
    }
    let evaluation = Evaluation { document: &document, variables: &variables, strict: path.strict };
    evaluation.run(&path.expr).map_err(DataFusionError::from)
}

/// What `silent` suppresses leaves nothing found.
fn silenced(a: &[Value]) -> Result<Option<Vec<Json>>> {
    let silent = matches!(a.get(3), Some(Value::Bool(true)));
    match found(a) {
        Ok(items) => Ok(Some(items)),
        Err(_) if silent => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the only item is a boolean, and which.
fn matched(items: &[Json]) -> Result<Value> {
    match items {
        [Json::Bool(b)] => Ok((*b).into()),
        [Json::Null] => Ok(Value::Null),
        _ => Err(Error::postgres("22038", "single boolean result is expected").into()),
    }
}

const BOOL: fn(&[SqlType]) -> SqlType = |_| SqlType::Bool;
const JSONB: fn(&[SqlType]) -> SqlType = |_| SqlType::Jsonb;
const PARAMS: &[P] = &[P::Jsonb, P::Text, P::Jsonb, P::Bool];

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("jsonb_path_exists", PARAMS, BOOL, |_, a| {
        Ok(silenced(a)?.map(|items| !items.is_empty()).into())
    })
    .optional(2),
    f("jsonb_path_match", PARAMS, BOOL, |_, a| match silenced(a)? {
        Some(items) => matched(&items),
        None => Ok(Value::Null),
    })
    .optional(2),
    f(
        "jsonb_path_query",
        PARAMS,
        |_| SqlType::Array(Box::new(SqlType::Jsonb)),
        |_, a| {
            let items = silenced(a)?.unwrap_or_default();
            Ok(Value::List(items.iter().map(jsonb).collect::<Result<_>>()?))
        },
    )
    .optional(2),
    f("jsonb_path_query_array", PARAMS, JSONB, |_, a| {
        jsonb(&Json::Array(silenced(a)?.unwrap_or_default()))
    })
    .optional(2),
    f("jsonb_path_query_first", PARAMS, JSONB, |_, a| {
        silenced(a)?.unwrap_or_default().first().map_or(Ok(Value::Null), jsonb)
    })
    .optional(2),
    // `@?` and `@@` suppress errors.
    f("_jsonb_path_exists_opr", &[P::Jsonb, P::Text], BOOL, |_, a| {
        parse::parse(a[1].text())?;
        Ok(found(a).ok().map(|items| !items.is_empty()).into())
    }),
    f("_jsonb_path_match_opr", &[P::Jsonb, P::Text], BOOL, |_, a| {
        parse::parse(a[1].text())?;
        Ok(match found(a).as_deref() {
            Ok([Json::Bool(b)]) => (*b).into(),
            _ => Value::Null,
        })
    }),
];
