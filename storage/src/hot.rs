//! Rows in memory: a segment that is not in object storage yet, or a transaction's own rows.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{concat, concat_batches};
use datafusion::arrow::datatypes::DataType;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::error::Result;
use crate::keys::{self, KeySpec};
use crate::rows::own_memory;

/// Chunks are merged in groups of this many of about one size, so that many small commits do not
/// leave many small batches.
const MERGE: usize = 16;
/// Chunks of this many rows are not merged any more.
const CHUNK_ROWS: usize = 8192;

/// A batch of rows within a hot segment, in commit order.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// The position of the first row.
    pub(crate) first: u32,
    /// The table's columns in the shape of the segment, then `_ov`.
    pub(crate) batch: RecordBatch,
    /// Each row's `_system_from`, never descending.
    pub(crate) from: TimestampMicrosecondArray,
    /// Each row's `_cv`.
    pub(crate) cv: Int64Array,
}

impl Chunk {
    pub(crate) fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// How many rows began at or before an instant; they come first.
    pub(crate) fn rows_at(&self, at: CommitTs) -> usize {
        self.from.values().partition_point(|&from| from <= at.micros())
    }
}

/// A key's rows by hash, as far as they were looked at. A clone shares what is there; each side
/// then grows a layer of its own, and layers of about one size are merged, so that taking a
/// savepoint before every row does not cost an index a row.
#[derive(Clone, Debug, Default)]
struct KeyIndex {
    rows: u32,
    layers: Vec<Arc<Layer>>,
    /// What stands apart as ended had ended by then.
    ended_at: CommitTs,
}

#[derive(Clone, Debug, Default)]
struct Layer {
    rows: u32,
    positions: HashMap<u64, Positions, keys::HashIsHash>,
    /// Positions of versions that have ended, which reads of the present need not meet: a row
    /// that is updated often has many.
    ended: HashMap<u64, Vec<u32>, keys::HashIsHash>,
}

/// Positions that a look-up leaves out.
#[derive(Clone, Debug)]
pub(crate) struct Hidden {
    pub(crate) positions: Arc<RoaringBitmap>,
    /// All of them had ended by then; `None` where another reader may still see them.
    pub(crate) ended_by: Option<CommitTs>,
}

#[derive(Clone, Debug)]
enum Positions {
    One(u32),
    Many(Vec<u32>),
}

/// A segment in memory. Only ever appended to; a clone shares the rows that are there and grows
/// on its own.
#[derive(Debug, Default)]
pub(crate) struct HotSegment {
    schema_version: u32,
    rows: u32,
    bytes: usize,
    chunks: Arc<Vec<Arc<Chunk>>>,
    indexes: Mutex<HashMap<Oid, (Vec<u32>, KeyIndex)>>,
}

impl Clone for HotSegment {
    fn clone(&self) -> Self {
        HotSegment {
            schema_version: self.schema_version,
            rows: self.rows,
            bytes: self.bytes,
            chunks: Arc::clone(&self.chunks),
            indexes: Mutex::new(self.indexes.lock().clone()),
        }
    }
}

impl HotSegment {
    /// The shape of its rows.
    pub(crate) fn schema_version(&self) -> u32 {
        self.schema_version
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its rows as they are now.
    pub(crate) fn chunks(&self) -> Arc<Vec<Arc<Chunk>>> {
        Arc::clone(&self.chunks)
    }

    /// The first commit's instant.
    pub(crate) fn began_first(&self) -> Option<CommitTs> {
        self.chunks.first().map(|c| CommitTs(c.from.value(0)))
    }

    /// The last commit's instant.
    pub(crate) fn began_last(&self) -> Option<CommitTs> {
        self.chunks.last().map(|c| CommitTs(c.from.value(c.rows() - 1)))
    }

    /// Adds rows behind those that are there.
    pub(crate) fn append(
        &mut self,
        schema_version: u32,
        first: u32,
        batch: RecordBatch,
        from: TimestampMicrosecondArray,
        cv: Int64Array,
        bytes: usize,
    ) -> Result<()> {
        debug_assert_eq!(first, self.rows);
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.schema_version = schema_version;
        self.rows += batch.num_rows() as u32;
        self.bytes += bytes + batch.num_rows() * 16;
        let chunks = Arc::make_mut(&mut self.chunks);
        for at in (0..batch.num_rows()).step_by(CHUNK_ROWS) {
            let n = CHUNK_ROWS.min(batch.num_rows() - at);
            chunks.push(Arc::new(Chunk {
                first: first + at as u32,
                batch: own_memory(&batch.slice(at, n))?,
                from: from.values()[at..at + n].to_vec().into(),
                cv: cv.values()[at..at + n].to_vec().into(),
            }));
            while let Some(merged) = merge_tail(chunks)? {
                chunks.truncate(chunks.len() - MERGE);
                chunks.push(Arc::new(merged));
            }
        }
        Ok(())
    }

    /// Calls back with the index into `hashes` and the position of each row whose key has that
    /// hash and that is not hidden, the newest row first.
    pub(crate) fn find(
        &self,
        key: &KeySpec,
        columns: &[usize],
        hashes: &[Option<u64>],
        hidden: Option<&Hidden>,
        mut found: impl FnMut(usize, u32),
    ) -> Result<()> {
        let ids: Vec<u32> = key.columns.iter().map(|c| c.0).collect();
        let mut indexes = self.indexes.lock();
        let (indexed, index) = indexes.entry(key.oid).or_default();
        if *indexed != ids {
            *indexed = ids;
            *index = KeyIndex::default();
        }
        if index.rows < self.rows {
            let at = self.chunks.partition_point(|c| c.first + c.rows() as u32 <= index.rows);
            let mut hashed: Vec<(u64, u32)> = Vec::with_capacity((self.rows - index.rows) as usize);
            for chunk in &self.chunks[at..] {
                let skip = index.rows.saturating_sub(chunk.first) as usize;
                let arrays: Vec<ArrayRef> = columns
                    .iter()
                    .map(|&c| chunk.batch.column(c).slice(skip, chunk.rows() - skip))
                    .collect();
                let first = chunk.first + skip as u32;
                let row_hashes = keys::hash_key(&arrays)?.into_iter().zip(first..);
                hashed.extend(row_hashes.filter_map(|(hash, p)| Some((hash?, p))));
            }
            index.add(&hashed, self.rows);
        }
        for (i, hash) in hashes.iter().enumerate() {
            if let Some(hash) = hash {
                index.find(*hash, hidden, |p| found(i, p));
            }
        }
        Ok(())
    }
}

impl KeyIndex {
    fn find(&mut self, hash: u64, hidden: Option<&Hidden>, mut found: impl FnMut(u32)) {
        let ended_by = hidden.and_then(|h| h.ended_by);
        let sees = |p: u32| hidden.is_none_or(|h| !h.positions.contains(p));
        // A read of before may see what has ended since.
        let of_before = ended_by.is_none_or(|t| t < self.ended_at);
        for layer in self.layers.iter_mut().rev() {
            let current: &[u32] = match layer.positions.get(&hash) {
                None => &[],
                Some(Positions::One(p)) => std::slice::from_ref(p),
                Some(Positions::Many(all)) => all,
            };
            let mut ended = 0;
            for &p in current.iter().rev() {
                if sees(p) { found(p) } else { ended += 1 }
            }
            if of_before && let Some(all) = layer.ended.get(&hash) {
                all.iter().rev().copied().filter(|&p| sees(p)).for_each(&mut found);
            }
            if ended > 1
                && let Some(t) = ended_by
                && let Some(layer) = Arc::get_mut(layer)
            {
                layer.set_apart(hash, |p| !sees(p));
                self.ended_at = self.ended_at.max(t);
            }
        }
    }

