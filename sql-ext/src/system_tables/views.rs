//! The views of `pg_catalog` that show relations by name, and statistics.

use chronos_catalog::{PolicyCommand, Relation};

use super::catalog::SystemCatalog;
use super::rows::{Cell, Rows};
use super::types;
use crate::bind::normal;
use crate::view::{SimpleView, is_aggregate};

pub(crate) fn pg_tables(c: &SystemCatalog, rows: &mut Rows) {
    let indexes = c.indexes();
    for shape in super::shape::shapes().iter().filter(|s| s.kind == 'r') {
        rows.push([
            ("schemaname", shape.namespace.into()),
            ("tablename", shape.name.into()),
            ("tableowner", c.role_name(10).into()),
            ("hasindexes", false.into()),
            ("hasrules", false.into()),
            ("hastriggers", false.into()),
            ("rowsecurity", false.into()),
        ]);
    }
    for (rel, _) in c.tables() {
        rows.push([
            ("hasindexes", indexes.iter().any(|i| i.table.oid == rel.oid).into()),
            ("schemaname", rel.schema.as_str().into()),
            ("tablename", rel.object.name.as_str().into()),
            ("tableowner", c.role_name(rel.object.owner.0).into()),
            ("hasrules", false.into()),
            ("hastriggers", false.into()),
            ("rowsecurity", rel.object.row_security.enabled.into()),
        ]);
    }
}

pub(crate) fn pg_policy(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, _) in c.tables() {
        for policy in &rel.object.row_security.policies {
            let command = match policy.command {
                PolicyCommand::All => "*",
                PolicyCommand::Select => "r",
                PolicyCommand::Insert => "a",
                PolicyCommand::Update => "w",
                PolicyCommand::Delete => "d",
            };
            let roles = policy.roles.iter().map(|role| i64::from(role.0));
            let roles: Vec<i64> = if policy.roles.is_empty() { vec![0] } else { roles.collect() };
            rows.push([
                ("oid", policy.oid.into()),
                ("polname", policy.name.as_str().into()),
                ("polrelid", rel.oid.into()),
                ("polcmd", command.into()),
                ("polpermissive", policy.permissive.into()),
                ("polroles", Cell::List(roles.into_iter().map(Cell::Int).collect())),
                ("polqual", policy.using.as_deref().into()),
                ("polwithcheck", policy.check.as_deref().into()),
            ]);
        }
    }
}

pub(crate) fn pg_policies(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, _) in c.tables() {
        for policy in &rel.object.row_security.policies {
            let command = match policy.command {
                PolicyCommand::All => "ALL",
                PolicyCommand::Select => "SELECT",
                PolicyCommand::Insert => "INSERT",
                PolicyCommand::Update => "UPDATE",
                PolicyCommand::Delete => "DELETE",
            };
            let mut roles: Vec<Cell> =
                policy.roles.iter().map(|role| c.role_name(role.0).into()).collect();
            if roles.is_empty() {
                roles.push("public".into());
            }
            let permissive = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
            let bracketed = |text: &Option<String>| text.as_ref().map(|t| format!("({t})"));
            rows.push([
                ("schemaname", rel.schema.as_str().into()),
                ("tablename", rel.object.name.as_str().into()),
                ("policyname", policy.name.as_str().into()),
                ("permissive", permissive.into()),
                ("roles", Cell::List(roles)),
                ("cmd", command.into()),
                ("qual", bracketed(&policy.using).into()),
                ("with_check", bracketed(&policy.check).into()),
            ]);
        }
    }
}

pub(crate) fn pg_views(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations() {
        if let Relation::View { query, .. } = &rel.object.relation {
            rows.push([
                ("schemaname", rel.schema.as_str().into()),
                ("viewname", rel.object.name.as_str().into()),
                ("viewowner", c.role_name(rel.object.owner.0).into()),
                ("definition", view_definition(query).into()),
            ]);
        }
    }
}

impl SystemCatalog {
    /// Whether rows can be written to a table, or through a view.
    pub(crate) fn is_updatable(&self, oid: u32) -> bool {
        self.updatable_columns(oid).iter().any(|(_, updatable)| *updatable)
    }

    /// The columns of a table or view, and whether each can be written to.
    pub(crate) fn updatable_columns(&self, oid: u32) -> Vec<(String, bool)> {
        self.updatable_within(oid, &mut Vec::new())
    }

