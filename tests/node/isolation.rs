//! What concurrent transactions may see of each other, with sixteen clients at a time.
//!
//! | anomaly | READ COMMITTED | REPEATABLE READ | SERIALIZABLE |
//! |---|---|---|---|
//! | dirty read | never | never | never |
//! | lost update of `SET n = n + 1` | never | never | never |
//! | lost update of what was read before | may be | never | never |
//! | read skew | may be | never | never |
//! | write skew | may be | may be | never |
//!
//! `CHRONOS_BANK_SECONDS` is how long money is moved (3 by default; `just bank` takes five minutes).

use std::time::{Duration, Instant};

use chronos_tests::{Answer, TestNode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, Config, Error};

const CLIENTS: u64 = 16;
const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

/// What a transaction that lost a race is told.
fn lost_race(error: &Error) -> bool {
    let code = error.as_db_error().map(|e| e.code().code().to_owned());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// Carries out the transaction, again for as long as it loses races.
async fn retried<F>(client: &Client, level: &str, mut body: F)
where
    F: AsyncFnMut(&Client) -> Result<(), Error>,
{
    loop {
        let begin = format!("BEGIN ISOLATION LEVEL {level}");
        client.batch_execute(&begin).await.expect("a transaction can begin");
        let done = match body(client).await {
            Ok(()) => client.batch_execute("COMMIT").await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => return,
            Err(error) if lost_race(&error) => {
                client.batch_execute("ROLLBACK").await.expect("a transaction can be left");
            }
            Err(error) => panic!("{level}: {}", chronos_tests::answer::told(&error)),
        }
    }
}

async fn number(client: &Client, sql: &str) -> Result<i64, Error> {
    client.query_one(sql, &[]).await.map(|row| row.get(0))
}

/// Runs the same on every client at once.
async fn together<F>(config: &Config, run: F)
where
    F: AsyncFn(u64, Client),
{
    let clients = (0..CLIENTS).map(async |n| {
        let client = chronos_tests::node::connect(config).await.expect("a client can connect");
        run(n, client).await;
    });
    futures::future::join_all(clients).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_what_is_not_committed() {
    let node = TestNode::start();
    let setup = node.connect().await;
    setup.batch_execute("CREATE TABLE d (id int8 PRIMARY KEY, v int8)").await.expect("a table");
    setup
        .batch_execute("INSERT INTO d SELECT i, 0 FROM generate_series(0, 15) AS g(i)")
        .await
        .expect("rows");
    let config = node.config();
    for level in LEVELS {
        together(&config, async |n, client| {
            for _ in 0..5 {
                // What is written here is taken back.
                let begin = format!("BEGIN ISOLATION LEVEL {level}");
                client.batch_execute(&begin).await.expect("a transaction can begin");
                let write =
                    client.execute("UPDATE d SET v = -1 WHERE id = $1", &[&(n as i64)]).await;
                write.expect("nobody else changes the row");
                client.batch_execute("ROLLBACK").await.expect("a transaction can be left");
                let dirty = number(&client, "SELECT count(*) FROM d WHERE v <> 0").await;
                assert_eq!(dirty.expect("the table can be read"), 0, "{level}: a dirty read");
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost() {
    const ROUNDS: i64 = 4;
    let node = TestNode::start();
    let setup = node.connect().await;
    setup.batch_execute("CREATE TABLE c (id int8 PRIMARY KEY, n int8)").await.expect("a table");
    let config = node.config();
    for (id, level) in (0i64..).zip(LEVELS) {
        setup.execute("INSERT INTO c VALUES ($1, 0)", &[&id]).await.expect("a row");
        together(&config, async |_, client| {
            for _ in 0..ROUNDS {
                retried(&client, level, async |client| {
                    if level == "READ COMMITTED" {
                        let sql = "UPDATE c SET n = n + 1 WHERE id = $1";
                        return client.execute(sql, &[&id]).await.map(|_| ());
                    }
                    // Read first, then write what was read plus one.
                    let sql = format!("SELECT n FROM c WHERE id = {id}");
                    let n = number(client, &sql).await?;
                    let sql = "UPDATE c SET n = $1 WHERE id = $2";
                    client.execute(sql, &[&(n + 1), &id]).await.map(|_| ())
                })
                .await;
            }
        })
        .await;
        let n = number(&setup, &format!("SELECT n FROM c WHERE id = {id}")).await;
        assert_eq!(n.expect("the counter"), ROUNDS * CLIENTS as i64, "{level}: a lost update");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_reads_one_state() {
    let node = TestNode::start();
    let setup = node.connect().await;
    setup.batch_execute("CREATE TABLE p (id int8 PRIMARY KEY, v int8)").await.expect("a table");
    setup.batch_execute("INSERT INTO p VALUES (1, 0), (2, 0)").await.expect("rows");
    let config = node.config();
    for level in &LEVELS[1..] {
        together(&config, async |n, client| {
            for _ in 0..6 {
                if n % 4 == 0 {
                    retried(&client, level, async |client| {
                        let sql = "UPDATE p SET v = v + 1";
                        client.execute(sql, &[]).await.map(|_| ())
                    })
                    .await;
                    continue;
                }
                retried(&client, level, async |client| {
                    let a = number(client, "SELECT v FROM p WHERE id = 1").await?;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    let b = number(client, "SELECT v FROM p WHERE id = 2").await?;
                    assert_eq!(a, b, "{level}: read skew");
                    Ok(())
                })
                .await;
            }
        })
        .await;
    }
}

/// Of two doctors one stays on call, though each may leave while the other is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_transactions_have_no_write_skew() {
    let node = TestNode::start();
    let setup = node.connect().await;
    setup
        .batch_execute("CREATE TABLE oncall (shift int8, doctor int8, PRIMARY KEY (shift, doctor))")
        .await
        .expect("a table");
    setup
        .batch_execute(
            "INSERT INTO oncall SELECT s, d FROM generate_series(0, 7) AS a(s), generate_series(0, 1) AS b(d)",
        )
        .await
        .expect("rows");
    let config = node.config();
    together(&config, async |n, client| {
        let (shift, doctor) = (n as i64 / 2, n as i64 % 2);
        retried(&client, "SERIALIZABLE", async |client| {
            let sql = format!("SELECT count(*) FROM oncall WHERE shift = {shift}");
            if number(client, &sql).await? < 2 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            let sql = "DELETE FROM oncall WHERE shift = $1 AND doctor = $2";
            client.execute(sql, &[&shift, &doctor]).await.map(|_| ())
        })
        .await;
    })
    .await;
    let sql = "SELECT shift FROM oncall GROUP BY shift HAVING count(*) <> 1";
    let wrong = Answer::simple(&setup, sql).await.expect("the table can be read");
    assert!(wrong.rows.is_empty(), "write skew:\n{wrong}");
    let shifts = number(&setup, "SELECT count(*) FROM oncall").await.expect("the table");
    assert_eq!(shifts, 8);
}

/// Money is moved between accounts; its sum is right now and AS OF every commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_of_all_accounts_is_right_as_of_every_commit() {
    const ACCOUNTS: i64 = 100;
    const TOTAL: i64 = ACCOUNTS * 1_000;
    let seconds = std::env::var("CHRONOS_BANK_SECONDS").ok();
    let seconds: u64 = seconds.map_or(3, |s| s.parse().expect("a number of seconds"));
    let seed: u64 = match std::env::var("CHRONOS_BANK_SEED") {
        Ok(seed) => seed.parse().expect("a seed"),
        Err(_) => rand::random(),
    };
    eprintln!("CHRONOS_BANK_SEED={seed} CHRONOS_BANK_SECONDS={seconds}");
    let node = TestNode::options().env("CHRONOS_FLUSH_INTERVAL", "500ms").start();
    let setup = node.connect().await;
    setup.batch_execute("CREATE TABLE bank (id int8 PRIMARY KEY, v int8)").await.expect("a table");
    let fill = format!(
        "INSERT INTO bank SELECT i, 1000 FROM generate_series(0, {}) AS g(i)",
        ACCOUNTS - 1
    );
    setup.batch_execute(&fill).await.expect("rows");
    let config = node.config();
    let until = Instant::now() + Duration::from_secs(seconds);
    together(&config, async |n, client| {
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(n));
        let level = LEVELS[usize::try_from(n % 3).expect("small")];
        while Instant::now() < until {
            if n % 8 == 7 {
                let sum = number(&client, "SELECT sum(v)::int8 FROM bank").await;
                assert_eq!(sum.expect("the bank can be read"), TOTAL, "the sum now");
                continue;
            }
            let source = random.random_range(0..ACCOUNTS);
            let target = (source + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
            let amount = random.random_range(1..20_i64);
            // SERIALIZABLE on a table that all write would hardly ever get through.
            let level = if level == "SERIALIZABLE" { "REPEATABLE READ" } else { level };
            retried(&client, level, async |client| {
                let add = "UPDATE bank SET v = v + $1 WHERE id = $2";
                client.execute(add, &[&-amount, &source]).await?;
                client.execute(add, &[&amount, &target]).await.map(|_| ())
            })
            .await;
        }
    })
    .await;

    // Each transfer changes two rows, so at most half of the versions are commits of their own.
    let sql = "SELECT DISTINCT _system_from::text FROM bank FOR SYSTEM_TIME ALL ORDER BY 1";
    let commits = Answer::simple(&setup, sql).await.expect("the history can be read");
    eprintln!("{} commits", commits.rows.len());
    assert!(commits.rows.len() > 1, "nothing was moved");
    let share = commits.rows.len().div_ceil(if seconds > 60 { 20_000 } else { 300 });
    for row in commits.rows.iter().step_by(share) {
        let instant = row[0].as_deref().expect("an instant");
        let sql =
            format!("SELECT sum(v)::int8, count(*) FROM bank FOR SYSTEM_TIME AS OF '{instant}'");
        let answer = Answer::simple(&setup, &sql).await.expect("the past can be read");
        let expected = vec![vec![Some(TOTAL.to_string()), Some(ACCOUNTS.to_string())]];
        assert_eq!(answer.rows, expected, "AS OF {instant}");
    }
}
