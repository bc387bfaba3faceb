//! Statements by their text, so that what is sent again need not be parsed, described and
//! compiled again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use chronos_catalog::SqlType;
use parking_lot::Mutex;

use super::slot::Basis;
use crate::session::api::Description;
use crate::session::session::Prepared;

/// Texts that are kept.
const TEXTS_MAX: usize = 256;
/// Longer texts are not kept.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Texts that are remembered to have come once.
const SEEN: usize = 1024;

/// What was told of a statement, by the types that the client gave its parameters.
#[derive(Debug, Default)]
pub(in crate::session) struct Described(Mutex<Vec<Told>>);

#[derive(Debug)]
struct Told {
    basis: Basis,
    given: Vec<Option<SqlType>>,
    description: Description,
}

impl Described {
    /// What was told under the same definitions and settings.
    pub fn find(&self, now: &Basis, given: &[Option<SqlType>]) -> Option<Description> {
        let known = self.0.lock();
        let found = known.iter().find(|told| told.given == given && told.basis.holds(now));
        found.map(|told| told.description.clone())
    }

    /// Notes what was told.
    pub fn keep(&self, basis: Basis, given: &[Option<SqlType>], description: &Description) {
        let mut known = self.0.lock();
        // What was told under others is of no use any more.
        known.retain(|told| told.given != given && told.basis.holds(&basis));
        let (given, description) = (given.to_vec(), description.clone());
        known.push(Told { basis, given, description });
    }
}

/// The statements of a text.
#[derive(Debug)]
pub(in crate::session) struct TextEntry {
    statements: Vec<Prepared>,
    used: u64,
}

/// A session's texts. One is kept from the second time on, as most of those with literals in
/// them come only once.
#[derive(Debug, Default)]
pub(in crate::session) struct Texts {
    entries: HashMap<Arc<str>, TextEntry>,
    hasher: RandomState,
    seen: Vec<u64>,
    tick: u64,
}

impl Texts {
    /// The statements of a text that came before.
    pub fn find(&mut self, text: &str) -> Option<Vec<Prepared>> {
        self.tick += 1;
        let entry = self.entries.get_mut(text)?;
        entry.used = self.tick;
        Some(entry.statements.iter().map(Prepared::again).collect())
    }

    /// Notes the statements of a text that was not found.
    pub fn note(&mut self, text: &str, statements: &[Prepared]) {
        if text.len() > TEXT_BYTES_MAX || statements.is_empty() {
            return;
        }
        let hash = self.hasher.hash_one(text);
        self.seen.resize(SEEN, 0);
        let slot = &mut self.seen[hash as usize % SEEN];
        if std::mem::replace(slot, hash) != hash {
            return;
        }
        if self.entries.len() >= TEXTS_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.used).map(|(t, _)| t.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        let entry = TextEntry { statements: statements.to_vec(), used: self.tick };
        self.entries.insert(Arc::from(text), entry);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Texts::default();
    }
}
