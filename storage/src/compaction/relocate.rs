//! Where compactions took rows, for transactions that were told the old places.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronos_catalog::{RowEnds, RowRef, SegmentId};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::overlay::Overlay;
use crate::parts::Planner;
use crate::table::{SegmentMap, TableStore};

/// How long the places are remembered,
const KEPT: Duration = Duration::from_secs(3600);
/// and for how many rows at most.
const KEPT_ROWS: usize = 32 << 20;

/// Where the current rows of rewritten segments went.
#[derive(Debug, Default)]
pub(crate) struct Relocation {
    /// The new segments, each with the number of its first row among all rows written.
    starts: Vec<(u32, SegmentId)>,
    /// For each old position that number.
    numbers: BTreeMap<SegmentId, Vec<u32>>,
}

impl Relocation {
    /// A row that is in no new segment of current rows.
    const GONE: u32 = u32::MAX;

    /// An old segment's rows, all gone until they are placed.
    pub(crate) fn leave(&mut self, segment: SegmentId, rows: u32) {
        self.numbers.insert(segment, vec![Self::GONE; rows as usize]);
    }

    /// The rows numbered from `first` on go to that segment.
    pub(crate) fn enter(&mut self, segment: SegmentId, first: u32) {
        self.starts.push((first, segment));
    }

    /// An old row's number.
    pub(crate) fn place(&mut self, segment: SegmentId, position: u32, number: u32) {
        let slot = self.numbers.get_mut(&segment).and_then(|n| n.get_mut(position as usize));
        if let Some(slot) = slot {
            *slot = number;
        }
    }

    /// The new place of a row, if it is one of the current rows that were written.
    pub(crate) fn find(&self, row: RowRef) -> Option<RowRef> {
        let number = *self.numbers.get(&row.segment)?.get(row.position as usize)?;
        if number == Self::GONE {
            return None;
        }
        let at = self.starts.partition_point(|(first, _)| *first <= number).checked_sub(1)?;
        let (first, segment) = self.starts[at];
        Some(RowRef { segment, position: number - first })
    }

    fn rows(&self) -> usize {
        self.numbers.values().map(Vec::len).sum()
    }
}

/// The last relocations of a table.
#[derive(Debug, Default)]
pub(crate) struct Relocations(Mutex<VecDeque<(Instant, Arc<Relocation>)>>);

impl Relocations {
    pub(crate) fn add(&self, relocation: Arc<Relocation>) {
        let mut all = self.0.lock();
        all.push_back((Instant::now(), relocation));
        while all.front().is_some_and(|(since, _)| since.elapsed() > KEPT)
            || (all.len() > 1 && all.iter().map(|(_, r)| r.rows()).sum::<usize>() > KEPT_ROWS)
        {
            all.pop_front();
        }
    }

    fn find(&self, row: RowRef) -> Option<RowRef> {
        let all = self.0.lock();
        all.iter().find(|(_, r)| r.numbers.contains_key(&row.segment))?.1.find(row)
    }
}

impl TableStore {
    /// The place of a row now; `known` tells which segments are there.
    fn follow(&self, mut row: RowRef, known: &dyn Fn(SegmentId) -> bool) -> Result<RowRef> {
        while !known(row.segment) {
            let (table, segment) = (self.oid, row.segment);
            row = self.relocations.find(row).ok_or(Error::Moved { table, segment })?;
        }
        Ok(row)
    }

    fn follow_all(
        &self,
        ends: &BTreeMap<SegmentId, RoaringBitmap>,
        known: &dyn Fn(SegmentId) -> bool,
    ) -> Result<BTreeMap<SegmentId, RoaringBitmap>> {
        let mut moved: BTreeMap<SegmentId, RoaringBitmap> = BTreeMap::new();
        for (&segment, positions) in ends {
            if known(segment) {
                *moved.entry(segment).or_default() |= positions;
                continue;
            }
            for position in positions {
                let row = self.follow(RowRef { segment, position }, known)?;
                moved.entry(row.segment).or_default().insert(row.position);
            }
        }
        Ok(moved)
    }

    /// A transaction's row ends at the places where the rows stand now.
    pub(crate) fn relocated<'a>(
        &self,
        overlay: &'a Overlay,
        segments: &SegmentMap,
    ) -> Result<Cow<'a, Overlay>> {
        let Some(own) = overlay.table(self.oid) else { return Ok(Cow::Borrowed(overlay)) };
        let known = |id: SegmentId| {
            id == SegmentId::LOCAL
                || segments.contains_key(&id)
                || own.bulk().iter().any(|s| s.id == id)
        };
        if own.ends().keys().all(|&id| known(id)) {
            return Ok(Cow::Borrowed(overlay));
        }
        let ends = self.follow_all(own.ends(), &known)?;
        Ok(Cow::Owned(overlay.with_ends(self.oid, ends)))
    }

    /// Row ends of a commit at the places where the rows stand now; `None` when all stand where
    /// the commit says. `own` are segments that the commit brings along.
    ///
    /// # Errors
    /// [`Error::Moved`] when a row's place is not known any more, or its version has ended.
    pub fn relocate_ends(
        &self,
        ends: &[RowEnds],
        own: &dyn Fn(SegmentId) -> bool,
    ) -> Result<Option<Vec<RowEnds>>> {
        let segments = self.segments();
        let known = |id: SegmentId| segments.contains_key(&id) || own(id);
        if ends.iter().all(|e| known(e.segment)) {
            return Ok(None);
        }
        let mut all: BTreeMap<SegmentId, RoaringBitmap> = BTreeMap::new();
        for e in ends {
            *all.entry(e.segment).or_default() |= &e.positions;
        }
        let moved = self.follow_all(&all, &known)?;
        let moved = moved.into_iter().map(|(segment, positions)| RowEnds { segment, positions });
        Ok(Some(moved.collect()))
    }
}

impl Planner<'_> {
    /// Where a row stands in the segments that this read sees.
    pub(crate) fn place_of(&self, row: RowRef) -> Result<RowRef> {
        let bulk = self.overlay.table(self.table.oid()).map(|t| t.bulk()).unwrap_or_default();
        let known = |id: SegmentId| {
            id == SegmentId::LOCAL || self.segment(id).is_ok() || bulk.iter().any(|s| s.id == id)
        };
        self.table.follow(row, &known)
    }
}
