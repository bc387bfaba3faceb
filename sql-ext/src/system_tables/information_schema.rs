//! `information_schema`: the SQL standard's view of the same objects.

use chronos_catalog::{ColumnId, ConstraintKind, Relation, SqlType, TableDef};

use super::catalog::SystemCatalog;
use super::rows::{Cell, Rows};
use super::shape::{shapes, type_oid};
use super::types;
use crate::privileges::{self, Item, items};

fn yes_no(yes: bool) -> Cell {
    if yes { "YES" } else { "NO" }.into()
}

pub(crate) fn schemata(c: &SystemCatalog, rows: &mut Rows) {
    for (_, name, owner, _) in super::cluster::namespaces(c) {
        rows.push([
            ("catalog_name", c.session.database().into()),
            ("schema_name", name.into()),
            ("schema_owner", c.role_name(owner).into()),
        ]);
    }
}

pub(crate) fn catalog_name(c: &SystemCatalog, rows: &mut Rows) {
    rows.push([("catalog_name", c.session.database().into())]);
}

pub(crate) fn tables(c: &SystemCatalog, rows: &mut Rows) {
    let database = c.session.database();
    let mut push = |schema: &str, name: &str, table: bool, insertable: bool| {
        rows.push([
            ("table_catalog", database.as_str().into()),
            ("table_schema", schema.into()),
            ("table_name", name.into()),
            ("table_type", if table { "BASE TABLE" } else { "VIEW" }.into()),
            ("is_insertable_into", yes_no(insertable)),
            ("is_typed", yes_no(false)),
        ]);
    };
    for shape in shapes() {
        push(shape.namespace, shape.name, shape.kind == 'r', false);
    }
    for rel in c.relations() {
        match rel.kind() {
            'r' => push(&rel.schema, &rel.object.name, true, true),
            'v' => push(&rel.schema, &rel.object.name, false, c.is_updatable(rel.oid.0)),
            _ => {}
        }
    }
}

pub(crate) fn views(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations() {
        if let Relation::View { query, options, .. } = &rel.object.relation {
            let check = options.get("check_option").map_or("NONE".into(), |o| o.to_uppercase());
            let updatable = c.is_updatable(rel.oid.0);
            rows.push([
                ("table_catalog", c.session.database().into()),
                ("table_schema", rel.schema.as_str().into()),
                ("table_name", rel.object.name.as_str().into()),
                ("view_definition", super::views::view_definition(query).into()),
                ("check_option", check.into()),
                ("is_updatable", yes_no(updatable)),
                ("is_insertable_into", yes_no(updatable)),
                ("is_trigger_updatable", yes_no(false)),
                ("is_trigger_deletable", yes_no(false)),
                ("is_trigger_insertable_into", yes_no(false)),
            ]);
        }
    }
}

/// One row of `columns`.
struct ColumnRow<'a> {
    schema: &'a str,
    table: &'a str,
    name: &'a str,
    number: u32,
    type_oid: u32,
    modifier: i32,
    nullable: bool,
    default: Option<&'a str>,
    generated: Option<&'a str>,
    identity_always: Option<bool>,
    updatable: bool,
}

pub(crate) fn columns(c: &SystemCatalog, rows: &mut Rows) {
    let database = c.session.database();
    for shape in shapes() {
        for (number, column) in (1..).zip(&shape.columns) {
            column_row(
                rows,
                &database,
                &ColumnRow {
                    schema: shape.namespace,
                    table: shape.name,
                    name: column.name,
                    number,
                    type_oid: type_oid(column.type_name),
                    modifier: -1,
                    nullable: !column.not_null,
                    default: None,
                    generated: None,
                    identity_always: None,
                    updatable: false,
                },
            );
        }
    }
    for rel in c.relations() {
        let updatable = c.updatable_columns(rel.oid.0);
        for (number, name, ty) in rel.columns() {
            let column = rel.table().and_then(|d| d.column(ColumnId(number)));
            column_row(
                rows,
                &database,
                &ColumnRow {
                    schema: &rel.schema,
                    table: &rel.object.name,
                    name,
                    number,
                    type_oid: types::oid_of(ty),
                    modifier: types::modifier_of(ty),
                    nullable: !column.is_some_and(|k| k.not_null),
                    default: column.and_then(|k| k.default.as_deref()),
                    generated: column.and_then(|k| k.generated.as_deref()),
                    identity_always: column.and_then(|k| k.identity_always),
                    updatable: updatable.iter().any(|(column, can)| column == name && *can),
                },
            );
        }
    }
}

