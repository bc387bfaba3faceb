//! Literals without a type of their own: strings take the type of what they are compared with.

use std::sync::Arc;

use arrow::datatypes::DataType;
use chronos_catalog::SqlType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, Cast, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, Projection, Union};
use datafusion::optimizer::analyzer::AnalyzerRule;

use super::convert::{exists, no_cast};
use super::is_character;

/// Whether an expression is a string literal that no cast gives a type.
pub(crate) fn is_unknown(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

/// The SQL type of an expression, where it has one and is known.
pub(crate) fn sql_type(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    // DataFusion's integer literals are all bigint.
    if let Expr::Literal(ScalarValue::Int64(Some(value)), _) = expr
        && i32::try_from(*value).is_ok()
    {
        return Some(SqlType::Int4);
    }
    let (_, field) = expr.to_field(schema).ok()?;
    if *field.data_type() == DataType::Null {
        return None;
    }
    SqlType::of_field(&field)
}

/// A string literal as a value of the type. A cast around it changes no column's name.
pub(crate) fn typed(literal: Expr, ty: &SqlType) -> Expr {
    // A numeric keeps the digits that it is written with.
    if let (SqlType::Numeric(_), Expr::Literal(ScalarValue::Utf8(Some(text)), _)) = (ty, &literal)
        && let Some(numeric) = crate::operators::literal_numeric(text)
    {
        return Expr::Cast(Cast::new_from_field(
            Box::new(literal),
            Arc::new(numeric.field("cast", true)),
        ));
    }
    let ty = match ty {
        // Compared, not cut.
        SqlType::Varchar(_) => SqlType::Text,
        SqlType::Bit(_) => SqlType::Bit(None),
        SqlType::Varbit(_) => SqlType::Varbit(None),
        other => other.clone(),
    };
    Expr::Cast(Cast::new_from_field(Box::new(literal), Arc::new(ty.field("cast", true))))
}

/// Whether a literal beside an expression of that type has to become one of the type before
/// DataFusion makes them alike.
pub(crate) fn wants_type(ty: &SqlType) -> bool {
    !is_character(ty) || matches!(ty, SqlType::Char(_))
}

/// Types the literals that no operator's planning has seen, and refuses casts that do not exist,
/// before type coercion adds its own.
#[derive(Debug)]
pub(crate) struct UnknownLiteralRule;

impl AnalyzerRule for UnknownLiteralRule {
    fn name(&self) -> &str {
        "unknown_literals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            if let LogicalPlan::Union(union) = plan {
                return of_union(union);
            }
            let mut schema = DFSchema::empty();
            for input in plan.inputs() {
                schema.merge(input.schema());
            }
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                expr.transform_up(|expr| type_literals(expr, &schema))?
                    .map_data(|expr| Ok(name.restore(expr)))
            })
        })
        .map(|transformed| transformed.data)
    }
}

