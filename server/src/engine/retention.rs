//! How long history is kept.

use chronos_catalog::{CommitTs, Oid, Relation, TableDef};
use chronos_storage::parse_age;

use crate::engine::error::EngineResult;
use crate::engine::instance::Engine;

/// Without versioning history is kept for the transactions that are under way, in microseconds.
const UNVERSIONED_AGE: i64 = 10 * 60 * 1_000_000;

/// The horizon moves in steps of this part of the time kept, so that the log has few of them,
const STEPS: i64 = 64;
/// and no smaller ones, in microseconds.
const STEP_MIN: i64 = 1_000_000;

/// Moves a table's horizon where its `history_retention` or `versioning` says so.
pub(super) async fn move_horizon(engine: &Engine, table: Oid) -> EngineResult<()> {
    let (age, before) = {
        let state = engine.state.read();
        let Some(version) = state.objects.history(table).last() else { return Ok(()) };
        let Relation::Table(def) = &version.object.relation else { return Ok(()) };
        let Some(age) = age_kept(def) else { return Ok(()) };
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

/// How long a table's history is kept, in microseconds; `None` for ever.
fn age_kept(def: &TableDef) -> Option<i64> {
    let given = def.options.get("history_retention").and_then(|text| parse_age(text));
    let unversioned = def.options.get("versioning").is_some_and(|text| text == "off");
    let most = unversioned.then_some(UNVERSIONED_AGE);
    given.into_iter().chain(most).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_kept_as_long_as_both_options_let_it() {
        let age = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            age_kept(&TableDef {
                schema_version: 1,
                columns: Vec::new(),
                constraints: Vec::new(),
                options: options.collect(),
                next_column: 1,
                periods: Vec::new(),
            })
        };
        assert_eq!(age(&[]), None);
        assert_eq!(age(&[("versioning", "on")]), None);
        assert_eq!(age(&[("history_retention", "1 day")]), Some(86_400_000_000));
        assert_eq!(age(&[("versioning", "off")]), Some(UNVERSIONED_AGE));
        let both = [("versioning", "off"), ("history_retention", "1 min")];
        assert_eq!(age(&both), Some(60_000_000));
    }
}
