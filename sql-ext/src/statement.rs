//! The statements of a query string.

use datafusion::sql::sqlparser::ast;

use crate::error::Result;
use crate::parser;

/// One statement of a query string.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// Its own source text, without the semicolon.
    pub text: String,
    /// Characters of the query string before its text, for the positions of errors.
    pub offset: usize,
    /// The highest `$n` in it.
    pub parameter_count: usize,
}

/// What a statement says.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "few extensions are in memory at a time")]
pub enum StatementKind {
    /// A statement that the SQL parser knows, with every time travel clause made a marker that
    /// only [`crate::bind`] understands.
    Sql(Box<ast::Statement>),
    /// One that it does not know.
    Extension(Extension),
}

/// The statements that the SQL parser lacks.
#[derive(Clone, Debug, PartialEq)]
pub enum Extension {
    /// `VACUUM [ANALYZE] [t, …]`
    Vacuum {
        /// Whether statistics are brought up to date as well.
        analyze: bool,
        /// The tables; none for all.
        tables: Vec<ast::ObjectName>,
    },
    /// `ANALYZE [t, …]`
    Analyze {
        /// The tables; none for all.
        tables: Vec<ast::ObjectName>,
    },
    /// `REINDEX …` and `CLUSTER …`, which have nothing to do here.
    Reorganize {
        /// The command tag: `REINDEX` or `CLUSTER`.
        tag: &'static str,
        /// The table or index named, if any.
        name: Option<ast::ObjectName>,
    },
    /// `BEGIN` or `START TRANSACTION` with its modes.
    Begin {
        /// `START TRANSACTION` rather than `BEGIN`, which differ in their tag.
        start: bool,
        /// The modes.
        modes: TransactionModes,
    },
    /// `SET TRANSACTION …` or `SET SESSION CHARACTERISTICS AS TRANSACTION …`
    SetTransaction {
        /// For all transactions of the session to come.
        session: bool,
        /// The modes.
        modes: TransactionModes,
    },
    /// `SET CONSTRAINTS { ALL | name, … } { DEFERRED | IMMEDIATE }`
    SetConstraints {
        /// The constraints; none for all.
        names: Vec<ast::ObjectName>,
        /// DEFERRED rather than IMMEDIATE.
        deferred: bool,
    },
    /// `FETCH … FROM cursor` or `MOVE … FROM cursor`
    Fetch {
        /// The cursor.
        name: ast::Ident,
        /// Which rows.
        count: FetchCount,
        /// MOVE: the rows are passed over.
        only_move: bool,
    },
    /// `RESTORE TABLE …` or `RESTORE ROW …`
    Restore(Box<Restore>),
    /// `UNDROP TABLE t [AS OF <instant>] [AS name]`
    UndropTable {
        /// The table.
        table: ast::ObjectName,
        /// An instant at which it was there; `None` is its last drop.
        instant: Option<ast::Expr>,
        /// The name that it comes back under; `None` for its own.
        name: Option<ast::ObjectName>,
    },
    /// `ALTER VIEW v RENAME TO w`, `ALTER TABLE t SET SCHEMA s` and their like.
    AlterRelation {
        /// What the statement says that it is.
        kind: RelationKind,
        /// `IF EXISTS`
        if_exists: bool,
        /// Its name.
        name: ast::ObjectName,
        /// What becomes of it.
        change: RelationChange,
    },
    /// `ALTER SEQUENCE s …`
    AlterSequence(Box<AlterSequence>),
    /// `ALTER TABLE t ALTER c …`, the forms of identity and generation.
    AlterColumn {
        /// The table.
        table: ast::ObjectName,
        /// `IF EXISTS`
        if_exists: bool,
        /// The column.
        column: ast::Ident,
        /// What becomes of it.
        change: ColumnChange,
    },
    /// `ALTER TABLE t CLUSTER ON i`, `… SET STATISTICS n` and others that change no answer.
    AlterStorage {
        /// The table.
        table: ast::ObjectName,
        /// `IF EXISTS`
        if_exists: bool,
    },
    /// `COMMENT ON CONSTRAINT c ON t IS 'text'`
    CommentOnConstraint {
        /// The table.
        table: ast::ObjectName,
        /// The constraint.
        constraint: ast::Ident,
        /// The comment; `None` takes it away.
        text: Option<String>,
    },
    /// A statement about roles or privileges.
    Access(Box<crate::access::Access>),
    /// `REVERT TRANSACTION n`
    Revert {
        /// The number of the commit.
        transaction: ast::Expr,
    },
    /// `BACKUP DATABASE [name] TO 'url'`
    Backup {
        /// The database; `None` for the session's.
        database: Option<ast::ObjectName>,
        /// Where to.
        url: ast::Expr,
    },
    /// `VERIFY BACKUP 'url'`
    VerifyBackup {
        /// Where it is.
        url: ast::Expr,
    },
    /// `ERASE FROM t WHERE …`
    Erase {
        /// The table.
        table: ast::ObjectName,
        /// Which rows; `None` for all.
        selection: Option<ast::Expr>,
    },
    /// `DELETE HISTORY FROM t BEFORE SYSTEM_TIME <instant>`
    DeleteHistory {
        /// The table.
        table: ast::ObjectName,
        /// Versions that ended before it go.
        before: ast::Expr,
    },
    /// A statement that PostgreSQL has and Chronos refuses, by name.
    Refused {
        /// Its name, as in the error message.
        what: String,
    },
}

