//! Operators as PostgreSQL plans them: what a literal without a type means beside them.

use chronos_catalog::SqlType;
use chronos_catalog::schema::NUMERIC_PRECISION_MAX;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::casts::{is_unknown, sql_type, typed, wants_type};

/// The numeric type that holds exactly the digits of a text; `None` for what is no plain number.
pub(crate) fn literal_numeric(text: &str) -> Option<SqlType> {
    let digits = text.trim().trim_start_matches(['-', '+']);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.contains('.') {
        return None;
    }
    let scale = fraction.len();
    let precision = (whole.trim_start_matches('0').len() + scale).max(scale).max(1);
    if precision > usize::from(NUMERIC_PRECISION_MAX) {
        return None;
    }
    Some(SqlType::Numeric(Some((precision as u8, scale as i8))))
}

/// Plans operators.
#[derive(Debug)]
pub(crate) struct PostgresOperatorPlanner;

impl ExprPlanner for PostgresOperatorPlanner {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (left, right) = (is_unknown(&expr.left), is_unknown(&expr.right));
        if left != right {
            let other = if left { &expr.right } else { &expr.left };
            if let Some(ty) = sql_type(other, schema)
                && let Some(ty) = literal_type(&expr.op, &ty)
            {
                if left {
                    expr.left = typed(expr.left, &ty);
                } else {
                    expr.right = typed(expr.right, &ty);
                }
            }
        }
        Ok(PlannerResult::Original(expr))
    }
}

/// The type of a string literal beside an operand of that type; `None` leaves it text.
fn literal_type(op: &BinaryOperator, other: &SqlType) -> Option<SqlType> {
    use BinaryOperator as O;
    use SqlType as T;
    match op {
        O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq => {
            wants_type(other).then(|| other.clone())
        }
        O::Plus | O::Minus | O::Multiply | O::Divide | O::Modulo => match (op, other) {
            (_, T::Int2 | T::Int4 | T::Int8 | T::Float4 | T::Float8 | T::Numeric(_)) => {
                Some(other.clone())
            }
            (O::Multiply | O::Divide, T::Interval) => Some(T::Float8),
            (O::Plus, T::Date | T::Time | T::Timestamp | T::Timestamptz | T::Interval) => {
                Some(T::Interval)
            }
            (O::Minus, T::Date | T::Time | T::Timestamp | T::Timestamptz | T::Interval) => {
                Some(other.clone())
            }
            _ => None,
        },
        _ => None,
    }
}
