//! One transaction: what it sees, and what it has written and not committed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::mem;
use std::sync::{Arc, OnceLock};

use chronos_catalog::command::ObjectChange;
use chronos_catalog::{
    Commit, CommitMeta, CommitTs, Object, Objects, Oid, ReadTs, Relation, RowEnds, RowRef,
    SegmentId, SegmentMeta, SystemTime, TableDef, TableWrite,
};
use chronos_storage::{
    HIDDEN_COLUMNS, KeySpec, Overlay, PointRead, TableStore, VersionedTable, expired_among,
    fetch_rows, find_live_keys, hash_key, rows_schema,
};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, new_null_array,
};
use datafusion::arrow::compute::{cast, concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema};
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use crate::engine::error::{EngineResult, Error};
use crate::engine::instance::Engine;
use crate::engine::keys;
use crate::engine::locks::{LockMode, LockOwner, LockWait};
use crate::engine::references::{Noted, Reference};
use crate::engine::sequencer::{Committed, Request};
use crate::engine::writes::{KeyCheck, KeyWrites, TableCheck, TableWrites, is_own};

/// One transaction. Reads see every commit up to [`Transaction::read_ts`] and what the
/// transaction itself wrote. Dropping it rolls it back.
///
/// The methods do not check what SQL forbids (writing in a read-only transaction, writing in the
/// past); that is the session's part.
pub struct Transaction {
    engine: Arc<Engine>,
    read_ts: ReadTs,
    objects: Arc<Objects>,
    /// The instant at which the first definition was changed.
    definitions_at: Option<CommitTs>,
    work: Work,
    /// Own rows as they were when a statement of several writes began: what all of them read.
    pinned: Option<Overlay>,
    locks: OnceLock<LockOwner>,
    /// The tables that were read, for SERIALIZABLE.
    reads: Mutex<BTreeSet<Oid>>,
    serializable: bool,
}

/// What a rollback to a savepoint undoes.
#[derive(Clone, Debug, Default)]
struct Work {
    changes: Vec<ObjectChange>,
    overlay: Overlay,
    writes: BTreeMap<Oid, TableWrites>,
    references: Vec<Noted>,
}

/// A point within a transaction to roll back to.
#[derive(Clone, Debug)]
pub struct Savepoint(Work);

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("read_ts", &self.read_ts).finish_non_exhaustive()
    }
}

impl Transaction {
    pub(super) fn new(engine: Arc<Engine>) -> Transaction {
        // The instant first: objects that are newer than it are looked up at it and not seen.
        let read_ts = engine.last_commit();
        let objects = Arc::clone(&engine.state.read().objects);
        Transaction {
            engine,
            read_ts,
            objects,
            definitions_at: None,
            work: Work::default(),
            pinned: None,
            locks: OnceLock::new(),
            reads: Mutex::default(),
            serializable: false,
        }
    }

    /// SERIALIZABLE: the commit fails where another one changed a table that this transaction
    /// read.
    pub fn set_serializable(&mut self, serializable: bool) {
        self.serializable = serializable;
    }

