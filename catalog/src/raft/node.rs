//! One node's handle on the log: propose, follow, snapshot.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::{BasicNode, Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::command::{Command, Outcome};
use crate::error::{Error, Result};
use crate::raft::Applier;
use crate::raft::dir_lock::DirLock;
use crate::raft::health::Health;
use crate::raft::image::Image;
use crate::raft::log_store::LogStore;
use crate::raft::network::NoPeers;
use crate::raft::snapshot::{self, SnapshotContents};
use crate::raft::state_machine::{Shared, StateMachine};
use crate::raft::types::{
    ClientWriteError, Proposal, Reply, SnapshotMeta, TypeConfig, WriteResult,
};
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
            entry_bytes_max: 64 << 20,
        }
    }
}

/// A handle on the log; clones share one node.
#[derive(Clone)]
pub struct RaftNode {
    inner: Arc<Inner>,
}

struct Inner {
    options: RaftOptions,
    raft: Raft<TypeConfig, StateMachine>,
    store: LogStore,
    shared: Arc<Shared>,
    /// `None` once the node stops.
    proposals: Mutex<Option<mpsc::UnboundedSender<Queued>>>,
    proposer: Mutex<Option<JoinHandle<()>>>,
    /// One snapshot at a time.
    snapshotting: tokio::sync::Mutex<()>,
}

type Queued = (Proposal, oneshot::Sender<WriteResult>);

