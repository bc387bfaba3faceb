//! Parameters whose type the client told.

use std::ops::ControlFlow;

use chronos_catalog::SqlType;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Statement, Value, visit_expressions, visit_expressions_mut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::PgError;
use crate::pgwire::types;

/// A type as the grammar has it.
pub(super) fn data_type(ty: &SqlType) -> Option<DataType> {
    let name = types::name(ty);
    Parser::new(&PostgreSqlDialect {}).try_with_sql(&name).ok()?.parse_data_type().ok()
}

/// A cast of an expression to a type.
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

/// The name of a placeholder, if the expression is one.
pub(super) fn placeholder(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(name),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

/// The place of a placeholder among the parameters, from 0.
pub(super) fn index(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// 42P02 for the first parameter of a statement that is not among the `given` first ones.
pub(super) fn missing(statement: &Statement, given: usize) -> PgError {
    let first = visit_expressions(statement, |expr| match placeholder(expr) {
        Some(name) if index(name).is_none_or(|i| i >= given) => ControlFlow::Break(name.to_owned()),
        _ => ControlFlow::Continue(()),
    });
    let name = match first {
        ControlFlow::Break(name) => name,
        ControlFlow::Continue(()) => format!("${}", given + 1),
    };
    PgError::new("42P02", format!("there is no parameter {name}"))
}

/// How many parameters a statement asks for: the highest number in it.
pub(super) fn count(statement: &Statement) -> usize {
    let mut count = 0;
    let _ = visit_expressions(statement, |expr| {
        if let Some(i) = placeholder(expr).and_then(index) {
            count = count.max(i + 1);
        }
        ControlFlow::<()>::Continue(())
    });
    count
}

/// Casts every parameter whose type is known to it, so that planning sees the type.
pub(super) fn declare(statement: &mut Statement, types: &[Option<SqlType>]) {
    if types.iter().all(Option::is_none) {
        return;
    }
    let _ = visit_expressions_mut(statement, |expr| {
        // `$1::int` needs no second cast to the type that it told.
        if let Expr::Cast { expr: inner, data_type: outer, .. } = expr
            && let Expr::Cast { expr: parameter, data_type: own, .. } = inner.as_ref()
            && placeholder(parameter).is_some()
            && same_but_for_modifier(own, outer)
        {
            let parameter = parameter.clone();
            *inner = parameter;
            return ControlFlow::<()>::Continue(());
        }
        if let Some(name) = placeholder(expr)
            && let Some(Some(ty)) = index(name).and_then(|i| types.get(i))
            && let Some(data_type) = data_type(ty)
        {
            *expr = cast(expr.clone(), data_type);
        }
        ControlFlow::<()>::Continue(())
    });
}

fn same_but_for_modifier(a: &DataType, b: &DataType) -> bool {
    let bare = |d: &DataType| chronos_sql_ext::sql_type(d).ok().map(super::infer::bare);
    bare(a).is_some_and(|a| bare(b) == Some(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_parameter_is_cast_and_others_are_left() {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT $1, $2").unwrap();
        declare(&mut statements[0], &[Some(SqlType::Int8), None]);
        assert_eq!(statements[0].to_string(), "SELECT CAST($1 AS BIGINT), $2");
    }
}
