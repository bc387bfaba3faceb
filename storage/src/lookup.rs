//! Rows by key and by place.

use std::collections::HashMap;
use std::sync::Arc;

use chronos_catalog::{CommitTs, ReadTs, RowRef, SegmentId, SqlType, SystemTime, TableDef};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch, RecordBatchOptions,
    UInt32Array,
};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Schema, UInt32Type, UInt64Type,
};
use datafusion::arrow::row::{RowConverter, SortField};
use futures::TryStreamExt;

use crate::error::{Error, Result};
use crate::hot::Hidden;
use crate::key_file::find_keys;
use crate::keys::{KeyHashes, KeySpec, hash_class, hash_key, is_hashable};
use crate::overlay::Overlay;
use crate::parts::{Planner, Positions};
use crate::segment::reader::{Output, ReadSpec, Window, every_version, read_part};
use crate::segment::schema::adapt;
use crate::segment::{Segment, Source};
use crate::table::TableStore;

/// Rows of one batch of a look-up.
const BATCH_ROWS: usize = 8192;

/// For each row of `keys` (the key's columns in order, in the table's types) the version that
/// has this key as of an instant, own rows laid over. A key with a NULL is never found.
///
/// # Errors
/// When an object cannot be read or the key's type cannot be looked up.
pub async fn find_live_keys(
    table: &TableStore,
    overlay: &Overlay,
    def: &Arc<TableDef>,
    key: &KeySpec,
    keys: &RecordBatch,
    at: ReadTs,
) -> Result<Vec<Option<RowRef>>> {
    let time = SystemTime::AsOf(at);
    let planner = Planner::new(table, overlay, def, time, at)?;
    let window = Window::new(time, at).unwrap_or_else(every_version);
    find(&planner, window, key, keys).await
}

/// Likewise, committed versions only that began after an instant and are current now: for
/// validation at commit. Touches no object unless a segment with such rows was flushed.
///
/// # Errors
/// Likewise.
pub async fn find_keys_committed_after(
    table: &TableStore,
    def: &Arc<TableDef>,
    key: &KeySpec,
    keys: &RecordBatch,
    after: CommitTs,
) -> Result<Vec<Option<RowRef>>> {
    let overlay = Overlay::default();
    let time = SystemTime::AsOf(CommitTs::MAX);
    let planner = Planner::new(table, &overlay, def, time, CommitTs::MAX)?;
    let window = Window { from_min: after.micros().saturating_add(1), ..every_version() };
    find(&planner, window, key, keys).await
}

/// Likewise, with every such version of each key: the key's number and the version.
///
/// # Errors
/// Likewise.
pub async fn find_all_committed_after(
    table: &TableStore,
    def: &Arc<TableDef>,
    key: &KeySpec,
    keys: &RecordBatch,
    after: CommitTs,
) -> Result<Vec<(u32, RowRef)>> {
    let overlay = Overlay::default();
    let time = SystemTime::AsOf(CommitTs::MAX);
    let planner = Planner::new(table, &overlay, def, time, CommitTs::MAX)?;
    let window = Window { from_min: after.micros().saturating_add(1), ..every_version() };
    find_all(&planner, window, key, keys).await
}

/// The given versions' columns (indexes into the table's columns, which the
/// [`crate::HIDDEN_COLUMNS`] follow), in the order given.
///
/// # Errors
/// When an object cannot be read or a position is not in its segment.
pub async fn fetch_rows(
    table: &TableStore,
    overlay: &Overlay,
    def: &Arc<TableDef>,
    rows: &[RowRef],
    columns: &[usize],
) -> Result<RecordBatch> {
    let time = SystemTime::AsOf(CommitTs::MAX);
    let planner = Planner::new(table, overlay, def, time, CommitTs::MAX)?;
    let rows: Vec<RowRef> = rows.iter().map(|row| planner.place_of(*row)).collect::<Result<_>>()?;
    let mut positions = Positions::new();
    for row in &rows {
        positions.entry(row.segment).or_default().insert(row.position);
    }
    let spec = place_spec(table, def, columns, every_version());
    let mut found = Vec::new();
    let mut places: HashMap<RowRef, u32> = HashMap::with_capacity(rows.len());
    let parts = planner.at_places(&positions)?;
    let spec = Arc::new(spec);
    let mut total = 0;
    for part in parts {
        let objects = Arc::clone(&table.objects);
        let mut stream = read_part(Arc::clone(&spec), part, objects, None, BATCH_ROWS);
        while let Some(batch) = stream.try_next().await? {
            for (i, row) in row_refs(&batch).into_iter().enumerate() {
                places.insert(row, total + i as u32);
            }
            total += batch.num_rows() as u32;
            found.push(batch);
        }
    }
    let all = concat_batches(&spec.schema, &found)?;
    let indices = rows
        .iter()
        .map(|row| {
            places.get(row).copied().ok_or_else(|| Error::Inconsistent {
                table: table.oid(),
                reason: format!("segment {} has no row {}", row.segment, row.position),
            })
        })
        .collect::<Result<Vec<u32>>>()?;
    let wanted: Vec<usize> = (0..columns.len()).collect();
    let taken = take_record_batch(&all, &UInt32Array::from(indices))?;
    if wanted.is_empty() {
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let empty = Arc::new(Schema::empty());
        return Ok(RecordBatch::try_new_with_options(empty, Vec::new(), &options)?);
    }
    Ok(taken.project(&wanted)?)
}