    /// Locks row versions until the transaction ends and gives those that it locked: all of
    /// them, unless those that are held are to be skipped.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a version that another transaction has ended meanwhile;
    /// [`Error::Deadlock`], [`Error::LockTimeout`], [`Error::LockNotAvailable`].
    pub async fn lock_rows(
        &self,
        table: Oid,
        rows: &[RowRef],
        mode: LockMode,
        wait: LockWait,
    ) -> EngineResult<Vec<RowRef>> {
        let own: HashSet<SegmentId> = match self.work.overlay.table(table) {
            Some(overlay) => overlay.segments().iter().map(|s| s.id).collect(),
            None => HashSet::new(),
        };
        let committed: Vec<RowRef> =
            rows.iter().filter(|row| !is_own(row.segment, &own)).copied().collect();
        if committed.is_empty() {
            return Ok(rows.to_vec());
        }
        let (_, name) = self.names(table);
        let owner = self.locks.get_or_init(|| self.engine.locks.owner());
        let locked = owner.lock(table, &committed, mode, wait, &name).await?;
        let mut live: HashSet<RowRef> = locked.iter().copied().collect();
        if let Some(store) = self.engine.store.table(table) {
            let mut segments: BTreeMap<SegmentId, RoaringBitmap> = BTreeMap::new();
            for row in &locked {
                segments.entry(row.segment).or_default().insert(row.position);
            }
            let places: Vec<RowEnds> = segments
                .into_iter()
                .map(|(segment, positions)| RowEnds { segment, positions })
                .collect();
            let lost = || Error::Conflict {
                detail: format!("A row of table \"{name}\" was changed by another transaction."),
            };
            // A compaction may have moved them while this waited.
            let places = match store.relocate_ends(&places, &|_| false) {
                Ok(None) => places,
                Ok(Some(moved)) if wait != LockWait::Skip => moved,
                Ok(Some(_)) | Err(chronos_storage::Error::Moved { .. }) => return Err(lost()),
                Err(error) => return Err(error.into()),
            };
            for RowEnds { segment, positions } in places {
                let ended = match store.ended_among(segment, &positions).await {
                    Err(chronos_storage::Error::NoSuchSegment { .. }) => return Err(lost()),
                    ended => ended?,
                };
                let Some(position) = ended.min() else { continue };
                if wait == LockWait::Skip {
                    live.retain(|r| r.segment != segment || !ended.contains(r.position));
                    continue;
                }
                let def = self.table_def(table)?;
                let row = RowRef { segment, position };
                let detail = keys::changed_sentence(&store, &def, &name, row).await;
                return Err(Error::Conflict { detail });
            }
        }
        let kept = |row: &&RowRef| is_own(row.segment, &own) || live.contains(row);
        Ok(rows.iter().filter(kept).copied().collect())
    }

    /// Lets reads see own rows as they are now, whatever is written until [`Transaction::unpin`].
    pub fn pin(&mut self) {
        self.pinned = Some(self.work.overlay.clone());
    }

    /// Lets reads see all own rows again.
    pub fn unpin(&mut self) {
        self.pinned = None;
    }

    /// Whether [`Transaction::pin`] holds.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// Own rows and row ends.
    pub fn overlay(&self) -> Overlay {
        self.work.overlay.clone()
    }

    /// Row versions that the transaction sees: the table's columns and the hidden ones, in the
    /// order given.
    ///
    /// # Errors
    /// The storage's.
    pub async fn fetch_versions(&self, table: Oid, rows: &[RowRef]) -> EngineResult<RecordBatch> {
        let def = self.table_def(table)?;
        let store = self.engine.store.table_or_empty(table, &def);
        let columns: Vec<usize> = (0..def.columns.len() + HIDDEN_COLUMNS.len()).collect();
        Ok(fetch_rows(&store, &self.work.overlay, &def, rows, &columns).await?)
    }

    /// The node that it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The instant that its reads see.
    pub fn read_ts(&self) -> ReadTs {
        self.read_ts
    }

    /// READ COMMITTED: the next statement sees every commit applied so far. Own writes stay;
    /// the commit still checks each of them against every commit after the instant at which it
    /// was made.
    pub fn refresh(&mut self) {
        self.read_ts = self.engine.last_commit();
        self.objects = Arc::clone(&self.engine.state.read().objects);
        self.replay_definitions();
    }

