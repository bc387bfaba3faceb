//! All tables' rows on this node, following the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use chronos_catalog::command::Placement;
use chronos_catalog::raft::Applier;
use chronos_catalog::{
    Command, Commit, CommitMeta, CommitRow, CommitTs, Maintenance, Manifest, Oid, Outcome,
    Relation, RowEnds, RowEndsMeta, SegmentId, SegmentMeta, State, TableDef, TableWrite,
};
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt32Array,
};
use parking_lot::{Mutex, RwLock};

use crate::compaction::Retired;
use crate::error::{Error, Result};
use crate::object::Objects;
use crate::options::StoreOptions;
use crate::rows::{decode_rows, memory_of, rows_schema};
use crate::segment::Segment;
use crate::table::TableStore;

/// All tables' rows on this node. It follows the log as an [`Applier`].
#[derive(Debug)]
pub struct Store {
    pub(crate) objects: Arc<Objects>,
    pub(crate) options: Arc<StoreOptions>,
    pub(crate) tables: RwLock<BTreeMap<Oid, Arc<TableStore>>>,
    /// What compactions took out of manifests and is not removed yet.
    pub(crate) retired: Mutex<Vec<Retired>>,
}

/// What a table has in memory that no flush has written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotUsage {
    /// The table.
    pub table: Oid,
    /// Rows in hot segments.
    pub rows: u64,
    /// About how many bytes they take.
    pub bytes: usize,
    /// The oldest commit with rows or row ends in memory.
    pub oldest: Option<CommitTs>,
    /// Row ends in memory.
    pub ends: u64,
}

impl Store {
    /// Opens the object store. Tables come with the log or with [`Applier::restore`].
    ///
    /// # Errors
    /// When the URL cannot be opened.
    pub async fn open(options: StoreOptions) -> Result<Arc<Store>> {
        let objects = Objects::of_options(&options)?;
        Ok(Arc::new(Store {
            objects: Arc::new(objects),
            options: Arc::new(options),
            tables: RwLock::default(),
            retired: Mutex::default(),
        }))
    }

    /// Makes sure that the store refuses to create an object that is there. A store that cannot be
    /// reached is asked before the first write.
    ///
    /// # Errors
    /// [`Error::NotEnforced`]; [`Error::ObjectStore`] where the store cannot be reached or used.
    pub async fn probe(&self) -> Result<()> {
        self.objects.probe().await
    }

    /// A table's rows; `None` before the commit that made it was applied.
    pub fn table(&self, table: Oid) -> Option<Arc<TableStore>> {
        self.tables.read().get(&table).cloned()
    }

    /// A table's rows, or an empty table where no commit has made it yet: one that a transaction
    /// made and has not committed.
    pub fn table_or_empty(&self, table: Oid, def: &Arc<TableDef>) -> Arc<TableStore> {
        self.table(table).unwrap_or_else(|| {
            let (objects, options) = (Arc::clone(&self.objects), Arc::clone(&self.options));
            let empty = TableStore::new(table, objects, options);
            empty.inner.write().shapes.insert(def.schema_version, Arc::clone(def));
            Arc::new(empty)
        })
    }

    /// What each table has in memory, tables with nothing left out.
    pub fn hot_usage(&self) -> Vec<HotUsage> {
        let tables: Vec<_> = self.tables.read().values().cloned().collect();
        tables.iter().map(|t| t.hot_usage()).filter(|u| u.rows > 0 || u.ends > 0).collect()
    }

    fn table_or_new(&self, table: Oid) -> Arc<TableStore> {
        let mut tables = self.tables.write();
        let make = || {
            let (objects, options) = (Arc::clone(&self.objects), Arc::clone(&self.options));
            Arc::new(TableStore::new(table, objects, options))
        };
        Arc::clone(tables.entry(table).or_insert_with(make))
    }

    pub(crate) fn existing(&self, table: Oid) -> Result<Arc<TableStore>> {
        self.table(table).ok_or_else(|| Error::Inconsistent {
            table,
            reason: "an entry of the log names it before it was made".to_owned(),
        })
    }

    fn apply_commit(&self, state: &State, commit: &Commit, outcome: &Outcome) -> Result<()> {
        for change in &commit.changes {
            if let Some(object) = &change.object
                && let Relation::Table(def) = &object.relation
            {
                let table = self.table_or_new(change.oid);
                table.inner.write().shapes.insert(def.schema_version, Arc::clone(def));
            }
        }
        for (write, placement) in commit.writes.iter().zip(&outcome.placements) {
            let table = self.existing(write.table)?;
            let manifest = state.manifests.get(&write.table);
            table.apply_write(manifest, write, placement, commit.ts)?;
        }
        if let Some((placement, rows)) = &outcome.logged {
            let table = self.table_or_new(Oid::COMMITS);
            let (def, batch) = commit_rows(state, &commit.meta, rows)?;
            table.inner.write().shapes.insert(def.schema_version, Arc::clone(&def));
            let _whole_commit = table.applying.lock();
            table.apply_rows(batch, def.schema_version, placement, commit.ts)?;
        }
        Ok(())
    }

