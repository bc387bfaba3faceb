//! Which function an operator stands for.

use chronos_catalog::SqlType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;

use super::scalar;

/// Plans the operators that DataFusion lacks or means otherwise.
#[derive(Debug)]
pub(crate) struct PostgresExprPlanner;

impl ExprPlanner for PostgresExprPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let left = sql_type(&expr.left, schema);
        let right = sql_type(&expr.right, schema);
        match function_of(&expr.op, left.as_ref(), right.as_ref()).and_then(scalar) {
            Some(function) => {
                Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
            }
            None => Ok(PlannerResult::Original(expr)),
        }
    }

    fn plan_aggregate(&self, expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        super::aggregate::plan(expr)
    }
}

fn sql_type(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    let (_, field) = expr.to_field(schema).ok()?;
    SqlType::of_field(&field)
}

fn function_of(op: &Op, left: Option<&SqlType>, right: Option<&SqlType>) -> Option<&'static str> {
    let is = |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Json | SqlType::Jsonb));
    let json = is(left) || is(right);
    let jsonb = left == Some(&SqlType::Jsonb) || right == Some(&SqlType::Jsonb);
    Some(match op {
        Op::Arrow => "json_get",
        Op::LongArrow => "json_get_text",
        Op::HashArrow => "json_get_path",
        Op::HashLongArrow => "json_get_path_text",
        Op::HashMinus => "jsonb_delete_path",
        Op::Question => "jsonb_exists",
        Op::QuestionPipe => "jsonb_exists_any",
        Op::QuestionAnd => "jsonb_exists_all",
        Op::AtArrow if json => "jsonb_contains",
        Op::ArrowAt if json => "jsonb_contained",
        Op::Eq if jsonb => "jsonb_eq",
        Op::NotEq if jsonb => "jsonb_ne",
        Op::Minus if is(left) => "jsonb_delete",
        Op::StringConcat if jsonb => "jsonb_concat",
        _ => return None,
    })
}
