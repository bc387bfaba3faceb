//! Reads segments, hot and cold: the one place that decides which versions a read sees.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use chronos_catalog::{
    CommitTs, Oid, ReadTs, SegmentId, SegmentMeta, SqlType, SystemTime, TableDef,
};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array, RecordBatch,
    RecordBatchOptions, TimestampMicrosecondArray, UInt32Array, UInt64Array, new_null_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::{filter_record_batch, take};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::datasource::physical_plan::parquet::{
    PagePruningAccessPlanFilter, ParquetAccessPlan, ParquetFileMetrics, RowGroupAccess,
    RowGroupAccessPlanFilter,
};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::hot::Chunk;
use crate::object::{Objects, VerifiedReader, of_parquet};
use crate::row_ends::EndTimes;
use crate::segment::Source;
use crate::segment::points::{POINTS_MAX, read_points};
use crate::segment::schema::ColumnMap;

/// A run of ended rows this long is skipped in the file; shorter ones are decoded and dropped,
/// which is faster.
const SKIP_ROWS: u32 = 2048;

/// A column of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The table's column of that index.
    Column(usize),
    From,
    To,
    Ov,
    Cv,
    Segment,
    Position,
}

/// Which versions a read sees, besides those that row ends hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Versions that began at or after it,
    pub(crate) from_min: i64,
    /// and at or before it.
    pub(crate) from_max: i64,
    /// What their end must be.
    pub(crate) to: ToRule,
}

/// What a version's end must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToRule {
    /// Nothing is asked: ended versions are left out by position, or shown too.
    Any,
    /// Not ended at or before the read, or ended after that instant.
    After(i64),
    /// Ended at or before that instant.
    AtMost(i64),
}

impl Window {
    /// The window of a read; `None` when it can see no version.
    pub(crate) fn new(time: SystemTime, read_ts: ReadTs) -> Option<Window> {
        let read = read_ts.micros();
        let (from_min, from_max, to) = match time {
            SystemTime::AsOf(t) => (i64::MIN, t.micros(), ToRule::Any),
            SystemTime::All => (i64::MIN, i64::MAX, ToRule::Any),
            SystemTime::FromTo(a, b) if a < b => {
                (i64::MIN, b.micros() - 1, ToRule::After(a.micros()))
            }
            SystemTime::Between(a, b) if a <= b => {
                (i64::MIN, b.micros(), ToRule::After(a.micros()))
            }
            SystemTime::ContainedIn(a, b) if a <= b => {
                (a.micros(), i64::MAX, ToRule::AtMost(b.micros()))
            }
            SystemTime::FromTo(..) | SystemTime::Between(..) | SystemTime::ContainedIn(..) => {
                return None;
            }
        };
        Some(Window { from_min, from_max: from_max.min(read), to })
    }

    /// Whether every version that began in a range is in the window.
    pub(crate) fn holds_all(&self, from: (CommitTs, CommitTs)) -> bool {
        self.from_min <= from.0.micros() && from.1.micros() <= self.from_max
    }

    /// Whether no version that ended in a range, all others having ended outside of it, is in the
    /// window. `instant` is that of a read of one instant; an end after `read_ts` is not seen.
    pub(crate) fn holds_no_end(
        &self,
        to: (CommitTs, CommitTs),
        instant: Option<ReadTs>,
        read_ts: ReadTs,
    ) -> bool {
        if instant.is_some_and(|t| to.1 <= t) {
            return true;
        }
        match self.to {
            ToRule::Any => false,
            ToRule::After(a) => to.1.micros() <= a.min(read_ts.micros()),
            ToRule::AtMost(b) => to.0.micros() > b,
        }
    }

    /// Whether no version that began in a range is in the window.
    pub(crate) fn holds_none(&self, from: (CommitTs, CommitTs)) -> bool {
        from.1.micros() < self.from_min || from.0.micros() > self.from_max
    }
}