fn column_row(rows: &mut Rows, database: &str, column: &ColumnRow<'_>) {
    let info = types::info(column.type_oid);
    let array = info.is_some_and(|t| t.category == 'A' && t.element != 0);
    let name = info.map_or("text", |t| t.name);
    let data_type = if name == "bit" {
        "bit".to_owned()
    } else if array {
        "ARRAY".to_owned()
    } else {
        types::format(column.type_oid, None).unwrap_or_default()
    };
    let m = column.modifier;
    let length = match name {
        "varchar" | "bpchar" if m >= 4 => Some(m - 4),
        "bit" | "varbit" if m >= 1 => Some(m),
        _ => None,
    };
    let octets = match name {
        "varchar" | "bpchar" | "text" => Some(length.map_or(1_073_741_824, |n| i64::from(n) * 4)),
        _ => None,
    };
    let (precision, radix, scale) = match name {
        "int2" => (Some(16), Some(2), Some(0)),
        "int4" => (Some(32), Some(2), Some(0)),
        "int8" => (Some(64), Some(2), Some(0)),
        "float4" => (Some(24), Some(2), None),
        "float8" => (Some(53), Some(2), None),
        "numeric" if m >= 4 => (Some((m - 4) >> 16), Some(10), Some((m - 4) & 0xffff)),
        "numeric" => (None, Some(10), None),
        _ => (None, None, None),
    };
    let datetime = match name {
        "date" => Some(0),
        "time" | "timestamp" | "timestamptz" | "timetz" | "interval" => Some(6),
        _ => None,
    };
    rows.push([
        ("table_catalog", database.into()),
        ("table_schema", column.schema.into()),
        ("table_name", column.table.into()),
        ("column_name", column.name.into()),
        ("ordinal_position", column.number.into()),
        ("column_default", column.default.into()),
        ("is_nullable", yes_no(column.nullable)),
        ("data_type", data_type.into()),
        ("character_maximum_length", length.into()),
        ("character_octet_length", octets.into()),
        ("numeric_precision", precision.into()),
        ("numeric_precision_radix", radix.into()),
        ("numeric_scale", scale.into()),
        ("datetime_precision", datetime.into()),
        ("udt_catalog", database.into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", name.into()),
        ("dtd_identifier", column.number.to_string().into()),
        ("is_self_referencing", yes_no(false)),
        ("is_identity", yes_no(column.identity_always.is_some())),
        (
            "identity_generation",
            column.identity_always.map(|a| if a { "ALWAYS" } else { "BY DEFAULT" }).into(),
        ),
        ("identity_cycle", yes_no(false)),
        ("is_generated", if column.generated.is_some() { "ALWAYS" } else { "NEVER" }.into()),
        ("generation_expression", column.generated.into()),
        ("is_updatable", yes_no(column.updatable)),
    ]);
}

pub(crate) fn table_constraints(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        let mut push = |name: &str, kind: &str, deferrable: Option<bool>| {
            rows.push([
                ("constraint_catalog", c.session.database().into()),
                ("constraint_schema", rel.schema.as_str().into()),
                ("constraint_name", name.into()),
                ("table_catalog", c.session.database().into()),
                ("table_schema", rel.schema.as_str().into()),
                ("table_name", rel.object.name.as_str().into()),
                ("constraint_type", kind.into()),
                ("is_deferrable", yes_no(deferrable.is_some())),
                ("initially_deferred", yes_no(deferrable == Some(true))),
                ("enforced", yes_no(true)),
                ("nulls_distinct", if kind == "UNIQUE" { yes_no(true) } else { Cell::Null }),
            ]);
        };
        for constraint in &def.constraints {
            push(
                &constraint.name,
                match constraint.kind {
                    ConstraintKind::PrimaryKey(_) => "PRIMARY KEY",
                    ConstraintKind::Unique(_) => "UNIQUE",
                    ConstraintKind::WithoutOverlaps { primary: true, .. } => "PRIMARY KEY",
                    ConstraintKind::WithoutOverlaps { .. } => "UNIQUE",
                    ConstraintKind::Check(_) => "CHECK",
                    ConstraintKind::ForeignKey { .. } => "FOREIGN KEY",
                },
                match constraint.kind {
                    ConstraintKind::ForeignKey { deferrable, .. } => deferrable,
                    _ => None,
                },
            );
        }
        for column in def.columns.iter().filter(|k| k.not_null) {
            push(&not_null_name(rel.namespace.0, rel.oid.0, column.id), "CHECK", None);
        }
    }
}

