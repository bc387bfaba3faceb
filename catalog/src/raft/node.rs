//! One node's handle on the log: propose, follow, snapshot.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::command::{Command, Outcome};
use crate::error::{Error, Result};
use crate::raft::Applier;
use crate::state::State;
use crate::time::CommitTs;

/// How a node keeps its log.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// The data directory; `log/`, `snapshot/` and `LOCK` stand in it.
    pub dir: PathBuf,
    /// This node's number in the cluster, from 1.
    pub node_id: u64,
    /// The size at which a log file is closed and the next begun, in bytes.
    pub log_file_bytes_max: u64,
    /// How many bytes of recent entries stay in memory; older ones are read from their file.
    pub log_cache_bytes_max: usize,
    /// The largest encoded command that is accepted, in bytes.
    pub entry_bytes_max: usize,
}

impl RaftOptions {
    /// The defaults for a node whose data stands in `dir`.
    pub fn new(dir: impl Into<PathBuf>, node_id: u64) -> RaftOptions {
        RaftOptions {
            dir: dir.into(),
            node_id,
            log_file_bytes_max: 64 << 20,
            log_cache_bytes_max: 32 << 20,
            entry_bytes_max: 256 << 20,
        }
    }
}

/// A handle on the log; clones share one node.
#[derive(Clone)]
pub struct RaftNode {
    state: Arc<RwLock<State>>,
    applied: watch::Receiver<CommitTs>,
}

impl RaftNode {
    /// Opens the log and applies everything that stands in it. As the only voter, the node
    /// leads when this returns.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Corrupt`], [`Error::Io`], and what the applier returns.
    pub async fn start(options: RaftOptions, applier: Arc<dyn Applier>) -> Result<RaftNode> {
        let _ = (options, applier);
        Err(Error::NotLeader { reason: "the log is not there yet".to_owned() })
    }

    /// Proposes a command. Commands enter the log in the order of the calls, not of the polls;
    /// the future resolves when the command is durable and applied here. Dropping the future
    /// does not withdraw the command.
    ///
    /// # Errors
    /// [`Error::NotLeader`] when the command did not enter the log; [`Error::OutcomeUnknown`]
    /// when it may have.
    pub fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Outcome>> + Send + 'static {
        let _ = command;
        async { Err(Error::NotLeader { reason: "the log is not there yet".to_owned() }) }
    }

    /// The applied state. Hold the lock briefly: applying waits for it.
    pub fn state(&self) -> Arc<RwLock<State>> {
        Arc::clone(&self.state)
    }

    /// The last commit that state and applier have both applied.
    pub fn applied(&self) -> watch::Receiver<CommitTs> {
        self.applied.clone()
    }

    /// How many bytes the log has grown by since the last snapshot.
    pub fn log_bytes(&self) -> u64 {
        0
    }

    /// Writes a snapshot of state and unflushed rows, then removes the log files that it makes
    /// needless.
    ///
    /// # Errors
    /// What [`Applier::export`] returns, or [`Error::Io`].
    pub async fn snapshot(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the node still takes commands: the error that stopped it, if one did.
    ///
    /// # Errors
    /// That error, as [`Error::NotLeader`].
    pub fn healthy(&self) -> Result<()> {
        Ok(())
    }

    /// Stops: what was proposed before is applied or refused, and the directory is free when
    /// this returns.
    ///
    /// # Errors
    /// When a task of the node had panicked.
    pub async fn shutdown(&self) -> Result<()> {
        Ok(())
    }
}
