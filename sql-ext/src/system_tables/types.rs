//! PostgreSQL's types: identifiers, names, lengths and modifiers.

use std::collections::HashMap;
use std::sync::LazyLock;

use chronos_catalog::SqlType;

use super::static_rows::column;

/// What `pg_type` says of a type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TypeInfo {
    pub oid: u32,
    pub name: &'static str,
    pub length: i16,
    pub by_value: bool,
    pub align: char,
    pub storage: char,
    pub element: u32,
    pub category: char,
    pub collation: u32,
}

static TYPES: LazyLock<HashMap<u32, TypeInfo>> = LazyLock::new(|| {
    let char_at = |text: &&str| text.chars().next().unwrap_or(' ');
    let number = |text: &&str| text.parse().unwrap_or(0);
    let oids = column("pg_type", "oid");
    let names = column("pg_type", "typname");
    let lengths = column("pg_type", "typlen");
    let by_value = column("pg_type", "typbyval");
    let align = column("pg_type", "typalign");
    let storage = column("pg_type", "typstorage");
    let elements = column("pg_type", "typelem");
    let categories = column("pg_type", "typcategory");
    let collations = column("pg_type", "typcollation");
    (0..oids.len())
        .map(|i| {
            let info = TypeInfo {
                oid: number(&oids[i]),
                name: names[i],
                length: lengths[i].parse().unwrap_or(-1),
                by_value: by_value[i] == "t",
                align: char_at(&align[i]),
                storage: char_at(&storage[i]),
                element: number(&elements[i]),
                category: char_at(&categories[i]),
                collation: number(&collations[i]),
            };
            (info.oid, info)
        })
        .collect()
});

/// A type by its identifier.
pub(crate) fn info(oid: u32) -> Option<&'static TypeInfo> {
    TYPES.get(&oid)
}

/// The identifier of a type by its name, in the catalog's or SQL's spelling, with `[]` for an
/// array; without length or precision.
pub(crate) fn oid_of_name(name: &str) -> Option<u32> {
    let name = name.trim();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(name);
    if let Some(item) = name.strip_suffix("[]") {
        let item = oid_of_name(item)?;
        return TYPES
            .values()
            .find(|t| {
                t.element == item && t.category == 'A' && t.length == -1 && t.name.starts_with('_')
            })
            .map(|t| t.oid);
    }
    if name == "\"char\"" {
        return Some(18);
    }
    let lower = name.to_lowercase();
    let bare = match lower.split_once('(') {
        Some((head, tail)) => {
            let after = tail.split_once(')').map_or("", |(_, rest)| rest);
            format!("{}{after}", head.trim_end())
        }
        None => lower.clone(),
    };
    let internal = match bare.as_str() {
        "boolean" => "bool",
        "smallint" => "int2",
        "integer" | "int" => "int4",
        "bigint" => "int8",
        "real" => "float4",
        "double precision" | "float" => "float8",
        "decimal" | "dec" => "numeric",
        "character varying" => "varchar",
        "character" | "char" => "bpchar",
        "timestamp without time zone" => "timestamp",
        "timestamp with time zone" => "timestamptz",
        "time without time zone" => "time",
        "time with time zone" => "timetz",
        "bit varying" => "varbit",
        other => other.trim_matches('"'),
    };
    TYPES.values().find(|t| t.name == internal).map(|t| t.oid)
}

