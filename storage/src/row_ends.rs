//! When the row versions of a segment ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use chronos_catalog::{CommitTs, RowEndsMeta, SegmentId};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::error::Result;
use crate::hot::Hidden;
use crate::object::Objects;

/// The row ends of one segment: in memory in commit order, and in sidecar objects before that.
#[derive(Debug)]
pub(crate) struct SegmentEnds {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sidecars: Vec<Arc<RowEndsMeta>>,
    memory: Vec<(CommitTs, RoaringBitmap)>,
    /// The instant of the last row end, in memory or in a sidecar; of a sidecar the instant up to
    /// which it reaches.
    last: CommitTs,
    /// All positions that have ended; `None` until the sidecars were read.
    latest: Option<Arc<RoaringBitmap>>,
    /// Likewise up to one instant before.
    historic: Option<(CommitTs, Arc<RoaringBitmap>)>,
}

/// Positions in ascending order, each with its row end.
#[derive(Debug, Default)]
pub(crate) struct EndTimes {
    positions: Vec<u32>,
    times: Vec<i64>,
}

impl EndTimes {
    /// Each position with its row end.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, i64)> {
        self.positions.iter().copied().zip(self.times.iter().copied())
    }

    /// When the version at a position ended.
    pub(crate) fn get(&self, position: u32) -> Option<i64> {
        self.positions.binary_search(&position).ok().map(|i| self.times[i])
    }
}

/// So many commits since an instant are undone without counting those before it.
const SINCE_MAX: usize = 64;

/// Adds positions one by one where they are few: joining two bitmaps copies the larger one.
fn insert_all(to: &mut RoaringBitmap, positions: &RoaringBitmap) {
    if positions.len() > 256 {
        *to |= positions;
    } else {
        for position in positions {
            to.insert(position);
        }
    }
}

impl SegmentEnds {
    /// Of a segment none of whose rows has ended.
    pub(crate) fn none() -> Self {
        let inner = Inner { latest: Some(Arc::default()), ..Inner::default() };
        SegmentEnds { inner: Mutex::new(inner) }
    }

    /// Of a segment that sidecars may name, oldest first.
    pub(crate) fn in_sidecars(sidecars: Vec<Arc<RowEndsMeta>>) -> Self {
        if sidecars.is_empty() {
            return Self::none();
        }
        let last = sidecars.iter().map(|s| s.to).max().unwrap_or_default();
        SegmentEnds { inner: Mutex::new(Inner { sidecars, last, ..Inner::default() }) }
    }

    /// Notes row ends of a commit.
    pub(crate) fn add(&self, ts: CommitTs, positions: &RoaringBitmap) {
        if positions.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        inner.last = ts;
        if let Some(latest) = &mut inner.latest {
            insert_all(Arc::make_mut(latest), positions);
        }
        inner.memory.push((ts, positions.clone()));
    }

    /// The row ends in memory up to an instant.
    pub(crate) fn in_memory(&self, to: CommitTs) -> Vec<(CommitTs, RoaringBitmap)> {
        let inner = self.inner.lock();
        inner.memory.iter().take_while(|(ts, _)| *ts <= to).cloned().collect()
    }

    /// How many row ends stand in memory.
    pub(crate) fn count_in_memory(&self) -> u64 {
        self.inner.lock().memory.iter().map(|(_, p)| p.len()).sum()
    }

    /// The instant of the oldest row end in memory.
    pub(crate) fn oldest_in_memory(&self) -> Option<CommitTs> {
        self.inner.lock().memory.first().map(|(ts, _)| *ts)
    }

    /// Row ends up to the sidecar's instant stand in it from now on, if it names the segment.
    pub(crate) fn flushed(&self, sidecar: &Arc<RowEndsMeta>, segment: SegmentId) {
        if !sidecar.segments.contains_key(&segment) {
            return;
        }
        let mut inner = self.inner.lock();
        inner.sidecars.push(Arc::clone(sidecar));
        inner.memory.retain(|(ts, _)| *ts > sidecar.to);
    }

