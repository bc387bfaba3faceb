//! Transactions against each other and across restarts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chronos_catalog::{
    Column, ColumnId, CommitMeta, CommitTs, Constraint, ConstraintKind, Object, Oid, Relation,
    RowRef, SegmentId, SqlType, SystemTime, TableDef,
};
use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};
use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use super::{Engine, Error, Transaction};
use crate::config::Config;

mod backups;
mod faults;
mod flips;
mod model;

/// A data directory of a test's own.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn new() -> Dir {
        Self::below(&std::env::temp_dir())
    }

    /// In memory where the system has such a directory: nothing waits for a disk, and what is not
    /// synchronized survives a crash of the process all the same.
    fn in_memory() -> Dir {
        let memory = std::path::Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(parent: &std::path::Path) -> Dir {
        let path = parent.join(format!("chronos-engine-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Dir(path)
    }

    fn config(&self) -> Config {
        Config {
            data_dir: self.0.clone(),
            // Tests flush by themselves.
            flush_interval: Duration::from_secs(3600),
            ..Config::default()
        }
    }

    async fn open(&self) -> Arc<Engine> {
        Engine::open(&self.config()).await.unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn column(id: u32, name: &str, ty: SqlType, not_null: bool) -> Column {
    Column {
        id: ColumnId(id),
        name: name.to_owned(),
        ty,
        not_null,
        default: None,
        generated: None,
        identity_always: None,
        missing: None,
    }
}

/// `CREATE TABLE t (id bigint PRIMARY KEY, v text)`.
fn table_object(key: Oid, name: &str) -> Object {
    let def = TableDef {
        schema_version: 1,
        columns: vec![column(1, "id", SqlType::Int8, true), column(2, "v", SqlType::Text, false)],
        constraints: vec![Constraint::new(
            key,
            format!("{name}_pkey"),
            ConstraintKind::PrimaryKey(vec![ColumnId(1)]),
        )],
        options: BTreeMap::new(),
        next_column: 3,
        periods: Vec::new(),
    };
    Object {
        name: name.to_owned(),
        namespace: Some(Oid::PUBLIC),
        owner: Oid::SUPERUSER,
        comments: BTreeMap::new(),
        acl: Vec::new(),
        column_acl: BTreeMap::new(),
        row_security: chronos_catalog::RowSecurity::default(),
        relation: Relation::Table(Arc::new(def)),
    }
}

fn create(transaction: &mut Transaction, name: &str) -> Oid {
    let (table, key) = (transaction.allocate_oid(), transaction.allocate_oid());
    transaction.change(table, Some(table_object(key, name))).unwrap();
    table
}

async fn table(engine: &Arc<Engine>) -> Oid {
    let mut transaction = engine.begin();
    let table = create(&mut transaction, "t");
    commit(transaction).await.unwrap();
    table
}

async fn commit(transaction: Transaction) -> Result<CommitTs, Error> {
    Ok(transaction.commit(CommitMeta::default()).await?.expect("something was written"))
}

fn rows(ids: impl IntoIterator<Item = i64>, text: &str) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let texts = StringViewArray::from(vec![text; ids.len()]);
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
        ("v", Arc::new(texts) as ArrayRef),
    ])
    .unwrap()
}

async fn insert(engine: &Arc<Engine>, table: Oid, ids: &[i64], text: &str) -> CommitTs {
    let mut transaction = engine.begin();
    transaction.insert(table, rows(ids.iter().copied(), text), None).await.unwrap();
    commit(transaction).await.unwrap()
}

/// Waits for what happens in the background.
async fn soon(done: impl AsyncFn() -> bool) {
    let since = std::time::Instant::now();
    while !done().await {
        assert!(since.elapsed() < Duration::from_secs(150), "it does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

static STATE: LazyLock<SessionState> = LazyLock::new(|| SessionContext::new().state());

/// A context of its own, made of one that has all functions: making those takes longer than most
/// queries of these tests.
fn context() -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2);
    let state = SessionStateBuilder::new_from_existing(STATE.clone())
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
        .with_config(config)
        .build();
    SessionContext::new_with_state(state)
}

/// Columns of a table, by their numbers.
async fn scan(
    table: &dyn TableProvider,
    columns: &[usize],
) -> datafusion::error::Result<Vec<RecordBatch>> {
    let plan = table.scan(&*STATE, Some(&columns.to_vec()), &[], None).await?;
    datafusion::physical_plan::collect(plan, STATE.task_ctx()).await
}

async fn query(
    transaction: &Transaction,
    table: Oid,
    time: Option<CommitTs>,
    sql: &str,
) -> Vec<RecordBatch> {
    let provider = match time {
        None => transaction.current_table(table),
        Some(t) => transaction.table(table, SystemTime::AsOf(t)),
    }
    .unwrap();
    let context = context();
    let provider = Arc::unwrap_or_clone(provider).with_internal_columns();
    context.register_table("t", Arc::new(provider)).unwrap();
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

/// `id` and `v` of every row, by `id`.
async fn read(transaction: &Transaction, table: Oid, time: Option<CommitTs>) -> Vec<(i64, String)> {
    let batches = query(transaction, table, time, "SELECT id, v FROM t ORDER BY id").await;
    let mut all = Vec::new();
    for batch in &batches {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let texts = batch.column(1).as_string_view();
        all.extend((0..batch.num_rows()).map(|i| (ids.value(i), texts.value(i).to_owned())));
    }
    all
}

async fn ids(transaction: &Transaction, table: Oid) -> Vec<i64> {
    read(transaction, table, None).await.into_iter().map(|(id, _)| id).collect()
}

async fn find(transaction: &Transaction, table: Oid, id: i64) -> RowRef {
    let sql = format!("SELECT _segment, _position FROM t WHERE id = {id}");
    let batches = query(transaction, table, None, &sql).await;
    let batch = batches.iter().find(|b| b.num_rows() == 1).expect("one row has this id");
    RowRef {
        segment: SegmentId(batch.column(0).as_primitive::<UInt64Type>().value(0)),
        position: batch.column(1).as_primitive::<UInt32Type>().value(0),
    }
}

async fn update(transaction: &mut Transaction, table: Oid, id: i64, text: &str) {
    let row = find(transaction, table, id).await;
    assert_eq!(transaction.end_rows(table, &[row]).unwrap(), 1);
    transaction.insert(table, rows([id], text), None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn own_writes_are_seen_before_the_commit_and_by_others_after() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let mut writer = engine.begin();
    writer.insert(t, rows([1, 2], "a"), None).await.unwrap();
    update(&mut writer, t, 2, "b").await;
    assert_eq!(read(&writer, t, None).await, [(1, "a".to_owned()), (2, "b".to_owned())]);
    let before = engine.begin();
    assert!(ids(&before, t).await.is_empty());
    let ts = commit(writer).await.unwrap();
    assert!(ids(&before, t).await.is_empty(), "a transaction keeps its instant");
    let after = engine.begin();
    assert_eq!(after.read_ts(), ts);
    assert_eq!(read(&after, t, None).await, [(1, "a".to_owned()), (2, "b".to_owned())]);
    drop((before, after));
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn second_committer_on_a_row_conflicts() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    insert(&engine, t, &[1], "a").await;
    let (mut alice, mut bob) = (engine.begin(), engine.begin());
    update(&mut alice, t, 1, "alice").await;
    update(&mut bob, t, 1, "bob").await;
    commit(alice).await.unwrap();
    let error = commit(bob).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    assert_eq!(read(&engine.begin(), t, None).await, [(1, "alice".to_owned())]);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_concurrent_updates_of_a_row_one_wins() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    insert(&engine, t, &[1], "a").await;
    let mut updates = Vec::new();
    for i in 0..16 {
        let mut transaction = engine.begin();
        update(&mut transaction, t, 1, &i.to_string()).await;
        updates.push(transaction);
    }
    let commits: Vec<_> = updates.into_iter().map(|t| tokio::spawn(commit(t))).collect();
    let mut won = 0;
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error:?}"),
        }
    }
    assert_eq!(won, 1);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_key_is_refused_at_the_insert_and_at_the_commit() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let mut racer = engine.begin();
    racer.insert(t, rows([5], "racer"), None).await.unwrap();
    insert(&engine, t, &[5], "first").await;
    let mut late = engine.begin();
    let sentence = |error: Error| match error {
        Error::UniqueViolation { constraint, detail, table, schema } => {
            assert_eq!((schema.as_str(), table.as_str()), ("public", "t"));
            assert_eq!(constraint, "t_pkey");
            detail
        }
        other => panic!("{other:?}"),
    };
    let error = late.insert(t, rows([4, 5], "late"), None).await.unwrap_err();
    assert_eq!(sentence(error), "Key (id)=(5) already exists.");
    let error = late.insert(t, rows([6, 6], "twice"), None).await.unwrap_err();
    assert_eq!(sentence(error), "Key (id)=(6) already exists.");
    let error = commit(racer).await.unwrap_err();
    assert_eq!(sentence(error), "Key (id)=(5) already exists.");
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn null_in_a_key_column_is_refused() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b"]));
    let batch = RecordBatch::try_from_iter([("id", ids), ("v", texts)]).unwrap();
    match engine.begin().insert(t, batch, None).await.unwrap_err() {
        Error::NotNullViolation { column, detail, .. } => {
            assert_eq!(
                (column.as_str(), detail.as_str()),
                ("id", "Failing row contains (null, b).")
            );
        }
        other => panic!("{other:?}"),
    }
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_to_a_savepoint_undoes_what_came_after() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    insert(&engine, t, &[1], "a").await;
    let mut transaction = engine.begin();
    transaction.insert(t, rows([2], "kept"), None).await.unwrap();
    let savepoint = transaction.savepoint();
    update(&mut transaction, t, 1, "undone").await;
    transaction.insert(t, rows([3], "undone"), None).await.unwrap();
    let other = create(&mut transaction, "other");
    assert!(transaction.current_table(other).is_ok());
    transaction.rollback_to(&savepoint);
    assert!(transaction.current_table(other).is_err());
    commit(transaction).await.unwrap();
    let expected = [(1, "a".to_owned()), (2, "kept".to_owned())];
    assert_eq!(read(&engine.begin(), t, None).await, expected);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_every_instant_with_and_without_a_flush() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let first = insert(&engine, t, &[1, 2], "a").await;
    engine.flush_all().await.unwrap();
    let mut transaction = engine.begin();
    update(&mut transaction, t, 1, "b").await;
    let second = commit(transaction).await.unwrap();
    engine.shutdown().await.unwrap();
    drop(engine);
    for _ in 0..2 {
        let engine = dir.open().await;
        let now = engine.begin();
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(read(&now, t, Some(first)).await, [(1, a.clone()), (2, a.clone())]);
        assert_eq!(read(&now, t, Some(second)).await, [(1, b), (2, a)]);
        assert!(engine.last_commit() >= second);
        drop(now);
        engine.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_transaction_goes_to_segments_and_checks_its_keys() {
    let dir = Dir::new();
    let config = Config { bulk_rows: 100, ..dir.config() };
    let engine = Engine::open(&config).await.unwrap();
    let t = table(&engine).await;
    let mut load = engine.begin();
    for start in (0..1000).step_by(50) {
        load.insert(t, rows(start..start + 50, "bulk"), None).await.unwrap();
    }
    let error = load.insert(t, rows([3], "again"), None).await.unwrap_err();
    assert!(matches!(error, Error::UniqueViolation { .. }), "{error:?}");
    assert_eq!(ids(&load, t).await, (0..1000).collect::<Vec<_>>());
    let before = engine.last_commit();
    let ts = commit(load).await.unwrap();
    assert_eq!(engine.state().read().manifests[&t].segments.len(), 10);
    let reader = engine.begin();
    assert_eq!(ids(&reader, t).await.len(), 1000);
    assert!(read(&reader, t, Some(before)).await.is_empty());
    assert_eq!(read(&reader, t, Some(ts)).await.len(), 1000);
    let error = engine.begin().insert(t, rows([999], "again"), None).await.unwrap_err();
    assert!(matches!(error, Error::UniqueViolation { .. }), "{error:?}");
    drop(reader);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn row_replaced_within_a_large_transaction_never_was() {
    let dir = Dir::new();
    let config = Config { bulk_rows: 10, ..dir.config() };
    let engine = Engine::open(&config).await.unwrap();
    let t = table(&engine).await;
    let mut load = engine.begin();
    load.insert(t, rows(0..10, "first"), None).await.unwrap();
    update(&mut load, t, 3, "second").await;
    commit(load).await.unwrap();
    let reader = engine.begin();
    assert_eq!(read(&reader, t, None).await[3], (3, "second".to_owned()));
    let provider = reader.table(t, SystemTime::All).unwrap();
    let context = SessionContext::new();
    context.register_table("t", provider).unwrap();
    let all = context.sql("SELECT id FROM t").await.unwrap().collect().await.unwrap();
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    drop(reader);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_of_a_rolled_back_transaction_leave_the_store() {
    let dir = Dir::new();
    let config = Config { bulk_rows: 10, ..dir.config() };
    let engine = Engine::open(&config).await.unwrap();
    let t = table(&engine).await;
    let mut load = engine.begin();
    load.insert(t, rows(0..20, "bulk"), None).await.unwrap();
    let files = || files_below(&dir.0.join("store"));
    assert!(files() > 0);
    load.rollback();
    engine.shutdown().await.unwrap();
    assert_eq!(files(), 1, "the log of commits");
}

fn files_below(path: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { files_below(&entry.path()) } else { 1 }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_commits_at_or_before_a_closed_instant() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let mut commits = Vec::new();
    for i in 0..8 {
        let engine = Arc::clone(&engine);
        commits.push(tokio::spawn(async move { insert(&engine, t, &[i], "a").await }));
    }
    let now = CommitTs(engine.now_micros());
    engine.close_instant(now).await.unwrap();
    let seen: Vec<i64> =
        read(&engine.begin(), t, Some(now)).await.into_iter().map(|(id, _)| id).collect();
    let mut expected = Vec::new();
    for (i, commit) in (0..8).zip(commits) {
        if commit.await.unwrap() <= now {
            expected.push(i);
        }
    }
    assert_eq!(seen, expected);
    let future = CommitTs(engine.now_micros() + 60_000_000);
    let error = engine.close_instant(future).await.unwrap_err();
    assert!(matches!(error, Error::InstantInFuture { .. }), "{error:?}");
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_tables_of_a_name_is_refused() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let (mut a, mut b) = (engine.begin(), engine.begin());
    create(&mut a, "same");
    create(&mut b, "same");
    commit(a).await.unwrap();
    let error = commit(b).await.unwrap_err();
    assert!(matches!(error, Error::NameTaken { kind: "relation", .. }), "{error:?}");
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_a_table_that_changed_meanwhile_conflict() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let mut writer = engine.begin();
    writer.insert(t, rows([1], "a"), None).await.unwrap();
    let mut dropper = engine.begin();
    dropper.change(t, None).unwrap();
    commit(dropper).await.unwrap();
    let error = commit(writer).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_gives_no_value_twice_across_restarts_and_stops_at_its_end() {
    let sequence = Relation::Sequence {
        start: 5,
        increment: 2,
        min: 1,
        max: 100,
        cycle: false,
        ty: SqlType::Int8,
        owned_by: None,
    };
    let dir = Dir::new();
    let engine = dir.open().await;
    let oid = engine.begin().allocate_oid();
    assert_eq!(engine.last_value(oid), None);
    assert_eq!(engine.next_value(oid, &sequence).await.unwrap(), 5);
    assert_eq!(engine.next_value(oid, &sequence).await.unwrap(), 7);
    assert_eq!(engine.last_value(oid), Some(7));
    engine.shutdown().await.unwrap();
    drop(engine);
    let engine = dir.open().await;
    let next = engine.next_value(oid, &sequence).await.unwrap();
    assert!(next > 7, "{next}");
    engine.set_value(oid, &sequence, 97, false).await.unwrap();
    assert_eq!(engine.next_value(oid, &sequence).await.unwrap(), 97);
    assert_eq!(engine.next_value(oid, &sequence).await.unwrap(), 99);
    let error = engine.next_value(oid, &sequence).await.unwrap_err();
    assert!(matches!(error, Error::SequenceExhausted { limit: 100, maximum: true }), "{error:?}");
    let error = engine.set_value(oid, &sequence, 101, true).await.unwrap_err();
    assert!(matches!(error, Error::SequenceBounds { .. }), "{error:?}");
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_engine_refuses_commits() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let mut transaction = engine.begin();
    transaction.insert(t, rows([1], "a"), None).await.unwrap();
    engine.shutdown().await.unwrap();
    assert!(matches!(commit(transaction).await.unwrap_err(), Error::ShuttingDown));
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_go_on_through_a_compaction() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let first = insert(&engine, t, &[5, 3, 1], "a").await;
    engine.flush(t).await.unwrap();
    insert(&engine, t, &[4, 2], "a").await;
    engine.flush(t).await.unwrap();
    let (mut winner, mut loser) = (engine.begin(), engine.begin());
    update(&mut winner, t, 3, "winner").await;
    update(&mut loser, t, 1, "loser").await;
    let mut other = engine.begin();
    update(&mut other, t, 1, "other").await;
    commit(other).await.unwrap();
    engine.compact(t).await.unwrap();
    assert_eq!(engine.compactions().len(), 1);
    let seen = read(&winner, t, None).await;
    assert_eq!(seen[2], (3, "winner".to_owned()));
    assert_eq!(seen.len(), 5, "the old version is hidden in its new place");
    update(&mut winner, t, 5, "winner").await;
    commit(winner).await.unwrap();
    let error = commit(loser).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
    let expected = |text: &[&str]| -> Vec<(i64, String)> {
        (1..).zip(text).map(|(id, text)| (id, (*text).to_owned())).collect()
    };
    let now = expected(&["other", "a", "winner", "a", "winner"]);
    let engine = {
        assert_eq!(read(&engine.begin(), t, None).await, now);
        engine.compact(t).await.unwrap();
        assert_eq!(read(&engine.begin(), t, None).await, now);
        // As a crash: nothing is flushed.
        engine.raft.shutdown().await.unwrap();
        drop(engine);
        dir.open().await
    };
    let reader = engine.begin();
    assert_eq!(read(&reader, t, None).await, now);
    let past: Vec<i64> = read(&reader, t, Some(first)).await.iter().map(|r| r.0).collect();
    assert_eq!(past, [1, 3, 5]);
    drop(reader);
    engine.shutdown().await.unwrap();
}

/// Whether a file below a directory holds the bytes.
fn holds(dir: &std::path::Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        std::fs::read(&path).unwrap().windows(bytes.len()).any(|w| w == bytes)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_rows_are_in_no_instant_and_no_file() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let secret = "Zephyrine Quackenbush";
    let first = insert(&engine, t, &[1, 2], secret).await;
    engine.flush(t).await.unwrap();
    let mut transaction = engine.begin();
    update(&mut transaction, t, 1, secret).await;
    update(&mut transaction, t, 2, "kept").await;
    commit(transaction).await.unwrap();
    assert!(holds(&dir.0, secret.as_bytes()));
    let erasure = engine.begin_erasure(t).await.unwrap();
    let mut places = Vec::new();
    let reader = engine.begin();
    let provider = reader.table(t, SystemTime::All).unwrap();
    let context = context();
    let provider = Arc::unwrap_or_clone(provider).with_internal_columns();
    context.register_table("t", Arc::new(provider)).unwrap();
    let sql = format!("SELECT _segment, _position FROM t WHERE v = '{secret}'");
    for batch in context.sql(&sql).await.unwrap().collect().await.unwrap() {
        let segments = batch.column(0).as_primitive::<UInt64Type>();
        let positions = batch.column(1).as_primitive::<UInt32Type>();
        places.extend((0..batch.num_rows()).map(|i| RowRef {
            segment: SegmentId(segments.value(i)),
            position: positions.value(i),
        }));
    }
    drop(context);
    assert_eq!(erasure.erase(&places).await.unwrap(), 3);
    erasure.finish("chronos", 3).await.unwrap();
    assert_eq!(read(&engine.begin(), t, None).await, [(2, "kept".to_owned())]);
    assert!(read(&engine.begin(), t, Some(first)).await.is_empty());
    assert!(!holds(&dir.0, secret.as_bytes()));
    insert(&engine, t, &[1], "new").await;
    drop(reader);
    engine.shutdown().await.unwrap();
    let engine = dir.open().await;
    let receipts = engine.state().read().erasures.clone();
    assert_eq!(receipts.iter().map(|r| r.rows).collect::<Vec<_>>(), [3]);
    assert_eq!(ids(&engine.begin(), t).await, [1, 2]);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn history_below_the_horizon_is_refused_and_removed() {
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    let old = "Zephyrine Quackenbush";
    let first = insert(&engine, t, &[1], old).await;
    let before = engine.begin();
    let mut transaction = engine.begin();
    update(&mut transaction, t, 1, "new").await;
    let second = commit(transaction).await.unwrap();
    engine.flush(t).await.unwrap();
    engine.move_horizon(t, CommitTs(i64::MAX)).await.unwrap();
    assert_eq!(read(&engine.begin(), t, Some(second)).await, [(1, "new".to_owned())]);
    for (transaction, time) in [(&engine.begin(), Some(first)), (&before, None)] {
        let provider = match time {
            None => transaction.current_table(t),
            Some(at) => transaction.table(t, SystemTime::AsOf(at)),
        };
        let context = SessionContext::new();
        context.register_table("t", provider.unwrap()).unwrap();
        let read = context.sql("SELECT * FROM t").await.unwrap().collect().await;
        let error = crate::error::PgError::from(read.unwrap_err());
        assert_eq!(error.code, "72000");
        assert!(error.hint.is_some_and(|h| h.contains("earliest")));
    }
    engine.compact(t).await.unwrap();
    assert!(!holds(&dir.0.join("store"), old.as_bytes()));
    assert_eq!(read(&engine.begin(), t, None).await, [(1, "new".to_owned())]);
    drop(before);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_every_damaged_object_and_a_start_removes_orphans() {
    use chronos_catalog::raft::Severity;
    let dir = Dir::new();
    let engine = dir.open().await;
    let t = table(&engine).await;
    for i in 0..3 {
        insert(&engine, t, &[2 * i, 2 * i + 1], "a").await;
        let mut transaction = engine.begin();
        update(&mut transaction, t, 2 * i, "b").await;
        commit(transaction).await.unwrap();
        engine.flush(t).await.unwrap();
    }
    engine.compact(t).await.unwrap();
    let mut transaction = engine.begin();
    update(&mut transaction, t, 1, "c").await;
    commit(transaction).await.unwrap();
    engine.flush(t).await.unwrap();
    let named: Vec<String> = {
        let state = engine.state().read();
        let manifest = &state.manifests[&t];
        let segments = manifest.segments.values();
        let files = segments.flat_map(|m| m.key_files.values().chain([&m.file]));
        files.chain(manifest.row_ends.iter().map(|m| &m.file)).map(|f| f.path.clone()).collect()
    };
    engine.shutdown().await.unwrap();
    let check = async || {
        let config = dir.config();
        let check = move || crate::offline::check(&config).unwrap();
        let findings = tokio::task::spawn_blocking(check).await.unwrap();
        let damaged = findings.into_iter().filter(|f| f.severity == Severity::Damaged);
        damaged.map(|f| f.message).collect::<Vec<_>>()
    };
    assert_eq!(check().await, Vec::<String>::new());
    assert!(named.len() >= 6, "{named:?}");
    let store = dir.0.join("store");
    for path in &named {
        let file = store.join(path);
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 4;
        std::fs::write(&file, &bad).unwrap();
        let found = check().await;
        assert!(found.len() == 1 && found[0].contains(path), "{path}: {found:?}");
        std::fs::write(&file, &good).unwrap();
    }
    let orphan = store.join(format!("tables/{t}/s-77.parquet"));
    std::fs::write(&orphan, "left by a crash").unwrap();
    let engine = dir.open().await;
    soon(async || !orphan.exists()).await;
    assert_eq!(ids(&engine.begin(), t).await, [0, 1, 2, 3, 4, 5]);
    engine.shutdown().await.unwrap();
}
