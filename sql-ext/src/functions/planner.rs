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
        // Types are found by walking the expression, which long chains of these cannot afford.
        if matches!(expr.op, Op::And | Op::Or | Op::Xor) {
            return Ok(PlannerResult::Original(expr));
        }
        let left = sql_type(&expr.left, schema);
        let right = sql_type(&expr.right, schema);
        match function_of(&expr.op, left.as_ref(), right.as_ref()).and_then(scalar) {
            Some(function) => {
                Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
            }
            None => Ok(PlannerResult::Original(expr)),
        }
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        match scalar("extract") {
            Some(function) => Ok(PlannerResult::Planned(function.call(args))),
            None => Ok(PlannerResult::Original(args)),
        }
    }

    fn plan_aggregate(&self, expr: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        super::aggregate::plan(expr)
    }
}

fn sql_type(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    // A long chain of additions is not walked again for each of them; which integer it is does
    // not matter here.
    if let Expr::ScalarFunction(call) = expr
        && call.func.name().starts_with("_int_")
    {
        return Some(SqlType::Int8);
    }
    let (_, field) = expr.to_field(schema).ok()?;
    SqlType::of_field(&field)
}

fn function_of(op: &Op, left: Option<&SqlType>, right: Option<&SqlType>) -> Option<&'static str> {
    let is = |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Json | SqlType::Jsonb));
    let json = is(left) || is(right);
    let jsonb = left == Some(&SqlType::Jsonb) || right == Some(&SqlType::Jsonb);
    let whole =
        |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Int2 | SqlType::Int4 | SqlType::Int8));
    let number = |ty: Option<&SqlType>| {
        whole(ty) || matches!(ty, Some(SqlType::Float4 | SqlType::Float8 | SqlType::Numeric(_)))
    };
    let date = |ty: Option<&SqlType>| ty == Some(&SqlType::Date);
    let point = |ty: Option<&SqlType>| {
        date(ty) || matches!(ty, Some(SqlType::Timestamp | SqlType::Timestamptz))
    };
    let span = |ty: Option<&SqlType>| ty == Some(&SqlType::Interval);
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
        Op::Plus if whole(left) && whole(right) => "_int_add",
        Op::Minus if whole(left) && whole(right) => "_int_sub",
        Op::Multiply if whole(left) && whole(right) => "_int_mul",
        Op::Divide if whole(left) && whole(right) => "_int_div",
        Op::Modulo if whole(left) && whole(right) => "_int_mod",
        Op::Plus if point(left) && span(right) || span(left) && point(right) => "_add_interval",
        Op::Minus if point(left) && span(right) => "_subtract_interval",
        Op::Minus if point(left) && point(right) => "_subtract_time",
        Op::Plus if date(left) && whole(right) || whole(left) && date(right) => "_add_days",
        Op::Minus if date(left) && whole(right) => "_subtract_days",
        Op::Multiply if span(left) && number(right) || number(left) && span(right) => {
            "_multiply_interval"
        }
        Op::Divide if span(left) && number(right) => "_divide_interval",
        Op::PGExp if number(left) && number(right) => "_power",
        Op::Minus if is(left) => "jsonb_delete",
        Op::StringConcat if jsonb => "jsonb_concat",
        _ => return None,
    })
}
