//! Objects that nothing names: what a crash left.
//!
//! They are looked for while the database is in use already, for a store takes its time to list
//! what it holds. So a name that is written meanwhile is not collected, and a name that is
//! collected is not written: a flush that is done again may come to the name that it had before
//! the crash.

use std::collections::HashSet;

use chronos_catalog::State;
use parking_lot::Mutex;

use crate::error::Result;
use crate::store::Store;

/// The keys of all objects that a state's manifests name.
pub(crate) fn named(state: &State) -> HashSet<&str> {
    let mut named: HashSet<&str> = HashSet::new();
    for manifest in state.manifests.values() {
        for meta in manifest.segments.values() {
            named.insert(&meta.file.path);
            named.extend(meta.key_files.values().map(|f| f.path.as_str()));
        }
        named.extend(manifest.row_ends.iter().map(|m| m.file.path.as_str()));
    }
    named
}

/// Which names are being written and which removed.
#[derive(Debug, Default)]
pub(crate) struct Names(Mutex<Claims>);

#[derive(Debug, Default)]
struct Claims {
    /// Those written since the start; `None` where nobody asks.
    written: Option<HashSet<String>>,
    /// Those of orphans, for ever: a delete that was not answered may be carried out later.
    removed: HashSet<String>,
}

impl Names {
    /// Whether a name may be written.
    pub(crate) fn write(&self, key: &str) -> bool {
        let mut claims = self.0.lock();
        if claims.removed.contains(key) {
            return false;
        }
        if let Some(written) = &mut claims.written {
            written.insert(key.to_owned());
        }
        true
    }

    /// Whether a name may be removed.
    fn remove(&self, key: &str) -> bool {
        let mut claims = self.0.lock();
        let free = claims.written.as_ref().is_none_or(|written| !written.contains(key));
        if free {
            claims.removed.insert(key.to_owned());
        }
        free
    }
}

impl Store {
    /// Notes from now on what is written, until [`Store::collect_orphans`] is done.
    pub fn expect_orphans(&self) {
        self.objects.names.0.lock().written = Some(HashSet::new());
    }

    /// Removes every object of tables that the state does not name. Gives how many. Only for a
    /// store that nobody else uses, and for a state that nothing was written after, unless
    /// [`Store::expect_orphans`] was called before.
    ///
    /// # Errors
    /// When the store cannot be listed or an object not removed.
    pub async fn collect_orphans(&self, state: &State) -> Result<usize> {
        let removed = self.remove_unnamed(&named(state)).await;
        self.objects.names.0.lock().written = None;
        removed
    }

    async fn remove_unnamed(&self, named: &HashSet<&str>) -> Result<usize> {
        let mut removed = 0;
        for path in self.objects.list("tables").await? {
            if !named.contains(path.as_str()) && self.objects.names.remove(&path) {
                self.objects.delete(&path).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_either_written_or_removed() {
        let names = Names::default();
        names.0.lock().written = Some(HashSet::new());
        assert!(names.write("a"));
        assert!(!names.remove("a"));
        assert!(names.remove("b"));
        assert!(!names.write("b"));
        names.0.lock().written = None;
        assert!(names.write("c") && names.remove("c"));
        assert!(!names.write("b"));
    }
}
