//! Rewrites cold segments, so that current versions stand apart from ended ones.
//!
//! ```text
//! plan      which segments: many small ones, or ones of which much has ended
//! write     at an instant T: what is current at T, sorted by key; what had ended, by its end
//!           (nothing waits; commits end rows of the old segments meanwhile)
//! finish    no commit is under way: row ends after T are carried over to the new places
//! apply     old segments leave, new ones enter; readers that hold the old ones go on
//! collect   the old objects go when nobody reads them any more
//! ```
//!
//! Invariants:
//! - A row end is never lost: between `finish` and `apply` no commit gets an instant.
//! - Rows of different shapes are not mixed: what a dropped column held can still be read as of
//!   then.
//! - Killed at any point it leaves nothing but objects that no manifest names.

mod merge;
mod picker;
pub(crate) mod relocate;
mod retired;

pub use merge::{CompactionJob, CompactionSize, Pace};
pub use picker::{CompactionPlan, Wanted};
pub(crate) use retired::Retired;
