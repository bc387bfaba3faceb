//! What the questions share: the data, the clock and the tables of results.

use std::pin::Pin;
use std::time::{Duration, Instant};

use chronos_tests::{Answer, TestNode};
use tokio_postgres::Client;

/// Rows as SELECT, the same for both systems: a key, one of a thousand devices, a second each,
/// and a value from 0 to 100 that looks random.
pub(crate) fn rows(from: u64, to: u64) -> String {
    format!(
        "SELECT i AS id, 'd' || CAST(i % 1000 AS text) AS device, \
         to_timestamp(1700000000 + i) AS ts, \
         CAST((i * 7919) % 10007 AS double precision) / 100.07 AS value \
         FROM generate_series({from}, {to}) AS g(i)"
    )
}

/// Something to be measured in turn with others.
pub(crate) type Run<'a> = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = ()> + 'a>> + 'a>;

/// Runs each in turn, `times` times after one that does not count, and gives each one's median.
pub(crate) async fn medians(times: usize, mut runs: Vec<Run<'_>>) -> Vec<Duration> {
    let mut samples = vec![Vec::with_capacity(times); runs.len()];
    for round in 0..=times {
        for (run, samples) in runs.iter_mut().zip(&mut samples) {
            let begun = Instant::now();
            run().await;
            if round > 0 {
                samples.push(begun.elapsed());
            }
        }
    }
    samples.into_iter().map(median).collect()
}

/// The one in the middle.
pub(crate) fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// Milliseconds with one digit.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

/// Carries out statements.
pub(crate) async fn execute(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        panic!("{sql}: {}", chronos_tests::answer::told(&error));
    }
}

/// Asks a query.
pub(crate) async fn ask(client: &Client, sql: &str) -> Answer {
    match Answer::simple(client, sql).await {
        Ok(answer) => answer,
        Err(error) => panic!("{sql}: {}", chronos_tests::answer::told(&error)),
    }
}

/// The one value of a query.
pub(crate) async fn value(client: &Client, sql: &str) -> String {
    ask(client, sql).await.value().unwrap_or_default()
}

/// The table.
pub(crate) const SCHEMA: &str = "CREATE TABLE readings (id bigint PRIMARY KEY, \
     device text NOT NULL, ts timestamptz NOT NULL, value double precision NOT NULL)";

/// Makes the table and fills it with that many statements, flushed after each.
pub(crate) async fn fill(node: &TestNode, count: u64, statements: u64) -> Client {
    let client = node.connect().await;
    execute(&client, SCHEMA).await;
    let step = count.div_ceil(statements);
    for n in 0..statements {
        let (from, to) = (n * step + 1, ((n + 1) * step).min(count));
        execute(&client, &format!("INSERT INTO readings {}", rows(from, to))).await;
        execute(&client, "CALL chronos.flush()").await;
    }
    client
}
