//! What a transaction has written to one table, beside the overlay that reads see.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, RowEnds, SegmentId, TableDef};
use datafusion::arrow::array::RecordBatch;

/// What a transaction has written to one table, beside the overlay that reads see.
#[derive(Clone, Debug)]
pub(super) struct TableWrites {
    /// The instant at which the first write looked at the table. A definition that changed
    /// after it is a conflict.
    pub(super) seen_at: CommitTs,
    /// The shape that own rows in memory are in.
    pub(super) schema_version: u32,
    /// The first look for the keys of new rows: later commits are looked at by the sequencer.
    pub(super) keys_checked_at: Option<CommitTs>,
    /// The key columns of rows that went to segments, by constraint. This is what a large
    /// transaction keeps in memory for each row.
    pub(super) spilled_keys: BTreeMap<Oid, Vec<RecordBatch>>,
    /// How many of the rows that went to segments follow an earlier version.
    pub(super) spilled_updates: u64,
}

/// The keys of a transaction's new rows, for one unique key of a table.
#[derive(Clone, Debug)]
pub(super) struct KeyWrites {
    /// The constraint.
    pub(super) constraint: Oid,
    /// Its name.
    pub(super) name: String,
    /// Commits up to here were looked at when the rows were written.
    pub(super) checked_at: CommitTs,
    /// The key columns of every new row. Rows that went to a segment and were ended again by the
    /// same transaction are among them.
    pub(super) batches: Vec<RecordBatch>,
}

/// One table's part of a commit, as the sequencer checks it.
#[derive(Debug)]
pub(super) struct TableCheck {
    pub(super) table: Oid,
    pub(super) def: Arc<TableDef>,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) seen_at: CommitTs,
    pub(super) keys: Vec<KeyCheck>,
    /// Ended versions of committed rows.
    pub(super) ends: Vec<RowEnds>,
}

/// One unique key's part.
#[derive(Debug)]
pub(super) struct KeyCheck {
    pub(super) writes: KeyWrites,
    /// The keys' hashes, so that a clash with a commit in flight is found without its rows.
    pub(super) hashes: HashSet<u64>,
}

impl TableCheck {
    /// Whether the two end the same version or write the same key.
    pub(super) fn clashes_with(&self, other: &TableCheck) -> bool {
        if self.table != other.table {
            return false;
        }
        let same_row = self.ends.iter().any(|a| {
            other
                .ends
                .iter()
                .any(|b| a.segment == b.segment && !a.positions.is_disjoint(&b.positions))
        });
        same_row
            || self.keys.iter().any(|a| {
                other.keys.iter().any(|b| {
                    a.writes.constraint == b.writes.constraint && !a.hashes.is_disjoint(&b.hashes)
                })
            })
    }
}

/// Whether a segment is the transaction's own: in memory, or written ahead of the commit.
pub(super) fn is_own(segment: SegmentId, own: &HashSet<SegmentId>) -> bool {
    segment == SegmentId::LOCAL || own.contains(&segment)
}
