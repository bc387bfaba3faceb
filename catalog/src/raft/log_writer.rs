//! The thread that writes the log: it takes everything that is queued, writes it as one block,
//! makes it durable once, and then tells everybody (group commit).
//!
//! After a failed write or fdatasync nothing is retried: what the file holds is then unknown,
//! and the kernel may have dropped the pages. The node stops, and the next start finds out.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, Result, io_error};
use crate::raft::block;
use crate::raft::dir_lock::DirLock;
use crate::raft::health::Health;
use crate::raft::log_files::{LogContents, Place, file_name, sync_dir};
use crate::raft::log_index::LogIndex;
use crate::raft::record::Record;
use crate::raft::types::TypeConfig;

/// A block takes no further job beyond this many bytes.
const BLOCK_BYTES_MAX: usize = 16 << 20;

/// An encoded entry on its way to the file.
pub(crate) struct NewEntry {
    pub(crate) index: u64,
    /// Tells this entry from another that had the same index before a truncation.
    pub(crate) ticket: u64,
    pub(crate) record: Vec<u8>,
}

/// What the writer is asked to do.
pub(crate) enum Job {
    Append { entries: Vec<NewEntry>, flushed: IOFlushed<TypeConfig> },
    Record { record: Record, done: oneshot::Sender<io::Result<()>> },
    Close { done: oneshot::Sender<io::Result<()>> },
}

pub(crate) struct LogWriter {
    dir: PathBuf,
    file: File,
    path: PathBuf,
    number: u64,
    length: u64,
    next_block: u64,
    file_bytes_max: u64,
    /// As [`LogContents::files`].
    files: BTreeMap<u64, Option<u64>>,
    index: Arc<Mutex<LogIndex>>,
    health: Health,
    pace: Pace,
    /// Held until the last byte is written, whoever drops what first.
    _lock: Arc<DirLock>,
}

impl LogWriter {
    /// Continues the last file, or begins the first.
    pub(crate) fn open(
        dir: &Path,
        contents: &LogContents,
        index: Arc<Mutex<LogIndex>>,
        file_bytes_max: u64,
        health: Health,
        lock: Arc<DirLock>,
    ) -> Result<LogWriter> {
        let number = contents.files.last_key_value().map_or(1, |(&n, _)| n);
        let path = dir.join(file_name(number));
        let action = || format!("open log file \"{}\"", path.display());
        let mut file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(io_error(action))?;
        let mut length = contents.length;
        if length == 0 {
            file.write_all(&block::file_header(number))
                .and_then(|()| file.sync_all())
                .map_err(io_error(action))?;
            length = block::FILE_HEADER_BYTES as u64;
            sync_dir(dir)?;
        }
        let mut files = contents.files.clone();
        files.entry(number).or_default();
        Ok(LogWriter {
            dir: dir.to_owned(),
            file,
            path,
            number,
            length,
            next_block: contents.next_block,
            file_bytes_max,
            files,
            index,
            health,
            pace: Pace::default(),
            _lock: lock,
        })
    }

    /// Serves until it is told to close or everybody who could ask is gone.
    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            let mut batch = Batch::default();
            batch.take(job);
            let begun = moment();
            while batch.bytes < BLOCK_BYTES_MAX && batch.close.is_none() {
                let left = self.pace.wait(batch.items.len()).saturating_sub(begun.elapsed());
                match jobs.recv_timeout(left) {
                    Ok(job) => batch.take(job),
                    Err(_) => break,
                }
            }
            let result = match self.health.reason() {
                Some(reason) => Err(reason.to_owned()),
                None => self.write(&batch).map_err(|e| {
                    let reason = e.to_string();
                    self.health.fail(reason.clone());
                    reason
                }),
            };
            let result = || result.clone().map_err(io::Error::other);
            for flushed in batch.flushed {
                flushed.io_completed(result());
            }
            for done in batch.done {
                let _ = done.send(result());
            }
            if let Some(done) = batch.close {
                // Whoever waits for the end wants the directory's lock to be free.
                drop(self);
                let _ = done.send(result());
                return;
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        let committed = self.index.lock().take_unwritten_committed();
        if batch.items.is_empty() && committed.is_none() {
            return Ok(());
        }
        // What is purged leaves the disk when no later entry stands in its file.
        let purges = batch.items.iter().any(|i| matches!(i, Item::Record(Record::Purge(_))));
        let has_entries = self.files.get(&self.number).is_some_and(Option::is_some);
        if self.length >= self.file_bytes_max || (purges && has_entries) {
            self.roll()?;
        }
        let mut body = Vec::with_capacity(batch.bytes.min(BLOCK_BYTES_MAX) + 64);
        let mut places = Vec::new();
        for item in &batch.items {
            if body.len() >= BLOCK_BYTES_MAX {
                self.write_block(&body, &places)?;
                body.clear();
                places.clear();
            }
            match item {
                Item::Entry(entry) => {
                    let start = body.len();
                    block::put_record(&mut body, &entry.record);
                    let place = Place {
                        file: self.number,
                        offset: self.length + (block::BLOCK_HEADER_BYTES + start) as u64,
                        length: (body.len() - start) as u32,
                    };
                    places.push((entry.index, entry.ticket, place));
                }
                Item::Record(record) => block::put_record(&mut body, &record.encode()),
            }
        }
        if let Some(committed) = committed {
            block::put_record(&mut body, &Record::Committed(committed).encode());
        }
        self.write_block(&body, &places)?;
        if purges {
            self.remove_purged_files()?;
        }
        Ok(())
    }

