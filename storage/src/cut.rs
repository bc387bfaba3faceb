//! Tables as they were at an instant, with the history before it and nothing after it: for a
//! restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronos_catalog::{
    CommitTs, Manifest, Oid, RowEndsMeta, SegmentId, SegmentMeta, State, SystemTime,
};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt;
use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::flush::EndsBySegment;
use crate::lookup::place_spec;
use crate::overlay::Overlay;
use crate::parts::Planner;
use crate::paths;
use crate::row_ends::Sidecar;
use crate::segment::reader::read_part;
use crate::segment::writer::{Begun, PAGE_ROWS, SegmentFile, unique_keys};
use crate::segment::{Segment, Source};
use crate::store::{Store, unplaced_segment_id};
use crate::table::TableStore;

/// The row ends of one segment by instant.
type Ends = BTreeMap<CommitTs, RoaringBitmap>;

impl Store {
    /// The state as of an instant, all rows in objects: those that this store holds, and new ones
    /// in the place of those that know of later commits. Objects that the result does not name
    /// stay; nobody may write to the store meanwhile.
    ///
    /// # Errors
    /// [`Error::BelowHorizon`] where a table's history begins later; when an object cannot be
    /// read or written.
    pub async fn cut_off(&self, state: &State, at: CommitTs) -> Result<State> {
        let mut cut = state.clone();
        cut.cut_off(at);
        for (&table, manifest) in &mut cut.manifests {
            if let Some(horizon) = manifest.horizon.filter(|h| at < *h) {
                return Err(Error::BelowHorizon { table, instant: at, horizon });
            }
            *manifest = self.cut_table(table, manifest, at).await?;
        }
        Ok(cut)
    }

    async fn cut_table(&self, table: Oid, manifest: &Manifest, at: CommitTs) -> Result<Manifest> {
        let store = self.existing(table)?;
        let mut cut = Manifest {
            commit_number: manifest.commit_number,
            horizon: manifest.horizon,
            ..Manifest::default()
        };
        let mut all = EndsBySegment::new();
        for segment in store.segments().values() {
            let Some((first, last)) = segment.began_range() else { continue };
            if first > at {
                continue;
            }
            let is_past = last <= at && segment.ended_range().is_none_or(|(_, end)| end <= at);
            let (meta, ends) = match segment.source() {
                Source::Cold(meta) if is_past => {
                    let ends = if meta.ended_max.is_some() {
                        cut.rows_ended += u64::from(meta.rows);
                        cut.last_commit = cut.last_commit.max(meta.ended_max.unwrap_or_default());
                        Ends::new()
                    } else {
                        self.ends_until(&store, segment, at).await?
                    };
                    (meta, ends)
                }
                _ => match self.rewrite(&store, segment, at).await? {
                    Some((meta, ends)) => (Arc::new(meta), ends),
                    None => continue,
                },
            };
            cut.rows_written += u64::from(meta.rows);
            cut.rows_ended += ends.values().map(RoaringBitmap::len).sum::<u64>();
            cut.last_commit = cut.last_commit.max(meta.from_max);
            if !ends.is_empty() {
                all.insert(meta.id, ends.into_iter().collect());
            }
            cut.segments.insert(meta.id, meta);
        }
        cut.rows_updated = manifest.rows_updated.min(cut.rows_ended);
        let sidecar = Sidecar::new(all);
        if let Some((from, to)) = sidecar.range() {
            cut.last_commit = cut.last_commit.max(to);
            let segments = sidecar.counts();
            let count = segments.values().map(|&n| u64::from(n)).sum();
            let name = |n| paths::row_ends(table, to, n);
            let file = self.objects.create(name, sidecar.encode()).await?;
            cut.row_ends.push(Arc::new(RowEndsMeta { file, from, to, count, segments }));
        }
        Ok(cut)
    }

    async fn ends_until(
        &self,
        table: &TableStore,
        segment: &Segment,
        at: CommitTs,
    ) -> Result<Ends> {
        let times = segment.ends.end_times(&table.objects, segment.id, at).await?;
        let mut ends = Ends::new();
        for (position, ts) in times.iter() {
            ends.entry(CommitTs(ts)).or_default().insert(position);
        }
        Ok(ends)
    }

    /// The rows of a segment that had begun, in a new one, with the row ends until then.
    async fn rewrite(
        &self,
        table: &TableStore,
        segment: &Segment,
        at: CommitTs,
    ) -> Result<Option<(SegmentMeta, Ends)>> {
        let version = match segment.source() {
            Source::Hot(version, _) => version,
            Source::Cold(meta) => meta.schema_version,
        };
        let shape = table.shape(version)?;
        let own = Overlay::default();
        let planner = Planner::new(table, &own, &shape, SystemTime::All, at)?;
        let Some(window) = planner.window() else { return Ok(None) };
        let width = shape.columns.len();
        let columns: Vec<usize> = (0..width + 4).collect();
        let spec = place_spec(table, &shape, &columns, window);
        let Some(part) = planner.committed_part(&spec, segment).await? else { return Ok(None) };
        let id: SegmentId = unplaced_segment_id();
        let mut file =
            SegmentFile::new(table.oid(), id, &shape, &unique_keys(&shape), &self.options)?;
        let mut ends = Ends::new();
        let objects = Arc::clone(&self.objects);
        let mut stream = read_part(Arc::new(spec), part, objects, None, PAGE_ROWS);
        while let Some(batch) = stream.try_next().await? {
            let first = file.rows() as u32;
            let instants = |i: usize| batch.column(i).as_primitive::<TimestampMicrosecondType>();
            let (from, to) = (instants(width).clone(), instants(width + 1));
            for i in (0..to.len()).filter(|&i| to.is_valid(i)) {
                let ts = CommitTs(to.value(i));
                ends.entry(ts).or_default().insert(first + i as u32);
            }
            let cv = batch.column(width + 3).as_primitive::<Int64Type>().clone();
            let places: Vec<usize> = (0..width).chain([width + 2]).collect();
            file.write(&batch.project(&places)?, Begun::Each(from, cv))?;
        }
        if file.rows() == 0 {
            return Ok(None);
        }
        Ok(Some((file.finish(&self.objects).await?, ends)))
    }
}
