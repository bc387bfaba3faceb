//! Types, columns, tables and the other named objects, as they are at one instant.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::ids::{ColumnId, Oid};

/// The key of an Arrow field's metadata that names its SQL type where the Arrow type alone does
/// not tell it: `jsonb`, `uuid`, `varchar(20)`.
pub const SQL_TYPE_KEY: &str = "chronos.type";

/// The largest precision of a `numeric`.
pub const NUMERIC_PRECISION_MAX: u8 = 38;
/// The scale at which a `numeric` without precision and scale is kept; printed without
/// trailing zeros.
pub const NUMERIC_DEFAULT_SCALE: i8 = 16;

/// The scale at which a quotient or an average of numerics is computed; printed with as many
/// digits as PostgreSQL computes.
pub const NUMERIC_QUOTIENT_SCALE: i8 = 20;

/// Whether values at that scale have scales of their own.
fn is_free_scale(scale: i8) -> bool {
    scale == NUMERIC_DEFAULT_SCALE || scale == NUMERIC_QUOTIENT_SCALE
}

/// A column's SQL type, with PostgreSQL's meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SqlType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric` or `numeric(precision, scale)`
    Numeric(Option<(u8, i8)>),
    /// `text`
    Text,
    /// `varchar` or `varchar(n)`
    Varchar(Option<u32>),
    /// `char(n)`, blank-padded
    Char(u32),
    /// `name`: 63 bytes, of the system catalogs
    Name,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time` without zone
    Time,
    /// `timestamp` without zone
    Timestamp,
    /// `timestamptz`: stored in UTC
    Timestamptz,
    /// `interval`: months, days, microseconds
    Interval,
    /// `uuid`, kept as its canonical text
    Uuid,
    /// `json`, kept as given
    Json,
    /// `jsonb`, kept as PostgreSQL's canonical text
    Jsonb,
    /// `oid`
    Oid,
    /// An array of a type that is not an array.
    Array(Box<SqlType>),
    /// A type of which only the text matters here.
    Other(OtherType),
    /// `bit(n)`; without a length for a literal's type. Kept as its digits
    Bit(Option<u32>),
    /// `bit varying` or `bit varying(n)`, kept as its digits
    Varbit(Option<u32>),
}

/// Declares [`OtherType`]: each with its name in `pg_type`, its object identifier, that of its
/// array type and its length in bytes (-1: varies).
macro_rules! other_types {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $oid:literal, $array:literal, $len:literal;)+) => {
        /// Types whose values are kept as the text that PostgreSQL prints.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum OtherType {
            $($(#[$doc])* $variant,)+
        }

        impl OtherType {
            /// All of them.
            pub const ALL: [OtherType; [$($oid),+].len()] = [$(OtherType::$variant),+];

            /// Its name in `pg_type`.
            pub fn name(self) -> &'static str {
                match self {
                    $(OtherType::$variant => $name,)+
                }
            }

            /// Its object identifier, that of its array type, and its length in bytes (-1:
            /// varies).
            pub fn oids(self) -> (u32, u32, i16) {
                match self {
                    $(OtherType::$variant => ($oid, $array, $len),)+
                }
            }
        }
    };
}

other_types! {
    /// `"char"`: one byte, of the system catalogs
    Char = "char", 18, 1002, 1;
    /// `record`: a row without a type of its own
    Record = "record", 2249, 2287, -1;
    /// `void`: of functions without a result
    Void = "void", 2278, 0, 4;
    /// `xid`
    Xid = "xid", 28, 1011, 4;
    /// `regclass`
    Regclass = "regclass", 2205, 2210, 4;
    /// `regtype`
    Regtype = "regtype", 2206, 2211, 4;
    /// `regproc`
    Regproc = "regproc", 24, 1008, 4;
    /// `regnamespace`
    Regnamespace = "regnamespace", 4089, 4090, 4;
    /// `regrole`
    Regrole = "regrole", 4096, 4097, 4;
    /// `jsonpath`
    Jsonpath = "jsonpath", 4072, 4073, -1;
    /// `inet`: a host's address, with its network's length
    Inet = "inet", 869, 1041, -1;
    /// `cidr`: a network
    Cidr = "cidr", 650, 651, -1;
    /// `macaddr`: six bytes
    Macaddr = "macaddr", 829, 1040, 6;
    /// `macaddr8`: eight bytes
    Macaddr8 = "macaddr8", 774, 775, 8;
    /// `timetz`: a time of day with its zone's offset
    Timetz = "timetz", 1266, 1270, 12;
    /// `pg_lsn`: a place in a log
    PgLsn = "pg_lsn", 3220, 3221, 8;
    /// `tid`: a row's place in a table
    Tid = "tid", 27, 1010, 6;
    /// `int4range`
    Int4range = "int4range", 3904, 3905, -1;
    /// `numrange`
    Numrange = "numrange", 3906, 3907, -1;
    /// `tsrange`
    Tsrange = "tsrange", 3908, 3909, -1;
    /// `tstzrange`: kept in UTC
    Tstzrange = "tstzrange", 3910, 3911, -1;
    /// `daterange`
    Daterange = "daterange", 3912, 3913, -1;
    /// `int8range`
    Int8range = "int8range", 3926, 3927, -1;
    /// `int4multirange`
    Int4multirange = "int4multirange", 4451, 6150, -1;
    /// `nummultirange`
    Nummultirange = "nummultirange", 4532, 6151, -1;
    /// `tsmultirange`
    Tsmultirange = "tsmultirange", 4533, 6152, -1;
    /// `tstzmultirange`: kept in UTC
    Tstzmultirange = "tstzmultirange", 4534, 6153, -1;
    /// `datemultirange`
    Datemultirange = "datemultirange", 4535, 6155, -1;
    /// `int8multirange`
    Int8multirange = "int8multirange", 4536, 6157, -1;
}

impl OtherType {
    /// Whether any text is a value of the type, so that it casts as a string does.
    pub fn is_character(self) -> bool {
        use OtherType as O;
        matches!(
            self,
            O::Char
                | O::Record
                | O::Void
                | O::Xid
                | O::Regclass
                | O::Regtype
                | O::Regproc
                | O::Regnamespace
                | O::Regrole
                | O::Jsonpath
        )
    }

    /// A range's own type, its multirange type, and the type of its bounds.
    const RANGES: [(OtherType, OtherType, SqlType); 6] = [
        (OtherType::Int4range, OtherType::Int4multirange, SqlType::Int4),
        (OtherType::Int8range, OtherType::Int8multirange, SqlType::Int8),
        (OtherType::Numrange, OtherType::Nummultirange, SqlType::Numeric(None)),
        (OtherType::Tsrange, OtherType::Tsmultirange, SqlType::Timestamp),
        (OtherType::Tstzrange, OtherType::Tstzmultirange, SqlType::Timestamptz),
        (OtherType::Daterange, OtherType::Datemultirange, SqlType::Date),
    ];

    /// The type of the bounds of a range or multirange type.
    pub fn bound(self) -> Option<SqlType> {
        let found = Self::RANGES.into_iter().find(|(r, m, _)| *r == self || *m == self);
        found.map(|(_, _, bound)| bound)
    }

    /// The range type of a multirange type.
    pub fn range(self) -> Option<OtherType> {
        Self::RANGES.into_iter().find(|(_, m, _)| *m == self).map(|(r, _, _)| r)
    }

    /// The multirange type of a range type.
    pub fn multirange(self) -> Option<OtherType> {
        Self::RANGES.into_iter().find(|(r, _, _)| *r == self).map(|(_, m, _)| m)
    }
}

impl SqlType {
    /// Whether it is an integer, numeric or float.
    pub fn is_number(&self) -> bool {
        matches!(
            self,
            SqlType::Int2
                | SqlType::Int4
                | SqlType::Int8
                | SqlType::Float4
                | SqlType::Float8
                | SqlType::Numeric(_)
        )
    }

    /// The Arrow type that holds it in memory, in the log and (for all but `interval`) in
    /// segments.
    pub fn arrow(&self) -> DataType {
        match self {
            SqlType::Bool => DataType::Boolean,
            SqlType::Int2 => DataType::Int16,
            SqlType::Int4 => DataType::Int32,
            SqlType::Int8 => DataType::Int64,
            SqlType::Float4 => DataType::Float32,
            SqlType::Float8 => DataType::Float64,
            SqlType::Numeric(None) => {
                DataType::Decimal128(NUMERIC_PRECISION_MAX, NUMERIC_DEFAULT_SCALE)
            }
            SqlType::Numeric(Some((p, s))) => DataType::Decimal128(*p, *s),
            SqlType::Text
            | SqlType::Varchar(_)
            | SqlType::Char(_)
            | SqlType::Name
            | SqlType::Uuid
            | SqlType::Json
            | SqlType::Jsonb
            | SqlType::Bit(_)
            | SqlType::Varbit(_)
            | SqlType::Other(_) => DataType::Utf8View,
            SqlType::Bytea => DataType::BinaryView,
            SqlType::Date => DataType::Date32,
            SqlType::Time => DataType::Time64(TimeUnit::Microsecond),
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            SqlType::Timestamptz => {
                DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC")))
            }
            SqlType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            SqlType::Oid => DataType::UInt32,
            SqlType::Array(item) => {
                DataType::List(Arc::new(item.field(Field::LIST_FIELD_DEFAULT_NAME, true)))
            }
        }
    }

    /// An Arrow field that remembers the SQL type in its metadata.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow(), nullable);
        match self.metadata() {
            None => field,
            Some(tag) => {
                field.with_metadata([(SQL_TYPE_KEY.to_owned(), tag)].into_iter().collect())
            }
        }
    }

    /// The metadata that [`SqlType::field`] leaves where the Arrow type does not tell the SQL
    /// type by itself.
    pub fn metadata(&self) -> Option<String> {
        match self {
            SqlType::Numeric(None) => Some("numeric".into()),
            // Else it would be taken for one without a scale of its own.
            SqlType::Numeric(Some((NUMERIC_PRECISION_MAX, s))) if is_free_scale(*s) => {
                Some(format!("numeric({NUMERIC_PRECISION_MAX},{s})"))
            }
            SqlType::Varchar(None) => Some("varchar".into()),
            SqlType::Varchar(Some(n)) => Some(format!("varchar({n})")),
            SqlType::Char(n) => Some(format!("char({n})")),
            SqlType::Bit(None) => Some("bit".into()),
            SqlType::Bit(Some(n)) => Some(format!("bit({n})")),
            SqlType::Varbit(None) => Some("varbit".into()),
            SqlType::Varbit(Some(n)) => Some(format!("varbit({n})")),
            SqlType::Name => Some("name".into()),
            SqlType::Uuid => Some("uuid".into()),
            SqlType::Json => Some("json".into()),
            SqlType::Jsonb => Some("jsonb".into()),
            SqlType::Oid => Some("oid".into()),
            SqlType::Other(OtherType::Char) => Some("\"char\"".into()),
            SqlType::Other(other) => Some(other.name().into()),
            _ => None,
        }
    }

    /// The SQL type of an Arrow field: its metadata if it has any, else the natural one. `None`
    /// for an Arrow type that no SQL type stands for.
    pub fn of_field(field: &Field) -> Option<SqlType> {
        if let Some(tag) = field.metadata().get(SQL_TYPE_KEY)
            && let Some(ty) = Self::from_tag(tag)
        {
            return Some(ty);
        }
        Self::of_arrow(field.data_type())
    }

    fn from_tag(tag: &str) -> Option<SqlType> {
        if let Some(declared) = tag.strip_prefix("numeric(").and_then(|t| t.strip_suffix(')')) {
            let (precision, scale) = declared.split_once(',')?;
            return Some(SqlType::Numeric(Some((precision.parse().ok()?, scale.parse().ok()?))));
        }
        let (name, arg) = match tag.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')?.parse::<u32>().ok()),
            None => (tag, None),
        };
        Some(match name {
            "numeric" => SqlType::Numeric(None),
            "varchar" => SqlType::Varchar(arg),
            "char" => SqlType::Char(arg?),
            "bit" => SqlType::Bit(arg),
            "varbit" => SqlType::Varbit(arg),
            "name" => SqlType::Name,
            "uuid" => SqlType::Uuid,
            "json" => SqlType::Json,
            "jsonb" => SqlType::Jsonb,
            "oid" => SqlType::Oid,
            "\"char\"" => SqlType::Other(OtherType::Char),
            name => {
                let known = |o: &OtherType| *o != OtherType::Char && o.name() == name;
                SqlType::Other(OtherType::ALL.into_iter().find(known)?)
            }
        })
    }

    /// The natural SQL type of an Arrow type, as PostgreSQL would call a result of that type.
    pub fn of_arrow(data_type: &DataType) -> Option<SqlType> {
        Some(match data_type {
            DataType::Null => SqlType::Text,
            DataType::Boolean => SqlType::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => SqlType::Int2,
            DataType::Int32 | DataType::UInt16 => SqlType::Int4,
            DataType::Int64 | DataType::UInt64 => SqlType::Int8,
            // Nothing else is unsigned and of this width; CASE and set operations lose the tag.
            DataType::UInt32 => SqlType::Oid,
            DataType::Float16 | DataType::Float32 => SqlType::Float4,
            DataType::Float64 => SqlType::Float8,
            // What aggregates, CASE and set operations leave of a numeric without a scale.
            DataType::Decimal128(NUMERIC_PRECISION_MAX, s) if is_free_scale(*s) => {
                SqlType::Numeric(None)
            }
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => SqlType::Numeric(Some((*p, *s))),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => SqlType::Text,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => SqlType::Bytea,
            DataType::Date32 | DataType::Date64 => SqlType::Date,
            DataType::Time32(_) | DataType::Time64(_) => SqlType::Time,
            DataType::Timestamp(_, None) => SqlType::Timestamp,
            DataType::Timestamp(_, Some(_)) => SqlType::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => SqlType::Interval,
            DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => {
                match Self::of_field(f)? {
                    nested @ SqlType::Array(_) => nested,
                    item => SqlType::Array(Box::new(item)),
                }
            }
            DataType::Dictionary(_, value) => return Self::of_arrow(value),
            _ => return None,
        })
    }
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its number in the table; segments name columns by it.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: SqlType,
    /// Whether it refuses NULL.
    pub not_null: bool,
    /// The DEFAULT expression, as SQL text.
    #[serde(default)]
    pub default: Option<String>,
    /// The expression of GENERATED ALWAYS AS (…) STORED, as SQL text.
    #[serde(default)]
    pub generated: Option<String>,
    /// `Some(true)` for GENERATED ALWAYS AS IDENTITY, `Some(false)` for BY DEFAULT.
    #[serde(default)]
    pub identity_always: Option<bool>,
    /// The value (as SQL text) that rows written before ADD COLUMN … DEFAULT show for it.
    #[serde(default)]
    pub missing: Option<String>,
}

/// A table constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Its object identifier (of `pg_constraint`, and of its index where it has one).
    pub oid: Oid,
    /// Its name.
    pub name: String,
    /// What it demands.
    pub kind: ConstraintKind,
    /// NOT VALID: rows that stood when it was made were not looked at.
    #[serde(default, skip_serializing_if = "is_false")]
    pub not_valid: bool,
}

impl Constraint {
    /// One that every row satisfies.
    pub fn new(oid: Oid, name: impl Into<String>, kind: ConstraintKind) -> Self {
        Constraint { oid, name: name.into(), kind, not_valid: false }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Set in the key of a comment that is on the index of a constraint rather than on the constraint.
pub const INDEX_COMMENT: u32 = 1 << 31;

/// What a constraint demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConstraintKind {
    /// PRIMARY KEY
    PrimaryKey(Vec<ColumnId>),
    /// UNIQUE
    Unique(Vec<ColumnId>),
    /// CHECK (sql)
    Check(String),
    /// FOREIGN KEY
    ForeignKey {
        /// The referencing columns.
        columns: Vec<ColumnId>,
        /// The referenced table.
        table: Oid,
        /// The referenced columns.
        referenced: Vec<ColumnId>,
        /// `NO ACTION`, `CASCADE`, …
        on_delete: String,
        /// `NO ACTION`, `CASCADE`, …
        on_update: String,
        /// MATCH FULL
        #[serde(default, skip_serializing_if = "is_false")]
        match_full: bool,
        /// DEFERRABLE; true for INITIALLY DEFERRED.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deferrable: Option<bool>,
    },
    /// PRIMARY KEY or UNIQUE (…, period WITHOUT OVERLAPS): no two rows with the same columns have
    /// periods that overlap.
    WithoutOverlaps {
        /// PRIMARY KEY
        primary: bool,
        /// The columns beside the period.
        columns: Vec<ColumnId>,
        /// The period's name.
        period: String,
    },
}

/// PERIOD FOR name (start, end): when a row is true, from its start until before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Its name.
    pub name: String,
    /// The column that it begins with.
    pub start: ColumnId,
    /// The column that it ends with.
    pub end: ColumnId,
}

/// A table at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDef {
    /// Counts the shapes that the table has had, from 1; segments name the shape they were
    /// written in.
    pub schema_version: u32,
    /// Its columns in order, dropped ones left out.
    pub columns: Vec<Column>,
    /// Its constraints.
    pub constraints: Vec<Constraint>,
    /// `WITH (…)`: `time_column`, `history_retention`, `ttl`, ….
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The number that the next added column gets.
    pub next_column: u32,
    /// Its periods of valid time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub periods: Vec<Period>,
}

impl TableDef {
    /// The column of that number.
    pub fn column(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|c| c.id == id)
    }

    /// The column of that name.
    pub fn column_named(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The columns of the primary key, if it has one.
    pub fn primary_key(&self) -> Option<&[ColumnId]> {
        self.constraints.iter().find_map(|c| match &c.kind {
            ConstraintKind::PrimaryKey(columns) => Some(columns.as_slice()),
            _ => None,
        })
    }

    /// The period of that name.
    pub fn period(&self, name: &str) -> Option<&Period> {
        self.periods.iter().find(|p| p.name == name)
    }

    /// The unique keys, the primary key among them: identifier, name and columns of each.
    pub fn unique_keys(&self) -> impl Iterator<Item = (Oid, &str, &[ColumnId])> {
        self.constraints.iter().filter_map(|c| match &c.kind {
            ConstraintKind::PrimaryKey(columns) | ConstraintKind::Unique(columns) => {
                Some((c.oid, c.name.as_str(), columns.as_slice()))
            }
            _ => None,
        })
    }

    /// The user's columns as an Arrow schema, in order.
    pub fn arrow_fields(&self) -> Vec<Field> {
        self.columns.iter().map(|c| c.ty.field(&c.name, !c.not_null)).collect()
    }
}

/// A named object other than a column or constraint, at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name, unquoted.
    pub name: String,
    /// The schema it stands in; `None` for a schema or a role.
    #[serde(default)]
    pub namespace: Option<Oid>,
    /// The role that owns it.
    pub owner: Oid,
    /// COMMENT ON it (key 0), on its columns (their numbers), and on its constraints and their
    /// indexes (the constraint's identifier, with [`INDEX_COMMENT`] for the index).
    #[serde(default)]
    pub comments: BTreeMap<u32, String>,
    /// GRANTs, as PostgreSQL's aclitem texts.
    #[serde(default)]
    pub acl: Vec<String>,
    /// GRANTs on columns, by their numbers, likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub column_acl: BTreeMap<u32, Vec<String>>,
    /// Which of a table's rows who may see and write.
    #[serde(default, skip_serializing_if = "RowSecurity::is_none")]
    pub row_security: RowSecurity,
    /// What it is.
    pub relation: Relation,
}

/// What CREATE POLICY is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyCommand {
    /// All of them.
    All,
    /// SELECT
    Select,
    /// INSERT
    Insert,
    /// UPDATE
    Update,
    /// DELETE
    Delete,
}

/// CREATE POLICY
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its identifier.
    pub oid: Oid,
    /// Its name, which is the table's own.
    pub name: String,
    /// PERMISSIVE: one of these has to hold; of the others, each.
    pub permissive: bool,
    /// FOR
    pub command: PolicyCommand,
    /// TO; none for PUBLIC.
    pub roles: Vec<Oid>,
    /// USING, as SQL text: which rows are there.
    pub using: Option<String>,
    /// WITH CHECK, as SQL text: which rows may be written; as USING where it is not given.
    pub check: Option<String>,
}

/// Row-level security of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSecurity {
    /// ENABLE ROW LEVEL SECURITY
    pub enabled: bool,
    /// FORCE ROW LEVEL SECURITY: for the owner too.
    pub forced: bool,
    /// The policies, in the order in which they were made.
    pub policies: Vec<Policy>,
}

impl RowSecurity {
    fn is_none(&self) -> bool {
        *self == RowSecurity::default()
    }
}

/// What an [`Object`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relation {
    /// CREATE SCHEMA
    Schema,
    /// CREATE TABLE
    Table(#[serde(with = "crate::serde_with::arc")] Arc<TableDef>),
    /// CREATE VIEW
    View {
        /// Its query, as SQL text.
        query: String,
        /// Its output columns.
        columns: Vec<(String, SqlType)>,
        /// The schemas that its unqualified names were looked up in.
        search_path: Vec<String>,
        /// `check_option`, `security_invoker` and `security_barrier`, where given.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        options: BTreeMap<String, String>,
    },
    /// CREATE SEQUENCE
    Sequence {
        /// START WITH
        start: i64,
        /// INCREMENT BY
        increment: i64,
        /// MINVALUE
        min: i64,
        /// MAXVALUE
        max: i64,
        /// CYCLE
        cycle: bool,
        /// `bigint`, `integer` or `smallint`
        ty: SqlType,
        /// OWNED BY: the table and column that it serves.
        owned_by: Option<(Oid, ColumnId)>,
    },
    /// CREATE INDEX
    Index {
        /// The indexed table.
        table: Oid,
        /// The indexed columns.
        columns: Vec<ColumnId>,
        /// CREATE UNIQUE INDEX
        unique: bool,
        /// `btree`, `hash`, `gin`, …: kept for tools; all have b-tree semantics.
        method: String,
    },
    /// CREATE ROLE
    Role {
        /// LOGIN
        login: bool,
        /// SUPERUSER
        superuser: bool,
        /// Any other attribute: `createdb`, `inherit`, `connection_limit`, ….
        attributes: BTreeMap<String, String>,
        /// SCRAM-SHA-256 verifier, never a password.
        verifier: Option<String>,
        /// The roles that it is a member of.
        member_of: Vec<Oid>,
        /// Those of them that it may give to others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        admin_of: Vec<Oid>,
        /// What ALTER DEFAULT PRIVILEGES says of its objects to come, as aclitem texts: by `r`,
        /// `S` or `n`, followed by the schema's identifier where it is about one.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        default_acls: BTreeMap<String, Vec<String>>,
    },
}
