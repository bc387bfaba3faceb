//! Starting, stopping, and refusing to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use chronos_tests::binary::chronos;
use chronos_tests::{Answer, TestNode};

/// A port that was free a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

#[test]
fn version_is_told() {
    let output = Command::new(chronos()).arg("--version").output().expect("it runs");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with("chronos ") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
}

#[test]
fn an_unknown_flag_is_refused() {
    let output = Command::new(chronos()).args(["serve", "--no-such-flag"]).output();
    let output = output.expect("it runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--no-such-flag"));
}

#[test]
fn a_taken_port_is_an_error_that_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener has an address");
    let dir = scratch();
    let failure = TestNode::options().listen(address).start_on(&dir.path().join("data"));
    let failure = failure.expect_err("the port is taken");
    assert!(!failure.status.success());
    assert!(failure.stderr.contains("--listen"), "{}", failure.stderr);
    assert!(failure.stderr.contains(&address.port().to_string()), "{}", failure.stderr);
    assert!(!failure.stderr.contains("panicked"), "{}", failure.stderr);
}

#[test]
fn a_taken_http_port_is_an_error_that_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound listener has an address");
    let dir = scratch();
    let failure = TestNode::options().http(address).start_on(&dir.path().join("data"));
    let failure = failure.expect_err("the port is taken");
    assert!(!failure.status.success());
    assert!(failure.stderr.contains("--http"), "{}", failure.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_is_refused_and_the_first_goes_on() {
    let node = TestNode::start();
    let failure = TestNode::options().start_on(node.data_dir()).expect_err("the data are in use");
    assert!(!failure.status.success());
    let name = node.data_dir().display().to_string();
    assert!(failure.stderr.contains(&name), "{}", failure.stderr);
    let answer = Answer::simple(&node.connect().await, "SELECT 1").await.expect("it serves");
    assert_eq!(answer.value().as_deref(), Some("1"));
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let dir = scratch();
    let path = dir.path().join("file");
    std::fs::write(&path, "not a directory").expect("a file can be written");
    let failure = TestNode::options().start_on(&path).expect_err("a file is no directory");
    assert!(!failure.status.success());
    assert!(failure.stderr.contains("file"), "{}", failure.stderr);
    assert!(!failure.stderr.contains("panicked"), "{}", failure.stderr);
    assert_eq!(std::fs::read(&path).expect("the file is still there"), b"not a directory");
}

#[test]
fn an_address_off_loopback_is_refused_without_a_password() {
    let dir = scratch();
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    let failure = TestNode::options().listen(address).start_on(&dir.path().join("data"));
    let failure = failure.expect_err("there is no authentication");
    assert!(!failure.status.success());
    assert!(failure.stderr.contains("--listen"), "{}", failure.stderr);
    assert!(failure.stderr.contains("CHRONOS_PASSWORD"), "{}", failure.stderr);
    let node = TestNode::options().listen(address).env("CHRONOS_PASSWORD", "open sesame");
    let node = node.start_on(&dir.path().join("data")).expect("there is a password");
    assert!(!node.stderr().contains("sesame"), "{}", node.stderr());
}

#[test]
fn an_unknown_setting_is_refused_by_name() {
    let dir = scratch();
    let config = dir.path().join("chronos.toml");
    std::fs::write(&config, "flush_intervall = \"1s\"\n").expect("a file can be written");
    let failure =
        TestNode::options().arg("--config").arg(config).start_on(&dir.path().join("data"));
    let failure = failure.expect_err("the setting is misspelt");
    assert!(failure.stderr.contains("flush_intervall"), "{}", failure.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_by_either_signal_is_clean_and_keeps_the_data() {
    let mut node = TestNode::start();
    let client = node.connect().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')")
        .await
        .expect("the statements work");
    // The client stays connected: it does not keep the server from stopping.
    for signal in ["TERM", "INT"] {
        node.signal(signal);
        let status = node.wait();
        assert_eq!(status.code(), Some(0), "SIG{signal}: {status}\n{}", node.stderr());
        node.start_again();
        let client = node.connect().await;
        let answer = Answer::simple(&client, "SELECT id, v FROM t").await.expect("t is there");
        assert_eq!(answer.to_string(), "1|a\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let mut node = TestNode::start();
    let client = node.connect().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await.expect("CREATE works");
    for id in 0..20_i32 {
        client.execute("INSERT INTO t VALUES ($1)", &[&id]).await.expect("INSERT works");
    }
    node.crash();
    let sql = "SELECT count(*), min(id), max(id) FROM t";
    let answer = Answer::simple(&node.connect().await, sql).await.expect("t is there");
    assert_eq!(answer.to_string(), "20|0|19\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_or_refuses_what_runs() {
    let mut node = TestNode::start();
    let client = node.connect().await;
    let slow = tokio::spawn(async move {
        let sql = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b";
        client.query_one(sql, &[]).await.map(|row| row.get::<_, i64>(0))
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.stop().success(), "{}", node.stderr());
    match slow.await.expect("the client does not panic") {
        Ok(count) => assert_eq!(count, 10_000_000_000),
        Err(e) => match e.as_db_error() {
            Some(error) => assert_eq!(error.code().code(), "57P01", "{e:?}"),
            None => assert!(e.is_closed(), "{e:?}"),
        },
    }
}

#[test]
fn health_is_told_over_http() {
    let address = free_address();
    let _node = TestNode::options().http(address).start();
    for path in ["/health", "/health/ready"] {
        let mut stream = TcpStream::connect(address).expect("the HTTP port is open");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request can be sent");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("an answer comes");
        assert!(response.starts_with("HTTP/1.1 200"), "{path}: {response}");
    }
}
