//! How many bytes rows take: in segments, in plain Parquet files, and in PostgreSQL's heap and
//! index where `POSTGRES` tells how to connect to one.

use std::path::Path;

use tokio_postgres::NoTls;

use crate::harness::{SCHEMA, execute, fill, rows, value};
use chronos_tests::TestNode;

pub(crate) async fn run(count: u64) {
    let node = TestNode::start();
    let client = fill(&node, count, 10).await;
    execute(&client, "CALL chronos.compact('readings')").await;
    let tables = node.data_dir().join("store/tables");
    let oid = value(&client, "SELECT 'readings'::regclass::oid").await;
    let all = bytes(&tables.join(&oid), &|_| true);
    let parquet = bytes(&tables.join(&oid), &|name| name.ends_with(".parquet"));
    assert!(parquet > 0, "no segments in {}", tables.join(&oid).display());
    let per_row = |bytes: u64| bytes as f64 / count as f64;
    println!("| rows | what | bytes | a row |");
    println!("|---|---|---|---|");
    let show = |what: &str, bytes: u64| {
        println!("| {count} | {what} | {bytes} | {:.1} |", per_row(bytes));
    };
    show("Chronos: segments", parquet);
    show("Chronos: key files", all - parquet);
    show("Chronos: both", all);
    let plain = tempfile::tempdir().expect("a temporary directory");
    crate::scan::write(plain.path(), &rows(1, count)).await;
    show("plain Parquet", bytes(plain.path(), &|_| true));
    if let Ok(postgres) = std::env::var("POSTGRES") {
        let (client, connection) =
            tokio_postgres::connect(&postgres, NoTls).await.expect("PostgreSQL can be reached");
        tokio::spawn(connection);
        execute(&client, SCHEMA).await;
        execute(&client, &format!("INSERT INTO readings {}", rows(1, count))).await;
        for (what, function) in [("heap", "pg_table_size"), ("index", "pg_indexes_size")] {
            let size = value(&client, &format!("SELECT {function}('readings')")).await;
            show(&format!("PostgreSQL: {what}"), size.parse().expect("a number"));
        }
    }
}

/// The sizes of the files below a directory.
fn bytes(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> u64 {
    let entries = std::fs::read_dir(directory).expect("a directory can be read").flatten();
    entries
        .map(|entry| match entry.metadata().expect("a file can be looked at") {
            data if data.is_dir() => bytes(&entry.path(), wanted),
            data if wanted(&entry.file_name().to_string_lossy()) => data.len(),
            _ => 0,
        })
        .sum()
}
