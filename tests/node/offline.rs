//! What `chronos` does without serving: check, inspect, backup, restore.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use chronos_tests::binary::chronos;
use chronos_tests::{Answer, TestNode};

fn run(args: &[&dyn AsRef<OsStr>]) -> (bool, String) {
    let mut command = Command::new(chronos());
    // The tests' own variables are no settings.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHRONOS_") {
            command.env_remove(name);
        }
    }
    let Output { status, stdout, stderr } = command
        .args(args.iter().map(AsRef::as_ref))
        .output()
        .expect("the chronos binary can be started");
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn on(dir: &Path, command: &str) -> (bool, String) {
    run(&[&command, &"--data-dir", &dir])
}

async fn rows(node: &TestNode, query: &str) -> String {
    Answer::simple(&node.connect().await, query).await.expect(query).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_is_restored_as_of_an_instant_and_damage_is_named() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let backups = folder.path().join("backups");
    let mut node = TestNode::start();
    let client = node.connect().await;
    for statement in [
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT g, 'first' FROM generate_series(1, 500) AS g(g)",
        "CALL chronos.flush()",
    ] {
        client.batch_execute(statement).await.expect(statement);
    }
    let moment = Answer::simple(&client, "SELECT chronos.last_commit_time()").await;
    let moment = moment.expect("the last commit is known").rows.remove(0).remove(0);
    let moment = moment.expect("the last commit is known");
    for statement in
        ["UPDATE t SET v = 'second' WHERE id <= 100", "DELETE FROM t WHERE id > 400", "VACUUM t"]
    {
        client.batch_execute(statement).await.expect(statement);
    }
    let query = "SELECT count(*), min(v), max(v) FROM t";
    let now = rows(&node, query).await;
    let then = rows(&node, &format!("{query} FOR SYSTEM_TIME AS OF '{moment}'")).await;
    let url = backups.display().to_string();
    client.batch_execute(&format!("BACKUP DATABASE TO '{url}'")).await.expect("a backup");
    drop(client);
    let (done, text) = on(node.data_dir(), "check");
    assert!(!done && text.contains("in use"), "{text}");
    assert!(node.stop().success());

    let (done, text) = on(node.data_dir(), "check");
    assert!(done && text.contains("as they were written"), "{text}");
    let (done, text) = on(node.data_dir(), "inspect");
    assert!(done && text.contains("public.t"), "{text}");
    let (done, text) = run(&[&"backup", &"--data-dir", &node.data_dir(), &"--to", &url]);
    assert!(done && text.contains("backup as of"), "{text}");
    let (done, text) = run(&[&"check", &"--backup", &url]);
    assert!(done && text.contains("is whole"), "{text}");

    for (name, as_of, expected) in [("now", None, &now), ("then", Some(&moment), &then)] {
        let dir = folder.path().join(name);
        let mut args: Vec<&dyn AsRef<OsStr>> =
            vec![&"restore", &"--from", &url, &"--data-dir", &dir];
        if let Some(moment) = &as_of {
            args.extend([&"--as-of" as &dyn AsRef<OsStr>, *moment]);
        }
        let (done, text) = run(&args);
        assert!(done, "{text}");
        let restored = TestNode::options().start_on(&dir).expect("the restored node starts");
        assert_eq!(&rows(&restored, query).await, expected);
        drop(restored);
        let (done, text) = run(&args);
        assert!(!done && text.contains("not empty"), "{text}");
    }

    let segment = node.parquet_files().remove(0);
    let mut bytes = std::fs::read(&segment).expect("a segment can be read");
    bytes[50] ^= 1;
    std::fs::write(&segment, bytes).expect("a segment can be written");
    let (done, text) = on(node.data_dir(), "check");
    let name = segment.file_name().expect("a file has a name").to_string_lossy().into_owned();
    assert!(!done && text.contains("damaged") && text.contains(&name), "{text}");
}