    /// Positions and instants of the row ends after an instant, in no order.
    pub(crate) async fn after(
        &self,
        objects: &Arc<Objects>,
        segment: SegmentId,
        after: CommitTs,
    ) -> Result<Vec<(u32, i64)>> {
        let (sidecars, memory) = {
            let inner = self.inner.lock();
            (inner.sidecars.clone(), inner.memory.clone())
        };
        let mut all: Vec<(u32, i64)> = Vec::new();
        for meta in sidecars.iter().filter(|s| s.to > after) {
            let sidecar = load(objects, meta).await?;
            if let Some(times) = sidecar.segments.get(&segment) {
                let both = times.positions.iter().copied().zip(times.times.iter().copied());
                all.extend(both.filter(|(_, ts)| *ts > after.micros()));
            }
        }
        for (ts, positions) in memory.iter().filter(|(ts, _)| *ts > after) {
            all.extend(positions.iter().map(|p| (p, ts.micros())));
        }
        Ok(all)
    }

    /// The positions whose version ended at or before an instant.
    pub(crate) async fn ended_at(
        &self,
        objects: &Arc<Objects>,
        segment: SegmentId,
        at: CommitTs,
    ) -> Result<Arc<RoaringBitmap>> {
        let (sidecars, mut ended, last) = {
            let mut inner = self.inner.lock();
            if at >= inner.last
                && let Some(latest) = &inner.latest
            {
                return Ok(Arc::clone(latest));
            }
            if let Some((instant, ended)) = &inner.historic
                && *instant == at
            {
                return Ok(Arc::clone(ended));
            }
            let before = inner.memory.partition_point(|(ts, _)| *ts <= at);
            let after = inner.memory.len() - before;
            // A little before the latest: without what has ended since. No position ends twice.
            if let Some(latest) = &inner.latest
                && after <= before.max(SINCE_MAX)
                && inner.sidecars.iter().all(|s| s.to <= at)
            {
                let mut ended = RoaringBitmap::clone(latest);
                for (_, positions) in &inner.memory[before..] {
                    positions.iter().for_each(|p| {
                        ended.remove(p);
                    });
                }
                let ended = Arc::new(ended);
                inner.historic = Some((at, Arc::clone(&ended)));
                return Ok(ended);
            }
            let mut ended = RoaringBitmap::new();
            for (_, positions) in &inner.memory[..before] {
                insert_all(&mut ended, positions);
            }
            (inner.sidecars.clone(), ended, inner.last)
        };
        for meta in sidecars.iter().filter(|s| s.from <= at) {
            let sidecar = load(objects, meta).await?;
            if let Some(times) = sidecar.segments.get(&segment) {
                if meta.to <= at {
                    ended.extend(times.positions.iter().copied());
                } else {
                    let both = times.positions.iter().zip(&times.times);
                    ended.extend(both.filter(|(_, ts)| **ts <= at.micros()).map(|(p, _)| *p));
                }
            }
        }
        let ended = Arc::new(ended);
        let mut inner = self.inner.lock();
        if at >= last {
            // Row ends may have come meanwhile; then the next reader computes it again.
            if inner.last == last {
                inner.latest = Some(Arc::clone(&ended));
            }
        } else {
            inner.historic = Some((at, Arc::clone(&ended)));
        }
        Ok(ended)
    }

    /// Likewise, as what a look-up leaves out.
    pub(crate) async fn hidden_at(
        &self,
        objects: &Arc<Objects>,
        segment: SegmentId,
        at: CommitTs,
    ) -> Result<Hidden> {
        let positions = self.ended_at(objects, segment, at).await?;
        // Looked at afterwards: all that is in `positions` had ended by then.
        let last = self.inner.lock().last;
        Ok(Hidden { positions, ended_by: Some(at.min(last)) })
    }