    /// The catalog with the transaction's own definitions. Names of the present are looked up at
    /// [`Transaction::objects_at`], those of the past at their instant.
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(&self.objects)
    }

    /// The instant at which [`Transaction::objects`] shows the present.
    pub fn objects_at(&self) -> ReadTs {
        // Own definitions stand after every commit.
        if self.work.changes.is_empty() { self.read_ts } else { CommitTs::MAX }
    }

    /// An identifier for an object, constraint or index that is about to be made.
    pub fn allocate_oid(&mut self) -> Oid {
        self.engine.allocate_oid()
    }

    /// Makes, changes (`Some`) or drops (`None`) an object. Own rows of a table follow a change
    /// of its shape.
    ///
    /// # Errors
    /// Own rows that cannot be cast to a changed type.
    pub fn change(&mut self, oid: Oid, object: Option<Object>) -> EngineResult<()> {
        match object.as_ref().map(|o| &o.relation) {
            None => {
                self.work.overlay.remove(oid);
                self.work.writes.remove(&oid);
            }
            Some(Relation::Table(def)) => self.reshape(oid, def)?,
            Some(_) => {}
        }
        self.definitions_at.get_or_insert(self.read_ts);
        let change = ObjectChange { oid, object };
        apply_change(Arc::make_mut(&mut self.objects), &change);
        self.work.changes.push(change);
        Ok(())
    }

    /// A table as of an instant or over a period: commits only, also where the instant is the
    /// transaction's own ([`Transaction::current_table`] shows own rows). The caller has seen to
    /// it that the instant is closed ([`Engine::close_instant`]).
    ///
    /// # Errors
    /// [`Error::NoSuchTable`] when there is no such table at that instant.
    pub fn table(&self, oid: Oid, time: SystemTime) -> EngineResult<Arc<VersionedTable>> {
        match time {
            SystemTime::AsOf(t) => {
                // An instant after the transaction began may know definitions that it does not.
                let def = if t > self.read_ts {
                    table_def(&self.engine.state.read().objects, oid, t)?
                } else {
                    table_def(&self.objects, oid, t)?
                };
                Ok(self.versioned(oid, def, time, t.max(self.read_ts), Overlay::default()))
            }
            SystemTime::FromTo(..)
            | SystemTime::Between(..)
            | SystemTime::ContainedIn(..)
            | SystemTime::All => {
                let def = table_def(&self.objects, oid, self.objects_at())?;
                Ok(self.versioned(oid, def, time, self.read_ts, Overlay::default()))
            }
        }
    }

    /// A table as the transaction sees it now, own rows included.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn current_table(&self, oid: Oid) -> EngineResult<Arc<VersionedTable>> {
        self.reads.lock().insert(oid);
        let def = self.table_def(oid)?;
        let time = SystemTime::AsOf(self.read_ts);
        let overlay = self.pinned.as_ref().unwrap_or(&self.work.overlay).clone();
        let table = self.versioned(oid, def, time, self.read_ts, overlay);
        Ok(Arc::new(Arc::unwrap_or_clone(table).expiring_at(self.present())))
    }

    /// The rows of a table as the transaction sees them now that a key may find, own rows
    /// included; `None` where the table has another shape than was prepared for.
    ///
    /// # Errors
    /// The storage's.
    pub async fn read_by_key(
        &self,
        read: &PointRead,
        keys: &[ArrayRef],
    ) -> EngineResult<Option<Vec<RecordBatch>>> {
        let oid = read.table_oid();
        let def = self.table_def(oid)?;
        if !Arc::ptr_eq(&def, read.def()) {
            return Ok(None);
        }
        self.reads.lock().insert(oid);
        let store = self.engine.store.table_or_empty(oid, &def);
        let overlay = self.pinned.as_ref().unwrap_or(&self.work.overlay);
        Ok(Some(read.read(&store, overlay, self.read_ts, self.read_ts, keys).await?))
    }

    /// Likewise AS OF an instant, committed rows only. The caller has seen to it that the instant
    /// is closed.
    ///
    /// # Errors
    /// The storage's.
    pub async fn read_by_key_at(
        &self,
        read: &PointRead,
        at: ReadTs,
        keys: &[ArrayRef],
    ) -> EngineResult<Option<Vec<RecordBatch>>> {
        let oid = read.table_oid();
        let Ok(table) = self.table(oid, SystemTime::AsOf(at)) else { return Ok(None) };
        if !Arc::ptr_eq(table.def(), read.def()) {
            return Ok(None);
        }
        let store = self.engine.store.table_or_empty(oid, table.def());
        let overlay = Overlay::default();
        Ok(Some(read.read(&store, &overlay, at, at.max(self.read_ts), keys).await?))
    }

    /// All versions of a table up to an instant or, without one, to what the transaction sees;
    /// own rows do not show.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn versions(&self, oid: Oid, at: Option<ReadTs>) -> EngineResult<Arc<VersionedTable>> {
        let def = match at {
            Some(t) => table_def(&self.objects, oid, t)?,
            None => {
                self.reads.lock().insert(oid);
                self.table_def(oid)?
            }
        };
        let at = at.unwrap_or(self.read_ts);
        Ok(self.versioned(oid, def, SystemTime::All, at, Overlay::default()))
    }

    /// All versions of a table, in the shape that it has now, that a read at an instant from
    /// `from` to `to` may see; own rows do not show.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn versions_between(
        &self,
        oid: Oid,
        from: CommitTs,
        to: CommitTs,
    ) -> EngineResult<Arc<VersionedTable>> {
        let def = self.table_def(oid)?;
        let time = SystemTime::Between(from, to);
        Ok(self.versioned(oid, def, time, to.max(self.read_ts), Overlay::default()))
    }

    /// A table at another time with the columns that it has now.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn table_in_present_shape(
        &self,
        oid: Oid,
        time: SystemTime,
    ) -> EngineResult<Arc<VersionedTable>> {
        let def = self.table_def(oid)?;
        let read_ts = match time {
            SystemTime::AsOf(t) => t.max(self.read_ts),
            _ => self.read_ts,
        };
        Ok(self.versioned(oid, def, time, read_ts, Overlay::default()))
    }

    fn versioned(
        &self,
        oid: Oid,
        def: Arc<TableDef>,
        time: SystemTime,
        read_ts: ReadTs,
        overlay: Overlay,
    ) -> Arc<VersionedTable> {
        let table = Some(self.engine.store.table_or_empty(oid, &def));
        Arc::new(VersionedTable::new(oid, table, def, time, read_ts, overlay))
    }

    /// A table's definition as the transaction sees it now.
    fn table_def(&self, oid: Oid) -> EngineResult<Arc<TableDef>> {
        table_def(&self.objects, oid, self.objects_at())
    }

    /// The current version of each key, own rows included, for ON CONFLICT. `keys` holds the
    /// columns of the constraint in its order.
    ///
    /// # Errors
    /// The storage's.
    pub async fn find_keys(
        &self,
        table: Oid,
        constraint: Oid,
        keys: &RecordBatch,
    ) -> EngineResult<Vec<Option<RowRef>>> {
        let def = self.table_def(table)?;
        let store = self.engine.store.table_or_empty(table, &def);
        let key = KeySpec::of_constraint(table, &def, constraint)?;
        let overlay = &self.work.overlay;
        let mut found = find_live_keys(&store, overlay, &def, &key, keys, self.read_ts).await?;
        let expired = self.expired(&store, &def, &found).await?;
        for row in &mut found {
            *row = row.filter(|row| !expired.contains(row));
        }
        Ok(found)
    }

    /// Writes rows: the table's columns in order, of the table's types. `row_versions` are the
    /// rows' `_ov` (0 where not given). Large writes go to segments before the commit.
    ///
    /// # Errors
    /// [`Error::NotNullViolation`], [`Error::UniqueViolation`]; [`Error::Shape`] for rows that
    /// are not the table's.
    pub async fn insert(
        &mut self,
        table: Oid,
        rows: RecordBatch,
        row_versions: Option<Int64Array>,
    ) -> EngineResult<()> {
        let def = self.table_def(table)?;
        let schema = rows_schema(&def);
        let n = rows.num_rows();
        let versions = row_versions.unwrap_or_else(|| Int64Array::from_value(0, n));
        let fits = rows.num_columns() == def.columns.len()
            && rows
                .columns()
                .iter()
                .zip(schema.fields())
                .all(|(a, f)| a.data_type() == f.data_type());
        if !fits || versions.len() != n || versions.null_count() > 0 {
            let given: Vec<String> =
                rows.columns().iter().map(|c| c.data_type().to_string()).collect();
            return Err(Error::Shape {
                table,
                reason: format!(
                    "columns are ({}), {} row versions",
                    given.join(", "),
                    versions.len()
                ),
            });
        }
        if n == 0 {
            return Ok(());
        }
        // Under the table's names and types, whatever the caller called the columns; NULLs are
        // allowed until they have been looked for.
        let fields: Vec<Field> =
            def.arrow_fields().into_iter().map(|f| f.with_nullable(true)).collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec())?;
        self.check_not_null(table, &def, &rows)?;
        self.check_unique(table, &def, &rows).await?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(versions));
        let batch = RecordBatch::try_new(schema, columns)?;
        self.note_write(table, &def);
        self.work.overlay.append(table, def.schema_version, batch)?;
        let large = self.work.overlay.table(table).is_some_and(|t| {
            t.rows() as usize >= self.engine.config.bulk_rows
                || t.bytes() >= self.engine.config.bulk_bytes
        });
        if large {
            self.spill(table, &def).await?;
        }
        Ok(())
    }

    /// Ends the current versions of rows: a DELETE, or the old versions of an UPDATE, which come
    /// before the new ones so that their keys are free. A row given twice, or ended by this
    /// transaction before, counts once.
    ///
    /// # Errors
    /// [`Error::NoSuchTable`].
    pub fn end_rows(&mut self, table: Oid, rows: &[RowRef]) -> EngineResult<u64> {
        let def = self.table_def(table)?;
        self.note_write(table, &def);
        Ok(rows.iter().filter(|row| self.work.overlay.end(table, **row)).count() as u64)
    }

    /// Notes keys that a foreign key makes the transaction rely on; the commit looks at them
    /// again.
    ///
    /// # Errors
    /// Arrow's.
    pub fn note_reference(&mut self, reference: Reference) -> EngineResult<()> {
        let checked_at = self.read_ts;
        for noted in &mut self.work.references {
            noted.give_way(&reference)?;
        }
        self.work.references.push(Noted { reference: Arc::new(reference), checked_at });
        Ok(())
    }

    /// Where a later [`Transaction::rollback_to`] goes back to.
    pub fn savepoint(&self) -> Savepoint {
        Savepoint(self.work.clone())
    }

    /// Undoes everything after the savepoint.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) {
        self.pinned = None;
        let undone = mem::replace(&mut self.work, savepoint.0.clone());
        let kept: HashSet<SegmentId> = own_segments(&self.work).map(|s| s.id).collect();
        self.engine.discard(own_segments(&undone).filter(|s| !kept.contains(&s.id)).collect());
        if self.work.changes.is_empty() {
            self.definitions_at = None;
        }
        self.objects = Arc::clone(&self.engine.state.read().objects);
        self.replay_definitions();
    }

    /// Whether there is anything to commit.
    pub fn has_writes(&self) -> bool {
        !self.work.changes.is_empty() || !self.work.writes.is_empty()
    }

    /// Whether the transaction wrote rows to a table, or ended some of it.
    pub fn has_rows(&self, table: Oid) -> bool {
        self.work.overlay.table(table).is_some()
    }

    /// The segments that hold the rows of a table which the transaction wrote.
    pub fn own_segments(&self, table: Oid) -> HashSet<SegmentId> {
        let spilled = self.work.overlay.table(table).map(|t| t.segments()).unwrap_or_default();
        spilled.iter().map(|s| s.id).chain([SegmentId::LOCAL]).collect()
    }

    /// Commits and waits until the commit is durable and every later transaction sees it. Gives
    /// its instant, or `None` when nothing was written. Dropping the future after its first poll
    /// does not withdraw the commit.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::UniqueViolation`] and [`Error::NameTaken`] against
    /// transactions that committed first; [`Error::OutcomeUnknown`] when the log failed. After
    /// every error but that one nothing was written.
    pub async fn commit(self, meta: CommitMeta) -> EngineResult<Option<CommitTs>> {
        Ok(self.commit_numbered(meta).await?.map(|commit| commit.ts))
    }

    /// Likewise, and tells each table's commit number.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`].
    pub async fn commit_numbered(mut self, meta: CommitMeta) -> EngineResult<Option<Committed>> {
        if !self.has_writes() {
            return Ok(None);
        }
        let (writes, tables) = self.table_writes()?;
        let bytes = writes.iter().map(|w| w.rows.len() as u64).sum();
        self.engine.wait_for_memory(bytes).await?;
        if writes.is_empty() && self.work.changes.is_empty() {
            // Rows came and went again.
            return Ok(None);
        }
        let changes = self.work.changes.clone();
        let definitions_at = self.definitions_at.unwrap_or(self.read_ts);
        let overlay = self.work.overlay.clone();
        let references = self.work.references.clone();
        let commit = Commit { ts: CommitTs::ZERO, meta, changes, writes };
        let reads = match self.serializable {
            true => mem::take(&mut *self.reads.lock()),
            false => BTreeSet::new(),
        };
        let read_ts = self.read_ts;
        // From here on the segments may be the log's, also when this future is dropped.
        let work = mem::take(&mut self.work);
        let result = self
            .engine
            .sequencer
            .commit(|reply| Request {
                commit,
                tables,
                overlay,
                definitions_at,
                references,
                reads,
                read_ts,
                reply,
            })
            .await;
        match result {
            Ok(commit) => Ok(Some(commit)),
            Err(error) => {
                if refused(&error) {
                    self.work = work;
                }
                Err(error)
            }
        }
    }

    /// Forgets everything.
    pub fn rollback(self) {
        drop(self);
    }

    /// Lays own definitions over the catalog that was just taken.
    fn replay_definitions(&mut self) {
        if !self.work.changes.is_empty() {
            let objects = Arc::make_mut(&mut self.objects);
            self.work.changes.iter().for_each(|change| apply_change(objects, change));
        }
    }

    fn note_write(&mut self, table: Oid, def: &TableDef) {
        let read_ts = self.read_ts;
        let writes = self.work.writes.entry(table).or_insert_with(|| TableWrites {
            seen_at: read_ts,
            schema_version: def.schema_version,
            keys_checked_at: None,
            spilled_keys: BTreeMap::new(),
            spilled_updates: 0,
        });
        writes.schema_version = def.schema_version;
    }

    fn check_not_null(&self, table: Oid, def: &TableDef, rows: &RecordBatch) -> EngineResult<()> {
        for (column, array) in def.columns.iter().zip(rows.columns()) {
            if !column.not_null || array.null_count() == 0 {
                continue;
            }
            let row = (0..array.len()).find(|&i| array.is_null(i)).unwrap_or_default();
            let (schema, name) = self.names(table);
            return Err(Error::NotNullViolation {
                schema,
                table: name,
                column: column.name.clone(),
                detail: keys::failing_row_sentence(rows, row),
            });
        }
        Ok(())
    }

    /// The present, by which rows expire, in microseconds since the Unix epoch.
    fn present(&self) -> i64 {
        self.engine.now_micros().max(self.read_ts.micros())
    }

    /// Which rows have expired and were not ended yet.
    async fn expired(
        &self,
        store: &TableStore,
        def: &Arc<TableDef>,
        found: &[Option<RowRef>],
    ) -> EngineResult<HashSet<RowRef>> {
        let rows: Vec<RowRef> = found.iter().flatten().copied().collect();
        Ok(expired_among(store, &self.work.overlay, def, &rows, self.present()).await?)
    }

    /// Checks new rows against each other and against all that the transaction sees. What was
    /// committed since is checked at the commit.
    async fn check_unique(
        &mut self,
        table: Oid,
        def: &Arc<TableDef>,
        rows: &RecordBatch,
    ) -> EngineResult<()> {
        let store = self.engine.store.table_or_empty(table, def);
        let mut checked = false;
        for (constraint, name, columns) in def.unique_keys() {
            checked = true;
            let batch = keys::project(def, columns, rows)?;
            let mut taken = keys::first_duplicate(&batch)?;
            if taken.is_none() {
                let overlay = &self.work.overlay;
                let key = KeySpec::of_constraint(table, def, constraint)?;
                let at = self.read_ts;
                let found = find_live_keys(&store, overlay, def, &key, &batch, at).await?;
                let expired = self.expired(&store, def, &found).await?;
                if !expired.is_empty() {
                    // As the background would have done soon.
                    self.end_rows(table, &expired.iter().copied().collect::<Vec<_>>())?;
                }
                let is_alive = |row: &RowRef| !expired.contains(row);
                taken = found.iter().position(|row| row.as_ref().is_some_and(is_alive));
            }
            if let Some(row) = taken {
                let (schema, table) = self.names(table);
                return Err(Error::UniqueViolation {
                    schema,
                    table,
                    constraint: name.to_owned(),
                    detail: keys::exists_sentence(&batch, row),
                });
            }
        }
        if checked {
            self.note_write(table, def);
            if let Some(writes) = self.work.writes.get_mut(&table) {
                // The earliest look counts.
                writes.keys_checked_at.get_or_insert(self.read_ts);
            }
        }
        Ok(())
    }

    /// Own rows of a table that stand in memory and are current, in the table's columns and
    /// `_ov`.
    fn local_rows(&self, table: Oid, def: &TableDef) -> EngineResult<Option<RecordBatch>> {
        let Some(overlay) = self.work.overlay.table(table) else { return Ok(None) };
        if overlay.rows() == 0 {
            return Ok(None);
        }
        let batches = overlay.batches();
        let schema = batches.first().map_or_else(|| rows_schema(def), |b| b.schema());
        let rows = concat_batches(&schema, &batches)?;
        let rows = match overlay.ends().get(&SegmentId::LOCAL) {
            None => rows,
            Some(ended) => {
                let live: BooleanArray =
                    (0..rows.num_rows() as u32).map(|p| Some(!ended.contains(p))).collect();
                filter_record_batch(&rows, &live)?
            }
        };
        Ok((rows.num_rows() > 0).then_some(rows))
    }

    /// Replaces own rows in memory by others (or by none), keeping segments and row ends.
    fn replace_local(
        &mut self,
        table: Oid,
        schema_version: u32,
        rows: Option<RecordBatch>,
    ) -> EngineResult<()> {
        let Some(before) = self.work.overlay.table(table).cloned() else { return Ok(()) };
        let overlay = &mut self.work.overlay;
        overlay.remove(table);
        for meta in before.segments() {
            overlay.add_segment(table, SegmentMeta::clone(&meta));
        }
        for (&segment, positions) in before.ends() {
            if segment != SegmentId::LOCAL {
                for position in positions {
                    overlay.end(table, RowRef { segment, position });
                }
            }
        }
        if let Some(rows) = rows {
            overlay.append(table, schema_version, rows)?;
        }
        Ok(())
    }

    /// Writes own rows of a table to a segment, so that memory stays bounded.
    async fn spill(&mut self, table: Oid, def: &Arc<TableDef>) -> EngineResult<()> {
        let Some(rows) = self.local_rows(table, def)? else {
            return self.replace_local(table, def.schema_version, None);
        };
        let mut writer = self.engine.store.new_segment_writer(table, def)?;
        let mut segments = writer.write(&rows).await?;
        segments.extend(writer.finish().await?);
        if let Some(writes) = self.work.writes.get_mut(&table) {
            writes.spilled_updates += updates(&rows);
            for (constraint, _, columns) in def.unique_keys() {
                // Cut loose from the rows, whose memory is to be freed.
                let batch = keys::compact(&keys::project(def, columns, &rows)?)?;
                writes.spilled_keys.entry(constraint).or_default().push(batch);
            }
        }
        self.replace_local(table, def.schema_version, None)?;
        segments.into_iter().for_each(|meta| self.work.overlay.add_segment(table, meta));
        Ok(())
    }

    /// Casts own rows in memory to the table's new shape. Rows in segments keep theirs.
    fn reshape(&mut self, table: Oid, after: &TableDef) -> EngineResult<()> {
        let Some(writes) = self.work.writes.get(&table) else { return Ok(()) };
        if writes.schema_version == after.schema_version {
            return Ok(());
        }
        let before = self.table_def(table)?;
        let rows = self.local_rows(table, &before)?;
        let rows = match rows {
            None => None,
            Some(rows) => {
                let n = rows.num_rows();
                let mut columns: Vec<ArrayRef> = Vec::with_capacity(after.columns.len() + 1);
                for column in &after.columns {
                    let ty = column.ty.arrow();
                    let place = before.columns.iter().position(|c| c.id == column.id);
                    columns.push(match place {
                        Some(place) => cast(rows.column(place), &ty)?,
                        None if column.missing.is_some() => {
                            let value = chronos_storage::missing_value(column)?;
                            let rows = value.to_array_of_size(n);
                            rows.map_err(|error| Error::Shape { table, reason: error.to_string() })?
                        }
                        None => new_null_array(&ty, n),
                    });
                }
                columns.push(Arc::clone(rows.column(before.columns.len())));
                Some(RecordBatch::try_new(rows_schema(after), columns)?)
            }
        };
        self.replace_local(table, after.schema_version, rows)?;
        if let Some(writes) = self.work.writes.get_mut(&table) {
            writes.schema_version = after.schema_version;
        }
        Ok(())
    }

    /// Everything written to tables: as the log takes it, and as the sequencer checks it.
    fn table_writes(&self) -> EngineResult<(Vec<TableWrite>, Vec<TableCheck>)> {
        let mut writes = Vec::new();
        let mut checks = Vec::new();
        for (&table, written) in &self.work.writes {
            let Some(overlay) = self.work.overlay.table(table) else { continue };
            let def = self.table_def(table)?;
            let rows = self.local_rows(table, &def)?;
            let segments: Vec<SegmentMeta> =
                overlay.segments().iter().map(|s| SegmentMeta::clone(s)).collect();
            let own: HashSet<SegmentId> = segments.iter().map(|s| s.id).collect();
            let ends: Vec<RowEnds> = overlay
                .ends()
                .iter()
                .filter(|(segment, positions)| {
                    **segment != SegmentId::LOCAL && !positions.is_empty()
                })
                .map(|(&segment, positions)| RowEnds { segment, positions: positions.clone() })
                .collect();
            if rows.is_none() && segments.is_empty() && ends.is_empty() {
                continue;
            }
            let (schema, name) = self.names(table);
            checks.push(TableCheck {
                table,
                schema,
                name,
                seen_at: written.seen_at,
                keys: self.key_checks(&def, written, rows.as_ref())?,
                ends: ends.iter().filter(|e| !is_own(e.segment, &own)).cloned().collect(),
                def: Arc::clone(&def),
            });
            let row_count = rows.as_ref().map_or(0, RecordBatch::num_rows) as u32;
            let ended: u64 = ends.iter().map(|e| e.positions.len()).sum();
            let updated = written.spilled_updates + rows.as_ref().map_or(0, updates);
            // A row that this transaction wrote twice follows no version that ended.
            let updated = updated.min(ended);
            let rows = match rows {
                None => bytes::Bytes::new(),
                Some(rows) => chronos_storage::encode_rows(&rows)?,
            };
            let schema_version = def.schema_version;
            writes.push(TableWrite {
                table,
                schema_version,
                rows,
                row_count,
                updated,
                segments,
                ends,
            });
        }
        Ok((writes, checks))
    }

    fn key_checks(
        &self,
        def: &Arc<TableDef>,
        written: &TableWrites,
        rows: Option<&RecordBatch>,
    ) -> EngineResult<Vec<KeyCheck>> {
        let Some(checked_at) = written.keys_checked_at else { return Ok(Vec::new()) };
        let mut checks = Vec::new();
        for (constraint, name, columns) in def.unique_keys() {
            let mut batches = written.spilled_keys.get(&constraint).cloned().unwrap_or_default();
            if let Some(rows) = rows {
                batches.push(keys::project(def, columns, rows)?);
            }
            let mut hashes = HashSet::new();
            for batch in &batches {
                hashes.extend(hash_key(batch.columns())?.into_iter().flatten());
            }
            if !hashes.is_empty() {
                let writes = KeyWrites { constraint, name: name.to_owned(), checked_at, batches };
                checks.push(KeyCheck { writes, hashes });
            }
        }
        Ok(checks)
    }

    /// The names of a table and of its schema, for messages.
    fn names(&self, table: Oid) -> (String, String) {
        let at = self.objects_at();
        let Some(object) = self.objects.get(table, at) else {
            return (String::new(), table.to_string());
        };
        let schema = object.namespace.and_then(|oid| self.objects.get(oid, at));
        (schema.map_or_else(String::new, |s| s.name.clone()), object.name.clone())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.engine.discard(own_segments(&self.work).collect());
    }
}

