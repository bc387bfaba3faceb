//! What the session's role may do, and the errors where it may not. What privileges come to is
//! decided in [`chronos_sql_ext::privileges`]; here is where it is asked.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{NameKind, Object, Objects, Oid, ReadTs, Relation, TableDef, roles};
use chronos_sql_ext::privileges::Rights;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, Visit, visit_expressions};

use super::ddl::NameScope;
use super::names::{RelationName, fold};
use super::session::Session;
use super::shared::Shared;
use super::write::WriteTarget;
use crate::error::{PgError, PgResult};

/// System tables that only superusers read.
const SECRET: [&str; 3] = ["pg_authid", "pg_hba_file_rules", "pg_shadow"];

/// A table of which the statement may read only some columns.
#[derive(Debug)]
pub(super) struct Restricted {
    provider: Arc<dyn TableProvider>,
    columns: BTreeSet<String>,
    object: Arc<Object>,
}

fn kind(relation: &Relation) -> &'static str {
    match relation {
        Relation::Table(_) => "table",
        Relation::View { .. } => "view",
        Relation::Sequence { .. } => "sequence",
        Relation::Index { .. } => "index",
        Relation::Schema => "schema",
        Relation::Role { .. } => "role",
    }
}

fn denied(what: &str, name: &str) -> PgError {
    PgError::new("42501", format!("permission denied for {what} {name}"))
}

/// 42501 for an object.
pub(super) fn denied_for(object: &Object) -> PgError {
    denied(kind(&object.relation), &object.name)
}

fn not_owner(object: &Object) -> PgError {
    let message = format!("must be owner of {} {}", kind(&object.relation), object.name);
    PgError::new("42501", message)
}

/// An object as it is now, or as it was last: privileges are those of today.
pub(super) fn today(objects: &Objects, oid: Oid, now: ReadTs) -> Option<&Arc<Object>> {
    objects.get(oid, now).or_else(|| objects.history(oid).last().map(|v| &v.object))
}

impl Shared {
    /// `session_user`
    pub fn session_user(&self) -> String {
        let settings = self.settings.read();
        settings.identity("session_authorization").unwrap_or_else(|| self.identity.user.clone())
    }

    /// `current_user`
    pub fn user(&self) -> String {
        let role = self.settings.read().identity("role");
        role.unwrap_or_else(|| self.session_user())
    }

    /// The role on whose behalf something happens now: within a view its owner, otherwise the
    /// current user.
    pub fn role(&self, objects: &Objects, at: ReadTs) -> Option<Oid> {
        let acting = self.scope.lock().acting.last().copied();
        acting
            .or_else(|| objects.lookup(NameKind::Role, None, &self.user(), at).map(|(oid, _)| oid))
    }

