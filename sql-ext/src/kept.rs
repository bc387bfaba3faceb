//! Types that are kept as text, in plans: what their values are told by is the metadata of their
//! fields, which some expressions forget, and their order is not that of their texts.
//!
//! - [`KeepTypeRule`] runs first: it gives CASE, coalesce, max, array_agg and their like the type
//!   of what they choose from.
//! - [`OrderKeyRule`] runs last: it puts keys in the place of values that are sorted or compared.

use std::sync::Arc;

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, BinaryExpr, Case, Cast, WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, LogicalPlan, Operator, SortExpr, WindowFunctionDefinition,
};
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use datafusion::optimizer::analyzer::AnalyzerRule;

use crate::casts::{display_name, is_unknown, sql_type};
use crate::error::Error;
use crate::functions::{extreme_of, scalar};
use crate::text::kept::has_key;

/// Gives expressions the type of the values that they choose from.
#[derive(Debug)]
pub(crate) struct KeepTypeRule;

impl AnalyzerRule for KeepTypeRule {
    fn name(&self) -> &str {
        "kept_types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = input_schema(&plan)?;
            let names = NamePreserver::new(&plan);
            let filter = matches!(plan, LogicalPlan::Filter(_));
            let plan = plan
                .map_expressions(|expr| {
                    let name = names.save(&expr);
                    let expr = if filter { with_nulls_as_false(expr)? } else { with_nulls(expr)? };
                    expr.transform_up(|expr| keep(expr, &schema))?
                        .map_data(|expr| Ok(name.restore(expr)))
                })?
                .data
                .recompute_schema()?;
            match plan {
                LogicalPlan::Aggregate(aggregate) => kept_results(aggregate, &schema),
                plan => Ok(Transformed::yes(plan)),
            }
        })
        .map(|transformed| transformed.data)
    }
}

fn input_schema(plan: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = DFSchema::empty();
    for input in plan.inputs() {
        schema.merge(input.schema());
    }
    Ok(schema)
}

/// A condition: whether a row passes is all that counts, so NULL and false are one under AND and
/// OR. There `array_has` stays, by which rows are found.
fn with_nulls_as_false(expr: Expr) -> Result<Expr> {
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (with_nulls_as_false(*left)?, with_nulls_as_false(*right)?);
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        Expr::ScalarFunction(call) if call.func.name() == "array_has" => Expr::ScalarFunction(call),
        other => with_nulls(other)?,
    })
}

/// `x = ANY (array)`, of which DataFusion makes `array_has`, with NULLs in the array.
fn with_nulls(expr: Expr) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(mut call)
            if call.func.name() == "array_has" && call.args.len() == 2 =>
        {
            let Some(any) = scalar("_any") else {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            };
            let item = call.args.remove(1);
            let array = call.args.remove(0);
            Ok(Transformed::yes(any.call(vec![item, lit("="), array])))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(replaced.data)
}

/// Whether nothing but metadata tells the type.
fn is_tagged(ty: &SqlType) -> bool {
    match ty {
        SqlType::Array(item) => is_tagged(item),
        SqlType::Uuid | SqlType::Json | SqlType::Jsonb | SqlType::Bit(_) | SqlType::Varbit(_) => {
            true
        }
        SqlType::Other(other) => !other.is_character(),
        _ => false,
    }
}

/// An expression as one of the type, if it has forgotten that.
fn retyped(expr: Expr, ty: Option<SqlType>, schema: &DFSchema) -> Transformed<Expr> {
    match ty {
        Some(ty) if is_tagged(&ty) && sql_type(&expr, schema).as_ref() != Some(&ty) => {
            let field = Arc::new(ty.field("cast", true));
            Transformed::yes(Expr::Cast(Cast::new_from_field(Box::new(expr), field)))
        }
        _ => Transformed::no(expr),
    }
}

/// The type of the first that has one.
fn first_type<'a>(mut exprs: impl Iterator<Item = &'a Expr>, schema: &DFSchema) -> Option<SqlType> {
    exprs.find_map(|expr| if is_unknown(expr) { None } else { sql_type(expr, schema) })
}

