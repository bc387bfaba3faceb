//! One node and its directory: recovery, crashes, snapshots, damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::health::Health;
use super::log_store::LogStore;
use super::state_machine::{Shared, StateMachine};
use super::types::{SnapshotMeta, TypeConfig};
use super::{Applier, DirLock, RaftNode, RaftOptions, Severity, check};
use crate::command::{Command, Commit, Outcome};
use crate::error::{Error, Result};
use crate::ids::Oid;
use crate::state::State;
use crate::time::CommitTs;

/// Remembers the instants of the commits it followed, as storage remembers rows.
#[derive(Debug, Default)]
struct Rows {
    commits: Mutex<Vec<i64>>,
    refuse: AtomicBool,
    refuse_export: AtomicBool,
}

fn refused() -> Error {
    Error::Corrupt { what: "test".to_owned(), reason: "told to refuse".to_owned() }
}

impl Applier for Rows {
    fn apply(&self, state: &State, command: &Command, outcome: &Outcome) -> Result<()> {
        if self.refuse.load(Ordering::SeqCst) {
            return Err(refused());
        }
        if let Command::Commit(commit) = command {
            assert_eq!(state.last_commit, commit.ts, "the state is that of the command");
            assert_eq!(outcome.ts, Some(commit.ts));
            self.commits.lock().push(commit.ts.micros());
        }
        Ok(())
    }

    fn export(&self, _state: &State) -> Result<Bytes> {
        if self.refuse_export.load(Ordering::SeqCst) {
            return Err(refused());
        }
        Ok(Bytes::from(rmp_serde::to_vec(&*self.commits.lock()).unwrap()))
    }

    fn restore(&self, _state: &State, exported: Bytes) -> Result<()> {
        *self.commits.lock() = rmp_serde::from_slice(&exported).unwrap();
        Ok(())
    }
}

fn commit(ts: i64) -> Command {
    Command::Commit(Commit { ts: CommitTs(ts), ..Commit::default() })
}

async fn start(dir: &Path) -> Result<(RaftNode, Arc<Rows>)> {
    start_with(RaftOptions::new(dir, 1)).await
}

async fn start_with(options: RaftOptions) -> Result<(RaftNode, Arc<Rows>)> {
    let rows = Arc::new(Rows::default());
    let node = RaftNode::start(options, Arc::clone(&rows) as Arc<dyn Applier>).await?;
    Ok((node, rows))
}

