//! Rows that do not depend on anybody's objects: types, operators, functions, access methods.

use std::collections::HashMap;
use std::sync::LazyLock;

use arrow::array::RecordBatch;
use datafusion::common::{Result, internal_datafusion_err};

use super::rows::{Cell, Rows, parse};
use super::shape::{Shape, shape, shapes, type_oid};
use super::types;

/// Sections of the embedded file: table name, its header's column names and its lines.
/// Column names and lines.
type Section = (Vec<&'static str>, Vec<&'static str>);

static SECTIONS: LazyLock<HashMap<&'static str, Section>> = LazyLock::new(|| {
    let mut sections: HashMap<_, (Vec<_>, Vec<_>)> = HashMap::new();
    let mut current = "";
    for line in include_str!("data/rows.tsv").lines() {
        if let Some(header) = line.strip_prefix('#') {
            let mut names = header.split('\t');
            current = names.next().unwrap_or("");
            sections.insert(current, (names.collect(), Vec::new()));
        } else if let Some((_, lines)) = sections.get_mut(current) {
            lines.push(line);
        }
    }
    sections
});

static BATCHES: LazyLock<HashMap<&'static str, Result<RecordBatch>>> = LazyLock::new(|| {
    let mut batches: HashMap<&'static str, Result<RecordBatch>> = SECTIONS
        .iter()
        .filter_map(|(name, (columns, lines))| {
            Some((*name, read(shape("pg_catalog", name)?, columns, lines)))
        })
        .collect();
    if let Some(shape) = shape("pg_catalog", "pg_class") {
        batches.insert("pg_class", pg_class(shape));
    }
    if let Some(shape) = shape("pg_catalog", "pg_attribute") {
        batches.insert("pg_attribute", pg_attribute(shape));
    }
    batches
});

/// The static rows of a table of `pg_catalog`.
pub(crate) fn static_rows(table: &str) -> Result<Option<RecordBatch>> {
    match BATCHES.get(table) {
        None => Ok(None),
        Some(Ok(batch)) => Ok(Some(batch.clone())),
        Some(Err(e)) => Err(internal_datafusion_err!("static rows of {table}: {e}")),
    }
}

/// One column of the static rows as texts, `\N` for NULL.
pub(crate) fn column(table: &str, column: &str) -> Vec<&'static str> {
    let Some((names, lines)) = SECTIONS.get(table) else { return Vec::new() };
    let Some(i) = names.iter().position(|n| *n == column) else { return Vec::new() };
    lines.iter().map(|l| l.split('\t').nth(i).unwrap_or("\\N")).collect()
}

fn read(shape: &'static Shape, names: &[&str], lines: &[&str]) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for line in lines {
        let values: Vec<&str> = line.split('\t').collect();
        let row = shape
            .columns
            .iter()
            .map(|column| match names.iter().position(|n| *n == column.name) {
                Some(i) => parse(&column.ty, values.get(i).copied().unwrap_or("\\N")),
                None => Ok(if column.not_null { Cell::Int(0) } else { Cell::Null }),
            })
            .collect::<Result<Vec<_>>>()?;
        rows.push_row(row);
    }
    rows.finish()
}

/// The object identifier of a system schema.
pub(crate) fn namespace_oid(name: &str) -> u32 {
    match name {
        "pg_catalog" => 11,
        "information_schema" => 13207,
        "chronos" => 15000,
        "pg_toast" => 99,
        _ => 2200,
    }
}

/// The system tables' own rows.
fn pg_class(pg_class: &'static Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(pg_class);
    for shape in shapes() {
        rows.push([
            ("oid", shape.oid.into()),
            ("relname", shape.name.into()),
            ("relnamespace", namespace_oid(shape.namespace).into()),
            ("relowner", 10.into()),
            ("relam", if shape.kind == 'r' { 2 } else { 0 }.into()),
            ("reltuples", Cell::Float(-1.0)),
            ("relpersistence", "p".into()),
            ("relkind", shape.kind.into()),
            ("relnatts", shape.columns.len().into()),
            ("relispopulated", true.into()),
            ("relreplident", "n".into()),
        ]);
    }
    rows.finish()
}

fn pg_attribute(pg_attribute: &'static Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(pg_attribute);
    for shape in shapes() {
        for (i, column) in shape.columns.iter().enumerate() {
            let ty = type_oid(column.type_name);
            let info = types::info(ty);
            rows.push([
                ("attrelid", shape.oid.into()),
                ("attname", column.name.into()),
                ("atttypid", ty.into()),
                ("attstattarget", (-1).into()),
                ("attlen", info.map_or(-1, |t| t.length).into()),
                ("attnum", (i + 1).into()),
                ("attndims", i32::from(column.type_name.ends_with(']')).into()),
                ("attcacheoff", (-1).into()),
                ("atttypmod", (-1).into()),
                ("attbyval", info.is_some_and(|t| t.by_value).into()),
                ("attalign", info.map_or('i', |t| t.align).into()),
                ("attstorage", info.map_or('p', |t| t.storage).into()),
                ("attnotnull", column.not_null.into()),
                ("attislocal", true.into()),
                ("attcollation", info.map_or(0, |t| t.collation).into()),
            ]);
        }
    }
    rows.finish()
}