/// What is read of every segment.
#[derive(Debug)]
pub(crate) struct ReadSpec {
    pub(crate) table: Oid,
    pub(crate) def: Arc<TableDef>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) schema: SchemaRef,
    pub(crate) window: Window,
}

/// How a read takes a segment whose rows had all ended when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// An end after it is not seen.
    pub(crate) read_ts: ReadTs,
    /// A read of one instant sees what ended after it.
    pub(crate) after: Option<ReadTs>,
}

/// A part of a segment, and what is known of its rows.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) id: SegmentId,
    pub(crate) source: Source,
    /// The shape of its rows.
    pub(crate) shape: Arc<TableDef>,
    pub(crate) map: Arc<ColumnMap>,
    /// The transaction's own, not committed.
    pub(crate) own: bool,
    /// Positions that the read does not see.
    pub(crate) hidden: Arc<RoaringBitmap>,
    /// When its versions ended, where that is asked for.
    pub(crate) times: Option<Arc<EndTimes>>,
    /// Where the file tells when its versions ended, and that matters: how.
    pub(crate) ended: Option<Ended>,
    /// The only positions that matter, where a key told them.
    pub(crate) only: Option<Arc<RoaringBitmap>>,
    /// The positions that this part covers.
    pub(crate) range: Range<u32>,
    /// Whether `_system_from` must be looked at.
    pub(crate) check_from: bool,
}

impl Part {
    /// Whether the file tells when its versions ended.
    pub(crate) fn has_ends(&self) -> bool {
        matches!(&self.source, Source::Cold(meta) if meta.ended_max.is_some())
    }

    /// When the version at a position ended, as the read sees it.
    fn end_of(&self, raw: &Raw<'_>, row: usize) -> Option<i64> {
        match (&raw.to, &self.ended) {
            (Some(to), ended) => {
                let to = to.as_primitive::<TimestampMicrosecondType>().value(row);
                ended.is_none_or(|e| to <= e.read_ts.micros()).then_some(to)
            }
            (None, _) => self.times.as_ref()?.get(raw.positions.get(row)?),
        }
    }
}

/// A predicate that whole row groups and pages are left out by.
#[derive(Debug)]
pub(crate) struct Pruner {
    pub(crate) expr: Arc<dyn PhysicalExpr>,
    pub(crate) metrics: ExecutionPlanMetricsSet,
    pub(crate) partition: usize,
}

/// The positions of a batch's rows, ascending.
#[derive(Debug)]
pub(super) enum Places {
    /// All of a range, as nearly always in a scan: nothing is written down for each row.
    Run(Range<u32>),
    Each(Vec<u32>),
}

impl Places {
    fn get(&self, row: usize) -> Option<u32> {
        match self {
            Places::Run(range) => range.clone().nth(row),
            Places::Each(all) => all.get(row).copied(),
        }
    }

    fn bounds(&self) -> Option<(u32, u32)> {
        match self {
            Places::Run(range) if range.is_empty() => None,
            Places::Run(range) => Some((range.start, range.end - 1)),
            Places::Each(all) => Some((*all.first()?, *all.last()?)),
        }
    }

    /// Which row stands at a position.
    fn row(&self, position: u32) -> Option<usize> {
        match self {
            Places::Run(range) => {
                range.contains(&position).then(|| (position - range.start) as usize)
            }
            Places::Each(all) => all.binary_search(&position).ok(),
        }
    }

    fn to_array(&self) -> UInt32Array {
        match self {
            Places::Run(range) => UInt32Array::from_iter_values(range.clone()),
            Places::Each(all) => UInt32Array::from(all.clone()),
        }
    }
}

/// Gives the positions of a list of ranges, batch by batch.
struct PlacesOf(VecDeque<Range<u32>>);

