//! A table's segments and row ends.
//!
//! ```text
//!             hot (memory)            cold (object storage)
//! commit  ->  s-3 open     --seal-->  s-3 sealed  --flush-->  s-3  (same id, same positions)
//! row end ->  in memory, (segment, position, CommitTs)  --flush-->  row-end sidecar objects
//! ```
//!
//! Invariants:
//! - A segment's rows and their positions never change while its identifier is in the manifest.
//! - A row ends at most once.
//! - A row end is either in the log after the last flush, or in exactly one sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::SegmentId;
use crate::time::CommitTs;

/// One immutable object in the store: its key, size and checksums. The checksums stand here, not
/// in the object, for Parquet files written by arrow-rs carry none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectMeta {
    /// Its key below the store's root.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The bytes that one checksum covers; the last block may be shorter.
    pub block_bytes: u32,
    /// CRC-32C of each block.
    pub checksums: Vec<u32>,
}

/// A cold segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Its identifier.
    pub id: SegmentId,
    /// The shape of the table that its rows are in.
    pub schema_version: u32,
    /// How many row versions it holds.
    pub rows: u32,
    /// The Parquet file.
    pub file: ObjectMeta,
    /// The key-hash files, by the unique key's or index's object identifier.
    #[serde(default)]
    pub key_files: BTreeMap<u32, ObjectMeta>,
    /// The least `_system_from` of its rows. [`CommitTs::ZERO`] in a [`crate::TableWrite`],
    /// where applying the commit sets it.
    pub from_min: CommitTs,
    /// The greatest `_system_from` of its rows; likewise.
    pub from_max: CommitTs,
    /// Where a single commit wrote all rows and the file does not hold `_system_from` and `_cv`:
    /// the commit number. The file's `_system_from` and `_cv` columns are then all null.
    #[serde(default)]
    pub commit_number: Option<i64>,
    /// The greatest `_system_to`, where every row of the segment had ended when it was written
    /// and the file holds each one's `_system_to`.
    #[serde(default)]
    pub ended_max: Option<CommitTs>,
    /// The least `_system_to`, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_min: Option<CommitTs>,
    /// Whether compaction wrote it: its rows are sorted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sorted: bool,
}

/// A sidecar object with row ends of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowEndsMeta {
    /// The object.
    pub file: ObjectMeta,
    /// The first row end's instant.
    pub from: CommitTs,
    /// Every row end of the table after the previous sidecar and up to here is in it.
    pub to: CommitTs,
    /// How many row ends.
    pub count: u64,
    /// The segments that it names, with how many of their rows.
    pub segments: BTreeMap<SegmentId, u32>,
}

/// A table's segments, row ends and counters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// How many commits have written to the table; the next one's `_cv`.
    pub commit_number: i64,
    /// The hot segment that takes rows, if one is open, and how many it has.
    pub open: Option<(SegmentId, u32)>,
    /// Hot segments that take no more rows and are not flushed yet, and how many each has.
    pub sealed: BTreeMap<SegmentId, u32>,
    /// Cold segments.
    #[serde(with = "crate::serde_with::arc_map")]
    pub segments: BTreeMap<SegmentId, Arc<SegmentMeta>>,
    /// Row-end sidecars in commit order.
    #[serde(with = "crate::serde_with::arc_vec")]
    pub row_ends: Vec<Arc<RowEndsMeta>>,
    /// The oldest instant that can be read; `None` while all history is there.
    pub horizon: Option<CommitTs>,
    /// Row versions written and ended since the table was made (feature 58).
    pub rows_written: u64,
    /// Row versions ended.
    pub rows_ended: u64,
    /// Row versions written that followed one that ended in the same commit.
    #[serde(default)]
    pub rows_updated: u64,
    /// The last commit that wrote to it.
    pub last_commit: CommitTs,
}
