//! Operators as PostgreSQL plans them: what a literal without a type means beside them.

use std::sync::Arc;

use chronos_catalog::SqlType;
use chronos_catalog::schema::{NUMERIC_PRECISION_MAX, OtherType};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use crate::casts::{is_character, is_unknown, sql_type, typed, wants_type};
use crate::numeric::{self, NumericOperator};

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
        // The blanks that fill a char(n) are no part of it beside other strings.
        if matches!(
            expr.op,
            BinaryOperator::StringConcat
                | BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
        ) {
            let (left, right) = (sql_type(&expr.left, schema), sql_type(&expr.right, schema));
            let padded = |ty: &Option<SqlType>| matches!(ty, Some(SqlType::Char(_)));
            let both = padded(&left) && padded(&right) && expr.op != BinaryOperator::StringConcat;
            let string = |ty: &Option<SqlType>| ty.as_ref().is_some_and(is_character);
            let concatenated = expr.op == BinaryOperator::StringConcat;
            if concatenated || !both && string(&left) && string(&right) {
                if padded(&left) {
                    expr.left = typed(expr.left, &SqlType::Text);
                }
                if padded(&right) {
                    expr.right = typed(expr.right, &SqlType::Text);
                }
            }
        }
        let Some(operator) = numeric_operator(&expr.op) else {
            return Ok(PlannerResult::Original(expr));
        };
        let (left, right) = (sql_type(&expr.left, schema), sql_type(&expr.right, schema));
        let numeric = |ty: &Option<SqlType>| matches!(ty, Some(SqlType::Numeric(_)));
        let whole = |ty: &Option<SqlType>| {
            matches!(ty, Some(SqlType::Int2 | SqlType::Int4 | SqlType::Int8))
        };
        // A parameter beside a numeric is one.
        for (side, ty) in [(&mut expr.left, &right), (&mut expr.right, &left)] {
            if let Expr::Placeholder(placeholder) = side
                && placeholder.field.is_none()
                && numeric(ty)
            {
                placeholder.field = Some(Arc::new(SqlType::Numeric(None).field("", true)));
            }
        }
        let open = |e: &Expr| matches!(e, Expr::Placeholder(p) if p.field.is_some());
        let fits = |e: &Expr, ty: &Option<SqlType>| numeric(ty) || whole(ty) || open(e);
        if (numeric(&left) || numeric(&right))
            && fits(&expr.left, &left)
            && fits(&expr.right, &right)
        {
            return Ok(PlannerResult::Planned(numeric::call(operator, expr.left, expr.right)));
        }
        // Of reals only two make a real.
        if left == Some(SqlType::Float4) && (numeric(&right) || whole(&right)) {
            expr.left = typed(expr.left, &SqlType::Float8);
        } else if right == Some(SqlType::Float4) && (numeric(&left) || whole(&left)) {
            expr.right = typed(expr.right, &SqlType::Float8);
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn numeric_operator(op: &BinaryOperator) -> Option<NumericOperator> {
    Some(match op {
        BinaryOperator::Plus => NumericOperator::Add,
        BinaryOperator::Minus => NumericOperator::Subtract,
        BinaryOperator::Multiply => NumericOperator::Multiply,
        BinaryOperator::Divide => NumericOperator::Divide,
        BinaryOperator::Modulo => NumericOperator::Modulo,
        _ => return None,
    })
}

/// The type of a string literal beside addresses, bits or ranges.
fn kept_literal(op: &BinaryOperator, other: &SqlType) -> Option<SqlType> {
    use BinaryOperator as O;
    let compared =
        matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::StringConcat);
    match other {
        SqlType::Other(OtherType::Cidr) if !compared => Some(SqlType::Other(OtherType::Inet)),
        SqlType::Other(OtherType::Inet | OtherType::Macaddr | OtherType::Macaddr8) if !compared => {
            Some(other.clone())
        }
        SqlType::Other(OtherType::Timetz) if matches!(op, O::Plus | O::Minus) => {
            Some(SqlType::Interval)
        }
        SqlType::Other(range) if range.bound().is_some() && !compared => Some(other.clone()),
        // Of any length.
        SqlType::Bit(_) => Some(SqlType::Bit(None)),
        SqlType::Varbit(_) => Some(SqlType::Varbit(None)),
        _ => None,
    }
}

/// The type of a string literal beside an operand of that type; `None` leaves it text.
fn literal_type(op: &BinaryOperator, other: &SqlType) -> Option<SqlType> {
    use BinaryOperator as O;
    use SqlType as T;
    if let Some(ty) = kept_literal(op, other) {
        return Some(ty);
    }
    match op {
        O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq => {
            wants_type(other).then(|| other.clone())
        }
        O::AtArrow | O::ArrowAt | O::PGOverlap => {
            matches!(other, T::Array(_)).then(|| other.clone())
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
