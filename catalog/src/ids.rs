//! Typed identifiers. A bare integer is a question; these are answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The object identifier of a table, schema, index, view, sequence, constraint or role.
///
/// Objects of users start at [`Oid::FIRST_USER`], are allocated when their DDL commits, are the
/// same on every node and are never reused (as PostgreSQL's OIDs).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Oid(pub u32);

impl Oid {
    /// The first identifier of an object that a user made (PostgreSQL's `FirstNormalObjectId`).
    pub const FIRST_USER: Oid = Oid(16384);
    /// The schema `pg_catalog`.
    pub const PG_CATALOG: Oid = Oid(11);
    /// The schema `public`.
    pub const PUBLIC: Oid = Oid(2200);
    /// The schema `chronos`.
    pub const CHRONOS: Oid = Oid(15000);
    /// The log of commits.
    pub const COMMITS: Oid = Oid(15010);
    /// The bootstrap superuser role.
    pub const SUPERUSER: Oid = Oid(10);
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A column's number within its table, from 1; never reused, also not after DROP COLUMN
/// (PostgreSQL's `attnum`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColumnId(pub u32);

/// An immutable batch of row versions, hot (in memory) or cold (in object storage).
///
/// Flushing keeps the identifier and every position; compaction makes new segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SegmentId(pub u64);

impl SegmentId {
    /// The rows that a running transaction has written and not committed. Never in the log.
    pub const LOCAL: SegmentId = SegmentId(u64::MAX);
    /// Segments that are written before the log knows of them (those of large transactions and
    /// of compaction) take random identifiers from here on; [`crate::State`] counts up from 1
    /// for hot ones. So neither can take the other's.
    pub const FIRST_UNPLACED: SegmentId = SegmentId(1 << 62);
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s-{}", self.0)
    }
}

/// Where one row version stands: a segment and a position in it, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RowRef {
    /// The segment.
    pub segment: SegmentId,
    /// The row's position in the segment, from 0.
    pub position: u32,
}
