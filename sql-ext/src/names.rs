//! The names that PostgreSQL gives to the columns of a result.
//!
//! DataFusion names a column after its whole expression and refuses two of one name. So
//! [`crate::bind`] gives every column of a select list PostgreSQL's name, the second of a name
//! with a suffix that [`output_name`] takes off again.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, DataType, Expr, Ident, ObjectName, SelectItem, SetExpr, TrimWhereField, Value,
};

use crate::bind::normal;
use crate::types::type_name;

/// Separates the name of a column from the number that makes it unique within its plan.
const SUFFIX: char = '\u{1f}';

/// The output columns' names of a query's select list, as PostgreSQL gives them; `None` at the
/// place of a wildcard, whose names are those of the plan.
pub fn output_names(query: &ast::Query) -> Vec<Option<String>> {
    match query.body.as_ref() {
        SetExpr::Select(select) => select.projection.iter().map(item_name).collect(),
        SetExpr::Query(inner) => output_names(inner),
        SetExpr::SetOperation { left, .. } => {
            let mut left_most = left;
            loop {
                match left_most.as_ref() {
                    SetExpr::SetOperation { left, .. } => left_most = left,
                    SetExpr::Select(select) => {
                        return select.projection.iter().map(item_name).collect();
                    }
                    SetExpr::Query(inner) => return output_names(inner),
                    SetExpr::Values(values) => return values_names(values),
                    _ => return Vec::new(),
                }
            }
        }
        SetExpr::Values(values) => values_names(values),
        SetExpr::Table(_) => vec![None],
        _ => Vec::new(),
    }
}

/// The name of a result column, from the name of the plan's column.
pub fn output_name(planned: &str) -> &str {
    planned.split_once(SUFFIX).map_or(planned, |(name, _)| name)
}

fn values_names(values: &ast::Values) -> Vec<Option<String>> {
    let width = values.rows.first().map_or(0, |row| row.len());
    (1..=width).map(|i| Some(format!("column{i}"))).collect()
}

pub(crate) fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(expression_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(normal(alias)),
        SelectItem::ExprWithAliases { aliases, .. } => aliases.first().map(normal),
        SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => None,
    }
}

/// Names every column of a select list, whose wildcards show columns of the names `shown`.
pub(crate) fn name_items(items: &mut [SelectItem], shown: &BTreeSet<String>) {
    let unqualified = items.iter().any(|i| matches!(i, SelectItem::Wildcard(_)));
    let mut used = BTreeSet::new();
    for (place, item) in items.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(normal(alias))),
            _ => continue,
        };
        let column = match bare(expr) {
            Expr::Identifier(ident) => Some(normal(ident)),
            Expr::CompoundIdentifier(parts) => parts.last().map(normal),
            _ => None,
        };
        let plain = name.is_none() && column.is_some();
        let name = name.or(column).unwrap_or_else(|| expression_name(expr));
        let fresh = used.insert(name.clone());
        // A column beside a wildcard may be one of the wildcard's. The names that are given are
        // those that a query around this one asks for, so they stay where they can.
        let unique = fresh && !shown.contains(&name) && !(plain && unqualified);
        if plain && unique {
            continue;
        }
        let alias = if unique { name.clone() } else { format!("{name}{SUFFIX}{place}") };
        let expr = expr.clone();
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) };
    }
}

/// Orders by a column of the select list by its name, which DISTINCT wants.
pub(crate) fn order_by_names(items: &[SelectItem], order_by: &mut ast::OrderBy) {
    let ast::OrderByKind::Expressions(exprs) = &mut order_by.kind else { return };
    for ordered in exprs {
        for item in items {
            if let SelectItem::ExprWithAlias { expr, alias } = item
                && *expr == ordered.expr
            {
                ordered.expr = Expr::Identifier(alias.clone());
                break;
            }
        }
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => bare(inner),
        other => other,
    }
}

