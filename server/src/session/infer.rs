//! The types of parameters, as PostgreSQL infers them: from casts and clauses in the syntax, then
//! from what each parameter meets in the plan.

use std::ops::ControlFlow;

use chronos_catalog::SqlType;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::sql::sqlparser::ast::{
    self, Expr as SqlExpr, FunctionArg, FunctionArgExpr, LimitClause, Query, Statement,
    TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::parameters::{cast, data_type, index, placeholder};

type Types = [Option<SqlType>];

fn note(types: &mut Types, expr: &SqlExpr, ty: impl FnOnce() -> Option<SqlType>) {
    if let Some(i) = placeholder(expr).and_then(index)
        && let Some(slot @ None) = types.get_mut(i)
    {
        *slot = ty().map(bare);
    }
}

/// The type without its length or precision, which parameters do not have.
pub(super) fn bare(ty: SqlType) -> SqlType {
    match ty {
        SqlType::Varchar(_) => SqlType::Varchar(None),
        SqlType::Char(_) => SqlType::Text,
        SqlType::Numeric(_) => SqlType::Numeric(None),
        SqlType::Array(item) => SqlType::Array(Box::new(bare(*item))),
        other => other,
    }
}

/// Notes the types that the syntax alone tells: `$1::int`, `LIMIT $1`.
pub(super) fn from_syntax(statement: &Statement, types: &mut Types) {
    if types.iter().any(Option::is_none) {
        let _ = statement.visit(&mut Syntax(types));
    }
}

struct Syntax<'a>(&'a mut Types);