/// How many of a table's rows, whose last column is `_ov`, follow an earlier version.
fn updates(rows: &RecordBatch) -> u64 {
    let versions = rows.columns().last().and_then(|c| c.as_primitive_opt::<Int64Type>());
    versions.map_or(0, |v| v.values().iter().filter(|v| **v > 0).count() as u64)
}

/// The segments that a transaction wrote ahead of its commit.
fn own_segments(work: &Work) -> impl Iterator<Item = Arc<SegmentMeta>> {
    work.overlay.tables().flat_map(|(_, table)| table.segments())
}

/// Whether a failed commit certainly did not reach the log.
fn refused(error: &Error) -> bool {
    matches!(
        error,
        Error::Conflict { .. }
            | Error::ReadConflict { .. }
            | Error::UniqueViolation { .. }
            | Error::ForeignKeyViolation { .. }
            | Error::ExclusionViolation { .. }
            | Error::NameTaken { .. }
            | Error::ShuttingDown
    )
}

fn apply_change(objects: &mut Objects, change: &ObjectChange) {
    match &change.object {
        Some(object) => objects.put(change.oid, object.clone(), CommitTs::MAX),
        None => objects.end(change.oid, CommitTs::MAX),
    }
}

fn table_def(objects: &Objects, oid: Oid, at: ReadTs) -> EngineResult<Arc<TableDef>> {
    match objects.get(oid, at).map(|o| &o.relation) {
        Some(Relation::Table(def)) => Ok(Arc::clone(def)),
        _ => Err(Error::NoSuchTable { table: oid, at }),
    }
}
