//! SQL type names, and what they are in memory.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, Ident, ObjectName,
    ObjectNamePart, TimezoneInfo,
};

use crate::error::{Error, Result};

/// The SQL type that a type name stands for. The `serial` family is `int2`, `int4` or `int8`
/// here; [`is_serial`] tells it.
///
/// # Errors
/// 42704 for a name that is no type, 22023 for a length or precision out of range.
pub fn sql_type(data_type: &DataType) -> Result<SqlType> {
    Ok(match data_type {
        DataType::Boolean | DataType::Bool => SqlType::Bool,
        // `1::int unsigned` is `1::int AS unsigned`.
        DataType::SmallInt(_)
        | DataType::Int2(_)
        | DataType::SmallIntUnsigned(_)
        | DataType::Int2Unsigned(_) => SqlType::Int2,
        DataType::Int(_)
        | DataType::Integer(_)
        | DataType::Int4(_)
        | DataType::IntUnsigned(_)
        | DataType::IntegerUnsigned(_)
        | DataType::Int4Unsigned(_) => SqlType::Int4,
        DataType::BigInt(_)
        | DataType::Int8(_)
        | DataType::BigIntUnsigned(_)
        | DataType::Int8Unsigned(_) => SqlType::Int8,
        DataType::Real | DataType::Float4 => SqlType::Float4,
        DataType::DoublePrecision | DataType::Double(_) | DataType::Float8 => SqlType::Float8,
        DataType::Float(info) => match info {
            ExactNumberInfo::None => SqlType::Float8,
            ExactNumberInfo::Precision(1..=24) => SqlType::Float4,
            ExactNumberInfo::Precision(25..=53) => SqlType::Float8,
            _ => {
                return Err(Error::postgres(
                    "22023",
                    "precision for type float must be between 1 and 53 bits",
                ));
            }
        },
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text => SqlType::Text,
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length) => match length {
            None => SqlType::Varchar(None),
            Some(length) => SqlType::Varchar(Some(character_length(length)?)),
        },
        DataType::Char(length) | DataType::Character(length) => match length {
            None => SqlType::Char(1),
            Some(length) => SqlType::Char(character_length(length)?),
        },
        DataType::Bytea => SqlType::Bytea,
        DataType::Date => SqlType::Date,
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        DataType::Time(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            SqlType::Other(OtherType::Timetz)
        }
        DataType::Bit(length) => SqlType::Bit(Some(bit_length("bit", length.unwrap_or(1))?)),
        DataType::BitVarying(length) | DataType::VarBit(length) => {
            SqlType::Varbit(length.map(|length| bit_length("varbit", length)).transpose()?)
        }
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            SqlType::Timestamp
        }
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            SqlType::Timestamptz
        }
        DataType::Interval { .. } => SqlType::Interval,
        DataType::Uuid => SqlType::Uuid,
        DataType::JSON => SqlType::Json,
        DataType::JSONB => SqlType::Jsonb,
        DataType::Regclass => SqlType::Oid,
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => match sql_type(item)? {
            // PostgreSQL does not count dimensions in the type.
            nested @ SqlType::Array(_) => nested,
            item => SqlType::Array(Box::new(item)),
        },
        DataType::Custom(name, arguments) => custom(name, arguments)?,
        other => return Err(no_such_type(&other.to_string())),
    })
}

/// Whether a column's type name asks for a sequence of its own: `smallserial`, `serial` or
/// `bigserial`.
pub fn is_serial(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Custom(name, _)
        if matches!(last_part(name).as_str(),
            "smallserial" | "serial2" | "serial" | "serial4" | "bigserial" | "serial8"))
}

