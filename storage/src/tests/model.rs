//! Random histories against a plain list of versions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chronos_catalog::{CommitTs, Maintenance, RowEnds, RowRef, SegmentId, SqlType, SystemTime};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray,
};
use datafusion::arrow::datatypes::{Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::tests::world::{KEY, TABLE, World, column, directory, table_def};
use crate::{
    KeySpec, Overlay, Pace, Store, Wanted, fetch_rows, find_keys_committed_after, find_live_keys,
};

/// One row version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    id: i64,
    name: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    ov: i64,
    cv: Option<i64>,
    place: (u64, u32),
}

#[derive(Default)]
struct Model {
    versions: Vec<Version>,
    commits: Vec<i64>,
}

impl Model {
    fn seen(&self, time: SystemTime, read_ts: i64) -> Vec<Version> {
        let mut seen: Vec<Version> = self
            .versions
            .iter()
            .filter(|v| v.from.unwrap() <= read_ts)
            .map(|v| Version { to: v.to.filter(|&to| to <= read_ts), ..v.clone() })
            .filter(|v| {
                let (from, to) = (v.from.unwrap(), v.to);
                match time {
                    SystemTime::AsOf(t) => from <= t.0 && to.is_none_or(|to| t.0 < to),
                    SystemTime::All => true,
                    SystemTime::FromTo(a, b) => a < b && from < b.0 && to.is_none_or(|to| to > a.0),
                    SystemTime::Between(a, b) => {
                        a <= b && from <= b.0 && to.is_none_or(|to| to > a.0)
                    }
                    SystemTime::ContainedIn(a, b) => from >= a.0 && to.is_some_and(|to| to <= b.0),
                }
            })
            // What is seen at an instant has not ended then, whatever came later.
            .map(|v| match time {
                SystemTime::AsOf(_) => Version { to: None, ..v },
                _ => v,
            })
            .collect();
        seen.sort();
        seen
    }

    fn live(&self) -> Vec<Version> {
        self.versions.iter().filter(|v| v.to.is_none()).cloned().collect()
    }
}

fn read(batches: &[RecordBatch]) -> Vec<Version> {
    let mut all = Vec::new();
    for batch in batches {
        let names = batch.column(1).as_string_view();
        let instant = |c: usize, i: usize| {
            let array = batch.column(c).as_primitive::<TimestampMicrosecondType>();
            array.is_valid(i).then(|| array.value(i))
        };
        for i in 0..batch.num_rows() {
            let cv = batch.column(5).as_primitive::<Int64Type>();
            all.push(Version {
                id: batch.column(0).as_primitive::<Int64Type>().value(i),
                name: names.is_valid(i).then(|| names.value(i).to_owned()),
                from: instant(2, i),
                to: instant(3, i),
                ov: batch.column(4).as_primitive::<Int64Type>().value(i),
                cv: cv.is_valid(i).then(|| cv.value(i)),
                place: (
                    batch.column(6).as_primitive::<UInt64Type>().value(i),
                    batch.column(7).as_primitive::<UInt32Type>().value(i),
                ),
            });
        }
    }
    all.sort();
    all
}

const COLUMNS: &str = "id, name, _system_from, _system_to, _ov, _cv, _segment, _position";

fn columns(rows: &[(i64, Option<String>)]) -> Vec<ArrayRef> {
    let ids: Int64Array = rows.iter().map(|r| Some(r.0)).collect();
    let names: StringViewArray = rows.iter().map(|r| r.1.as_deref()).collect();
    vec![Arc::new(ids), Arc::new(names)]
}

struct Run {
    seed: u64,
    rng: StdRng,
    world: World,
    model: Model,
    next_id: i64,
    cv: i64,
    /// The oldest instant that can be read.
    horizon: i64,
}

impl Run {
    async fn new(seed: u64, url: &str) -> Run {
        let def =
            table_def(1, vec![column(1, "id", SqlType::Int8), column(2, "name", SqlType::Text)]);
        Run {
            seed,
            rng: StdRng::seed_from_u64(seed),
            world: World::new(url, def).await,
            model: Model::default(),
            next_id: 0,
            cv: 0,
            horizon: 0,
        }
    }

    fn name(&mut self) -> Option<String> {
        match self.rng.random_range(0..10) {
            0 => None,
            1 => Some("a name that does not fit into a view of twelve bytes".to_owned()),
            _ => Some(format!("n{}", self.rng.random_range(0..50))),
        }
    }

