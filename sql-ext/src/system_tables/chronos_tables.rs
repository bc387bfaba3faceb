//! The schema `chronos`: what PostgreSQL has no table for.

use chronos_catalog::{CommitTs, Oid, Relation};

use super::catalog::SystemCatalog;
use super::rows::{Cell, Rows};
use super::types;

pub(crate) fn tables(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        let size = c.session.table_size(rel.oid);
        let options: Vec<String> = def.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
        rows.push([
            ("table_schema", rel.schema.into()),
            ("table_name", rel.object.name.as_str().into()),
            ("table_oid", rel.oid.into()),
            ("schema_version", def.schema_version.into()),
            ("time_column", def.options.get("time_column").map(String::as_str).into()),
            ("options", if options.is_empty() { Cell::Null } else { options.into() }),
            ("live_rows", size.live_rows.into()),
            ("ended_rows", size.ended_rows.into()),
            ("rows_written", size.rows_written.into()),
            ("table_bytes", size.table_bytes.into()),
            ("index_bytes", size.index_bytes.into()),
            ("horizon", c.session.horizon(rel.oid).into()),
            ("last_commit", c.session.last_commit(rel.oid).into()),
        ]);
    }
}

pub(crate) fn segments(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, _) in c.tables() {
        for segment in c.session.segments(rel.oid) {
            rows.push([
                ("table_schema", rel.schema.as_str().into()),
                ("table_name", rel.object.name.as_str().into()),
                ("table_oid", rel.oid.into()),
                ("segment", segment.id.into()),
                ("state", segment.state.into()),
                ("rows", segment.rows.into()),
                ("bytes", segment.bytes.into()),
                ("path", segment.path.into()),
                ("from_min", segment.from_min.into()),
                ("from_max", segment.from_max.into()),
            ]);
        }
    }
}

pub(crate) fn compactions(c: &SystemCatalog, rows: &mut Rows) {
    let tables: Vec<_> = c.tables().into_iter().map(|(rel, _)| rel).collect();
    for done in c.session.compactions() {
        let Some(rel) = tables.iter().find(|rel| rel.oid == done.table) else { continue };
        rows.push([
            ("table_schema", rel.schema.as_str().into()),
            ("table_name", rel.object.name.as_str().into()),
            ("table_oid", rel.oid.into()),
            ("started", CommitTs(done.started).into()),
            ("finished", CommitTs(done.finished).into()),
            ("segments_removed", done.segments_removed.into()),
            ("segments_added", done.segments_added.into()),
            ("rows_read", done.rows_read.into()),
            ("rows_written", done.rows_written.into()),
        ]);
    }
}

/// What waits to be written to the object store.
pub(crate) fn uploads(c: &SystemCatalog, rows: &mut Rows) {
    let tables: Vec<_> = c.tables().into_iter().map(|(rel, _)| rel).collect();
    for upload in c.session.uploads() {
        let Some(rel) = tables.iter().find(|rel| rel.oid == upload.table) else { continue };
        rows.push([
            ("table_schema", rel.schema.as_str().into()),
            ("table_name", rel.object.name.as_str().into()),
            ("table_oid", rel.oid.into()),
            ("state", upload.state.into()),
            ("rows", upload.rows.into()),
            ("row_ends", upload.row_ends.into()),
            ("bytes", upload.bytes.into()),
            ("oldest", upload.oldest.into()),
            ("attempts", upload.attempts.into()),
            ("last_error", upload.last_error.into()),
            ("failing_since", upload.failing_since.map(CommitTs).into()),
        ]);
    }
}

pub(crate) fn erasures(c: &SystemCatalog, rows: &mut Rows) {
    for done in c.session.erasures() {
        // A table that was dropped since keeps its receipts.
        let name = c.objects.history(done.table).last().map(|v| v.object.name.clone());
        rows.push([
            ("table_name", name.into()),
            ("table_oid", done.table.into()),
            ("erased_by", done.user.into()),
            ("erased_at", CommitTs(done.at).into()),
            ("row_versions", done.rows.into()),
        ]);
    }
}

fn kind(relation: &Relation) -> &'static str {
    match relation {
        Relation::Schema => "schema",
        Relation::Table(_) => "table",
        Relation::View { .. } => "view",
        Relation::Sequence { .. } => "sequence",
        Relation::Index { .. } => "index",
        Relation::Role { .. } => "role",
    }
}

/// Every definition that an object has had up to the read's instant.
pub(crate) fn schema_history(c: &SystemCatalog, rows: &mut Rows) {
    for oid in c.objects.oids().filter(|oid| *oid != Oid::COMMITS) {
        for version in c.objects.history(oid).iter().filter(|v| v.period.from <= c.at) {
            let object = &version.object;
            let definition = match &object.relation {
                Relation::Table(def) => {
                    let columns: Vec<String> = def
                        .columns
                        .iter()
                        .map(|k| {
                            let null = if k.not_null { " NOT NULL" } else { "" };
                            let name = super::quote::quote_ident(&k.name);
                            format!("{name} {}{null}", types::name_of(&k.ty))
                        })
                        .collect();
                    Some(columns.join(", "))
                }
                Relation::View { query, .. } => Some(query.clone()),
                _ => None,
            };
            rows.push([
                ("object_schema", object.namespace.map(|n| c.schema_name(n)).into()),
                ("object_name", object.name.as_str().into()),
                ("object_oid", oid.into()),
                ("object_kind", kind(&object.relation).into()),
                ("definition", definition.into()),
                ("system_from", version.period.from.into()),
                ("system_to", version.period.to.filter(|to| *to <= c.at).into()),
            ]);
        }
    }
}

/// Every column that a table has had up to the read's instant, with the period of each shape.
pub(crate) fn columns(c: &SystemCatalog, rows: &mut Rows) {
    for oid in c.objects.oids().filter(|oid| *oid != Oid::COMMITS) {
        for version in c.objects.history(oid).iter().filter(|v| v.period.from <= c.at) {
            let object = &version.object;
            let (Relation::Table(def), Some(namespace)) = (&object.relation, object.namespace)
            else {
                continue;
            };
            for column in &def.columns {
                rows.push([
                    ("table_schema", c.schema_name(namespace).into()),
                    ("table_name", object.name.as_str().into()),
                    ("column_name", column.name.as_str().into()),
                    ("column_number", column.id.0.into()),
                    ("data_type", types::name_of(&column.ty).into()),
                    ("not_null", column.not_null.into()),
                    ("column_default", column.default.as_deref().into()),
                    ("system_from", version.period.from.into()),
                    ("system_to", version.period.to.filter(|to| *to <= c.at).into()),
                ]);
            }
        }
    }
}
