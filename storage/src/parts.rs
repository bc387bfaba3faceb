//! Chooses the segments that a read opens, and what it must know of each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{CommitTs, ReadTs, SegmentId, SystemTime, TableDef};
use futures::{StreamExt, TryStreamExt};
use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::hot::Hidden;
use crate::object::{Objects, Traffic};
use crate::overlay::{Overlay, TableOverlay};
use crate::row_ends::SegmentEnds;
use crate::segment::reader::{Ended, Part, ReadSpec, ToRule, Window};
use crate::segment::schema::ColumnMap;
use crate::segment::{Segment, Source};
use crate::table::{SegmentMap, TableStore};

/// Sidecars loaded at once.
const CONCURRENT_LOADS: usize = 8;

/// The rows that a key or a list of places told; the others are not looked at.
pub(crate) type Positions = BTreeMap<SegmentId, RoaringBitmap>;

/// What a read opens.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) parts: Vec<Part>,
    /// Segments of the table.
    pub(crate) segments: usize,
    /// Segments that the read leaves alone.
    pub(crate) pruned: usize,
    /// Rows of the others that it does not see.
    pub(crate) masked: u64,
    /// How many rows it sees, where that is known without reading them.
    pub(crate) exact_rows: Option<u64>,
    /// Whether it reads history rather than one instant.
    pub(crate) history: bool,
    /// At most how many rows it sees.
    pub(crate) most_rows: u64,
}

/// A read of one table: what it sees of each segment.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    pub(crate) table: &'a TableStore,
    objects: Arc<Objects>,
    /// The table's segments: one view for everything that the read asks, so that a compaction
    /// meanwhile does not take places away that it was told.
    segments: SegmentMap,
    horizon: Option<CommitTs>,
    pub(crate) overlay: Cow<'a, Overlay>,
    pub(crate) def: &'a Arc<TableDef>,
    pub(crate) time: SystemTime,
    pub(crate) read_ts: ReadTs,
}

impl<'a> Planner<'a> {
    /// # Errors
    /// [`Error::BelowHorizon`]; [`Error::Moved`] when the transaction ended a version that a compaction has taken
    /// elsewhere since, and where to is not known any more.
    pub(crate) fn new(
        table: &'a TableStore,
        overlay: &'a Overlay,
        def: &'a Arc<TableDef>,
        time: SystemTime,
        read_ts: ReadTs,
    ) -> Result<Self> {
        let (segments, horizon) = {
            // At once: what a compaction removes is below the horizon before.
            let inner = table.inner.read();
            (Arc::clone(&inner.segments), inner.horizon)
        };
        let first = match time {
            SystemTime::AsOf(t) => t.min(read_ts),
            SystemTime::FromTo(a, _)
            | SystemTime::Between(a, _)
            | SystemTime::ContainedIn(a, _) => a.min(read_ts),
            SystemTime::All => read_ts,
        };
        if let Some(horizon) = horizon.filter(|h| first < *h) {
            return Err(Error::BelowHorizon { table: table.oid(), instant: first, horizon });
        }
        let overlay = table.relocated(overlay, &segments)?;
        let objects = Arc::clone(&table.objects);
        Ok(Planner { table, objects, segments, horizon, overlay, def, time, read_ts })
    }

    /// Counts the bytes that planning reads, and who reads through [`Planner::objects`] later.
    pub(crate) fn counting(mut self, traffic: &Traffic) -> Self {
        self.objects = self.objects.counting(traffic);
        self
    }

    /// The window of the read; `None` when it can see no version.
    pub(crate) fn window(&self) -> Option<Window> {
        let window = Window::new(self.time, self.read_ts)?;
        // What may have been removed by now is left out before, too.
        Some(match (self.time, self.horizon) {
            (SystemTime::All, Some(h)) => Window { to: ToRule::After(h.micros()), ..window },
            _ => window,
        })
    }

    /// What a look-up in a committed segment leaves out; nothing for a read of history.
    pub(crate) async fn hidden(&self, segment: &Segment) -> Result<Option<Hidden>> {
        match self.instant() {
            Some(at) => segment.ends.hidden_at(self.objects(), segment.id, at).await.map(Some),
            None => Ok(None),
        }
    }