/// `?column?` where nothing gives a name.
fn expression_name(expr: &Expr) -> String {
    figure(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

/// The name that an expression gives, and whether it is one that a cast around it keeps.
fn figure(expr: &Expr) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Identifier(ident) => strong(&normal(ident)),
        Expr::CompoundIdentifier(parts) => strong(&parts.last().map(normal)?),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some(normal(ident)),
                _ => None,
            });
            match field {
                Some(field) => strong(&field),
                None => figure(root),
            }
        }
        Expr::Function(function) => match last_part(&function.name)?.as_str() {
            "_substring_similar" => strong("substring"),
            name => strong(name),
        },
        // `1::int unsigned` is `1::int AS unsigned`.
        Expr::Cast { data_type, .. } if data_type.to_string().ends_with("UNSIGNED") => {
            strong("unsigned")
        }
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some((name, true)) => Some((name, true)),
            _ => Some((type_name(data_type), false)),
        },
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), false)),
        Expr::Interval(_) => Some(("interval".into(), false)),
        Expr::Value(value) => match value.value {
            Value::Boolean(_) => Some(("bool".into(), false)),
            _ => None,
        },
        Expr::Case { else_result, .. } => {
            match else_result.as_ref().and_then(|otherwise| figure(otherwise)) {
                Some((name, true)) => Some((name, true)),
                _ => Some(("case".into(), false)),
            }
        }
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Subquery(query) => match output_names(query).into_iter().next() {
            Some(Some(name)) if name != "?column?" => strong(&name),
            _ => None,
        },
        Expr::BinaryOp { op: ast::BinaryOperator::Overlaps, .. } => strong("overlaps"),
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { shorthand: true, .. } => strong("substr"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            Some(TrimWhereField::Both) | None => "btrim",
        }),
        _ => None,
    }
}

fn last_part(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(normal)
}

/// Functions that DataFusion plans by the values of their literals.
const BARE_LITERALS: &[&str] = &[
    "approx_distinct",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "arrow_cast",
    "count",
    "date_bin",
    "lag",
    "lead",
    "nth_value",
    "ntile",
    "percentile_cont",
    "round",
    "struct",
    "trunc",
    "named_struct",
];

/// Makes the integer literals of a column of a select list what PostgreSQL makes of them:
/// integers, not bigints.
pub(crate) fn narrow_integers(expr: &mut Expr) {
    match expr {
        Expr::Value(value) => {
            if let Value::Number(text, false) = &value.value
                && text.parse::<i32>().is_ok()
            {
                *expr = Expr::Cast {
                    kind: ast::CastKind::DoubleColon,
                    expr: Box::new(expr.clone()),
                    data_type: DataType::Int4(None),
                    array: false,
                    format: None,
                };
            }
        }
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => narrow_integers(inner),
        Expr::BinaryOp { left, op, right } => {
            use ast::BinaryOperator as Op;
            if matches!(
                op,
                Op::Plus
                    | Op::Minus
                    | Op::Multiply
                    | Op::Divide
                    | Op::Modulo
                    | Op::BitwiseAnd
                    | Op::BitwiseOr
                    | Op::BitwiseXor
                    | Op::PGBitwiseXor
                    | Op::PGBitwiseShiftLeft
                    | Op::PGBitwiseShiftRight
                    | Op::StringConcat
            ) {
                narrow_integers(left);
                narrow_integers(right);
            }
        }
        Expr::Array(array) => array.elem.iter_mut().for_each(narrow_integers),
        Expr::Tuple(items) => items.iter_mut().for_each(narrow_integers),
        Expr::CompoundFieldAccess { root, .. } => narrow_integers(root),
        Expr::Function(function) if function.over.is_none() => {
            let Some(name) = last_part(&function.name) else { return };
            // Names that take their numbers bare: they are told by value, not by type.
            if BARE_LITERALS.contains(&name.as_str()) {
                return;
            }
            if let ast::FunctionArguments::List(list) = &mut function.args {
                for arg in &mut list.args {
                    if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)) = arg {
                        narrow_integers(arg);
                    }
                }
            }
        }
        Expr::Case { conditions, else_result, .. } => {
            for when in conditions {
                narrow_integers(&mut when.result);
            }
            if let Some(otherwise) = else_result {
                narrow_integers(otherwise);
            }
        }
        _ => {}
    }
}

