//! `pg_class`, `pg_attribute`, `pg_index`, `pg_constraint` and what else describes relations.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use chronos_catalog::{ConstraintKind, Oid, Relation, TEMPORARY_PREFIX, TableDef};
use datafusion::sql::sqlparser::ast;

use super::catalog::SystemCatalog;
use super::rows::{Cell, Rows};
use super::types;
use crate::bind::normal;
use crate::statement::StatementKind;

/// Access method, operator class and operator of a type's b-tree.
const BTREE: u32 = 403;
const HEAP: u32 = 2;

/// `relpages` counts PostgreSQL's pages.
const PAGE_BYTES: u64 = 8192;

pub(crate) fn pg_class(c: &SystemCatalog, rows: &mut Rows) {
    let indexes = c.indexes();
    let indexed: std::collections::HashSet<Oid> = indexes.iter().map(|i| i.table.oid).collect();
    let mut referenced = std::collections::HashSet::new();
    for (_, def) in c.tables() {
        for constraint in &def.constraints {
            if let ConstraintKind::ForeignKey { table, .. } = &constraint.kind {
                referenced.insert(*table);
            }
        }
    }
    for rel in c.relations() {
        let kind = rel.kind();
        if kind == 'i' {
            continue;
        }
        let def = rel.table();
        let size = if def.is_some() { c.session.table_size(rel.oid) } else { Default::default() };
        let checks = def.map_or(0, |d| {
            d.constraints.iter().filter(|k| matches!(k.kind, ConstraintKind::Check(_))).count()
        });
        let foreign_keys = def.is_some_and(|d| {
            referenced.contains(&rel.oid)
                || d.constraints.iter().any(|k| matches!(k.kind, ConstraintKind::ForeignKey { .. }))
        });
        let natts = if kind == 'S' { 3 } else { rel.columns().len() };
        let options: Vec<String> = def
            .map(|d| &d.options)
            .or(match &rel.object.relation {
                Relation::View { options, .. } => Some(options),
                _ => None,
            })
            .map(|options| options.iter().map(|(k, v)| format!("{k}={v}")).collect())
            .unwrap_or_default();
        rows.push([
            ("oid", rel.oid.into()),
            ("relname", rel.object.name.as_str().into()),
            ("relnamespace", rel.namespace.into()),
            ("relowner", rel.object.owner.into()),
            ("relam", if kind == 'r' { HEAP } else { 0 }.into()),
            ("relfilenode", if kind == 'v' { Oid(0) } else { rel.oid }.into()),
            ("relpages", size.table_bytes.div_ceil(PAGE_BYTES).into()),
            ("reltuples", Cell::Float(size.live_rows as f64)),
            ("relhasindex", indexed.contains(&rel.oid).into()),
            (
                "relpersistence",
                if rel.schema.starts_with(TEMPORARY_PREFIX) { "t" } else { "p" }.into(),
            ),
            ("relkind", kind.into()),
            ("relnatts", natts.into()),
            ("relchecks", checks.into()),
            ("relhasrules", (kind == 'v').into()),
            ("relhastriggers", foreign_keys.into()),
            ("relrowsecurity", rel.object.row_security.enabled.into()),
            ("relforcerowsecurity", rel.object.row_security.forced.into()),
            ("relispopulated", true.into()),
            ("relreplident", if kind == 'r' { "d" } else { "n" }.into()),
            ("relacl", acl(&rel.object.acl)),
            ("reloptions", if options.is_empty() { Cell::Null } else { options.into() }),
        ]);
    }
    for index in indexes {
        rows.push([
            ("oid", index.oid.into()),
            ("relname", index.name.into()),
            ("relnamespace", index.table.namespace.into()),
            ("relowner", index.table.object.owner.into()),
            ("relam", method_oid(&index.method).into()),
            ("relfilenode", index.oid.into()),
            ("relpersistence", "p".into()),
            ("relkind", "i".into()),
            ("relnatts", index.columns.len().into()),
            ("relispopulated", true.into()),
            ("relreplident", "n".into()),
        ]);
    }
}

/// An access-control list: NULL while nothing has been granted.
pub(crate) fn acl(acl: &[String]) -> Cell {
    if acl.is_empty() { Cell::Null } else { acl.to_vec().into() }
}