    /// When versions ended, for those that ended at or before an instant.
    pub(crate) async fn end_times(
        &self,
        objects: &Arc<Objects>,
        segment: SegmentId,
        at: CommitTs,
    ) -> Result<EndTimes> {
        let (sidecars, memory) = {
            let inner = self.inner.lock();
            let memory: Vec<_> =
                inner.memory.iter().take_while(|(ts, _)| *ts <= at).cloned().collect();
            (inner.sidecars.clone(), memory)
        };
        let mut all: Vec<(u32, i64)> = Vec::new();
        for meta in sidecars.iter().filter(|s| s.from <= at) {
            let sidecar = load(objects, meta).await?;
            if let Some(times) = sidecar.segments.get(&segment) {
                let both = times.positions.iter().copied().zip(times.times.iter().copied());
                all.extend(both.filter(|(_, ts)| *ts <= at.micros()));
            }
        }
        for (ts, positions) in &memory {
            all.extend(positions.iter().map(|p| (p, ts.micros())));
        }
        all.sort_unstable();
        let (positions, times) = all.into_iter().unzip();
        Ok(EndTimes { positions, times })
    }
}

pub(crate) async fn load(objects: &Arc<Objects>, meta: &RowEndsMeta) -> Result<Arc<Sidecar>> {
    objects.parsed(&meta.file, Sidecar::decode).await
}

const MAGIC: &[u8; 8] = b"CHREND01";

/// The content of a sidecar: for each segment its positions in ascending order, with the
/// instants.
#[derive(Debug, Default)]
pub(crate) struct Sidecar {
    segments: BTreeMap<SegmentId, EndTimes>,
}

impl Sidecar {
    /// From the row ends of each segment in commit order.
    pub(crate) fn new(ends: BTreeMap<SegmentId, Vec<(CommitTs, RoaringBitmap)>>) -> Self {
        let segments = ends.into_iter().map(|(segment, ends)| {
            let mut all: Vec<(u32, i64)> = ends
                .iter()
                .flat_map(|(ts, positions)| positions.iter().map(|p| (p, ts.micros())))
                .collect();
            all.sort_unstable();
            let (positions, times) = all.into_iter().unzip();
            (segment, EndTimes { positions, times })
        });
        Sidecar { segments: segments.collect() }
    }

    /// How many row ends each segment has.
    pub(crate) fn counts(&self) -> BTreeMap<SegmentId, u32> {
        self.segments.iter().map(|(id, times)| (*id, times.positions.len() as u32)).collect()
    }

    /// The greatest position of each segment.
    pub(crate) fn last_positions(&self) -> impl Iterator<Item = (SegmentId, u32)> {
        self.segments.iter().filter_map(|(id, times)| Some((*id, *times.positions.last()?)))
    }

    /// The first and the last row end.
    pub(crate) fn range(&self) -> Option<(CommitTs, CommitTs)> {
        let times = || self.segments.values().flat_map(|t| t.times.iter().copied());
        Some((CommitTs(times().min()?), CommitTs(times().max()?)))
    }

    /// The file: magic and the number of segments; of each segment its identifier, how many row
    /// ends, the positions, the instants; little-endian.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32_le(self.segments.len() as u32);
        for (segment, times) in &self.segments {
            out.put_u64_le(segment.0);
            out.put_u32_le(times.positions.len() as u32);
            times.positions.iter().for_each(|&p| out.put_u32_le(p));
            times.times.iter().for_each(|&t| out.put_i64_le(t));
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, String> {
        fn take<'a>(body: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
            let (head, tail) = body.split_at_checked(n).ok_or("it is cut off")?;
            *body = tail;
            Ok(head)
        }
        fn number<const N: usize>(body: &mut &[u8]) -> Result<[u8; N], String> {
            take(body, N)?.try_into().map_err(|_| "it is cut off".to_owned())
        }
        let mut body = bytes.strip_prefix(MAGIC).ok_or("it is not a row-end file of version 1")?;
        let count = u32::from_le_bytes(number(&mut body)?);
        let mut segments = BTreeMap::new();
        for _ in 0..count {
            let segment = SegmentId(u64::from_le_bytes(number(&mut body)?));
            let n = u32::from_le_bytes(number(&mut body)?) as usize;
            let positions = take(&mut body, n * 4)?.as_chunks().0;
            let times = take(&mut body, n * 8)?.as_chunks().0;
            let ends = EndTimes {
                positions: positions.iter().map(|b| u32::from_le_bytes(*b)).collect(),
                times: times.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            };
            segments.insert(segment, ends);
        }
        Ok(Sidecar { segments })
    }
}
