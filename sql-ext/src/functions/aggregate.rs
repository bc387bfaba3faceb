//! Aggregates that are an array of their inputs, made into something.
//!
//! `jsonb_agg(x ORDER BY y)` is planned as `_jsonb_from(array_agg(to_jsonb(x) ORDER BY y))`:
//! ordering, DISTINCT, FILTER and partial aggregation are those of `array_agg`.

use std::sync::Arc;

use arrow::datatypes::DataType;
use chronos_catalog::SqlType;
use datafusion::common::Result;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::planner::{PlannerResult, RawAggregateExpr};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility, lit,
};

use super::function::{Call, Definition, P, f};
use super::json::{Json, jsonb, read};
use super::scalar;
use super::value::Value;
use crate::error::Error;
use crate::text::json as form;

/// Name, arity, what each input becomes, what the array becomes.
const AGGREGATES: [(&str, usize, &str, &str); 5] = [
    ("json_agg", 1, "to_json", "_json_from"),
    ("_json_agg_rows", 1, "to_json", "_json_rows_from"),
    ("jsonb_agg", 1, "to_jsonb", "_jsonb_from"),
    ("json_object_agg", 2, "_json_member", "_json_object_from"),
    ("jsonb_object_agg", 2, "_json_member", "_jsonb_object_from"),
];

/// The names, so that statements find them; [`plan`] puts others in their place.
pub(crate) fn functions() -> impl Iterator<Item = Arc<AggregateUDF>> {
    AGGREGATES.into_iter().map(|(name, arity, ..)| {
        let signature = Signature::any(arity, Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Named { name, signature }))
    })
}

/// Plans an aggregate of this module.
pub(crate) fn plan(expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
    let found = AGGREGATES.iter().find(|(name, ..)| *name == expr.func.name());
    let Some((name, arity, each, whole)) = found else {
        return Ok(match expr.func.name() {
            "string_agg" => {
                check_order(&expr, &expr.args)?;
                string_agg(expr)
            }
            "array_agg" if expr.distinct && expr.args.len() == 1 => {
                check_order(&expr, &expr.args)?;
                PlannerResult::Planned(array_of(expr))
            }
            _ => PlannerResult::Original(expr),
        });
    };
    let (Some(each), Some(whole)) = (scalar(each), scalar(whole)) else {
        return Ok(PlannerResult::Original(expr));
    };
    if expr.args.len() != *arity {
        return Err(Error::postgres("42883", format!("function {name} does not exist")).into());
    }
    check_order(&expr, &expr.args)?;
    let array = array_of(RawAggregateExpr { args: vec![each.call(expr.args.clone())], ..expr });
    Ok(PlannerResult::Planned(whole.call(vec![array])))
}

/// The array of an aggregate's inputs. PostgreSQL finds distinct values by sorting them, and
/// leaves them so; DataFusion orders by what another aggregate of the query wants.
fn array_of(expr: RawAggregateExpr) -> Expr {
    let (mut ascending, mut nulls_first) = (true, false);
    if let [order] = expr.order_by.as_slice() {
        (ascending, nulls_first) = (order.asc, order.nulls_first);
    }
    let distinct = expr.distinct;
    let order_by = if distinct { Vec::new() } else { expr.order_by };
    let array = Expr::AggregateFunction(AggregateFunction::new_udf(
        array_agg_udaf(),
        expr.args,
        distinct,
        expr.filter,
        order_by,
        expr.null_treatment,
    ));
    match scalar("_sorted") {
        Some(sorted) if distinct => sorted.call(vec![array, lit(ascending), lit(nulls_first)]),
        _ => array,
    }
}

/// Of distinct values only the values themselves have an order.
fn check_order(expr: &RawAggregateExpr, values: &[Expr]) -> Result<()> {
    if expr.distinct && expr.order_by.iter().any(|order| !values.contains(&order.expr)) {
        let message =
            "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
        return Err(Error::postgres("42P10", message).into());
    }
    Ok(())
}