/// Makes number literals what PostgreSQL makes of them where DataFusion cannot know: beyond
/// bigint they are numeric, a cast of a literal to a float is a float of any exponent, and the
/// integers that an aggregate sums are integers.
pub(crate) fn settle_numbers(expr: &mut Expr) {
    let text_of = |expr: &Expr| match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    match expr {
        Expr::Value(_) => {
            let Some(text) = text_of(expr) else { return };
            if text.parse::<i64>().is_err() && text.parse::<u64>().is_ok() {
                let precision = text.trim_start_matches('0').len() as u64;
                *expr = Expr::Cast {
                    kind: ast::CastKind::Cast,
                    expr: Box::new(Expr::value(Value::SingleQuotedString(text))),
                    data_type: DataType::Numeric(ast::ExactNumberInfo::Precision(precision)),
                    array: false,
                    format: None,
                };
            }
        }
        // The smallest bigint is written with a minus before what is none by itself.
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr: inner } => {
            if let Expr::Cast { expr: literal, .. } = inner.as_ref()
                && let Expr::Value(value) = literal.as_ref()
                && matches!(&value.value, Value::SingleQuotedString(t) if t == "9223372036854775808")
            {
                **inner = Expr::value(Value::Number("9223372036854775808".into(), false));
            }
        }
        Expr::Cast { expr: inner, data_type, .. } => {
            if matches!(
                crate::types::sql_type(data_type),
                Ok(chronos_catalog::SqlType::Float4 | chronos_catalog::SqlType::Float8)
            ) && let Some(text) = text_of(inner)
            {
                **inner = Expr::value(Value::SingleQuotedString(text));
            }
        }
        Expr::Function(function) => {
            let sums = last_part(&function.name).is_some_and(|n| n == "sum" || n == "avg");
            if let (true, ast::FunctionArguments::List(list)) = (sums, &mut function.args) {
                for arg in &mut list.args {
                    if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)) = arg {
                        narrow_integers(arg);
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{StatementKind, parse};

    fn names(sql: &str) -> String {
        let Some(StatementKind::Sql(statement)) = parse(sql).unwrap().pop().map(|s| s.kind) else {
            panic!("not a statement of SQL");
        };
        let ast::Statement::Query(query) = *statement else { panic!("not a query") };
        output_names(&query)
            .into_iter()
            .map(|name| name.unwrap_or_else(|| "*".into()))
            .collect::<Vec<_>>()
            .join(",")
    }

    #[test]
    fn columns_have_postgres_names() {
        for (sql, expected) in [
            ("select 1, 'x', 1 + 1, null, true", "?column?,?column?,?column?,?column?,bool"),
            ("select a, t.b, \"C\", T.D, (a)", "a,b,C,d,a"),
            ("select count(*), Max(x), pg_catalog.version()", "count,max,version"),
            ("select 1::int, x::text, '1'::numeric(5,2), now()::date", "int4,x,numeric,now"),
            ("select date '2026-01-01', interval '1 day'", "date,interval"),
            ("select case when a then 1 end, case when a then 1 else b end", "case,b"),
            ("select exists (select 1), (select max(x) from t), (select 1)", "exists,max,?column?"),
            (
                "select extract(epoch from x), substring(x from 1), trim(x)",
                "extract,substring,btrim",
            ),
            ("select coalesce(a, b), AVG_1H(x), current_date", "coalesce,avg_1h,current_date"),
            ("select *, t.*, a as \"B\"", "*,*,B"),
            ("values (1, 2)", "column1,column2"),
            ("select a from t union select b from u", "a"),
            (
                "select x at time zone 'UTC', -x, not x, x is null",
                "timezone,?column?,?column?,?column?",
            ),
        ] {
            assert_eq!(names(sql), expected, "{sql}");
        }
    }
}
