//! What can go wrong in the storage.

use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, SegmentId};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;

/// The storage's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the storage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the store is not one that can be opened.
    #[error("cannot open the store \"{url}\": {reason}")]
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another database has the store. SQLSTATE 55006.
    #[error("the store \"{url}\" belongs to another database")]
    NotOwner {
        /// The URL as given.
        url: String,
    },
    /// The store lets objects be created that are there: servers could overwrite each other's.
    /// SQLSTATE 0A000.
    #[error("the store \"{url}\" does not enforce that an object is created only once")]
    NotEnforced {
        /// The URL as given.
        url: String,
    },
    /// An object's bytes are not those that were written. SQLSTATE XX001.
    #[error("object \"{path}\" is corrupt: {reason}")]
    Corrupt {
        /// The object's key below the store's root.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The object store failed or refused. SQLSTATE 58030.
    #[error("could not {action} object \"{path}\": {source}")]
    ObjectStore {
        /// What was being done: `read`, `write`, `delete`.
        action: &'static str,
        /// The object's key.
        path: String,
        /// The cause.
        source: object_store::Error,
    },
    /// A local file operation beside the object store failed. SQLSTATE 58030.
    #[error("could not {action} \"{path}\": {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The table has no segment of that identifier: the reference is older than the horizon.
    #[error("table {table} has no segment {segment}")]
    NoSuchSegment {
        /// The table.
        table: Oid,
        /// The segment.
        segment: SegmentId,
    },
    /// A read of an instant whose history is not kept any more. SQLSTATE 72000.
    #[error("table {table} cannot be read as of {instant}: its history begins at {horizon}")]
    BelowHorizon {
        /// The table.
        table: Oid,
        /// The instant, or the first of the span, that was asked for.
        instant: CommitTs,
        /// The earliest that can be read.
        horizon: CommitTs,
    },
    /// The row was taken elsewhere by compaction, and where to is not known any more. SQLSTATE
    /// 40001: another try sees its new place.
    #[error("a row of segment {segment} of table {table} has moved")]
    Moved {
        /// The table.
        table: Oid,
        /// The segment that it stood in.
        segment: SegmentId,
    },
    /// The table has no unique key or index of that identifier.
    #[error("table {table} has no key {key}")]
    NoSuchKey {
        /// The table.
        table: Oid,
        /// The constraint or index.
        key: Oid,
    },
    /// Rows, a segment or a log entry are not in the shape that the catalog says (a bug).
    #[error("storage of table {table} is inconsistent: {reason}")]
    Inconsistent {
        /// The table.
        table: Oid,
        /// What does not fit.
        reason: String,
    },
    /// Something that is not supported. SQLSTATE 0A000.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// Arrow could not compute with the rows.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// Parquet could not be written or read.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// Encoding rows for a snapshot failed.
    #[error("could not encode the unflushed rows: {0}")]
    Encode(String),
    /// An error that several waiters share.
    #[error(transparent)]
    Shared(Arc<Error>),
    /// DataFusion could not plan or evaluate a part of a read.
    #[error(transparent)]
    DataFusion(#[from] DataFusionError),
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::DataFusion(error) => error,
            other => DataFusionError::External(Box::new(other)),
        }
    }
}

impl From<Error> for ParquetError {
    fn from(error: Error) -> Self {
        match error {
            Error::Parquet(error) => error,
            other => ParquetError::External(Box::new(other)),
        }
    }
}
