//! Reads of one row by its key, prepared, one after the other.

use std::time::Instant;

use chronos_tests::TestNode;
use tokio_postgres::Client;

use crate::harness::{ask, execute, fill, millis, value};

const READS: u64 = 2_000;

pub(crate) async fn run(count: u64) {
    let mut node = TestNode::start();
    let client = fill(&node, count, 10).await;
    let instant = value(&client, "SELECT now()::text").await;
    execute(&client, "UPDATE readings SET value = value + 1 WHERE id % 10 = 3").await;
    execute(&client, "CALL chronos.flush()").await;
    drop(client);
    println!("| rows | read | first, ms | its bytes | another's | others, ms | reads/s |");
    println!("|---|---|---|---|---|---|---|");
    let past = format!("readings FOR SYSTEM_TIME AS OF '{instant}'");
    for (name, table) in [("now", "readings"), ("AS OF", past.as_str())] {
        // A new process has nothing cached but what the operating system has.
        node.stop();
        node.start_again();
        let client = node.connect().await;
        let cold = bytes_read(&client, table, count / 2).await;
        let warm = bytes_read(&client, table, count / 2 + 1).await;
        drop(client);
        node.stop();
        node.start_again();
        let client = node.connect().await;
        let (first, others) = reads(&client, table, count).await;
        println!(
            "| {count} | {name} | {} | {cold} | {warm} | {} | {:.0} |",
            millis(first),
            millis(others),
            1.0 / others.as_secs_f64()
        );
    }
}

/// Bytes that a read took from the files, those of keys, row ends and footers included.
async fn bytes_read(client: &Client, table: &str, id: u64) -> String {
    let sql = format!("EXPLAIN ANALYZE SELECT device, value FROM {table} WHERE id = {id}");
    let plan = ask(client, &sql).await.to_string();
    let found = plan.split("bytes_read=").nth(1).and_then(|rest| rest.split([',', ']']).next());
    found.unwrap_or("?").to_owned()
}

async fn reads(
    client: &Client,
    table: &str,
    count: u64,
) -> (std::time::Duration, std::time::Duration) {
    let sql = format!("SELECT device, value FROM {table} WHERE id = $1");
    let statement = client.prepare(&sql).await.expect("the read can be prepared");
    let mut first = std::time::Duration::ZERO;
    let mut begun = Instant::now();
    for n in 0..=READS {
        let id = i64::try_from((n * 7919) % count + 1).expect("a key");
        let rows = client.query(&statement, &[&id]).await.expect("a row can be read");
        assert_eq!(rows.len(), 1, "row {id}");
        if n == 0 {
            first = begun.elapsed();
            begun = Instant::now();
        }
    }
    (first, begun.elapsed() / u32::try_from(READS).expect("small"))
}
