//! Kill at random moments, and look for lost, phantom and half-visible commits.
//!
//! Several connections insert, update, load and move money, while another notes answers AS OF.
//! Each keeps a ledger of what was acknowledged and of the one statement in flight. The server is
//! killed with SIGKILL, sometimes also while it starts; then the ledgers are compared:
//!
//! ```text
//! acknowledged            must be there, whole
//! in flight at the kill   there, whole, or not there at all
//! never sent              must not be there
//! answered AS OF t        must be answered the same, in this run and in all later ones
//! ```
//!
//! `CHRONOS_CRASH_RUNS` is the number of kills (8 by default), `CHRONOS_CRASH_SEED` repeats the
//! choices of a failed run; timing is the machine's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chronos_tests::{Answer, TestNode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, Config, Error};

const ACCOUNTS: i64 = 40;
const OPENING_BALANCE: i64 = 1_000;
const WORKERS: u64 = 6;

const SCHEMA: &str = "
CREATE TABLE accounts (id int8 PRIMARY KEY, balance int8 NOT NULL);
CREATE TABLE transfers (id int8 PRIMARY KEY, source int8 NOT NULL, target int8 NOT NULL, amount int8 NOT NULL);
CREATE TABLE events (worker int8, n int8, note text, PRIMARY KEY (worker, n));
CREATE TABLE counters (worker int8 PRIMARY KEY, n int8 NOT NULL);
CREATE TABLE loads (load int8, line int8, PRIMARY KEY (load, line));
";

/// What must hold at every instant; no rows when it does.
const HALF_VISIBLE: &str = "
SELECT a.id, a.balance, coalesce(i.amount, 0) AS received, coalesce(o.amount, 0) AS sent
FROM accounts{} a
LEFT JOIN (SELECT target, sum(amount) AS amount FROM transfers{} GROUP BY target) i ON i.target = a.id
LEFT JOIN (SELECT source, sum(amount) AS amount FROM transfers{} GROUP BY source) o ON o.source = a.id
WHERE a.balance <> 1000 + coalesce(i.amount, 0) - coalesce(o.amount, 0)
ORDER BY a.id";

/// One answer over all tables, AS OF an instant.
const SUMMARY: &str = "
SELECT (SELECT count(*) FROM accounts{}), (SELECT sum(balance) FROM accounts{}),
       (SELECT count(*) FROM transfers{}), (SELECT sum(amount) FROM transfers{}),
       (SELECT count(*) FROM events{}), (SELECT sum(n) FROM events{}),
       (SELECT sum(n) FROM counters{}), (SELECT count(*) FROM loads{})";

fn at(template: &str, instant: &str) -> String {
    template.replace("{}", &format!(" FOR SYSTEM_TIME AS OF '{instant}'"))
}

/// One worker's account of what it did, over all runs.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// Acknowledged rows of `events`: numbers below this one.
    events: i64,
    /// Acknowledged value of its row in `counters`.
    counter: i64,
    /// Acknowledged transfers.
    transfers: Vec<i64>,
    /// Acknowledged loads, each with its rows.
    loads: Vec<(i64, i64)>,
    /// What was sent and not answered.
    in_flight: Option<Operation>,
    /// The number of the next transfer or load.
    next: i64,
    /// Acknowledged operations, for the report.
    done: u64,
}

/// One unit that is there as a whole or not at all.
#[derive(Clone, Debug)]
enum Operation {
    /// Inserts that many events with one statement.
    Events(i64),
    /// Adds one to the counter.
    Count,
    /// Moves money in a transaction of three statements.
    Transfer { id: i64, source: i64, target: i64, amount: i64 },
    /// COPY of that many rows.
    Load { id: i64, rows: i64 },
}

