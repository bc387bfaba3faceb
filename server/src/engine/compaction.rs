//! Background compaction: rewrites segments, one table at a time, and removes the old objects
//! when nobody reads them any more.
//!
//! ```text
//! plan -> write (minutes, nothing waits) -> pause commits -> carry row ends over -> propose
//!      -> applied -> resume commits
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chronos_catalog::{Command, Oid};
use chronos_storage::{CompactionJob, CompactionPlan, CompactionSize, Pace, Store, Wanted};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::engine::error::{EngineResult, Error};
use crate::engine::instance::Engine;
use crate::engine::retention;

/// How long objects outlive the manifest that named them, at least.
const GRACE: Duration = Duration::from_secs(60);
/// How many compactions are remembered.
const RECORDS: usize = 100;
/// The longest pause after failures.
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// One compaction that took effect on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactionRecord {
    /// The table.
    pub table: Oid,
    /// When it began, in microseconds since the Unix epoch.
    pub started: i64,
    /// When its result took effect; likewise.
    pub finished: i64,
    /// What it came to.
    pub size: CompactionSize,
}

/// What compaction did since the start.
#[derive(Debug, Default)]
pub(super) struct Compactions {
    records: Mutex<VecDeque<CompactionRecord>>,
    /// One compaction at a time.
    pub(super) running: Arc<tokio::sync::Mutex<()>>,
}

impl Compactions {
    pub(super) fn records(&self) -> Vec<CompactionRecord> {
        self.records.lock().iter().cloned().collect()
    }

    fn record(&self, record: CompactionRecord) {
        let mut records = self.records.lock();
        records.push_back(record);
        while records.len() > RECORDS {
            records.pop_front();
        }
    }
}

/// Looks for work until the engine stops.
pub(super) async fn run(engine: Weak<Engine>, stopping: CancellationToken) {
    let Some(interval) = engine.upgrade().map(|e| e.config.compaction_interval) else { return };
    if interval.is_zero() {
        return;
    }
    let mut failures = 0_u32;
    loop {
        let pause = match failures {
            0 => interval,
            n => BACKOFF_MAX.min(interval.saturating_mul(2_u32.saturating_pow(n.min(8)))),
        };
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Not held while waiting: an engine that is dropped without a stop must go away.
        let Some(engine) = engine.upgrade() else { return };
        if engine.raft.healthy().is_err() {
            return;
        }
        // What a stop interrupts leaves objects that no manifest names.
        let done = tokio::select! {
            () = stopping.cancelled() => return,
            done = round(&engine) => done,
        };
        match done {
            Ok(()) => failures = 0,
            Err(cause) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    error!(error = %cause, "compaction failed and is tried again");
                } else {
                    debug!(error = %cause, failures, "compaction failed again");
                }
            }
        }
    }
}

/// Whatever is worthwhile, of every table.
async fn round(engine: &Arc<Engine>) -> EngineResult<()> {
    let tables: Vec<Oid> = engine.state.read().manifests.keys().copied().collect();
    for table in tables {
        retention::move_horizon(engine, table).await?;
        let _one = engine.compactions.running.lock().await;
        let plan = {
            let state = engine.state.read();
            engine.store.plan_compaction(&state, table, Wanted::Worthwhile)
        };
        if let Some(plan) = plan {
            compact(engine, &plan, Pace::Half).await?;
        }
    }
    engine.store.collect_retired(GRACE, false).await?;
    Ok(())
}

/// Every segment of a table that is not as a compaction leaves it.
pub(super) async fn compact_all(engine: &Arc<Engine>, table: Oid) -> EngineResult<()> {
    let _one = engine.compactions.running.lock().await;
    // Not those that come meanwhile, or it might never end.
    let among = Store::cold_segments(&engine.state.read(), table);
    loop {
        let plan = {
            let state = engine.state.read();
            engine.store.plan_compaction(&state, table, Wanted::All(&among))
        };
        let Some(plan) = plan else { break };
        compact(engine, &plan, Pace::Full).await?;
    }
    engine.store.collect_retired(Duration::ZERO, false).await?;
    Ok(())
}

/// One compaction.
pub(super) async fn compact(
    engine: &Arc<Engine>,
    plan: &CompactionPlan,
    pace: Pace,
) -> EngineResult<()> {
    let started = engine.now_micros();
    let at = engine.last_commit();
    let job = engine.store.write_compaction(&engine.state, plan, at, pace).await?;
    let size = job.size();
    let (reply, finished) = oneshot::channel();
    let own = Arc::clone(engine);
    // A task of its own: once commits are paused, a caller that goes away must not make them go
    // on before the command was applied.
    tokio::spawn(async move {
        let _gone = reply.send(finish(&own, job).await);
    });
    finished.await.unwrap_or(Err(Error::ShuttingDown))?;
    let table = plan.table();
    let record = CompactionRecord { table, started, finished: engine.now_micros(), size };
    info!(%table, ?size, "compacted");
    engine.compactions.record(record);
    Ok(())
}

async fn finish(engine: &Engine, job: CompactionJob) -> EngineResult<()> {
    let _no_flush = engine.stats.flushing.lock().await;
    let prepared = async {
        let pause = engine.sequencer.pause().await?;
        let command = engine.store.finish_compaction(&engine.state, &job).await?;
        EngineResult::Ok((pause, command))
    };
    match prepared.await {
        Ok((_pause, command)) => {
            // Where it fails the outcome may be unknown, so the objects stay.
            engine.propose(Command::Maintain(command)).await
        }
        Err(error) => {
            engine.store.discard_compaction(job).await;
            Err(error)
        }
    }
}
