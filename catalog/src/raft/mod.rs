//! The Raft log, which is also the write-ahead log of a node that stands alone.

mod applier;
mod node;

pub use applier::Applier;
pub use node::{RaftNode, RaftOptions};
