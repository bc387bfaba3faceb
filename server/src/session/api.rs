//! The seam between the protocol (`pgwire`) and what executes statements (`session`).
//!
//! The protocol side owns messages, portals, formats and text; it knows no SQL. The session side
//! owns statements, transactions and settings; it knows no bytes.

use std::sync::Arc;

use async_trait::async_trait;
use chronos_catalog::SqlType;
pub use chronos_sql_ext::text::TextSettings;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use crate::error::{PgError, PgResult};

/// One column of a result, as RowDescription carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDescription {
    /// Its name.
    pub name: String,
    /// The table it comes straight from, or 0.
    pub table_oid: u32,
    /// The column of that table, or 0.
    pub column: i16,
    /// Its type.
    pub ty: SqlType,
}

/// The rows of a result, as they are made.
pub type RowStream = BoxStream<'static, PgResult<RecordBatch>>;

/// The status byte of ReadyForQuery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InBlock,
    /// `E`: in a failed transaction block.
    Failed,
}

/// What a statement answers.
pub enum Response {
    /// EmptyQueryResponse.
    Empty,
    /// CommandComplete with this tag: `CREATE TABLE`, `INSERT 0 5`.
    Complete(String),
    /// Rows, then CommandComplete: `SELECT n` with the rows counted, or `tag` followed by the
    /// count (`INSERT 0` with RETURNING, `FETCH`).
    Rows {
        /// The columns.
        fields: Arc<[FieldDescription]>,
        /// The rows.
        rows: RowStream,
        /// The tag without its count.
        tag: String,
    },
    /// MOVE forwards in a portal of the extended protocol, which has the name of no cursor of
    /// SQL: rows to pass over. The protocol side completes it with `MOVE n`.
    MovePortal {
        /// The portal.
        name: String,
        /// At most that many rows.
        rows: u64,
    },
    /// CopyInResponse: data follows from the client.
    CopyIn(Box<dyn CopyIn>),
    /// CopyOutResponse: the rows as COPY data, then `COPY n`.
    CopyOut {
        /// The columns.
        fields: Arc<[FieldDescription]>,
        /// The rows.
        rows: RowStream,
        /// How they are written.
        options: CopyOptions,
    },
}

/// Where COPY … FROM STDIN puts its rows. The protocol side parses the data into batches.
#[async_trait]
pub trait CopyIn: Send {
    /// The name of the table, for errors in the data.
    fn relation(&self) -> &str {
        "stdin"
    }
    /// The columns that are loaded, in the order of the data.
    fn fields(&self) -> &[FieldDescription];
    /// How the data is written.
    fn options(&self) -> &CopyOptions;
    /// Takes rows, in the columns of [`CopyIn::fields`] with their Arrow types. Waits when the
    /// storage cannot keep up.
    async fn rows(&mut self, batch: RecordBatch) -> PgResult<()>;
    /// All data arrived: completes the statement and gives its tag.
    async fn finish(self: Box<Self>) -> PgResult<String>;
}

/// The options of COPY that concern the data.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyOptions {
    /// `text`, `csv` or `binary`.
    pub format: CopyFormat,
    /// The byte between columns.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// Whether the first line names the columns.
    pub header: bool,
    /// `HEADER MATCH`: the names must be those of the columns.
    pub header_match: bool,
    /// The quote character of csv.
    pub quote: u8,
    /// The escape character of csv.
    pub escape: u8,
    /// Columns (by place) whose values are always quoted in csv output.
    pub force_quote: Vec<usize>,
    /// Columns (by place) in which an unquoted NULL string is taken as the string.
    pub force_not_null: Vec<usize>,
    /// Columns (by place) in which a quoted NULL string is taken as NULL.
    pub force_null: Vec<usize>,
}

/// The formats of COPY data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// PostgreSQL's text format.
    Text,
    /// CSV.
    Csv,
    /// PostgreSQL's binary format.
    Binary,
}

/// What Describe of a statement answers.
#[derive(Clone, Debug)]
pub struct Description {
    /// The parameters' types, as given by the client or inferred.
    pub parameters: Vec<SqlType>,
    /// The result's columns; `None` for NoData.
    pub fields: Option<Arc<[FieldDescription]>>,
}

