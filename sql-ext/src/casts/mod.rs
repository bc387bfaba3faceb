//! Casts with PostgreSQL's meaning: from text through its input functions, to text through its
//! output functions, between numbers with its rounding and range checks, between dates and times
//! in the session's time zone.
//!
//! [`convert`] casts arrays; [`PostgresCastRule`] puts it in the place of those casts of a plan,
//! written or implied, that DataFusion would carry out otherwise. Casts that only widen stay
//! DataFusion's, which its optimizer understands.

mod convert;
mod function;
mod literals;
mod numbers;
mod rule;
mod times;

pub use convert::{Mode, convert};
pub(crate) use literals::{
    UnknownLiteralRule, is_unknown, sql_type, type_literals, typed, wants_type,
};
pub(crate) use numbers::rescale;
pub(crate) use rule::{PostgresCastRule, rewrite};

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;

/// A type's name as error messages have it: `double precision`, `integer[]`, `numeric(10,2)`
/// without its modifier.
pub fn display_name(ty: &SqlType) -> String {
    match ty {
        SqlType::Bool => "boolean",
        SqlType::Bytea => "bytea",
        SqlType::Name => "name",
        SqlType::Int8 => "bigint",
        SqlType::Int2 => "smallint",
        SqlType::Int4 => "integer",
        SqlType::Text => "text",
        SqlType::Oid => "oid",
        SqlType::Json => "json",
        SqlType::Jsonb => "jsonb",
        SqlType::Float4 => "real",
        SqlType::Float8 => "double precision",
        SqlType::Char(_) => "character",
        SqlType::Varchar(_) => "character varying",
        SqlType::Date => "date",
        SqlType::Time => "time without time zone",
        SqlType::Timestamp => "timestamp without time zone",
        SqlType::Timestamptz => "timestamp with time zone",
        SqlType::Interval => "interval",
        SqlType::Numeric(_) => "numeric",
        SqlType::Uuid => "uuid",
        SqlType::Bit(_) => "bit",
        SqlType::Varbit(_) => "bit varying",
        SqlType::Other(OtherType::Char) => "\"char\"",
        SqlType::Other(OtherType::Timetz) => "time with time zone",
        SqlType::Other(other) => other.name(),
        SqlType::Array(item) => return format!("{}[]", display_name(item)),
    }
    .to_owned()
}

/// Whether values of the type are text to the user.
pub(crate) fn is_character(ty: &SqlType) -> bool {
    match ty {
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => true,
        SqlType::Other(other) => other.is_character(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
