//! Background work: flushes hot rows to the store, and makes snapshots so that the log stays
//! short.
//!
//! A failure is logged once, tried again with growing pauses, and loses nothing: the rows stay
//! in memory and in the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chronos_catalog::{Command, CommitTs, Maintenance, Oid};
use chronos_storage::{HotUsage, Retry};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::engine::error::EngineResult;
use crate::engine::instance::Engine;

/// How often the task looks for work.
const TICK: Duration = Duration::from_millis(500);
/// The pauses after failures.
const AGAIN: Retry = Retry {
    pause: Duration::from_secs(2),
    pause_max: Duration::from_secs(60),
    // It never gives up, and the store's calls end by themselves.
    retries: u32::MAX,
    timeout: Duration::MAX,
};

/// What the background work did since the start.
#[derive(Debug, Default)]
pub struct MaintenanceStats {
    /// Flushes of one table.
    pub flushes: AtomicU64,
    /// Raft snapshots.
    pub snapshots: AtomicU64,
    /// Failed rounds.
    pub failures: AtomicU64,
    /// When the last round that had work ended well, in microseconds since the Unix epoch.
    pub succeeded_at: AtomicI64,
    /// One flush at a time: a table must not be flushed twice at once.
    pub(super) flushing: tokio::sync::Mutex<()>,
    uploads: Mutex<BTreeMap<Oid, FailedUpload>>,
}

/// A table whose rows the object store does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedUpload {
    /// Tries that failed since the last that did not.
    pub attempts: u64,
    /// Why the last one failed.
    pub last_error: String,
    /// When the first one failed, in microseconds since the Unix epoch.
    pub since: i64,
}

impl MaintenanceStats {
    /// The tables whose last flush failed.
    pub fn failed_uploads(&self) -> BTreeMap<Oid, FailedUpload> {
        self.uploads.lock().clone()
    }

    /// Why the last flush of some table failed, where it did.
    pub(super) fn upload_error(&self) -> Option<String> {
        let uploads = self.uploads.lock();
        uploads.values().next().map(|failed| failed.last_error.clone())
    }

    fn note_upload(&self, table: Oid, result: &EngineResult<()>, now: i64) {
        let mut uploads = self.uploads.lock();
        match result {
            Ok(()) => {
                uploads.remove(&table);
            }
            Err(error) => {
                let failed = uploads.entry(table).or_insert_with(|| FailedUpload {
                    attempts: 0,
                    last_error: String::new(),
                    since: now,
                });
                failed.attempts += 1;
                failed.last_error = error.to_string();
            }
        }
    }
}

/// Looks for work until the engine stops.
pub(super) async fn run(engine: Weak<Engine>, wake: Arc<Notify>, stopping: CancellationToken) {
    let mut failures = 0u32;
    loop {
        let pause = match failures {
            0 => TICK,
            n => AGAIN.pause_after(n),
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            // After a failure a writer that waits for memory must not make us spin.
            () = wake.notified(), if failures == 0 => {}
            () = tokio::time::sleep(pause) => {}
        }
        // Not held while waiting: an engine that is dropped without a stop must go away.
        let Some(engine) = engine.upgrade() else { return };
        if let Err(cause) = engine.raft.healthy() {
            error!(error = %cause, "the log has failed: no commit is taken until a restart");
            // Nothing that could be done here needs no log.
            return;
        }
        match round(&engine).await {
            Ok(()) => {
                if failures > 0 {
                    info!(failures, "background work goes on");
                }
                failures = 0;
            }
            Err(cause) => {
                engine.stats.failures.fetch_add(1, Ordering::Relaxed);
                failures = failures.saturating_add(1);
                if failures == 1 {
                    error!(error = %cause, "background work failed and is tried again");
                } else {
                    debug!(error = %cause, failures, "background work failed again");
                }
            }
        }
    }
}

/// One look: flush what is due, then make a snapshot if the log has grown.
async fn round(engine: &Engine) -> EngineResult<()> {
    let usage = engine.store.hot_usage();
    let hot = engine.measure_hot_bytes();
    let due = |u: &&HotUsage| {
        let age = u.oldest.map_or(0, |ts| engine.now_micros().saturating_sub(ts.micros()));
        let old = Duration::from_micros(age.max(0) as u64) >= engine.config.flush_interval;
        old || u.bytes as u64 >= engine.config.flush_bytes
            // Two thirds, so that writers rarely come to wait.
            || hot.saturating_mul(3) >= engine.config.hot_bytes_max.saturating_mul(2)
    };
    // The largest first: it frees the most.
    let mut tables: Vec<(usize, Oid)> =
        usage.iter().filter(due).map(|u| (u.bytes, u.table)).collect();
    tables.sort_unstable_by(|a, b| b.cmp(a));
    let mut worked = !tables.is_empty();
    let mut flushed = Ok(());
    for (_, table) in tables {
        flushed = flush_table(engine, table).await;
        if flushed.is_err() {
            // The store is asked again later, for the others too.
            break;
        }
    }
    // Also while the store takes nothing: the snapshot holds what is in memory.
    if engine.raft.log_bytes() >= engine.config.snapshot_log_bytes {
        snapshot(engine).await?;
        worked = true;
    }
    flushed?;
    if !worked {
        return Ok(());
    }
    engine.stats.succeeded_at.store(engine.now_micros(), Ordering::Relaxed);
    Ok(())
}

/// Seals a table's hot segment, writes what is sealed and the row ends, and tells the log.
pub(super) async fn flush_table(engine: &Engine, table: Oid) -> EngineResult<()> {
    let _one = engine.stats.flushing.lock().await;
    let flushed = flush_alone(engine, table).await;
    engine.stats.note_upload(table, &flushed, engine.now_micros());
    flushed
}

async fn flush_alone(engine: &Engine, table: Oid) -> EngineResult<()> {
    let open = engine.state.read().manifests.get(&table).is_some_and(|m| m.open.is_some());
    if open {
        engine.propose(Command::Maintain(Maintenance::Seal { table })).await?;
    }
    if let Some(flush) = engine.store.prepare_flush(&engine.state, table).await? {
        engine.propose(Command::Maintain(flush)).await?;
        engine.stats.flushes.fetch_add(1, Ordering::Relaxed);
        engine.measure_hot_bytes();
        engine.memory_freed.notify_waiters();
    }
    Ok(())
}

/// Flushes every table that has something in memory.
pub(super) async fn flush_all(engine: &Engine) -> EngineResult<()> {
    for usage in engine.store.hot_usage() {
        flush_table(engine, usage.table).await?;
    }
    Ok(())
}

/// Before a stop.
pub(super) async fn flush_and_snapshot(engine: &Engine) -> EngineResult<()> {
    let flushed = flush_all(engine).await;
    // An untouched database needs none. What could not be flushed is in it.
    if engine.last_commit() > CommitTs::ZERO {
        snapshot(engine).await?;
    }
    flushed
}

pub(super) async fn snapshot(engine: &Engine) -> EngineResult<()> {
    engine.raft.snapshot().await?;
    engine.stats.snapshots.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