impl std::fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftNode").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl RaftNode {
    /// Opens the log and applies everything that stands in it. As the only voter, the node
    /// leads when this returns.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Corrupt`], [`Error::Io`], and what the applier returns.
    pub async fn start(options: RaftOptions, applier: Arc<dyn Applier>) -> Result<RaftNode> {
        let health = Health::default();
        let (opening, follower) = (options.clone(), Arc::clone(&applier));
        let opened = Health::clone(&health);
        let (store, shared, meta) = blocking(move || open(&opening, follower, opened)).await??;
        let machine = StateMachine::new(Arc::clone(&shared), meta);
        // A single voter needs no clock: it elects itself when told to, and has nobody to send
        // heartbeats to. Snapshots and purges are made when the node asks.
        let config = Config {
            cluster_name: "chronos".to_owned(),
            enable_tick: false,
            enable_heartbeat: false,
            enable_elect: false,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX / 2,
            purge_batch_size: 1,
            ..Config::default()
        };
        let config = config.validate().map_err(|e| stopped(&health, e))?;
        let raft = Raft::new(options.node_id, Arc::new(config), NoPeers, store.clone(), machine)
            .await
            .map_err(|e| stopped(&health, e))?;
        lead(&raft, &options, &health).await?;

        let (proposals, queue) = mpsc::unbounded_channel();
        let proposer = tokio::spawn(propose_in_order(raft.clone(), queue));
        let inner = Inner {
            options,
            raft,
            store,
            shared,
            proposals: Mutex::new(Some(proposals)),
            proposer: Mutex::new(Some(proposer)),
            snapshotting: tokio::sync::Mutex::new(()),
        };
        Ok(RaftNode { inner: Arc::new(inner) })
    }

    /// Proposes a command. Commands enter the log in the order of the calls, not of the polls;
    /// the future resolves when the command is durable and applied here. Dropping the future
    /// does not withdraw the command.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::NotLeader`] when the command did not enter the log;
    /// [`Error::OutcomeUnknown`] when it may have.
    pub fn propose(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Outcome>> + Send + 'static {
        let queued = self.enqueue(command);
        let health = self.inner.shared.health.clone();
        async move {
            match queued?.await {
                Ok(Ok(response)) => Ok(response.data),
                Ok(Err(ClientWriteError::ForwardToLeader(e))) => {
                    Err(Error::NotLeader { reason: e.to_string() })
                }
                Ok(Err(e)) => Err(Error::OutcomeUnknown { reason: e.to_string() }),
                Err(_) => {
                    let reason = health.reason().unwrap_or("the node stopped").to_owned();
                    Err(Error::OutcomeUnknown { reason })
                }
            }
        }
    }

    fn enqueue(&self, command: Command) -> Result<oneshot::Receiver<WriteResult>> {
        self.healthy()?;
        let proposal = Proposal::new(command)?;
        let (bytes, bytes_max) = (proposal.bytes.len(), self.inner.options.entry_bytes_max);
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        let (reply, wait) = oneshot::channel();
        match self.inner.proposals.lock().as_ref() {
            Some(queue) if queue.send((proposal, reply)).is_ok() => Ok(wait),
            _ => Err(Error::NotLeader { reason: "the node is stopping".to_owned() }),
        }
    }

    /// The applied state. Hold the lock briefly: applying waits for it.
    pub fn state(&self) -> Arc<RwLock<State>> {
        Arc::clone(&self.inner.shared.state)
    }

    /// The last commit that state and applier have both applied.
    pub fn applied(&self) -> watch::Receiver<CommitTs> {
        self.inner.shared.applied.subscribe()
    }

    /// How many bytes the log has grown by since the last snapshot.
    pub fn log_bytes(&self) -> u64 {
        self.inner.store.log_bytes()
    }

    /// Writes a snapshot of state and unflushed rows, then purges the log up to the snapshot
    /// before it: with two snapshots and the log between them, one damaged file loses nothing.
    ///
    /// # Errors
    /// What [`Applier::export`] returns, or [`Error::Io`]; the node goes on without.
    pub async fn snapshot(&self) -> Result<()> {
        let inner = &self.inner;
        let _one = inner.snapshotting.lock().await;
        self.healthy()?;
        let contents = self.capture().await?;
        let previous = inner.shared.current.lock().as_ref().and_then(|s| s.meta.last_log_id);
        let last = contents.meta.last_log_id;
        if last == previous {
            return Ok(());
        }
        let dir = inner.shared.snapshot_dir.clone();
        let snapshot = blocking(move || {
            let snapshot = contents.write(&dir)?;
            Ok::<_, Error>(openraft::storage::Snapshot { meta: contents.meta, snapshot })
        })
        .await??;
        *inner.shared.ready.lock() = Some(snapshot);
        inner.raft.trigger().snapshot().await.map_err(|e| stopped(&inner.shared.health, e))?;
        self.wait(move |m| m.snapshot >= last, "snapshot").await?;
        if let Some(last) = last {
            inner.store.snapshot_taken(last.index);
        }
        if let Some(previous) = previous {
            inner
                .raft
                .trigger()
                .purge_log(previous.index)
                .await
                .map_err(|e| stopped(&inner.shared.health, e))?;
            self.wait(move |m| m.purged >= Some(previous), "purge").await?;
        }
        Ok(())
    }

    /// A consistent view of everything that is not in the object store.
    ///
    /// # Errors
    /// The log's failure, and what [`Applier::export`] returns.
    pub async fn image(&self) -> Result<Image> {
        Ok(Image::of(self.capture().await?))
    }

    /// What the state machine holds, at one point of the log.
    async fn capture(&self) -> Result<SnapshotContents> {
        let inner = &self.inner;
        inner
            .raft
            .with_state_machine(|machine| {
                let contents = machine.capture();
                Box::pin(async move { contents })
            })
            .await
            .map_err(|e| stopped(&inner.shared.health, e))?
    }

    async fn wait(
        &self,
        condition: impl Fn(&RaftMetrics<TypeConfig>) -> bool + Send,
        what: &str,
    ) -> Result<()> {
        let health = &self.inner.shared.health;
        let wait = self.inner.raft.wait(Some(Duration::from_secs(60)));
        wait.metrics(condition, what).await.map(drop).map_err(|e| stopped(health, e))
    }

    /// Whether the node still takes commands.
    ///
    /// # Errors
    /// What stopped it, as [`Error::NotLeader`].
    pub fn healthy(&self) -> Result<()> {
        self.inner.shared.health.check()?;
        let metrics = self.inner.raft.server_metrics();
        match openraft::async_runtime::WatchReceiver::borrow_watched(&metrics).state {
            ServerState::Leader => Ok(()),
            state => Err(Error::NotLeader { reason: format!("the node is {state:?}") }),
        }
    }

    /// Stops: what was proposed before is applied or refused, and the directory is free when
    /// this returns.
    ///
    /// # Errors
    /// When a task of the node had panicked, or the last write failed.
    pub async fn shutdown(&self) -> Result<()> {
        let inner = &self.inner;
        drop(inner.proposals.lock().take());
        let proposer = inner.proposer.lock().take();
        if let Some(proposer) = proposer {
            proposer.await.map_err(|e| stopped(&inner.shared.health, e))?;
            if self.healthy().is_ok() {
                // An entry of its own at the end: when it is applied, everything before it is.
                let _ = inner.raft.write_blank().await;
            }
        }
        inner.raft.shutdown().await.map_err(|e| stopped(&inner.shared.health, e))?;
        match inner.store.close().await {
            Err(source) if inner.shared.health.reason().is_none() => {
                Err(Error::Io { action: "close the log".to_owned(), source })
            }
            // What failed before was told to whom it concerned.
            _ => Ok(()),
        }
    }
}

