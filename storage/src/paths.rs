//! The keys of objects below the store's root.
//!
//! ```text
//! tables/16384/s-7.parquet           a segment
//! tables/16384/s-7.16385.keys        its key-hash file for constraint 16385
//! tables/16384/ends-1700000000000000.rowends   row ends up to an instant
//! ```
//! An object is never written twice: where a crash left one under a name that is wanted again,
//! the next free attempt number is put before the extension.

use chronos_catalog::{CommitTs, Oid, SegmentId};

fn attempt(n: u32) -> String {
    if n == 0 { String::new() } else { format!("-{n}") }
}

/// A segment's Parquet file.
pub(crate) fn segment(table: Oid, id: SegmentId, n: u32) -> String {
    format!("tables/{table}/{id}{}.parquet", attempt(n))
}

/// A segment's key-hash file.
pub(crate) fn key_file(table: Oid, id: SegmentId, key: Oid, n: u32) -> String {
    format!("tables/{table}/{id}.{key}{}.keys", attempt(n))
}

/// A sidecar with row ends up to an instant.
pub(crate) fn row_ends(table: Oid, to: CommitTs, n: u32) -> String {
    format!("tables/{table}/ends-{to}{}.rowends", attempt(n))
}
