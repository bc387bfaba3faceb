//! One table's rows on this node.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chronos_catalog::{CommitTs, Oid, SegmentId, TableDef};
use parking_lot::{Mutex, RwLock};
use roaring::RoaringBitmap;

use crate::compaction::relocate::Relocations;
use crate::error::{Error, Result};
use crate::object::Objects;
use crate::options::StoreOptions;
use crate::segment::Segment;

/// One table's rows on this node: its segments with their row ends.
#[derive(Debug)]
pub struct TableStore {
    pub(crate) oid: Oid,
    pub(crate) objects: Arc<Objects>,
    pub(crate) options: Arc<StoreOptions>,
    pub(crate) inner: RwLock<Inner>,
    /// Held while a commit's rows and row ends are noted, so that a flush sees whole commits.
    pub(crate) applying: Mutex<()>,
    /// Where compactions took rows.
    pub(crate) relocations: Relocations,
}

/// A table's segments.
pub(crate) type SegmentMap = Arc<BTreeMap<SegmentId, Arc<Segment>>>;

/// What a commit changes.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) segments: SegmentMap,
    /// The oldest instant that can be read; `None` while all history is there.
    pub(crate) horizon: Option<CommitTs>,
    /// The shapes that the table has had, by schema version.
    pub(crate) shapes: HashMap<u32, Arc<TableDef>>,
}

impl TableStore {
    pub(crate) fn new(oid: Oid, objects: Arc<Objects>, options: Arc<StoreOptions>) -> Self {
        TableStore {
            oid,
            objects,
            options,
            inner: RwLock::default(),
            applying: Mutex::default(),
            relocations: Relocations::default(),
        }
    }

    /// The table.
    pub fn oid(&self) -> Oid {
        self.oid
    }

    /// The segments as they are now. A later commit or flush does not change the answer for an
    /// instant that is closed.
    pub(crate) fn segments(&self) -> SegmentMap {
        Arc::clone(&self.inner.read().segments)
    }

    /// The shape of a schema version.
    pub(crate) fn shape(&self, schema_version: u32) -> Result<Arc<TableDef>> {
        self.inner.read().shapes.get(&schema_version).cloned().ok_or_else(|| Error::Inconsistent {
            table: self.oid,
            reason: format!("it never had schema version {schema_version}"),
        })
    }

    pub(crate) fn segment(&self, id: SegmentId) -> Result<Arc<Segment>> {
        let inner = self.inner.read();
        let segment = inner.segments.get(&id);
        segment.cloned().ok_or(Error::NoSuchSegment { table: self.oid, segment: id })
    }

    /// Which of these versions have ended by now: for first-committer-wins, where every one of
    /// them was current at the transaction's read instant.
    ///
    /// # Errors
    /// When the segment is gone or a sidecar cannot be read.
    pub async fn ended_among(
        &self,
        segment: SegmentId,
        positions: &RoaringBitmap,
    ) -> Result<RoaringBitmap> {
        let ends = self.segment(segment)?;
        if ends.ended_range().is_some() {
            return Ok(positions.clone());
        }
        let ended = ends.ends.ended_at(&self.objects, segment, CommitTs::MAX).await?;
        Ok(&*ended & positions)
    }
}