/// The name that the standard wants for a NOT NULL.
fn not_null_name(namespace: u32, table: u32, column: ColumnId) -> String {
    format!("{namespace}_{table}_{}_not_null", column.0)
}

pub(crate) fn key_column_usage(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        for constraint in &def.constraints {
            let (columns, foreign) = match &constraint.kind {
                ConstraintKind::PrimaryKey(k) | ConstraintKind::Unique(k) => (k, None),
                ConstraintKind::WithoutOverlaps { columns, .. } => (columns, None),
                ConstraintKind::ForeignKey { columns, table, referenced, .. } => {
                    (columns, Some((table, referenced)))
                }
                ConstraintKind::Check(_) => continue,
            };
            for (i, &id) in columns.iter().enumerate() {
                let Some(column) = def.column(id) else { continue };
                let in_unique = foreign.and_then(|(table, referenced)| {
                    let target = c.relation(table.0)?;
                    let (_, _, key) = unique_key(target.table()?, referenced)?;
                    Some(key.iter().position(|k| Some(k) == referenced.get(i))? + 1)
                });
                rows.push([
                    ("constraint_catalog", c.session.database().into()),
                    ("constraint_schema", rel.schema.as_str().into()),
                    ("constraint_name", constraint.name.as_str().into()),
                    ("table_catalog", c.session.database().into()),
                    ("table_schema", rel.schema.as_str().into()),
                    ("table_name", rel.object.name.as_str().into()),
                    ("column_name", column.name.as_str().into()),
                    ("ordinal_position", (i + 1).into()),
                    ("position_in_unique_constraint", in_unique.into()),
                ]);
            }
        }
    }
}

/// The unique key of exactly these columns, in any order.
pub(super) fn unique_key<'a>(
    def: &'a TableDef,
    columns: &[ColumnId],
) -> Option<(chronos_catalog::Oid, &'a str, &'a [ColumnId])> {
    def.unique_keys()
        .find(|(_, _, key)| key.len() == columns.len() && key.iter().all(|k| columns.contains(k)))
}

pub(crate) fn referential_constraints(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        for constraint in &def.constraints {
            let ConstraintKind::ForeignKey {
                table,
                referenced,
                on_delete,
                on_update,
                match_full,
                ..
            } = &constraint.kind
            else {
                continue;
            };
            let target = c.relation(table.0);
            let key = target
                .as_ref()
                .and_then(|t| unique_key(t.table()?, referenced))
                .map(|(_, name, _)| name);
            let rule =
                |r: &str| if r.is_empty() { "NO ACTION".to_owned() } else { r.to_uppercase() };
            rows.push([
                ("constraint_catalog", c.session.database().into()),
                ("constraint_schema", rel.schema.as_str().into()),
                ("constraint_name", constraint.name.as_str().into()),
                ("unique_constraint_catalog", key.map(|_| c.session.database()).into()),
                ("unique_constraint_schema", target.as_ref().map(|t| t.schema.clone()).into()),
                ("unique_constraint_name", key.into()),
                ("match_option", if *match_full { "FULL" } else { "NONE" }.into()),
                ("update_rule", rule(on_update).into()),
                ("delete_rule", rule(on_delete).into()),
            ]);
        }
    }
}

/// `constraint_column_usage` and `constraint_table_usage`: what a constraint refers to.
pub(crate) fn constraint_usage(c: &SystemCatalog, rows: &mut Rows, with_columns: bool) {
    for (rel, def) in c.tables() {
        for constraint in &def.constraints {
            let (target, columns) = match &constraint.kind {
                ConstraintKind::PrimaryKey(k) | ConstraintKind::Unique(k) => {
                    (rel.clone(), k.clone())
                }
                ConstraintKind::WithoutOverlaps { columns, .. } => (rel.clone(), columns.clone()),
                ConstraintKind::ForeignKey { table, referenced, .. } => match c.relation(table.0) {
                    Some(target) => (target, referenced.clone()),
                    None => continue,
                },
                ConstraintKind::Check(_) => continue,
            };
            let Some(target_def) = target.table() else { continue };
            let columns =
                if with_columns { columns } else { columns.into_iter().take(1).collect() };
            for column in columns.iter().filter_map(|&id| target_def.column(id)) {
                rows.push([
                    ("table_catalog", c.session.database().into()),
                    ("table_schema", target.schema.as_str().into()),
                    ("table_name", target.object.name.as_str().into()),
                    ("column_name", column.name.as_str().into()),
                    ("constraint_catalog", c.session.database().into()),
                    ("constraint_schema", rel.schema.as_str().into()),
                    ("constraint_name", constraint.name.as_str().into()),
                ]);
            }
        }
    }
}

