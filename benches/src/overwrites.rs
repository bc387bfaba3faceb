//! Does a table get slower when every row is overwritten five times?

use chronos_tests::TestNode;

use crate::harness::{Run, ask, fill, medians, millis, value};

const RUNS: usize = 31;
const TIMES: usize = 5;

pub(crate) async fn run(count: u64) {
    let node = TestNode::start();
    let client = fill(&node, count, 1).await;
    println!("| rows | overwritten | query | ms | to the first |");
    println!("|---|---|---|---|---|");
    let queries = |table: &str| {
        [
            ("count(*)", format!("SELECT count(*) FROM {table}")),
            ("filtered", format!("SELECT avg(value) FROM {table} WHERE device < 'd3'")),
        ]
    };
    let mut first = [0.0; 2];
    let mut instants = Vec::new();
    for times in 0..=TIMES {
        if times > 0 {
            crate::harness::execute(&client, "UPDATE readings SET value = value + 1").await;
        }
        for (i, (name, sql)) in queries("readings").iter().enumerate() {
            let client = &client;
            let run: Run<'_> =
                Box::new(move || Box::pin(async move { drop(ask(client, sql).await) }));
            let time = medians(RUNS, vec![run]).await[0];
            if times == 0 {
                first[i] = time.as_secs_f64();
            }
            let ratio = time.as_secs_f64() / first[i];
            println!("| {count} | {times} times, now | {name} | {} | {ratio:.2} |", millis(time));
        }
        instants.push(value(&client, "SELECT now()::text").await);
    }
    for (times, instant) in instants.iter().enumerate() {
        let table = format!("readings FOR SYSTEM_TIME AS OF '{instant}'");
        for (i, (name, sql)) in queries(&table).iter().enumerate() {
            let client = &client;
            let run: Run<'_> =
                Box::new(move || Box::pin(async move { drop(ask(client, sql).await) }));
            let time = medians(RUNS, vec![run]).await[0];
            let ratio = time.as_secs_f64() / first[i];
            println!("| {count} | AS OF {times} times | {name} | {} | {ratio:.2} |", millis(time));
        }
    }
}
