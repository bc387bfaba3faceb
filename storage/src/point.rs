//! Reads of few rows by key, without a plan.
//!
//! A hot row that was updated often has many versions under one hash, all but one of them ended.
//! The newest are looked at first, and for a unique key the first that a read sees is the only
//! one.

use std::sync::Arc;

use chronos_catalog::{Oid, ReadTs, SystemTime, TableDef};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;

use crate::error::Result;
use crate::keys::{KeySpec, is_hashable};
use crate::lookup::positions_of;
use crate::overlay::Overlay;
use crate::parts::Planner;
use crate::provider::{output_of, schema_of};
use crate::segment::reader::{Output, ReadSpec, read_part};
use crate::table::TableStore;

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// Reads of one table by one key, prepared: which columns, in which types.
#[derive(Debug)]
pub struct PointRead {
    table: Oid,
    def: Arc<TableDef>,
    key: KeySpec,
    outputs: Vec<Output>,
    schema: SchemaRef,
}

impl PointRead {
    /// Reads of a table in the shape `def` by a unique key of it; `None` where its columns cannot
    /// be looked up, or its rows expire. `columns` are indexes into the table's columns, which the hidden ones,
    /// `_segment` and `_position` follow.
    pub fn new(table: Oid, def: &Arc<TableDef>, key: KeySpec, columns: &[usize]) -> Option<Self> {
        // What has expired is left out by the plan of a scan.
        let expires = def.options.keys().any(|option| option.starts_with("ttl"));
        if expires || key.columns.is_empty() || !is_hashable(def, &key.columns) {
            return None;
        }
        let all = schema_of(def, true);
        let fields = columns.iter().map(|&i| all.fields().get(i).cloned());
        let schema = Arc::new(Schema::new(fields.collect::<Option<Vec<_>>>()?));
        let outputs = columns.iter().map(|&i| output_of(def, i)).collect();
        Some(PointRead { table, def: Arc::clone(def), key, outputs, schema })
    }

    /// The shape that the rows are read in.
    pub fn def(&self) -> &Arc<TableDef> {
        &self.def
    }

    /// The table.
    pub fn table_oid(&self) -> Oid {
        self.table
    }

    /// The columns that are read.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The versions seen at an instant by a transaction that reads at `read_ts`, whose hash is
    /// that of one of the keys (an array a column, in the table's types). The caller compares
    /// the keys themselves.
    ///
    /// # Errors
    /// When an object cannot be read; below the horizon.
    pub async fn read(
        &self,
        table: &TableStore,
        overlay: &Overlay,
        at: ReadTs,
        read_ts: ReadTs,
        keys: &[ArrayRef],
    ) -> Result<Vec<RecordBatch>> {
        let time = SystemTime::AsOf(at);
        let planner = Planner::new(table, overlay, &self.def, time, read_ts)?;
        let Some(window) = planner.window() else { return Ok(Vec::new()) };
        let positions = positions_of(&planner, &window, &self.key, keys).await?;
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let spec = Arc::new(ReadSpec {
            table: self.table,
            def: Arc::clone(&self.def),
            outputs: self.outputs.clone(),
            schema: Arc::clone(&self.schema),
            window,
        });
        let parts = planner.plan(&spec, Some(&positions)).await?;
        let mut batches = Vec::new();
        for part in parts.parts {
            let objects = Arc::clone(&table.objects);
            let mut rows = read_part(Arc::clone(&spec), part, objects, None, BATCH_ROWS);
            while let Some(batch) = rows.try_next().await? {
                batches.push(batch);
            }
        }
        Ok(batches)
    }
}
