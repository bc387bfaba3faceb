//! What stands behind the catalog and follows the same log: the rows.

use bytes::Bytes;

use crate::command::{Command, Outcome};
use crate::error::Result;
use crate::state::State;

/// Follows the log after [`State::apply`]: it keeps the rows that the commands carry.
///
/// Calls come one at a time and in log order. While `apply` runs the state's lock is held
/// shared: others may read the state, and an implementation must not lock it again.
pub trait Applier: Send + Sync + 'static {
    /// Follows a command that the state has just applied; `outcome` is what that came to.
    ///
    /// # Errors
    /// Only for a log that no correct leader writes. The node stops, and nothing that came
    /// with the command is acknowledged.
    fn apply(&self, state: &State, command: &Command, outcome: &Outcome) -> Result<()>;

    /// The hot rows and row ends that no flush has written yet, for the Raft snapshot:
    /// exactly those that `state` accounts for.
    ///
    /// # Errors
    /// The snapshot is given up and the log stays as long as it is.
    fn export(&self, state: &State) -> Result<Bytes>;

    /// Replaces everything held by what a snapshot holds, at start-up or when a leader sends
    /// one.
    ///
    /// # Errors
    /// The node stops.
    fn restore(&self, state: &State, exported: Bytes) -> Result<()>;
}