impl Visitor for Syntax<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let bigint = || Some(SqlType::Int8);
        match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                if let Some(limit) = limit {
                    note(self.0, limit, bigint);
                }
                if let Some(offset) = offset {
                    note(self.0, &offset.value, bigint);
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                note(self.0, offset, bigint);
                note(self.0, limit, bigint);
            }
            None => {}
        }
        if let Some(quantity) = query.fetch.as_ref().and_then(|f| f.quantity.as_ref()) {
            note(self.0, quantity, bigint);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::Cast { expr, data_type, .. } => {
                // A name of an object is looked up when it is known.
                let names_object = data_type.to_string().to_lowercase().starts_with("reg");
                note(self.0, expr, || {
                    if names_object {
                        return Some(SqlType::Text);
                    }
                    chronos_sql_ext::sql_type(data_type).ok()
                });
            }
            SqlExpr::AtTimeZone { time_zone, .. } => {
                note(self.0, time_zone, || Some(SqlType::Text));
            }
            SqlExpr::Function(function) => {
                if let Some(ty) = argument_type(&function.name) {
                    for arg in arguments(function) {
                        note(self.0, arg, || Some(ty.clone()));
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(args), .. } = factor
            && last_word(name) == "generate_series"
        {
            for arg in &args.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
                    note(self.0, expr, || Some(SqlType::Int4));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

fn last_word(name: &ast::ObjectName) -> String {
    name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()).unwrap_or_default()
}

fn arguments(function: &ast::Function) -> impl Iterator<Item = &SqlExpr> {
    let list = match &function.args {
        ast::FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    })
}

/// The type of the arguments of functions that take only one.
fn argument_type(name: &ast::ObjectName) -> Option<SqlType> {
    let name = last_word(name);
    match name.as_str() {
        "pg_sleep" => Some(SqlType::Float8),
        "pg_cancel_backend" | "pg_terminate_backend" => Some(SqlType::Int4),
        name if name.contains("advisory_") => Some(SqlType::Int8),
        _ => None,
    }
}

/// Notes the types that a plan tells: of the other side of an operator, of the other arguments
/// of COALESCE and CASE, of the elements of an array.
pub(super) fn from_plan(plan: &LogicalPlan, types: &mut Types) -> DfResult<()> {
    if let Ok(found) = plan.get_parameter_fields() {
        for (i, slot) in types.iter_mut().enumerate() {
            if slot.is_none()
                && let Some(Some(field)) = found.get(&format!("${}", i + 1))
            {
                *slot = known(field);
            }
        }
    }
    if types.iter().all(Option::is_some) {
        return Ok(());
    }
    plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        schema.merge(node.schema());
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                meet(expr, &schema, types);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

/// A type that says something.
fn known(field: &FieldRef) -> Option<SqlType> {
    if field.data_type() == &DataType::Null { None } else { SqlType::of_field(field).map(bare) }
}

fn type_of(expr: &Expr, schema: &DFSchema) -> Option<SqlType> {
    if matches!(expr, Expr::Placeholder(_)) {
        return None;
    }
    known(&expr.to_field(schema).ok()?.1)
}

/// The place of an open parameter.
fn open(expr: &Expr, types: &Types) -> Option<usize> {
    match expr {
        Expr::Placeholder(p) => index(&p.id).filter(|i| matches!(types.get(*i), Some(None))),
        _ => None,
    }
}

/// Gives the open parameters among operands the type of one that has one.
fn agree<'e>(
    operands: impl Iterator<Item = &'e Expr> + Clone,
    schema: &DFSchema,
    types: &mut Types,
) {
    if operands.clone().any(|e| open(e, types).is_some())
        && let Some(ty) = operands.clone().find_map(|e| type_of(e, schema))
    {
        for i in operands.filter_map(|e| open(e, types)).collect::<Vec<_>>() {
            types[i] = Some(ty.clone());
        }
    }
}

fn meet(expr: &Expr, schema: &DFSchema, types: &mut Types) {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            for (one, other) in [(left, right), (right, left)] {
                let Some(i) = open(one, types) else { continue };
                types[i] = match (op, type_of(other, schema)) {
                    (Operator::StringConcat, None) => Some(SqlType::Text),
                    (
                        Operator::Plus | Operator::Minus,
                        Some(SqlType::Timestamptz | SqlType::Timestamp),
                    ) => Some(SqlType::Interval),
                    (Operator::StringConcat, Some(ty)) if !matches!(ty, SqlType::Array(_)) => {
                        Some(SqlType::Text)
                    }
                    (_, ty) => ty,
                };
            }
        }
        Expr::Case(case) => {
            let thens = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            agree(thens.chain(case.else_expr.as_deref()), schema, types);
            let whens = case.when_then_expr.iter().map(|(when, _)| when.as_ref());
            if let Some(of) = case.expr.as_deref() {
                agree(whens.chain(Some(of)), schema, types);
            }
        }
        Expr::InList(list) => {
            agree(list.list.iter().chain([list.expr.as_ref()]), schema, types);
        }
        Expr::Between(between) => {
            agree(
                [&between.expr, &between.low, &between.high].into_iter().map(AsRef::as_ref),
                schema,
                types,
            );
        }
        Expr::ScalarFunction(call) => match call.func.name() {
            "coalesce" | "nullif" | "greatest" | "least" => agree(call.args.iter(), schema, types),
            "array_has" | "array_position" | "array_append" | "array_remove" => {
                if let [array, item, ..] = call.args.as_slice() {
                    if let (Some(i), Some(ty)) = (open(array, types), type_of(item, schema)) {
                        types[i] = Some(SqlType::Array(Box::new(ty)));
                    } else if let (Some(i), Some(SqlType::Array(ty))) =
                        (open(item, types), type_of(array, schema))
                    {
                        types[i] = Some(*ty);
                    }
                }
            }
            // The operator stands between.
            "_any" | "_all" => {
                if let [item, _, array] = call.args.as_slice() {
                    if let (Some(i), Some(ty)) = (open(array, types), type_of(item, schema)) {
                        types[i] = Some(SqlType::Array(Box::new(ty)));
                    } else if let (Some(i), Some(SqlType::Array(ty))) =
                        (open(item, types), type_of(array, schema))
                    {
                        types[i] = Some(*ty);
                    }
                }
            }
            _ => {}
        },
        _ => {}
    }
}

