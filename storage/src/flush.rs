//! Moving hot rows and row ends to object storage.

use chronos_catalog::{Maintenance, Oid, State, TableDef};
use parking_lot::RwLock;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::segment::writer::SegmentWriter;
use crate::store::Store;

impl Store {
    /// Writes a table's sealed hot segments and its row ends up to now to object storage,
    /// durably, and gives the [`Maintenance::Flush`] to propose; `None` when there is nothing to
    /// write. Seal the table first ([`Maintenance::Seal`]) to have all rows written.
    ///
    /// Only one flush of a table may be under way at a time.
    ///
    /// # Errors
    /// When the object store fails. Nothing has changed then.
    pub async fn prepare_flush(
        &self,
        state: &RwLock<State>,
        table: Oid,
    ) -> Result<Option<Maintenance>> {
        let _ = (state, table);
        Err(Error::Unsupported("flush".to_owned()))
    }

    /// A writer of segments for a large transaction. Its rows are the table's columns in order,
    /// then `_ov`.
    ///
    /// # Errors
    /// When a column's type cannot be stored.
    pub fn new_segment_writer(&self, table: Oid, def: &Arc<TableDef>) -> Result<SegmentWriter> {
        SegmentWriter::new(
            table,
            Arc::clone(def),
            Arc::clone(&self.objects),
            Arc::clone(&self.options),
        )
    }

    /// Removes the objects of a segment that was written and never committed.
    ///
    /// # Errors
    /// When the object store fails; the objects are then orphans.
    pub async fn delete_uncommitted(&self, meta: &chronos_catalog::SegmentMeta) -> Result<()> {
        self.objects.delete(&meta.file.path).await?;
        for file in meta.key_files.values() {
            self.objects.delete(&file.path).await?;
        }
        Ok(())
    }
}
