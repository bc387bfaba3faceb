//! Whole rows by a table's name: `SELECT t FROM t`, `row_to_json(t)`, `count(t)`.
//!
//! A bare name that no column has, and a table reference of the same FROM has, becomes
//! `_row('a', t.a, 'b', t.b)`: a record, of which `to_json` and its like make an object.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    Value,
};

use super::expressions::name_of;
use super::{Binder, hidden, last_ident, normal};
use crate::names;
use crate::system_tables::call;
use crate::temporal::Resolved;

/// One table reference of a FROM.
struct Item {
    alias: Ident,
    /// Its columns, where they are known.
    columns: Option<Vec<String>>,
    /// A set-returning function of one column, whose name is the value itself.
    scalar: bool,
}

/// Writes out the whole rows that a SELECT and its ORDER BY name.
pub(super) fn write_out(
    binder: &Binder<'_>,
    select: &mut Select,
    order_by: Option<&mut ast::OrderBy>,
) {
    if select.from.is_empty() || !names_one(select) {
        return;
    }
    let items = items(binder, select, 0);
    let column = |name: &str| items.iter().any(|i| i.columns.iter().flatten().any(|c| c == name));
    let whole: Vec<&Item> =
        items.iter().filter(|i| i.columns.is_some() && !column(&normal(&i.alias))).collect();
    if whole.is_empty() {
        return;
    }
    let mut write = |expr: &mut Expr| {
        let _ = ast::visit_expressions_mut(expr, |e| {
            replace(e, &whole);
            ControlFlow::<()>::Continue(())
        });
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            write(expr);
        }
    }
    if let Some(selection) = &mut select.selection {
        write(selection);
    }
    if let Some(having) = &mut select.having {
        write(having);
    }
    if let GroupByExpr::Expressions(group, _) = &mut select.group_by {
        group.iter_mut().for_each(&mut write);
    }
    if let Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(exprs), .. }) = order_by {
        exprs.iter_mut().for_each(|o| write(&mut o.expr));
    }
}

/// Whether a bare name in the select is that of a table reference: most statements stop here.
fn names_one(select: &Select) -> bool {
    let mut aliases = BTreeSet::new();
    for table in &select.from {
        let joined = table.joins.iter().map(|j| &j.relation);
        for factor in std::iter::once(&table.relation).chain(joined) {
            aliases.extend(alias_of(factor).map(|a| normal(&a)));
        }
    }
    let found = ast::visit_expressions(select, |expr| match expr {
        Expr::Identifier(name) if aliases.contains(&normal(name)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

pub(super) fn alias_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { name, alias, .. } => {
            Some(alias.as_ref().map_or_else(|| last_ident(name), |a| a.name.clone()))
        }
        TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. } => alias.as_ref().map(|a| a.name.clone()),
        _ => None,
    }
}

fn items(binder: &Binder<'_>, select: &Select, depth: usize) -> Vec<Item> {
    let mut found = Vec::new();
    for table in &select.from {
        let joined = table.joins.iter().map(|j| &j.relation);
        for factor in std::iter::once(&table.relation).chain(joined) {
            if let Some(alias) = alias_of(factor) {
                let columns = columns(binder, factor, depth);
                let scalar = is_scalar_set(factor);
                found.push(Item { alias, columns, scalar });
            }
        }
    }
    found
}

/// Whether a table reference is a set-returning function that was written out.
fn is_scalar_set(factor: &TableFactor) -> bool {
    let TableFactor::Derived { lateral: true, subquery, .. } = factor else { return false };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return false };
    select.from.is_empty()
        && matches!(select.projection.as_slice(),
            [SelectItem::ExprWithAlias { expr, .. }] if is_unnest(expr))
}

fn is_unnest(expr: &Expr) -> bool {
    match expr {
        Expr::Cast { expr, .. } => is_unnest(expr),
        Expr::Function(function) => name_of(function).as_deref() == Some("unnest"),
        _ => false,
    }
}