/// Opens what is on disk: log, snapshot, and with it the applier.
fn open(
    options: &RaftOptions,
    applier: Arc<dyn Applier>,
    health: Health,
) -> Result<(LogStore, Arc<Shared>, SnapshotMeta)> {
    let lock = Arc::new(DirLock::acquire(&options.dir)?);
    let store = LogStore::open(
        &options.dir.join("log"),
        options.log_file_bytes_max,
        options.log_cache_bytes_max,
        health.clone(),
        lock,
    )?;
    let snapshot_dir = options.dir.join("snapshot");
    let (mut state, mut meta, mut current) = (State::default(), SnapshotMeta::default(), None);
    if let Some((contents, file)) = snapshot::newest(&snapshot_dir, store.purged())? {
        let SnapshotContents { meta: found, state: restored, rows } = contents;
        applier.restore(&restored, rows)?;
        if let Some(last) = found.last_log_id {
            store.snapshot_taken(last.index);
        }
        current = Some(openraft::storage::Snapshot { meta: found.clone(), snapshot: file });
        (state, meta) = (restored, found);
    }
    let (applied, _) = watch::channel(state.last_commit);
    let shared = Shared {
        state: Arc::new(RwLock::new(state)),
        applied,
        applier,
        health,
        snapshot_dir,
        current: Mutex::new(current),
        ready: Mutex::new(None),
    };
    Ok((store, Arc::new(shared), meta))
}

/// Makes the node the leader of itself, and waits until it has applied its whole log.
async fn lead(
    raft: &Raft<TypeConfig, StateMachine>,
    options: &RaftOptions,
    health: &Health,
) -> Result<()> {
    let node_id = options.node_id;
    if raft.is_initialized().await.map_err(|e| stopped(health, e))? {
        if !raft.voter_ids().any(|id| id == node_id) {
            return Err(Error::Corrupt {
                what: format!("data directory \"{}\"", options.dir.display()),
                reason: format!("it does not belong to node {node_id}"),
            });
        }
        raft.trigger().elect(false).await.map_err(|e| stopped(health, e))?;
    } else {
        raft.initialize(BTreeMap::from([(node_id, BasicNode::default())]))
            .await
            .map_err(|e| stopped(health, e))?;
    }
    // However long the log takes; a failure ends the wait.
    raft.wait(None)
        .metrics(
            |m| {
                m.running_state.is_err()
                    || m.state == ServerState::Leader
                        && m.last_applied.map(|id| id.index) == m.last_log_index
            },
            "lead with everything applied",
        )
        .await
        .map_err(|e| stopped(health, e))?
        .running_state
        .map_err(|e| stopped(health, e))
}

/// Hands proposals to openraft one after the other; answers come when they come.
async fn propose_in_order(
    raft: Raft<TypeConfig, StateMachine>,
    mut queue: mpsc::UnboundedReceiver<Queued>,
) {
    while let Some((proposal, reply)) = queue.recv().await {
        // On an error the reply is dropped, which tells whoever waits for it.
        let _ = raft.client_write_ff(proposal, Some(Reply(reply))).await;
    }
}

/// The error of an operation that openraft gave up: the first cause where we know it.
fn stopped(health: &Health, error: impl std::fmt::Display) -> Error {
    let reason = health.reason().map_or_else(|| error.to_string(), str::to_owned);
    Error::NotLeader { reason }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::NotLeader { reason: e.to_string() })
}
