//! Objects that nothing names: what a crash left.

use std::collections::HashSet;

use chronos_catalog::State;

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

impl Store {
    /// Removes every object of tables that the state does not name. Gives how many. Only for a
    /// store that nobody else uses, before anything was written to it: what a transaction or a
    /// flush is writing is not named yet.
    ///
    /// # Errors
    /// When the store cannot be listed or an object not removed.
    pub async fn collect_orphans(&self, state: &State) -> Result<usize> {
        let named = named(state);
        let mut removed = 0;
        for path in self.objects.list("tables").await? {
            if !named.contains(path.as_str()) {
                self.objects.delete(&path).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
