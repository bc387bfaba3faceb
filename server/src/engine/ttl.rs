//! Ends rows that have expired. Reads leave them out before that; this frees what they take.

use std::sync::{Arc, Weak};

use chronos_catalog::{CommitMeta, Oid, Relation, RowRef, SegmentId};
use chronos_storage::{Expiry, POSITION, SEGMENT};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::prelude::SessionContext;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::engine::error::{EngineResult, Error};
use crate::engine::instance::Engine;
use crate::engine::locks::{LockMode, LockWait};
use crate::engine::transaction::Transaction;

/// Rows that one commit ends.
const BATCH_ROWS: usize = 1000;
/// The actor in the log of commits.
const ACTOR: &str = "ttl";

/// Looks for expired rows until the engine stops.
pub(super) async fn run(engine: Weak<Engine>, stopping: CancellationToken) {
    let Some(interval) = engine.upgrade().map(|e| e.config.ttl_interval) else { return };
    if interval.is_zero() {
        return;
    }
    let mut failed = false;
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        // Not held while waiting: an engine that is dropped without a stop must go away.
        let Some(engine) = engine.upgrade() else { return };
        if engine.raft.healthy().is_err() {
            return;
        }
        let done = tokio::select! {
            () = stopping.cancelled() => return,
            done = expire_all(&engine) => done,
        };
        match done {
            Ok(rows) => {
                failed = false;
                if rows > 0 {
                    debug!(rows, "ended expired rows");
                }
            }
            Err(cause) if failed => debug!(error = %cause, "could not end expired rows again"),
            Err(cause) => {
                failed = true;
                error!(error = %cause, "could not end expired rows; it is tried again");
            }
        }
    }
}

async fn expire_all(engine: &Arc<Engine>) -> EngineResult<u64> {
    let tables: Vec<Oid> = {
        let state = engine.state.read();
        let now = engine.last_commit();
        let expires = |oid: &Oid| match state.objects.get(*oid, now).map(|o| &o.relation) {
            Some(Relation::Table(def)) => Expiry::of(def).is_some(),
            _ => false,
        };
        state.manifests.keys().copied().filter(expires).collect()
    };
    let mut ended = 0;
    for table in tables {
        ended += expire(engine, table).await?;
    }
    Ok(ended)
}

/// Ends the rows of a table that have expired. Gives how many.
pub(super) async fn expire(engine: &Arc<Engine>, table: Oid) -> EngineResult<u64> {
    let mut ended = 0;
    loop {
        let mut transaction = engine.begin();
        let expired = find(&transaction, table).await?;
        // One that a transaction holds is left to it.
        let rows =
            transaction.lock_rows(table, &expired, LockMode::Exclusive, LockWait::Skip).await?;
        if rows.is_empty() {
            return Ok(ended);
        }
        let count = transaction.end_rows(table, &rows)?;
        let meta = CommitMeta {
            user: "chronos".to_owned(),
            actor: Some(ACTOR.to_owned()),
            ..CommitMeta::default()
        };
        match transaction.commit(meta).await {
            Ok(_) => ended += count,
            // Someone changed one of the rows, and so renewed or ended it.
            Err(Error::Conflict { .. }) => return Ok(ended),
            Err(error) => return Err(error),
        }
        if expired.len() < BATCH_ROWS {
            return Ok(ended);
        }
    }
}

async fn find(transaction: &Transaction, table: Oid) -> EngineResult<Vec<RowRef>> {
    let provider = match transaction.current_table(table) {
        Ok(provider) => Arc::unwrap_or_clone(provider),
        // Dropped meanwhile.
        Err(Error::NoSuchTable { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    if Expiry::of(provider.def()).is_none() {
        return Ok(Vec::new());
    }
    let now = transaction.engine().now_micros();
    let provider = provider.with_internal_columns().expired_at(now);
    let context = SessionContext::new();
    let plan = async {
        let rows = context.read_table(Arc::new(provider))?;
        rows.select_columns(&[SEGMENT, POSITION])?.limit(0, Some(BATCH_ROWS))?.collect().await
    };
    let batches = plan.await.map_err(chronos_storage::Error::from)?;
    let mut rows = Vec::new();
    for batch in &batches {
        let segments = batch.column(0).as_primitive::<UInt64Type>();
        let positions = batch.column(1).as_primitive::<UInt32Type>();
        let both = segments.values().iter().zip(positions.values());
        rows.extend(both.map(|(&s, &position)| RowRef { segment: SegmentId(s), position }));
    }
    Ok(rows)
}