    /// The instant that versions must not have ended at or before; `None` for a read of history.
    fn instant(&self) -> Option<ReadTs> {
        match self.time {
            SystemTime::AsOf(t) => Some(t.min(self.read_ts)),
            _ => None,
        }
    }

    pub(crate) fn segment(&self, id: SegmentId) -> Result<&Arc<Segment>> {
        let missing = Error::NoSuchSegment { table: self.table.oid(), segment: id };
        self.segments.get(&id).ok_or(missing)
    }

    /// Own rows and row ends show in the present only.
    fn own(&self) -> Option<&Arc<TableOverlay>> {
        match self.time {
            SystemTime::AsOf(_) => self.overlay.table(self.table.oid()),
            _ => None,
        }
    }

    pub(crate) fn shape(&self, schema_version: u32) -> Result<Arc<TableDef>> {
        // A running transaction's own shape is in no commit yet.
        if schema_version == self.def.schema_version {
            return Ok(Arc::clone(self.def));
        }
        self.table.shape(schema_version)
    }

    /// What rows are read from.
    pub(crate) fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// Committed segments that may hold versions in the window.
    pub(crate) fn committed(&self, window: &Window) -> Vec<Arc<Segment>> {
        let instant = self.instant();
        let in_window = |s: &&Arc<Segment>| {
            s.began_range().is_some_and(|r| !window.holds_none(r))
                && s.ended_range().is_none_or(|r| !window.holds_no_end(r, instant, self.read_ts))
        };
        self.segments.values().filter(in_window).cloned().collect()
    }

    /// What is opened; `only` restricts it to some positions.
    pub(crate) async fn plan(&self, spec: &ReadSpec, only: Option<&Positions>) -> Result<Parts> {
        let window = spec.window;
        let own = self.own();
        let mut parts = Parts {
            segments: self.segments.len() + own.map_or(0, |own| own.bulk().len()),
            exact_rows: Some(0),
            history: !matches!(self.time, SystemTime::AsOf(_)),
            ..Parts::default()
        };
        let wanted = |id: SegmentId| only.is_none_or(|only| only.contains_key(&id));
        let committed = self.committed(&window);
        let prepare =
            committed.iter().filter(|s| wanted(s.id)).map(|s| self.committed_part(spec, s));
        let mut prepared: Vec<Option<Part>> = futures::stream::iter(prepare.collect::<Vec<_>>())
            .buffered(CONCURRENT_LOADS)
            .try_collect()
            .await?;
        if let Some(own) = own {
            for segment in own.bulk().iter().filter(|s| wanted(s.id)) {
                let hidden = own.ends_of(segment.id).cloned().unwrap_or_default();
                prepared.push(self.part(segment.id, segment.source(), true, Arc::new(hidden))?);
            }
            let local = own.local();
            if wanted(SegmentId::LOCAL) && local.rows() > 0 {
                let hidden = own.ends_of(SegmentId::LOCAL).cloned().unwrap_or_default();
                let source = Source::Hot(local.schema_version(), local.chunks());
                prepared.push(self.part(SegmentId::LOCAL, source, true, Arc::new(hidden))?);
            }
        }
        for mut part in prepared.into_iter().flatten() {
            if let Some(only) = only {
                part.only = only.get(&part.id).cloned().map(Arc::new);
            }
            parts.add(&window, part);
        }
        parts.pruned = parts
            .segments
            .saturating_sub(parts.parts.iter().filter(|p| p.id != SegmentId::LOCAL).count());
        Ok(parts)
    }

    /// The given places, whether their versions have ended or not.
    pub(crate) fn at_places(&self, positions: &Positions) -> Result<Vec<Part>> {
        let own = self.own();
        let bulk = |id: SegmentId| own?.bulk().iter().find(|s| s.id == id);
        let mut parts = Vec::with_capacity(positions.len());
        for (&id, only) in positions {
            let (source, is_own) = match (bulk(id), own) {
                (Some(segment), _) => (segment.source(), true),
                (None, Some(own)) if id == SegmentId::LOCAL => {
                    (Source::Hot(own.local().schema_version(), own.local().chunks()), true)
                }
                _ => (self.segment(id)?.source(), false),
            };
            if let Some(mut part) = self.part(id, source, is_own, Arc::default())? {
                part.only = Some(Arc::new(only.clone()));
                parts.push(part);
            }
        }
        Ok(parts)
    }

