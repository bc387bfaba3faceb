//! Aggregates now and AS OF, against plain DataFusion over Parquet files of just the visible rows.

use chronos_tests::TestNode;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use tokio_postgres::Client;

use crate::harness::{Run, execute, fill, medians, millis, rows, value};

const RUNS: usize = 15;

/// Queries, with `{}` where the table stands.
const QUERIES: [(&str, &str); 4] = [
    ("totals", "SELECT count(*) AS n, sum(value) AS s, min(ts) AS a, max(ts) AS b FROM {}"),
    ("by device", "SELECT device, count(*) AS n, avg(value) AS a FROM {} GROUP BY device"),
    (
        "a tenth of the time",
        "SELECT count(*) AS n, avg(value) AS a FROM {} \
         WHERE ts >= to_timestamp(1700000000 + {rows} / 2) \
         AND ts < to_timestamp(1700000000 + {rows} / 2 + {rows} / 10)",
    ),
    ("a tenth of the values", "SELECT count(*) AS n, sum(value) AS s FROM {} WHERE value >= 90"),
];

/// A tenth of the rows, as if picked at random, and another fiftieth.
const UPDATED: &str = "(id * 2654435761) % 1000003 % 10 = 3";
const DELETED: &str = "(id * 2654435761) % 1000003 % 50 = 1";

pub(crate) async fn run(count: u64) {
    let node = TestNode::start();
    let client = fill(&node, count, 10).await;
    execute(&client, "CALL chronos.compact('readings')").await;
    let plain = tempfile::tempdir().expect("a temporary directory");
    let (before, after) = (plain.path().join("before"), plain.path().join("after"));
    let all = rows(1, count);
    write(&before, &all).await;
    write(
        &after,
        &format!(
            "SELECT id, device, ts, CASE WHEN {UPDATED} THEN value + 1 ELSE value END AS value \
             FROM ({all}) AS t WHERE NOT ({DELETED})"
        ),
    )
    .await;

    println!("| rows | state | query | Chronos, ms | DataFusion, ms | ratio |");
    println!("|---|---|---|---|---|---|");
    measure(&client, count, "loaded, now", "readings", &before).await;
    let instant = value(&client, "SELECT now()::text").await;
    let past = format!("readings FOR SYSTEM_TIME AS OF '{instant}'");
    measure(&client, count, "loaded, AS OF", &past, &before).await;

    execute(&client, &format!("UPDATE readings SET value = value + 1 WHERE {UPDATED}")).await;
    execute(&client, &format!("DELETE FROM readings WHERE {DELETED}")).await;
    execute(&client, "CALL chronos.flush()").await;
    measure(&client, count, "changed, now", "readings", &after).await;
    measure(&client, count, "changed, AS OF before", &past, &before).await;
    execute(&client, "CALL chronos.compact('readings')").await;
    measure(&client, count, "compacted, now", "readings", &after).await;
    measure(&client, count, "compacted, AS OF before", &past, &before).await;
}

/// Writes the rows of a query as Parquet files, as DataFusion does by default.
pub(crate) async fn write(directory: &std::path::Path, sql: &str) {
    let ctx = context();
    let target = directory.to_str().expect("a path of plain characters");
    // COPY TO would need the same; this form names no option.
    let frame = ctx.sql(sql).await.expect("the rows can be planned");
    frame
        .write_parquet(&format!("{target}/"), Default::default(), None)
        .await
        .expect("the rows can be written");
}

fn context() -> SessionContext {
    let partitions = std::thread::available_parallelism().map_or(1, usize::from);
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions))
}

async fn measure(client: &Client, count: u64, state: &str, table: &str, files: &std::path::Path) {
    let ctx = context();
    let path = format!("{}/", files.display());
    ctx.register_parquet("plain", path, ParquetReadOptions::default())
        .await
        .expect("the files can be read");
    for (name, template) in QUERIES {
        let template = template.replace("{rows}", &count.to_string());
        let ours = template.replacen("{}", table, 1);
        let theirs = template.replacen("{}", "plain", 1);
        same(client, &ctx, &ours, &theirs).await;
        let (ours, theirs, ctx) = (ours.as_str(), theirs.as_str(), &ctx);
        let runs: Vec<Run<'_>> = vec![
            Box::new(move || {
                Box::pin(async move { drop(crate::harness::ask(client, ours).await) })
            }),
            Box::new(move || {
                Box::pin(async move {
                    let frame = ctx.sql(theirs).await.expect("the query can be planned");
                    drop(frame.collect().await.expect("the query can be run"));
                })
            }),
        ];
        let times = medians(RUNS, runs).await;
        println!(
            "| {count} | {state} | {name} | {} | {} | {:.2} |",
            millis(times[0]),
            millis(times[1]),
            times[0].as_secs_f64() / times[1].as_secs_f64()
        );
    }
}

/// Both must count the same rows.
async fn same(client: &Client, ctx: &SessionContext, ours: &str, theirs: &str) {
    let counted = |sql: &str| format!("SELECT CAST(sum(n) AS bigint) AS n FROM ({sql}) AS q");
    let mine = value(client, &counted(ours)).await;
    let frame = ctx.sql(&counted(theirs)).await.expect("the query can be planned");
    let batches = frame.collect().await.expect("the query can be run");
    let column = batches[0].column(0);
    let number = datafusion::common::ScalarValue::try_from_array(column, 0).expect("a number");
    assert_eq!(mine, number.to_string(), "{ours}");
}
