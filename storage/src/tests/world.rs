//! A state and a store that follow one another, without a log.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use chronos_catalog::raft::Applier;
use chronos_catalog::{
    Column, ColumnId, Command, Commit, CommitMeta, CommitTs, Constraint, ConstraintKind,
    Maintenance, Object, ObjectChange, Oid, Outcome, Relation, RowEnds, RowRef, SegmentMeta,
    SqlType, State, SystemTime, TableDef, TableWrite,
};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use parking_lot::RwLock;

use crate::{Overlay, Store, StoreOptions, VersionedTable, encode_rows, rows_schema};

pub(super) const TABLE: Oid = Oid(20000);
pub(super) const KEY: Oid = Oid(20001);

pub(super) struct World {
    pub(super) options: StoreOptions,
    pub(super) state: Arc<RwLock<State>>,
    pub(super) store: Arc<Store>,
    pub(super) def: Arc<TableDef>,
    pub(super) now: i64,
}

pub(super) fn column(id: u32, name: &str, ty: SqlType) -> Column {
    Column {
        id: ColumnId(id),
        name: name.to_owned(),
        ty,
        not_null: false,
        default: None,
        generated: None,
        identity_always: None,
        missing: None,
    }
}

pub(super) fn table_def(version: u32, columns: Vec<Column>) -> TableDef {
    let next_column = columns.iter().map(|c| c.id.0).max().unwrap_or_default() + 1;
    TableDef {
        schema_version: version,
        columns,
        constraints: vec![Constraint::new(
            KEY,
            "t_pkey",
            ConstraintKind::PrimaryKey(vec![ColumnId(1)]),
        )],
        options: BTreeMap::new(),
        next_column,
        periods: Vec::new(),
    }
}

/// Small batches, so that tests cross their bounds.
static STATE: LazyLock<SessionState> = LazyLock::new(|| {
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(100);
    SessionContext::new_with_config(config).state()
});

/// A context of its own, made of one that has all functions: making those takes longer than most
/// queries of these tests.
fn context() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(3).with_batch_size(100);
    let state = SessionStateBuilder::new_from_existing(STATE.clone())
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
        .with_config(config)
        .build();
    SessionContext::new_with_state(state)
}

/// A directory in memory where the system has one, so that nothing waits for a disk.
pub(super) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl World {
    pub(super) async fn new(url: &str, def: TableDef) -> World {
        let mut options = StoreOptions::new(url);
        // Small, so that tests cross their bounds.
        options.segment_rows = 300;
        options.row_group_rows = 128;
        options.block_bytes = 512;
        let store = Store::open(options.clone()).await.unwrap();
        let state = Arc::new(RwLock::new(State::default()));
        let def = Arc::new(def);
        let mut world = World { options, state, store, def: Arc::clone(&def), now: 1000 };
        world.alter(def);
        world
    }

    pub(super) fn alter(&mut self, def: Arc<TableDef>) {
        self.def = Arc::clone(&def);
        let object = Object {
            name: "t".to_owned(),
            namespace: Some(Oid::PUBLIC),
            owner: Oid::SUPERUSER,
            comments: BTreeMap::new(),
            acl: Vec::new(),
            column_acl: BTreeMap::new(),
            row_security: chronos_catalog::RowSecurity::default(),
            relation: Relation::Table(def),
        };
        let changes = vec![ObjectChange { oid: TABLE, object: Some(object) }];
        self.now += 10;
        self.apply(Command::Commit(Commit {
            ts: CommitTs(self.now),
            meta: CommitMeta::default(),
            changes,
            writes: Vec::new(),
        }));
    }

    pub(super) fn apply(&self, command: Command) -> Outcome {
        let mut state = self.state.write();
        let outcome = state.apply(&command).unwrap();
        self.store.apply(&state, &command, &outcome).unwrap();
        outcome
    }

    /// Commits rows (the table's columns) with their `_ov`, and row ends.
    pub(super) fn commit(
        &mut self,
        columns: Vec<ArrayRef>,
        ov: Vec<i64>,
        segments: Vec<SegmentMeta>,
        ended: &[RowRef],
    ) -> (CommitTs, Outcome) {
        self.now += 10;
        let ts = CommitTs(self.now);
        let row_count = ov.len() as u32;
        let rows = encode_rows(&self.rows(columns, ov)).unwrap();
        let mut ends: BTreeMap<_, RowEnds> = BTreeMap::new();
        for row in ended {
            let entry = ends
                .entry(row.segment)
                .or_insert_with(|| RowEnds { segment: row.segment, positions: Default::default() });
            assert!(entry.positions.insert(row.position));
        }
        let write = TableWrite {
            table: TABLE,
            schema_version: self.def.schema_version,
            rows,
            row_count,
            updated: 0,
            segments,
            ends: ends.into_values().collect(),
        };
        let outcome = self.apply(Command::Commit(Commit {
            ts,
            meta: CommitMeta::default(),
            changes: Vec::new(),
            writes: vec![write],
        }));
        (ts, outcome)
    }

    pub(super) fn rows(&self, mut columns: Vec<ArrayRef>, ov: Vec<i64>) -> RecordBatch {
        columns.push(Arc::new(Int64Array::from(ov)));
        RecordBatch::try_new(rows_schema(&self.def), columns).unwrap()
    }

    pub(super) async fn flush(&self, seal: bool) {
        if seal {
            self.seal();
        }
        if let Some(flush) = self.prepare_flush().await {
            self.maintain(flush);
        }
    }

    pub(super) fn seal(&self) {
        self.maintain(Maintenance::Seal { table: TABLE });
    }

    pub(super) async fn prepare_flush(&self) -> Option<Maintenance> {
        self.store.prepare_flush(&self.state, TABLE).await.unwrap()
    }

    pub(super) fn maintain(&self, maintenance: Maintenance) {
        self.apply(Command::Maintain(maintenance));
    }

    /// As after a restart from a snapshot.
    pub(super) async fn restart(&mut self) {
        let exported = self.store.export(&self.state.read()).unwrap();
        self.store = Store::open(self.options.clone()).await.unwrap();
        self.store.restore(&self.state.read(), exported).unwrap();
    }

    pub(super) fn table(
        &self,
        time: SystemTime,
        read_ts: CommitTs,
        own: &Overlay,
    ) -> VersionedTable {
        let (def, own) = (Arc::clone(&self.def), own.clone());
        VersionedTable::new(TABLE, self.store.table(TABLE), def, time, read_ts, own)
            .with_internal_columns()
    }

    pub(super) async fn try_query(
        &self,
        time: SystemTime,
        read_ts: CommitTs,
        own: &Overlay,
        sql: &str,
    ) -> datafusion::error::Result<Vec<RecordBatch>> {
        let context = context();
        context.register_table("t", Arc::new(self.table(time, read_ts, own)))?;
        context.sql(sql).await?.collect().await
    }

    /// All columns without a planner, which takes longer than most of these reads.
    pub(super) async fn scan(
        &self,
        time: SystemTime,
        read_ts: CommitTs,
        own: &Overlay,
    ) -> datafusion::error::Result<Vec<RecordBatch>> {
        let plan = self.table(time, read_ts, own).scan(&*STATE, None, &[], None).await?;
        datafusion::physical_plan::collect(plan, STATE.task_ctx()).await
    }

    pub(super) async fn query(
        &self,
        time: SystemTime,
        read_ts: CommitTs,
        own: &Overlay,
        sql: &str,
    ) -> Vec<RecordBatch> {
        self.try_query(time, read_ts, own, sql).await.unwrap()
    }
}