fn method_oid(method: &str) -> u32 {
    match method {
        "hash" => 405,
        "gist" => 783,
        "gin" => 2742,
        "brin" => 3580,
        "spgist" => 4000,
        _ => BTREE,
    }
}

pub(crate) fn pg_attribute(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations() {
        for (number, name, ty) in rel.columns() {
            let column = rel.table().and_then(|d| d.column(chronos_catalog::ColumnId(number)));
            let default = column.is_some_and(|k| k.default.is_some() || k.generated.is_some());
            attribute(
                rows,
                rel.oid,
                name,
                number,
                types::oid_of(ty),
                rel.object.column_acl.get(&number),
                [
                    ("atttypmod", types::modifier_of(ty).into()),
                    (
                        "attndims",
                        i32::from(matches!(ty, chronos_catalog::SqlType::Array(_))).into(),
                    ),
                    ("attnotnull", column.is_some_and(|k| k.not_null).into()),
                    ("atthasdef", default.into()),
                    ("atthasmissing", column.is_some_and(|k| k.missing.is_some()).into()),
                    (
                        "attidentity",
                        match column.and_then(|k| k.identity_always) {
                            Some(true) => "a",
                            Some(false) => "d",
                            None => "",
                        }
                        .into(),
                    ),
                    (
                        "attgenerated",
                        if column.is_some_and(|k| k.generated.is_some()) { "s" } else { "" }.into(),
                    ),
                ],
            );
        }
        if rel.kind() == 'S' {
            for (number, name, ty) in
                [(1, "last_value", 20), (2, "log_cnt", 20), (3, "is_called", 16)]
            {
                attribute(
                    rows,
                    rel.oid,
                    name,
                    number,
                    ty,
                    None,
                    [
                        ("atttypmod", (-1).into()),
                        ("attndims", 0.into()),
                        ("attnotnull", true.into()),
                        ("atthasdef", false.into()),
                        ("atthasmissing", false.into()),
                        ("attidentity", "".into()),
                        ("attgenerated", "".into()),
                    ],
                );
            }
        }
    }
    for index in c.indexes() {
        let Some(def) = index.table.table() else { continue };
        for (number, column) in (1..).zip(index.columns.iter().filter_map(|&id| def.column(id))) {
            attribute(
                rows,
                index.oid,
                &column.name,
                number,
                types::oid_of(&column.ty),
                None,
                [
                    ("atttypmod", types::modifier_of(&column.ty).into()),
                    ("attndims", 0.into()),
                    ("attnotnull", false.into()),
                    ("atthasdef", false.into()),
                    ("atthasmissing", false.into()),
                    ("attidentity", "".into()),
                    ("attgenerated", "".into()),
                ],
            );
        }
    }
}

fn attribute(
    rows: &mut Rows,
    relation: Oid,
    name: &str,
    number: u32,
    ty: u32,
    grants: Option<&Vec<String>>,
    [m, d, n, h, g, i, s]: [(&str, Cell); 7],
) {
    let info = types::info(ty);
    rows.push([
        ("attrelid", relation.into()),
        ("attname", name.into()),
        ("atttypid", ty.into()),
        ("attstattarget", (-1).into()),
        ("attlen", info.map_or(-1, |t| t.length).into()),
        ("attnum", number.into()),
        ("attcacheoff", (-1).into()),
        ("attbyval", info.is_some_and(|t| t.by_value).into()),
        ("attalign", info.map_or('i', |t| t.align).into()),
        ("attstorage", info.map_or('p', |t| t.storage).into()),
        ("attislocal", true.into()),
        ("attacl", acl(grants.map_or(&[], Vec::as_slice))),
        ("attcollation", info.map_or(0, |t| t.collation).into()),
        m,
        d,
        n,
        h,
        g,
        i,
        s,
    ]);
}

/// The identifier of a column's default. Defaults have none of their own; this one is stable and
/// collides with no object, for it lies in the upper half.
fn default_oid(table: Oid, column: u32) -> u32 {
    0x8000_0000 | (table.0.wrapping_mul(1600).wrapping_add(column) & 0x7fff_ffff)
}