/// `string_agg(x, ',' …)` as the array of its inputs, joined.
fn string_agg(expr: RawAggregateExpr) -> PlannerResult<RawAggregateExpr> {
    let (Some(whole), [value, Expr::Literal(..)]) = (scalar("_string_from"), expr.args.as_slice())
    else {
        return PlannerResult::Original(expr);
    };
    let (value, by) = (value.clone(), expr.args[1].clone());
    let array = array_of(RawAggregateExpr { args: vec![value], ..expr });
    PlannerResult::Planned(whole.call(vec![array, by]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Named {
    name: &'static str,
    signature: Signature,
}

impl AggregateUDFImpl for Named {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(Error::Unsupported(format!("{} as a window function", self.name)).into())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Err(Error::Unsupported(format!("{} as a window function", self.name)).into())
    }
}

fn array(_: &Call<'_>, a: &[Value]) -> Result<Vec<Json>> {
    a[0].list()
        .iter()
        .map(|item| if item.is_null() { Ok(Json::Null) } else { read(item.text()) })
        .collect()
}

/// The members that `_json_member` made, as text.
fn members(a: &[Value]) -> Result<Vec<(String, Json)>> {
    a[0].list()
        .iter()
        .map(|item| match read(item.text())? {
            Json::Array(mut pair) if pair.len() == 2 => {
                let value = pair.pop().unwrap_or(Json::Null);
                match pair.pop() {
                    Some(Json::String(key)) => Ok((key, value)),
                    _ => Err(Error::postgres("22023", "field name must not be null").into()),
                }
            }
            _ => Err(Error::postgres("22023", "field name must not be null").into()),
        })
        .collect()
}

/// The texts of an array as one JSON array, null for those that are NULL.
fn json_list(items: &Value, separator: &str) -> Value {
    let items: Vec<&str> =
        items.list().iter().map(|item| if item.is_null() { "null" } else { item.text() }).collect();
    Value::Text(format!("[{}]", items.join(separator)))
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f(
        "_json_member",
        &[P::Any, P::Any],
        |_| SqlType::Json,
        |c, a| {
            let key = match &a[0] {
                Value::Null => {
                    return Err(Error::postgres("22023", "field name must not be null").into());
                }
                key => super::convert::text_of(key, &c.types[0], c.zone)?,
            };
            let value = super::json::from_value(&a[1], &c.types[1], c)?;
            Ok(Value::Text(Json::Array(vec![Json::String(key), value]).to_string()))
        },
    )
    .called(),
    f("_json_from", &[P::Array], |_| SqlType::Json, |_, a| Ok(json_list(&a[0], ", "))),
    f("_json_rows_from", &[P::Array], |_| SqlType::Json, |_, a| Ok(json_list(&a[0], ", \n "))),
    f(
        "_string_from",
        &[P::Array, P::Any],
        |types| match types.first() {
            Some(SqlType::Array(item)) if **item == SqlType::Bytea => SqlType::Bytea,
            _ => SqlType::Text,
        },
        |c, a| {
            let mut present = a[0].list().iter().filter(|item| !item.is_null()).peekable();
            if present.peek().is_none() {
                return Ok(Value::Null);
            }
            if let Some(Value::Bytes(_)) = present.peek() {
                let by = match &a[1] {
                    Value::Bytes(by) => by.clone(),
                    other => crate::text::bytea::parse(other.text())?,
                };
                let parts: Vec<&[u8]> = present
                    .map(|item| match item {
                        Value::Bytes(bytes) => bytes.as_slice(),
                        _ => &[],
                    })
                    .collect();
                return Ok(Value::Bytes(parts.join(by.as_slice())));
            }
            let item = match c.types.first() {
                Some(SqlType::Array(item)) => item.as_ref().clone(),
                _ => SqlType::Text,
            };
            let words: Vec<String> = present
                .map(|value| super::convert::text_of(value, &item, c.zone))
                .collect::<Result<_>>()?;
            Ok(Value::Text(words.join(a[1].text())))
        },
    )
    .called(),
    f("_jsonb_from", &[P::Array], |_| SqlType::Jsonb, |c, a| jsonb(&Json::Array(array(c, a)?))),
    f(
        "_json_object_from",
        &[P::Array],
        |_| SqlType::Json,
        |_, a| {
            let mut out = String::from("{ ");
            for (i, (key, value)) in members(a)?.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                form::string(&mut out, key)?;
                out.push_str(" : ");
                out.push_str(&value.to_string());
            }
            out.push_str(" }");
            Ok(Value::Text(out))
        },
    ),
    f(
        "_jsonb_object_from",
        &[P::Array],
        |_| SqlType::Jsonb,
        |_, a| jsonb(&Json::Object(members(a)?.into_iter().collect())),
    ),
];