impl PlacesOf {
    fn next(&mut self, rows: usize) -> Places {
        if let Some(first) = self.0.front_mut()
            && first.len() >= rows
        {
            let end = first.start + rows as u32;
            let run = first.start..end;
            first.start = end;
            return Places::Run(run);
        }
        let mut all = Vec::with_capacity(rows);
        while all.len() < rows
            && let Some(first) = self.0.front_mut()
        {
            let n = (rows - all.len()).min(first.len()) as u32;
            all.extend(first.start..first.start + n);
            first.start += n;
            if first.start == first.end {
                self.0.pop_front();
            }
        }
        Places::Each(all)
    }
}

/// What is known of a batch before its columns are put together.
pub(super) struct Raw<'a> {
    pub(super) rows: usize,
    pub(super) positions: Places,
    pub(super) columns: &'a dyn Fn(usize) -> Option<ArrayRef>,
    pub(super) from: Option<ArrayRef>,
    pub(super) ov: Option<ArrayRef>,
    pub(super) cv: Option<ArrayRef>,
    /// `_system_to`, where the file holds it.
    pub(super) to: Option<ArrayRef>,
}

impl ReadSpec {
    fn wants(&self, output: Output) -> bool {
        self.outputs.contains(&output)
    }

    /// Puts a batch together and leaves out the versions that the read does not see.
    pub(super) fn finish(&self, part: &Part, raw: Raw<'_>) -> Result<RecordBatch> {
        let mask = self.mask(part, &raw)?;
        let mut columns = Vec::with_capacity(self.outputs.len());
        for (output, field) in self.outputs.iter().zip(self.schema.fields()) {
            let target = field.data_type();
            let absent = |name: &str| Error::Inconsistent {
                table: self.table,
                reason: format!("segment {} was read without {name}", part.id),
            };
            let column: ArrayRef = match output {
                Output::Column(i) => part.map.column(*i, target, raw.rows, raw.columns)?,
                Output::From if part.own => new_null_array(target, raw.rows),
                Output::Cv if part.own => new_null_array(target, raw.rows),
                Output::From => {
                    let from = raw.from.as_ref().ok_or_else(|| absent("_system_from"))?;
                    let from = from.as_primitive::<TimestampMicrosecondType>();
                    Arc::new(from.clone().with_data_type(target.clone()))
                }
                Output::Cv => raw.cv.clone().ok_or_else(|| absent("_cv"))?,
                Output::Ov => raw.ov.clone().ok_or_else(|| absent("_ov"))?,
                Output::To => {
                    let to: TimestampMicrosecondArray =
                        (0..raw.rows).map(|i| part.end_of(&raw, i)).collect();
                    Arc::new(to.with_data_type(target.clone()))
                }
                Output::Segment => Arc::new(UInt64Array::from_value(part.id.0, raw.rows)),
                Output::Position => Arc::new(raw.positions.to_array()),
            };
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(raw.rows));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        match mask {
            Some(mask) => Ok(filter_record_batch(&batch, &mask)?),
            None => Ok(batch),
        }
    }

