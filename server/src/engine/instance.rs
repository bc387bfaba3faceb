//! One node's storage, log and sequencer.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use chronos_catalog::clock::{Clock, HybridClock, SystemClock};
use chronos_catalog::raft::{Applier, RaftNode, RaftOptions};
use chronos_catalog::{Command, CommitTs, Maintenance, Oid, Relation, SegmentMeta, State};
use chronos_storage::{Store, StoreOptions};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::engine::compaction::{self, CompactionRecord, Compactions};
use crate::engine::error::{EngineResult, Error};
use crate::engine::locks::RowLocks;
use crate::engine::maintenance::{self, MaintenanceStats};
use crate::engine::sequencer::Sequencer;
use crate::engine::sequences::Sequences;
use crate::engine::transaction::Transaction;
use crate::engine::ttl;

/// The file that says what the database is called in its store.
const STORE_ID: &str = "store-id";
/// How long a writer waits for memory while the object store takes nothing.
const MEMORY_WAIT: Duration = Duration::from_secs(5);
/// How often it looks.
const MEMORY_TICK: Duration = Duration::from_millis(200);

/// One node's storage, log and sequencer. One per data directory.
pub struct Engine {
    pub(super) config: Config,
    pub(super) store: Arc<Store>,
    pub(super) raft: RaftNode,
    pub(super) state: Arc<RwLock<State>>,
    pub(super) applied: watch::Receiver<CommitTs>,
    pub(super) clock: Arc<HybridClock>,
    pub(super) sequencer: Sequencer,
    pub(super) sequences: Sequences,
    pub(super) locks: Arc<RowLocks>,
    pub(super) stats: MaintenanceStats,
    pub(super) compactions: Compactions,
    /// Wakes the maintenance task before its time.
    pub(super) maintain: Arc<Notify>,
    /// Wakes writers that wait for memory.
    pub(super) memory_freed: Notify,
    /// About how many bytes all hot rows take.
    hot_bytes: AtomicU64,
    next_oid: AtomicU32,
    stopping: CancellationToken,
    /// Background tasks, which a stop waits for.
    tasks: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("last_commit", &self.last_commit()).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the data directory: applies what stands in the log, then takes commits.
    ///
    /// # Errors
    /// The directory is in use or unreadable, its files are corrupt, or the store cannot be
    /// reached.
    pub async fn open(config: &Config) -> EngineResult<Arc<Engine>> {
        Self::open_with_clock(config, Arc::new(SystemClock)).await
    }

    /// The same with a given clock.
    ///
    /// # Errors
    /// Likewise.
    pub async fn open_with_clock(
        config: &Config,
        clock: Arc<dyn Clock>,
    ) -> EngineResult<Arc<Engine>> {
        let cache_bytes = config.cache_bytes;
        let options = StoreOptions {
            cache_bytes,
            disk_cache_dir: Some(config.data_dir.join("cache")),
            disk_cache_bytes: config.disk_cache_bytes,
            ..StoreOptions::new(config.store_url())
        };
        Self::open_on(config, clock, options).await
    }

    /// The same with a given store.
    ///
    /// # Errors
    /// Likewise.
    pub async fn open_on(
        config: &Config,
        clock: Arc<dyn Clock>,
        options: StoreOptions,
    ) -> EngineResult<Arc<Engine>> {
        let store = Store::open(options).await?;
        // Another database may use a store that was named; one in the data directory is ours.
        let is_ours = match &config.store {
            None => true,
            Some(_) => match take_store(config, &store).await {
                Ok(()) => true,
                // The log takes commits, and flushes go on when the store is back.
                Err(Error::Storage(error @ chronos_storage::Error::ObjectStore { .. })) => {
                    error!(%error, "the object store cannot be used");
                    false
                }
                Err(error) => return Err(error),
            },
        };
        let applier: Arc<dyn Applier> = Arc::clone(&store) as Arc<dyn Applier>;
        let raft = RaftNode::start(RaftOptions::new(&config.data_dir, 1), applier).await?;
        let last_run = is_ours.then(|| {
            store.expect_orphans();
            raft.state().read().clone()
        });
        let clock = Arc::new(HybridClock::with_skew_max(clock, config.clock_skew_max));
        let state = raft.state();
        let applied = raft.applied();
        clock.observe(*applied.borrow());
        let next_oid = state.read().next_oid;
        let engine = Arc::new(Engine {
            config: config.clone(),
            sequencer: Sequencer::start(raft.clone(), Arc::clone(&store), Arc::clone(&clock)),
            sequences: Sequences::default(),
            locks: Arc::default(),
            store,
            raft,
            state,
            applied,
            clock,
            stats: MaintenanceStats::default(),
            compactions: Compactions::default(),
            maintain: Arc::new(Notify::new()),
            memory_freed: Notify::new(),
            hot_bytes: AtomicU64::new(0),
            next_oid: AtomicU32::new(next_oid),
            stopping: CancellationToken::new(),
            tasks: Mutex::new(JoinSet::new()),
        });
        engine.measure_hot_bytes();
        let wake = Arc::clone(&engine.maintain);
        let stopping = engine.stopping.clone();
        engine.spawn(maintenance::run(Arc::downgrade(&engine), wake, stopping.clone()));
        engine.spawn(compaction::run(Arc::downgrade(&engine), stopping.clone()));
        engine.spawn(ttl::run(Arc::downgrade(&engine), stopping.clone()));
        if let Some(state) = last_run {
            engine.spawn(collect_orphans(Arc::clone(&engine.store), state, stopping));
        }
        Ok(engine)
    }

