//! How long history is kept.

use chronos_catalog::{CommitTs, Oid, Relation};
use chronos_storage::parse_age;

use crate::engine::error::EngineResult;
use crate::engine::instance::Engine;

/// The horizon moves in steps of this part of the time kept, so that the log has few of them,
const STEPS: i64 = 64;
/// and no smaller ones, in microseconds.
const STEP_MIN: i64 = 1_000_000;

/// Moves a table's horizon where its `history_retention` says so.
pub(super) async fn move_horizon(engine: &Engine, table: Oid) -> EngineResult<()> {
    let (age, before) = {
        let state = engine.state.read();
        let Some(version) = state.objects.history(table).last() else { return Ok(()) };
        let Relation::Table(def) = &version.object.relation else { return Ok(()) };
        let Some(age) = def.options.get("history_retention").and_then(|t| parse_age(t)) else {
            return Ok(());
        };
        let made = state.objects.history(table).first().map(|v| v.period.from);
        let horizon = state.manifests.get(&table).and_then(|m| m.horizon);
        (age, horizon.or(made).unwrap_or_default())
    };
    let horizon = CommitTs(engine.now_micros().saturating_sub(age)).min(engine.last_commit());
    let step = (age / STEPS).max(STEP_MIN);
    if horizon.micros().saturating_sub(before.micros()) < step {
        return Ok(());
    }
    engine.move_horizon(table, horizon).await
}