    /// What that role may do.
    pub fn rights<'a>(&self, objects: &'a Objects, at: ReadTs) -> Rights<'a> {
        Rights::of(objects, at, self.role(objects, at))
    }

    /// Brings what the session says of itself in `is_superuser` up to date.
    pub fn tell_superuser(&self) {
        let (objects, at) = self.objects_or_committed();
        let own = objects.lookup(NameKind::Role, None, &self.session_user(), at);
        let superuser = Rights::of(&objects, at, own.map(|(oid, _)| oid)).superuser();
        self.settings.write().fix("is_superuser", if superuser { "on" } else { "off" });
    }

    /// The schemas of the search path that may be used.
    pub fn usable_path(&self, rights: &Rights<'_>) -> Vec<String> {
        let mut path = self.search_path();
        if !rights.superuser() {
            path.retain(|name| rights.schema(name).is_none_or(|(_, _, usable)| usable));
        }
        path
    }

    /// Remembers that of this provider only some columns may be read.
    pub fn restrict(
        &self,
        provider: &Arc<dyn TableProvider>,
        columns: BTreeSet<String>,
        object: &Arc<Object>,
    ) {
        let restricted =
            Restricted { provider: Arc::clone(provider), columns, object: Arc::clone(object) };
        self.scope.lock().restricted.push(restricted);
    }

    /// Lets one provider stand for another in what was remembered of the columns that may be read.
    pub fn restrict_alike(
        &self,
        known: &Arc<dyn TableProvider>,
        provider: &Arc<dyn TableProvider>,
    ) {
        let mut scope = self.scope.lock();
        if let Some(restricted) = scope.restricted.iter_mut().find(|r| same(&r.provider, known)) {
            restricted.provider = Arc::clone(provider);
        }
    }

    /// Refuses a plan that reads columns which it may not. `plan` has its parameters' values.
    pub fn check_columns(&self, plan: &LogicalPlan, state: &SessionState) -> PgResult<()> {
        let restricted = std::mem::take(&mut self.scope.lock().restricted);
        if restricted.is_empty() {
            return Ok(());
        }
        // What is read is known once everything that is not needed has been taken out.
        let plan = state.optimize(plan)?;
        let mut refused = None;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node
                && let Ok(provider) = source_as_provider(&scan.source)
                && let Some(known) = restricted.iter().find(|r| same(&r.provider, &provider))
            {
                let schema = provider.schema();
                let projected: Vec<usize> = match &scan.projection {
                    Some(projection) => projection.clone(),
                    None => (0..schema.fields().len()).collect(),
                };
                let filtered = scan.filters.iter().flat_map(|f| f.column_refs());
                let mut names = projected
                    .iter()
                    .map(|i| schema.field(*i).name().as_str())
                    .chain(filtered.map(|c| c.name.as_str()))
                    .filter(|name| !chronos_sql_ext::is_hidden(name));
                if names.any(|name| !known.columns.contains(name)) {
                    refused = Some(denied_for(&known.object));
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        refused.map_or(Ok(()), Err)
    }

    /// Refuses to use a sequence so: any of the letters will do.
    pub fn check_sequence(&self, oid: Oid, letters: &str) -> PgResult<()> {
        let (objects, at) = self.objects_or_committed();
        let rights = self.rights(&objects, at);
        match objects.get(oid, at) {
            Some(object) if !letters.chars().any(|l| rights.may(oid, object, l, false)) => {
                Err(denied_for(object))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a name in a schema that may not be used.
pub(super) fn check_schema(rights: &Rights<'_>, name: &RelationName) -> PgResult<()> {
    let (Some(schema), false) = (&name.schema, rights.superuser()) else { return Ok(()) };
    match rights.schema(schema) {
        Some((_, object, false)) => Err(denied_for(object)),
        _ => Ok(()),
    }
}

/// Refuses to read a relation that may not be read. Gives the columns that may where these are
/// not all.
pub(super) fn check_read(
    rights: &Rights<'_>,
    objects: &Objects,
    now: ReadTs,
    oid: Oid,
) -> PgResult<Option<BTreeSet<String>>> {
    if rights.superuser() {
        return Ok(None);
    }
    let Some(object) = today(objects, oid, now) else { return Ok(None) };
    if rights.may(oid, object, 'r', false) {
        return Ok(None);
    }
    if let Relation::Table(def) = &object.relation
        && rights.may_any_column(oid, object, 'r')
    {
        let columns = def.columns.iter();
        let readable = columns.filter(|c| rights.may_column(oid, object, c.id, 'r'));
        return Ok(Some(readable.map(|c| c.name.clone()).collect()));
    }
    Err(denied_for(object))
}

/// Refuses to read a table of the system that is not for everybody.
pub(super) fn check_system_read(rights: &Rights<'_>, name: &str) -> PgResult<()> {
    let allowed = match name {
        name if SECRET.contains(&name) => rights.superuser(),
        chronos_catalog::COMMITS_TABLE => {
            let readers = [roles::READ_ALL_STATS, roles::READ_ALL_DATA];
            readers.into_iter().any(|role| rights.has_role(role))
        }
        _ => true,
    };
    let what = if name == "pg_shadow" { "view" } else { "table" };
    if allowed { Ok(()) } else { Err(denied(what, name)) }
}

fn same(a: &Arc<dyn TableProvider>, b: &Arc<dyn TableProvider>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}

impl Session {
    /// Refuses to use a table so, or the columns at those places.
    pub(super) fn require(
        &self,
        target: &WriteTarget,
        letter: char,
        places: Option<&[usize]>,
    ) -> PgResult<()> {
        let scope = self.scope()?;
        let rights = self.shared.rights(&scope.objects, scope.at);
        let Some(object) = scope.objects.get(target.oid, scope.at) else { return Ok(()) };
        if rights.may(target.oid, object, letter, false) {
            return Ok(());
        }
        let columns = &target.def.columns;
        let by_column = match places {
            None => false,
            Some([]) => rights.may_any_column(target.oid, object, letter),
            Some(places) => places
                .iter()
                .filter_map(|p| columns.get(*p))
                .all(|column| rights.may_column(target.oid, object, column.id, letter)),
        };
        if by_column { Ok(()) } else { Err(denied_for(object)) }
    }

    /// Refuses a statement that reads columns of the table it writes to which it may not read.
    pub(super) fn require_named(
        &self,
        target: &WriteTarget,
        alias: &str,
        part: &impl Visit,
    ) -> PgResult<()> {
        let mut places = BTreeSet::new();
        let mut any = false;
        let _ = visit_expressions(part, |expr| {
            let name = match expr {
                Expr::Identifier(ident) => Some(fold(ident)),
                Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                    [.., table, column] if fold(table) == alias => Some(fold(column)),
                    _ => None,
                },
                Expr::QualifiedWildcard(..) | Expr::Wildcard(_) => Some(alias.to_owned()),
                _ => None,
            };
            let Some(name) = name else { return ControlFlow::<()>::Continue(()) };
            if name == alias {
                places.extend(0..target.def.columns.len());
            } else if chronos_sql_ext::is_hidden(&name) {
                any = true;
            } else {
                places.extend(place(&target.def, &name));
            }
            ControlFlow::Continue(())
        });
        let places: Vec<usize> = places.into_iter().collect();
        if places.is_empty() && !any {
            return Ok(());
        }
        self.require(target, 'r', Some(&places))
    }

    /// Likewise for the items of RETURNING.
    pub(super) fn require_returned(
        &self,
        target: &WriteTarget,
        alias: &str,
        items: Option<&[SelectItem]>,
    ) -> PgResult<()> {
        for item in items.unwrap_or_default() {
            match item {
                SelectItem::UnnamedExpr(expr)
                | SelectItem::ExprWithAlias { expr, .. }
                | SelectItem::ExprWithAliases { expr, .. } => {
                    self.require_named(target, alias, expr)?;
                }
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => {
                    let all: Vec<usize> = (0..target.def.columns.len()).collect();
                    self.require(target, 'r', Some(&all))?;
                }
            }
        }
        Ok(())
    }

    /// Refuses who does not own an object.
    pub(super) fn require_owner(&self, scope: &NameScope, oid: Oid) -> PgResult<()> {
        let rights = self.shared.rights(&scope.objects, scope.at);
        match today(&scope.objects, oid, scope.at) {
            Some(object) if !rights.owns(object) => Err(not_owner(object)),
            _ => Ok(()),
        }
    }

    /// Refuses what only a superuser may do (42501).
    pub(super) fn require_superuser(&self, what: &str) -> PgResult<()> {
        let (objects, at) = self.shared.objects_or_committed();
        if self.shared.rights(&objects, at).superuser() {
            return Ok(());
        }
        Err(PgError::new("42501", format!("must be superuser to {what}")))
    }

    /// Refuses to make, change or drop an object of somebody else.
    pub(super) fn check_change(
        &self,
        scope: &NameScope,
        oid: Oid,
        object: Option<&Object>,
    ) -> PgResult<()> {
        let rights = self.shared.rights(&scope.objects, scope.at);
        if rights.superuser() {
            return Ok(());
        }
        let old = today(&scope.objects, oid, scope.at);
        if let Some(old) = old {
            let schema = old.namespace.and_then(|schema| scope.objects.get(schema, scope.at));
            let dropped = object.is_none() && schema.is_some_and(|schema| rights.owns(schema));
            if !rights.owns(old) && !dropped {
                return Err(not_owner(old));
            }
        }
        let Some(object) = object else { return Ok(()) };
        let comes = old.is_none_or(|old| old.namespace != object.namespace)
            || scope.objects.get(oid, scope.at).is_none();
        match (&object.relation, object.namespace) {
            (Relation::Schema, _) if old.is_none() => {
                Err(denied("database", &self.shared.identity.database))
            }
            (_, Some(namespace)) if comes => match scope.objects.get(namespace, scope.at) {
                Some(schema) if !rights.may(namespace, schema, 'C', false) => {
                    Err(denied_for(schema))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn place(def: &TableDef, name: &str) -> Option<usize> {
    def.columns.iter().position(|c| c.name == name)
}
