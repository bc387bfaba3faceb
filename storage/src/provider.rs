//! A table at an instant, as DataFusion sees it.

use std::sync::Arc;

use async_trait::async_trait;
use chronos_catalog::{Oid, ReadTs, SqlType, SystemTime, TableDef};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;

use crate::expiry::Expiry;
use crate::keys::KeySpec;
use crate::lookup::positions_of;
use crate::object::Traffic;
use crate::overlay::Overlay;
use crate::parts::Planner;
use crate::pushdown;
use crate::scan::{About, ScanExec, ScanOptions};
use crate::segment::reader::{Output, ReadSpec};
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
    indexes: Vec<KeySpec>,
    expiry: Option<Expire>,
    schema: SchemaRef,
}

/// Which rows a read leaves out by their age.
#[derive(Clone, Copy, Debug)]
enum Expire {
    /// Those that have expired at the instant.
    Alive(i64),
    /// All others.
    Expired(i64),
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
        let expiry = match time {
            SystemTime::AsOf(t) => Some(Expire::Alive(t.micros())),
            _ => None,
        };
        let indexes = Vec::new();
        VersionedTable { table, oid, def, time, read_ts, overlay, indexes, expiry, schema }
    }

    /// Judges by another instant which rows have expired, in microseconds since the Unix epoch:
    /// the present is later than the last commit.
    #[must_use]
    pub fn expiring_at(mut self, at: i64) -> Self {
        self.expiry = Some(Expire::Alive(at));
        self
    }

    /// Shows the rows that have expired at an instant, and no others.
    #[must_use]
    pub fn expired_at(mut self, at: i64) -> Self {
        self.expiry = Some(Expire::Expired(at));
        self
    }

    /// What rows must be like to be seen, besides when they were there.
    fn expiry(&self) -> Option<(Expr, usize)> {
        let expiry = Expiry::of(&self.def)?;
        let column = self.schema.index_of(expiry.column()).ok()?;
        match self.expiry? {
            Expire::Alive(at) => Some((expiry.alive(at), column)),
            Expire::Expired(at) => Some((expiry.expired(at), column)),
        }
    }

    /// Adds the columns `_segment` and `_position`.
    #[must_use]
    pub fn with_internal_columns(mut self) -> Self {
        self.schema = schema_of(&self.def, true);
        self
    }

    /// Adds indexes, besides the table's unique keys, that equality filters may use.
    #[must_use]
    pub fn with_indexes(mut self, indexes: Vec<KeySpec>) -> Self {
        self.indexes = indexes;
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

    /// The columns.
    pub fn schema_fields(&self) -> &datafusion::arrow::datatypes::Fields {
        self.schema.fields()
    }

    /// The shape.
    pub fn def(&self) -> &Arc<TableDef> {
        &self.def
    }
}

/// What the column of that index in the schema is.
pub(crate) fn output_of(def: &TableDef, index: usize) -> Output {
    let hidden =
        [Output::From, Output::To, Output::Ov, Output::Cv, Output::Segment, Output::Position];
    match index.checked_sub(def.columns.len()) {
        None => Output::Column(index),
        Some(i) => hidden[i],
    }
}

pub(crate) fn schema_of(def: &TableDef, internal: bool) -> SchemaRef {
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
        let told = |filter: &&Expr| {
            if pushdown::can_prune(filter) {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(told).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let Some((condition, column)) = self.expiry() else {
            return self.scan_all(state, projection, filters, limit).await;
        };
        let mut read: Vec<usize> =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let shown: Vec<usize> = (0..read.len()).collect();
        if !read.contains(&column) {
            read.push(column);
        }
        let mut filters = filters.to_vec();
        filters.push(condition.clone());
        let rows = self.scan_all(state, Some(&read), &filters, None).await?;
        let schema = DFSchema::try_from(rows.schema().as_ref().clone())?;
        let condition = state.create_physical_expr(condition, &schema)?;
        let fetch = limit.filter(|_| filters.len() == 1);
        let filter = FilterExecBuilder::new(condition, rows)
            .apply_projection(Some(shown))?
            .with_fetch(fetch)
            .build()?;
        Ok(Arc::new(filter))
    }
}

impl VersionedTable {
    async fn scan_all(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => Arc::clone(&self.schema),
        };
        let Some(table) = &self.table else { return Ok(Arc::new(EmptyExec::new(schema))) };
        let traffic = Traffic::default();
        let planner = Planner::new(table, &self.overlay, &self.def, self.time, self.read_ts)?;
        let planner = planner.counting(&traffic);
        let Some(window) = planner.window() else {
            return Ok(Arc::new(EmptyExec::new(schema)));
        };
        let every: Vec<usize> = (0..self.schema.fields().len()).collect();
        let outputs =
            projection.unwrap_or(&every).iter().map(|&i| output_of(&self.def, i)).collect();
        let def = Arc::clone(&self.def);
        let spec = ReadSpec { table: self.oid, def, outputs, schema, window };
        let key = pushdown::find_key(&self.def, &self.indexes, filters);
        let (positions, key) = match &key {
            Some(found) => {
                let positions = positions_of(&planner, &window, &found.key, &found.values).await?;
                (Some(positions), Some(found.describe(&self.def)))
            }
            None => (None, None),
        };
        let parts = planner.plan(&spec, positions.as_ref()).await?;
        let prunable = filters.iter().filter(|f| pushdown::can_prune(f)).cloned();
        let predicate = match conjunction(prunable) {
            Some(filter) => {
                let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        let about = About {
            time: self.time,
            read_ts: self.read_ts,
            key,
            segments: parts.segments,
            pruned: parts.pruned,
            masked: parts.masked,
        };
        let options = ScanOptions {
            // The rows are filtered above, so only an unfiltered read may stop early.
            limit: limit.filter(|_| filters.is_empty()),
            filtered: !filters.is_empty(),
            predicate,
            partitions: state.config().target_partitions(),
            row_group_rows: table.options.row_group_rows,
        };
        let objects = Arc::clone(planner.objects());
        Ok(Arc::new(ScanExec::new(spec, objects, parts, options, about).counted(traffic)))
    }
}
