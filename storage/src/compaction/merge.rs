//! Writes the new segments of a compaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronos_catalog::{
    CommitTs, ConstraintKind, Maintenance, Manifest, Oid, Relation, RowEnds, RowRef, SegmentId,
    SegmentMeta, SqlType, State, SystemTime, TableDef,
};
use datafusion::arrow::array::{AsArray, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, Schema, TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::TryStreamExt;
use parking_lot::RwLock;
use roaring::RoaringBitmap;

use crate::compaction::CompactionPlan;
use crate::compaction::relocate::Relocation;
use crate::error::{Error, Result};
use crate::keys::KeySpec;
use crate::parts::Parts;
use crate::provider::{CV, OV, POSITION, SEGMENT, SYSTEM_FROM, SYSTEM_TO};
use crate::scan::{About, ScanExec, ScanOptions};
use crate::segment::reader::{Output, Part, ReadSpec, every_version};
use crate::segment::schema::ColumnMap;
use crate::segment::writer::{Begun, PAGE_ROWS, SegmentFile, unique_keys};
use crate::segment::{Segment, Source};
use crate::store::{Store, unplaced_segment_id};
use crate::table::TableStore;

/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// How much of the time a compaction works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All of it: someone waits.
    Full,
    /// Half of it: it rests as long as it worked.
    Half,
}

impl Pace {
    async fn rest(self, worked: Duration) {
        match self {
            Pace::Full => tokio::task::yield_now().await,
            Pace::Half => tokio::time::sleep(worked.min(Duration::from_secs(1))).await,
        }
    }
}

/// A compaction whose segments are written and not in the manifest yet.
#[derive(Debug)]
pub struct CompactionJob {
    store: Arc<TableStore>,
    /// Row ends up to here are in the new segments.
    at: CommitTs,
    removed: Vec<Arc<Segment>>,
    added: Vec<SegmentMeta>,
    relocation: Arc<Relocation>,
    erase: bool,
}

/// What a compaction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionSize {
    /// Segments that leave.
    pub segments_removed: u64,
    /// Segments that enter.
    pub segments_added: u64,
    /// Rows read.
    pub rows_read: u64,
    /// Rows written.
    pub rows_written: u64,
}

impl CompactionJob {
    /// What it came to.
    pub fn size(&self) -> CompactionSize {
        let rows = |meta: Option<Arc<SegmentMeta>>| meta.map_or(0, |m| u64::from(m.rows));
        CompactionSize {
            segments_removed: self.removed.len() as u64,
            segments_added: self.added.len() as u64,
            rows_read: self.removed.iter().map(|s| rows(s.meta())).sum(),
            rows_written: self.added.iter().map(|m| u64::from(m.rows)).sum(),
        }
    }
}

impl Store {
    /// Writes the new segments of a plan: rows current as of `at`, sorted by key, apart from
    /// those that had ended. `at` is an instant up to which every commit was applied.
    ///
    /// # Errors
    /// When an object cannot be read or written; what was written is removed again.
    pub async fn write_compaction(
        &self,
        state: &RwLock<State>,
        plan: &CompactionPlan,
        at: CommitTs,
        pace: Pace,
    ) -> Result<CompactionJob> {
        let table = plan.table;
        let store = self.existing(table)?;
        let removed: Vec<Arc<Segment>> =
            plan.segments.iter().map(|&id| store.segment(id)).collect::<Result<_>>()?;
        let now = {
            let state = state.read();
            match state.objects.history(table).last().map(|v| &v.object.relation) {
                Some(Relation::Table(def)) => Some(Arc::clone(def)),
                _ => None,
            }
        };
        let mut job = CompactionJob {
            store,
            at,
            removed,
            added: Vec::new(),
            relocation: Arc::default(),
            erase: !plan.erase.is_empty(),
        };
        let written = self.write_both(&mut job, plan, now, pace).await;
        match written {
            Ok(()) => Ok(job),
            Err(error) => {
                self.discard_compaction(job).await;
                Err(error)
            }
        }
    }

    /// Removes what a compaction wrote that is not proposed.
    pub async fn discard_compaction(&self, job: CompactionJob) {
        for meta in &job.added {
            // What stays is an orphan, which the next start removes.
            if let Err(error) = self.delete_uncommitted(meta).await {
                tracing::warn!(object = meta.file.path, %error, "could not delete an orphan");
            }
        }
    }

