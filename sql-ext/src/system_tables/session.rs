//! What the system tables need to know of the session and the node that they are read in.

use std::fmt::Debug;

use chronos_catalog::{CommitTs, Erasure, Oid};

/// A configuration setting, as `pg_settings` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value in this session.
    pub value: String,
    /// The value that RESET gives it.
    pub default: String,
    /// One sentence on what it does.
    pub description: String,
    /// `bool`, `integer`, `real`, `string` or `enum`.
    pub kind: &'static str,
    /// `user`, `superuser`, `internal`, …: who may change it and when.
    pub context: &'static str,
    /// `kB`, `ms`, …, where it has a unit.
    pub unit: Option<&'static str>,
}

/// One session of the node, as `pg_stat_activity` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Its process number.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// Its database.
    pub database: String,
    /// Its `application_name`.
    pub application_name: String,
    /// The client's address, without port.
    pub client_address: Option<String>,
    /// The client's port.
    pub client_port: Option<i32>,
    /// When it began, in microseconds since the Unix epoch.
    pub session_start: i64,
    /// When its transaction began, if it is in one; likewise.
    pub transaction_start: Option<i64>,
    /// When its last statement began; likewise.
    pub query_start: Option<i64>,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`.
    pub state: String,
    /// Its last statement.
    pub query: String,
}

/// One rule of who may connect, as `pg_hba_file_rules` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRule {
    /// `host`, `hostssl` or `hostnossl`.
    pub kind: &'static str,
    /// The databases.
    pub databases: Vec<String>,
    /// The roles.
    pub users: Vec<String>,
    /// The address, or `all`.
    pub address: String,
    /// The address' mask.
    pub mask: Option<String>,
    /// How a client proves who it is.
    pub method: &'static str,
    /// What else is asked.
    pub options: Vec<String>,
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSize {
    /// Current rows.
    pub live_rows: u64,
    /// Row versions that have ended and are kept as history.
    pub ended_rows: u64,
    /// Row versions written since the table was made.
    pub rows_written: u64,
    /// Bytes in object storage, without index files.
    pub table_bytes: u64,
    /// Bytes of its index files.
    pub index_bytes: u64,
}

/// One segment of a table, as `chronos.segments` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub id: u64,
    /// `open`, `sealed`, `cold`, or `history` for a cold one whose rows had all ended.
    pub state: &'static str,
    /// How many row versions it holds.
    pub rows: u64,
    /// Its bytes in object storage; 0 while hot.
    pub bytes: u64,
    /// Its object's key; `None` while hot.
    pub path: Option<String>,
    /// The least commit time of its rows, where known.
    pub from_min: Option<CommitTs>,
    /// The greatest commit time of its rows, where known.
    pub from_max: Option<CommitTs>,
}

/// One compaction that took effect on this node, as `chronos.compactions` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionInfo {
    /// The table.
    pub table: Oid,
    /// When it began, in microseconds since the Unix epoch.
    pub started: i64,
    /// When its result took effect; likewise.
    pub finished: i64,
    /// Segments that it replaced.
    pub segments_removed: u64,
    /// Segments that it made.
    pub segments_added: u64,
    /// Row versions read.
    pub rows_read: u64,
    /// Row versions written.
    pub rows_written: u64,
}

/// What a table has in memory that the object store does not have yet, as `chronos.uploads` shows
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadInfo {
    /// The table.
    pub table: Oid,
    /// `waiting` until it is due, `failing` while the store does not take it.
    pub state: &'static str,
    /// Row versions.
    pub rows: u64,
    /// Row ends.
    pub row_ends: u64,
    /// About how many bytes they take in memory.
    pub bytes: u64,
    /// The oldest commit among them.
    pub oldest: Option<CommitTs>,
    /// Tries that failed since the last that did not.
    pub attempts: u64,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// When the first one failed, in microseconds since the Unix epoch.
    pub failing_since: Option<i64>,
}

/// The session and node that system tables are read in; the server implements it.
pub trait SystemSession: Send + Sync + Debug {
    /// `current_user`.
    fn user(&self) -> String;
    /// `session_user`.
    fn session_user(&self) -> String {
        self.user()
    }
    /// `current_database()`.
    fn database(&self) -> String;
    /// The schemas of the setting `search_path`, `"$user"` resolved, existing or not; without the
    /// implicit `pg_catalog`.
    fn search_path(&self) -> Vec<String>;
    /// `pg_backend_pid()`.
    fn pid(&self) -> i32;
    /// `version()`.
    fn version(&self) -> String;
    /// All settings, in the order of their names.
    fn settings(&self) -> Vec<Setting> {
        Vec::new()
    }
    /// The node's sessions, this one among them.
    fn activity(&self) -> Vec<Activity> {
        Vec::new()
    }
    /// Who may connect from where, in the order in which it is asked.
    fn access_rules(&self) -> Vec<AccessRule> {
        Vec::new()
    }
    /// When the server started, in microseconds since the Unix epoch.
    fn server_start(&self) -> i64 {
        0
    }
    /// How much a table holds.
    fn table_size(&self, _table: Oid) -> TableSize {
        TableSize::default()
    }
    /// A table's segments.
    fn segments(&self, _table: Oid) -> Vec<SegmentInfo> {
        Vec::new()
    }
    /// The node's last compactions, oldest first.
    fn compactions(&self) -> Vec<CompactionInfo> {
        Vec::new()
    }
    /// What waits to be written to the object store, by table.
    fn uploads(&self) -> Vec<UploadInfo> {
        Vec::new()
    }
    /// The receipts of ERASE, oldest first.
    fn erasures(&self) -> Vec<Erasure> {
        Vec::new()
    }
    /// The last value that a sequence handed out, if it has.
    fn sequence_value(&self, _sequence: Oid) -> Option<i64> {
        None
    }
    /// The oldest instant at which a table can be read, if history has been dropped.
    fn horizon(&self, _table: Oid) -> Option<CommitTs> {
        None
    }
    /// A table's last commit, if any.
    fn last_commit(&self, _table: Oid) -> Option<CommitTs> {
        None
    }
    /// The prepared statements.
    fn prepared_statements(&self) -> Vec<PreparedInfo> {
        Vec::new()
    }
}

/// A prepared statement, for `pg_prepared_statements`.
#[derive(Clone, Debug)]
pub struct PreparedInfo {
    /// Its name.
    pub name: String,
    /// The text that it was made of.
    pub statement: String,
    /// When, in microseconds.
    pub prepared_at: i64,
    /// The OIDs of its parameters' types.
    pub parameter_types: Vec<u32>,
    /// Made by PREPARE rather than by the protocol.
    pub from_sql: bool,
}