    fn write_block(&mut self, body: &[u8], places: &[(u64, u64, Place)]) -> Result<()> {
        let action = || format!("append to log file \"{}\"", self.path.display());
        let begun = moment();
        let header = block::block_header(self.number, self.length, self.next_block, body);
        self.file.write_all(&header).map_err(io_error(action))?;
        self.file.write_all(body).map_err(io_error(action))?;
        self.file
            .sync_data()
            .map_err(io_error(|| format!("synchronize log file \"{}\"", self.path.display())))?;
        self.pace.wrote(places.len(), begun.elapsed());
        self.length += (header.len() + body.len()) as u64;
        self.next_block += 1;
        let max = self.files.entry(self.number).or_default();
        *max = (*max).max(places.iter().map(|&(index, ..)| index).max());
        self.index.lock().durable(places);
        Ok(())
    }

    /// Begins the next file, with what a reader must know when all earlier ones are gone.
    fn roll(&mut self) -> Result<()> {
        let number = self.number + 1;
        let path = self.dir.join(file_name(number));
        let action = || format!("create log file \"{}\"", path.display());
        let mut file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(io_error(action))?;
        file.write_all(&block::file_header(number)).map_err(io_error(action))?;
        sync_dir(&self.dir)?;
        self.file = file;
        self.path = path;
        self.number = number;
        self.length = block::FILE_HEADER_BYTES as u64;
        self.files.insert(number, None);
        let mut body = Vec::new();
        for record in self.index.lock().carried() {
            block::put_record(&mut body, &record.encode());
        }
        self.write_block(&body, &[])
    }

    /// Removes the oldest files while all their entries are purged. The record that says so is
    /// durable by now.
    fn remove_purged_files(&mut self) -> Result<()> {
        let Some(purged) = self.index.lock().purged() else { return Ok(()) };
        while let Some(entry) = self.files.first_entry() {
            if *entry.key() == self.number || *entry.get() > Some(purged.index) {
                break;
            }
            let path = self.dir.join(file_name(*entry.key()));
            std::fs::remove_file(&path)
                .map_err(io_error(|| format!("remove log file \"{}\"", path.display())))?;
            entry.remove();
        }
        sync_dir(&self.dir)
    }
}

#[expect(clippy::disallowed_methods, reason = "how long the disk takes is no time of the database")]
fn moment() -> Instant {
    Instant::now()
}

/// When a block is worth waiting for.
///
/// Of several clients that commit again and again, the first to come back would have a block of
/// its own, and the others would wait for it: blocks of fifteen and of one take turns. So a block
/// that is smaller than the last ones waits for the others, but never longer than half of what
/// writing a block takes; one client alone never waits.
#[derive(Debug, Default)]
struct Pace {
    /// Entries of the last two blocks.
    last: [usize; 2],
    /// How long a block took, smoothed.
    block: Duration,
}

impl Pace {
    const WAIT_MAX: Duration = Duration::from_millis(5);

    /// How long a block of so many entries waits for more, from its first one on.
    fn wait(&self, entries: usize) -> Duration {
        let expected = self.last[0].max(self.last[1]);
        if entries < expected { (self.block / 2).min(Self::WAIT_MAX) } else { Duration::ZERO }
    }

    fn wrote(&mut self, entries: usize, took: Duration) {
        self.last = [self.last[1], entries];
        self.block = (self.block * 7 + took) / 8;
    }
}

enum Item {
    Entry(NewEntry),
    Record(Record),
}

/// What goes into one block.
#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    flushed: Vec<IOFlushed<TypeConfig>>,
    done: Vec<oneshot::Sender<io::Result<()>>>,
    close: Option<oneshot::Sender<io::Result<()>>>,
    bytes: usize,
}

impl Batch {
    fn take(&mut self, job: Job) {
        match job {
            Job::Append { entries, flushed } => {
                for entry in entries {
                    self.bytes += entry.record.len() + block::RECORD_HEADER_BYTES;
                    self.items.push(Item::Entry(entry));
                }
                self.flushed.push(flushed);
            }
            Job::Record { record, done } => {
                self.items.push(Item::Record(record));
                self.done.push(done);
            }
            Job::Close { done } => self.close = Some(done),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_waits_for_those_who_wrote_with_it_before() {
        let took = Duration::from_millis(4);
        let mut pace = Pace::default();
        assert_eq!(pace.wait(1), Duration::ZERO);
        for _ in 0..100 {
            pace.wrote(1, took);
            assert_eq!(pace.wait(1), Duration::ZERO, "one client alone never waits");
        }
        pace.wrote(15, took);
        let wait = pace.wait(1);
        assert!(wait > took / 4 && wait <= took / 2, "{wait:?}");
        assert_eq!(pace.wait(15), Duration::ZERO);
        // When the others are gone it is soon forgotten.
        pace.wrote(1, took);
        pace.wrote(1, took);
        assert_eq!(pace.wait(1), Duration::ZERO);
        // However long the disk takes.
        pace.wrote(9, Duration::from_secs(60));
        assert_eq!(pace.wait(1), Pace::WAIT_MAX);
    }
}
