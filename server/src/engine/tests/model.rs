//! Random histories of a whole engine against a plain list of versions: transactions of several
//! changes, flushes, compactions, vacuums, snapshots, restarts and crashes.
//!
//! `CHRONOS_SEEDS` says how many runs are made, `CHRONOS_SEED` which is the first.

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::TimestampMicrosecondType;
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// How many runs are made by default.
const SEEDS: u64 = 100;
const STEPS: usize = 40;

/// One row version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    id: i64,
    text: String,
    from: i64,
    to: Option<i64>,
}

/// A change of one transaction, by key.
type Changes = BTreeMap<i64, Option<String>>;

struct Run {
    seed: u64,
    random: StdRng,
    dir: Dir,
    engine: Arc<Engine>,
    table: Oid,
    key: Oid,
    versions: Vec<Version>,
    commits: Vec<i64>,
    horizon: i64,
}

impl Run {
    fn config(dir: &Dir) -> Config {
        // Small, so that transactions spill.
        Config { bulk_rows: 25, compaction_interval: Duration::ZERO, ..dir.config() }
    }

    async fn new(seed: u64) -> Run {
        let dir = Dir::in_memory();
        let engine = Engine::open(&Self::config(&dir)).await.unwrap();
        let mut transaction = engine.begin();
        let (table, key) = (transaction.allocate_oid(), transaction.allocate_oid());
        transaction.change(table, Some(table_object(key, "t"))).unwrap();
        let made = commit(transaction).await.unwrap().micros();
        let random = StdRng::seed_from_u64(seed);
        let (versions, commits) = (Vec::new(), vec![made]);
        Run { seed, random, dir, engine, table, key, versions, commits, horizon: 0 }
    }

    fn live(&self) -> Vec<i64> {
        self.versions.iter().filter(|v| v.to.is_none()).map(|v| v.id).collect()
    }

    fn text(&mut self) -> String {
        match self.random.random_range(0..8) {
            0 => String::new(),
            1 => "a text that does not fit into a view of twelve bytes".to_owned(),
            _ => format!("v{}", self.random.random_range(0..30)),
        }
    }

    /// Some current rows as the transaction has left them so far.
    fn some(&mut self, changes: &Changes, most: usize) -> Vec<i64> {
        let mut ids = self.live();
        ids.retain(|id| changes.get(id) != Some(&None));
        ids.extend(changes.iter().filter(|(_, text)| text.is_some()).map(|(id, _)| *id));
        ids.sort_unstable();
        ids.dedup();
        let count = self.random.random_range(0..=most.min(ids.len()));
        (0..count).map(|_| ids.swap_remove(self.random.random_range(0..ids.len()))).collect()
    }

    /// One transaction of one to three changes, sometimes rolled back.
    async fn transact(&mut self) {
        let engine = Arc::clone(&self.engine);
        let mut transaction = engine.begin();
        let mut changes = Changes::new();
        for _ in 0..self.random.random_range(1..4) {
            let text = self.text();
            match self.random.random_range(0..20) {
                0..8 => {
                    let most = if self.random.random_range(0..6) == 0 { 60 } else { 6 };
                    let mut ids: Vec<i64> =
                        (0..most).map(|_| self.random.random_range(0..200)).collect();
                    let live = self.live();
                    ids.retain(|id| match changes.get(id) {
                        Some(change) => change.is_none(),
                        None => !live.contains(id),
                    });
                    ids.sort_unstable();
                    ids.dedup();
                    let rows = rows(ids.iter().copied(), &text);
                    transaction.insert(self.table, rows, None).await.unwrap();
                    changes.extend(ids.into_iter().map(|id| (id, Some(text.clone()))));
                }
                8..14 => {
                    for id in self.some(&changes, 5) {
                        update(&mut transaction, self.table, id, &text).await;
                        changes.insert(id, Some(text.clone()));
                    }
                }
                14..16 => {
                    for id in self.some(&changes, 4) {
                        let row = find(&transaction, self.table, id).await;
                        transaction.end_rows(self.table, &[row]).unwrap();
                        changes.insert(id, None);
                    }
                }
                16..19 => {
                    let mut ids: Vec<i64> = vec![self.random.random_range(0..200)];
                    ids.extend(self.some(&changes, 3));
                    ids.sort_unstable();
                    ids.dedup();
                    let keys: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
                    let keys = RecordBatch::try_from_iter([("id", keys)]).unwrap();
                    let found = transaction.find_keys(self.table, self.key, &keys).await.unwrap();
                    let old: Vec<RowRef> = found.into_iter().flatten().collect();
                    transaction.end_rows(self.table, &old).unwrap();
                    let rows = rows(ids.iter().copied(), &text);
                    transaction.insert(self.table, rows, None).await.unwrap();
                    changes.extend(ids.into_iter().map(|id| (id, Some(text.clone()))));
                }
                _ => {
                    // As TRUNCATE does.
                    let sql = "SELECT id, _segment, _position FROM t";
                    let mut all = Vec::new();
                    for batch in query(&transaction, self.table, None, sql).await {
                        let ids = batch.column(0).as_primitive::<Int64Type>();
                        let segments = batch.column(1).as_primitive::<UInt64Type>();
                        let positions = batch.column(2).as_primitive::<UInt32Type>();
                        for i in 0..batch.num_rows() {
                            let segment = SegmentId(segments.value(i));
                            all.push(RowRef { segment, position: positions.value(i) });
                            changes.insert(ids.value(i), None);
                        }
                    }
                    transaction.end_rows(self.table, &all).unwrap();
                }
            }
        }
        if self.random.random_range(0..10) == 0 {
            return transaction.rollback();
        }
        let meta = CommitMeta::default();
        let Some(at) = transaction.commit(meta).await.unwrap() else { return };
        for (id, text) in changes {
            let old = self.versions.iter_mut().find(|v| v.id == id && v.to.is_none());
            if let Some(old) = old {
                old.to = Some(at.micros());
            }
            if let Some(text) = text {
                self.versions.push(Version { id, text, from: at.micros(), to: None });
            }
        }
        self.commits.push(at.micros());
    }

