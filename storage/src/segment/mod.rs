//! A segment: an immutable batch of row versions, hot or cold.

mod points;
pub(crate) mod reader;
pub(crate) mod schema;
pub(crate) mod writer;

use std::sync::Arc;

use chronos_catalog::{CommitTs, RowEndsMeta, SegmentId, SegmentMeta};
use parking_lot::RwLock;

use crate::hot::{Chunk, HotSegment};
use crate::row_ends::SegmentEnds;

/// A segment and its row ends. A flush turns it from hot to cold while readers go on.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) ends: SegmentEnds,
    body: RwLock<Body>,
}

#[derive(Debug)]
enum Body {
    Hot(HotSegment),
    Cold(Arc<SegmentMeta>),
}

/// A segment's rows as one reader sees them.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In memory, in the shape of that schema version.
    Hot(u32, Arc<Vec<Arc<Chunk>>>),
    /// In object storage.
    Cold(Arc<SegmentMeta>),
}

impl Segment {
    /// An empty segment in memory.
    pub(crate) fn hot(id: SegmentId) -> Self {
        let body = RwLock::new(Body::Hot(HotSegment::default()));
        Segment { id, ends: SegmentEnds::none(), body }
    }

    /// A segment in memory with row ends in sidecars.
    pub(crate) fn restored(
        id: SegmentId,
        rows: HotSegment,
        sidecars: Vec<Arc<RowEndsMeta>>,
    ) -> Self {
        let body = RwLock::new(Body::Hot(rows));
        Segment { id, ends: SegmentEnds::in_sidecars(sidecars), body }
    }

    /// A segment in object storage none of whose rows has ended.
    pub(crate) fn cold(meta: Arc<SegmentMeta>) -> Self {
        Self::cold_with_ends(meta, Vec::new())
    }

    /// A segment in object storage with row ends in sidecars.
    pub(crate) fn cold_with_ends(meta: Arc<SegmentMeta>, sidecars: Vec<Arc<RowEndsMeta>>) -> Self {
        Segment {
            id: meta.id,
            ends: SegmentEnds::in_sidecars(sidecars),
            body: RwLock::new(Body::Cold(meta)),
        }
    }

    /// The rows as they are now.
    pub(crate) fn source(&self) -> Source {
        match &*self.body.read() {
            Body::Hot(hot) => Source::Hot(hot.schema_version(), hot.chunks()),
            Body::Cold(meta) => Source::Cold(Arc::clone(meta)),
        }
    }

    /// What the manifest says of it, if it is cold.
    pub(crate) fn meta(&self) -> Option<Arc<SegmentMeta>> {
        match &*self.body.read() {
            Body::Hot(_) => None,
            Body::Cold(meta) => Some(Arc::clone(meta)),
        }
    }

    /// Reads the rows in memory; `None` for a cold segment.
    pub(crate) fn with_hot<R>(&self, read: impl FnOnce(&HotSegment) -> R) -> Option<R> {
        match &*self.body.read() {
            Body::Hot(hot) => Some(read(hot)),
            Body::Cold(_) => None,
        }
    }

    /// Changes the rows in memory; `None` for a cold segment.
    pub(crate) fn with_hot_mut<R>(&self, write: impl FnOnce(&mut HotSegment) -> R) -> Option<R> {
        match &mut *self.body.write() {
            Body::Hot(hot) => Some(write(hot)),
            Body::Cold(_) => None,
        }
    }

    /// The rows stand in object storage from now on.
    pub(crate) fn flushed(&self, meta: Arc<SegmentMeta>) {
        *self.body.write() = Body::Cold(meta);
    }

    /// When the first and the last of its versions ended, where all had when it was written.
    pub(crate) fn ended_range(&self) -> Option<(CommitTs, CommitTs)> {
        match &*self.body.read() {
            Body::Hot(_) => None,
            Body::Cold(meta) => Some((meta.ended_min.unwrap_or_default(), meta.ended_max?)),
        }
    }

    /// Instants of the first and the last commit that wrote rows; `None` while it is empty.
    pub(crate) fn began_range(&self) -> Option<(CommitTs, CommitTs)> {
        match &*self.body.read() {
            Body::Hot(hot) => Some((hot.began_first()?, hot.began_last()?)),
            Body::Cold(meta) => Some((meta.from_min, meta.from_max)),
        }
    }
}