fn keep(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Case(Case { ref when_then_expr, ref else_expr, .. }) => {
            let thens = when_then_expr.iter().map(|(_, then)| then.as_ref());
            let ty = first_type(thens.chain(else_expr.as_deref()), schema);
            Ok(retyped(expr, ty, schema))
        }
        Expr::ScalarFunction(ref call)
            if matches!(call.func.name(), "coalesce" | "nullif" | "greatest" | "least") =>
        {
            let ty = first_type(call.args.iter(), schema);
            let ordered = match call.func.name() {
                "greatest" => scalar("_greatest"),
                "least" => scalar("_least"),
                _ => None,
            };
            match (ty, ordered) {
                (Some(ty), Some(function)) if has_key(&ty) => {
                    let field = Arc::new(ty.field("cast", true));
                    let typed = |arg: &Expr| {
                        let arg = Box::new(arg.clone());
                        Expr::Cast(Cast::new_from_field(arg, Arc::clone(&field)))
                    };
                    Ok(Transformed::yes(function.call(call.args.iter().map(typed).collect())))
                }
                (ty, _) => Ok(retyped(expr, ty, schema)),
            }
        }
        Expr::AggregateFunction(mut function) => {
            let Some(udaf) = extreme(function.func.name(), &function.params.args, schema)? else {
                return Ok(Transformed::no(Expr::AggregateFunction(function)));
            };
            function.func = udaf;
            Ok(Transformed::yes(Expr::AggregateFunction(function)))
        }
        Expr::WindowFunction(mut function) => {
            let WindowFunctionDefinition::AggregateUDF(udaf) = &function.fun else {
                return Ok(Transformed::no(Expr::WindowFunction(function)));
            };
            let Some(udaf) = extreme(udaf.name(), &function.params.args, schema)? else {
                return Ok(Transformed::no(Expr::WindowFunction(function)));
            };
            function.fun = WindowFunctionDefinition::AggregateUDF(udaf);
            Ok(Transformed::yes(Expr::WindowFunction(function)))
        }
        Expr::BinaryExpr(BinaryExpr { ref left, op, ref right })
            if is_comparison(op) && !is_unknown(left) && !is_unknown(right) =>
        {
            let (a, b) = (sql_type(left, schema), sql_type(right, schema));
            match (a, b) {
                (Some(a), Some(b)) if !are_comparable(&a, &b) => {
                    let (a, b) = (display_name(&a), display_name(&b));
                    Err(Error::postgres("42883", format!("operator does not exist: {a} {op} {b}"))
                        .with_hint(
                            "No operator matches the given name and argument types. You might \
                             need to add explicit type casts.",
                        )
                        .into())
                }
                // A network without its mask in the text is the address.
                (
                    Some(SqlType::Other(a @ (OtherType::Inet | OtherType::Cidr))),
                    Some(SqlType::Other(b @ (OtherType::Inet | OtherType::Cidr))),
                ) if a != b => {
                    let field = Arc::new(SqlType::Other(OtherType::Inet).field("cast", true));
                    let address = |side: &Expr, ty| match ty {
                        OtherType::Cidr => Expr::Cast(Cast::new_from_field(
                            Box::new(side.clone()),
                            Arc::clone(&field),
                        )),
                        _ => side.clone(),
                    };
                    let both = BinaryExpr::new(
                        Box::new(address(left, a)),
                        op,
                        Box::new(address(right, b)),
                    );
                    Ok(Transformed::yes(Expr::BinaryExpr(both)))
                }
                _ => Ok(Transformed::no(expr)),
            }
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// `min` or `max` of a type with an order of its own.
fn extreme(
    name: &str,
    args: &[Expr],
    schema: &DFSchema,
) -> Result<Option<Arc<datafusion::logical_expr::AggregateUDF>>> {
    let ("min" | "max", [arg]) = (name, args) else { return Ok(None) };
    let Some(ty) = sql_type(arg, schema) else { return Ok(None) };
    let orderless = match &ty {
        SqlType::Bit(_) | SqlType::Varbit(_) => true,
        SqlType::Other(other) => {
            other.bound().is_some() || matches!(other, OtherType::Macaddr | OtherType::Macaddr8)
        }
        _ => false,
    };
    if orderless {
        let message = format!("function {name}({}) does not exist", display_name(&ty));
        return Err(Error::postgres("42883", message)
            .with_hint(
                "No function matches the given name and argument types. You might need to add \
                 explicit type casts.",
            )
            .into());
    }
    Ok(has_key(&ty).then(|| extreme_of(&ty, name == "max")))
}

/// Whether values of both are compared: of types that are kept as text only with their own kind.
fn are_comparable(a: &SqlType, b: &SqlType) -> bool {
    use OtherType as O;
    let kept = |ty: &SqlType| match ty {
        SqlType::Bit(_) | SqlType::Varbit(_) => true,
        SqlType::Other(other) => !other.is_character(),
        _ => false,
    };
    if !kept(a) && !kept(b) {
        return true;
    }
    match (a, b) {
        (SqlType::Bit(_) | SqlType::Varbit(_), SqlType::Bit(_) | SqlType::Varbit(_)) => true,
        (SqlType::Other(O::Inet | O::Cidr), SqlType::Other(O::Inet | O::Cidr)) => true,
        (a, b) => a == b,
    }
}

/// An aggregate whose results have the types of their arguments again.
fn kept_results(aggregate: Aggregate, input: &DFSchema) -> Result<Transformed<LogicalPlan>> {
    let wanted: Vec<Option<SqlType>> =
        aggregate.aggr_expr.iter().map(|expr| result_type(expr, input)).collect();
    let plan = LogicalPlan::Aggregate(aggregate);
    let columns = plan.schema().columns();
    let groups = columns.len().saturating_sub(wanted.len());
    let mut forgotten = false;
    let mut projection = Vec::with_capacity(columns.len());
    for (at, column) in columns.into_iter().enumerate() {
        let ty = at.checked_sub(groups).and_then(|at| wanted.get(at).cloned().flatten());
        let Column { relation, name, .. } = column.clone();
        let kept = retyped(Expr::Column(column), ty, plan.schema());
        forgotten |= kept.transformed;
        projection.push(if kept.transformed {
            kept.data.alias_qualified(relation, name)
        } else {
            kept.data
        });
    }
    if !forgotten {
        return Ok(Transformed::no(plan));
    }
    Ok(Transformed::yes(LogicalPlanBuilder::from(plan).project(projection)?.build()?))
}

/// The type of an aggregate that chooses among, or collects, its arguments.
fn result_type(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else {
        return None;
    };
    let ty = sql_type(params.args.first()?, schema)?;
    match func.name() {
        "min" | "max" | "first_value" | "last_value" | "nth_value" => Some(ty),
        "array_agg" if !matches!(ty, SqlType::Array(_)) => Some(SqlType::Array(Box::new(ty))),
        _ => None,
    }
}

/// Sorts and compares by keys.
#[derive(Debug)]
pub(crate) struct OrderKeyRule;

impl AnalyzerRule for OrderKeyRule {
    fn name(&self) -> &str {
        "order_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let schema = input_schema(&plan)?;
            let names = NamePreserver::new(&plan);
            let mut plan = plan
                .map_expressions(|expr| {
                    let name = names.save(&expr);
                    expr.transform_up(|expr| by_key(expr, &schema))?
                        .map_data(|expr| Ok(name.restore(expr)))
                })?
                .data;
            let keyed = |sort: &mut Vec<SortExpr>| {
                for sort in sort {
                    sort.expr = key_of(std::mem::take(&mut sort.expr), &schema);
                }
            };
            match &mut plan {
                LogicalPlan::Sort(sort) => keyed(&mut sort.expr),
                LogicalPlan::Distinct(Distinct::On(on)) => {
                    if let Some(sort) = &mut on.sort_expr {
                        keyed(sort);
                    }
                }
                _ => {}
            }
            Ok(Transformed::yes(plan))
        })
        .map(|transformed| transformed.data)
    }
}