/// What a connection's messages are carried out on. One implementation: `session::Session`;
/// tests of the protocol bring their own.
#[async_trait]
pub trait Executor: Send {
    /// A parsed statement, kept by the protocol side under its name.
    type Statement: Send + Sync + Clone + 'static;

    /// Splits and parses a query string. A string without a statement gives an empty list.
    ///
    /// # Errors
    /// 42601 with the position, and what else parsing finds.
    fn parse(&mut self, sql: &str) -> PgResult<Vec<Self::Statement>>;

    /// The same for the simple protocol, where nothing is described: literals may be taken as
    /// parameters.
    ///
    /// # Errors
    /// Likewise.
    fn parse_simple(&mut self, sql: &str) -> PgResult<Vec<Self::Statement>> {
        self.parse(sql)
    }

    /// Plans a statement far enough to tell its parameters and columns. `types` holds what the
    /// client said of each parameter, `None` where it left the type open.
    async fn describe(
        &mut self,
        statement: &Self::Statement,
        types: &[Option<SqlType>],
    ) -> PgResult<Description>;

    /// Carries out a statement. `parameters` are in the types that [`Executor::describe`] told.
    /// Outside a transaction block the statement is a transaction of its own, which a
    /// [`Response::Rows`] ends when its stream is read to the end or dropped, unless
    /// [`Executor::begin_implicit`] opened one around it.
    async fn execute(
        &mut self,
        statement: &Self::Statement,
        parameters: Vec<ScalarValue>,
    ) -> PgResult<Response>;

    /// Several statements of one query string, or of one pipeline up to Sync, are one
    /// transaction unless they say otherwise (PostgreSQL's implicit transaction block).
    async fn begin_implicit(&mut self) -> PgResult<()>;

    /// Ends the implicit block: commits, or rolls back when a statement failed.
    async fn end_implicit(&mut self, failed: bool) -> PgResult<()>;

    /// What follows, up to the next call, stops with 57014 when `token` is cancelled. The
    /// protocol side watches the token itself while it sends rows; the session watches it in
    /// [`Executor::execute`], where only it knows from when on a commit can no longer be stopped.
    fn watch(&mut self, _token: CancellationToken) {}

    /// The protocol keeps a described statement under a name, or no more. Not told of the
    /// unnamed one.
    fn prepared(&mut self, _name: &str, _statement: Option<&Self::Statement>) {}

    /// Prepared statements that SQL took away since the last call: a name (DEALLOCATE), or
    /// `None` for all of them (DEALLOCATE ALL, DISCARD ALL).
    fn take_deallocated(&mut self) -> Vec<Option<String>> {
        Vec::new()
    }

    /// A statement failed; a transaction block becomes a failed one.
    fn failed(&mut self);

    /// The status byte.
    fn status(&self) -> TransactionStatus;

    /// The session's time zone, for the text of timestamptz, and the other settings that
    /// change how values are written.
    fn text_settings(&self) -> TextSettings;

    /// Notices since the last call, to be sent before the next message.
    fn take_notices(&mut self) -> Vec<PgError>;

    /// Settings reported by ParameterStatus that changed since the last call.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)>;

    /// The notifications that came so far, to be sent before ReadyForQuery.
    fn take_notifications(&mut self) -> Vec<(i32, String, String)> {
        Vec::new()
    }

    /// Whether it may have one of the last connections, which are kept for superusers.
    fn may_use_reserve(&self) -> bool {
        true
    }

    /// How long the client may be silent now, and what ends the connection then.
    fn idle_limit(&self) -> Option<(std::time::Duration, PgError)> {
        None
    }

    /// The connection ends when `token` is cancelled, as pg_terminate_backend() does.
    fn attach(&mut self, _token: CancellationToken) {}

    /// All that a message asked for is done and sent.
    fn rest(&mut self) {}

    /// The columns of a cursor of DECLARE, which can be described like a portal.
    fn cursor_fields(&self, _name: &str) -> Option<Arc<[FieldDescription]>> {
        None
    }

    /// Waits for a notification (LISTEN/NOTIFY) for this session: sender's process id, channel,
    /// payload. Cancel safe.
    async fn next_notification(&mut self) -> (i32, String, String);
}
