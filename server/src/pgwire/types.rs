//! SQL types as the protocol names them: PostgreSQL's type OIDs, lengths and modifiers.

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use chronos_sql_ext::casts::display_name;

/// The types that are not arrays: with their OID, that of their array type, their length in
/// bytes (-1: varies).
fn row(ty: &SqlType) -> (u32, u32, i16) {
    match ty {
        SqlType::Bool => (16, 1000, 1),
        SqlType::Bytea => (17, 1001, -1),
        SqlType::Name => (19, 1003, 64),
        SqlType::Int8 => (20, 1016, 8),
        SqlType::Int2 => (21, 1005, 2),
        SqlType::Int4 => (23, 1007, 4),
        SqlType::Text => (25, 1009, -1),
        SqlType::Oid => (26, 1028, 4),
        SqlType::Json => (114, 199, -1),
        SqlType::Float4 => (700, 1021, 4),
        SqlType::Float8 => (701, 1022, 8),
        SqlType::Char(_) => (1042, 1014, -1),
        SqlType::Varchar(_) => (1043, 1015, -1),
        SqlType::Date => (1082, 1182, 4),
        SqlType::Time => (1083, 1183, 8),
        SqlType::Timestamp => (1114, 1115, 8),
        SqlType::Timestamptz => (1184, 1185, 8),
        SqlType::Interval => (1186, 1187, 16),
        SqlType::Numeric(_) => (1700, 1231, -1),
        SqlType::Uuid => (2950, 2951, 16),
        SqlType::Jsonb => (3802, 3807, -1),
        SqlType::Bit(_) => (1560, 1561, -1),
        SqlType::Varbit(_) => (1562, 1563, -1),
        SqlType::Other(other) => other.oids(),
        SqlType::Array(item) => {
            let (_, array, _) = row(item);
            (array, array, -1)
        }
    }
}

/// The type's OID in `pg_type`.
pub fn oid(ty: &SqlType) -> u32 {
    row(ty).0
}

/// `pg_type.typlen`: bytes, or -1 where it varies.
pub fn length(ty: &SqlType) -> i16 {
    row(ty).2
}

/// `atttypmod`: the length or precision of the type, or -1.
pub fn modifier(ty: &SqlType) -> i32 {
    match ty {
        SqlType::Varchar(Some(n)) => i32::try_from(*n).map_or(-1, |n| n.saturating_add(4)),
        SqlType::Char(n) => i32::try_from(*n).map_or(-1, |n| n.saturating_add(4)),
        SqlType::Numeric(Some((p, s))) => ((i32::from(*p) << 16) | (i32::from(*s) & 0x7ff)) + 4,
        SqlType::Bit(Some(n)) | SqlType::Varbit(Some(n)) => i32::try_from(*n).unwrap_or(-1),
        SqlType::Array(item) => modifier(item),
        _ => -1,
    }
}

/// The type of that OID. `None` for 0 and `unknown` (705), which leave the type open, and for
/// types that are not known here; [`is_open`] tells them apart.
pub fn of_oid(oid: u32) -> Option<SqlType> {
    let scalar = [
        SqlType::Bool,
        SqlType::Bytea,
        SqlType::Name,
        SqlType::Int8,
        SqlType::Int2,
        SqlType::Int4,
        SqlType::Text,
        SqlType::Oid,
        SqlType::Json,
        SqlType::Float4,
        SqlType::Float8,
        SqlType::Varchar(None),
        SqlType::Date,
        SqlType::Time,
        SqlType::Timestamp,
        SqlType::Timestamptz,
        SqlType::Interval,
        SqlType::Numeric(None),
        SqlType::Uuid,
        SqlType::Jsonb,
        SqlType::Bit(None),
        SqlType::Varbit(None),
    ];
    // A bpchar without a length does not pad, so text stands for it.
    match oid {
        1042 => return Some(SqlType::Text),
        1014 => return Some(SqlType::Array(Box::new(SqlType::Text))),
        _ => {}
    }
    let other = OtherType::ALL.into_iter().filter(|o| *o != OtherType::Void).map(SqlType::Other);
    for ty in scalar.into_iter().chain(other) {
        let (own, array, _) = row(&ty);
        if own == oid {
            return Some(ty);
        }
        if array == oid {
            return Some(SqlType::Array(Box::new(ty)));
        }
    }
    None
}

/// Whether a client that declares this OID for a parameter leaves its type to the server.
pub fn is_open(oid: u32) -> bool {
    matches!(oid, 0 | 705)
}

/// The type's name as error messages have it: `double precision`, `integer[]`.
pub fn name(ty: &SqlType) -> String {
    display_name(ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_those_of_pg_attribute() {
        assert_eq!(modifier(&SqlType::Varchar(Some(10))), 14);
        assert_eq!(modifier(&SqlType::Numeric(Some((10, 2)))), 655_366);
        assert_eq!(modifier(&SqlType::Numeric(None)), -1);
    }

    #[test]
    fn a_type_is_found_by_its_oid_and_its_arrays_oid() {
        assert_eq!(of_oid(oid(&SqlType::Int8)), Some(SqlType::Int8));
        assert_eq!(of_oid(1016), Some(SqlType::Array(Box::new(SqlType::Int8))));
        assert_eq!(of_oid(705), None);
    }
}
