//! Verifies a data directory: every block and entry of the log, every snapshot, and that a start
//! would find all it needs.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use openraft::EntryPayload;

use crate::error::Result;
use crate::raft::block;
use crate::raft::dir_lock::DirLock;
use crate::raft::log_files::{self, LogContents, Place};
use crate::raft::record::decode_entry;
use crate::raft::snapshot::{self, SnapshotContents};
use crate::raft::types::Entry;
use crate::state::State;

/// How often a directory that is in use is looked at before damage is believed.
const TRIES_IN_USE: u32 = 5;
/// The pause between.
const PAUSE_IN_USE: Duration = Duration::from_millis(50);

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Fine,
    /// A start deals with it, and nothing acknowledged is lost.
    Recoverable,
    /// A start refuses, or acknowledged commits are lost.
    Damaged,
}

/// One thing that [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is: a sentence without its full stop.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Fine => "ok",
            Severity::Recoverable => "recoverable",
            Severity::Damaged => "damaged",
        };
        write!(f, "{severity}: {}", self.message)
    }
}

/// Verifies log and snapshots in a data directory, and changes nothing but the lock it holds
/// meanwhile.
///
/// # Errors
/// [`crate::Error::InUse`] while a server runs on it, [`crate::Error::Io`] when a directory
/// cannot be listed. Damage is a finding, not an error.
pub fn check(dir: &Path) -> Result<Vec<Finding>> {
    Ok(check_with_state(dir)?.0)
}

/// The same, and the state that a start would come to; `None` where it would not.
///
/// # Errors
/// Likewise.
pub fn check_with_state(dir: &Path) -> Result<(Vec<Finding>, Option<State>)> {
    let _lock = DirLock::acquire(dir)?;
    examine(dir)
}

/// The same while this process writes to the directory. A write that is under way looks like one
/// that was cut short, and files come and go: only what is wrong every time is told.
///
/// # Errors
/// [`crate::Error::Io`] when a file cannot be read.
#[expect(clippy::disallowed_methods, reason = "no clock tells when a write has ended")]
pub fn check_in_use(dir: &Path) -> Result<Vec<Finding>> {
    let mut left = TRIES_IN_USE;
    loop {
        left -= 1;
        let is_wrong = |f: &Finding| f.severity == Severity::Damaged;
        match examine(dir) {
            Ok((findings, _)) if left == 0 || !findings.iter().any(is_wrong) => {
                let told = |f: &Finding| f.severity != Severity::Recoverable;
                return Ok(findings.into_iter().filter(told).collect());
            }
            Err(error) if left == 0 => return Err(error),
            Ok(_) | Err(_) => std::thread::sleep(PAUSE_IN_USE),
        }
    }
}

fn examine(dir: &Path) -> Result<(Vec<Finding>, Option<State>)> {
    let mut newest: Option<(u64, State)> = None;
    let mut findings = Vec::new();
    let mut add = |severity, message: String| findings.push(Finding { severity, message });

    let mut snapshots = Vec::new();
    for (index, path) in snapshot::list(&dir.join("snapshot"))? {
        match SnapshotContents::read(&path) {
            Ok(contents) => {
                snapshots.push(index);
                let commit = contents.state.last_commit;
                if newest.as_ref().is_none_or(|(best, _)| index > *best) {
                    newest = Some((index, contents.state));
                }
                add(
                    Severity::Fine,
                    format!(
                        "snapshot \"{}\" holds everything up to entry {index}, commit {commit}",
                        path.display()
                    ),
                );
            }
            // Whether that is recoverable depends on the others, which follow below.
            Err(error) => add(Severity::Recoverable, error.to_string()),
        }
    }
    let log = dir.join("log");
    if !log.exists() {
        let severity = if snapshots.is_empty() { Severity::Fine } else { Severity::Damaged };
        add(severity, format!("there is no log directory \"{}\"", log.display()));
        return Ok((findings, None));
    }
    let contents = match LogContents::read(&log) {
        Ok(contents) => contents,
        Err(error) => {
            add(Severity::Damaged, error.to_string());
            return Ok((findings, None));
        }
    };
    if let Some((path, offset)) = &contents.torn {
        add(
            Severity::Recoverable,
            format!(
                "log file \"{}\" ends in an unfinished write at offset {offset}",
                path.display()
            ),
        );
    }
    let (mut file, mut bytes) = (None, Vec::new());
    let (after, state) = newest.map_or((None, State::default()), |(i, s)| (Some(i), s));
    let mut state = Some(state);
    for (index, (_, place)) in &contents.entries {
        if file != Some(place.file) {
            (file, bytes) = (Some(place.file), read_file(&log, place.file)?);
        }
        let applied = decode(&bytes, *place).and_then(|entry| match (entry.payload, &mut state) {
            (EntryPayload::Normal(proposal), Some(state)) if Some(*index) > after => {
                state.apply(&proposal.command).map(drop)
            }
            _ => Ok(()),
        });
        if let Err(error) = applied {
            add(Severity::Damaged, format!("entry {index} of the log: {error}"));
            state = None;
        }
    }
    match (contents.entries.first_key_value(), contents.entries.last_key_value()) {
        (Some((first, _)), Some((last, _))) => add(
            Severity::Fine,
            format!("the log holds entries {first} to {last} in {} files", contents.files.len()),
        ),
        _ => add(Severity::Fine, "the log holds no entries".to_owned()),
    }
    if let Some(purged) = contents.purged
        && !snapshots.iter().any(|&index| index >= purged.index)
    {
        add(
            Severity::Damaged,
            format!("no good snapshot reaches the log, which begins after entry {}", purged.index),
        );
        state = None;
    }
    Ok((findings, state))
}

fn read_file(log: &Path, number: u64) -> Result<Vec<u8>> {
    let path = log.join(log_files::file_name(number));
    std::fs::read(&path)
        .map_err(crate::error::io_error(|| format!("read log file \"{}\"", path.display())))
}

fn decode(file: &[u8], place: Place) -> Result<Entry> {
    let start = place.offset as usize;
    let record = file.get(start..start + place.length as usize).and_then(block::read_record);
    decode_entry(&record.unwrap_or_default())
}
