//! What planning asks of whoever knows the tables: the seam to the server's session.

use std::fmt::Debug;
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, SystemTime};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, ScalarValue, TableReference};
use datafusion::sql::sqlparser::ast;

use crate::error::Error;
use crate::instant;
use crate::row_instants::Versions;
use crate::text::TextSettings;

/// Names and instants, as the session of a statement sees them.
///
/// Asked while planning only, so an implementation may hold the state of the running statement.
pub trait TemporalCatalog: Send + Sync + Debug {
    /// Resolves the name of a table or view as it was at the instant (at the end of the period,
    /// for a period). `None` is the session's default: its AS OF setting, or now.
    ///
    /// # Errors
    /// 42P01 with a hint where the name exists at another time, 72000 below the horizon.
    fn resolve(&self, name: &TableReference, time: Option<SystemTime>) -> Result<Resolved>;

    /// What is resolved until [`TemporalCatalog::leave`] is read on behalf of that role: the owner
    /// of the view that is planned.
    fn enter(&self, _owner: Oid) {}

    /// The end of the innermost [`TemporalCatalog::enter`].
    fn leave(&self) {}

    /// Which rows a scan may see, and the name by which the condition knows the table's columns;
    /// `None` for all of them.
    ///
    /// # Errors
    /// 42501 where who asks rather is told than gets some of them.
    fn row_filter(
        &self,
        _name: &TableReference,
        _provider: &dyn TableProvider,
    ) -> Result<Option<(String, ast::Expr)>> {
        Ok(None)
    }

    /// What the provider of a table scan says of time; `None` for a table without history.
    fn info(&self, provider: &dyn TableProvider) -> Option<TemporalInfo>;

    /// Refuses an instant that cannot be read, whatever the table; makes sure that nothing can
    /// commit at or before it any more.
    ///
    /// # Errors
    /// 22023 for the future.
    fn check_instant(&self, instant: CommitTs) -> Result<()> {
        if instant > self.now() {
            return Err(Error::FutureInstant(instant::display(instant)).into());
        }
        Ok(())
    }

    /// The instant of a table's numbered commit (`VERSION AS OF n`).
    ///
    /// # Errors
    /// 0A000 unless implemented; 22023 for a version that is not there.
    fn version(&self, name: &TableReference, _version: i64) -> Result<CommitTs> {
        Err(Error::Unsupported(format!("VERSION AS OF for {name}")).into())
    }

    /// All versions of a table as it is defined now, for a read at instants that only the rows of
    /// another relation tell.
    ///
    /// # Errors
    /// 0A000 for what is no table of a user's.
    fn versions(&self, name: &TableReference) -> Result<Versions> {
        Err(Error::Unsupported(format!("an instant that is a column's for \"{name}\"")).into())
    }

    /// The values of `$1`, `$2`, …; `None` while only describing, when every instant that
    /// depends on them is taken to be the session's default.
    fn parameters(&self) -> Option<Vec<ScalarValue>>;

    /// The transaction's timestamp: what `now()` gives, and where windowed aggregates of a
    /// table without AS OF end.
    fn now(&self) -> CommitTs;

    /// The session's time zone, for text without one.
    fn time_zone(&self) -> chrono_tz::Tz;

    /// How values are read and written as text.
    fn text_settings(&self) -> TextSettings {
        TextSettings {
            time_zone: self.time_zone(),
            now: Some(self.now().micros()),
            ..TextSettings::default()
        }
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// A table. Its provider's schema holds the hidden columns after the others; names that
    /// [`crate::is_hidden`] tells.
    Table(Arc<dyn TableProvider>),
    /// A view: the text of its query and the names of its columns.
    View {
        /// SELECT …
        query: String,
        /// The output columns' names.
        columns: Vec<String>,
        /// On whose behalf it reads; `None` for who reads it.
        owner: Option<Oid>,
    },
}

/// What is known of the time of one table scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemporalInfo {
    /// The instant that it reads at, if it is not the statement's now.
    pub as_of: Option<CommitTs>,
    /// The table's option `time_column`.
    pub time_column: Option<String>,
    /// Its periods of valid time: name, first and last column.
    pub periods: Vec<(String, String, String)>,
}

/// The columns that tables have beside their own (`tableoid` only those of `pg_catalog`):
/// selectable by name, never in `SELECT *`.
pub const HIDDEN_COLUMNS: [&str; 7] =
    ["_system_from", "_system_to", "_ov", "_cv", "_segment", "_position", "tableoid"];

/// Whether a column of a table's provider is a hidden one.
pub fn is_hidden(column: &str) -> bool {
    HIDDEN_COLUMNS.contains(&column)
}
