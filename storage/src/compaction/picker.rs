//! Chooses the segments that a compaction rewrites.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronos_catalog::{CommitTs, Manifest, Oid, RowRef, SegmentId, SegmentMeta, State};

use crate::parts::Positions;
use crate::store::Store;

/// Segments of about one size are merged when there are this many.
const SMALL_SEGMENTS: usize = 8;
/// A segment is rewritten when this many of its rows in a hundred have ended,
const ENDED_PERCENT: u64 = 20;
/// and no fewer than this.
const ENDED_ROWS: u64 = 1024;
/// The most rows that one compaction takes: it remembers four bytes for each.
const ROWS_MAX: u64 = 8 << 20;

/// The segments that a compaction rewrites: all in one shape of the table.
#[derive(Clone, Debug)]
pub struct CompactionPlan {
    pub(crate) table: Oid,
    pub(crate) segments: Vec<SegmentId>,
    /// Versions that ended at or before it go.
    pub(crate) horizon: Option<CommitTs>,
    /// Rows that go whatever their instants.
    pub(crate) erase: Positions,
}

/// What a compaction is wanted for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// What is worth its cost.
    Worthwhile,
    /// Every segment among these that is not as a compaction leaves it, and whatever stands
    /// below the horizon.
    All(&'a BTreeSet<SegmentId>),
}

impl CompactionPlan {
    /// The table.
    pub fn table(&self) -> Oid {
        self.table
    }

    /// How many segments it takes.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The segments that hold any of the rows, to be rewritten without them: one plan for each
    /// shape.
    pub fn erasing(state: &State, table: Oid, rows: &[RowRef]) -> Vec<CompactionPlan> {
        let Some(manifest) = state.manifests.get(&table) else { return Vec::new() };
        let mut places = Positions::new();
        for row in rows {
            places.entry(row.segment).or_default().insert(row.position);
        }
        let mut plans: BTreeMap<u32, CompactionPlan> = BTreeMap::new();
        for (id, positions) in places {
            let Some(meta) = manifest.segments.get(&id) else { continue };
            let plan = plans.entry(meta.schema_version).or_insert_with(|| CompactionPlan {
                table,
                segments: Vec::new(),
                horizon: manifest.horizon,
                erase: Positions::new(),
            });
            plan.segments.push(id);
            plan.erase.insert(id, positions);
        }
        plans.into_values().collect()
    }
}

/// A segment and how many of its rows have ended.
type Candidate<'a> = (&'a Arc<SegmentMeta>, u64);

impl Store {
    /// The cold segments of a table.
    pub fn cold_segments(state: &State, table: Oid) -> BTreeSet<SegmentId> {
        state
            .manifests
            .get(&table)
            .map(|m| m.segments.keys().copied().collect())
            .unwrap_or_default()
    }

    /// Chooses what to rewrite of a table; `None` when nothing is wanted.
    pub fn plan_compaction(
        &self,
        state: &State,
        table: Oid,
        wanted: Wanted<'_>,
    ) -> Option<CompactionPlan> {
        let manifest = state.manifests.get(&table)?;
        let ended = self.count_ended(manifest, table);
        let mut shapes: BTreeMap<u32, Vec<Candidate<'_>>> = BTreeMap::new();
        for meta in manifest.segments.values() {
            let n = ended.get(&meta.id).copied().unwrap_or_default();
            shapes.entry(meta.schema_version).or_default().push((meta, n));
        }
        let small = self.options.segment_rows as u64 / 2;
        let segments = shapes.into_values().find_map(|all| {
            let chosen = match wanted {
                Wanted::Worthwhile => worthwhile(&all, small, manifest.horizon),
                Wanted::All(among) => {
                    let all: Vec<_> =
                        all.into_iter().filter(|(m, _)| among.contains(&m.id)).collect();
                    not_as_left(&all, small, manifest.horizon)
                }
            };
            (!chosen.is_empty()).then_some(chosen)
        })?;
        let horizon = manifest.horizon;
        Some(CompactionPlan { table, segments, horizon, erase: Positions::new() })
    }

    fn count_ended(&self, manifest: &Manifest, table: Oid) -> BTreeMap<SegmentId, u64> {
        let mut ended: BTreeMap<SegmentId, u64> = BTreeMap::new();
        for sidecar in &manifest.row_ends {
            for (&id, &n) in &sidecar.segments {
                *ended.entry(id).or_default() += u64::from(n);
            }
        }
        if let Some(store) = self.table(table) {
            for segment in store.segments().values() {
                *ended.entry(segment.id).or_default() += segment.ends.count_in_memory();
            }
        }
        ended
    }
}

fn below(meta: &SegmentMeta, horizon: Option<CommitTs>) -> bool {
    matches!((meta.ended_max, horizon), (Some(to), Some(h)) if to <= h)
}

/// Takes segments while their rows are not too many; at least one.
fn bounded<'a>(metas: impl Iterator<Item = &'a Arc<SegmentMeta>>) -> Vec<SegmentId> {
    let mut rows = 0;
    let mut taken = Vec::new();
    for meta in metas {
        rows += u64::from(meta.rows);
        if rows > ROWS_MAX && !taken.is_empty() {
            break;
        }
        taken.push(meta.id);
    }
    taken
}

fn worthwhile(all: &[Candidate<'_>], small: u64, horizon: Option<CommitTs>) -> Vec<SegmentId> {
    let gone: Vec<SegmentId> =
        all.iter().filter(|(m, _)| below(m, horizon)).map(|(m, _)| m.id).collect();
    if !gone.is_empty() {
        return gone;
    }
    let dirty = all.iter().filter(|(m, ended)| {
        *ended >= ENDED_ROWS && ended * 100 >= u64::from(m.rows) * ENDED_PERCENT
    });
    let dirty = bounded(dirty.map(|c| c.0));
    if !dirty.is_empty() {
        return dirty;
    }
    // By size, so that no row is written more often than there are sizes.
    let mut sizes: BTreeMap<(bool, u32), Vec<&Arc<SegmentMeta>>> = BTreeMap::new();
    for (meta, _) in all.iter().filter(|(m, _)| u64::from(m.rows) < small) {
        let size = meta.rows.max(1).ilog2() / 2;
        sizes.entry((meta.ended_max.is_some(), size)).or_default().push(meta);
    }
    let many = sizes.into_values().find(|metas| metas.len() >= SMALL_SEGMENTS);
    many.map(|metas| bounded(metas.into_iter())).unwrap_or_default()
}

fn not_as_left(all: &[Candidate<'_>], small: u64, horizon: Option<CommitTs>) -> Vec<SegmentId> {
    let is_small = |m: &SegmentMeta| u64::from(m.rows) < small;
    let smalls = |of_ended: bool| {
        all.iter().filter(|(m, _)| m.ended_max.is_some() == of_ended && is_small(m)).count()
    };
    let (current, ended) = (smalls(false), smalls(true));
    let wanted = all.iter().filter(|(m, n)| match m.ended_min {
        Some(to) => (is_small(m) && ended > 1) || horizon.is_some_and(|h| to <= h),
        None => !m.sorted || *n > 0 || (is_small(m) && current > 1),
    });
    bounded(wanted.map(|c| c.0))
}