/// `format_type(oid, modifier)`: the SQL spelling; `None` for a type that does not exist.
pub(crate) fn format(oid: u32, modifier: Option<i32>) -> Option<String> {
    if oid == 0 {
        return Some("-".to_owned());
    }
    let info = info(oid)?;
    if info.element != 0 && info.category == 'A' && info.name.starts_with('_') {
        return Some(format!("{}[]", format(info.element, modifier)?));
    }
    let m = modifier.unwrap_or(-1);
    let precision = |n: i32| if n >= 0 { format!("({n})") } else { String::new() };
    Some(match info.name {
        "bool" => "boolean".into(),
        "int2" => "smallint".into(),
        "int4" => "integer".into(),
        "int8" => "bigint".into(),
        "float4" => "real".into(),
        "float8" => "double precision".into(),
        "char" => "\"char\"".into(),
        "varchar" if m >= 4 => format!("character varying({})", m - 4),
        "varchar" => "character varying".into(),
        "bpchar" if m >= 4 => format!("character({})", m - 4),
        // Without a modifier the bare word would mean character(1).
        "bpchar" if modifier.is_some() => "bpchar".into(),
        "bpchar" => "character".into(),
        "numeric" if m >= 4 => format!("numeric({},{})", (m - 4) >> 16, (m - 4) & 0xffff),
        "timestamp" => format!("timestamp{} without time zone", precision(m)),
        "timestamptz" => format!("timestamp{} with time zone", precision(m)),
        "time" => format!("time{} without time zone", precision(m)),
        "timetz" => format!("time{} with time zone", precision(m)),
        "bit" if m >= 0 => format!("bit({m})"),
        // Without a modifier the bare word would mean bit(1).
        "bit" if modifier.is_some() => "\"bit\"".into(),
        "varbit" if m >= 0 => format!("bit varying({m})"),
        "varbit" => "bit varying".into(),
        name => name.to_owned(),
    })
}

/// A column type's identifier.
pub(crate) fn oid_of(ty: &SqlType) -> u32 {
    match ty {
        SqlType::Bool => 16,
        SqlType::Int2 => 21,
        SqlType::Int4 => 23,
        SqlType::Int8 => 20,
        SqlType::Float4 => 700,
        SqlType::Float8 => 701,
        SqlType::Numeric(_) => 1700,
        SqlType::Text => 25,
        SqlType::Varchar(_) => 1043,
        SqlType::Char(_) => 1042,
        SqlType::Name => 19,
        SqlType::Bytea => 17,
        SqlType::Date => 1082,
        SqlType::Time => 1083,
        SqlType::Timestamp => 1114,
        SqlType::Timestamptz => 1184,
        SqlType::Interval => 1186,
        SqlType::Uuid => 2950,
        SqlType::Json => 114,
        SqlType::Jsonb => 3802,
        SqlType::Oid => 26,
        SqlType::Array(item) => match item.as_ref() {
            SqlType::Bool => 1000,
            SqlType::Int2 => 1005,
            SqlType::Int4 => 1007,
            SqlType::Int8 => 1016,
            SqlType::Float4 => 1021,
            SqlType::Float8 => 1022,
            SqlType::Numeric(_) => 1231,
            SqlType::Text | SqlType::Array(_) => 1009,
            SqlType::Varchar(_) => 1015,
            SqlType::Char(_) => 1014,
            SqlType::Name => 1003,
            SqlType::Bytea => 1001,
            SqlType::Date => 1182,
            SqlType::Time => 1183,
            SqlType::Timestamp => 1115,
            SqlType::Timestamptz => 1185,
            SqlType::Interval => 1187,
            SqlType::Uuid => 2951,
            SqlType::Json => 199,
            SqlType::Jsonb => 3807,
            SqlType::Oid => 1028,
            SqlType::Bit(_) => 1561,
            SqlType::Varbit(_) => 1563,
            SqlType::Other(other) => other.oids().1,
        },
        SqlType::Bit(_) => 1560,
        SqlType::Varbit(_) => 1562,
        SqlType::Other(other) => other.oids().0,
    }
}

/// A column type's modifier (`atttypmod`).
pub(crate) fn modifier_of(ty: &SqlType) -> i32 {
    match ty {
        SqlType::Numeric(Some((p, s))) => ((i32::from(*p) << 16) | (i32::from(*s) & 0xffff)) + 4,
        SqlType::Bit(Some(n)) | SqlType::Varbit(Some(n)) => i32::try_from(*n).unwrap_or(-1),
        SqlType::Varchar(Some(n)) | SqlType::Char(n) => i32::try_from(*n).map_or(-1, |n| n + 4),
        SqlType::Array(item) => modifier_of(item),
        _ => -1,
    }
}

/// A column type in SQL's spelling, as `format_type` prints it.
pub(crate) fn name_of(ty: &SqlType) -> String {
    format(oid_of(ty), Some(modifier_of(ty))).unwrap_or_else(|| "text".to_owned())
}
