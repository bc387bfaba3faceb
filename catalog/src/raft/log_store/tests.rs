//! The log against a plain list, through random histories with restarts.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::type_config::TypeConfigExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::command::{Command, Commit};
use crate::raft::record::LogIdForm;
use crate::raft::types::Proposal;
use crate::time::CommitTs;

#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, (LogId, i64)>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

fn id(term: u64, index: u64) -> LogId {
    LogIdForm { term, node: 1, index }.into()
}

fn entry(log_id: LogId, ts: i64) -> Entry {
    let commit = Commit { ts: CommitTs(ts), ..Commit::default() };
    Entry::new(log_id, EntryPayload::Normal(Proposal::new(Command::Commit(commit)).unwrap()))
}

fn open(dir: &Path) -> LogStore {
    let lock = Arc::new(DirLock::acquire(dir).unwrap());
    LogStore::open(&dir.join("log"), 600, 300, Health::default(), lock).unwrap()
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    let (flushed, wait) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(flushed)).await.unwrap();
    wait.await.unwrap().unwrap();
}

async fn assert_same(store: &mut LogStore, model: &Model, step: &str) {
    let found: Vec<(LogId, i64)> = store
        .try_get_log_entries(..)
        .await
        .unwrap()
        .into_iter()
        .map(|entry| match entry.payload {
            EntryPayload::Normal(ref p) => match &*p.command {
                Command::Commit(commit) => (entry.log_id(), commit.ts.micros()),
                other => panic!("{other:?}"),
            },
            ref other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<_> = model.entries.values().copied().collect();
    assert_eq!(found, expected, "{step}");
    let streamed: Vec<_> =
        store.entries_stream(..).await.map(|e| e.unwrap().log_id()).collect().await;
    assert_eq!(streamed, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "{step}");
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, model.purged, "{step}");
    let last = expected.last().map(|(id, _)| *id).or(model.purged);
    assert_eq!(state.last_log_id, last, "{step}");
    assert_eq!(store.read_vote().await.unwrap(), model.vote, "{step}");
}

#[tokio::test]
async fn random_histories_with_restarts_are_as_a_list_would_have_them() {
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path());
        let mut model = Model::default();
        let (mut term, mut ts) = (1, 0);
        for step in 0..60 {
            let last = model.entries.keys().next_back().copied();
            let next = last.or(model.purged.map(|p| p.index)).map_or(0, |i| i + 1);
            let first = model.entries.keys().next().copied();
            let action = random.random_range(0..10);
            match (action, first) {
                (0, Some(first)) => {
                    let index = random.random_range(first..next);
                    let after = (index > first).then(|| model.entries[&(index - 1)].0);
                    let after = after.or(model.purged);
                    store.truncate_after(after).await.unwrap();
                    model.entries.split_off(&index);
                    term += 1;
                }
                (1, Some(first)) => {
                    let upto = model.entries[&random.random_range(first..next)].0;
                    store.purge(upto).await.unwrap();
                    model.entries = model.entries.split_off(&(upto.index + 1));
                    model.purged = Some(upto);
                }
                (2, _) => {
                    let vote = Vote {
                        leader_id: LeaderId { term, node_id: 1 },
                        committed: random.random(),
                    };
                    store.save_vote(&vote).await.unwrap();
                    model.vote = Some(vote);
                }
                (3 | 4, _) => {
                    store.close().await.unwrap();
                    store = open(dir.path());
                }
                _ => {
                    let count = random.random_range(1..8);
                    let mut entries = Vec::new();
                    for index in next..next + count {
                        ts += 1;
                        entries.push(entry(id(term, index), ts));
                        model.entries.insert(index, (id(term, index), ts));
                    }
                    append(&mut store, entries).await;
                }
            }
            assert_same(&mut store, &model, &format!("seed {seed} step {step}")).await;
        }
        store.close().await.unwrap();
        assert_same(&mut open(dir.path()), &model, &format!("seed {seed} at the end")).await;
    }
}

#[tokio::test]
async fn missing_file_in_the_middle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for index in 0..30 {
        append(&mut store, vec![entry(id(1, index), index as i64 + 1)]).await;
    }
    store.close().await.unwrap();
    let log = dir.path().join("log");
    std::fs::remove_file(log.join(file_name(2))).unwrap();
    match LogContents::read(&log) {
        Err(Error::Corrupt { reason, .. }) => assert!(reason.contains("missing"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
