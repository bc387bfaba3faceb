//! The harness of the system tests: it starts the real `chronos` binary, speaks the wire protocol
//! to it, and compares answers.
//!
//! Invariants:
//! - Only processes that the harness started are ever signalled.
//! - A server that panicked fails the test that started it, whatever the test saw.
//! - A test that cannot run here says so on a line that begins with `SKIPPED`.

pub mod answer;
pub mod any_text;
pub mod binary;
pub mod data;
pub mod node;
pub mod script;
pub mod tools;

pub use answer::{Answer, Cell};
pub use node::TestNode;

/// The time limit of every wait on a server: generous, for CI machines are slow and debug builds
/// more so.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