/// Reads columns together with each version's place.
pub(crate) fn place_spec(
    table: &TableStore,
    def: &Arc<TableDef>,
    columns: &[usize],
    window: Window,
) -> ReadSpec {
    let mut all = def.arrow_fields();
    let hidden = [Output::From, Output::To, Output::Ov, Output::Cv];
    for name in crate::provider::HIDDEN_COLUMNS {
        let instant = matches!(name, crate::provider::SYSTEM_FROM | crate::provider::SYSTEM_TO);
        let ty = if instant { SqlType::Timestamptz } else { SqlType::Int8 };
        all.push(ty.field(name, true));
    }
    let output = |i: usize| match i.checked_sub(def.columns.len()) {
        None => Output::Column(i),
        Some(i) => hidden[i],
    };
    let mut outputs: Vec<Output> = columns.iter().map(|&i| output(i)).collect();
    let mut fields: Vec<Field> =
        columns.iter().map(|&i| all[i].clone().with_nullable(true)).collect();
    outputs.extend([Output::Segment, Output::Position]);
    fields.push(Field::new(crate::provider::SEGMENT, DataType::UInt64, false));
    fields.push(Field::new(crate::provider::POSITION, DataType::UInt32, false));
    ReadSpec {
        table: table.oid(),
        def: Arc::clone(def),
        outputs,
        schema: Arc::new(Schema::new(fields)),
        window,
    }
}

/// The places in a batch of [`place_spec`].
fn row_refs(batch: &RecordBatch) -> Vec<RowRef> {
    let n = batch.num_columns();
    let segments = batch.column(n - 2).as_primitive::<UInt64Type>();
    let positions = batch.column(n - 1).as_primitive::<UInt32Type>();
    let both = segments.values().iter().zip(positions.values());
    both.map(|(&s, &position)| RowRef { segment: SegmentId(s), position }).collect()
}

/// The places of a key's columns in the table.
pub(crate) fn key_columns(table: &TableStore, def: &TableDef, key: &KeySpec) -> Result<Vec<usize>> {
    let place = |id| def.columns.iter().position(|c| c.id == id);
    let columns: Option<Vec<usize>> = key.columns.iter().map(|&id| place(id)).collect();
    columns.ok_or(Error::NoSuchKey { table: table.oid(), key: key.oid })
}

async fn find(
    planner: &Planner<'_>,
    window: Window,
    key: &KeySpec,
    keys: &RecordBatch,
) -> Result<Vec<Option<RowRef>>> {
    let mut found: Vec<Option<RowRef>> = vec![None; keys.num_rows()];
    for (k, place) in find_all(planner, window, key, keys).await? {
        found[k as usize] = Some(place);
    }
    Ok(found)
}