    /// The command to propose. From before the call until the command was applied no commit may
    /// get an instant and no flush of the table may be under way.
    ///
    /// # Errors
    /// When a sidecar cannot be read.
    pub async fn finish_compaction(
        &self,
        state: &RwLock<State>,
        job: &CompactionJob,
    ) -> Result<Maintenance> {
        let table = job.store.oid;
        let mut carried: BTreeMap<(CommitTs, SegmentId), RoaringBitmap> = BTreeMap::new();
        for old in &job.removed {
            for (position, ts) in old.ends.after(&self.objects, old.id, job.at).await? {
                let row = RowRef { segment: old.id, position };
                match job.relocation.find(row) {
                    Some(new) => {
                        let key = (CommitTs(ts), new.segment);
                        carried.entry(key).or_default().insert(new.position);
                    }
                    // An erased row has no end to keep.
                    None if job.erase => {}
                    None => {
                        return Err(Error::Inconsistent {
                            table,
                            reason: format!("row {position} of segment {} ended twice", old.id),
                        });
                    }
                }
            }
        }
        let removed: Vec<SegmentId> = job.removed.iter().map(|s| s.id).collect();
        let row_ends_removed = {
            let state = state.read();
            state.manifests.get(&table).map(|m| unnamed_sidecars(m, &removed)).unwrap_or_default()
        };
        job.store.relocations.add(Arc::clone(&job.relocation));
        let carry = |((ts, segment), positions)| (ts, RowEnds { segment, positions });
        Ok(Maintenance::Compact {
            table,
            removed,
            added: job.added.clone(),
            carried: carried.into_iter().map(carry).collect(),
            row_ends_removed,
            row_ends_added: None,
        })
    }

    async fn write_both(
        &self,
        job: &mut CompactionJob,
        plan: &CompactionPlan,
        now: Option<Arc<TableDef>>,
        pace: Pace,
    ) -> Result<()> {
        let store = Arc::clone(&job.store);
        let mut shape = None;
        let mut current = Vec::new();
        let mut ended = Vec::new();
        let mut relocation = Relocation::default();
        let none = RoaringBitmap::new();
        for segment in &job.removed {
            let Source::Cold(meta) = segment.source() else {
                return Err(Error::Inconsistent {
                    table: store.oid,
                    reason: format!("segment {} is not in object storage", segment.id),
                });
            };
            let version = *shape.get_or_insert(meta.schema_version);
            if version != meta.schema_version {
                return Err(Error::Inconsistent {
                    table: store.oid,
                    reason: "segments of different shapes were to be merged".to_owned(),
                });
            }
            let def = store.shape(version)?;
            let erase = plan.erase.get(&segment.id).unwrap_or(&none);
            let part = |hidden: RoaringBitmap| -> Result<Part> {
                Ok(Part {
                    id: segment.id,
                    source: Source::Cold(Arc::clone(&meta)),
                    shape: Arc::clone(&def),
                    map: Arc::new(ColumnMap::new(&def, &def)?),
                    own: false,
                    hidden: Arc::new(hidden),
                    times: None,
                    ended: None,
                    only: None,
                    range: 0..meta.rows,
                    check_from: false,
                })
            };
            if let Some(to) = meta.ended_max {
                if plan.horizon.is_none_or(|h| to > h) {
                    ended.push(part(erase.clone())?);
                }
                continue;
            }
            let over = segment.ends.ended_at(&self.objects, segment.id, job.at).await?;
            relocation.leave(segment.id, meta.rows);
            if over.len() < u64::from(meta.rows) {
                current.push(part(&*over | erase)?);
            }
            if !over.is_empty() {
                let mut others = RoaringBitmap::new();
                others.insert_range(0..meta.rows);
                let times = segment.ends.end_times(&self.objects, segment.id, job.at).await?;
                let hidden = (others - &*over) | erase;
                let part = Part { times: Some(Arc::new(times)), ..part(hidden)? };
                ended.push(part);
            }
        }
        let Some(version) = shape else { return Ok(()) };
        let shape = store.shape(version)?;
        let now = now.unwrap_or_else(|| Arc::clone(&shape));
        let mut writer = Writer {
            objects: self,
            table: store.oid,
            keys: unique_keys(&now),
            order: sort_columns(&now, &shape),
            shape,
            pace,
            horizon: plan.horizon,
        };
        if !current.is_empty() {
            writer.write(current, Some(&mut relocation), &mut job.added).await?;
        }
        if !ended.is_empty() {
            writer.order = vec![writer.shape.columns.len() + 1];
            writer.write(ended, None, &mut job.added).await?;
        }
        job.relocation = Arc::new(relocation);
        Ok(())
    }
}

