//! The log of commits: who changed what, when and why, as rows of a table of the system's own.
//!
//! The rows are made by every node from the commit itself, so they cost the log nothing; they
//! live in segments like any others, are flushed, compacted and kept like them. A commit leaves
//! one row for each table that it wrote to, or a single row without a table. The instant is the
//! row's `_system_from`, the number of the commit its `_cv`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{ColumnId, Oid};
use crate::schema::{Column, Object, Relation, SqlType, TableDef};

/// The table's name; it stands in the schema `chronos`.
pub const COMMITS_TABLE: &str = "_commits";

/// What one commit did to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitRow {
    /// The table; `None` where the commit wrote no rows.
    pub table: Option<Oid>,
    /// Its schema and name at the commit.
    pub table_name: Option<(String, String)>,
    /// The table's commit number (`_cv`).
    pub table_version: Option<i64>,
    /// Rows that had no version before.
    pub inserted: u64,
    /// Rows that got a new version.
    pub updated: u64,
    /// Rows that got none.
    pub deleted: u64,
    /// How many definitions the commit made, changed or dropped.
    pub definitions: u64,
}

/// The columns of the table, by name and type.
const COLUMNS: [(&str, SqlType); 13] = [
    ("user_name", SqlType::Text),
    ("application_name", SqlType::Text),
    ("actor", SqlType::Text),
    ("reason", SqlType::Text),
    ("function_id", SqlType::Text),
    ("table_oid", SqlType::Oid),
    ("table_schema", SqlType::Text),
    ("table_name", SqlType::Text),
    ("table_version", SqlType::Int8),
    ("rows_inserted", SqlType::Int8),
    ("rows_updated", SqlType::Int8),
    ("rows_deleted", SqlType::Int8),
    ("definitions", SqlType::Int8),
];

/// The table's definition, the same in every database.
pub fn commits_object() -> Object {
    let columns: Vec<Column> = (1..)
        .zip(COLUMNS)
        .map(|(id, (name, ty))| Column {
            id: ColumnId(id),
            name: name.to_owned(),
            ty,
            not_null: false,
            default: None,
            generated: None,
            identity_always: None,
            missing: None,
        })
        .collect();
    let next_column = columns.len() as u32 + 1;
    Object {
        name: COMMITS_TABLE.to_owned(),
        namespace: Some(Oid::CHRONOS),
        owner: Oid::SUPERUSER,
        comments: BTreeMap::new(),
        acl: Vec::new(),
        column_acl: BTreeMap::new(),
        row_security: crate::schema::RowSecurity::default(),
        relation: Relation::Table(Arc::new(TableDef {
            schema_version: 1,
            columns,
            constraints: Vec::new(),
            options: BTreeMap::new(),
            next_column,
            periods: Vec::new(),
        })),
    }
}
