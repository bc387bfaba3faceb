//! Every table's rows: segments in memory and in object storage, row ends, key look-ups, and the
//! table provider that reads them at an instant.
//!
//! ```text
//! log entry --apply--> Store --> TableStore --> Segment (hot | cold) + row ends
//!                                     |
//! transaction's Overlay --------------+--> VersionedTable --> ScanExec
//! ```
//!
//! Invariants:
//! - A row version is named by its segment and position, and keeps that name while it is hot,
//!   after it was flushed, and on every node.
//! - A byte that came from an object store is used only after its checksum was verified.
//! - What a read at an instant answers does not depend on what has been flushed.

mod backup;
mod cache;
mod check;
mod checksum;
mod compaction;
mod cut;
mod error;
mod expiry;
mod export;
mod flush;
mod hot;
mod key_file;
mod keys;
mod lookup;
mod object;
mod options;
mod orphans;
mod overlay;
mod owner;
mod parts;
mod paths;
mod point;
mod provider;
mod pushdown;
mod row_ends;
mod rows;
mod scan;
mod segment;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub use backup::{Backup, BackupSize, BackupStore, Pin};
pub use compaction::{CompactionJob, CompactionPlan, CompactionSize, Pace, Wanted};
pub use error::{Error, Result};
pub use expiry::{Expiry, TTL, TTL_COLUMN, expired_among, parse_age};
pub use keys::{KeySpec, hash_key};
pub use lookup::{fetch_rows, find_all_committed_after, find_keys_committed_after, find_live_keys};
pub use object::Retry;
pub use options::StoreOptions;
pub use overlay::{Overlay, TableOverlay};
pub use point::PointRead;
pub use provider::{
    CV, HIDDEN_COLUMNS, OV, POSITION, SEGMENT, SYSTEM_FROM, SYSTEM_TO, VersionedTable,
};
pub use rows::{decode_rows, encode_rows, rows_schema};
pub use segment::schema::missing_value;
pub use segment::writer::SegmentWriter;
pub use store::{HotUsage, Store};
pub use table::TableStore;