pub(super) fn columns(
    binder: &Binder<'_>,
    factor: &TableFactor,
    depth: usize,
) -> Option<Vec<String>> {
    let (mut columns, alias) = match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            (table_columns(binder, name, depth)?, alias)
        }
        TableFactor::Table { alias, .. } | TableFactor::Function { alias, .. } => {
            let alias = alias.as_ref()?;
            return (!alias.columns.is_empty())
                .then(|| alias.columns.iter().map(|c| normal(&c.name)).collect());
        }
        TableFactor::Derived { subquery, alias, .. } => {
            (query_columns(binder, subquery, depth)?, alias)
        }
        _ => return None,
    };
    if let Some(alias) = alias {
        for (column, renamed) in columns.iter_mut().zip(&alias.columns) {
            *column = normal(&renamed.name);
        }
    }
    Some(columns)
}

fn table_columns(binder: &Binder<'_>, name: &ObjectName, depth: usize) -> Option<Vec<String>> {
    if let Some(scoped) = binder.cte(name) {
        let mut columns = query_columns(binder, &scoped.cte.query, depth)?;
        for (column, renamed) in columns.iter_mut().zip(&scoped.cte.alias.columns) {
            *column = normal(&renamed.name);
        }
        return Some(columns);
    }
    let reference = super::table_reference(name).ok()?;
    match binder.catalog.resolve(&reference, None).ok()? {
        Resolved::Table(_) => hidden::table_columns(binder, name, &BTreeSet::new()),
        Resolved::View { columns, .. } => Some(columns),
    }
}

pub(super) fn query_columns(
    binder: &Binder<'_>,
    query: &Query,
    depth: usize,
) -> Option<Vec<String>> {
    if depth > 8 {
        return None;
    }
    let mut body = query.body.as_ref();
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(inner) => return query_columns(binder, inner, depth + 1),
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Values(_) => return names::output_names(query).into_iter().collect(),
            _ => return None,
        }
    };
    let mut columns = Vec::new();
    for item in &select.projection {
        match item {
            SelectItem::Wildcard(_) => {
                for item in items(binder, select, depth + 1) {
                    columns.extend(item.columns?);
                }
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                let wanted = normal(&last_ident(name));
                let item = items(binder, select, depth + 1)
                    .into_iter()
                    .find(|item| normal(&item.alias) == wanted)?;
                columns.extend(item.columns?);
            }
            SelectItem::QualifiedWildcard(..) => return None,
            other => columns.push(names::item_name(other)?),
        }
    }
    Some(columns)
}

fn replace(expr: &mut Expr, whole: &[&Item]) {
    match expr {
        Expr::Identifier(name) => {
            let name = normal(name);
            let Some(item) = whole.iter().find(|i| normal(&i.alias) == name) else { return };
            let column = |c: &String| {
                Expr::CompoundIdentifier(vec![item.alias.clone(), Ident::with_quote('"', c)])
            };
            let columns = item.columns.as_deref().unwrap_or_default();
            if let (true, [value]) = (item.scalar, columns) {
                *expr = column(value);
                return;
            }
            let text = |t: &String| Expr::value(Value::SingleQuotedString(t.clone()));
            let args = columns.iter().flat_map(|c| [text(c), column(c)]).collect();
            *expr = call("_row", args);
        }
        Expr::Function(function) => json_of_rows(function),
        _ => {}
    }
}

/// Rows that a function of JSON takes are objects.
fn json_of_rows(function: &mut Function) {
    let Some(name) = name_of(function) else { return };
    let (whole, aggregate) = match name.as_str() {
        "row_to_json" | "to_json" | "to_jsonb" => (true, false),
        "json_agg" | "jsonb_agg" => (false, true),
        "json_build_object" | "json_build_array" | "jsonb_build_object" | "jsonb_build_array"
        | "json_object_agg" | "jsonb_object_agg" => (false, false),
        _ => return,
    };
    let binary = name.contains("jsonb");
    let FunctionArguments::List(list) = &mut function.args else { return };
    let mut found = false;
    for arg in &mut list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(row))) = arg else {
            continue;
        };
        if name_of(row).as_deref() == Some("_row") {
            found = true;
            let object = if binary { "jsonb_build_object" } else { "_row_json" };
            row.name = ObjectName::from(vec![Ident::new(object)]);
        }
    }
    if !found {
        return;
    }
    if whole {
        // The object is the answer.
        if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(row)))) =
            list.args.first().cloned()
        {
            *function = row;
        }
    } else if aggregate && !binary {
        function.name = ObjectName::from(vec![Ident::new("_json_agg_rows")]);
    }
}
