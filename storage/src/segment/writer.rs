//! Writes segments as Parquet.

use std::sync::Arc;

use chronos_catalog::{Oid, SegmentMeta, TableDef};
use datafusion::arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::object::Objects;
use crate::options::StoreOptions;

/// Writes a large transaction's rows as segments before it commits. Memory is bounded by one
/// segment's file.
#[derive(Debug)]
pub struct SegmentWriter {
    table: Oid,
    def: Arc<TableDef>,
    objects: Arc<Objects>,
    options: Arc<StoreOptions>,
}

impl SegmentWriter {
    pub(crate) fn new(
        table: Oid,
        def: Arc<TableDef>,
        objects: Arc<Objects>,
        options: Arc<StoreOptions>,
    ) -> Result<Self> {
        Ok(SegmentWriter { table, def, objects, options })
    }

    /// Adds rows: the table's columns in order, then `_ov`. Gives the segments that it finished
    /// with them, ready for [`crate::Overlay::add_segment`] and the commit.
    ///
    /// # Errors
    /// When the object store fails.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<Vec<SegmentMeta>> {
        let _ = (rows, &self.def, &self.objects, &self.options, self.table);
        Err(Error::Unsupported("bulk segments".to_owned()))
    }

    /// Finishes the last segment, if it has rows.
    ///
    /// # Errors
    /// When the object store fails.
    pub async fn finish(self) -> Result<Option<SegmentMeta>> {
        Err(Error::Unsupported("bulk segments".to_owned()))
    }
}
