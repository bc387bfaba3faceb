//! Casts with PostgreSQL's meaning.
//!
//! Arrow's casts cut where PostgreSQL rounds, read and write other texts, and convert between
//! `timestamp` and `timestamptz` in UTC where PostgreSQL takes the session's zone. Every explicit
//! cast of which that could be seen becomes a function here, before type coercion adds its own.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use chronos_catalog::SqlType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::convert::convert;
use super::function::{evaluate, zone};
use crate::error::Error;

/// A value cast to a type as `CAST` does.
pub fn cast(expr: Expr, to: &SqlType) -> Expr {
    ScalarUDF::new_from_impl(CastFunction::new(to.clone())).call(vec![expr])
}

/// The cast to one type.
#[derive(Debug)]
struct CastFunction {
    to: SqlType,
    signature: Signature,
}

impl CastFunction {
    fn new(to: SqlType) -> Self {
        // Of the session's settings only the time zone matters, and it is part of the plan's
        // configuration.
        CastFunction { to, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl PartialEq for CastFunction {
    fn eq(&self, other: &Self) -> bool {
        self.to == other.to
    }
}

impl Eq for CastFunction {}

impl Hash for CastFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to.hash(state);
    }
}

impl ScalarUDFImpl for CastFunction {
    fn name(&self) -> &str {
        "_chronos_cast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        Ok(args.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.arrow())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(self.to.field("cast", nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let from = args.arg_fields.first().and_then(|f| SqlType::of_field(f));
        let from = from.ok_or_else(|| Error::Unsupported("this cast".into()))?;
        let zone = zone(&args.config_options);
        evaluate(
            &args,
            |mut row| {
                convert(row.pop().unwrap_or(super::value::Value::Null), &from, &self.to, zone)
            },
            &self.to,
        )
    }
}

/// Puts the casts of this module in the place of Arrow's, and rounds doubles half to even.
#[derive(Debug)]
pub(crate) struct CastRewrite;

impl FunctionRewrite for CastRewrite {
    fn name(&self) -> &str {
        "postgres_casts"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        if let Expr::ScalarFunction(call) = &expr
            && call.func.name() == "round"
            && let [x] = call.args.as_slice()
            && matches!(x.get_type(schema)?, DataType::Float64 | DataType::Float32)
            && let Some(round) = super::scalar("_round_float")
        {
            return Ok(Transformed::yes(round.call(vec![x.clone()])));
        }
        let Expr::Cast(cast_expr) = &expr else { return Ok(Transformed::no(expr)) };
        if matches!(cast_expr.expr.as_ref(), Expr::Placeholder(_)) {
            return Ok(Transformed::no(expr));
        }
        // What DataFusion makes of AT TIME ZONE, where nothing spelled it out before.
        if let DataType::Timestamp(_, Some(zone)) = cast_expr.field.data_type()
            && zone.as_ref() != "UTC"
            && zone.as_ref() != "+00:00"
        {
            return Err(Error::Unsupported("a timestamp of a zone of its own".into()).into());
        }
        let Some(to) = SqlType::of_field(&cast_expr.field) else {
            return Ok(Transformed::no(expr));
        };
        let (_, field) = cast_expr.expr.to_field(schema)?;
        // A NULL without a type casts to anything.
        if field.data_type() == &DataType::Null {
            return Ok(Transformed::no(expr));
        }
        match SqlType::of_field(&field) {
            Some(from) if !same_as_arrow(&from, &to) => {
                let Expr::Cast(inner) = expr else { return Ok(Transformed::no(expr)) };
                Ok(Transformed::yes(cast(*inner.expr, &to)))
            }
            _ => Ok(Transformed::no(expr)),
        }
    }
}

/// Whether a cast is left as it is: `crate::casts` sees to all of them once types are coerced.
fn same_as_arrow(_: &SqlType, _: &SqlType) -> bool {
    true
}
