//! Every byte of a small database flipped, one at a time: each read is right or an error that
//! says so, never wrong rows.
//!
//! `CHRONOS_FLIPS` says how many bytes are tried, `CHRONOS_SEED` which.

use std::path::Path;

use chronos_catalog::clock::{Rng, SeededRandom};

use super::*;
use crate::error::PgError;

/// How many are tried by default.
const FLIPS: usize = 60;

/// A question and its answer, or the error in its place.
type Answers = Vec<(String, Result<Vec<(i64, String)>, PgError>)>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

pub(super) fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A database with every kind of file: two tables, segments as flushed and as compacted, key
/// files, row ends, two snapshots, and a log after them. Gives its tables and some instants.
async fn build(dir: &Dir) -> (Vec<Oid>, Vec<CommitTs>) {
    let engine = dir.open().await;
    let mut tables = Vec::new();
    let mut instants = Vec::new();
    for name in ["t", "u"] {
        let mut transaction = engine.begin();
        tables.push(create(&mut transaction, name));
        commit(transaction).await.unwrap();
    }
    for round in 0..3_i64 {
        for &table in &tables {
            let ids: Vec<i64> = (round * 20..round * 20 + 20).collect();
            instants.push(insert(&engine, table, &ids, "first").await);
            let mut transaction = engine.begin();
            update(&mut transaction, table, round * 20, "second").await;
            let gone = find(&transaction, table, round * 20 + 1).await;
            transaction.end_rows(table, &[gone]).unwrap();
            instants.push(commit(transaction).await.unwrap());
            engine.flush(table).await.unwrap();
        }
        if round == 1 {
            engine.compact(tables[0]).await.unwrap();
            engine.raft.snapshot().await.unwrap();
        }
    }
    let mut transaction = engine.begin();
    update(&mut transaction, tables[0], 2, "third").await;
    update(&mut transaction, tables[0], 42, "third").await;
    instants.push(commit(transaction).await.unwrap());
    engine.raft.snapshot().await.unwrap();
    let mut transaction = engine.begin();
    update(&mut transaction, tables[1], 22, "late").await;
    instants.push(commit(transaction).await.unwrap());
    // At the end more than a sector of zeros, the version numbers of these rows: what a power
    // failure leaves of a block looks like that.
    instants.push(insert(&engine, tables[1], &(100..400).collect::<Vec<_>>(), "tail").await);
    // As a crash leaves it: the log goes on after the last snapshot.
    engine.raft.shutdown().await.unwrap();
    (tables, instants)
}

/// What a database says; the error where it does not open.
async fn ask(dir: &Dir, tables: &[Oid], instants: &[CommitTs]) -> Result<Answers, PgError> {
    let config = Config { compaction_interval: Duration::ZERO, ..dir.config() };
    let engine = Engine::open(&config).await?;
    let mut answers = Answers::new();
    let transaction = engine.begin();
    for &table in tables {
        let times = instants.iter().map(|t| Some(SystemTime::AsOf(*t)));
        for time in times.chain([None, Some(SystemTime::All)]) {
            let mut questions = vec!["SELECT id, v FROM t ORDER BY id, v"];
            if time.is_none() {
                questions.push("SELECT id, v FROM t WHERE id IN (0, 1, 21, 42, 101)  ORDER BY id");
                questions.push("SELECT count(*) AS id, max(v) AS v FROM t");
            }
            for sql in questions {
                let answer = answer(&transaction, table, time, sql).await;
                answers.push((format!("{sql} of {table} at {time:?}"), answer));
            }
        }
    }
    drop(transaction);
    let _ = engine.raft.shutdown().await;
    Ok(answers)
}

async fn answer(
    transaction: &Transaction,
    table: Oid,
    time: Option<SystemTime>,
    sql: &str,
) -> Result<Vec<(i64, String)>, PgError> {
    let provider = match time {
        None => transaction.current_table(table)?,
        Some(time) => transaction.table(table, time)?,
    };
    let context = SessionContext::new();
    context.register_table("t", provider)?;
    let mut rows = Vec::new();
    for batch in context.sql(sql).await?.collect().await? {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let texts = batch.column(1).as_string_view();
        rows.extend((0..batch.num_rows()).map(|i| (ids.value(i), texts.value(i).to_owned())));
    }
    Ok(rows)
}

/// Whether the error tells of damage, by the name of what is damaged.
fn tells(error: &PgError) -> bool {
    error.code == "XX001" && error.message.contains('"') && !error.message.contains("panicked")
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_byte_anywhere_is_told_or_changes_no_answer() {
    let seed = number("CHRONOS_SEED").unwrap_or(1);
    let flips = number("CHRONOS_FLIPS").map_or(FLIPS, |n| n as usize);
    let random = SeededRandom::new(seed);
    let any = |below: u64| {
        let mut bytes = [0; 8];
        random.fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes) % below
    };
    let good = Dir::new();
    let (tables, instants) = build(&good).await;
    let reference = Dir::new();
    copy(&good.0, &reference.0);
    let right = ask(&reference, &tables, &instants).await.unwrap();
    assert!(right.iter().all(|(_, answer)| answer.is_ok()), "{right:?}");
    let mut all = Vec::new();
    files(&good.0, &mut all);
    for ending in [".log", ".snap", ".parquet", ".keys", ".rowends"] {
        assert!(all.iter().any(|f| f.to_string_lossy().ends_with(ending)), "{ending}: {all:?}");
    }
    let (mut told, mut unhurt) = (0, 0);
    for n in 0..flips {
        // The log tells everything else, so every other byte is one of its.
        let logs: Vec<&PathBuf> =
            all.iter().filter(|f| n % 2 == 0 && f.to_string_lossy().ends_with(".log")).collect();
        let choice: Vec<&PathBuf> = if logs.is_empty() { all.iter().collect() } else { logs };
        let file = choice[any(choice.len() as u64) as usize];
        let name = file.strip_prefix(&good.0).unwrap();
        let mut bytes = std::fs::read(file).unwrap();
        let at = any(bytes.len() as u64) as usize;
        let bit = any(8);
        bytes[at] ^= 1 << bit;
        let dir = Dir::new();
        copy(&good.0, &dir.0);
        std::fs::write(dir.0.join(name), &bytes).unwrap();
        let what = format!("seed {seed}, bit {bit} of byte {at} of {}", name.display());
        match ask(&dir, &tables, &instants).await {
            Err(error) => {
                assert!(tells(&error), "{what}: {error:?}");
                told += 1;
            }
            Ok(answers) => {
                let mut hurt = false;
                for ((question, found), (_, right)) in answers.into_iter().zip(&right) {
                    match found {
                        Ok(found) => assert_eq!(
                            Some(&found),
                            right.as_ref().ok(),
                            "{what}: wrong answer to {question}"
                        ),
                        Err(error) => {
                            assert!(tells(&error), "{what}: {question}: {error:?}");
                            hurt = true;
                        }
                    }
                }
                told += usize::from(hurt);
                unhurt += usize::from(!hurt);
            }
        }
    }
    println!("{told} flips were told, {unhurt} changed no answer");
}
