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
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, Signature, Volatility,
};

use super::function::{Call, Definition, P, f};
use super::json::{Json, jsonb, read};
use super::scalar;
use super::value::Value;
use crate::error::Error;
use crate::text::json as form;

/// Name, arity, what each input becomes, what the array becomes.
const AGGREGATES: [(&str, usize, &str, &str); 4] = [
    ("json_agg", 1, "to_json", "_json_from"),
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
        return Ok(PlannerResult::Original(expr));
    };
    let (Some(each), Some(whole)) = (scalar(each), scalar(whole)) else {
        return Ok(PlannerResult::Original(expr));
    };
    if expr.args.len() != *arity {
        return Err(Error::postgres("42883", format!("function {name} does not exist")).into());
    }
    let array = Expr::AggregateFunction(AggregateFunction::new_udf(
        array_agg_udaf(),
        vec![each.call(expr.args)],
        expr.distinct,
        expr.filter,
        expr.order_by,
        expr.null_treatment,
    ));
    Ok(PlannerResult::Planned(whole.call(vec![array])))
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
    f(
        "_json_from",
        &[P::Array],
        |_| SqlType::Json,
        |_, a| {
            let items: Vec<&str> = a[0]
                .list()
                .iter()
                .map(|item| if item.is_null() { "null" } else { item.text() })
                .collect();
            Ok(Value::Text(format!("[{}]", items.join(", "))))
        },
    ),
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