/// What a crash leaves: the directory as it is now.
fn copy_dir(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (source, target) = entry.map(|e| (e.path(), to.join(e.file_name()))).unwrap();
            if source.is_dir() {
                copy(&source, &target);
            } else {
                fs::copy(&source, &target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(from, to.path());
    to
}

fn log_files(dir: &Path) -> Vec<PathBuf> {
    super::log_files::list(&dir.join("log")).unwrap().into_iter().map(|(_, path)| path).collect()
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    super::snapshot::list(&dir.join("snapshot")).unwrap().into_iter().map(|(_, p)| p).collect()
}

#[tokio::test]
async fn commits_survive_a_stop_and_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (node, rows) = start(dir.path()).await.unwrap();
    for ts in 1..=20 {
        let outcome = node.propose(commit(ts)).await.unwrap();
        assert_eq!(outcome.ts, Some(CommitTs(ts)));
        assert_eq!(*node.applied().borrow(), CommitTs(ts));
    }
    let expected: Vec<i64> = (1..=20).collect();
    assert_eq!(*rows.commits.lock(), expected);
    let crashed = copy_dir(dir.path());
    node.shutdown().await.unwrap();
    for dir in [dir.path(), crashed.path()] {
        let (node, rows) = start(dir).await.unwrap();
        assert_eq!(*rows.commits.lock(), expected);
        assert_eq!(node.state().read().last_commit, CommitTs(20));
        assert_eq!(*node.applied().borrow(), CommitTs(20));
        node.propose(commit(21)).await.unwrap();
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn restart_leads_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let begun = tokio::time::Instant::now();
        let (node, _) = start(dir.path()).await.unwrap();
        node.healthy().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "round {round}: {:?}", begun.elapsed());
        node.propose(commit(round)).await.unwrap();
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn end_torn_at_any_byte_loses_only_the_last_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    node.propose(commit(1)).await.unwrap();
    node.propose(commit(2)).await.unwrap();
    let file = log_files(dir.path()).pop().unwrap();
    let before = fs::metadata(&file).unwrap().len();
    node.propose(commit(3)).await.unwrap();
    let crashed = copy_dir(dir.path());
    node.shutdown().await.unwrap();
    let name = file.file_name().unwrap();
    let after = fs::metadata(crashed.path().join("log").join(name)).unwrap().len();
    for length in before..after {
        let torn = copy_dir(crashed.path());
        let file = torn.path().join("log").join(name);
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length).unwrap();
        let (node, rows) = start(torn.path()).await.unwrap();
        assert_eq!(*rows.commits.lock(), [1, 2], "cut at {length}");
        node.propose(commit(4)).await.unwrap();
        node.shutdown().await.unwrap();
        let (node, rows) = start(torn.path()).await.unwrap();
        assert_eq!(*rows.commits.lock(), [1, 2, 4], "cut at {length}, started again");
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn damage_before_good_blocks_is_named_and_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    for ts in 1..=5 {
        node.propose(commit(ts)).await.unwrap();
    }
    node.shutdown().await.unwrap();
    let file = log_files(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    match start(dir.path()).await {
        Err(Error::Corrupt { what, reason }) => {
            assert!(what.contains("log-0000000000000001.log"), "{what}");
            assert!(reason.contains("offset"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn proposals_enter_the_log_in_the_order_of_the_calls() {
    let dir = tempfile::tempdir().unwrap();
    let (node, rows) = start(dir.path()).await.unwrap();
    let mut waiting: Vec<_> = (1..=500).map(|ts| node.propose(commit(ts))).collect();
    // Polled last to first, and every tenth not at all.
    waiting.reverse();
    for (i, proposal) in waiting.into_iter().enumerate() {
        if i % 10 != 9 {
            proposal.await.unwrap();
        }
    }
    node.shutdown().await.unwrap();
    assert_eq!(*rows.commits.lock(), (1..=500).collect::<Vec<i64>>());
}

#[tokio::test]
async fn snapshot_replaces_the_log_and_two_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path(), 1);
    options.log_file_bytes_max = 1000;
    let (node, _) = start_with(options.clone()).await.unwrap();
    let mut ts = 0;
    for _ in 0..4 {
        for _ in 0..30 {
            ts += 1;
            node.propose(commit(ts)).await.unwrap();
        }
        let before = node.log_bytes();
        node.snapshot().await.unwrap();
        assert!(before > 30 * 30 && node.log_bytes() < before, "{before} {}", node.log_bytes());
    }
    node.snapshot().await.unwrap();
    node.propose(commit(ts + 1)).await.unwrap();
    assert_eq!(snapshots(dir.path()).len(), 2);
    let crashed = copy_dir(dir.path());
    let files = log_files(dir.path());
    assert!(!files[0].ends_with("log-0000000000000001.log"), "{files:?}");
    node.shutdown().await.unwrap();

    let expected: Vec<i64> = (1..=ts + 1).collect();
    for dir in [dir.path(), crashed.path()] {
        let (node, rows) = start(dir).await.unwrap();
        assert_eq!(*rows.commits.lock(), expected);
        node.shutdown().await.unwrap();
    }
    // The newest is damaged: the older one and the log give the same.
    let newest = &snapshots(crashed.path())[0];
    let mut bytes = fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, bytes).unwrap();
    let (node, rows) = start(crashed.path()).await.unwrap();
    assert_eq!(*rows.commits.lock(), expected);
    node.shutdown().await.unwrap();
    // Both are: nothing to start from.
    for path in snapshots(crashed.path()) {
        fs::write(path, b"CHRONSNP no more").unwrap();
    }
    match start(crashed.path()).await {
        Err(Error::Corrupt { what, .. }) => assert!(what.contains(".snap"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn refused_export_gives_the_snapshot_up_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (node, rows) = start(dir.path()).await.unwrap();
    node.propose(commit(1)).await.unwrap();
    rows.refuse_export.store(true, Ordering::SeqCst);
    assert!(node.snapshot().await.is_err());
    node.propose(commit(2)).await.unwrap();
    rows.refuse_export.store(false, Ordering::SeqCst);
    node.snapshot().await.unwrap();
    assert_eq!(snapshots(dir.path()).len(), 1);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn refused_apply_acknowledges_nothing_and_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, rows) = start(dir.path()).await.unwrap();
    node.propose(commit(1)).await.unwrap();
    rows.refuse.store(true, Ordering::SeqCst);
    let (second, third) = (node.propose(commit(2)), node.propose(commit(3)));
    assert!(matches!(second.await, Err(Error::OutcomeUnknown { .. })));
    assert!(third.await.is_err());
    assert!(node.healthy().is_err());
    assert!(matches!(node.propose(commit(4)).await, Err(Error::NotLeader { .. })));
    assert_eq!(*node.applied().borrow(), CommitTs(1));
    let _ = node.shutdown().await;
    // What entered the log is there, as the outcome said it may be.
    let (node, rows) = start(dir.path()).await.unwrap();
    assert_eq!(rows.commits.lock()[..2], [1, 2]);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn commit_out_of_order_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    node.propose(commit(5)).await.unwrap();
    assert!(node.propose(commit(5)).await.is_err());
    assert!(node.healthy().is_err());
}

#[tokio::test]
async fn directory_serves_one_node_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    assert!(matches!(start(dir.path()).await, Err(Error::InUse { .. })));
    node.shutdown().await.unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    node.shutdown().await.unwrap();
    let other = start_with(RaftOptions::new(dir.path(), 2)).await;
    assert!(matches!(other, Err(Error::Corrupt { .. })), "{other:?}");
}

#[tokio::test]
async fn entry_beyond_the_limit_is_refused_before_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path(), 1);
    options.entry_bytes_max = 1000;
    let (node, _) = start_with(options).await.unwrap();
    let many: BTreeMap<Oid, i64> = (0..1000).map(|i| (Oid(i), 1)).collect();
    let refused = node.propose(Command::AdvanceSequences(many)).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    node.propose(commit(1)).await.unwrap();
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn entries_beyond_the_cache_are_read_from_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path(), 1);
    options.log_file_bytes_max = 2000;
    options.log_cache_bytes_max = 500;
    let (node, _) = start_with(options.clone()).await.unwrap();
    let all: Vec<_> = (1..=300).map(|ts| node.propose(commit(ts))).collect();
    futures::future::try_join_all(all).await.unwrap();
    node.shutdown().await.unwrap();
    let (node, rows) = start_with(options).await.unwrap();
    assert_eq!(*rows.commits.lock(), (1..=300).collect::<Vec<i64>>());
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn panic_while_applying_stops_the_node() {
    struct Panics;
    impl Applier for Panics {
        fn apply(&self, _: &State, _: &Command, _: &Outcome) -> Result<()> {
            panic!("a panic that the test wants")
        }
        fn export(&self, _: &State) -> Result<Bytes> {
            Ok(Bytes::new())
        }
        fn restore(&self, _: &State, _: Bytes) -> Result<()> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let node = RaftNode::start(RaftOptions::new(dir.path(), 1), Arc::new(Panics)).await.unwrap();
    assert!(matches!(node.propose(commit(1)).await, Err(Error::OutcomeUnknown { .. })));
    assert!(node.healthy().is_err());
    assert_eq!(*node.applied().borrow(), CommitTs::ZERO);
}

#[tokio::test]
async fn failed_write_acknowledges_nothing_and_stops_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = RaftOptions::new(dir.path(), 1);
    options.log_file_bytes_max = 1;
    let (node, rows) = start_with(options).await.unwrap();
    node.propose(commit(1)).await.unwrap();
    // The next file cannot be created.
    fs::rename(dir.path().join("log"), dir.path().join("gone")).unwrap();
    let failed = node.propose(commit(2)).await;
    assert!(
        matches!(&failed, Err(Error::OutcomeUnknown { reason }) if reason.contains("log")),
        "{failed:?}"
    );
    let again = node.propose(commit(3)).await;
    assert!(matches!(again, Err(Error::NotLeader { .. })), "{again:?}");
    assert_eq!(*rows.commits.lock(), [1]);
    assert_eq!(*node.applied().borrow(), CommitTs(1));
    let _ = node.shutdown().await;
    fs::rename(dir.path().join("gone"), dir.path().join("log")).unwrap();
    let (node, rows) = start(dir.path()).await.unwrap();
    assert_eq!(*rows.commits.lock(), [1]);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn dropped_node_frees_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    node.propose(commit(1)).await.unwrap();
    drop(node);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let (node, rows) = loop {
        match start(dir.path()).await {
            Err(Error::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            started => break started.unwrap(),
        }
    };
    assert_eq!(*rows.commits.lock(), [1]);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn check_tells_fine_recoverable_and_damaged_apart() {
    let worst = |dir: &Path| {
        let findings = check(dir).unwrap();
        findings.into_iter().max_by_key(|f| f.severity).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = start(dir.path()).await.unwrap();
    node.propose(commit(1)).await.unwrap();
    assert!(matches!(check(dir.path()), Err(Error::InUse { .. })));
    node.snapshot().await.unwrap();
    node.propose(commit(2)).await.unwrap();
    node.shutdown().await.unwrap();
    assert_eq!(worst(dir.path()).severity, Severity::Fine);

    let file = log_files(dir.path()).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let torn = worst(dir.path());
    assert_eq!(torn.severity, Severity::Recoverable, "{torn}");
    assert!(torn.message.contains("unfinished"), "{torn}");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&file, damaged).unwrap();
    assert_eq!(worst(dir.path()).severity, Severity::Damaged);
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, tempfile::TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(tempfile::TempDir, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let lock = Arc::new(DirLock::acquire(dir.path()).unwrap());
        let health = Health::default();
        // A small cache and small files, so that the suite sees both.
        let store =
            LogStore::open(&dir.path().join("log"), 500, 100, health.clone(), lock).unwrap();
        let shared = Shared {
            state: Arc::new(RwLock::new(State::default())),
            applied: watch::channel(CommitTs::ZERO).0,
            applier: Arc::new(Rows::default()),
            health,
            snapshot_dir: dir.path().join("snapshot"),
            current: Mutex::new(None),
            ready: Mutex::new(None),
        };
        let machine = StateMachine::new(Arc::new(shared), SnapshotMeta::default());
        Ok((dir, store, machine))
    }
}

#[test]
fn log_store_is_what_openraft_expects() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}

/// Prints commits per second; run it by name with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn commits_per_second() {
    for proposers in [1, 64] {
        let dir =
            tempfile::tempdir_in(std::env::var("CHRONOS_BENCH_DIR").unwrap_or(".".into())).unwrap();
        let (node, rows) = start(dir.path()).await.unwrap();
        let next = Arc::new(Mutex::new(0));
        let begun = Instant::now();
        let tasks: Vec<_> = (0..proposers)
            .map(|_| {
                let (node, next) = (node.clone(), Arc::clone(&next));
                tokio::spawn(async move {
                    while begun.elapsed() < Duration::from_secs(2) {
                        let proposal = {
                            let mut next = next.lock();
                            *next += 1;
                            node.propose(commit(*next))
                        };
                        proposal.await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let count = rows.commits.lock().len();
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        eprintln!("{proposers} proposers: {rate:.0} commits/s");
        node.shutdown().await.unwrap();
    }
}