/// The key of a value, or the value itself where it sorts as it is.
fn key_of(expr: Expr, schema: &DFSchema) -> Expr {
    match (sql_type(&expr, schema), scalar("_order_key")) {
        (Some(ty), Some(function)) if has_key(&ty) => function.call(vec![expr]),
        _ => expr,
    }
}

fn by_key(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    use Operator::{Gt, GtEq, Lt, LtEq};
    let keyed = |expr: &Expr| sql_type(expr, schema).is_some_and(|ty| has_key(&ty));
    let sorted = |sort: &mut Vec<SortExpr>| {
        for sort in sort {
            sort.expr = key_of(std::mem::take(&mut sort.expr), schema);
        }
    };
    Ok(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Lt | LtEq | Gt | GtEq), right })
            if keyed(&left) && keyed(&right) =>
        {
            let (left, right) = (key_of(*left, schema), key_of(*right, schema));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let list = |expr: &Expr| matches!(sql_type(expr, schema), Some(SqlType::Array(_)));
            match scalar("_array_compare") {
                Some(compare)
                    if matches!(op, Lt | LtEq | Gt | GtEq) && list(&left) && list(&right) =>
                {
                    let order = compare.call(vec![*left, *right]);
                    let zero = Box::new(lit(0i32));
                    Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(order), op, zero)))
                }
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Between(Between { expr, negated, low, high }) if keyed(&expr) => {
            Transformed::yes(Expr::Between(Between {
                expr: Box::new(key_of(*expr, schema)),
                negated,
                low: Box::new(key_of(*low, schema)),
                high: Box::new(key_of(*high, schema)),
            }))
        }
        Expr::AggregateFunction(mut function) if !function.params.order_by.is_empty() => {
            sorted(&mut function.params.order_by);
            Transformed::yes(Expr::AggregateFunction(function))
        }
        Expr::WindowFunction(mut function) if !function.params.order_by.is_empty() => {
            let WindowFunction { params, .. } = function.as_mut();
            sorted(&mut params.order_by);
            Transformed::yes(Expr::WindowFunction(function))
        }
        other => Transformed::no(other),
    })
}
