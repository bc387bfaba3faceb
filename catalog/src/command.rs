//! Everything that a log entry may say.
//!
//! A [`Commit`] is one transaction: definitions and rows together, at one instant. A
//! [`Maintenance`] entry moves bytes and changes no answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::commits::CommitRow;
use crate::ids::{Oid, SegmentId};
use crate::manifest::{RowEndsMeta, SegmentMeta};
use crate::schema::Object;
use crate::time::CommitTs;

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A transaction.
    Commit(Commit),
    /// Flush, compaction and the like.
    Maintain(Maintenance),
    /// Values that sequences may have handed out by now: outside of any transaction, as in
    /// PostgreSQL. The value is the last one that may have been given.
    AdvanceSequences(BTreeMap<Oid, i64>),
}

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Its instant; greater than that of every commit before it in the log.
    pub ts: CommitTs,
    /// Who, from where, why.
    pub meta: CommitMeta,
    /// Definitions made, changed or dropped, in order.
    #[serde(default)]
    pub changes: Vec<ObjectChange>,
    /// Rows written and ended, at most one entry a table.
    #[serde(default)]
    pub writes: Vec<TableWrite>,
}

/// Who committed, from where and why (features 14, 27, 81).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMeta {
    /// The session's role.
    pub user: String,
    /// `application_name`
    #[serde(default)]
    pub application_name: String,
    /// `chronos.actor`
    #[serde(default)]
    pub actor: Option<String>,
    /// `chronos.reason`
    #[serde(default)]
    pub reason: Option<String>,
    /// `chronos.function_id`
    #[serde(default)]
    pub function_id: Option<String>,
}

/// An object's new definition, or its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectChange {
    /// The object.
    pub oid: Oid,
    /// Its definition from this commit on; `None` when dropped.
    pub object: Option<Object>,
}

/// What one transaction did to one table's rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableWrite {
    /// The table.
    pub table: Oid,
    /// The shape ([`crate::TableDef::schema_version`]) of the rows.
    pub schema_version: u32,
    /// New row versions as one Arrow IPC stream: the table's columns in order, then `_ov`
    /// (int64). Empty when there are none.
    #[serde(with = "crate::serde_with::bytes")]
    pub rows: Bytes,
    /// How many rows that is.
    pub row_count: u32,
    /// How many of the new versions, in segments too, follow a version that ends here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub updated: u64,
    /// Segments that a large transaction wrote before it committed. Their rows' `_system_from`
    /// is this commit's instant; the files do not hold it.
    #[serde(default)]
    pub segments: Vec<SegmentMeta>,
    /// The versions that end here.
    #[serde(default)]
    pub ends: Vec<RowEnds>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Positions of one segment whose versions end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowEnds {
    /// The segment.
    pub segment: SegmentId,
    /// The positions.
    pub positions: RoaringBitmap,
}

/// An entry that moves bytes and changes no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Maintenance {
    /// The table's hot segment takes no more rows; the next commit starts another.
    Seal {
        /// The table.
        table: Oid,
    },
    /// Sealed hot segments now stand in object storage under the same identifiers and
    /// positions; row ends up to an instant stand in a sidecar object.
    Flush {
        /// The table.
        table: Oid,
        /// The segments written.
        segments: Vec<SegmentMeta>,
        /// The row ends written: all of the table's that were not in a sidecar before, up to
        /// [`RowEndsMeta::to`].
        row_ends: Option<RowEndsMeta>,
    },
    /// Segments were rewritten: the old ones leave the manifest, the new ones enter it.
    Compact {
        /// The table.
        table: Oid,
        /// The segments that leave.
        removed: Vec<SegmentId>,
        /// The segments that enter.
        added: Vec<SegmentMeta>,
        /// Row ends of the new segments that landed on the old ones meanwhile, with their
        /// instants.
        carried: Vec<(CommitTs, RowEnds)>,
        /// Row-end sidecars that name only removed segments and leave too, by path.
        row_ends_removed: Vec<String>,
        /// A sidecar with the new segments' row ends.
        row_ends_added: Option<RowEndsMeta>,
    },
    /// Rows of a table were removed from every instant.
    Erased(Erasure),
    /// Nothing before the instant can be read of the table any more.
    Horizon {
        /// The table.
        table: Oid,
        /// The oldest readable instant.
        horizon: CommitTs,
    },
}

/// The receipt of an ERASE. It does not tell which rows: their values are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    /// The table.
    pub table: Oid,
    /// Who asked for it.
    pub user: String,
    /// When it was done, in microseconds since the Unix epoch.
    pub at: i64,
    /// How many row versions were removed.
    pub rows: u64,
}

/// What applying a command came to, for the storage that applies the same command next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The commit's instant, for a commit.
    pub ts: Option<CommitTs>,
    /// Where the rows of each [`TableWrite`] were placed, in the same order.
    pub placements: Vec<Placement>,
    /// The rows that the commit leaves in the log of commits, and their place.
    pub logged: Option<(Placement, Vec<CommitRow>)>,
}

/// Where the rows of one [`TableWrite`] stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The table.
    pub table: Oid,
    /// The table's commit number (`_cv`) of this commit, from 0.
    pub commit_number: i64,
    /// The hot segment that the rows went to.
    pub segment: SegmentId,
    /// The position of the first row.
    pub first_position: u32,
    /// How many rows.
    pub row_count: u32,
}
