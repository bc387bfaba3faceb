//! Single rows of a segment in object storage. A page of a column is decoded once and kept, so
//! that reads of rows next to each other, or of the same row again, only pick values out of it.

use std::sync::Arc;

use chronos_catalog::SegmentMeta;
use datafusion::arrow::array::{
    Array, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::{concat, take};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use futures::TryStreamExt;

use crate::cache::CacheKey;
use crate::error::{Error, Result};
use crate::object::{Objects, VerifiedReader, of_parquet};
use crate::segment::reader::{Part, Places, Raw, ReadSpec, places_read};
use crate::segment::writer::PAGE_ROWS;

/// Reads of more rows of a segment than this go through the pages one after the other.
pub(crate) const POINTS_MAX: u64 = 64;

/// In a cache key: a page of a column, decoded. The column's place and the page's number follow.
const DECODED: u64 = 1 << 62;

/// Reads the few rows of a part that matter.
pub(crate) async fn read_points(
    spec: &ReadSpec,
    part: &Part,
    meta: &Arc<SegmentMeta>,
    objects: &Arc<Objects>,
) -> Result<Vec<RecordBatch>> {
    let Some(only) = &part.only else { return Ok(Vec::new()) };
    let wanted: Vec<u32> =
        only.range(part.range.clone()).filter(|&p| !part.hidden.contains(p)).collect();
    let places = places_read(spec, part, meta);
    let path: Arc<str> = Arc::from(meta.file.path.as_str());
    let mut batches = Vec::new();
    let mut at = 0;
    while at < wanted.len() {
        let page = wanted[at] as usize / PAGE_ROWS;
        let n = wanted[at..].iter().take_while(|&&p| p as usize / PAGE_ROWS == page).count();
        let positions = wanted[at..at + n].to_vec();
        at += n;
        let columns = page_of(meta, objects, &path, page, &places).await?;
        let first = (page * PAGE_ROWS) as u32;
        let indices = UInt32Array::from_iter_values(positions.iter().map(|p| p - first));
        let picked = columns
            .iter()
            .map(|array| Ok(take(array, &indices, None)?))
            .collect::<Result<Vec<ArrayRef>>>()?;
        let pick = |place: usize| {
            let i = places.binary_search(&place).ok()?;
            picked.get(i).cloned()
        };
        let width = part.map.width;
        let from: Option<ArrayRef> = match (spec.needs_from(part), meta.commit_number) {
            (false, _) => None,
            (true, Some(_)) => {
                let from = meta.from_max.micros();
                Some(Arc::new(TimestampMicrosecondArray::from_value(from, n)))
            }
            (true, None) => pick(width),
        };
        let cv: Option<ArrayRef> = match meta.commit_number {
            Some(number) => Some(Arc::new(Int64Array::from_value(number, n))),
            None => pick(width + 2),
        };
        let raw = Raw {
            rows: n,
            positions: Places::Each(positions),
            columns: &pick,
            from,
            ov: pick(width + 1),
            cv,
            to: if spec.needs_to(part) { pick(width + 3) } else { None },
        };
        let batch = spec.finish(part, raw)?;
        if batch.num_rows() > 0 {
            batches.push(batch);
        }
    }
    Ok(batches)
}

/// Columns of a file's rows from `page * PAGE_ROWS` on, by their places, ascending.
async fn page_of(
    meta: &Arc<SegmentMeta>,
    objects: &Arc<Objects>,
    path: &Arc<str>,
    page: usize,
    places: &[usize],
) -> Result<Vec<ArrayRef>> {
    let key = |place: usize| -> CacheKey {
        (Arc::clone(path), DECODED | (place as u64) << 32 | page as u64)
    };
    let mut columns: Vec<Option<Arc<ArrayRef>>> =
        places.iter().map(|&place| objects.cache.get::<ArrayRef>(&key(place))).collect();
    let missing: Vec<usize> = (0..places.len()).filter(|&i| columns[i].is_none()).collect();
    if !missing.is_empty() {
        let read: Vec<usize> = missing.iter().map(|&i| places[i]).collect();
        let decoded = decode(meta, objects, page, &read).await?;
        for (&i, array) in missing.iter().zip(decoded) {
            let bytes = array.get_array_memory_size();
            let array = Arc::new(array);
            objects.cache.put(key(places[i]), Arc::clone(&array), bytes);
            columns[i] = Some(array);
        }
    }
    Ok(columns.into_iter().flatten().map(|array| Arc::clone(&*array)).collect())
}

async fn decode(
    meta: &Arc<SegmentMeta>,
    objects: &Arc<Objects>,
    page: usize,
    places: &[usize],
) -> Result<Vec<ArrayRef>> {
    let path = &meta.file.path;
    let footer = objects.footer(&meta.file).await?;
    let (from, to) = (page * PAGE_ROWS, ((page + 1) * PAGE_ROWS).min(meta.rows as usize));
    // The row groups that the rows stand in; nearly always one.
    let mut groups = Vec::new();
    let mut selectors = Vec::new();
    let mut start = 0;
    for (i, group) in footer.metadata().row_groups().iter().enumerate() {
        let end = start + group.num_rows() as usize;
        let (first, last) = (from.max(start), to.min(end));
        if first < last {
            groups.push(i);
            if first > start {
                selectors.push(RowSelector::skip(first - start));
            }
            selectors.push(RowSelector::select(last - first));
            if last < end {
                selectors.push(RowSelector::skip(end - last));
            }
        }
        start = end;
    }
    let reader = VerifiedReader { objects: Arc::clone(objects), meta: Arc::new(meta.file.clone()) };
    let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, (*footer).clone());
    let mask = ProjectionMask::roots(builder.parquet_schema(), places.iter().copied());
    let stream = builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_row_selection(RowSelection::from(selectors))
        .with_batch_size(PAGE_ROWS)
        .build()?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|e| of_parquet(e, path))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows != to - from || batches.iter().any(|b| b.num_columns() != places.len()) {
        return Err(Error::Corrupt {
            path: path.clone(),
            reason: format!("it has {rows} rows at {from}, {} were expected", to - from),
        });
    }
    if let [batch] = batches.as_slice() {
        return Ok(batch.columns().to_vec());
    }
    (0..places.len())
        .map(|i| {
            let arrays: Vec<&dyn Array> = batches.iter().map(|b| b.column(i).as_ref()).collect();
            Ok(concat(&arrays)?)
        })
        .collect()
}
