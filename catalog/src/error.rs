//! What can go wrong in the catalog and its log.

use std::io;

use crate::ids::{Oid, RowRef};
use crate::time::CommitTs;

/// The catalog's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the catalog and its log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stored or received byte string is not what it should be.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// The thing, by name: `log file "log-7"`.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading or writing a local file failed.
    #[error("could not {action}: {source}")]
    Io {
        /// What was being done: `append to log file "log-7"`.
        action: String,
        /// The cause.
        source: io::Error,
    },
    /// Another process serves this data directory.
    #[error("data directory \"{path}\" is in use by another server")]
    InUse {
        /// The directory.
        path: String,
    },
    /// A data directory that was to be new holds something already.
    #[error("directory \"{path}\" is not empty")]
    NotEmpty {
        /// The directory.
        path: String,
    },
    /// The log did not take the entry; it may still take effect.
    #[error("the outcome of the commit is unknown: {reason}")]
    OutcomeUnknown {
        /// Why.
        reason: String,
    },
    /// This node does not lead or is stopping.
    #[error("this node does not accept commits: {reason}")]
    NotLeader {
        /// Why.
        reason: String,
    },
    /// A command is larger than an entry of the log may be.
    #[error("the commit has {bytes} bytes, of at most {bytes_max}")]
    TooLarge {
        /// Its encoded size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The clock is too far from the log's time.
    #[error("the clock reads {clock}, {ahead_micros} microseconds from the log's time")]
    ClockSkew {
        /// The clock's reading.
        clock: CommitTs,
        /// The distance.
        ahead_micros: i64,
    },
    /// An entry names an object that does not exist (a bug in what proposed it).
    #[error("object {0} does not exist")]
    NoSuchObject(Oid),
    /// An entry ends a row that has ended already (a bug in what proposed it).
    #[error("row {0:?} has ended already")]
    RowEnded(RowRef),
}

/// Names what was being done, for `map_err` on a call that returns an [`io::Error`].
pub(crate) fn io_error<A: Into<String>>(
    action: impl FnOnce() -> A,
) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action: action().into(), source }
}