    /// Adds the rows from `self.rows` to `rows`.
    fn add(&mut self, hashed: &[(u64, u32)], rows: u32) {
        let added = rows - self.rows;
        self.rows = rows;
        if self.layers.last_mut().and_then(Arc::get_mut).is_none() {
            self.layers.push(Arc::default());
        }
        if let Some(layer) = self.layers.last_mut().and_then(Arc::get_mut) {
            layer.rows += added;
            hashed.iter().for_each(|&(hash, position)| layer.add(hash, position));
        }
        while let [.., older, newer] = self.layers.as_slice()
            && older.rows <= newer.rows.saturating_mul(2)
        {
            let mut merged = older.as_ref().clone();
            merged.rows += newer.rows;
            for (&hash, positions) in &newer.positions {
                match positions {
                    Positions::One(p) => merged.add(hash, *p),
                    Positions::Many(all) => all.iter().for_each(|&p| merged.add(hash, p)),
                }
            }
            for (&hash, positions) in &newer.ended {
                merged.ended.entry(hash).or_default().extend(positions);
            }
            self.layers.truncate(self.layers.len() - 2);
            self.layers.push(Arc::new(merged));
        }
    }
}

impl Layer {
    fn set_apart(&mut self, hash: u64, has_ended: impl Fn(u32) -> bool) {
        if let Some(Positions::Many(all)) = self.positions.get_mut(&hash) {
            let (ended, current) = all.iter().partition(|&&p| has_ended(p));
            *all = current;
            let apart: &mut Vec<u32> = self.ended.entry(hash).or_default();
            apart.extend::<Vec<u32>>(ended);
        }
    }

    fn add(&mut self, hash: u64, position: u32) {
        match self.positions.entry(hash) {
            Entry::Vacant(e) => {
                e.insert(Positions::One(position));
            }
            Entry::Occupied(mut e) => match e.get_mut() {
                Positions::One(first) => {
                    let both = vec![*first, position];
                    e.insert(Positions::Many(both));
                }
                Positions::Many(all) => all.push(position),
            },
        }
    }
}

fn level(rows: usize) -> u32 {
    rows.ilog2() / MERGE.ilog2()
}

fn merge_tail(chunks: &[Arc<Chunk>]) -> Result<Option<Chunk>> {
    let Some(last) = chunks.last() else { return Ok(None) };
    if chunks.len() < MERGE || last.rows() >= CHUNK_ROWS {
        return Ok(None);
    }
    let tail = &chunks[chunks.len() - MERGE..];
    let same = level(last.rows());
    if tail.iter().any(|c| level(c.rows()) != same || c.rows() >= CHUNK_ROWS) {
        return Ok(None);
    }
    let schema = last.batch.schema();
    let batch = compact_views(concat_batches(&schema, tail.iter().map(|c| &c.batch))?)?;
    let from = concat(&tail.iter().map(|c| &c.from as &dyn Array).collect::<Vec<_>>())?;
    let cv = concat(&tail.iter().map(|c| &c.cv as &dyn Array).collect::<Vec<_>>())?;
    Ok(Some(Chunk {
        first: tail[0].first,
        batch,
        from: from.as_primitive().clone(),
        cv: cv.as_primitive().clone(),
    }))
}

/// Copies the long values of view arrays together: a concatenated view array keeps every buffer
/// of its parts, one a commit.
fn compact_views(batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .map(|array| match array.data_type() {
            DataType::Utf8View => Arc::new(array.as_string_view().gc()) as ArrayRef,
            DataType::BinaryView => Arc::new(array.as_binary_view().gc()) as ArrayRef,
            _ => Arc::clone(array),
        })
        .collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}