    fn updatable_within(&self, oid: u32, views: &mut Vec<u32>) -> Vec<(String, bool)> {
        let Some(rel) = self.relation(oid) else { return Vec::new() };
        let (query, columns) = match &rel.object.relation {
            Relation::Table(def) => {
                return def.columns.iter().map(|c| (c.name.clone(), true)).collect();
            }
            Relation::View { query, columns, .. } => (query, columns),
            _ => return Vec::new(),
        };
        let none = || columns.iter().map(|(name, _)| (name.clone(), false)).collect();
        let Ok(view) = SimpleView::of(query, &is_aggregate) else { return none() };
        let parts = view.relation.0.iter().filter_map(|part| part.as_ident()).map(normal);
        let parts: Vec<String> = parts.collect();
        let [.., schema, name] = parts.as_slice() else { return none() };
        views.push(oid);
        let below = match self.relation_oid(schema, name) {
            Some(below) if !views.contains(&below) => self.updatable_within(below, views),
            _ => return none(),
        };
        let names: Vec<String> = below.iter().map(|(name, _)| name.clone()).collect();
        let told = view.expressions(&names).into_iter().zip(columns).map(|(expr, (name, _))| {
            let column = view.column_of(&expr, &names);
            let updatable = column
                .is_some_and(|c| below.iter().any(|(name, updatable)| name == c && *updatable));
            (name.clone(), updatable)
        });
        told.collect()
    }
}

/// A view's query as `pg_get_viewdef` prints it: with its semicolon.
pub(crate) fn view_definition(query: &str) -> String {
    format!(" {};", query.trim().trim_end_matches(';').trim_end())
}

pub(crate) fn pg_indexes(c: &SystemCatalog, rows: &mut Rows) {
    for index in c.indexes() {
        rows.push([
            ("indexdef", c.index_definition(&index, true).into()),
            ("schemaname", index.table.schema.into()),
            ("tablename", index.table.object.name.as_str().into()),
            ("indexname", index.name.into()),
        ]);
    }
}

pub(crate) fn pg_sequences(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations() {
        if let Relation::Sequence { start, increment, min, max, cycle, ty, .. } =
            &rel.object.relation
        {
            rows.push([
                ("schemaname", rel.schema.as_str().into()),
                ("sequencename", rel.object.name.as_str().into()),
                ("sequenceowner", c.role_name(rel.object.owner.0).into()),
                ("data_type", types::oid_of(ty).into()),
                ("start_value", (*start).into()),
                ("min_value", (*min).into()),
                ("max_value", (*max).into()),
                ("increment_by", (*increment).into()),
                ("cycle", (*cycle).into()),
                ("cache_size", 1.into()),
                ("last_value", c.session.sequence_value(rel.oid).into()),
            ]);
        }
    }
}

pub(crate) fn pg_stat_tables(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, _) in c.tables() {
        let size = c.session.table_size(rel.oid);
        rows.push([
            ("relid", rel.oid.into()),
            ("schemaname", rel.schema.into()),
            ("relname", rel.object.name.as_str().into()),
            ("seq_scan", 0.into()),
            ("seq_tup_read", 0.into()),
            ("n_tup_ins", size.rows_written.into()),
            ("n_tup_upd", 0.into()),
            ("n_tup_del", size.ended_rows.into()),
            ("n_tup_hot_upd", 0.into()),
            ("n_live_tup", size.live_rows.into()),
            ("n_dead_tup", 0.into()),
            ("n_mod_since_analyze", 0.into()),
            ("n_ins_since_vacuum", 0.into()),
            ("vacuum_count", 0.into()),
            ("autovacuum_count", 0.into()),
            ("analyze_count", 0.into()),
            ("autoanalyze_count", 0.into()),
            ("heap_blks_read", 0.into()),
            ("heap_blks_hit", 0.into()),
        ]);
    }
}

pub(crate) fn pg_stat_indexes(c: &SystemCatalog, rows: &mut Rows) {
    for index in c.indexes() {
        rows.push([
            ("relid", index.table.oid.into()),
            ("indexrelid", index.oid.into()),
            ("relname", index.table.object.name.as_str().into()),
            ("schemaname", index.table.schema.into()),
            ("indexrelname", index.name.into()),
            ("idx_scan", 0.into()),
            ("idx_tup_read", 0.into()),
            ("idx_tup_fetch", 0.into()),
        ]);
    }
}

pub(crate) fn pg_stat_database(c: &SystemCatalog, rows: &mut Rows) {
    rows.push([
        ("datid", super::cluster::database_oid(&c.session.database()).into()),
        ("datname", c.session.database().into()),
        ("numbackends", c.session.activity().len().into()),
    ]);
}