/// Sidecars that name nothing but removed segments.
fn unnamed_sidecars(manifest: &Manifest, removed: &[SegmentId]) -> Vec<String> {
    let removed: BTreeSet<SegmentId> = removed.iter().copied().collect();
    let there = |id: &SegmentId| {
        !removed.contains(id)
            && (manifest.segments.contains_key(id)
                || manifest.sealed.contains_key(id)
                || manifest.open.is_some_and(|(open, _)| open == *id))
    };
    let unnamed = manifest.row_ends.iter().filter(|m| !m.segments.keys().any(there));
    unnamed.map(|m| m.file.path.clone()).collect()
}

/// The columns of a shape that its rows are sorted by: the primary key, else the time column,
/// else by when they began.
fn sort_columns(now: &TableDef, shape: &TableDef) -> Vec<usize> {
    let place = |id| shape.columns.iter().position(|c| c.id == id);
    let key = now.constraints.iter().find_map(|c| match &c.kind {
        ConstraintKind::PrimaryKey(columns) => columns.iter().map(|&id| place(id)).collect(),
        _ => None,
    });
    let time = || {
        let column = now.column_named(now.options.get("time_column")?)?;
        Some(vec![place(column.id)?])
    };
    let key: Option<Vec<usize>> = key.or_else(time);
    key.unwrap_or_else(|| vec![shape.columns.len()])
}

/// Reads parts, sorts them and writes segments.
struct Writer<'a> {
    objects: &'a Store,
    table: Oid,
    shape: Arc<TableDef>,
    keys: Vec<KeySpec>,
    /// Columns of [`Writer::spec`].
    order: Vec<usize>,
    pace: Pace,
    horizon: Option<CommitTs>,
}

