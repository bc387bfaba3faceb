//! Where a statement keeps what was compiled of it.

use std::sync::Arc;

use chronos_catalog::{Objects, ReadTs, SqlType};
use parking_lot::Mutex;

use super::instant::Instant;
use super::key_plan::KeyPlan;
use crate::session::api::FieldDescription;
use crate::session::dml::Write;
use crate::session::facts::Facts;
use crate::session::names::RelationName;

/// The definitions and settings that something was made under.
#[derive(Clone, Debug)]
pub(in crate::session) struct Basis {
    objects: Arc<Objects>,
    at: ReadTs,
    facts: Arc<Facts>,
}

impl Basis {
    /// Definitions as a transaction sees them at an instant, and settings.
    pub fn new(objects: Arc<Objects>, at: ReadTs, facts: Arc<Facts>) -> Self {
        Basis { objects, at, facts }
    }

    /// Whether what was made under this holds under `now` too.
    pub fn holds(&self, now: &Basis) -> bool {
        Arc::ptr_eq(&self.objects, &now.objects)
            && self.at <= now.at
            && (Arc::ptr_eq(&self.facts, &now.facts) || self.facts.planning == now.facts.planning)
    }

    /// Whether all definitions are seen at the instant. A later transaction with the same
    /// definitions may otherwise see more of them.
    pub fn is_whole(&self) -> bool {
        self.objects
            .oids()
            .filter_map(|oid| self.objects.history(oid).last())
            .all(|v| v.period.from <= self.at && v.period.to.is_none_or(|to| to <= self.at))
    }
}

/// A statement that a key answers.
#[derive(Clone)]
pub(in crate::session) enum Compiled {
    Query(Arc<KeyQuery>),
    Write(Arc<Write>),
}

/// A query that a key answers.
pub(in crate::session) struct KeyQuery {
    pub plan: KeyPlan,
    pub fields: Arc<[FieldDescription]>,
    /// The table's name and the instant, where the query is not about now.
    pub as_of: Option<(RelationName, Instant)>,
}

#[derive(Default)]
enum State {
    #[default]
    New,
    /// Seen before, and not sure to be worth the work.
    Seen,
    Made(Basis, Vec<SqlType>, Option<Compiled>),
}

/// What a look into a [`Slot`] finds.
pub(super) enum Found {
    /// Nothing; whether the statement came before.
    Nothing(bool),
    /// The planner has to do it.
    Refused,
    Compiled(Compiled),
}

/// What a statement that runs has kept from before.
#[derive(Clone, Debug)]
pub(in crate::session) struct Kept {
    pub slot: Arc<Slot>,
    /// The text that the client sent, where the statement was made of it to be compiled: it is
    /// what runs if that fails.
    pub original: Option<Arc<str>>,
}

/// Where a statement keeps what was compiled of it.
#[derive(Default)]
pub(in crate::session) struct Slot(Mutex<State>);

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl Slot {
    /// What was compiled for parameters of these types, if it still holds.
    pub(super) fn look(&self, now: &Basis, types: &[SqlType]) -> Found {
        let mut state = self.0.lock();
        match &*state {
            State::New => {
                *state = State::Seen;
                Found::Nothing(false)
            }
            State::Seen => Found::Nothing(true),
            State::Made(basis, known, compiled) if basis.holds(now) && known == types => {
                compiled.clone().map_or(Found::Refused, Found::Compiled)
            }
            State::Made(..) => Found::Nothing(true),
        }
    }

    /// Whether a look found that no key answers the statement.
    pub fn is_refused(&self) -> bool {
        matches!(&*self.0.lock(), State::Made(_, _, None))
    }

    #[cfg(test)]
    pub fn is_compiled(&self) -> bool {
        matches!(&*self.0.lock(), State::Made(_, _, Some(_)))
    }

    /// Keeps what was compiled, or that nothing could be.
    pub(super) fn keep(&self, basis: Basis, types: &[SqlType], compiled: Option<Compiled>) {
        *self.0.lock() = State::Made(basis, types.to_vec(), compiled);
    }
}
