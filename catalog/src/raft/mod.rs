//! The Raft log, which is also the write-ahead log of a node that stands alone.

mod applier;
mod block;
mod check;
mod dir_lock;
mod health;
mod image;
mod log_files;
mod log_index;
mod log_store;
mod log_writer;
mod network;
mod node;
mod record;
mod snapshot;
mod state_machine;
mod types;

#[cfg(test)]
mod tests;

pub use applier::Applier;
pub use check::{Finding, Severity, check, check_in_use, check_with_state};
pub use dir_lock::DirLock;
pub use image::Image;
pub use node::{RaftNode, RaftOptions};