    fn apply_maintenance(&self, maintenance: &Maintenance) -> Result<()> {
        match maintenance {
            // The rows stay where they are.
            Maintenance::Seal { .. } | Maintenance::Erased(_) => Ok(()),
            Maintenance::Horizon { table, horizon } => {
                let store = self.existing(*table)?;
                let mut inner = store.inner.write();
                inner.horizon = inner.horizon.max(Some(*horizon));
                Ok(())
            }
            Maintenance::Flush { table, segments, row_ends } => {
                let store = self.existing(*table)?;
                for meta in segments {
                    store.segment(meta.id)?.flushed(Arc::new(meta.clone()));
                }
                if let Some(meta) = row_ends {
                    let meta = Arc::new(meta.clone());
                    for segment in store.segments().values() {
                        segment.ends.flushed(&meta, segment.id);
                    }
                }
                Ok(())
            }
            Maintenance::Compact {
                table,
                removed,
                added,
                carried,
                row_ends_removed,
                row_ends_added,
            } => {
                let sidecar = row_ends_added.clone().map(Arc::new);
                let store = self.existing(*table)?;
                let segments = store.replace_segments(removed, added, carried, sidecar)?;
                let row_ends = row_ends_removed.clone();
                self.retired.lock().push(Retired { since: Instant::now(), segments, row_ends });
                Ok(())
            }
        }
    }
}

impl Applier for Store {
    fn apply(
        &self,
        state: &State,
        command: &Command,
        outcome: &Outcome,
    ) -> chronos_catalog::Result<()> {
        match command {
            Command::Commit(commit) => self.apply_commit(state, commit, outcome),
            Command::Maintain(maintenance) => self.apply_maintenance(maintenance),
            Command::AdvanceSequences(_) => Ok(()),
        }
        .map_err(of_log)
    }

    fn export(&self, state: &State) -> chronos_catalog::Result<Bytes> {
        self.export_hot(state).map_err(of_log)
    }

    fn restore(&self, state: &State, exported: Bytes) -> chronos_catalog::Result<()> {
        self.restore_hot(state, &exported).map_err(of_log)
    }
}

fn of_log(error: Error) -> chronos_catalog::Error {
    chronos_catalog::Error::Corrupt {
        what: "the rows in the log or its snapshot".to_owned(),
        reason: error.to_string(),
    }
}

impl TableStore {
    fn apply_write(
        &self,
        manifest: Option<&Manifest>,
        write: &TableWrite,
        placement: &Placement,
        ts: CommitTs,
    ) -> Result<()> {
        let inconsistent = |reason: String| Error::Inconsistent { table: self.oid, reason };
        let _whole_commit = self.applying.lock();
        if write.row_count > 0 {
            let batch = decode_rows(&write.rows)?;
            self.apply_rows(batch, write.schema_version, placement, ts)?;
        }
        for meta in &write.segments {
            let meta = manifest.and_then(|m| m.segments.get(&meta.id)).ok_or_else(|| {
                inconsistent(format!("segment {} is not in the manifest", meta.id))
            })?;
            self.add_segment(Segment::cold(Arc::clone(meta)));
        }
        for ends in &write.ends {
            self.segment(ends.segment)?.ends.add(ts, &ends.positions);
        }
        Ok(())
    }

    /// Gives the segments that were there before.
    fn replace_segments(
        &self,
        removed: &[SegmentId],
        added: &[SegmentMeta],
        carried: &[(CommitTs, RowEnds)],
        sidecar: Option<Arc<RowEndsMeta>>,
    ) -> Result<Vec<Arc<Segment>>> {
        let _whole = self.applying.lock();
        let mut entering: BTreeMap<SegmentId, Segment> = BTreeMap::new();
        for meta in added {
            let sidecars: Vec<_> =
                sidecar.iter().filter(|s| s.segments.contains_key(&meta.id)).cloned().collect();
            let segment = Segment::cold_with_ends(Arc::new(meta.clone()), sidecars);
            entering.insert(meta.id, segment);
        }
        for (ts, ends) in carried {
            let (table, segment) = (self.oid, ends.segment);
            let to = entering.get(&segment).ok_or(Error::NoSuchSegment { table, segment })?;
            to.ends.add(*ts, &ends.positions);
        }
        let mut inner = self.inner.write();
        let segments = Arc::make_mut(&mut inner.segments);
        let left = removed.iter().filter_map(|id| segments.remove(id)).collect();
        segments.extend(entering.into_iter().map(|(id, segment)| (id, Arc::new(segment))));
        Ok(left)
    }