    /// All rows of a segment, whether their versions have ended or not.
    pub(crate) fn whole_part(&self, id: SegmentId, source: Source) -> Result<Option<Part>> {
        self.part(id, source, false, Arc::default())
    }

    /// What the read sees of one segment.
    pub(crate) async fn committed_part(
        &self,
        spec: &ReadSpec,
        segment: &Segment,
    ) -> Result<Option<Part>> {
        let window = spec.window;
        let ends: &SegmentEnds = &segment.ends;
        let mut times = None;
        let mut hidden = Arc::new(RoaringBitmap::new());
        if let Some(at) = self.instant() {
            hidden = ends.ended_at(self.objects(), segment.id, at).await?;
            let own = self.own().and_then(|own| own.ends_of(segment.id));
            if let Some(own) = own {
                hidden = Arc::new(&*hidden | own);
            }
        }
        // What is seen at an instant had not ended then, and is shown so for ever.
        let known = self.instant().unwrap_or(self.read_ts);
        if self.instant().is_none() {
            let all = ends.end_times(self.objects(), segment.id, known).await?;
            times = Some(Arc::new(all));
        }
        let Some(mut part) = self.part(segment.id, segment.source(), false, hidden)? else {
            return Ok(None);
        };
        let Some(from) = from_range(&part.source) else { return Ok(None) };
        part.check_from = !window.holds_all(from);
        if part.has_ends() {
            part.ended = Some(Ended { read_ts: known, after: self.instant() });
        } else {
            part.times = times;
        }
        Ok(Some(part))
    }

    fn part(
        &self,
        id: SegmentId,
        source: Source,
        own: bool,
        hidden: Arc<RoaringBitmap>,
    ) -> Result<Option<Part>> {
        let (schema_version, rows) = match &source {
            Source::Hot(version, chunks) => {
                (*version, chunks.last().map_or(0, |c| c.first + c.rows() as u32))
            }
            Source::Cold(meta) => (meta.schema_version, meta.rows),
        };
        if rows == 0 {
            return Ok(None);
        }
        let shape = self.shape(schema_version)?;
        let map = Arc::new(ColumnMap::new(&shape, self.def)?);
        Ok(Some(Part {
            id,
            source,
            shape,
            map,
            own,
            hidden,
            times: None,
            ended: None,
            only: None,
            range: 0..rows,
            check_from: false,
        }))
    }
}

/// When the first and the last of the rows began.
fn from_range(source: &Source) -> Option<(CommitTs, CommitTs)> {
    match source {
        Source::Cold(meta) => Some((meta.from_min, meta.from_max)),
        Source::Hot(_, chunks) => {
            let last = chunks.last()?;
            let from = chunks.first()?.from.value(0);
            Some((CommitTs(from), CommitTs(last.from.value(last.rows() - 1))))
        }
    }
}

impl Parts {
    fn add(&mut self, window: &Window, part: Part) {
        let rows = u64::from(part.range.end);
        let begun = match &part.source {
            // Which versions are seen stands in the file.
            _ if part.ended.is_some() => None,
            _ if part.own || !part.check_from => Some(rows),
            Source::Hot(_, chunks) if window.from_min == i64::MIN => {
                let at = CommitTs(window.from_max);
                Some(chunks.iter().map(|c| c.rows_at(at) as u64).sum())
            }
            Source::Hot(..) | Source::Cold(_) => None,
        };
        let hidden = part.hidden.len();
        let most = begun.unwrap_or(rows);
        // Nothing of it is seen.
        if most <= hidden {
            return;
        }
        // Reads of history look at each version's end.
        let unknown = part.only.is_some() || self.history;
        self.exact_rows = match (self.exact_rows, begun) {
            (Some(sum), Some(begun)) if !unknown => Some(sum + begun - hidden),
            _ => None,
        };
        self.masked += rows - most + hidden;
        self.most_rows += part.only.as_ref().map_or(most - hidden, |only| only.len());
        self.parts.push(part);
    }
}