pub(crate) fn pg_attrdef(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        for column in &def.columns {
            let Some(text) = column.default.as_ref().or(column.generated.as_ref()) else {
                continue;
            };
            rows.push([
                ("oid", default_oid(rel.oid, column.id.0).into()),
                ("adrelid", rel.oid.into()),
                ("adnum", column.id.0.into()),
                ("adbin", super::definitions::lower_types(text).into()),
            ]);
        }
    }
}

pub(crate) fn pg_index(c: &SystemCatalog, rows: &mut Rows) {
    for index in c.indexes() {
        let Some(def) = index.table.table() else { continue };
        let columns: Vec<_> = index.columns.iter().filter_map(|&id| def.column(id)).collect();
        let collations: Vec<u32> = columns
            .iter()
            .map(|k| types::info(types::oid_of(&k.ty)).map_or(0, |t| t.collation))
            .collect();
        let classes: Vec<u32> =
            columns.iter().map(|k| operator_class(types::oid_of(&k.ty))).collect();
        rows.push([
            ("indexrelid", index.oid.into()),
            ("indrelid", index.table.oid.into()),
            ("indnatts", columns.len().into()),
            ("indnkeyatts", columns.len().into()),
            ("indisunique", index.unique.into()),
            ("indisprimary", index.primary.into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indkey", index.columns.iter().map(|id| id.0).collect::<Vec<_>>().into()),
            ("indcollation", collations.into()),
            ("indclass", classes.into()),
            ("indoption", vec![0; columns.len()].into()),
        ]);
    }
}

/// The default b-tree operator class of a type, or 0.
fn operator_class(ty: u32) -> u32 {
    use super::static_rows::column;
    let ty = match ty {
        1043 => 25,
        other => other,
    };
    let oids = column("pg_opclass", "oid");
    let methods = column("pg_opclass", "opcmethod");
    let inputs = column("pg_opclass", "opcintype");
    let defaults = column("pg_opclass", "opcdefault");
    (0..oids.len())
        .find(|&i| methods[i] == "403" && defaults[i] == "t" && inputs[i].parse() == Ok(ty))
        .and_then(|i| oids[i].parse().ok())
        .unwrap_or(0)
}

pub(crate) fn pg_constraint(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        for constraint in &def.constraints {
            let numbers =
                |ids: &[chronos_catalog::ColumnId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
            let (kind, key, index) = match &constraint.kind {
                ConstraintKind::PrimaryKey(k) => ("p", Some(numbers(k)), constraint.oid.0),
                ConstraintKind::Unique(k) => ("u", Some(numbers(k)), constraint.oid.0),
                ConstraintKind::Check(_) => ("c", None, 0),
                ConstraintKind::WithoutOverlaps { primary, columns, period } => {
                    let mut key = numbers(columns);
                    key.extend(def.period(period).into_iter().flat_map(|p| [p.start.0, p.end.0]));
                    (if *primary { "p" } else { "u" }, Some(key), 0)
                }
                ConstraintKind::ForeignKey { columns, table, referenced, .. } => {
                    let target = c.relation(table.0);
                    let index = target.as_ref().and_then(|t| t.table()).and_then(|t| {
                        super::information_schema::unique_key(t, referenced).map(|k| k.0.0)
                    });
                    ("f", Some(numbers(columns)), index.unwrap_or(0))
                }
            };
            let (target, target_key, update, delete) = match &constraint.kind {
                ConstraintKind::ForeignKey { table, referenced, on_update, on_delete, .. } => (
                    table.0,
                    Some(numbers(referenced)),
                    action_letter(on_update),
                    action_letter(on_delete),
                ),
                _ => (0, None, " ", " "),
            };
            let check = match &constraint.kind {
                ConstraintKind::Check(sql) => Some(sql.as_str()),
                _ => None,
            };
            let (deferrable, full) = match &constraint.kind {
                ConstraintKind::ForeignKey { deferrable, match_full, .. } => {
                    (*deferrable, *match_full)
                }
                _ => (None, false),
            };
            let matching = match kind {
                "f" if full => "f",
                "f" => "s",
                _ => " ",
            };
            rows.push([
                ("oid", constraint.oid.into()),
                ("conname", constraint.name.as_str().into()),
                ("condeferrable", deferrable.is_some().into()),
                ("condeferred", (deferrable == Some(true)).into()),
                ("connamespace", rel.namespace.into()),
                ("contype", kind.into()),
                ("convalidated", (!constraint.not_valid).into()),
                ("conrelid", rel.oid.into()),
                ("conindid", index.into()),
                ("confrelid", target.into()),
                ("confupdtype", update.into()),
                ("confdeltype", delete.into()),
                ("confmatchtype", matching.into()),
                ("conislocal", true.into()),
                ("connoinherit", (kind != "c").into()),
                ("conkey", key.into()),
                ("confkey", target_key.into()),
                ("conbin", check.into()),
            ]);
        }
    }
}

fn action_letter(action: &str) -> &'static str {
    match action.to_ascii_uppercase().as_str() {
        "RESTRICT" => "r",
        "CASCADE" => "c",
        "SET NULL" => "n",
        "SET DEFAULT" => "d",
        _ => "a",
    }
}