    async fn open_again(&mut self) {
        self.engine = Engine::open(&Self::config(&self.dir)).await.unwrap();
    }

    async fn keep(&mut self) {
        let engine = Arc::clone(&self.engine);
        match self.random.random_range(0..12) {
            0 | 1 => engine.flush(self.table).await.unwrap(),
            2 | 3 => engine.compact(self.table).await.unwrap(),
            4 => engine.raft.snapshot().await.unwrap(),
            5 => {
                engine.shutdown().await.unwrap();
                self.open_again().await;
            }
            6 | 7 => {
                // Nothing is flushed, and the log is all there is.
                engine.raft.shutdown().await.unwrap();
                self.open_again().await;
            }
            8 if self.commits.len() > 10 => {
                let at = self.commits[self.random.random_range(0..self.commits.len() / 2)];
                self.horizon = self.horizon.max(at);
                engine.move_horizon(self.table, CommitTs(self.horizon)).await.unwrap();
                let horizon = self.horizon;
                self.versions.retain(|v| v.to.is_none_or(|to| to > horizon));
                // VACUUM.
                engine.compact(self.table).await.unwrap();
            }
            _ => {}
        }
    }

    fn expected(&self, time: SystemTime) -> Vec<Version> {
        let mut seen: Vec<Version> = self
            .versions
            .iter()
            .filter(|v| match time {
                SystemTime::AsOf(t) => v.from <= t.0 && v.to.is_none_or(|to| t.0 < to),
                SystemTime::All => true,
                SystemTime::FromTo(a, b) => a < b && v.from < b.0 && v.to.is_none_or(|to| to > a.0),
                SystemTime::Between(a, b) => {
                    a <= b && v.from <= b.0 && v.to.is_none_or(|to| to > a.0)
                }
                SystemTime::ContainedIn(a, b) => v.from >= a.0 && v.to.is_some_and(|to| to <= b.0),
            })
            .cloned()
            .collect();
        if matches!(time, SystemTime::AsOf(_)) {
            seen.iter_mut().for_each(|v| v.to = None);
        }
        seen.sort();
        seen
    }

    async fn check(&self, time: SystemTime) {
        let transaction = self.engine.begin();
        let provider = transaction.table(self.table, time).unwrap();
        // Most reads do without a planner, which takes longer than they do.
        let read = match time {
            SystemTime::AsOf(_) => scan(provider.as_ref(), &[0, 1, 2, 3]).await,
            _ => {
                let context = context();
                context.register_table("t", provider).unwrap();
                let sql = "SELECT id, v, _system_from, _system_to FROM t";
                context.sql(sql).await.unwrap().collect().await
            }
        };
        let what = format!("seed {}, {time:?}", self.seed);
        let first = match time {
            SystemTime::AsOf(a)
            | SystemTime::FromTo(a, _)
            | SystemTime::Between(a, _)
            | SystemTime::ContainedIn(a, _) => a.0,
            SystemTime::All => i64::MAX,
        };
        if first < self.horizon {
            let error = crate::error::PgError::from(read.unwrap_err());
            assert_eq!(error.code, "72000", "{what}");
            return;
        }
        let mut found = Vec::new();
        for batch in &read.unwrap() {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let texts = batch.column(1).as_string_view();
            let from = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            let to = batch.column(3).as_primitive::<TimestampMicrosecondType>();
            found.extend((0..batch.num_rows()).map(|i| Version {
                id: ids.value(i),
                text: texts.value(i).to_owned(),
                from: from.value(i),
                to: to.is_valid(i).then(|| to.value(i)),
            }));
        }
        found.sort();
        assert_eq!(found, self.expected(time), "{what}");
    }

    async fn check_all(&mut self) {
        for &at in &self.commits {
            self.check(SystemTime::AsOf(CommitTs(at))).await;
        }
        self.check(SystemTime::All).await;
        for _ in 0..3 {
            let commits = self.commits.clone();
            let mut any = || CommitTs(commits[self.random.random_range(0..commits.len())]);
            let (a, b) = (any(), any());
            self.check(SystemTime::FromTo(a.min(b), a.max(b))).await;
            self.check(SystemTime::Between(a.min(b), a.max(b))).await;
            self.check(SystemTime::ContainedIn(a.min(b), a.max(b))).await;
        }
    }
}

async fn run(seed: u64) {
    let mut run = Run::new(seed).await;
    for step in 0..STEPS {
        run.transact().await;
        run.keep().await;
        if step % 20 == 19 {
            run.check_all().await;
        }
    }
    run.engine.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_of_an_engine_read_as_the_model_says() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("CHRONOS_SEED").unwrap_or(0);
    let seeds = first..first + number("CHRONOS_SEEDS").unwrap_or(SEEDS);
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    // A task each, so that the seed is told whatever fails.
    let runs = seeds.map(async |seed| (seed, tokio::spawn(run(seed)).await.is_ok()));
    let mut runs = futures::stream::iter(runs).buffer_unordered(at_once);
    while let Some((seed, good)) = runs.next().await {
        assert!(good, "seed {seed} failed");
    }
}
