//! Finds the `chronos` program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program: `CHRONOS_BIN` where it is set, else the one that cargo builds beside the running
/// test binary, in the same profile. Asking cargo each time keeps a test from running against
/// yesterday's server; when nothing changed that takes a second.
///
/// # Panics
/// If the program cannot be built.
pub fn chronos() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| match std::env::var_os("CHRONOS_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

/// Builds the program into the target directory that this test binary lies in.
fn build() -> PathBuf {
    // <target directory>/<profile>/deps/<test binary>
    let this = std::env::current_exe().expect("a process knows its own program");
    let profile_dir = this.ancestors().nth(2).expect("a test binary lies in <profile>/deps");
    let target_dir = profile_dir.parent().expect("<profile> lies in the target directory");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "-p", "chronos-server", "--bin", "chronos"])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // Cargo tells tests about themselves in variables that some build scripts watch; passed on,
    // they would make cargo build half of the dependencies anew.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let about_this_test = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"]
            .iter()
            .any(|start| name_text.starts_with(start))
            || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&&*name_text);
        if about_this_test {
            cargo.env_remove(name);
        }
    }
    match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") => {}
        Some(profile) => {
            cargo.args(["--profile", profile]);
        }
        None => unreachable!("a profile's folder has a name"),
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "could not build the chronos binary: {status}");
    profile_dir.join(format!("chronos{}", std::env::consts::EXE_SUFFIX))
}
