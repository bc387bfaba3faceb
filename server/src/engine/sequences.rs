//! Sequences: values outside of transactions, never handed out twice.
//!
//! ```text
//! log     AdvanceSequences(32)                      AdvanceSequences(64)
//! memory  1 2 3 ... 32                              33
//! restart                      goes on after 32: values may be left out, none comes twice
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{Command, Oid, Relation};
use parking_lot::Mutex;

use crate::engine::error::{EngineResult, Error};
use crate::engine::instance::Engine;

/// How many values one log entry makes durable.
const BLOCK: i128 = 32;

/// The sequences used since the start.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    positions: Mutex<BTreeMap<Oid, Arc<tokio::sync::Mutex<Option<Position>>>>>,
    /// What `last_value` shows, readable without waiting for the log.
    last: Mutex<BTreeMap<Oid, i64>>,
}

/// Where a sequence stands.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// The value to hand out next; out of bounds when exhausted.
    next: i128,
    /// The last value that the log lets us hand out.
    durable: Option<i128>,
}

/// The bounds and step of a sequence.
struct Definition {
    start: i128,
    increment: i128,
    min: i128,
    max: i128,
    cycle: bool,
}

impl Definition {
    fn of(oid: Oid, relation: &Relation) -> EngineResult<Definition> {
        match relation {
            Relation::Sequence { start, increment, min, max, cycle, .. } => Ok(Definition {
                start: (*start).into(),
                increment: (*increment).into(),
                min: (*min).into(),
                max: (*max).into(),
                cycle: *cycle,
            }),
            _ => Err(Error::NotASequence(oid)),
        }
    }

    fn contains(&self, value: i128) -> bool {
        (self.min..=self.max).contains(&value)
    }

    /// Whether `value` is at or before `limit` in the sequence's direction.
    fn reaches(&self, limit: i128, value: i128) -> bool {
        if self.increment < 0 { value >= limit } else { value <= limit }
    }
}

impl Sequences {
    fn position(&self, sequence: Oid) -> Arc<tokio::sync::Mutex<Option<Position>>> {
        Arc::clone(self.positions.lock().entry(sequence).or_default())
    }

    pub(super) async fn next(
        &self,
        engine: &Engine,
        sequence: Oid,
        relation: &Relation,
    ) -> EngineResult<i64> {
        let definition = Definition::of(sequence, relation)?;
        let position = self.position(sequence);
        let mut position = position.lock().await;
        let Position { mut next, mut durable } = position.unwrap_or_else(|| {
            // What was logged before this start may have been handed out.
            let logged = engine.state.read().sequences.get(&sequence).copied().map(i128::from);
            Position {
                next: logged.map_or(definition.start, |v| v + definition.increment),
                durable: None,
            }
        });
        if !definition.contains(next) {
            if !definition.cycle {
                let maximum = definition.increment > 0;
                let limit = if maximum { definition.max } else { definition.min };
                return Err(Error::SequenceExhausted { limit: limit as i64, maximum });
            }
            next = if definition.increment > 0 { definition.min } else { definition.max };
            durable = None;
        }
        if durable.is_none_or(|limit| !definition.reaches(limit, next)) {
            let limit =
                (next + definition.increment * (BLOCK - 1)).clamp(definition.min, definition.max);
            let values = BTreeMap::from([(sequence, limit as i64)]);
            engine.propose(Command::AdvanceSequences(values)).await?;
            durable = Some(limit);
        }
        *position = Some(Position { next: next + definition.increment, durable });
        self.last.lock().insert(sequence, next as i64);
        Ok(next as i64)
    }

    pub(super) async fn set(
        &self,
        engine: &Engine,
        sequence: Oid,
        relation: &Relation,
        value: i64,
        called: bool,
    ) -> EngineResult<()> {
        let definition = Definition::of(sequence, relation)?;
        if !definition.contains(value.into()) {
            let (min, max) = (definition.min as i64, definition.max as i64);
            return Err(Error::SequenceBounds { value, min, max });
        }
        let position = self.position(sequence);
        let mut position = position.lock().await;
        let step = if called { definition.increment } else { 0 };
        let next = i128::from(value) + step;
        // The log holds the last value given, so "not called" is the value before; at the very
        // end of the 64 bits that is the value itself, and a restart would skip it.
        let logged = i64::try_from(next - definition.increment).unwrap_or(value);
        let values = BTreeMap::from([(sequence, logged)]);
        engine.propose(Command::AdvanceSequences(values)).await?;
        *position = Some(Position { next, durable: None });
        self.last.lock().insert(sequence, value);
        Ok(())
    }

    pub(super) fn last(&self, engine: &Engine, sequence: Oid) -> Option<i64> {
        let last = self.last.lock().get(&sequence).copied();
        last.or_else(|| engine.state.read().sequences.get(&sequence).copied())
    }
}