    /// The versions that are seen; `None` when all are.
    fn mask(&self, part: &Part, raw: &Raw<'_>) -> Result<Option<BooleanArray>> {
        let Some((first, last)) = raw.positions.bounds() else { return Ok(None) };
        let mut mask = BooleanBufferBuilder::new(raw.rows);
        mask.append_n(raw.rows, true);
        let mut all = true;
        for position in part.hidden.range(first..=last) {
            if let Some(row) = raw.positions.row(position) {
                mask.set_bit(row, false);
                all = false;
            }
        }
        if let Some(only) = &part.only {
            for i in 0..raw.rows {
                if raw.positions.get(i).is_none_or(|position| !only.contains(position)) {
                    mask.set_bit(i, false);
                    all = false;
                }
            }
        }
        let ends = part.times.is_some() || part.ended.is_some();
        let by_time = part.check_from || ends;
        if by_time && !part.own {
            let from = raw.from.as_ref().ok_or_else(|| Error::Inconsistent {
                table: self.table,
                reason: format!("segment {} was read without _system_from", part.id),
            })?;
            let from = from.as_primitive::<TimestampMicrosecondType>().values();
            let window = self.window;
            let begun = |i: usize| window.from_min <= from[i] && from[i] <= window.from_max;
            let after = part.ended.and_then(|e| e.after);
            let seen = match (&raw.to, after, window.to) {
                _ if !ends => BooleanBuffer::collect_bool(raw.rows, begun),
                // One instant: an end after the read is one after the instant, too.
                (Some(to), Some(t), ToRule::Any) => {
                    let to = to.as_primitive::<TimestampMicrosecondType>().values();
                    BooleanBuffer::collect_bool(raw.rows, |i| begun(i) && to[i] > t.micros())
                }
                _ => BooleanBuffer::collect_bool(raw.rows, |i| {
                    let to = part.end_of(raw, i);
                    let asked_for = match window.to {
                        ToRule::Any => true,
                        ToRule::After(a) => to.is_none_or(|to| to > a),
                        ToRule::AtMost(b) => to.is_some_and(|to| to <= b),
                    };
                    let not_over = after.is_none_or(|t| to.is_none_or(|to| to > t.micros()));
                    // A version that its own transaction ended again was never there.
                    begun(i) && not_over && asked_for && to != Some(from[i])
                }),
            };
            if seen.count_set_bits() < raw.rows {
                return Ok(Some(BooleanArray::new(&mask.finish() & &seen, None)));
            }
        }
        Ok((!all).then(|| BooleanArray::new(mask.finish(), None)))
    }

    pub(super) fn needs_from(&self, part: &Part) -> bool {
        let ends = part.times.is_some() || part.ended.is_some();
        !part.own && (self.wants(Output::From) || part.check_from || ends)
    }

    pub(super) fn needs_to(&self, part: &Part) -> bool {
        part.has_ends() && (self.wants(Output::To) || part.ended.is_some())
    }
}

/// Reads a part of a segment as a stream of batches.
pub(crate) fn read_part(
    spec: Arc<ReadSpec>,
    part: Part,
    objects: Arc<Objects>,
    pruner: Option<Arc<Pruner>>,
    batch_rows: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    match part.source.clone() {
        Source::Hot(_, chunks) => read_hot(spec, part, chunks, batch_rows),
        Source::Cold(meta) if part.only.as_ref().is_some_and(|o| o.len() <= POINTS_MAX) => {
            let read = async move { read_points(&spec, &part, &meta, &objects).await };
            let batches = read.map_ok(|batches| futures::stream::iter(batches).map(Ok));
            futures::stream::once(batches).try_flatten().boxed()
        }
        Source::Cold(meta) => {
            let open = read_cold(spec, part, meta, objects, pruner, batch_rows);
            futures::stream::once(open).try_flatten().boxed()
        }
    }
}

