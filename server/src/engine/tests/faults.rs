//! A store that refuses, delays, forgets to answer, and cuts what it gives.
//!
//! `CHRONOS_OUTAGE_SECONDS` says how long the outage under load lasts; of random faults
//! `CHRONOS_SEEDS` says how many random runs are made, `CHRONOS_SEED` the first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chronos_catalog::clock::SystemClock;
use chronos_storage::{Retry, StoreOptions};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// What goes wrong, each as a share of the calls.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    refuse: f64,
    /// Applied, and then an error.
    forget: f64,
    /// Answered after longer than is waited for.
    stall: f64,
    cut: f64,
}

const DOWN: Faults = Faults { refuse: 1.0, forget: 0.0, stall: 0.0, cut: 0.0 };

#[derive(Debug)]
struct FaultyStore {
    inner: InMemory,
    faults: Mutex<Faults>,
    random: Mutex<StdRng>,
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty store")
    }
}

fn failure() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "503 Slow Down".into() }
}

impl FaultyStore {
    fn new(seed: u64) -> Arc<FaultyStore> {
        Arc::new(FaultyStore {
            inner: InMemory::new(),
            faults: Mutex::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }

    fn set(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    fn happens(&self, share: impl Fn(&Faults) -> f64) -> bool {
        let share = share(&self.faults.lock());
        self.random.lock().random_bool(share)
    }

    /// Before a call is carried out.
    async fn before(&self) -> StoreResult<()> {
        if self.happens(|f| f.refuse) {
            return Err(failure());
        }
        if self.happens(|f| f.stall) {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        self.before().await?;
        let done = self.inner.put_opts(location, payload, options).await?;
        if self.happens(|f| f.forget) { Err(failure()) } else { Ok(done) }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.before().await?;
        let mut result = self.inner.get_opts(location, options).await?;
        if self.happens(|f| f.cut) {
            result.payload = match result.payload {
                GetResultPayload::Stream(stream) => {
                    let half = stream.map_ok(|bytes| bytes.slice(..bytes.len() / 2));
                    GetResultPayload::Stream(half.boxed())
                }
                other => other,
            };
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        if self.happens(|f| f.refuse) {
            return futures::stream::iter([Err(failure())]).boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        if self.happens(|f| f.refuse) {
            return futures::stream::iter([Err(failure())]).boxed();
        }
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

async fn open(config: &Config, store: &Arc<FaultyStore>, cache_bytes: usize) -> Arc<Engine> {
    let disk_cache_dir = (cache_bytes > 0).then(|| config.data_dir.join("cache"));
    let retry = Retry {
        pause: Duration::from_millis(1),
        timeout: Duration::from_millis(50),
        ..Retry::default()
    };
    let store = Arc::clone(store) as Arc<dyn ObjectStore>;
    let options = StoreOptions {
        store: Some(store),
        retry,
        cache_bytes,
        disk_cache_dir,
        ..StoreOptions::new("test:")
    };
    Engine::open_on(config, Arc::new(SystemClock), options).await.unwrap()
}

/// Named, so that nothing is taken for this directory's own.
fn config(dir: &Dir) -> Config {
    Config { store: Some("test:".to_owned()), compaction_interval: Duration::ZERO, ..dir.config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn store_that_is_down_stops_flushes_and_not_commits() {
    let (dir, store) = (Dir::new(), FaultyStore::new(1));
    let config = config(&dir);
    let engine = open(&config, &store, 1 << 20).await;
    let t = table(&engine).await;
    insert(&engine, t, &[1], "cold").await;
    engine.flush(t).await.unwrap();
    store.set(DOWN);
    let first = insert(&engine, t, &[2], "hot").await;
    for id in 3..10 {
        insert(&engine, t, &[id], "hot").await;
    }
    let error = engine.flush(t).await.unwrap_err();
    assert!(matches!(error, Error::Storage(_)), "{error:?}");
    let failed = engine.maintenance_stats().failed_uploads();
    assert_eq!(failed[&t].attempts, 1);
    assert!(failed[&t].last_error.contains("503"), "{failed:?}");
    // A start needs no store either: the log has what is hot, and the disk copies of the rest.
    assert!(engine.shutdown().await.is_err());
    let engine = open(&config, &store, 1 << 20).await;
    insert(&engine, t, &[10], "hot").await;
    assert_eq!(ids(&engine.begin(), t).await, (1..11).collect::<Vec<_>>());
    let _ = engine.shutdown().await;
    // A damaged copy is none.
    let mut copies = Vec::new();
    flips::files(&dir.0.join("cache"), &mut copies);
    assert!(copies.len() >= 2, "{copies:?}");
    for copy in copies {
        let mut bytes = std::fs::read(&copy).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&copy, bytes).unwrap();
    }
    store.set(Faults::default());
    let engine = open(&config, &store, 1 << 20).await;
    engine.flush(t).await.unwrap();
    assert!(engine.maintenance_stats().failed_uploads().is_empty());
    assert_eq!(ids(&engine.begin(), t).await, (1..11).collect::<Vec<_>>());
    assert_eq!(read(&engine.begin(), t, Some(first)).await.len(), 2);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn store_of_another_database_is_refused_and_its_objects_stay() {
    let (dir, other, store) = (Dir::new(), Dir::new(), FaultyStore::new(1));
    let engine = open(&config(&dir), &store, 1 << 20).await;
    let t = table(&engine).await;
    insert(&engine, t, &[1, 2], "a").await;
    engine.flush(t).await.unwrap();
    let options = || StoreOptions {
        store: Some(Arc::clone(&store) as Arc<dyn ObjectStore>),
        ..StoreOptions::new("test:")
    };
    let refused = Engine::open_on(&config(&other), Arc::new(SystemClock), options()).await;
    let error = crate::error::PgError::from(refused.expect_err("the store is taken"));
    assert_eq!(error.code, "55006");
    engine.shutdown().await.unwrap();
    // Its own orphans leave at a start, wherever the store is.
    let orphan = Path::from(format!("tables/{t}/s-77.parquet"));
    let bytes = PutPayload::from_static(b"left by a crash");
    store.put_opts(&orphan, bytes, PutOptions::default()).await.unwrap();
    let engine = open(&config(&dir), &store, 1 << 20).await;
    soon(async || store.get_opts(&orphan, GetOptions::default()).await.is_err()).await;
    assert_eq!(ids(&engine.begin(), t).await, [1, 2]);
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_are_refused_when_memory_is_full_and_the_store_is_down() {
    let (dir, store) = (Dir::new(), FaultyStore::new(1));
    let config = Config { flush_bytes: 20_000, hot_bytes_max: 100_000, ..config(&dir) };
    let engine = open(&config, &store, 1 << 20).await;
    let t = table(&engine).await;
    store.set(DOWN);
    let text = "x".repeat(5000);
    let mut id = 0;
    let error = loop {
        id += 1;
        let mut transaction = engine.begin();
        transaction.insert(t, rows([id], &text), None).await.unwrap();
        match commit(transaction).await {
            Ok(_) => assert!(id < 100, "memory is not bounded"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::MemoryFull { .. }), "{error:?}");
    assert_eq!(crate::error::PgError::from(error).code, "53200");
    assert_eq!(ids(&engine.begin(), t).await.len() as i64, id - 1);
    store.set(Faults::default());
    // It goes on by itself.
    let before = std::time::Instant::now();
    let mut transaction = engine.begin();
    transaction.insert(t, rows([id], &text), None).await.unwrap();
    let again = async { commit(transaction).await };
    if again.await.is_err() {
        tokio::time::sleep(Duration::from_secs(3)).await;
        insert(&engine, t, &[id], &text).await;
    }
    assert!(before.elapsed() < Duration::from_secs(60));
    assert_eq!(ids(&engine.begin(), t).await.len() as i64, id);
    engine.shutdown().await.unwrap();
}

/// Writes under random faults; whatever a read says is right.
async fn run(seed: u64) {
    let (dir, store) = (Dir::new(), FaultyStore::new(seed));
    let config = config(&dir);
    let mut random = StdRng::seed_from_u64(seed);
    // So little is cached that reads go to the store.
    let mut engine = open(&config, &store, 0).await;
    let t = table(&engine).await;
    let mut right: BTreeMap<i64, String> = BTreeMap::new();
    let mut past: Vec<(CommitTs, BTreeMap<i64, String>)> = Vec::new();
    let mut failures = 0;
    for step in 0..60_i64 {
        store.set(Faults {
            refuse: random.random_range(0.0..0.5),
            forget: random.random_range(0.0..0.5),
            stall: random.random_range(0.0..0.05),
            cut: random.random_range(0.0..0.3),
        });
        let ids: Vec<i64> = (step * 10..step * 10 + random.random_range(1..10)).collect();
        let text = format!("step {step}");
        let mut transaction = engine.begin();
        // Whether the keys are free may stand in the store.
        let written = match transaction.insert(t, rows(ids.iter().copied(), &text), None).await {
            Ok(()) => commit(transaction).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(commit) => {
                right.extend(ids.iter().map(|id| (*id, text.clone())));
                past.push((commit, right.clone()));
            }
            Err(error) => {
                assert!(matches!(error, Error::Storage(_)), "seed {seed}: {error:?}");
                failures += 1;
            }
        }
        let kept = match random.random_range(0..6) {
            0..3 => engine.flush(t).await,
            3 => engine.compact(t).await,
            4 if step % 5 == 0 => {
                let _ = engine.shutdown().await;
                drop(engine);
                engine = open(&config, &store, 0).await;
                Ok(())
            }
            _ => Ok(()),
        };
        failures += usize::from(kept.is_err());
        let Some((at, expected)) = past.get(random.random_range(0..past.len().max(1))) else {
            continue;
        };
        let provider = engine.begin().table(t, SystemTime::AsOf(*at)).unwrap();
        let context = SessionContext::new();
        context.register_table("t", provider).unwrap();
        let frame = context.sql("SELECT id, v FROM t").await.unwrap();
        match frame.collect().await {
            Err(_) => failures += 1,
            Ok(batches) => {
                let mut found = BTreeMap::new();
                for batch in &batches {
                    let ids = batch.column(0).as_primitive::<Int64Type>();
                    let texts = batch.column(1).as_string_view();
                    let both = (0..batch.num_rows()).map(|i| (ids.value(i), texts.value(i).into()));
                    found.extend(both);
                }
                assert_eq!(&found, expected, "seed {seed}, step {step}");
            }
        }
    }
    store.set(Faults::default());
    engine.flush(t).await.unwrap();
    for (at, expected) in &past {
        let found: BTreeMap<i64, String> =
            read(&engine.begin(), t, Some(*at)).await.into_iter().collect();
        assert_eq!(&found, expected, "seed {seed}, {at}");
    }
    let damaged: Vec<_> = engine
        .check()
        .await
        .into_iter()
        .filter(|f| f.severity == chronos_catalog::raft::Severity::Damaged)
        .collect();
    assert!(damaged.is_empty(), "seed {seed}: {damaged:?}");
    assert!(failures > 0, "seed {seed} tried nothing");
    engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_lose_nothing_and_change_no_answer() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("CHRONOS_SEED").unwrap_or(1);
    for seed in first..first + number("CHRONOS_SEEDS").unwrap_or(3) {
        run(seed).await;
    }
}

/// One writer's commits, each with its first row, until it is told to stop.
async fn write_on(
    engine: Arc<Engine>,
    table: Oid,
    first: i64,
    commits: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Vec<(CommitTs, i64)> {
    let mut done = Vec::new();
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        let mut transaction = engine.begin();
        let text = "x".repeat(100);
        transaction.insert(table, rows(next..next + ROWS, &text), None).await.unwrap();
        done.push((commit(transaction).await.unwrap(), next));
        next += ROWS;
        commits.fetch_add(1, Ordering::Relaxed);
    }
    done
}

/// Rows of one commit of [`write_on`].
const ROWS: i64 = 10;

/// `CHRONOS_OUTAGE_SECONDS` says how long the store is out of order.
#[tokio::test(flavor = "multi_thread")]
async fn outage_under_load_stops_no_commit_and_loses_nothing() {
    let seconds = std::env::var("CHRONOS_OUTAGE_SECONDS").ok().and_then(|n| n.parse().ok());
    let outage = Duration::from_secs(seconds.unwrap_or(4));
    let (dir, store) = (Dir::new(), FaultyStore::new(1));
    let config = Config {
        flush_interval: Duration::from_millis(200),
        flush_bytes: 4 << 20,
        hot_bytes_max: 512 << 20,
        compaction_interval: Duration::from_millis(200),
        ..config(&dir)
    };
    let engine = open(&config, &store, 64 << 20).await;
    let t = table(&engine).await;
    let (commits, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let (engine, first) = (Arc::clone(&engine), n * 1_000_000_000);
            tokio::spawn(write_on(engine, t, first, Arc::clone(&commits), Arc::clone(&stop)))
        })
        .collect();
    let phases = [
        ("down", DOWN),
        ("silent", Faults { stall: 1.0, ..Faults::default() }),
        ("forgetful", Faults { forget: 0.7, cut: 0.3, ..Faults::default() }),
        ("failing", Faults { refuse: 0.6, stall: 0.1, forget: 0.2, cut: 0.2 }),
    ];
    let (mut most_hot, mut uploads_failed) = (0, 0);
    for (name, faults) in phases {
        store.set(faults);
        let (since, before) = (std::time::Instant::now(), commits.load(Ordering::Relaxed));
        while since.elapsed() < outage / 4 || commits.load(Ordering::Relaxed) < before + 20 {
            assert!(since.elapsed() < outage / 4 + Duration::from_secs(60), "{name}: no commits");
            tokio::time::sleep(Duration::from_millis(20)).await;
            most_hot = most_hot.max(engine.measure_hot_bytes());
            uploads_failed += usize::from(!engine.maintenance_stats().failed_uploads().is_empty());
        }
        let made = commits.load(Ordering::Relaxed) - before;
        eprintln!("{name}: {made} commits in {:?}, {most_hot} bytes in memory", since.elapsed());
    }
    assert!(uploads_failed > 0, "the outage does not show");
    assert!(most_hot <= config.hot_bytes_max, "{most_hot} bytes in memory");
    store.set(Faults::default());
    soon(async || engine.maintenance_stats().failed_uploads().is_empty()).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for writer in writers {
        done.extend(writer.await.unwrap());
    }
    done.sort_unstable();
    engine.flush(t).await.unwrap();
    assert!(engine.store.hot_usage().iter().all(|usage| usage.table != t));
    let all = |done: &[(CommitTs, i64)]| {
        let mut ids: Vec<i64> = done.iter().flat_map(|(_, first)| *first..first + ROWS).collect();
        ids.sort_unstable();
        ids
    };
    let reads_right = async |engine: &Arc<Engine>| {
        for upto in [1, done.len() / 3, done.len() / 2, done.len()] {
            let found = read(&engine.begin(), t, Some(done[upto - 1].0)).await;
            let found: Vec<i64> = found.into_iter().map(|(id, _)| id).collect();
            assert_eq!(found, all(&done[..upto]), "{upto} of {} commits", done.len());
        }
    };
    reads_right(&engine).await;
    engine.shutdown().await.unwrap();
    drop(engine);
    let engine = open(&config, &store, 64 << 20).await;
    reads_right(&engine).await;
    engine.shutdown().await.unwrap();
}
