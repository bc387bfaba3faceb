//! Functions of DataFusion's whose meaning depends on the type of their argument.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{Expr, ExprSchemable};

/// Rounds doubles half to even.
#[derive(Debug)]
pub(crate) struct RoundRewrite;

impl FunctionRewrite for RoundRewrite {
    fn name(&self) -> &str {
        "postgres_round"
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
        Ok(Transformed::no(expr))
    }
}