    /// Adds rows to a hot segment.
    fn apply_rows(
        &self,
        batch: RecordBatch,
        schema_version: u32,
        placement: &Placement,
        ts: CommitTs,
    ) -> Result<()> {
        let inconsistent = |reason: String| Error::Inconsistent { table: self.oid, reason };
        let n = batch.num_rows();
        let bytes = memory_of(&batch);
        if n != placement.row_count as usize {
            return Err(inconsistent(format!("{n} rows where {} were told", placement.row_count)));
        }
        let segment = match self.segments().get(&placement.segment) {
            Some(segment) => Arc::clone(segment),
            None => self.add_segment(Segment::hot(placement.segment)),
        };
        let from = TimestampMicrosecondArray::from_value(ts.micros(), n);
        let cv = Int64Array::from_value(placement.commit_number, n);
        let append = |hot: &mut crate::hot::HotSegment| {
            if hot.rows() != placement.first_position {
                return Err(inconsistent(format!(
                    "segment {} has {} rows, {} were expected",
                    placement.segment,
                    hot.rows(),
                    placement.first_position
                )));
            }
            hot.append(schema_version, placement.first_position, batch, from, cv, bytes)
        };
        segment
            .with_hot_mut(append)
            .ok_or_else(|| inconsistent(format!("segment {} is cold", placement.segment)))?
    }

    fn add_segment(&self, segment: Segment) -> Arc<Segment> {
        let segment = Arc::new(segment);
        let mut inner = self.inner.write();
        Arc::make_mut(&mut inner.segments).insert(segment.id, Arc::clone(&segment));
        segment
    }

    fn hot_usage(&self) -> HotUsage {
        let mut usage = HotUsage { table: self.oid, rows: 0, bytes: 0, oldest: None, ends: 0 };
        let mut oldest: Option<CommitTs> = None;
        let mut older = |ts: Option<CommitTs>| {
            if let Some(ts) = ts {
                oldest = Some(oldest.map_or(ts, |o| o.min(ts)));
            }
        };
        for segment in self.segments().values() {
            let (rows, bytes) =
                segment.with_hot(|hot| (u64::from(hot.rows()), hot.bytes())).unwrap_or_default();
            usage.rows += rows;
            usage.bytes += bytes;
            usage.ends += segment.ends.count_in_memory();
            if rows > 0 {
                older(segment.began_range().map(|r| r.0));
            }
            older(segment.ends.oldest_in_memory());
        }
        usage.oldest = oldest;
        usage
    }
}

/// The rows of the log of commits, in the table's columns and `_ov`.
fn commit_rows(
    state: &State,
    meta: &CommitMeta,
    rows: &[CommitRow],
) -> Result<(Arc<TableDef>, RecordBatch)> {
    let def = match state.objects.get(Oid::COMMITS, CommitTs::MAX).map(|o| &o.relation) {
        Some(Relation::Table(def)) => Arc::clone(def),
        _ => {
            return Err(Error::Inconsistent {
                table: Oid::COMMITS,
                reason: "it has no definition".to_owned(),
            });
        }
    };
    let n = rows.len();
    let text = |value: Option<&str>| -> ArrayRef {
        Arc::new(StringViewArray::from_iter(std::iter::repeat_n(value, n)))
    };
    let texts = |of: &dyn Fn(&CommitRow) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringViewArray>())
    };
    let numbers = |of: &dyn Fn(&CommitRow) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Int64Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        text(Some(&meta.user)),
        text(Some(&meta.application_name)),
        text(meta.actor.as_deref()),
        text(meta.reason.as_deref()),
        text(meta.function_id.as_deref()),
        Arc::new(rows.iter().map(|r| r.table.map(|oid| oid.0)).collect::<UInt32Array>()),
        texts(&|r| r.table_name.as_ref().map(|n| n.0.clone())),
        texts(&|r| r.table_name.as_ref().map(|n| n.1.clone())),
        numbers(&|r| r.table_version),
        numbers(&|r| Some(r.inserted as i64)),
        numbers(&|r| Some(r.updated as i64)),
        numbers(&|r| Some(r.deleted as i64)),
        numbers(&|r| Some(r.definitions as i64)),
        Arc::new(Int64Array::from_value(0, n)),
    ];
    let batch = RecordBatch::try_new(rows_schema(&def), columns)?;
    Ok((def, batch))
}

/// A new identifier for a segment that is written before the log knows of it.
pub(crate) fn unplaced_segment_id() -> SegmentId {
    SegmentId(rand::random_range(SegmentId::FIRST_UNPLACED.0..SegmentId::LOCAL.0))
}
