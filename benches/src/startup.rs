//! How long until a server is ready: an empty one, and one with rows in fifty segments.

use std::time::{Duration, Instant};

use chronos_tests::TestNode;

use crate::harness::{fill, median, millis, value};

const RUNS: usize = 5;

pub(crate) async fn run(count: u64) {
    let mut empty = TestNode::start();
    let empty_time = restarts(&mut empty);
    let mut full = TestNode::start();
    let client = fill(&full, count, 50).await;
    let sql = "SELECT count(*) FROM chronos.segments WHERE table_name = 'readings'";
    let segments = value(&client, sql).await;
    drop(client);
    let full_time = restarts(&mut full);
    println!("| rows | segments | ready, ms | empty, ms | ratio |");
    println!("|---|---|---|---|---|");
    println!(
        "| {count} | {segments} | {} | {} | {:.2} |",
        millis(full_time),
        millis(empty_time),
        full_time.as_secs_f64() / empty_time.as_secs_f64()
    );
}

fn restarts(node: &mut TestNode) -> Duration {
    let mut samples = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        node.stop();
        let begun = Instant::now();
        node.start_again();
        samples.push(begun.elapsed());
    }
    median(samples)
}