fn read_hot(
    spec: Arc<ReadSpec>,
    part: Part,
    chunks: Arc<Vec<Arc<Chunk>>>,
    batch_rows: usize,
) -> BoxStream<'static, Result<RecordBatch>> {
    let mut pieces: Vec<(Arc<Chunk>, usize, usize)> = Vec::new();
    let few = part.only.as_ref().filter(|only| only.len() <= POINTS_MAX);
    let looked_at: Vec<&Arc<Chunk>> = match few {
        // Straight to the chunks that the rows stand in.
        Some(only) => {
            let mut places: Vec<usize> = only
                .iter()
                .map(|p| chunks.partition_point(|c| c.first + c.rows() as u32 <= p))
                .collect();
            places.dedup();
            places.into_iter().filter_map(|i| chunks.get(i)).collect()
        }
        None => chunks.iter().collect(),
    };
    for chunk in looked_at {
        let mut end = chunk.rows().min(part.range.end.saturating_sub(chunk.first) as usize);
        if part.check_from {
            end = end.min(chunk.rows_at(CommitTs(spec.window.from_max)));
        }
        let mut start = part.range.start.saturating_sub(chunk.first) as usize;
        let wanted = |start: usize, n: usize| match &part.only {
            None => true,
            Some(only) => {
                let first = chunk.first + start as u32;
                only.range_cardinality(first..first + n as u32) > 0
            }
        };
        while start < end {
            let n = (end - start).min(batch_rows);
            if wanted(start, n) {
                pieces.push((Arc::clone(chunk), start, n));
            }
            start += n;
        }
    }
    let read = move |(chunk, start, n): (Arc<Chunk>, usize, usize)| {
        let first = chunk.first + start as u32;
        let ov_at = chunk.batch.num_columns() - 1;
        let finish = |rows: usize,
                      positions: Places,
                      cut: &dyn Fn(ArrayRef) -> Result<ArrayRef>|
         -> Result<RecordBatch> {
            let needed: Vec<usize> = spec
                .outputs
                .iter()
                .filter_map(|o| match o {
                    Output::Column(i) => part.map.place(*i),
                    _ => None,
                })
                .collect();
            let mut cuts: Vec<Option<ArrayRef>> = vec![None; chunk.batch.num_columns()];
            for i in needed {
                if cuts[i].is_none() {
                    cuts[i] = Some(cut(Arc::clone(chunk.batch.column(i)))?);
                }
            }
            let raw = Raw {
                rows,
                positions,
                columns: &|i| cuts.get(i).cloned().flatten(),
                from: match spec.needs_from(&part) {
                    true => Some(cut(Arc::new(chunk.from.clone()))?),
                    false => None,
                },
                ov: match spec.wants(Output::Ov) {
                    true => Some(cut(Arc::clone(chunk.batch.column(ov_at)))?),
                    false => None,
                },
                cv: match spec.wants(Output::Cv) {
                    true => Some(cut(Arc::new(chunk.cv.clone()))?),
                    false => None,
                },
                to: None,
            };
            spec.finish(&part, raw)
        };
        match &part.only {
            Some(only) => {
                let positions: Vec<u32> = only.range(first..first + n as u32).collect();
                let indices: UInt32Array =
                    positions.iter().map(|p| Some(p - chunk.first)).collect();
                let cut = |array: ArrayRef| Ok(take(&array, &indices, None)?);
                finish(positions.len(), Places::Each(positions), &cut)
            }
            None => {
                let cut = |array: ArrayRef| Ok(array.slice(start, n));
                finish(n, Places::Run(first..first + n as u32), &cut)
            }
        }
    };
    futures::stream::iter(pieces.into_iter().map(read))
        .try_filter(|batch| std::future::ready(batch.num_rows() > 0))
        .boxed()
}

async fn read_cold(
    spec: Arc<ReadSpec>,
    part: Part,
    meta: Arc<SegmentMeta>,
    objects: Arc<Objects>,
    pruner: Option<Arc<Pruner>>,
    batch_rows: usize,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let footer = objects.footer(&meta.file).await?;
    let selected = select_rows(&spec, &part, &footer, &meta, pruner.as_deref())?;
    if selected.is_empty() {
        return Ok(futures::stream::empty().boxed());
    }
    let width = part.map.width;
    let constant = meta.commit_number;
    let (need_from, need_to) = (spec.needs_from(&part), spec.needs_to(&part));
    let places = places_read(&spec, &part, &meta);
    let (groups, selection) = to_selection(&selected, &footer);
    let reader = VerifiedReader { objects, meta: Arc::new(meta.file.clone()) };
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, (*footer).clone());
    let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
    let stream = builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_row_selection(selection)
        .with_batch_size(batch_rows)
        .build()?;
    let mut positions = PlacesOf(selected.into());
    let batches = stream.map(move |batch| {
        let batch = batch.map_err(|e| of_parquet(e, &meta.file.path))?;
        let rows = batch.num_rows();
        let at = |place: usize| {
            let i = places.binary_search(&place).ok()?;
            batch.columns().get(i).cloned()
        };
        let from: Option<ArrayRef> = if !need_from {
            None
        } else if constant.is_some() {
            let from = meta.from_max.micros();
            Some(Arc::new(TimestampMicrosecondArray::from_value(from, rows)))
        } else {
            at(width)
        };
        let cv: Option<ArrayRef> = match constant {
            Some(number) => Some(Arc::new(Int64Array::from_value(number, rows))),
            None => at(width + 2),
        };
        let raw = Raw {
            rows,
            positions: positions.next(rows),
            columns: &at,
            from,
            ov: at(width + 1),
            cv,
            to: if need_to { at(width + 3) } else { None },
        };
        spec.finish(&part, raw)
    });
    Ok(batches.try_filter(|batch| std::future::ready(batch.num_rows() > 0)).boxed())
}

