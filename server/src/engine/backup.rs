//! Backups of a running database.

use std::sync::Arc;

use chronos_catalog::CommitTs;
use chronos_catalog::raft::{Finding, Image, Severity, check_in_use};
use chronos_storage::{BackupSize, BackupStore, Pin};

use crate::engine::error::EngineResult;
use crate::engine::instance::Engine;
use crate::engine::maintenance;

impl Engine {
    /// Writes a backup of everything committed so far to the store of a URL. Objects that an
    /// earlier backup there holds are not copied again. Gives the last commit that it holds.
    ///
    /// # Errors
    /// The stores' or the log's failure: there is no new backup then.
    pub async fn backup(self: &Arc<Self>, url: &str) -> EngineResult<(CommitTs, BackupSize)> {
        let to = BackupStore::open(url)?;
        // What is in memory would be in the backup all the same, and the next one would copy it
        // again.
        maintenance::flush_all(self).await?;
        let (image, _objects_stay) = self.image().await?;
        let bytes = image.encode()?;
        let size = to.write(&self.store, &image.state, bytes, self.now_micros()).await?;
        Ok((image.state.last_commit, size))
    }

    /// Verifies the log, the snapshots, and every object that the present state names.
    pub async fn check(&self) -> Vec<Finding> {
        let dir = self.config.data_dir.clone();
        let log = tokio::task::spawn_blocking(move || check_in_use(&dir)).await;
        let mut findings = match log {
            Ok(Ok(findings)) => findings,
            failed => {
                let message = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "the log could not be checked".to_owned(),
                };
                vec![Finding { severity: Severity::Damaged, message }]
            }
        };
        let (state, _objects_stay) = loop {
            let state = self.state.read().clone();
            let pin = self.store.pin();
            // Else a compaction took effect in between.
            if pin.covers(&state) {
                break (state, pin);
            }
        };
        findings.extend(self.store.check(&state).await);
        findings
    }

    async fn image(&self) -> EngineResult<(Image, Pin)> {
        loop {
            let image = self.raft.image().await?;
            let pin = self.store.pin();
            if pin.covers(&image.state) {
                return Ok((image, pin));
            }
        }
    }
}
