//! The scripts in `tests/sql`, in both protocols, and their replay in the past.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chronos_tests::script::{Protocol, Script};
use chronos_tests::{PATIENCE, TestNode};

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/sql")).join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of scripts can be read")
        .map(|entry| entry.expect("the folder of scripts can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    paths
}

/// Runs each script on a node of its own and asks its queries again in every state that the
/// table can be in. Every script's failures are told, not only the first one's.
async fn run(folder: &str, protocol: Protocol) {
    let mut failed = Vec::new();
    for path in scripts(folder) {
        let name = path.display().to_string();
        let script = tokio::spawn(async move { run_one(&Script::read(&path), protocol).await });
        if script.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{protocol:?} protocol, failed: {failed:#?}");
}

async fn run_one(script: &Script, protocol: Protocol) {
    let mut node = TestNode::start();
    let client = node.connect().await;
    let moments = script.run(&client, protocol).await;
    script.replay(&client, protocol, &moments, "at the end").await;
    drop(client);

    node.crash();
    script.replay(&node.connect().await, protocol, &moments, "after a kill").await;

    // A clean stop flushes; what is read then comes from files.
    node.restart();
    script.replay(&node.connect().await, protocol, &moments, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresqls_scripts_in_the_simple_protocol() {
    run("postgresql", Protocol::Simple).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresqls_scripts_in_the_extended_protocol() {
    run("postgresql", Protocol::Extended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_scripts_in_the_simple_protocol() {
    run("time", Protocol::Simple).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_scripts_in_the_extended_protocol() {
    run("time", Protocol::Extended).await;
}

/// Flushes happen while the script runs, and between its end and the replay.
#[tokio::test(flavor = "multi_thread")]
async fn times_scripts_with_flushes_in_between() {
    for path in scripts("time") {
        let script = Script::read(&path);
        let node = TestNode::options().env("CHRONOS_FLUSH_INTERVAL", "50ms").start();
        let client = node.connect().await;
        let moments = script.run(&client, Protocol::Simple).await;
        let deadline = Instant::now() + PATIENCE;
        while node.parquet_files().is_empty() {
            assert!(Instant::now() < deadline, "nothing was flushed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        script.replay(&client, Protocol::Simple, &moments, "after flushes").await;
    }
}

/// The scripts in `sql/postgresql` claim to be true of PostgreSQL. With
/// `CHRONOS_TEST_POSTGRES="host=… port=… user=… dbname=…"`, an empty database, they are run there.
#[tokio::test(flavor = "multi_thread")]
async fn the_scripts_hold_on_postgresql() {
    let Ok(address) = std::env::var("CHRONOS_TEST_POSTGRES") else {
        chronos_tests::tools::skipped(
            "the_scripts_hold_on_postgresql",
            "CHRONOS_TEST_POSTGRES names no server",
        );
        return;
    };
    let config = address.parse().expect("CHRONOS_TEST_POSTGRES is a connection string");
    let client = chronos_tests::node::connect(&config).await.expect("PostgreSQL can be reached");
    for path in scripts("postgresql") {
        for protocol in [Protocol::Simple, Protocol::Extended] {
            client
                .batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
                .await
                .expect("the schema can be emptied");
            Script::read(&path).run(&client, protocol).await;
        }
    }
}
