//! How long history is kept.

use chronos_catalog::{CommitTs, Oid, Relation};

use crate::engine::error::EngineResult;
use crate::engine::instance::Engine;

/// The horizon moves in steps of this part of the time kept, so that the log has few of them,
const STEPS: i64 = 64;
/// and no smaller ones, in microseconds.
const STEP_MIN: i64 = 1_000_000;

/// Units of an age in microseconds. A year has 365 days.
const UNITS: &[(&[&str], i64)] = &[
    (&["s", "sec", "second"], 1_000_000),
    (&["m", "min", "minute"], 60_000_000),
    (&["h", "hour"], 3_600_000_000),
    (&["d", "day"], 86_400_000_000),
    (&["w", "week"], 7 * 86_400_000_000),
    (&["month", "mon"], 30 * 86_400_000_000),
    (&["y", "year"], 365 * 86_400_000_000),
];

/// An age such as `90 days`, `7d` or `1 year`, in microseconds; `None` for anything else.
pub fn parse_age(text: &str) -> Option<i64> {
    let text = text.trim().to_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim();
    let named = |name: &&str| unit == *name || unit.strip_suffix('s') == Some(*name);
    let (_, micros) = UNITS.iter().find(|(names, _)| names.iter().any(named))?;
    number.checked_mul(*micros).filter(|age| *age > 0)
}

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

#[cfg(test)]
mod tests {
    use super::parse_age;

    #[test]
    fn ages_have_a_number_and_a_unit() {
        let day = 86_400_000_000;
        for (text, age) in [("90 days", 90 * day), ("7d", 7 * day), ("1 Year", 365 * day)] {
            assert_eq!(parse_age(text), Some(age), "{text}");
        }
        for text in ["", "7", "d", "0 days", "-1d", "7 fortnights", "99999999999999 years"] {
            assert_eq!(parse_age(text), None, "{text}");
        }
    }
}