/// What ALTER SEQUENCE changes.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterSequence {
    /// `IF EXISTS`
    pub if_exists: bool,
    /// The sequence.
    pub name: ast::ObjectName,
    /// `AS type`
    pub data_type: Option<ast::DataType>,
    /// INCREMENT, MINVALUE and so on.
    pub options: Vec<ast::SequenceOptions>,
    /// `RESTART [WITH n]`
    pub restart: Option<Option<i64>>,
    /// `OWNED BY column` or `NONE`
    pub owned_by: Option<Option<ast::ObjectName>>,
}

impl AlterSequence {
    /// One that changes nothing.
    pub fn empty() -> Self {
        AlterSequence {
            if_exists: false,
            name: ast::ObjectName(Vec::new()),
            data_type: None,
            options: Vec::new(),
            restart: None,
            owned_by: None,
        }
    }
}

/// What becomes of a column in the forms of ALTER COLUMN that sqlparser lacks.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnChange {
    /// `SET GENERATED { ALWAYS | BY DEFAULT }`
    SetGenerated {
        /// ALWAYS
        always: bool,
    },
    /// `SET sequence_option` and `RESTART`
    Sequence(Box<AlterSequence>),
    /// `DROP IDENTITY`
    DropIdentity {
        /// `IF EXISTS`
        missing_ok: bool,
    },
    /// `DROP EXPRESSION`
    DropExpression {
        /// `IF EXISTS`
        missing_ok: bool,
    },
}

/// What ALTER says that a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// ALTER TABLE
    Table,
    /// ALTER VIEW
    View,
    /// ALTER SEQUENCE
    Sequence,
    /// ALTER INDEX
    Index,
}

impl std::fmt::Display for RelationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RelationKind::Table => "TABLE",
            RelationKind::View => "VIEW",
            RelationKind::Sequence => "SEQUENCE",
            RelationKind::Index => "INDEX",
        })
    }
}

/// What becomes of a relation as a whole.
#[derive(Clone, Debug, PartialEq)]
pub enum RelationChange {
    /// `RENAME TO`
    Rename(ast::Ident),
    /// `SET SCHEMA`
    Schema(ast::Ident),
    /// `OWNER TO`
    Owner(ast::Ident),
}

/// `RESTORE TABLE t TO <moment> [AS name] [DRY RUN]` or
/// `RESTORE ROW t WHERE … TO <moment> [DRY RUN]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    /// The table.
    pub table: ast::ObjectName,
    /// The rows of RESTORE ROW; `None` for the whole table.
    pub selection: Option<ast::Expr>,
    /// Where to go back to.
    pub to: Moment,
    /// The name of a copy; `None` restores in place.
    pub name: Option<ast::ObjectName>,
    /// Only tells what it would do.
    pub dry_run: bool,
}

/// A point of a table's history.
#[derive(Clone, Debug, PartialEq)]
pub enum Moment {
    /// `SYSTEM TIME <instant>` or `TIMESTAMP <instant>`
    Instant(ast::Expr),
    /// `VERSION n`: the table's commit number.
    Version(ast::Expr),
}

/// Which rows FETCH asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchCount {
    /// So many rows on, or back where negative; 0 is the present row again.
    Rows(i64),
    /// All rows up to the end or back to the beginning.
    All {
        /// Back to the beginning.
        backward: bool,
    },
    /// The row of that number from the beginning, or from the end where negative.
    Absolute(i64),
    /// The row so many on or back.
    Relative(i64),
}

/// The modes of a transaction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransactionModes {
    /// `ISOLATION LEVEL`: `serializable`, `repeatable read`, `read committed` or
    /// `read uncommitted`.
    pub isolation: Option<&'static str>,
    /// `READ ONLY` is true.
    pub read_only: Option<bool>,
    /// `DEFERRABLE` is true.
    pub deferrable: Option<bool>,
    /// `AS OF SYSTEM TIME <instant>`
    pub as_of: Option<ast::Expr>,
}

/// Splits and parses a query string. A string without a statement gives an empty list.
///
/// # Errors
/// 42601 with the position, 54001 for a statement nested too deeply, 0A000 for a clause of time
/// travel where none can stand.
pub fn parse(sql: &str) -> Result<Vec<Statement>> {
    parser::parse(sql)
}