fn custom(name: &ObjectName, arguments: &[String]) -> Result<SqlType> {
    let base = last_part(name);
    Ok(match base.as_str() {
        "bool" => SqlType::Bool,
        "int2" | "smallserial" | "serial2" => SqlType::Int2,
        "int4" | "int" | "integer" | "serial" | "serial4" => SqlType::Int4,
        "int8" | "bigserial" | "serial8" => SqlType::Int8,
        "float4" => SqlType::Float4,
        "float8" => SqlType::Float8,
        "numeric" => SqlType::Numeric(None),
        "text" => SqlType::Text,
        "varchar" => SqlType::Varchar(match arguments {
            [] => None,
            [length] => Some(
                length
                    .parse()
                    .map_err(|_| Error::postgres("22023", "invalid length of type varchar"))?,
            ),
            _ => return Err(no_such_type(&name.to_string())),
        }),
        "bpchar" => SqlType::Text,
        // `"char"` is another type than `char`.
        "char" => match name.0.last().and_then(|part| part.as_ident()) {
            Some(ident) if ident.quote_style.is_some() => SqlType::Other(OtherType::Char),
            _ => SqlType::Char(1),
        },
        "bit" => SqlType::Bit(match arguments {
            [] => Some(1),
            // A literal's: of any length.
            [length] if length == ANY_LENGTH => None,
            [length] => Some(bit_length("bit", length.parse().unwrap_or(0))?),
            _ => return Err(no_such_type(&name.to_string())),
        }),
        "varbit" => SqlType::Varbit(match arguments {
            [] => None,
            [length] => Some(bit_length("varbit", length.parse().unwrap_or(0))?),
            _ => return Err(no_such_type(&name.to_string())),
        }),
        "name" => SqlType::Name,
        "bytea" => SqlType::Bytea,
        "date" => SqlType::Date,
        "time" => SqlType::Time,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" => SqlType::Timestamptz,
        "interval" => SqlType::Interval,
        "uuid" => SqlType::Uuid,
        "json" => SqlType::Json,
        "jsonb" => SqlType::Jsonb,
        "oid" | "regclass" | "regtype" | "regproc" | "regprocedure" | "regnamespace"
        | "regrole" | "cid" => SqlType::Oid,
        // PostgreSQL's own name of an array type.
        _ => match base.strip_prefix('_').map(element) {
            _ if let Some(other) = kept(&base) => SqlType::Other(other),
            Some(Some(item)) => SqlType::Array(Box::new(item)),
            _ => return Err(no_such_type(&name.to_string())),
        },
    })
}

/// The length that stands for none in the type of a bit string literal.
pub(crate) const ANY_LENGTH: &str = "-1";

/// A type that is kept as its text, by its name in `pg_type`.
pub(crate) fn kept(name: &str) -> Option<OtherType> {
    let by_name = |other: &OtherType| {
        let known = !other.is_character() || matches!(other, OtherType::Xid | OtherType::Jsonpath);
        known && other.name() == name
    };
    OtherType::ALL.into_iter().find(by_name)
}

/// The type of the items of an array by its bare name.
fn element(name: &str) -> Option<SqlType> {
    let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
    custom(&name, &[]).ok().filter(|ty| !matches!(ty, SqlType::Array(_)))
}

fn last_part(name: &ObjectName) -> String {
    match name.0.last().and_then(|part| part.as_ident()) {
        Some(ident) if ident.quote_style.is_some() => ident.value.clone(),
        Some(ident) => ident.value.to_lowercase(),
        None => String::new(),
    }
}

/// Types of PostgreSQL's that are not here.
const MISSING: &[&str] = &[
    "money", "point", "line", "lseg", "box", "path", "polygon", "circle", "xml", "tsvector",
    "tsquery", "hstore",
];

fn no_such_type(name: &str) -> Error {
    let base = name.split('(').next().unwrap_or(name).trim().to_lowercase();
    if MISSING.contains(&base.as_str()) {
        return Error::Unsupported(format!("type {base}"));
    }
    Error::postgres("42704", format!("type \"{}\" does not exist", name.to_lowercase()))
}

fn bit_length(ty: &str, length: u64) -> Result<u32> {
    const MOST: u64 = 83_886_080;
    match u32::try_from(length) {
        Ok(0) => Err(Error::postgres("22023", format!("length for type {ty} must be at least 1"))),
        Ok(bits) if length <= MOST => Ok(bits),
        _ => Err(Error::postgres("22023", format!("length for type {ty} cannot exceed {MOST}"))),
    }
}

