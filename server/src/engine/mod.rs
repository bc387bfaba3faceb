//! The node: storage, log and sequencer put together; transactions.
//!
//! ```text
//! session -> Transaction (read_ts, own rows, own row ends, own definitions)
//!               | commit
//!               v
//!            Sequencer: validates, takes the CommitTs, proposes; one at a time, in order
//!               |                                              (many proposals in flight)
//!               v
//!            log: durable -> State::apply -> Store::apply -> `applied` -> acknowledged
//!
//!            Maintenance: seals, flushes, snapshots; wakes writers that wait for memory
//! ```

mod backup;
mod compaction;
mod erasure;
mod error;
mod instance;
mod keys;
mod locks;
mod maintenance;
mod references;
mod retention;
mod sequencer;
mod sequences;
mod temporary;
#[cfg(test)]
mod tests;
mod transaction;
mod ttl;
mod writes;

pub use compaction::CompactionRecord;
pub use erasure::ErasureUnderWay;
pub use error::{EngineResult, Error};
pub use instance::Engine;
pub use locks::{LockMode, LockWait};
pub use maintenance::{FailedUpload, MaintenanceStats};
pub use references::{Reference, RowsToRefer};
pub use sequencer::Committed;
pub use temporary::drop_temporary;
pub use transaction::{Savepoint, Transaction};
