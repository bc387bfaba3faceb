//! Objects that no manifest names any more, until nobody reads them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::segment::Segment;
use crate::store::Store;

/// What one compaction took out of a manifest.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) since: Instant,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// Row-end sidecars, by path. Whoever reads one holds a segment too.
    pub(crate) row_ends: Vec<String>,
}

impl Retired {
    /// Whether a read may still come for the objects.
    fn is_read(&self) -> bool {
        self.segments.iter().any(|segment| {
            let meta = segment.meta();
            // This list's own, and the one just taken.
            Arc::strong_count(segment) > 1 || meta.is_some_and(|m| Arc::strong_count(&m) > 2)
        })
    }
}

impl Store {
    /// Removes the objects that compactions took out of manifests at least `grace` ago and that
    /// no read holds; with `force` also those that one holds. Gives how many objects are left.
    ///
    /// # Errors
    /// The first object that could not be removed; it is tried again the next time.
    pub async fn collect_retired(&self, grace: Duration, force: bool) -> Result<usize> {
        let due: Vec<Retired> = {
            let mut all = self.retired.lock();
            let (due, kept) = std::mem::take(&mut *all)
                .into_iter()
                .partition(|r| r.since.elapsed() >= grace && (force || !r.is_read()));
            *all = kept;
            due
        };
        let mut due = due.into_iter();
        while let Some(retired) = due.next() {
            if let Err(error) = self.remove(&retired).await {
                let mut all = self.retired.lock();
                all.push(retired);
                all.extend(due);
                return Err(error);
            }
        }
        let all = self.retired.lock();
        Ok(all.iter().map(|r| r.segments.len() + r.row_ends.len()).sum())
    }

    async fn remove(&self, retired: &Retired) -> Result<()> {
        for meta in retired.segments.iter().filter_map(|s| s.meta()) {
            self.delete_uncommitted(&meta).await?;
        }
        for path in &retired.row_ends {
            self.objects.delete(path).await?;
        }
        Ok(())
    }
}