async fn find_all(
    planner: &Planner<'_>,
    window: Window,
    key: &KeySpec,
    keys: &RecordBatch,
) -> Result<Vec<(u32, RowRef)>> {
    let (table, def) = (planner.table, planner.def);
    let mut found = Vec::new();
    if keys.num_rows() == 0 {
        return Ok(found);
    }
    let columns = key_columns(table, def, key)?;
    if columns.len() != keys.num_columns() {
        return Err(Error::NoSuchKey { table: table.oid(), key: key.oid });
    }
    let wanted: Vec<ArrayRef> = columns
        .iter()
        .zip(keys.columns())
        .map(|(&i, array)| adapt(array, &def.columns[i].ty.arrow()))
        .collect::<Result<_>>()?;
    let hashes = hash_key(&wanted)?;
    let (positions, candidates) = probe(planner, &window, key, &hashes).await?;
    if positions.is_empty() {
        return Ok(found);
    }
    let spec = place_spec(table, def, &columns, window);
    let parts = planner.plan(&spec, Some(&positions)).await?;
    let fields: Vec<SortField> =
        wanted.iter().map(|a| SortField::new(a.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let wanted: Vec<ArrayRef> = wanted.iter().map(equal_floats).collect();
    let wanted = converter.convert_columns(&wanted)?;
    let spec = Arc::new(spec);
    for part in parts.parts {
        let objects = Arc::clone(&table.objects);
        let mut stream = read_part(Arc::clone(&spec), part, objects, None, BATCH_ROWS);
        while let Some(batch) = stream.try_next().await? {
            let arrays: Vec<ArrayRef> =
                batch.columns()[..columns.len()].iter().map(equal_floats).collect();
            let rows = converter.convert_columns(&arrays)?;
            for (i, place) in row_refs(&batch).into_iter().enumerate() {
                for &k in candidates.get(&place).into_iter().flatten() {
                    if rows.row(i) == wanted.row(k as usize) {
                        found.push((k, place));
                    }
                }
            }
        }
    }
    Ok(found)
}

/// PostgreSQL: -0 equals 0, and every NaN every other.
fn equal_floats(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let same = |v: f32| {
                if v == 0.0 {
                    0.0
                } else if v.is_nan() {
                    f32::NAN
                } else {
                    v
                }
            };
            let floats: Float32Array = array.as_primitive::<Float32Type>().unary(same);
            Arc::new(floats)
        }
        DataType::Float64 => {
            let same = |v: f64| {
                if v == 0.0 {
                    0.0
                } else if v.is_nan() {
                    f64::NAN
                } else {
                    v
                }
            };
            let floats: Float64Array = array.as_primitive::<Float64Type>().unary(same);
            Arc::new(floats)
        }
        _ => Arc::clone(array),
    }
}

/// Which keys (by index) may stand at a place.
type Candidates = HashMap<RowRef, Vec<u32>>;

/// The rows whose key has one of the hashes, in all segments that the window reaches, without
/// those that have ended for a read of one instant.
pub(crate) async fn probe(
    planner: &Planner<'_>,
    window: &Window,
    key: &KeySpec,
    hashes: &[Option<u64>],
) -> Result<(Positions, Candidates)> {
    let mut positions = Positions::new();
    let mut candidates = Candidates::new();
    let mut note = |segment: SegmentId, i: usize, position: u32| {
        positions.entry(segment).or_default().insert(position);
        candidates.entry(RowRef { segment, position }).or_default().push(i as u32);
    };
    let own = planner.overlay.table(planner.table.oid());
    let own = own.filter(|_| matches!(planner.time, SystemTime::AsOf(_)));
    let committed = planner.committed(window);
    let key_bytes =
        committed.iter().filter_map(|s| Some(s.meta()?.key_files.get(&key.oid.0)?.size));
    let key_bytes = key_bytes.sum();
    for segment in committed {
        let hidden = planner.hidden(&segment).await?;
        let own_ends = own.and_then(|own| own.ends_of(segment.id));
        let found = |i, p| {
            if own_ends.is_none_or(|ends| !ends.contains(p)) {
                note(segment.id, i, p);
            }
        };
        probe_segment(planner, &segment, key, hashes, key_bytes, hidden.as_ref(), found).await?;
    }
    if let Some(own) = own {
        for segment in own.bulk() {
            let found = |i, p| note(segment.id, i, p);
            probe_segment(planner, segment, key, hashes, key_bytes, None, found).await?;
        }
        if own.rows() > 0 {
            let shape = planner.shape(own.local().schema_version())?;
            match indexed_columns(&shape, planner.def, key) {
                Some(columns) => {
                    let local = SegmentId::LOCAL;
                    let hidden = own
                        .ends_of(local)
                        .map(|ended| Hidden { positions: Arc::new(ended.clone()), ended_by: None });
                    let note = |i, p| note(local, i, p);
                    own.local().find(key, &columns, hashes, hidden.as_ref(), note)?;
                }
                None => {
                    let version = own.local().schema_version();
                    let source = Source::Hot(version, own.local().chunks());
                    let all = computed(planner, SegmentId::LOCAL, source, key).await?;
                    each_hit(&all, hashes, |i, p| note(SegmentId::LOCAL, i, p));
                }
            }
        }
    }
    Ok((positions, candidates))
}

