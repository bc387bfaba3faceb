//! Opens the log files of a directory: checks every block, cuts a torn end off, and lists what
//! the records come to.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, io_error};
use crate::raft::block::{self, Found};
use crate::raft::record::Record;
use crate::raft::types::{LogId, Vote};

/// Where a record's bytes (its header included) stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

/// What the log files of a directory hold.
#[derive(Debug, Default)]
pub(crate) struct LogContents {
    pub(crate) entries: BTreeMap<u64, (LogId, Place)>,
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    /// Each file's number and the greatest index of an entry that was ever written to it.
    pub(crate) files: BTreeMap<u64, Option<u64>>,
    pub(crate) next_block: u64,
    /// The last file's length up to its last good block.
    pub(crate) length: u64,
    /// The last file and where a crash cut it short.
    pub(crate) torn: Option<(PathBuf, u64)>,
}

pub(crate) fn file_name(number: u64) -> String {
    format!("log-{number:016}.log")
}

fn file_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("log-")?.strip_suffix(".log")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(io_error(|| format!("synchronize directory \"{}\"", dir.display())))
}

/// Makes a directory whose own name is durable too.
pub(crate) fn create_dir(dir: &Path) -> Result<()> {
    let action = || format!("create directory \"{}\"", dir.display());
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(io_error(action))?;
    match dir.parent() {
        Some(parent) if parent != Path::new("") => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// The log files of a directory in order.
pub(crate) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let action = || format!("list directory \"{}\"", dir.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io_error(action))? {
        let entry = entry.map_err(io_error(action))?;
        if let Some(number) = entry.file_name().to_str().and_then(file_number) {
            files.push((number, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

impl LogContents {
    /// Reads and checks all files; changes none.
    pub(crate) fn read(dir: &Path) -> Result<LogContents> {
        let mut contents = LogContents::default();
        let files = list(dir)?;
        let last = files.last().map(|(number, _)| *number);
        for (number, path) in files {
            let previous = contents.files.last_key_value().map(|(&n, _)| n);
            if previous.is_some_and(|p| p + 1 != number) {
                return Err(Error::Corrupt {
                    what: format!("log directory \"{}\"", dir.display()),
                    reason: format!("the file before \"{}\" is missing", file_name(number)),
                });
            }
            contents.read_file(number, &path, Some(number) == last)?;
        }
        Ok(contents)
    }

    fn read_file(&mut self, number: u64, path: &Path, last: bool) -> Result<()> {
        let what = || format!("log file \"{}\"", path.display());
        let bytes = std::fs::read(path).map_err(io_error(|| format!("read {}", what())))?;
        self.files.insert(number, None);
        self.length = 0;
        // A file that a crash left without a whole header has no block yet.
        if last && bytes.len() < block::FILE_HEADER_BYTES {
            self.torn = Some((path.to_owned(), 0));
            return Ok(());
        }
        block::check_file_header(&bytes, number, &what())?;
        let mut at = block::FILE_HEADER_BYTES;
        loop {
            let damaged = |reason: &str| Error::Corrupt {
                what: what(),
                reason: format!("block at offset {at}: {reason}"),
            };
            match block::block_at(&bytes, number, at) {
                Found::End => break,
                Found::Torn if last => {
                    self.torn = Some((path.to_owned(), at as u64));
                    break;
                }
                Found::Torn => return Err(damaged("it is cut short, and files follow")),
                Found::Damaged(reason) => return Err(damaged(reason)),
                Found::Block(block) => {
                    if self.next_block != 0 && block.number != self.next_block {
                        return Err(damaged("a block is missing before it"));
                    }
                    let records = block::records(&bytes, block.body.clone())
                        .ok_or_else(|| damaged("its records are damaged"))?;
                    for range in records {
                        let record = block::read_record(&bytes[range.clone()])
                            .ok_or_else(|| damaged("its records are damaged"))?;
                        let place = Place {
                            file: number,
                            offset: range.start as u64,
                            length: range.len() as u32,
                        };
                        self.follow(&record, place).map_err(|e| damaged(&e.to_string()))?;
                    }
                    self.next_block = block.number + 1;
                    at = block.body.end;
                }
            }
        }
        self.length = at as u64;
        Ok(())
    }

    fn follow(&mut self, record: &[u8], place: Place) -> Result<()> {
        match Record::decode(record)? {
            Record::Entry(id) => {
                if let Some((&index, _)) = self.entries.last_key_value()
                    && index + 1 != id.index
                {
                    return Err(Error::Corrupt {
                        what: "log".to_owned(),
                        reason: format!("entry {} follows entry {index}", id.index),
                    });
                }
                self.entries.insert(id.index, (id, place));
                let max = self.files.entry(place.file).or_default();
                *max = (*max).max(Some(id.index));
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Truncate(None) => self.entries.clear(),
            Record::Truncate(Some(after)) => {
                self.entries.split_off(&(after.index + 1));
            }
            Record::Purge(id) => {
                self.entries = self.entries.split_off(&(id.index + 1));
                self.purged = Some(id);
            }
            Record::Committed(id) => self.committed = Some(id),
        }
        Ok(())
    }

    /// Cuts the torn end off, durably.
    pub(crate) fn cut_torn_end(&mut self) -> Result<()> {
        let Some((path, length)) = self.torn.take() else { return Ok(()) };
        let action = || format!("truncate log file \"{}\"", path.display());
        tracing::warn!(file = %path.display(), length, "cutting off an unfinished write");
        let file = OpenOptions::new().write(true).open(&path).map_err(io_error(action))?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(io_error(action))
    }
}
