//! What can go wrong in the engine.

use chronos_catalog::{CommitTs, Oid};
use datafusion::arrow::error::ArrowError;

/// The engine's result.
pub type EngineResult<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another transaction changed the same thing first (40001). The whole transaction may be
    /// run again.
    #[error("could not serialize access due to concurrent update")]
    Conflict {
        /// What both changed, as a sentence.
        detail: String,
    },
    /// A serializable transaction read what another changed before its commit (40001).
    #[error("could not serialize access due to read/write dependencies among transactions")]
    ReadConflict {
        /// What was read and changed, as a sentence.
        detail: String,
    },
    /// Transactions wait for each other's rows (40P01).
    #[error("deadlock detected")]
    Deadlock {
        /// The table whose row closed the circle.
        table: String,
    },
    /// Waited for a row for as long as `lock_timeout` allows (55P03).
    #[error("canceling statement due to lock timeout")]
    LockTimeout,
    /// NOWAIT met a row that another transaction holds (55P03).
    #[error("could not obtain lock on row in relation \"{table}\"")]
    LockNotAvailable {
        /// The table.
        table: String,
    },
    /// A unique key is taken (23505).
    #[error("duplicate key value violates unique constraint \"{constraint}\"")]
    UniqueViolation {
        /// The schema of the table.
        schema: String,
        /// The table.
        table: String,
        /// The constraint.
        constraint: String,
        /// PostgreSQL's sentence: `Key (id)=(5) already exists.`
        detail: String,
    },
    /// A foreign key has no row to refer to, or a row is still referred to (23503).
    #[error("{message}")]
    ForeignKeyViolation {
        /// PostgreSQL's message.
        message: String,
        /// The schema of the table that refers.
        schema: String,
        /// The table that refers.
        table: String,
        /// The constraint.
        constraint: String,
        /// PostgreSQL's sentence: `Key (p)=(5) is not present in table "parent".`
        detail: String,
    },
    /// Periods of rows with the same key overlap (23P01).
    #[error("conflicting key value violates exclusion constraint \"{constraint}\"")]
    ExclusionViolation {
        /// The table's schema.
        schema: String,
        /// The table.
        table: String,
        /// The constraint.
        constraint: String,
        /// PostgreSQL's sentence: `Key (…)=(…) conflicts with existing key (…)=(…).`
        detail: String,
    },
    /// A NOT NULL column got NULL (23502).
    #[error(
        "null value in column \"{column}\" of relation \"{table}\" violates not-null constraint"
    )]
    NotNullViolation {
        /// The schema of the table.
        schema: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// PostgreSQL's sentence: `Failing row contains (5, null).`
        detail: String,
    },
    /// The name was taken meanwhile (42P07, 42P06 for a schema, 42710 for a role).
    #[error("{kind} \"{name}\" already exists")]
    NameTaken {
        /// `relation`, `schema` or `role`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The table does not exist at that instant (42P01).
    #[error("table {table} does not exist at {at}")]
    NoSuchTable {
        /// The table.
        table: Oid,
        /// The instant.
        at: CommitTs,
    },
    /// The object is not a sequence (42809).
    #[error("object {0} is not a sequence")]
    NotASequence(Oid),
    /// The sequence has no more values (2200H).
    #[error("nextval: reached {} value of sequence ({limit})", bound_name(.maximum))]
    SequenceExhausted {
        /// Its last value.
        limit: i64,
        /// Whether that is its greatest or its least.
        maximum: bool,
    },
    /// The value is not between the sequence's bounds (22003).
    #[error("setval: value {value} is out of bounds for sequence ({min}..{max})")]
    SequenceBounds {
        /// The value.
        value: i64,
        /// The least allowed.
        min: i64,
        /// The greatest allowed.
        max: i64,
    },
    /// A read was asked for an instant that has not come yet (22023).
    #[error("cannot read at an instant in the future")]
    InstantInFuture {
        /// The instant.
        instant: CommitTs,
        /// The clock's reading.
        now: CommitTs,
    },
    /// Rows do not have the table's columns: a bug in the caller (XX000).
    #[error("rows do not fit table {table}: {reason}")]
    Shape {
        /// The table.
        table: Oid,
        /// What does not fit.
        reason: String,
    },
    /// What was asked for cannot be done here (55000).
    #[error("{0}")]
    Refused(String),
    /// Rows cannot be flushed and no more fit in memory (53200).
    #[error("no more rows fit in memory: the object store cannot be written")]
    MemoryFull {
        /// The store's last error.
        cause: String,
    },
    /// Something that is not supported (0A000).
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The commit may or may not have taken effect (40003).
    #[error("the outcome of the commit is unknown: {reason}")]
    OutcomeUnknown {
        /// Why.
        reason: String,
    },
    /// The server is stopping (57P01).
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The log or catalog failed.
    #[error(transparent)]
    Catalog(#[from] chronos_catalog::Error),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] chronos_storage::Error),
    /// Arrow refused: a bug in what the rows were made by (XX000).
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

fn bound_name(maximum: &bool) -> &'static str {
    if *maximum { "maximum" } else { "minimum" }
}
