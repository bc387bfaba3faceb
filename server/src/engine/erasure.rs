//! ERASE: rows leave every instant, every file, the log and its snapshots.

use std::sync::Arc;
use std::time::Duration;

use chronos_catalog::{Command, Erasure, Maintenance, Oid, RowRef};
use chronos_storage::{CompactionPlan, Pace};
use tokio::sync::OwnedMutexGuard;

use crate::engine::error::{EngineResult, Error};
use crate::engine::instance::Engine;
use crate::engine::{compaction, maintenance};

/// How long reads that hold an old file are waited for.
const READS_WAIT: Duration = Duration::from_secs(30);
/// How often they are looked at.
const READS_TICK: Duration = Duration::from_millis(50);
/// The snapshots of which the log keeps two, and one for the file that was being written.
const SNAPSHOTS: usize = 3;

/// An erasure under way: no compaction moves rows until it ends.
#[derive(Debug)]
pub struct ErasureUnderWay {
    engine: Arc<Engine>,
    table: Oid,
    _no_compaction: OwnedMutexGuard<()>,
}

impl Engine {
    /// Begins to erase rows of a table. What is below its horizon, which no read finds any more,
    /// is gone when this returns.
    ///
    /// # Errors
    /// The store's or the log's failure.
    pub async fn begin_erasure(self: &Arc<Self>, table: Oid) -> EngineResult<ErasureUnderWay> {
        self.compact(table).await?;
        let lock = Arc::clone(&self.compactions.running).lock_owned().await;
        Ok(ErasureUnderWay { engine: Arc::clone(self), table, _no_compaction: lock })
    }
}

impl ErasureUnderWay {
    /// Erases versions at places that were found since the erasure began. Gives how many.
    ///
    /// # Errors
    /// The store's or the log's failure; some of the rows may be gone.
    pub async fn erase(&self, rows: &[RowRef]) -> EngineResult<u64> {
        maintenance::flush_table(&self.engine, self.table).await?;
        let plans = {
            let state = self.engine.state.read();
            CompactionPlan::erasing(&state, self.table, rows)
        };
        for plan in &plans {
            compaction::compact(&self.engine, plan, Pace::Full).await?;
        }
        Ok(rows.len() as u64)
    }

    /// Removes the old files, also from under reads that hold them for too long, and what the log
    /// and its snapshots hold of the rows. Leaves the receipt.
    ///
    /// # Errors
    /// The store's or the log's failure: the rows cannot be read any more, and a file or the log
    /// may still hold them.
    pub async fn finish(self, user: &str, rows: u64) -> EngineResult<()> {
        let engine = &self.engine;
        let mut waited = Duration::ZERO;
        while engine.store.collect_retired(Duration::ZERO, waited >= READS_WAIT).await? > 0 {
            if waited >= READS_WAIT {
                let reason = "a file that holds erased rows cannot be removed".to_owned();
                return Err(Error::Unsupported(reason));
            }
            tokio::time::sleep(READS_TICK).await;
            waited += READS_TICK;
        }
        for _ in 1..SNAPSHOTS {
            maintenance::snapshot(engine).await?;
            // An entry between, for a snapshot of the same state would be none.
            let seal = Maintenance::Seal { table: self.table };
            engine.propose(Command::Maintain(seal)).await?;
        }
        let (table, user, at) = (self.table, user.to_owned(), engine.now_micros());
        let receipt = Erasure { table, user, at, rows };
        engine.propose(Command::Maintain(Maintenance::Erased(receipt))).await?;
        maintenance::snapshot(engine).await
    }
}