pub(crate) fn pg_sequence(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations() {
        if let Relation::Sequence { start, increment, min, max, cycle, ty, .. } =
            &rel.object.relation
        {
            rows.push([
                ("seqrelid", rel.oid.into()),
                ("seqtypid", types::oid_of(ty).into()),
                ("seqstart", (*start).into()),
                ("seqincrement", (*increment).into()),
                ("seqmax", (*max).into()),
                ("seqmin", (*min).into()),
                ("seqcache", 1.into()),
                ("seqcycle", (*cycle).into()),
            ]);
        }
    }
}

/// The catalog that describes an object, as `pg_description.classoid` names it.
pub(crate) fn class_of(relation: &Relation) -> u32 {
    match relation {
        Relation::Schema => 2615,
        Relation::Role { .. } => 1260,
        _ => 1259,
    }
}

pub(crate) fn pg_description(c: &SystemCatalog, rows: &mut Rows) {
    for (oid, object) in c.objects.iter(c.at) {
        if matches!(object.relation, Relation::Role { .. }) {
            continue;
        }
        for (&number, text) in &object.comments {
            // Comments on constraints stand with their table.
            if let Relation::Table(def) = &object.relation
                && let Some((constraint, class)) = commented(def, number)
            {
                rows.push([
                    ("objoid", constraint.into()),
                    ("classoid", class.into()),
                    ("objsubid", 0.into()),
                    ("description", text.as_str().into()),
                ]);
                continue;
            }
            rows.push([
                ("objoid", oid.into()),
                ("classoid", class_of(&object.relation).into()),
                ("objsubid", number.into()),
                ("description", text.as_str().into()),
            ]);
        }
    }
}

/// Which constraint, or index of one, the key of a table's comment names, and its catalog.
fn commented(def: &TableDef, key: u32) -> Option<(u32, u32)> {
    let oid = key & !chronos_catalog::INDEX_COMMENT;
    let class = if oid == key { 2606 } else { 1259 };
    def.constraints.iter().any(|c| c.oid.0 == oid).then_some((oid, class))
}

/// The comment on a constraint or on its index.
pub(crate) fn key_comment(c: &SystemCatalog, oid: u32, class: Option<u32>) -> Option<String> {
    let (_, object) = c.objects.iter(c.at).find(|(_, o)| match &o.relation {
        Relation::Table(def) => def.constraints.iter().any(|k| k.oid.0 == oid),
        _ => false,
    })?;
    let comment = |key: u32| object.comments.get(&key).cloned();
    let index = || comment(oid | chronos_catalog::INDEX_COMMENT);
    match class {
        Some(2606) => comment(oid),
        Some(1259) => index(),
        Some(_) => None,
        None => comment(oid).or_else(index),
    }
}

pub(crate) fn pg_shdescription(c: &SystemCatalog, rows: &mut Rows) {
    for (oid, object) in c.objects.iter(c.at) {
        if let (Relation::Role { .. }, Some(text)) = (&object.relation, object.comments.get(&0)) {
            rows.push([
                ("objoid", oid.into()),
                ("classoid", 1260.into()),
                ("description", text.as_str().into()),
            ]);
        }
    }
}