    /// Ends some current versions, most of them replaced, and adds new rows.
    async fn commit(&mut self) {
        let mut live = self.model.live();
        let mut rows: Vec<(i64, Option<String>)> = Vec::new();
        let mut ov: Vec<i64> = Vec::new();
        let mut ended: Vec<RowRef> = Vec::new();
        let changes = self.rng.random_range(0..=live.len().min(8));
        let bulk = self.rng.random_range(0..12) == 0;
        for _ in 0..changes {
            let at = self.rng.random_range(0..live.len());
            let old = live.swap_remove(at);
            ended.push(RowRef { segment: SegmentId(old.place.0), position: old.place.1 });
            if self.rng.random_range(0..4) > 0 {
                rows.push((old.id, self.name()));
                ov.push(old.ov + 1);
            }
        }
        let new = if bulk { self.rng.random_range(1..800) } else { self.rng.random_range(0..12) };
        for _ in 0..new {
            rows.push((self.next_id, self.name()));
            ov.push(0);
            self.next_id += 1;
        }
        let mut segments = Vec::new();
        let mut places: Vec<(u64, u32)> = Vec::new();
        if bulk {
            let batch = self.world.rows(columns(&rows), ov.clone());
            let mut writer = self.world.store.new_segment_writer(TABLE, &self.world.def).unwrap();
            segments = writer.write(&batch).await.unwrap();
            segments.extend(writer.finish().await.unwrap());
            for meta in &segments {
                places.extend((0..meta.rows).map(|p| (meta.id.0, p)));
            }
        }
        let (hot_rows, hot_ov) =
            if bulk { (Vec::new(), Vec::new()) } else { (rows.clone(), ov.clone()) };
        let (ts, outcome) = self.world.commit(columns(&hot_rows), hot_ov, segments, &ended);
        let placement = &outcome.placements[0];
        if !bulk {
            let first = placement.first_position;
            places = (0..rows.len() as u32).map(|i| (placement.segment.0, first + i)).collect();
        }
        assert_eq!(placement.commit_number, self.cv);
        for row in ended {
            let place = (row.segment.0, row.position);
            let version = self.model.versions.iter_mut().find(|v| v.place == place).unwrap();
            version.to = Some(ts.0);
        }
        for ((row, ov), place) in rows.into_iter().zip(ov).zip(places) {
            self.model.versions.push(Version {
                id: row.0,
                name: row.1,
                from: Some(ts.0),
                to: None,
                ov,
                cv: Some(self.cv),
                place,
            });
        }
        self.cv += 1;
        self.model.commits.push(ts.0);
    }

    /// Rewrites some of the cold segments; commits may land meanwhile.
    async fn compact(&mut self, meanwhile: bool) {
        let world = &self.world;
        let mut among = Store::cold_segments(&world.state.read(), TABLE);
        let all = self.rng.random_range(0..2) == 0;
        among.retain(|_| all || self.rng.random_range(0..2) == 0);
        let plan = {
            let state = world.state.read();
            world.store.plan_compaction(&state, TABLE, Wanted::All(&among))
        };
        let Some(plan) = plan else { return };
        let at = CommitTs(*self.model.commits.last().unwrap());
        let job = world.store.write_compaction(&world.state, &plan, at, Pace::Full).await.unwrap();
        if meanwhile {
            self.commit().await;
            if self.rng.random_range(0..2) == 0 {
                self.world.flush(true).await;
            }
            self.commit().await;
        }
        let world = &self.world;
        let command = world.store.finish_compaction(&world.state, &job).await.unwrap();
        world.maintain(command);
        drop(job);
        assert_eq!(world.store.collect_retired(Duration::ZERO, false).await.unwrap(), 0);
        self.find_places().await;
    }

    /// Moves the horizon to some commit. What ended before cannot be seen any more.
    fn move_horizon(&mut self) {
        let at = self.rng.random_range(0..self.model.commits.len());
        self.horizon = self.horizon.max(self.model.commits[at] + self.rng.random_range(0..2));
        self.horizon = self.horizon.min(*self.model.commits.last().unwrap());
        let horizon = CommitTs(self.horizon);
        self.world.maintain(Maintenance::Horizon { table: TABLE, horizon });
        self.model.versions.retain(|v| v.to.is_none_or(|to| to > horizon.0));
    }

    /// Whether a read asks for what is not kept; then it must fail.
    async fn is_refused(&self, time: SystemTime, read_ts: i64) -> bool {
        let first = match time {
            SystemTime::AsOf(a)
            | SystemTime::FromTo(a, _)
            | SystemTime::Between(a, _)
            | SystemTime::ContainedIn(a, _) => a.0.min(read_ts),
            SystemTime::All => read_ts,
        };
        if first >= self.horizon {
            return false;
        }
        let none = Overlay::default();
        let read = self.world.scan(time, CommitTs(read_ts), &none);
        let error = read.await.unwrap_err().to_string();
        assert!(error.contains("its history begins at"), "{error}");
        true
    }

