//! What a running transaction has written and not committed.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, RowRef, SegmentId, SegmentMeta};
use datafusion::arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::hot::HotSegment;
use crate::rows::memory_of;
use crate::segment::Segment;

/// A running transaction's own rows and row ends, by table. Cloning is cheap and gives an
/// independent value (a savepoint, or what a read sees).
///
/// Reads AS OF an instant see it laid over the committed rows; reads of history
/// (`FROM … TO`, `BETWEEN`, `CONTAINED IN`, `ALL`) show commits only.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    tables: Arc<BTreeMap<Oid, Arc<TableOverlay>>>,
}

/// One table's part of an [`Overlay`].
#[derive(Clone, Debug, Default)]
pub struct TableOverlay {
    /// Own rows: the table's columns in order, then `_ov`. Positions count on over the batches.
    local: HotSegment,
    /// Segments that the transaction wrote ahead of its commit.
    bulk: Vec<Arc<Segment>>,
    /// Row ends, of committed versions, of own rows ([`SegmentId::LOCAL`]) and of rows in own
    /// bulk segments.
    ends: BTreeMap<SegmentId, RoaringBitmap>,
}

impl Overlay {
    /// Whether the transaction has written nothing.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The tables written to.
    pub fn tables(&self) -> impl Iterator<Item = (Oid, &Arc<TableOverlay>)> {
        self.tables.iter().map(|(&oid, table)| (oid, table))
    }

    /// What was written to a table.
    pub fn table(&self, table: Oid) -> Option<&Arc<TableOverlay>> {
        self.tables.get(&table)
    }

    /// Adds own rows: the table's columns in order, then `_ov`. Gives the first one's position in
    /// [`SegmentId::LOCAL`].
    pub fn append(&mut self, table: Oid, schema_version: u32, rows: RecordBatch) -> Result<u32> {
        let overlay = self.table_mut(table);
        if overlay.local.rows() > 0 && overlay.local.schema_version() != schema_version {
            return Err(Error::Unsupported(
                "changing a table's columns after writing to it in the same transaction".to_owned(),
            ));
        }
        let first = overlay.local.rows();
        let n = rows.num_rows();
        // Own rows have no commit yet; their instants are never looked at.
        let from = TimestampMicrosecondArray::from_value(CommitTs::ZERO.micros(), n);
        let cv = Int64Array::from_value(0, n);
        let bytes = memory_of(&rows);
        overlay.local.append(schema_version, first, rows, from, cv, bytes)?;
        Ok(first)
    }

    /// Adds a segment that a [`crate::SegmentWriter`] wrote.
    pub fn add_segment(&mut self, table: Oid, meta: SegmentMeta) {
        let segment = Arc::new(Segment::cold(Arc::new(meta)));
        self.table_mut(table).bulk.push(segment);
    }

    /// Ends a row version, committed or own. Gives whether it was not ended by this transaction
    /// before.
    pub fn end(&mut self, table: Oid, row: RowRef) -> bool {
        self.table_mut(table).ends.entry(row.segment).or_default().insert(row.position)
    }

    /// Whether this transaction ended a row version.
    pub fn is_ended(&self, table: Oid, row: RowRef) -> bool {
        self.tables
            .get(&table)
            .and_then(|t| t.ends.get(&row.segment))
            .is_some_and(|ends| ends.contains(row.position))
    }

    /// Forgets what was written to a table.
    pub fn remove(&mut self, table: Oid) {
        Arc::make_mut(&mut self.tables).remove(&table);
    }

    /// The same with the row ends of a table on other places.
    #[must_use]
    pub fn with_ends(&self, table: Oid, ends: BTreeMap<SegmentId, RoaringBitmap>) -> Overlay {
        let mut other = self.clone();
        other.table_mut(table).ends = ends;
        other
    }

    fn table_mut(&mut self, table: Oid) -> &mut TableOverlay {
        Arc::make_mut(Arc::make_mut(&mut self.tables).entry(table).or_default())
    }
}

impl TableOverlay {
    /// Own rows that stand in memory: all batches in order, ended ones included.
    pub fn batches(&self) -> Vec<RecordBatch> {
        self.local.chunks().iter().map(|c| c.batch.clone()).collect()
    }

    /// How many own rows stand in memory, ended ones included.
    pub fn rows(&self) -> u32 {
        self.local.rows()
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        self.local.bytes()
    }

    /// The segments written ahead.
    pub fn segments(&self) -> Vec<Arc<SegmentMeta>> {
        self.bulk.iter().filter_map(|s| s.meta()).collect()
    }

    /// Row ends by segment; those of [`SegmentId::LOCAL`] are own rows replaced or deleted again.
    pub fn ends(&self) -> &BTreeMap<SegmentId, RoaringBitmap> {
        &self.ends
    }

    pub(crate) fn ends_of(&self, segment: SegmentId) -> Option<&RoaringBitmap> {
        self.ends.get(&segment)
    }

    pub(crate) fn local(&self) -> &HotSegment {
        &self.local
    }

    pub(crate) fn bulk(&self) -> &[Arc<Segment>] {
        &self.bulk
    }
}