/// Gives the string literals of a set operation's column the type that another side has.
fn of_union(mut union: Union) -> Result<Transformed<LogicalPlan>> {
    let projection = |plan: &Arc<LogicalPlan>| match plan.as_ref() {
        LogicalPlan::Projection(projection) => Some(projection.clone()),
        _ => None,
    };
    let mut changed = false;
    for column in 0..union.schema.fields().len() {
        let mut ty = None;
        let mut open = Vec::new();
        for (side, input) in union.inputs.iter().enumerate() {
            let own = projection(input);
            match own.as_ref().and_then(|p| Some((p.expr.get(column)?, p.input.schema()))) {
                Some((expr, _)) if is_unknown(unaliased(expr)) => open.push(side),
                Some((expr, schema)) if ty.is_none() => ty = sql_type(unaliased(expr), schema),
                None if ty.is_none() => ty = SqlType::of_field(input.schema().field(column)),
                _ => {}
            }
        }
        let Some(ty) = ty.filter(|ty| !is_character(ty)) else { continue };
        for side in open {
            let Some(mut own) = projection(&union.inputs[side]) else { continue };
            let (qualifier, name) = own.expr[column].qualified_name();
            let literal = typed(unaliased(&own.expr[column]).clone(), &ty);
            own.expr[column] = literal.alias_qualified(qualifier, name);
            let own = Projection::try_new(own.expr, own.input)?;
            union.inputs[side] = Arc::new(LogicalPlan::Projection(own));
            changed = true;
        }
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let union = Union::try_new_with_loose_types(union.inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The same for an expression by itself.
pub(crate) fn type_literals(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let like = |literal: Expr, ty: &Option<SqlType>| match ty {
        Some(ty) if is_unknown(&literal) && wants_type(ty) => typed(literal, ty),
        _ => literal,
    };
    Ok(match expr {
        Expr::Cast(ref cast) => {
            let to = SqlType::of_field(&cast.field);
            let from = match cast.expr.as_ref() {
                Expr::Placeholder(_) => None,
                inner => sql_type(inner, schema),
            };
            if let (Some(from), Some(to)) = (from, to)
                && !exists(&from, &to)
            {
                return Err(no_cast(&from, &to).into());
            }
            Transformed::no(expr)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
            let ty = if is_unknown(&right) {
                sql_type(&left, schema)
            } else if is_unknown(&left) {
                sql_type(&right, schema)
            } else {
                None
            };
            let (left, right) = (like(*left, &ty), like(*right, &ty));
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::InList(InList { expr, list, negated }) if list.iter().any(is_unknown) => {
            let ty = sql_type(&expr, schema);
            let list = list.into_iter().map(|item| like(item, &ty)).collect();
            Transformed::yes(Expr::InList(InList { expr, list, negated }))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let mut ty = sql_type(&expr, schema);
            if is_unknown(&expr) {
                ty = [&low, &high]
                    .into_iter()
                    .find(|e| !is_unknown(e))
                    .and_then(|e| sql_type(e, schema));
            }
            Transformed::yes(Expr::Between(Between {
                expr: Box::new(like(*expr, &ty)),
                negated,
                low: Box::new(like(*low, &ty)),
                high: Box::new(like(*high, &ty)),
            }))
        }
        // On its way through a join a subquery's value forgets what its Arrow type does not tell.
        Expr::ScalarFunction(mut call)
            if call.args.iter().any(|a| matches!(a, Expr::ScalarSubquery(_))) =>
        {
            for arg in &mut call.args {
                if matches!(arg, Expr::ScalarSubquery(_))
                    && let Some(ty) = sql_type(arg, schema)
                    && ty.metadata().is_some()
                {
                    let field = Arc::new(ty.field("cast", true));
                    *arg = Expr::Cast(Cast::new_from_field(Box::new(arg.clone()), field));
                }
            }
            Transformed::yes(Expr::ScalarFunction(call))
        }
        Expr::ScalarFunction(mut call)
            if crate::functions::scalar(call.func.name()).is_none()
                || matches!(call.func.name(), "lower" | "upper") =>
        {
            // The blanks that fill a char(n) are no part of it.
            let mut changed = false;
            for arg in &mut call.args {
                if matches!(sql_type(arg, schema), Some(SqlType::Char(_))) {
                    *arg = typed(arg.clone(), &SqlType::Text);
                    changed = true;
                }
            }
            let expr = Expr::ScalarFunction(call);
            if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
        }
        Expr::Case(Case { expr: operand, when_then_expr, else_expr }) => {
            let ty = operand.as_ref().and_then(|operand| sql_type(operand, schema));
            let mut results = when_then_expr.iter().map(|(_, then)| then).chain(&else_expr);
            let result = results.find(|e| !is_unknown(e)).and_then(|e| sql_type(e, schema));
            let result = result.filter(|ty| !is_character(ty));
            let when_then_expr = when_then_expr
                .into_iter()
                .map(|(when, then)| (Box::new(like(*when, &ty)), Box::new(like(*then, &result))))
                .collect();
            let else_expr = else_expr.map(|e| Box::new(like(*e, &result)));
            Transformed::yes(Expr::Case(Case { expr: operand, when_then_expr, else_expr }))
        }
        other => Transformed::no(other),
    })
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}
