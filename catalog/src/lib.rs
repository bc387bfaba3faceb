//! What all nodes agree on: names, schemas and their history, manifests, commit times, and the
//! Raft log that orders them.
//!
//! This crate is pure state plus consensus. It knows nothing of Parquet, DataFusion or object
//! stores. [`State::apply`] reads no clock, file or random number, so every node that applies the
//! same log computes the same state.

pub mod clock;
pub mod command;
pub mod commits;
pub mod error;
pub mod format;
pub mod ids;
pub mod manifest;
pub mod raft;
pub mod roles;
pub mod schema;
mod serde_with;
pub mod state;
pub mod time;

pub use clock::{Clock, HybridClock, OsRandom, Rng, SeededRandom, SystemClock};
pub use command::{
    Command, Commit, CommitMeta, Erasure, Maintenance, ObjectChange, Outcome, Placement, RowEnds,
    TableWrite,
};
pub use commits::{COMMITS_TABLE, CommitRow, commits_object};
pub use error::{Error, Result};
pub use ids::{ColumnId, Oid, RowRef, SegmentId};
pub use manifest::{Manifest, ObjectMeta, RowEndsMeta, SegmentMeta};
pub use raft::{Applier, DirLock, RaftNode, RaftOptions};
pub use schema::{
    Column, Constraint, ConstraintKind, INDEX_COMMENT, Object, Period, Policy, PolicyCommand,
    Relation, RowSecurity, SqlType, TableDef,
};
pub use state::{NameKind, ObjectVersion, Objects, State, TEMPORARY_PREFIX};
pub use time::{CommitTs, ReadTs, SystemPeriod, SystemTime};