fn character_length(length: &CharacterLength) -> Result<u32> {
    match length {
        CharacterLength::IntegerLength { length, .. } if (1..=10_485_760).contains(length) => {
            Ok(*length as u32)
        }
        CharacterLength::IntegerLength { length: 0, .. } => {
            Err(Error::postgres("22023", "length of a character type must be at least 1"))
        }
        _ => Err(Error::postgres("22023", "length of a character type cannot exceed 10485760")),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<SqlType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(SqlType::Numeric(None)),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if !(1..=1000).contains(&precision) {
        return Err(Error::postgres(
            "22023",
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    let max = u64::from(chronos_catalog::schema::NUMERIC_PRECISION_MAX);
    if precision > max {
        return Err(Error::Unsupported(format!("NUMERIC precision {precision} above {max}")));
    }
    if scale < 0 || scale as u64 > precision {
        return Err(Error::Unsupported(format!(
            "NUMERIC scale {scale} below 0 or above the precision"
        )));
    }
    // Both fit: they are at most 38.
    Ok(SqlType::Numeric(Some((precision as u8, scale as i8))))
}

/// Gives casts and column definitions our own fields, which remember the SQL type.
#[derive(Debug)]
pub(crate) struct PostgresTypePlanner;

impl TypePlanner for PostgresTypePlanner {
    fn plan_type_field(
        &self,
        data_type: &DataType,
    ) -> datafusion::common::Result<Option<FieldRef>> {
        // A field with a name says all of the type; one without leaves the operand's metadata.
        Ok(Some(Arc::new(sql_type(data_type)?.field("cast", true))))
    }
}

/// A type as a cast names it.
pub(crate) fn ast_type(ty: &SqlType) -> DataType {
    let length = |n: u32| CharacterLength::IntegerLength { length: n.into(), unit: None };
    match ty {
        SqlType::Numeric(Some((p, s))) => {
            DataType::Numeric(ExactNumberInfo::PrecisionAndScale((*p).into(), (*s).into()))
        }
        SqlType::Varchar(n) => DataType::Varchar(n.map(length)),
        SqlType::Char(n) => DataType::Char(Some(length(*n))),
        SqlType::Array(item) => {
            DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(ast_type(item)), None))
        }
        SqlType::Json => DataType::JSON,
        SqlType::Jsonb => DataType::JSONB,
        SqlType::Bool => DataType::Bool,
        SqlType::Int2 => DataType::Int2(None),
        SqlType::Int4 => DataType::Int4(None),
        SqlType::Int8 => DataType::Int8(None),
        SqlType::Float4 => DataType::Float4,
        SqlType::Float8 => DataType::Float8,
        SqlType::Numeric(None) => DataType::Numeric(ExactNumberInfo::None),
        SqlType::Text => DataType::Text,
        SqlType::Bytea => DataType::Bytea,
        SqlType::Date => DataType::Date,
        SqlType::Time => DataType::Time(None, TimezoneInfo::None),
        SqlType::Timestamp => DataType::Timestamp(None, TimezoneInfo::None),
        SqlType::Timestamptz => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        SqlType::Interval => DataType::Interval { fields: None, precision: None },
        SqlType::Uuid => DataType::Uuid,
        SqlType::Name => custom_type("name"),
        SqlType::Oid => custom_type("oid"),
        SqlType::Other(OtherType::Char) => {
            let quoted = datafusion::sql::sqlparser::ast::Ident::with_quote('"', "char");
            DataType::Custom(ObjectName::from(vec![quoted]), vec![])
        }
        SqlType::Other(other) => custom_type(other.name()),
        SqlType::Bit(length) => {
            let length = length.map_or_else(|| ANY_LENGTH.to_owned(), |n| n.to_string());
            DataType::Custom(ObjectName::from(vec![Ident::new("bit")]), vec![length])
        }
        SqlType::Varbit(length) => DataType::VarBit(length.map(Into::into)),
    }
}

fn custom_type(name: &str) -> DataType {
    let name = datafusion::sql::sqlparser::ast::Ident::new(name);
    DataType::Custom(ObjectName::from(vec![name]), vec![])
}

/// The name of a type in `pg_type`, as a column that is cast to it gets it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let name = match sql_type(data_type) {
        Ok(ty) => match ty {
            SqlType::Bool => "bool",
            SqlType::Int2 => "int2",
            SqlType::Int4 => "int4",
            SqlType::Int8 => "int8",
            SqlType::Float4 => "float4",
            SqlType::Float8 => "float8",
            SqlType::Numeric(_) => "numeric",
            SqlType::Text => "text",
            SqlType::Varchar(_) => "varchar",
            SqlType::Char(_) => "bpchar",
            SqlType::Name => "name",
            SqlType::Bytea => "bytea",
            SqlType::Date => "date",
            SqlType::Time => "time",
            SqlType::Timestamp => "timestamp",
            SqlType::Timestamptz => "timestamptz",
            SqlType::Interval => "interval",
            SqlType::Uuid => "uuid",
            SqlType::Json => "json",
            SqlType::Jsonb => "jsonb",
            SqlType::Other(other) => other.name(),
            SqlType::Bit(_) => "bit",
            SqlType::Varbit(_) => "varbit",
            SqlType::Oid => return oid_name(data_type),
            // PostgreSQL names the column after the element's type.
            SqlType::Array(_) => return array_name(data_type),
        },
        Err(_) => return data_type.to_string().to_lowercase(),
    };
    name.to_owned()
}

fn oid_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Custom(name, _) => last_part(name),
        DataType::Regclass => "regclass".into(),
        _ => "oid".into(),
    }
}

fn array_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => type_name(item),
        DataType::Custom(name, _) => last_part(name).trim_start_matches('_').to_owned(),
        other => other.to_string().to_lowercase(),
    }
}