    /// Learns where the rows stand.
    async fn find_places(&mut self) {
        let last = CommitTs(*self.model.commits.last().unwrap());
        let none = Overlay::default();
        let all = read(&self.world.scan(SystemTime::All, last, &none).await.unwrap());
        let places: BTreeMap<(i64, Option<i64>), (u64, u32)> =
            all.iter().map(|v| ((v.id, v.from), v.place)).collect();
        assert_eq!(places.len(), self.model.versions.len(), "seed {}", self.seed);
        for version in &mut self.model.versions {
            version.place = places[&(version.id, version.from)];
        }
    }

    async fn check(&mut self, time: SystemTime, read_ts: i64) {
        if self.is_refused(time, read_ts).await {
            return;
        }
        let seed = self.seed;
        let none = Overlay::default();
        let expected = self.model.seen(time, read_ts);
        let at = CommitTs(read_ts);
        let what = format!("seed {seed}, {time:?} read at {read_ts}");
        let found = read(&self.world.scan(time, at, &none).await.unwrap());
        assert_eq!(found, expected, "{what}");
        // One of the forms of SQL each time: planning takes longer than reading.
        match self.rng.random_range(0..5) {
            0 => self.check_count(time, at, &expected).await,
            1 => self.check_key(time, at, &expected).await,
            2 => self.check_filter(time, at, &expected).await,
            3 => self.check_subqueries(time, at, &expected).await,
            _ => {
                let limited = "SELECT name FROM t LIMIT 5";
                let limited = self.world.query(time, at, &none, limited).await;
                let limited: usize = limited.iter().map(RecordBatch::num_rows).sum();
                assert_eq!(limited, expected.len().min(5), "limit, {what}");
            }
        }
    }

    fn what(&self, time: SystemTime, at: CommitTs) -> String {
        format!("seed {}, {time:?} read at {at}", self.seed)
    }

    async fn rows(&self, time: SystemTime, at: CommitTs, condition: &str) -> Vec<Version> {
        let sql = format!("SELECT {COLUMNS} FROM t WHERE {condition}");
        read(&self.world.query(time, at, &Overlay::default(), &sql).await)
    }