pub(crate) fn pg_depend(c: &SystemCatalog, rows: &mut Rows) {
    let mut edge =
        |(class, oid, sub): (u32, u32, u32), (rclass, roid, rsub): (u32, u32, u32), kind: &str| {
            rows.push([
                ("classid", class.into()),
                ("objid", oid.into()),
                ("objsubid", sub.into()),
                ("refclassid", rclass.into()),
                ("refobjid", roid.into()),
                ("refobjsubid", rsub.into()),
                ("deptype", kind.into()),
            ]);
        };
    for rel in c.relations() {
        edge((1259, rel.oid.0, 0), (2615, rel.namespace.0, 0), "n");
        match &rel.object.relation {
            Relation::Table(def) => {
                for constraint in &def.constraints {
                    let columns: &[_] = match &constraint.kind {
                        ConstraintKind::PrimaryKey(k) | ConstraintKind::Unique(k) => {
                            edge((1259, constraint.oid.0, 0), (2606, constraint.oid.0, 0), "i");
                            k
                        }
                        ConstraintKind::ForeignKey { columns, table, referenced, .. } => {
                            for id in referenced {
                                edge((2606, constraint.oid.0, 0), (1259, table.0, id.0), "n");
                            }
                            columns
                        }
                        ConstraintKind::WithoutOverlaps { columns, .. } => columns,
                        ConstraintKind::Check(_) => {
                            edge((2606, constraint.oid.0, 0), (1259, rel.oid.0, 0), "a");
                            &[]
                        }
                    };
                    for id in columns {
                        edge((2606, constraint.oid.0, 0), (1259, rel.oid.0, id.0), "a");
                    }
                }
                for column in
                    def.columns.iter().filter(|k| k.default.is_some() || k.generated.is_some())
                {
                    let oid = default_oid(rel.oid, column.id.0);
                    edge((2604, oid, 0), (1259, rel.oid.0, column.id.0), "a");
                }
            }
            Relation::Sequence { owned_by: Some((table, column)), .. } => {
                let identity = c
                    .relation(table.0)
                    .and_then(|t| t.table()?.column(*column)?.identity_always)
                    .is_some();
                let kind = if identity { "i" } else { "a" };
                edge((1259, rel.oid.0, 0), (1259, table.0, column.0), kind);
            }
            Relation::Index { table, columns, .. } => {
                for id in columns {
                    edge((1259, rel.oid.0, 0), (1259, table.0, id.0), "a");
                }
            }
            Relation::View { query, .. } => {
                let rule = (2618, default_oid(rel.oid, 0), 0);
                edge(rule, (1259, rel.oid.0, 0), "i");
                for read in read_by_view(c, query) {
                    edge(rule, (1259, read, 0), "n");
                }
            }
            _ => {}
        }
    }
}

/// The relations that a view's query names. Its names are qualified, but for those of WITH.
fn read_by_view(c: &SystemCatalog, query: &str) -> BTreeSet<u32> {
    let mut read = BTreeSet::new();
    let Ok(statements) = crate::statement::parse(query) else { return read };
    for statement in &statements {
        let StatementKind::Sql(sql) = &statement.kind else { continue };
        let _ = ast::visit_relations(sql.as_ref(), |name| {
            let parts = name.0.iter().filter_map(|part| part.as_ident()).map(normal);
            // The database may stand before them.
            if let [.., schema, relation] = parts.collect::<Vec<_>>().as_slice() {
                read.extend(c.relation_oid(schema, relation));
            }
            ControlFlow::<()>::Continue(())
        });
    }
    read
}

/// The rule that makes each view a view.
pub(crate) fn pg_rewrite(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations().into_iter().filter(|r| r.kind() == 'v') {
        rows.push([
            // No column has the number 0, so it is no default's identifier.
            ("oid", default_oid(rel.oid, 0).into()),
            ("rulename", "_RETURN".into()),
            ("ev_class", rel.oid.into()),
            ("ev_type", "1".into()),
            ("ev_enabled", "O".into()),
            ("is_instead", true.into()),
        ]);
    }
}