    /// Stops: what was sequenced is applied, later commits are refused, hot rows are flushed, a
    /// snapshot makes the next start short, and the directory is free when this returns.
    ///
    /// # Errors
    /// What the flush, the snapshot or the log met; the log holds everything that was
    /// acknowledged in any case.
    pub async fn shutdown(&self) -> EngineResult<()> {
        self.stopping.cancel();
        self.sequencer.stop().await;
        self.memory_freed.notify_waiters();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                error!(%error, "a background task failed");
            }
        }
        let flushed = match self.raft.healthy() {
            Ok(()) => maintenance::flush_and_snapshot(self).await,
            Err(error) => Err(error.into()),
        };
        let stopped = self.raft.shutdown().await;
        flushed?;
        stopped?;
        Ok(())
    }

    /// A transaction that sees every commit applied so far.
    pub fn begin(self: &Arc<Self>) -> Transaction {
        Transaction::new(Arc::clone(self))
    }

    /// The last commit that reads see.
    pub fn last_commit(&self) -> CommitTs {
        *self.applied.borrow()
    }

    /// The wall clock, in microseconds since the Unix epoch.
    pub fn now_micros(&self) -> i64 {
        self.clock.clock().now_micros()
    }

    /// The settings that the node was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The rows of all tables.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The replicated state. Hold the lock briefly: applying waits for it.
    pub fn state(&self) -> &Arc<RwLock<State>> {
        &self.state
    }

    /// What the background work did so far.
    pub fn maintenance_stats(&self) -> &MaintenanceStats {
        &self.stats
    }

    /// Whether commits are taken: `Err` tells why not.
    ///
    /// # Errors
    /// Stopping, or a failed log.
    pub fn ready(&self) -> EngineResult<()> {
        if self.stopping.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        Ok(self.raft.healthy()?)
    }

    /// Makes a read AS OF `t` repeatable: when this returns, no commit at or before `t` can
    /// become visible any more.
    ///
    /// # Errors
    /// [`Error::InstantInFuture`] where `t` is after the wall clock; the log's failure.
    pub async fn close_instant(&self, t: CommitTs) -> EngineResult<()> {
        if t <= self.last_commit() {
            return Ok(());
        }
        // The hybrid clock may be ahead of the wall clock by what was committed or closed; such
        // instants exist already.
        let now = self.clock.now();
        if t > now {
            return Err(Error::InstantInFuture { instant: t, now });
        }
        self.sequencer.close(t).await?;
        Ok(self.raft.healthy()?)
    }

    /// `nextval`: durable before it is handed out. `definition` is the sequence's, which may be
    /// the transaction's own and uncommitted.
    ///
    /// # Errors
    /// [`Error::SequenceExhausted`], [`Error::NotASequence`]; the log's failure.
    pub async fn next_value(&self, sequence: Oid, definition: &Relation) -> EngineResult<i64> {
        self.sequences.next(self, sequence, definition).await
    }

    /// `setval`: the next value is `value` itself, or with `called` the one after it.
    ///
    /// # Errors
    /// [`Error::SequenceBounds`], [`Error::NotASequence`]; the log's failure.
    pub async fn set_value(
        &self,
        sequence: Oid,
        definition: &Relation,
        value: i64,
        called: bool,
    ) -> EngineResult<()> {
        self.sequences.set(self, sequence, definition, value, called).await
    }

    /// The last value handed out on this node or, after a start, the last that may have been;
    /// `None` when there was none (`last_value` and `is_called` of a sequence).
    pub fn last_value(&self, sequence: Oid) -> Option<i64> {
        self.sequences.last(self, sequence)
    }

    /// Writes a table's hot rows and row ends to the store.
    ///
    /// # Errors
    /// The store's or the log's failure; the rows stay in memory and in the log.
    pub async fn flush(&self, table: Oid) -> EngineResult<()> {
        maintenance::flush_table(self, table).await
    }

    /// Writes every table's hot rows and row ends to the store.
    ///
    /// # Errors
    /// Likewise, the first one met.
    pub async fn flush_all(&self) -> EngineResult<()> {
        maintenance::flush_all(self).await
    }

    /// Flushes a table and rewrites what a compaction has not left as it should be.
    ///
    /// # Errors
    /// The store's or the log's failure; nothing is lost.
    pub async fn compact(self: &Arc<Self>, table: Oid) -> EngineResult<()> {
        maintenance::flush_table(self, table).await?;
        compaction::compact_all(self, table).await
    }

    /// Ends the rows of a table that have expired (`ttl`). Gives how many.
    ///
    /// # Errors
    /// The store's or the log's failure; some rows may have ended.
    pub async fn expire(self: &Arc<Self>, table: Oid) -> EngineResult<u64> {
        ttl::expire(self, table).await
    }

    /// Moves a table's horizon: nothing before `horizon` can be read any more, and compaction
    /// removes what ended before. A horizon never moves back. One after the last commit is that
    /// commit.
    ///
    /// # Errors
    /// The log's failure.
    pub async fn move_horizon(&self, table: Oid, horizon: CommitTs) -> EngineResult<()> {
        let horizon = horizon.min(self.last_commit());
        let known = self.state.read().manifests.get(&table).map(|m| m.horizon);
        match known {
            Some(before) if before < Some(horizon) => {
                self.propose(Command::Maintain(Maintenance::Horizon { table, horizon })).await
            }
            _ => Ok(()),
        }
    }

    /// The last compactions, the newest last.
    pub fn compactions(&self) -> Vec<CompactionRecord> {
        self.compactions.records()
    }

    /// An object identifier that nothing else has.
    pub(super) fn allocate_oid(&self) -> Oid {
        // Another node may have led meanwhile and used identifiers that this one never gave.
        self.next_oid.fetch_max(self.state.read().next_oid, Ordering::SeqCst);
        Oid(self.next_oid.fetch_add(1, Ordering::SeqCst))
    }

    /// Waits while the hot rows of all tables take more memory than they may, then counts
    /// `bytes` that are about to be added.
    pub(super) async fn wait_for_memory(&self, bytes: u64) -> EngineResult<()> {
        let max = self.config.hot_bytes_max;
        let mut waited = Duration::ZERO;
        // The count is what maintenance last measured and what was added since: nearly always
        // enough to know that there is room.
        while self.hot_bytes.load(Ordering::Relaxed) > max {
            let freed = self.memory_freed.notified();
            if self.measure_hot_bytes() <= max {
                break;
            }
            self.ready()?;
            self.maintain.notify_one();
            // While flushes fail nobody knows how long it takes.
            if waited >= MEMORY_WAIT
                && let Some(cause) = self.stats.upload_error()
            {
                return Err(Error::MemoryFull { cause });
            }
            tokio::select! {
                () = freed => {}
                // A failing flush wakes nobody; look again whether the node still works.
                () = tokio::time::sleep(MEMORY_TICK) => waited += MEMORY_TICK,
            }
        }
        let before = self.hot_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes).saturating_mul(3) >= max.saturating_mul(2) {
            self.maintain.notify_one();
        }
        Ok(())
    }

    /// Counts the bytes of all hot rows.
    pub(super) fn measure_hot_bytes(&self) -> u64 {
        let bytes = self.store.hot_usage().iter().map(|u| u.bytes as u64).sum();
        self.hot_bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Proposes an entry that is not a transaction.
    pub(super) async fn propose(&self, command: Command) -> EngineResult<()> {
        self.raft.propose(command).await?;
        Ok(())
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        // What has ended need not be kept for the stop.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Deletes segments that no commit names, in the background. What cannot be deleted stays
    /// in the store as an orphan, and the log says so.
    pub(super) fn discard(&self, segments: Vec<Arc<SegmentMeta>>) {
        // Outside of a runtime (a drop at the very end) the objects stay.
        if segments.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let store = Arc::clone(&self.store);
        self.spawn(async move {
            for segment in segments {
                if let Err(error) = store.delete_uncommitted(&segment).await {
                    warn!(object = segment.file.path, %error, "could not delete an orphan");
                }
            }
        });
    }
}

/// Removes what a crash left in the store. It may hold many objects, so nobody waits.
async fn collect_orphans(store: Arc<Store>, state: State, stopping: CancellationToken) {
    let collected = tokio::select! {
        () = stopping.cancelled() => return,
        collected = store.collect_orphans(&state) => collected,
    };
    match collected {
        Ok(0) => {}
        Ok(orphans) => info!(orphans, "removed objects that nothing names"),
        Err(error) => warn!(%error, "could not remove objects that nothing names"),
    }
}

/// Makes sure that a store can be used and is no other database's.
async fn take_store(config: &Config, store: &Store) -> EngineResult<()> {
    store.probe().await?;
    let id = store_id(&config.data_dir).map_err(|source| {
        let action = format!("read or write \"{}\"", config.data_dir.join(STORE_ID).display());
        chronos_catalog::Error::Io { action, source }
    })?;
    Ok(store.own(&id).await?)
}

/// What the database is called in its store: random, and kept in the data directory.
fn store_id(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(STORE_ID);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let id = uuid::Uuid::new_v4().to_string();
    let partial = data_dir.join(format!("{STORE_ID}.partial"));
    let mut file = File::create(&partial)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, &path)?;
    File::open(data_dir)?.sync_all()?;
    Ok(id)
}
