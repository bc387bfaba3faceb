//! The columns that a wildcard stands for, so far as the text and the catalog tell them.

use std::cell::Cell;
use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableAlias,
    TableFactor, TableWithJoins,
};

use super::{Binder, Scoped, last_ident, normal, table_reference};
use crate::each::EACH_COLUMN;
use crate::names;
use crate::parser::reads_each;
use crate::temporal::{Resolved, is_hidden};

/// One relation of a FROM: its name, and its columns where they are known.
struct Relation {
    name: Option<String>,
    columns: Vec<String>,
}

/// More relations than this are not looked at: CTEs that read each other twice would double.
const RELATIONS_MAX: usize = 1000;

/// What names mean at a place in the text.
struct Known<'a, 'b> {
    binder: &'a Binder<'b>,
    /// The CTEs in scope.
    scope: &'a [Scoped],
    /// How many relations may still be looked at.
    left: &'a Cell<usize>,
}

/// The names of the columns that the wildcards of a select list stand for. A column of a relation
/// that is not known is not among them.
pub(super) fn of_wildcards(binder: &Binder<'_>, select: &Select) -> BTreeSet<String> {
    let left = Cell::new(RELATIONS_MAX);
    of_list(&Known { binder, scope: &binder.scope, left: &left }, select)
}

fn of_list(known: &Known<'_, '_>, select: &Select) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut relations = None;
    for item in &select.projection {
        let wanted = match item {
            SelectItem::Wildcard(_) => None,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                Some(normal(&last_ident(name)))
            }
            _ => continue,
        };
        let relations = relations.get_or_insert_with(|| of_from(known, &select.from));
        for relation in relations.iter() {
            if wanted.is_none() || relation.name == wanted {
                names.extend(relation.columns.iter().cloned());
            }
        }
    }
    names
}

fn of_from(known: &Known<'_, '_>, from: &[TableWithJoins]) -> Vec<Relation> {
    let mut relations = Vec::new();
    for table in from {
        let joined = table.joins.iter().map(|join| &join.relation);
        for factor in std::iter::once(&table.relation).chain(joined) {
            of_factor(known, factor, &mut relations);
        }
    }
    relations
}

fn of_factor(known: &Known<'_, '_>, factor: &TableFactor, relations: &mut Vec<Relation>) {
    let (own, alias, columns) = match factor {
        TableFactor::Table { name, alias, .. } => {
            let mut columns = of_name(known, name);
            if reads_each(factor) {
                columns.push(EACH_COLUMN.to_owned());
            }
            (Some(normal(&last_ident(name))), alias, columns)
        }
        TableFactor::Derived { subquery, alias, .. } => (None, alias, of_query(known, subquery)),
        TableFactor::Function { name, alias, .. } => {
            let name = normal(&last_ident(name));
            // That of one column; others name theirs after the alias.
            let column = alias.as_ref().map_or_else(|| name.clone(), |a| normal(&a.name));
            (Some(name), alias, vec![column])
        }
        TableFactor::UNNEST { alias, .. } => (None, alias, Vec::new()),
        TableFactor::NestedJoin { table_with_joins, alias: None } => {
            relations.append(&mut of_from(known, std::slice::from_ref(table_with_joins)));
            return;
        }
        TableFactor::NestedJoin { table_with_joins, alias } => {
            let inner = of_from(known, std::slice::from_ref(table_with_joins));
            (None, alias, inner.into_iter().flat_map(|relation| relation.columns).collect())
        }
        _ => return,
    };
    let name = alias.as_ref().map(|alias| normal(&alias.name)).or(own);
    relations.push(Relation { name, columns: renamed(columns, alias.as_ref()) });
}

/// `AS x (a, b)` renames the first columns.
fn renamed(mut columns: Vec<String>, alias: Option<&TableAlias>) -> Vec<String> {
    for (i, given) in alias.iter().flat_map(|alias| &alias.columns).enumerate() {
        let name = normal(&given.name);
        match columns.get_mut(i) {
            Some(column) => *column = name,
            None => columns.push(name),
        }
    }
    columns
}

fn of_name(known: &Known<'_, '_>, name: &ObjectName) -> Vec<String> {
    let Some(left) = known.left.get().checked_sub(1) else { return Vec::new() };
    known.left.set(left);
    let own = match name.0.as_slice() {
        [part] => part.as_ident().map(normal),
        _ => None,
    };
    let cte = known.scope.iter().rev().find(|scoped| Some(&scoped.name) == own.as_ref());
    if let Some(scoped) = cte {
        // A recursive one may name itself; what it shows then is what its first part shows.
        let columns = match scoped.recursive {
            true => names::output_names(&scoped.cte.query).into_iter().flatten().collect(),
            // Others may name what bore their name before.
            false => {
                let scope = known.scope.get(..scoped.outer).unwrap_or_default();
                of_query(&Known { scope, ..*known }, &scoped.cte.query)
            }
        };
        return renamed(columns, Some(&scoped.cte.alias));
    }
    let Ok(reference) = table_reference(name) else { return Vec::new() };
    match known.binder.catalog.resolve(&reference, None) {
        Ok(Resolved::Table(provider)) => {
            let schema = provider.schema();
            let names = schema.fields().iter().map(|field| field.name().clone());
            names.filter(|column| !is_hidden(column)).collect()
        }
        Ok(Resolved::View { columns, .. }) => columns,
        Err(_) => Vec::new(),
    }
}

fn of_query(known: &Known<'_, '_>, query: &Query) -> Vec<String> {
    if query.with.is_some() {
        return names::output_names(query).into_iter().flatten().collect();
    }
    let mut body = query.body.as_ref();
    loop {
        match body {
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Query(inner) => body = inner.body.as_ref(),
            SetExpr::Select(select) => return of_select(known, select),
            _ => return names::output_names(query).into_iter().flatten().collect(),
        }
    }
}

fn of_select(known: &Known<'_, '_>, select: &Select) -> Vec<String> {
    let mut columns: Vec<String> = select.projection.iter().filter_map(names::item_name).collect();
    columns.extend(of_list(known, select));
    columns
}