    async fn check_count(&self, time: SystemTime, at: CommitTs, expected: &[Version]) {
        let count = "SELECT count(*) FROM t";
        let count = self.world.query(time, at, &Overlay::default(), count).await;
        let count = count[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(count as usize, expected.len(), "count, {}", self.what(time, at));
    }

    async fn check_key(&mut self, time: SystemTime, at: CommitTs, expected: &[Version]) {
        let id = self.rng.random_range(0..self.next_id.max(1));
        let found = self.rows(time, at, &format!("id IN ({id}, {}, -1)", id / 2)).await;
        let mut some = expected.to_vec();
        some.retain(|v| v.id == id || v.id == id / 2);
        assert_eq!(found, some, "key {id}, {}", self.what(time, at));
    }

    async fn check_filter(&mut self, time: SystemTime, at: CommitTs, expected: &[Version]) {
        let id = self.rng.random_range(0..self.next_id.max(1));
        let found = self.rows(time, at, &format!("id > {id} AND name = 'n7'")).await;
        let mut some = expected.to_vec();
        some.retain(|v| v.id > id && v.name.as_deref() == Some("n7"));
        assert_eq!(found, some, "filter {id}, {}", self.what(time, at));
    }

    async fn check_subqueries(&self, time: SystemTime, at: CommitTs, expected: &[Version]) {
        for (condition, wanted) in [
            ("id = (SELECT max(id) FROM t)", expected.iter().map(|v| v.id).max()),
            ("id = (SELECT min(id) FROM t) AND id < 1 + random()", None),
        ] {
            let found = self.rows(time, at, condition).await;
            if let Some(id) = wanted {
                let some: Vec<Version> = expected.iter().filter(|v| v.id == id).cloned().collect();
                assert_eq!(found, some, "subquery, {}", self.what(time, at));
            }
        }
    }

    async fn check_keys(&mut self) {
        let seed = self.seed;
        let at = *self.model.commits.last().unwrap();
        let some = self.rng.random_range(0..self.model.commits.len());
        let past = self.model.commits[some].max(self.horizon);
        let table = self.world.store.table(TABLE).unwrap();
        let key = KeySpec::of_constraint(TABLE, &self.world.def, KEY).unwrap();
        let ids: Vec<i64> = (-1..self.next_id + 2).collect();
        let keys: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
        let keys = RecordBatch::try_from_iter([("id", keys)]).unwrap();
        for t in [past, at] {
            let own = Overlay::default();
            let found =
                find_live_keys(&table, &own, &self.world.def, &key, &keys, CommitTs(t)).await;
            let places: BTreeMap<i64, (u64, u32)> = self
                .model
                .seen(SystemTime::AsOf(CommitTs(t)), t)
                .into_iter()
                .map(|v| (v.id, v.place))
                .collect();
            for (id, row) in ids.iter().zip(found.unwrap()) {
                let row = row.map(|r| (r.segment.0, r.position));
                assert_eq!(row, places.get(id).copied(), "seed {seed}, key {id} at {t}");
            }
        }
        let def = &self.world.def;
        let found =
            find_keys_committed_after(&table, def, &key, &keys, CommitTs(past)).await.unwrap();
        let live = self.model.live();
        for (id, row) in ids.iter().zip(found) {
            let new = live.iter().find(|v| v.id == *id && v.from.unwrap() > past);
            let row = row.map(|r| (r.segment.0, r.position));
            assert_eq!(row, new.map(|v| v.place), "seed {seed}, key {id} after {past}");
        }
        let rows: Vec<RowRef> = live
            .iter()
            .rev()
            .map(|v| RowRef { segment: SegmentId(v.place.0), position: v.place.1 })
            .collect();
        let fetched = fetch_rows(&table, &Overlay::default(), def, &rows, &[0]).await.unwrap();
        let ids: Vec<i64> = fetched.column(0).as_primitive::<Int64Type>().values().to_vec();
        let expected: Vec<i64> = live.iter().rev().map(|v| v.id).collect();
        assert_eq!(ids, expected, "seed {seed}");
    }

    async fn check_all(&mut self) {
        let last = *self.model.commits.last().unwrap();
        for t in self.model.commits.clone() {
            if self.is_refused(SystemTime::AsOf(CommitTs(t)), last).await {
                continue;
            }
            let found = self.model.seen(SystemTime::AsOf(CommitTs(t)), last);
            let none = Overlay::default();
            let time = SystemTime::AsOf(CommitTs(t));
            let seen = read(&self.world.scan(time, CommitTs(last), &none).await.unwrap());
            assert_eq!(seen, found, "seed {}, as of {t}", self.seed);
        }
        let commits = self.model.commits.clone();
        let mut any = || commits[self.rng.random_range(0..commits.len())];
        let (a, b, c, r) = (any(), any() + 3, any(), any());
        for read_ts in [last, r] {
            for time in [
                SystemTime::All,
                SystemTime::AsOf(CommitTs(c)),
                SystemTime::FromTo(CommitTs(a), CommitTs(c)),
                SystemTime::FromTo(CommitTs(a.min(b)), CommitTs(a.max(b))),
                SystemTime::Between(CommitTs(a.min(c)), CommitTs(a.max(c))),
                SystemTime::ContainedIn(CommitTs(a.min(b)), CommitTs(a.max(b))),
            ] {
                self.check(time, read_ts).await;
            }
        }
        self.check_keys().await;
    }
}

async fn run(seed: u64) {
    let dir = directory();
    let mut run = Run::new(seed, dir.path().to_str().unwrap()).await;
    for step in 0..50 {
        run.commit().await;
        match run.rng.random_range(0..20) {
            0 => run.world.flush(true).await,
            1 => run.world.flush(false).await,
            2 => run.world.restart().await,
            3 => {
                run.world.flush(true).await;
                run.world.restart().await;
            }
            4 => {
                // Commits land while the flush writes.
                run.world.seal();
                let flush = run.world.prepare_flush().await;
                run.commit().await;
                run.commit().await;
                flush.into_iter().for_each(|flush| run.world.maintain(flush));
            }
            5 => run.compact(false).await,
            6 => run.compact(true).await,
            7 => {
                run.world.flush(true).await;
                run.compact(true).await;
                run.world.restart().await;
            }
            8 if step > 15 => run.move_horizon(),
            _ => {}
        }
        if step % 25 == 24 {
            run.check_all().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_read_as_the_model_says() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("CHRONOS_SEED").unwrap_or(0);
    let seeds = first..first + number("CHRONOS_SEEDS").unwrap_or(3);
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    // A task each, so that the seed is told whatever fails.
    let runs = seeds.map(async |seed| (seed, tokio::spawn(run(seed)).await.is_ok()));
    let mut runs = futures::stream::iter(runs).buffer_unordered(at_once);
    while let Some((seed, good)) = runs.next().await {
        assert!(good, "seed {seed} failed");
    }
}

#[tokio::test]
async fn own_row_ends_follow_their_rows_through_compactions() {
    let dir = directory();
    let mut run = Run::new(7, dir.path().to_str().unwrap()).await;
    for _ in 0..8 {
        run.commit().await;
        run.world.flush(true).await;
    }
    let last = CommitTs(*run.model.commits.last().unwrap());
    let live = run.model.live();
    let mut own = Overlay::default();
    for ended in &live[..2] {
        let row = RowRef { segment: SegmentId(ended.place.0), position: ended.place.1 };
        assert!(own.end(TABLE, row));
    }
    let sql = format!("SELECT {COLUMNS} FROM t");
    for _ in 0..4 {
        run.compact(false).await;
        let mut expected: Vec<i64> = live[2..].iter().map(|v| v.id).collect();
        expected.sort_unstable();
        let found = read(&run.world.query(SystemTime::AsOf(last), last, &own, &sql).await);
        let found: Vec<i64> = found.iter().map(|v| v.id).collect();
        assert_eq!(found, expected);
        let table = run.world.store.table(TABLE).unwrap();
        let ends: Vec<RowEnds> = own
            .table(TABLE)
            .unwrap()
            .ends()
            .iter()
            .map(|(&segment, positions)| RowEnds { segment, positions: positions.clone() })
            .collect();
        let moved = table.relocate_ends(&ends, &|_| false).unwrap().unwrap_or(ends);
        let mut places: Vec<(u64, u32)> =
            moved.iter().flat_map(|e| e.positions.iter().map(|p| (e.segment.0, p))).collect();
        places.sort_unstable();
        let mut expected: Vec<(u64, u32)> = run
            .model
            .live()
            .iter()
            .filter(|v| live[..2].iter().any(|l| l.id == v.id))
            .map(|v| v.place)
            .collect();
        expected.sort_unstable();
        assert_eq!(places, expected);
    }
}

#[tokio::test]
async fn own_rows_and_row_ends_show_in_the_present_only() {
    let dir = directory();
    let mut run = Run::new(99, dir.path().to_str().unwrap()).await;
    for _ in 0..6 {
        run.commit().await;
        run.world.flush(true).await;
    }
    let last = CommitTs(*run.model.commits.last().unwrap());
    let live = run.model.live();
    let mut own = Overlay::default();
    let ended = &live[0];
    assert!(own.end(TABLE, RowRef { segment: SegmentId(ended.place.0), position: ended.place.1 }));
    let rows = run.world.rows(columns(&[(-5, None), (-6, Some("x".to_owned()))]), vec![0, 0]);
    assert_eq!(own.append(TABLE, 1, rows).unwrap(), 0);
    assert!(own.end(TABLE, RowRef { segment: SegmentId::LOCAL, position: 0 }));
    let bulk = run.world.rows(columns(&[(-7, None), (-8, None)]), vec![0, 0]);
    let mut writer = run.world.store.new_segment_writer(TABLE, &run.world.def).unwrap();
    assert!(writer.write(&bulk).await.unwrap().is_empty());
    let meta = writer.finish().await.unwrap().unwrap();
    assert!(own.end(TABLE, RowRef { segment: meta.id, position: 1 }));
    own.add_segment(TABLE, meta.clone());

    let now = SystemTime::AsOf(last);
    let sql = format!("SELECT {COLUMNS} FROM t");
    let mut expected: Vec<(i64, Option<i64>)> =
        live[1..].iter().map(|v| (v.id, v.from)).chain([(-6, None), (-7, None)]).collect();
    expected.sort_unstable();
    let found = read(&run.world.query(now, last, &own, &sql).await);
    let mut found: Vec<_> = found.iter().map(|v| (v.id, v.from)).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
    let count = run.world.query(now, last, &own, "SELECT count(*) FROM t").await;
    let count = count[0].column(0).as_primitive::<Int64Type>().value(0);
    assert_eq!(count as usize, expected.len());

    let table = run.world.store.table(TABLE).unwrap();
    let key = KeySpec::of_constraint(TABLE, &run.world.def, KEY).unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![-5, -6, -7, -8, ended.id, live[1].id]));
    let keys = RecordBatch::try_from_iter([("id", keys)]).unwrap();
    let found = find_live_keys(&table, &own, &run.world.def, &key, &keys, last).await.unwrap();
    let there: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(there, [false, true, true, false, false, true]);

    let all = read(&run.world.query(SystemTime::All, last, &own, &sql).await);
    assert_eq!(all, run.model.seen(SystemTime::All, last.0));
}
