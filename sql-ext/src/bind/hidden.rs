//! Hidden columns: selectable by name, never in `SELECT *`.
//!
//! A table reference offers its hidden columns only where the query around it names them; there,
//! a wildcard that would show them is written out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, WildcardAdditionalOptions,
};

use super::{Binder, last_ident, normal, table_alias, table_reference, window};
use crate::each::EACH_COLUMN;
use crate::error::Error;
use crate::parser::reads_each;
use crate::temporal::{Resolved, is_hidden};

/// The hidden columns that a query names, its subqueries included (they may mean its tables).
pub(super) fn named_in(query: &Query) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let _: ControlFlow<()> = ast::visit_expressions(query, |expr| {
        let ident = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last(),
            Expr::Function(function) => {
                // A windowed aggregate may need the time of the commit.
                if window::of_function(function).is_some() {
                    named.insert("_system_from".to_owned());
                }
                None
            }
            _ => None,
        };
        if let Some(name) = ident.map(normal)
            && is_hidden(&name)
        {
            named.insert(name);
        }
        ControlFlow::Continue(())
    });
    named
}

/// One table reference of a FROM.
struct Item {
    alias: Ident,
    /// The columns of a table, as offered to this query; `None` for anything else.
    columns: Option<Vec<String>>,
}

/// Rewrites the wildcards of a SELECT that would show hidden columns.
pub(super) fn expand_wildcards(binder: &mut Binder<'_>, select: &mut Select) -> Result<(), Error> {
    let Some((_, _, named)) = binder.queries.last() else { return Ok(()) };
    if named.is_empty() {
        return Ok(());
    }
    let named = named.clone();
    let mut items = Vec::new();
    let mut merged = false;
    for (i, table) in select.from.iter_mut().enumerate() {
        collect(binder, table, &named, &mut items, &mut merged, i)?;
    }
    let hides =
        |item: &Item| item.columns.iter().flatten().any(|c| is_hidden(c) && named.contains(c));
    if !items.iter().any(hides) {
        return Ok(());
    }
    let mut projection = Vec::with_capacity(select.projection.len());
    for written in std::mem::take(&mut select.projection) {
        match written {
            SelectItem::Wildcard(options) => {
                if merged {
                    return Err(Error::Unsupported(
                        "SELECT * over JOIN … USING in a query that names hidden columns".into(),
                    ));
                }
                if options != WildcardAdditionalOptions::default() {
                    return Err(Error::Unsupported("options of a wildcard".into()));
                }
                for item in &items {
                    expand(item, ObjectName::from(vec![item.alias.clone()]), &mut projection);
                }
            }
            SelectItem::QualifiedWildcard(
                SelectItemQualifiedWildcardKind::ObjectName(name),
                options,
            ) => {
                let last = normal(&last_ident(&name));
                match items.iter().find(|item| normal(&item.alias) == last) {
                    Some(item) if item.columns.is_some() => expand(item, name, &mut projection),
                    _ => projection.push(SelectItem::QualifiedWildcard(
                        SelectItemQualifiedWildcardKind::ObjectName(name),
                        options,
                    )),
                }
            }
            other => projection.push(other),
        }
    }
    select.projection = projection;
    Ok(())
}

/// The visible columns of a table one by one; anything else keeps its wildcard.
fn expand(item: &Item, qualifier: ObjectName, projection: &mut Vec<SelectItem>) {
    match &item.columns {
        None => projection.push(SelectItem::QualifiedWildcard(
            SelectItemQualifiedWildcardKind::ObjectName(qualifier),
            WildcardAdditionalOptions::default(),
        )),
        Some(columns) => projection.extend(columns.iter().filter(|c| !is_hidden(c)).map(|c| {
            let mut parts: Vec<Ident> =
                qualifier.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
            parts.push(Ident::with_quote('"', c));
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts))
        })),
    }
}

fn collect(
    binder: &Binder<'_>,
    table: &mut TableWithJoins,
    named: &BTreeSet<String>,
    items: &mut Vec<Item>,
    merged: &mut bool,
    number: usize,
) -> Result<(), Error> {
    item(binder, &mut table.relation, named, items, merged, number)?;
    for (i, join) in table.joins.iter_mut().enumerate() {
        match constraint(&join.join_operator) {
            Some(JoinConstraint::Natural) => {
                return Err(Error::Unsupported(
                    "NATURAL JOIN in a query that names hidden columns".into(),
                ));
            }
            Some(JoinConstraint::Using(_)) => *merged = true,
            _ => {}
        }
        item(binder, &mut join.relation, named, items, merged, number * 1000 + i + 1)?;
    }
    Ok(())
}

pub(super) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c)
        | JoinOperator::CrossJoin(c) => Some(c),
        _ => None,
    }
}

fn item(
    binder: &Binder<'_>,
    factor: &mut TableFactor,
    named: &BTreeSet<String>,
    items: &mut Vec<Item>,
    merged: &mut bool,
    number: usize,
) -> Result<(), Error> {
    let made_up = || Ident::with_quote('"', format!("_chronos_{number}"));
    let mut columns = None;
    let each = reads_each(factor);
    let alias = match factor {
        TableFactor::Table { name, alias, args, .. } => {
            let plain = match args {
                None => true,
                Some(arguments) => {
                    crate::parser::TimeClause::of_arguments(&arguments.args)?.is_some()
                }
            };
            if plain && binder.cte(name).is_none() {
                columns = table_columns(binder, name, named);
                if each && let Some(columns) = &mut columns {
                    let visible = columns.iter().position(|c| is_hidden(c));
                    columns.insert(visible.unwrap_or(columns.len()), EACH_COLUMN.to_owned());
                }
            }
            match alias {
                Some(alias) => {
                    if let (Some(columns), false) = (&mut columns, alias.columns.is_empty()) {
                        // `t AS x (a, b)` renames the first columns.
                        for (column, renamed) in columns.iter_mut().zip(&alias.columns) {
                            *column = normal(&renamed.name);
                        }
                    }
                    alias.name.clone()
                }
                None => last_ident(name),
            }
        }
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            return collect(binder, table_with_joins, named, items, merged, number * 1000 + 500);
        }
        TableFactor::Derived { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => {
            alias.get_or_insert_with(|| table_alias(made_up())).name.clone()
        }
        _ => return Err(Error::Unsupported("this table reference with hidden columns".into())),
    };
    items.push(Item { alias, columns });
    Ok(())
}

/// The columns that a table offers to a query which names those hidden ones; `None` for a view
/// and for a name that is none (planning tells).
pub(super) fn table_columns(
    binder: &Binder<'_>,
    name: &ObjectName,
    named: &BTreeSet<String>,
) -> Option<Vec<String>> {
    let reference = table_reference(name).ok()?;
    match binder.catalog.resolve(&reference, None) {
        Ok(Resolved::Table(provider)) => Some(
            provider
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .filter(|column| !is_hidden(column) || named.contains(column))
                .collect(),
        ),
        _ => None,
    }
}