fn choose(random: &mut StdRng, worker: u64, ledger: &mut Ledger) -> Operation {
    let id = (worker as i64) * 1_000_000_000 + ledger.next;
    match random.random_range(0..100) {
        0..35 => {
            Operation::Events(if random.random_bool(0.5) { 1 } else { random.random_range(2..40) })
        }
        35..60 => Operation::Count,
        60..97 => {
            ledger.next += 1;
            let source = random.random_range(0..ACCOUNTS);
            let target = (source + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
            Operation::Transfer { id, source, target, amount: random.random_range(1..50) }
        }
        _ => {
            ledger.next += 1;
            Operation::Load { id, rows: random.random_range(1..3_000) }
        }
    }
}

async fn carry_out(
    client: &Client,
    worker: i64,
    ledger: &Ledger,
    operation: &Operation,
) -> Result<(), Error> {
    match *operation {
        Operation::Events(count) => {
            let values: Vec<String> = (ledger.events..ledger.events + count)
                .map(|n| format!("({worker}, {n}, 'event {n} of {worker}')"))
                .collect();
            client.batch_execute(&format!("INSERT INTO events VALUES {}", values.join(", "))).await
        }
        Operation::Count => {
            let sql = "UPDATE counters SET n = n + 1 WHERE worker = $1";
            let rows = client.execute(sql, &[&worker]).await?;
            assert_eq!(rows, 1, "the counter of worker {worker} is gone");
            Ok(())
        }
        Operation::Transfer { id, source, target, amount } => {
            client.batch_execute("BEGIN").await?;
            let add = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
            client.execute(add, &[&-amount, &source]).await?;
            client
                .execute(
                    "INSERT INTO transfers VALUES ($1, $2, $3, $4)",
                    &[&id, &source, &target, &amount],
                )
                .await?;
            client.execute(add, &[&amount, &target]).await?;
            client.batch_execute("COMMIT").await
        }
        Operation::Load { id, rows } => {
            use futures::SinkExt;
            let sink = client.copy_in("COPY loads FROM STDIN").await?;
            let mut sink = std::pin::pin!(sink);
            let lines: String = (0..rows).map(|line| format!("{id}\t{line}\n")).collect();
            sink.send(std::io::Cursor::new(lines.into_bytes())).await?;
            assert_eq!(sink.finish().await?, rows as u64, "COPY counts its rows");
            Ok(())
        }
    }
}

fn acknowledge(ledger: &mut Ledger, operation: Operation) {
    match operation {
        Operation::Events(count) => ledger.events += count,
        Operation::Count => ledger.counter += 1,
        Operation::Transfer { id, .. } => ledger.transfers.push(id),
        Operation::Load { id, rows } => ledger.loads.push((id, rows)),
    }
    ledger.done += 1;
}

/// Works until the connection breaks.
async fn work(config: Arc<Config>, worker: u64, seed: u64, mut ledger: Ledger) -> Ledger {
    let mut random = StdRng::seed_from_u64(seed);
    let Ok(client) = chronos_tests::node::connect(&config).await else { return ledger };
    loop {
        let operation = choose(&mut random, worker, &mut ledger);
        ledger.in_flight = Some(operation.clone());
        match carry_out(&client, worker as i64, &ledger, &operation).await {
            Ok(()) => {
                ledger.in_flight = None;
                acknowledge(&mut ledger, operation);
            }
            Err(e) => match e.as_db_error().map(|e| e.code().code().to_owned()).as_deref() {
                // Another worker moved money of the same account, or of both the other way round.
                Some("40001" | "40P01" | "25P02") => {
                    ledger.in_flight = None;
                    if client.batch_execute("ROLLBACK").await.is_err() {
                        return ledger;
                    }
                }
                None => return ledger,
                Some(code) => panic!("{operation:?} of worker {worker}: {code}: {e:?}"),
            },
        }
    }
}

/// Notes answers AS OF now until the connection breaks.
async fn observe(config: Arc<Config>) -> Vec<(String, Answer)> {
    let mut notes = Vec::new();
    let Ok(client) = chronos_tests::node::connect(&config).await else { return notes };
    loop {
        // An instant that is now, so that commits race with the question.
        let instant = match Answer::simple(&client, "SELECT now()::text").await {
            Ok(instant) => instant,
            Err(e) if e.as_db_error().is_none() => return notes,
            Err(e) => panic!("the time is not told: {e:?}"),
        };
        let instant = instant.value().expect("the time is not NULL");
        for template in [SUMMARY, HALF_VISIBLE] {
            match Answer::simple(&client, &at(template, &instant)).await {
                Ok(answer) => {
                    if template == HALF_VISIBLE {
                        assert!(answer.rows.is_empty(), "half visible AS OF {instant}:\n{answer}");
                    } else {
                        notes.push((instant.clone(), answer));
                    }
                }
                Err(e) if e.as_db_error().is_none() => return notes,
                Err(e) => panic!("AS OF {instant}: {e:?}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Rewrites one table after the other until the connection breaks, so that most kills hit a
/// compaction. Gives how many ended.
async fn compact(config: Arc<Config>) -> u64 {
    let Ok(client) = chronos_tests::node::connect(&config).await else { return 0 };
    let mut done = 0;
    for table in ["events", "accounts", "loads", "counters", "transfers"].iter().cycle() {
        match client.batch_execute(&format!("CALL chronos.compact('{table}')")).await {
            Ok(()) => done += 1,
            Err(e) if e.as_db_error().is_none() => break,
            Err(e) => panic!("compaction of {table}: {e:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    done
}

async fn number(client: &Client, sql: &str) -> i64 {
    match client.query_one(sql, &[]).await {
        Ok(row) => row.get(0),
        Err(e) => panic!("{sql}: {}", chronos_tests::answer::told(&e)),
    }
}

/// Compares what is there with the ledger, and settles what was in flight.
async fn settle(client: &Client, worker: u64, ledger: &mut Ledger) {
    let in_flight = ledger.in_flight.take();
    let count =
        number(client, &format!("SELECT count(*) FROM events WHERE worker = {worker}")).await;
    let last =
        number(client, &format!("SELECT coalesce(max(n), -1) FROM events WHERE worker = {worker}"))
            .await;
    assert_eq!(last, count - 1, "events of worker {worker} have gaps");
    let counter = number(client, &format!("SELECT n FROM counters WHERE worker = {worker}")).await;
    let id = |id: i64| format!("SELECT count(*) FROM transfers WHERE id = {id}");
    let (mut events, mut counted) = (ledger.events, ledger.counter);
    match in_flight {
        Some(Operation::Events(more)) if count == ledger.events + more => events = count,
        Some(Operation::Count) if counter == ledger.counter + 1 => counted = counter,
        Some(Operation::Transfer { id: new, .. }) if number(client, &id(new)).await == 1 => {
            ledger.transfers.push(new);
        }
        Some(Operation::Load { id, rows })
            if number(client, &format!("SELECT count(*) FROM loads WHERE load = {id}")).await
                > 0 =>
        {
            ledger.loads.push((id, rows));
        }
        _ => {}
    }
    assert_eq!(count, events, "events of worker {worker}: lost, phantom or half there");
    assert_eq!(counter, counted, "counter of worker {worker}");
    (ledger.events, ledger.counter) = (events, counted);

    let (low, high) = ((worker as i64) * 1_000_000_000, (worker as i64 + 1) * 1_000_000_000);
    let sql = format!("SELECT id FROM transfers WHERE id >= {low} AND id < {high} ORDER BY id");
    let rows = client.query(&sql, &[]).await.expect("transfers can be read");
    let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, ledger.transfers, "transfers of worker {worker}");
    let sql = format!(
        "SELECT load, count(*) FROM loads WHERE load >= {low} AND load < {high} GROUP BY load ORDER BY load"
    );
    let rows = client.query(&sql, &[]).await.expect("loads can be read");
    let found: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, ledger.loads, "loads of worker {worker}");
}

async fn ask_again(client: &Client, notes: &[(String, Answer)]) {
    for (instant, then) in notes {
        let answer = Answer::simple(client, &at(SUMMARY, instant)).await;
        let answer = answer.expect("what was answered once can be asked again");
        assert_eq!(answer, *then, "AS OF {instant}");
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_change_no_answer() {
    let runs = setting("CHRONOS_CRASH_RUNS").unwrap_or(8);
    let seed = setting("CHRONOS_CRASH_SEED").unwrap_or_else(rand::random);
    eprintln!("CHRONOS_CRASH_SEED={seed} CHRONOS_CRASH_RUNS={runs}");
    let mut random = StdRng::seed_from_u64(seed);

    // Flushes and compacts all the time, so that many kills hit one.
    let options = TestNode::options()
        .env("CHRONOS_FLUSH_INTERVAL", "100ms")
        .env("CHRONOS_COMPACTION_INTERVAL", "50ms");
    let mut node = options.start();
    let data_dir: PathBuf = node.data_dir().to_owned();
    let client = node.connect().await;
    client.batch_execute(SCHEMA).await.expect("the tables can be made");
    let accounts: Vec<String> =
        (0..ACCOUNTS).map(|id| format!("({id}, {OPENING_BALANCE})")).collect();
    let counters: Vec<String> = (0..WORKERS).map(|worker| format!("({worker}, 0)")).collect();
    client
        .batch_execute(&format!(
            "INSERT INTO accounts VALUES {}; INSERT INTO counters VALUES {}",
            accounts.join(", "),
            counters.join(", ")
        ))
        .await
        .expect("the first rows can be written");
    drop(client);

    let mut ledgers = vec![Ledger::default(); usize::try_from(WORKERS).expect("a small number")];
    let mut notes: Vec<(String, Answer)> = Vec::new();
    let mut compactions = 0;
    for run in 0..runs {
        let config = Arc::new(node.config());
        let workers: Vec<_> = (0..)
            .zip(ledgers.drain(..))
            .map(|(worker, ledger)| {
                tokio::spawn(work(Arc::clone(&config), worker, random.random(), ledger))
            })
            .collect();
        let observer = tokio::spawn(observe(Arc::clone(&config)));
        let compactor = tokio::spawn(compact(Arc::clone(&config)));
        tokio::time::sleep(Duration::from_millis(random.random_range(20..1_500))).await;
        node.kill();
        for worker in workers {
            ledgers.push(worker.await.expect("a worker met an error that it may not meet"));
        }
        let fresh = observer.await.expect("the observer met an answer that may not be");
        compactions += compactor.await.expect("a compaction met an error that it may not meet");

        // Recovery can be interrupted too.
        while random.random_bool(0.25) {
            let after = Duration::from_millis(random.random_range(1..400));
            options.start_and_kill(&data_dir, after);
        }
        node.start_again();
        let client = node.connect().await;
        let half = Answer::simple(&client, &HALF_VISIBLE.replace("{}", "")).await;
        let half = half.expect("the accounts can be read");
        assert!(half.rows.is_empty(), "seed {seed}, run {run}: half visible\n{half}");
        let sum = number(&client, "SELECT sum(balance)::int8 FROM accounts").await;
        assert_eq!(sum, ACCOUNTS * OPENING_BALANCE, "seed {seed}, run {run}");
        for (worker, ledger) in (0..).zip(&mut ledgers) {
            settle(&client, worker, ledger).await;
        }
        ask_again(&client, &fresh).await;
        let earlier: Vec<(String, Answer)> = (0..notes.len().min(5))
            .map(|_| notes[random.random_range(0..notes.len())].clone())
            .collect();
        ask_again(&client, &earlier).await;
        notes.extend(fresh);
        let done: u64 = ledgers.iter().map(|ledger| ledger.done).sum();
        eprintln!(
            "run {run}: {done} commits, {compactions} compactions, {} noted answers",
            notes.len()
        );
    }
    node.restart();
    ask_again(&node.connect().await, &notes).await;
    let done: u64 = ledgers.iter().map(|ledger| ledger.done).sum();
    assert!(done > runs * 10, "only {done} commits in {runs} runs: nothing was tested");
    assert!(notes.len() as u64 >= runs / 2, "only {} answers were noted", notes.len());
}