/// Puts values in the place of parameters among the arguments of table functions, which have to
/// be literals; while describing, any value of the type.
pub(super) fn fill_table_functions(
    statement: &mut Statement,
    types: &Types,
    values: Option<&[ScalarValue]>,
) {
    let _ = statement.visit(&mut Fill { types, values });
}

struct Fill<'a> {
    types: &'a Types,
    values: Option<&'a [ScalarValue]>,
}

impl VisitorMut for Fill<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let args = match factor {
            TableFactor::Table { name, args: Some(args), .. }
                if last_word(name) == "generate_series" =>
            {
                &mut args.args
            }
            TableFactor::Function { name, args, .. } if last_word(name) == "generate_series" => {
                args
            }
            _ => return ControlFlow::Continue(()),
        };
        for arg in args {
            if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg {
                let inner = match &*expr {
                    SqlExpr::Cast { expr, .. } => expr.as_ref(),
                    other => other,
                };
                if let Some(i) = placeholder(inner).and_then(index)
                    && let Some(literal) = self.literal(i)
                {
                    *expr = literal;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl Fill<'_> {
    fn literal(&self, i: usize) -> Option<SqlExpr> {
        let Some(values) = self.values else {
            return match self.types.get(i)? {
                None | Some(SqlType::Int2 | SqlType::Int4 | SqlType::Int8) => {
                    Some(SqlExpr::value(Value::Number("1".into(), false)))
                }
                Some(_) => None,
            };
        };
        let value = values.get(i)?;
        if value.is_null() {
            return Some(SqlExpr::value(Value::Null));
        }
        match value {
            ScalarValue::Int16(_) | ScalarValue::Int32(_) | ScalarValue::Int64(_) => {
                Some(number(&value.to_string()))
            }
            _ => {
                let ty = self.types.get(i)?.as_ref()?;
                let text = value.cast_to(&DataType::Utf8).ok()?.to_string();
                let text = SqlExpr::value(Value::SingleQuotedString(text));
                Some(cast(text, data_type(ty)?))
            }
        }
    }
}

fn number(digits: &str) -> SqlExpr {
    match digits.strip_prefix('-') {
        Some(digits) => SqlExpr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr: Box::new(SqlExpr::value(Value::Number(digits.to_owned(), false))),
        },
        None => SqlExpr::value(Value::Number(digits.to_owned(), false)),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn statement(sql: &str) -> Statement {
        Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0)
    }

    #[test]
    fn a_cast_and_a_limit_tell_their_parameters_types() {
        let mut types = vec![None, None, None];
        from_syntax(&statement("SELECT $1::date LIMIT $2 OFFSET $3"), &mut types);
        assert_eq!(types, [Some(SqlType::Date), Some(SqlType::Int8), Some(SqlType::Int8)]);
    }

    #[test]
    fn what_the_client_said_stays() {
        let mut types = vec![Some(SqlType::Int2)];
        from_syntax(&statement("SELECT $1::int8"), &mut types);
        assert_eq!(types, [Some(SqlType::Int2)]);
    }

    #[test]
    fn the_name_of_an_object_is_text_and_a_length_is_not_the_parameters() {
        let mut types = vec![None, None];
        from_syntax(&statement("SELECT $1::regclass, $2::numeric(5,2)"), &mut types);
        assert_eq!(types, [Some(SqlType::Text), Some(SqlType::Numeric(None))]);
    }

    #[test]
    fn a_table_functions_parameter_becomes_a_literal() {
        let mut sql = statement("SELECT * FROM generate_series(1, CAST($1 AS int))");
        let values = [ScalarValue::Int32(Some(-3))];
        fill_table_functions(&mut sql, &[Some(SqlType::Int4)], Some(&values));
        assert_eq!(sql.to_string(), "SELECT * FROM generate_series(1, -3)");
    }
}
