//! Which function an operator stands for.

use chronos_catalog::SqlType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};
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
        let left = operand_type(&expr.left, schema);
        let right = operand_type(&expr.right, schema);
        match function_of(&expr.op, left.as_ref(), right.as_ref()).and_then(scalar) {
            Some(function) => {
                Ok(PlannerResult::Planned(function.call(vec![expr.left, expr.right])))
            }
            None => Ok(PlannerResult::Original(expr)),
        }
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let call = |name: &str, args: Vec<Expr>| scalar(name).map(|function| function.call(args));
        let base = sql_type(&access.expr, schema);
        let planned = match (&access.field_access, base) {
            (GetFieldAccess::ListIndex { key }, Some(SqlType::Jsonb | SqlType::Json)) => {
                call("json_get", vec![access.expr.clone(), key.as_ref().clone()])
            }
            (GetFieldAccess::NamedStructField { name }, Some(SqlType::Jsonb | SqlType::Json)) => {
                let key = name.try_as_str().flatten().unwrap_or_default().to_owned();
                call("json_get", vec![access.expr.clone(), lit(key)])
            }
            (GetFieldAccess::ListIndex { key }, Some(SqlType::Array(_))) => {
                call("_subscript", vec![access.expr.clone(), key.as_ref().clone()])
            }
            (GetFieldAccess::ListRange { start, stop, .. }, Some(SqlType::Array(_))) => call(
                "_slice",
                vec![access.expr.clone(), start.as_ref().clone(), stop.as_ref().clone()],
            ),
            _ => None,
        };
        Ok(match planned {
            Some(expr) => PlannerResult::Planned(expr),
            None => PlannerResult::Original(access),
        })
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        // Of bytes only what is cast to them by itself can be told here.
        let bytes = matches!(args.first(), Some(Expr::Cast(cast))
            if SqlType::of_field(&cast.field) == Some(SqlType::Bytea));
        match scalar("_substring_bytes") {
            Some(function) if bytes => Ok(PlannerResult::Planned(function.call(args))),
            _ => Ok(PlannerResult::Original(args)),
        }
    }

    fn plan_array_literal(
        &self,
        items: Vec<Expr>,
        schema: &DFSchema,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        // DataFusion's arrays forget what the Arrow type of their items does not tell.
        let tagged = items.iter().any(|item| {
            let ty = sql_type(item, schema);
            !matches!(ty, Some(SqlType::Numeric(_))) && ty.is_some_and(|ty| ty.metadata().is_some())
        });
        match scalar("_array") {
            Some(function) if tagged => Ok(PlannerResult::Planned(function.call(items))),
            _ => Ok(PlannerResult::Original(items)),
        }
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        // Seconds have digits after the point whatever the value.
        let field = match args.first() {
            Some(Expr::Literal(field, _)) => {
                field.try_as_str().flatten().unwrap_or_default().to_lowercase()
            }
            _ => String::new(),
        };
        let name = match field.trim_matches(['"', '\'']) {
            "second" | "seconds" | "sec" | "secs" | "epoch" => "_extract_micros",
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => "_extract_millis",
            _ => "extract",
        };
        match scalar(name) {
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
    let list = |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Array(_)));
    if let Some(function) = function_of_kept(op, left, right) {
        return Some(function);
    }
    Some(match op {
        Op::Arrow => "json_get",
        Op::LongArrow => "json_get_text",
        Op::HashArrow => "json_get_path",
        Op::HashLongArrow => "json_get_path_text",
        Op::PGOverlap if list(left) && list(right) => "_array_overlap",
        Op::AtQuestion => "_jsonb_path_exists_opr",
        Op::AtAt if jsonb => "_jsonb_path_match_opr",
        Op::Eq if span(left) && span(right) => "_interval_eq",
        Op::NotEq if span(left) && span(right) => "_interval_ne",
        Op::Lt if span(left) && span(right) => "_interval_lt",
        Op::LtEq if span(left) && span(right) => "_interval_le",
        Op::Gt if span(left) && span(right) => "_interval_gt",
        Op::GtEq if span(left) && span(right) => "_interval_ge",
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

/// The type of an operand; `None` where it is not known yet: while a statement is planned, CASE has
/// the type of its first branch, and only later that of all of them.
fn operand_type(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    let branches_differ = |expr: &Expr| {
        let Expr::Case(case) = expr else { return Ok(false) };
        let thens = case.when_then_expr.iter().map(|(_, then)| then);
        let mut types = thens.chain(&case.else_expr).filter_map(|e| sql_type(e, schema));
        let first = types.next();
        Ok(types.any(|ty| ty.is_number() && Some(&ty) != first.as_ref()))
    };
    let ty = sql_type(expr, schema)?;
    (!ty.is_number() || !expr.exists(branches_differ).unwrap_or(true)).then_some(ty)
}

/// The function of an operator of addresses, bits or ranges.
fn function_of_kept(
    op: &Op,
    left: Option<&SqlType>,
    right: Option<&SqlType>,
) -> Option<&'static str> {
    use chronos_catalog::schema::OtherType as O;
    let custom = |text: &str| matches!(op, Op::Custom(custom) if custom == text);
    let inet = |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Other(O::Inet | O::Cidr)));
    let mac = |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Other(O::Macaddr | O::Macaddr8)));
    let bits = |ty: Option<&SqlType>| matches!(ty, Some(SqlType::Bit(_) | SqlType::Varbit(_)));
    let range = |ty: Option<&SqlType>| ty.is_some_and(|ty| super::ranges::range_type(ty).is_some());
    let zoned = |ty: Option<&SqlType>| ty == Some(&SqlType::Other(O::Timetz));
    let span = |ty: Option<&SqlType>| ty == Some(&SqlType::Interval);
    if range(left) || range(right) {
        return Some(match op {
            Op::AtArrow => "_range_contains",
            Op::ArrowAt => "_range_contained",
            Op::PGOverlap => "_range_overlap",
            Op::PGBitwiseShiftLeft => "_range_before",
            Op::PGBitwiseShiftRight => "_range_after",
            Op::AndLt => "_range_not_right",
            Op::AndGt => "_range_not_left",
            Op::Plus => "_range_union",
            Op::Minus => "_range_minus",
            Op::Multiply => "_range_common",
            _ if custom("&<") => "_range_not_right",
            _ if custom("&>") => "_range_not_left",
            _ if custom("-|-") => "_range_adjacent",
            _ => return None,
        });
    }
    if inet(left) || inet(right) {
        return Some(match op {
            Op::PGBitwiseShiftLeft => "_inet_within",
            Op::PGBitwiseShiftRight => "_inet_holds",
            Op::PGOverlap => "_inet_overlap",
            Op::BitwiseAnd => "_inet_and",
            Op::BitwiseOr => "_inet_or",
            Op::Plus => "_inet_add",
            Op::Minus => "_inet_subtract",
            _ if custom("<<=") => "_inet_within_equal",
            _ if custom(">>=") => "_inet_holds_equal",
            _ => return None,
        });
    }
    if mac(left) && mac(right) {
        return match op {
            Op::BitwiseAnd => Some("_mac_and"),
            Op::BitwiseOr => Some("_mac_or"),
            _ => None,
        };
    }
    if bits(left) || bits(right) {
        return Some(match op {
            Op::BitwiseAnd => "_bits_and",
            Op::BitwiseOr => "_bits_or",
            Op::PGBitwiseXor | Op::BitwiseXor => "_bits_xor",
            Op::PGBitwiseShiftLeft => "_bits_left",
            Op::PGBitwiseShiftRight => "_bits_right",
            Op::StringConcat if bits(left) && bits(right) => "_bits_concat",
            _ => return None,
        });
    }
    match op {
        Op::Plus if zoned(left) && span(right) || span(left) && zoned(right) => Some("_timetz_add"),
        Op::Minus if zoned(left) && span(right) => Some("_timetz_subtract"),
        _ => None,
    }
}
