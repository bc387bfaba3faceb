//! Moving hot rows and row ends to object storage.
//!
//! A flush keeps every position: the file has the rows in the order in which they stand in
//! memory. So a row end that lands while the file is written needs no care at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{Maintenance, Oid, RowEndsMeta, SegmentId, SegmentMeta, State, TableDef};
use parking_lot::RwLock;

use crate::error::Result;
use crate::hot::Chunk;
use crate::paths;
use crate::row_ends::Sidecar;
use crate::segment::Source;
use crate::segment::writer::{Begun, SegmentFile, SegmentWriter, unique_keys};
use crate::store::Store;
use crate::table::TableStore;

impl Store {
    /// Writes a table's sealed hot segments and its row ends up to now to object storage,
    /// durably, and gives the [`Maintenance::Flush`] to propose; `None` when there is nothing to
    /// write. Seal the table first ([`Maintenance::Seal`]) to have all rows written.
    ///
    /// Only one flush of a table may be under way at a time, until its command was applied.
    ///
    /// # Errors
    /// When the object store fails. Nothing has changed then.
    pub async fn prepare_flush(
        &self,
        state: &RwLock<State>,
        table: Oid,
    ) -> Result<Option<Maintenance>> {
        let Some(store) = self.table(table) else { return Ok(None) };
        let (sealed, ends, to) = {
            // The state may be a commit ahead of the rows, never behind: its lock is not held
            // while they follow. So the instant is taken from the row ends that are there.
            let state = state.read();
            let Some(manifest) = state.manifests.get(&table) else { return Ok(None) };
            let sealed: Vec<(SegmentId, u32)> =
                manifest.sealed.iter().map(|(&id, &rows)| (id, rows)).collect();
            let (ends, to) = store.row_ends_in_memory();
            (sealed, ends, to)
        };
        let mut segments = Vec::with_capacity(sealed.len());
        for (id, rows) in sealed {
            let segment = store.segment(id)?;
            let Source::Hot(schema_version, chunks) = segment.source() else { continue };
            // Applied to the state, and the rows are still on their way.
            if chunks.last().map_or(0, |c| c.first + c.rows() as u32) != rows {
                continue;
            }
            let shape = store.shape(schema_version)?;
            segments.push(store.write_segment(id, &shape, &chunks).await?);
        }
        let sidecar = Sidecar::new(ends);
        let row_ends = match sidecar.range() {
            None => None,
            Some((from, _)) => {
                let counts = sidecar.counts();
                let name = |n| paths::row_ends(table, to, n);
                let file = self.objects.create(name, sidecar.encode()).await?;
                self.objects.cache_parsed(&file, Arc::new(sidecar));
                let count = counts.values().map(|&n| u64::from(n)).sum();
                Some(RowEndsMeta { file, from, to, count, segments: counts })
            }
        };
        if segments.is_empty() && row_ends.is_none() {
            return Ok(None);
        }
        Ok(Some(Maintenance::Flush { table, segments, row_ends }))
    }

    /// A writer of segments for a large transaction. Its rows are the table's columns in order,
    /// then `_ov`.
    ///
    /// # Errors
    /// When a column's type cannot be stored.
    pub fn new_segment_writer(&self, table: Oid, def: &Arc<TableDef>) -> Result<SegmentWriter> {
        let (objects, options) = (Arc::clone(&self.objects), Arc::clone(&self.options));
        Ok(SegmentWriter::new(table, Arc::clone(def), objects, options))
    }

    /// Removes the objects of a segment that was written and never committed.
    ///
    /// # Errors
    /// When the object store fails; the objects are then orphans.
    pub async fn delete_uncommitted(&self, meta: &SegmentMeta) -> Result<()> {
        self.objects.delete(&meta.file.path).await?;
        for file in meta.key_files.values() {
            self.objects.delete(&file.path).await?;
        }
        Ok(())
    }
}

/// Row ends by segment, in commit order.
pub(crate) type EndsBySegment =
    BTreeMap<SegmentId, Vec<(chronos_catalog::CommitTs, roaring::RoaringBitmap)>>;

impl TableStore {
    /// All row ends in memory, and the instant of the last.
    ///
    /// A commit's row ends on several segments are noted one segment after the other; the lock
    /// that is taken while a commit is applied keeps them together.
    pub(crate) fn row_ends_in_memory(&self) -> (EndsBySegment, chronos_catalog::CommitTs) {
        let _whole_commits = self.applying.lock();
        let mut all = EndsBySegment::new();
        for segment in self.segments().values() {
            let ends = segment.ends.in_memory(chronos_catalog::CommitTs::MAX);
            if !ends.is_empty() {
                all.insert(segment.id, ends);
            }
        }
        let last = all.values().filter_map(|ends| ends.last()).map(|(ts, _)| *ts).max();
        (all, last.unwrap_or_default())
    }

    async fn write_segment(
        &self,
        id: SegmentId,
        shape: &Arc<TableDef>,
        chunks: &[Arc<Chunk>],
    ) -> Result<SegmentMeta> {
        let mut file = SegmentFile::new(self.oid, id, shape, &unique_keys(shape), &self.options)?;
        for chunk in chunks {
            let begun = Begun::Each(chunk.from.clone(), chunk.cv.clone());
            file.write(&chunk.batch, begun)?;
            // Compression is work for the processor: let others have their turn.
            tokio::task::yield_now().await;
        }
        file.finish(&self.objects).await
    }
}
