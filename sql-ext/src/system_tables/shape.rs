//! The shapes of the system tables: names, object identifiers and columns, as tools expect them
//! of a PostgreSQL 15.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Field, Schema, SchemaRef};
use chronos_catalog::SqlType;
use chronos_catalog::schema::SQL_TYPE_KEY;

/// The hidden column of the tables (not the views) that names the table itself.
pub(crate) const TABLE_OID: &str = "tableoid";

/// One column of a system table.
#[derive(Clone, Debug)]
pub(crate) struct SystemColumn {
    pub name: &'static str,
    /// The type's name as `format_type` prints it, with underscores for blanks.
    pub type_name: &'static str,
    pub ty: SqlType,
    pub not_null: bool,
}

/// One system table.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub namespace: &'static str,
    pub name: &'static str,
    pub oid: u32,
    /// `r` or `v`.
    pub kind: char,
    pub columns: Vec<SystemColumn>,
    pub schema: SchemaRef,
}

impl Shape {
    /// A column's position.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }
}

/// Every system table's shape. One line each: name, identifier, kind, then columns, where `!`
/// says NOT NULL.
static SHAPES: LazyLock<Vec<Shape>> =
    LazyLock::new(|| include_str!("data/shapes.txt").lines().filter_map(parse_line).collect());

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), &'static Shape>> =
    LazyLock::new(|| SHAPES.iter().map(|s| ((s.namespace, s.name), s)).collect());

/// All system tables.
pub(crate) fn shapes() -> &'static [Shape] {
    &SHAPES
}

/// The system table of that name.
pub(crate) fn shape(namespace: &str, name: &str) -> Option<&'static Shape> {
    BY_NAME.get(&(namespace, name)).copied()
}

fn parse_line(line: &'static str) -> Option<Shape> {
    let mut words = line.split(' ');
    let (namespace, name) = words.next()?.split_once('.')?;
    let oid = words.next()?.parse().ok()?;
    let kind = words.next()?.chars().next()?;
    let columns: Vec<SystemColumn> = words
        .filter_map(|word| {
            let (name, type_name) = word.split_once(':')?;
            let not_null = type_name.ends_with('!');
            let type_name = type_name.trim_end_matches('!');
            Some(SystemColumn { name, type_name, ty: sql_type(type_name), not_null })
        })
        .collect();
    let mut fields: Vec<Field> = columns.iter().map(arrow_field).collect();
    if kind == 'r' {
        fields.push(SqlType::Oid.field(TABLE_OID, false));
    }
    Some(Shape { namespace, name, oid, kind, columns, schema: Arc::new(Schema::new(fields)) })
}

/// The type that stands in for a system catalog's column type.
fn sql_type(name: &str) -> SqlType {
    let array = |item| SqlType::Array(Box::new(item));
    match name {
        "bigint" => SqlType::Int8,
        "integer" => SqlType::Int4,
        "smallint" => SqlType::Int2,
        "boolean" => SqlType::Bool,
        "float8" => SqlType::Float8,
        "real" => SqlType::Float4,
        "numeric" => SqlType::Numeric(None),
        "name" => SqlType::Name,
        "varchar" => SqlType::Varchar(None),
        "bytea" => SqlType::Bytea,
        "interval" => SqlType::Interval,
        "timestamptz" => SqlType::Timestamptz,
        "oid" | "regproc" | "regtype" | "xid" => SqlType::Oid,
        "int2vector" | "smallint[]" => array(SqlType::Int2),
        "oidvector" | "oid[]" | "regtype[]" => array(SqlType::Oid),
        "name[]" => array(SqlType::Name),
        "boolean[]" => array(SqlType::Bool),
        "real[]" => array(SqlType::Float4),
        "float8[]" => array(SqlType::Float8),
        "text[]" | "\"char\"[]" | "aclitem[]" | "pg_statistic[]" => array(SqlType::Text),
        _ => SqlType::Text,
    }
}

/// The Arrow field of a column. Types without a [`SqlType`] of their own keep their name in the
/// metadata.
fn arrow_field(column: &SystemColumn) -> Field {
    let field = column.ty.field(column.name, !column.not_null);
    let tag = match column.type_name {
        "\"char\"" | "regproc" | "regtype" | "int2vector" | "oidvector" => column.type_name,
        _ => return field,
    };
    match column.type_name {
        // The encoders know these by their Arrow type and item tag.
        "int2vector" | "oidvector" | "regproc" | "regtype" => field,
        _ => field.with_metadata([(SQL_TYPE_KEY.to_owned(), tag.to_owned())].into()),
    }
}

/// The object identifier of a column type by its name in the shapes.
pub(crate) fn type_oid(type_name: &str) -> u32 {
    match type_name {
        "\"char\"" => 18,
        "\"char\"[]" => 1002,
        "aclitem[]" => 1034,
        "anyarray" => 2277,
        "bigint" => 20,
        "boolean" => 16,
        "boolean[]" => 1000,
        "bytea" => 17,
        "float8" => 701,
        "float8[]" => 1022,
        "inet" => 869,
        "int2vector" => 22,
        "integer" => 23,
        "interval" => 1186,
        "name" => 19,
        "name[]" => 1003,
        "numeric" => 1700,
        "oid" => 26,
        "oid[]" => 1028,
        "oidvector" => 30,
        "pg_dependencies" => 3402,
        "pg_lsn" => 3220,
        "pg_mcv_list" => 5017,
        "pg_ndistinct" => 3361,
        "pg_node_tree" => 194,
        "real" => 700,
        "real[]" => 1021,
        "regproc" => 24,
        "regtype" => 2206,
        "regtype[]" => 2211,
        "smallint" => 21,
        "smallint[]" => 1005,
        "text[]" => 1009,
        "timestamptz" => 1184,
        "varchar" => 1043,
        "xid" => 28,
        _ => 25,
    }
}