impl Writer<'_> {
    /// The shape's columns, then `_system_from`, `_system_to`, `_ov`, `_cv`, and the place.
    fn spec(&self) -> ReadSpec {
        let mut outputs: Vec<Output> = (0..self.shape.columns.len()).map(Output::Column).collect();
        let mut fields: Vec<Field> =
            self.shape.arrow_fields().into_iter().map(|f| f.with_nullable(true)).collect();
        let instant = SqlType::Timestamptz.arrow();
        for (output, name, ty) in [
            (Output::From, SYSTEM_FROM, instant.clone()),
            (Output::To, SYSTEM_TO, instant),
            (Output::Ov, OV, DataType::Int64),
            (Output::Cv, CV, DataType::Int64),
            (Output::Segment, SEGMENT, DataType::UInt64),
            (Output::Position, POSITION, DataType::UInt32),
        ] {
            outputs.push(output);
            fields.push(Field::new(name, ty, true));
        }
        ReadSpec {
            table: self.table,
            def: Arc::clone(&self.shape),
            outputs,
            schema: Arc::new(Schema::new(fields)),
            window: every_version(),
        }
    }

    /// A sort that spills to disk where the rows are more than memory may hold.
    fn plan(&self, parts: Vec<Part>) -> Result<Arc<dyn ExecutionPlan>> {
        let spec = self.spec();
        let sort: Vec<PhysicalSortExpr> = self
            .order
            .iter()
            .map(|&i| {
                let column = Column::new(spec.schema.field(i).name(), i);
                PhysicalSortExpr::new_default(Arc::new(column))
            })
            .collect();
        let segments = parts.len();
        let most_rows = parts.iter().map(|p| u64::from(p.range.end)).sum();
        let parts = Parts { parts, segments, most_rows, ..Parts::default() };
        let options = ScanOptions {
            predicate: None,
            filtered: false,
            limit: None,
            partitions: 1,
            row_group_rows: self.objects.options.row_group_rows,
        };
        let (time, read_ts) = (SystemTime::All, CommitTs::MAX);
        let about = About { time, read_ts, key: None, segments, pruned: 0, masked: 0 };
        let scan = ScanExec::new(spec, Arc::clone(&self.objects.objects), parts, options, about);
        let scan: Arc<dyn ExecutionPlan> = Arc::new(scan);
        Ok(match LexOrdering::new(sort) {
            Some(ordering) => Arc::new(SortExec::new(ordering, scan)),
            None => scan,
        })
    }

    /// With a relocation the rows are current ones, else all have ended.
    async fn write(
        &self,
        parts: Vec<Part>,
        mut relocation: Option<&mut Relocation>,
        added: &mut Vec<SegmentMeta>,
    ) -> Result<()> {
        let ended = relocation.is_none();
        let options = &self.objects.options;
        let pool = Arc::new(FairSpillPool::new(options.compaction_memory_bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
        let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(BATCH_ROWS);
        config.options_mut().execution.sort_spill_reservation_bytes =
            options.compaction_memory_bytes / 8;
        let context = SessionContext::new_with_config_rt(config, runtime);
        let mut stream = self.plan(parts)?.execute(0, context.task_ctx())?;
        let mut open: Option<SegmentFile> = None;
        let mut written = 0_u32;
        let mut since = Instant::now();
        while let Some(batch) = stream.try_next().await? {
            let rows = Rows::of(self, batch)?;
            let mut at = match (ended, self.horizon) {
                // Sorted by their ends.
                (true, Some(h)) => rows.to.values().partition_point(|&to| to <= h.micros()),
                _ => 0,
            };
            while at < rows.len() {
                let file = match &mut open {
                    Some(file) => file,
                    None => {
                        let id = unplaced_segment_id();
                        if let Some(relocation) = &mut relocation {
                            relocation.enter(id, written);
                        }
                        open.insert(self.segment(id, ended)?)
                    }
                };
                let room = options.segment_rows.saturating_sub(file.rows()).max(1);
                let n = room.min(rows.len() - at).min(PAGE_ROWS);
                rows.write(file, at, n, ended)?;
                if let Some(relocation) = &mut relocation {
                    for i in at..at + n {
                        relocation.place(rows.place(i).0, rows.place(i).1, written);
                        written += 1;
                    }
                }
                at += n;
                let full =
                    file.rows() >= options.segment_rows || file.bytes() >= options.segment_bytes;
                if full && let Some(file) = open.take() {
                    added.push(self.finish(file).await?);
                }
            }
            self.pace.rest(since.elapsed()).await;
            since = Instant::now();
        }
        if let Some(file) = open {
            added.push(self.finish(file).await?);
        }
        Ok(())
    }

    fn segment(&self, id: SegmentId, ended: bool) -> Result<SegmentFile> {
        let make = if ended { SegmentFile::of_ended } else { SegmentFile::new };
        make(self.table, id, &self.shape, &self.keys, &self.objects.options)
    }

    async fn finish(&self, file: SegmentFile) -> Result<SegmentMeta> {
        let meta = file.finish(&self.objects.objects).await?;
        Ok(SegmentMeta { sorted: true, ..meta })
    }
}

/// A batch of [`Writer::spec`].
struct Rows {
    /// The columns, then `_ov`.
    values: RecordBatch,
    from: TimestampMicrosecondArray,
    to: TimestampMicrosecondArray,
    batch: RecordBatch,
    width: usize,
}

impl Rows {
    fn of(writer: &Writer<'_>, batch: RecordBatch) -> Result<Rows> {
        let width = writer.shape.columns.len();
        let instants = |i: usize| batch.column(i).as_primitive::<TimestampMicrosecondType>();
        let (from, to) = (instants(width).clone(), instants(width + 1).clone());
        let places: Vec<usize> = (0..width).chain([width + 2]).collect();
        Ok(Rows { values: batch.project(&places)?, from, to, batch, width })
    }

    fn len(&self) -> usize {
        self.batch.num_rows()
    }

    fn place(&self, row: usize) -> (SegmentId, u32) {
        let segments = self.batch.column(self.width + 4).as_primitive::<UInt64Type>();
        let positions = self.batch.column(self.width + 5).as_primitive::<UInt32Type>();
        (SegmentId(segments.value(row)), positions.value(row))
    }

    fn write(&self, file: &mut SegmentFile, at: usize, n: usize, ended: bool) -> Result<()> {
        let cv = self.batch.column(self.width + 3).as_primitive::<Int64Type>();
        let begun = Begun::Each(self.from.slice(at, n), cv.slice(at, n));
        let values = self.values.slice(at, n);
        if ended {
            file.write_ended(&values, begun, self.to.slice(at, n))
        } else {
            file.write(&values, begun)
        }
    }
}