pub(crate) fn check_constraints(c: &SystemCatalog, rows: &mut Rows) {
    for (rel, def) in c.tables() {
        let mut push = |name: &str, clause: String| {
            rows.push([
                ("constraint_catalog", c.session.database().into()),
                ("constraint_schema", rel.schema.as_str().into()),
                ("constraint_name", name.into()),
                ("check_clause", clause.into()),
            ]);
        };
        for constraint in &def.constraints {
            if let ConstraintKind::Check(sql) = &constraint.kind {
                push(&constraint.name, format!("(({sql}))"));
            }
        }
        for column in def.columns.iter().filter(|k| k.not_null) {
            let name = not_null_name(rel.namespace.0, rel.oid.0, column.id);
            push(&name, format!("{} IS NOT NULL", column.name));
        }
    }
}

pub(crate) fn sequences(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations() {
        if let Relation::Sequence { start, increment, min, max, cycle, ty, .. } =
            &rel.object.relation
        {
            let bits = match ty {
                SqlType::Int2 => 16,
                SqlType::Int4 => 32,
                _ => 64,
            };
            rows.push([
                ("sequence_catalog", c.session.database().into()),
                ("sequence_schema", rel.schema.as_str().into()),
                ("sequence_name", rel.object.name.as_str().into()),
                ("data_type", types::name_of(ty).into()),
                ("numeric_precision", bits.into()),
                ("numeric_precision_radix", 2.into()),
                ("numeric_scale", 0.into()),
                ("start_value", start.to_string().into()),
                ("minimum_value", min.to_string().into()),
                ("maximum_value", max.to_string().into()),
                ("increment", increment.to_string().into()),
                ("cycle_option", yes_no(*cycle)),
            ]);
        }
    }
}

/// `enabled_roles` and `applicable_roles`.
pub(crate) fn enabled_roles(c: &SystemCatalog, rows: &mut Rows) {
    rows.push([("role_name", c.session.user().into())]);
}

pub(crate) fn character_sets(c: &SystemCatalog, rows: &mut Rows) {
    rows.push([
        ("character_set_name", "UTF8".into()),
        ("character_repertoire", "UCS".into()),
        ("form_of_use", "UTF8".into()),
        ("default_collate_catalog", c.session.database().into()),
        ("default_collate_schema", "pg_catalog".into()),
        ("default_collate_name", "C".into()),
    ]);
}

/// `table_privileges` and `role_table_grants`.
pub(crate) fn table_privileges(c: &SystemCatalog, rows: &mut Rows) {
    for rel in c.relations().into_iter().filter(|r| matches!(r.kind(), 'r' | 'v')) {
        let owner = c.role_name(rel.object.owner.0);
        let mut granted: Vec<Item> = items(&rel.object.acl).collect();
        if granted.is_empty() {
            granted.push(Item::new(&owner, privileges::TABLE, &owner));
        }
        let each = granted.iter().flat_map(|item| item.letters.iter().map(move |l| (item, l)));
        for (item, (letter, option)) in each {
            let Some(kind) = privileges::word(*letter) else { continue };
            let grantee = match item.grantee.as_str() {
                "" => "PUBLIC",
                name => name,
            };
            rows.push([
                ("grantor", item.grantor.as_str().into()),
                ("grantee", grantee.into()),
                ("table_catalog", c.session.database().into()),
                ("table_schema", rel.schema.as_str().into()),
                ("table_name", rel.object.name.as_str().into()),
                ("privilege_type", kind.into()),
                ("is_grantable", yes_no(*option || item.grantee == owner)),
                ("with_hierarchy", yes_no(kind == "SELECT")),
            ]);
        }
    }
}
