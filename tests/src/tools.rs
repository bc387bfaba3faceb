//! Programs that a test may need and a machine may lack.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::TestNode;

/// Says why a test did not run, on a line that `.ci/run` repeats at its end. It bypasses the
/// capture of output, which swallows what a passing test prints.
pub fn skipped(test: &str, reason: &str) {
    use std::io::Write;
    let line = format!("SKIPPED {test}: {reason}\n");
    // There is nowhere to report that standard error is closed.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The program on the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Runs psql on a node with that script on standard input. No start-up file, errors stop it.
///
/// # Panics
/// If psql cannot be started.
pub fn psql(node: &TestNode, script: &str) -> Output {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "chronos", "-d", "chronos"])
        .args(["-h", &node.address().ip().to_string(), "-p", &node.address().port().to_string()])
        .env("PGCONNECT_TIMEOUT", "60")
        .env("PGTZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql can be started");
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let script = script.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().expect("psql can be waited for");
    // A script that psql did not read to its end shows in its status.
    drop(writer.join());
    output
}
