//! A table at an instant, as DataFusion sees it.

use std::sync::Arc;

use async_trait::async_trait;
use chronos_catalog::{Oid, ReadTs, SqlType, SystemTime, TableDef};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Error;
use crate::overlay::Overlay;
use crate::table::TableStore;

/// The commit that began a version; NULL for a transaction's own rows.
pub const SYSTEM_FROM: &str = "_system_from";
/// The commit that ended a version; NULL while it is current as seen at the read.
pub const SYSTEM_TO: &str = "_system_to";
/// A row's version number, from 0.
pub const OV: &str = "_ov";
/// The table's commit number that wrote a version, from 0; NULL for a transaction's own rows.
pub const CV: &str = "_cv";
/// The segment that a version stands in.
pub const SEGMENT: &str = "_segment";
/// A version's position in its segment.
pub const POSITION: &str = "_position";
/// The columns that every table has and `SELECT *` does not show.
pub const HIDDEN_COLUMNS: [&str; 4] = [SYSTEM_FROM, SYSTEM_TO, OV, CV];

/// A table over one span of system time. Its schema is the table's columns, then
/// [`HIDDEN_COLUMNS`], then (if asked for) `_segment` and `_position`.
#[derive(Clone, Debug)]
pub struct VersionedTable {
    table: Option<Arc<TableStore>>,
    oid: Oid,
    def: Arc<TableDef>,
    time: SystemTime,
    read_ts: ReadTs,
    overlay: Overlay,
    internal: bool,
    schema: SchemaRef,
}

impl VersionedTable {
    /// A table in the shape `def`, over `time`, as seen by a transaction that reads at `read_ts`:
    /// commits after it do not show, whatever `time` says. `table` is `None` for one that only
    /// the transaction itself has made.
    ///
    /// `overlay` shows with [`SystemTime::AsOf`] only: give an empty one to read the past.
    pub fn new(
        oid: Oid,
        table: Option<Arc<TableStore>>,
        def: Arc<TableDef>,
        time: SystemTime,
        read_ts: ReadTs,
        overlay: Overlay,
    ) -> Self {
        let schema = schema_of(&def, false);
        VersionedTable { table, oid, def, time, read_ts, overlay, internal: false, schema }
    }

    /// Adds the columns `_segment` and `_position`.
    #[must_use]
    pub fn with_internal_columns(mut self) -> Self {
        self.internal = true;
        self.schema = schema_of(&self.def, true);
        self
    }

    /// The span of system time.
    pub fn system_time(&self) -> SystemTime {
        self.time
    }

    /// The instant that the transaction reads at.
    pub fn read_ts(&self) -> ReadTs {
        self.read_ts
    }

    /// The table.
    pub fn table_oid(&self) -> Oid {
        self.oid
    }

    /// The shape.
    pub fn def(&self) -> &Arc<TableDef> {
        &self.def
    }
}

fn schema_of(def: &TableDef, internal: bool) -> SchemaRef {
    let mut fields = def.arrow_fields();
    let instant = SqlType::Timestamptz.arrow();
    fields.push(Field::new(SYSTEM_FROM, instant.clone(), true));
    fields.push(Field::new(SYSTEM_TO, instant, true));
    fields.push(Field::new(OV, DataType::Int64, false));
    fields.push(Field::new(CV, DataType::Int64, true));
    if internal {
        fields.push(Field::new(SEGMENT, DataType::UInt64, false));
        fields.push(Field::new(POSITION, DataType::UInt32, false));
    }
    Arc::new(Schema::new(fields))
}

#[async_trait]
impl TableProvider for VersionedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let _ = (state, projection, filters, limit, &self.table, &self.overlay, self.internal);
        Err(Error::Unsupported("scan".to_owned()).into())
    }
}