/// The key's columns in a shape, if its rows hash there as they do in the present shape.
fn indexed_columns(shape: &TableDef, def: &TableDef, key: &KeySpec) -> Option<Vec<usize>> {
    let place = |id| {
        let i = shape.columns.iter().position(|c| c.id == id)?;
        let now = def.column(id)?;
        (hash_class(&shape.columns[i].ty)? == hash_class(&now.ty)?).then_some(i)
    };
    key.columns.iter().map(|&id| place(id)).collect()
}

fn each_hit(all: &KeyHashes, hashes: &[Option<u64>], mut found: impl FnMut(usize, u32)) {
    for (i, hash) in hashes.iter().enumerate() {
        if let Some(hash) = hash {
            all.find(*hash).iter().for_each(|&p| found(i, p));
        }
    }
}

async fn probe_segment(
    planner: &Planner<'_>,
    segment: &Segment,
    key: &KeySpec,
    hashes: &[Option<u64>],
    key_bytes: u64,
    hidden: Option<&Hidden>,
    mut found: impl FnMut(usize, u32),
) -> Result<()> {
    let hot = segment.with_hot(|hot| -> Result<bool> {
        let shape = planner.shape(hot.schema_version())?;
        match indexed_columns(&shape, planner.def, key) {
            Some(columns) => hot.find(key, &columns, hashes, hidden, &mut found).map(|()| true),
            None => Ok(false),
        }
    });
    if let Some(true) = hot.transpose()? {
        return Ok(());
    }
    let found = move |i, p| {
        if hidden.is_none_or(|h| !h.positions.contains(p)) {
            found(i, p);
        }
    };
    let objects = planner.objects();
    let source = segment.source();
    if let Source::Cold(meta) = &source {
        let shape = planner.shape(meta.schema_version)?;
        let file = meta.key_files.get(&key.oid.0);
        if let Some(file) = file
            && indexed_columns(&shape, planner.def, key).is_some()
        {
            return find_keys(objects, file, key_bytes, hashes, found).await;
        }
        // A key that is younger than the file.
        let version = u64::from(planner.def.schema_version);
        let cached =
            (Arc::from(meta.file.path.as_str()), KEYS | version << 32 | u64::from(key.oid.0));
        let all = match objects.cache.get::<KeyHashes>(&cached) {
            Some(all) => all,
            None => {
                let all = Arc::new(computed(planner, segment.id, source.clone(), key).await?);
                objects.cache.put(cached, Arc::clone(&all), meta.rows as usize * 12);
                all
            }
        };
        each_hit(&all, hashes, found);
        return Ok(());
    }
    let all = computed(planner, segment.id, source, key).await?;
    each_hit(&all, hashes, found);
    Ok(())
}

/// In a cache key: hashes that were computed from a segment's rows. The schema version and the
/// key follow.
const KEYS: u64 = 1 << 63;

/// The hashes of a key over all rows of a segment.
pub(crate) async fn computed(
    planner: &Planner<'_>,
    id: SegmentId,
    source: Source,
    key: &KeySpec,
) -> Result<KeyHashes> {
    if !is_hashable(planner.def, &key.columns) {
        return Err(Error::Unsupported("a key with a column of this type".to_owned()));
    }
    let columns = key_columns(planner.table, planner.def, key)?;
    let spec = place_spec(planner.table, planner.def, &columns, every_version());
    let Some(part) = planner.whole_part(id, source)? else { return Ok(KeyHashes::default()) };
    let objects = Arc::clone(planner.objects());
    let mut stream = read_part(Arc::new(spec), part, objects, None, BATCH_ROWS);
    let mut hashes = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        hashes.extend(hash_key(&batch.columns()[..columns.len()])?);
    }
    Ok(KeyHashes::new(&hashes))
}

/// Positions of the rows whose key is one of the given, for a read of one instant or of history:
/// hits are not verified.
pub(crate) async fn positions_of(
    planner: &Planner<'_>,
    window: &Window,
    key: &KeySpec,
    keys: &[ArrayRef],
) -> Result<Positions> {
    let hashes = hash_key(keys)?;
    Ok(probe(planner, window, key, &hashes).await?.0)
}