/// The places of the columns of a file that are read, ascending.
pub(super) fn places_read(spec: &ReadSpec, part: &Part, meta: &SegmentMeta) -> Vec<usize> {
    let width = part.map.width;
    let constant = meta.commit_number.is_some();
    let mut places: Vec<usize> = spec
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Column(i) => part.map.place(*i),
            Output::Ov => Some(width + 1),
            Output::Cv if !constant && !part.own => Some(width + 2),
            _ => None,
        })
        .collect();
    if spec.needs_from(part) && !constant {
        places.push(width);
    }
    if spec.needs_to(part) {
        places.push(width + 3);
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// The position ranges of a file that are read, ascending.
fn select_rows(
    spec: &ReadSpec,
    part: &Part,
    footer: &ArrowReaderMetadata,
    meta: &SegmentMeta,
    pruner: Option<&Pruner>,
) -> Result<Vec<Range<u32>>> {
    let groups = footer.metadata().row_groups();
    let mut plan = ParquetAccessPlan::new_none(groups.len());
    let mut starts = Vec::with_capacity(groups.len());
    let mut start = 0_u32;
    for (i, group) in groups.iter().enumerate() {
        starts.push(start);
        let end = start + group.num_rows() as u32;
        if start < part.range.end && part.range.start < end {
            plan.scan(i);
        }
        start = end;
    }
    if start != meta.rows {
        return Err(Error::Corrupt {
            path: meta.file.path.clone(),
            reason: format!("it has {start} rows, {} were expected", meta.rows),
        });
    }
    if let Some(pruner) = pruner
        && part.only.is_none()
    {
        plan = prune(spec, part, footer, meta, pruner, plan)?;
    }
    let mut ranges: Vec<Range<u32>> = Vec::new();
    let mut push = |range: Range<u32>| {
        let range = range.start.max(part.range.start)..range.end.min(part.range.end);
        if range.is_empty() {
            return;
        }
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    };
    for (i, access) in plan.inner().iter().enumerate() {
        let start = starts[i];
        match access {
            RowGroupAccess::Skip => {}
            RowGroupAccess::Scan => push(start..start + groups[i].num_rows() as u32),
            RowGroupAccess::Selection(selection) => {
                let mut at = start;
                for selector in selection.iter() {
                    let end = at + selector.row_count as u32;
                    if !selector.skip {
                        push(at..end);
                    }
                    at = end;
                }
            }
        }
    }
    if let Some(only) = &part.only {
        let inside = |p: &u32| ranges.iter().any(|r| r.contains(p));
        let mut exact: Vec<Range<u32>> = Vec::new();
        for p in only.iter().filter(inside).filter(|&p| !part.hidden.contains(p)) {
            match exact.last_mut() {
                Some(last) if last.end == p => last.end += 1,
                _ => exact.push(p..p + 1),
            }
        }
        return Ok(exact);
    }
    Ok(without_long_runs(ranges, &part.hidden))
}

/// Cuts runs of hidden rows that are long enough to be worth it out of the ranges.
fn without_long_runs(ranges: Vec<Range<u32>>, hidden: &RoaringBitmap) -> Vec<Range<u32>> {
    if hidden.len() < u64::from(SKIP_ROWS) {
        return ranges;
    }
    let mut out = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut start = range.start;
        let mut run = range.start..range.start;
        let mut cut = |run: &Range<u32>, start: &mut u32| {
            if run.end - run.start >= SKIP_ROWS {
                if run.start > *start {
                    out.push(*start..run.start);
                }
                *start = run.end;
            }
        };
        for p in hidden.range(range.clone()) {
            if p == run.end {
                run.end += 1;
            } else {
                cut(&run, &mut start);
                run = p..p + 1;
            }
        }
        cut(&run, &mut start);
        if start < range.end {
            out.push(start..range.end);
        }
    }
    out
}

fn prune(
    spec: &ReadSpec,
    part: &Part,
    footer: &ArrowReaderMetadata,
    meta: &SegmentMeta,
    pruner: &Pruner,
    plan: ParquetAccessPlan,
) -> Result<ParquetAccessPlan> {
    let metadata = footer.metadata();
    let descriptor = footer.parquet_schema();
    let table_schema = Arc::new(Schema::new(spec.def.arrow_fields()));
    let file_schema = prunable_schema(part, &spec.def, footer.schema());
    let metrics = ParquetFileMetrics::new(pruner.partition, &meta.file.path, &pruner.metrics);
    // A predicate that no statistics can tell anything about leaves everything in.
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(&table_schema));
    let Ok(predicate) = builder.try_build(Arc::clone(&pruner.expr)) else {
        return Ok(plan);
    };
    let mut filter = RowGroupAccessPlanFilter::new(plan);
    filter.prune_by_statistics(
        &file_schema,
        descriptor,
        metadata.row_groups(),
        &predicate,
        &metrics,
    );
    let plan = filter.build();
    let pages = PagePruningAccessPlanFilter::new(&pruner.expr, table_schema);
    Ok(pages.prune_plan_with_page_index(plan, &file_schema, descriptor, metadata, &metrics))
}

/// The file's columns under the names that the predicate uses. Columns whose statistics would
/// mislead get a name that no column has: those of another type by now, and floats, for whose
/// NaN Parquet keeps no bound.
fn prunable_schema(part: &Part, def: &TableDef, file: &SchemaRef) -> Schema {
    let fields = file.fields().iter().enumerate().map(|(i, field)| {
        let now = part.shape.columns.get(i).and_then(|c| {
            let now = def.column(c.id)?;
            let plain = !matches!(
                c.ty,
                SqlType::Float4 | SqlType::Float8 | SqlType::Interval | SqlType::Array(_)
            );
            (now.ty == c.ty && plain).then_some(now.name.as_str())
        });
        let name = now.map_or_else(|| format!("\0{i}"), str::to_owned);
        Field::new(name, field.data_type().clone(), field.is_nullable())
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The row groups that hold the ranges, and the ranges as a selection among their rows.
fn to_selection(ranges: &[Range<u32>], footer: &ArrowReaderMetadata) -> (Vec<usize>, RowSelection) {
    let mut groups = Vec::new();
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut start = 0_u32;
    let mut next = 0;
    for (i, group) in footer.metadata().row_groups().iter().enumerate() {
        let end = start + group.num_rows() as u32;
        while next < ranges.len() && ranges[next].end <= start {
            next += 1;
        }
        if next < ranges.len() && ranges[next].start < end {
            groups.push(i);
            let mut at = start;
            for range in &ranges[next..] {
                let (from, to) = (range.start.max(start), range.end.min(end));
                if from >= to {
                    break;
                }
                if from > at {
                    selectors.push(RowSelector::skip((from - at) as usize));
                }
                selectors.push(RowSelector::select((to - from) as usize));
                at = to;
            }
            if at < end {
                selectors.push(RowSelector::skip((end - at) as usize));
            }
        }
        start = end;
    }
    (groups, RowSelection::from(selectors))
}

/// The window of reads by position, which have been told which versions they want.
pub(crate) fn every_version() -> Window {
    Window { from_min: i64::MIN, from_max: i64::MAX, to: ToRule::Any }
}
