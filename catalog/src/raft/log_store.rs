//! The log as openraft sees it: entries in memory at once, durable when the writer says so.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use futures::{Stream, StreamExt, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::error::{Error, Result, io_error};
use crate::raft::block;
use crate::raft::dir_lock::DirLock;
use crate::raft::health::Health;
use crate::raft::log_files::{LogContents, Place, create_dir, file_name};
use crate::raft::log_index::{LogIndex, Stored};
use crate::raft::log_writer::{Job, LogWriter, NewEntry};
use crate::raft::record::{Record, decode_entry, encode_entry};
use crate::raft::types::{Entry, LogId, TypeConfig, Vote};

/// A read in pieces takes about this much at a time.
const READ_BYTES: usize = 4 << 20;

/// A handle on the log; clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    dir: PathBuf,
    index: Arc<Mutex<LogIndex>>,
    jobs: mpsc::Sender<Job>,
}

impl LogStore {
    /// Opens the log in a directory that the lock is for, and starts its writer.
    pub(crate) fn open(
        dir: &Path,
        file_bytes_max: u64,
        cache_bytes_max: usize,
        health: Health,
        lock: Arc<DirLock>,
    ) -> Result<LogStore> {
        create_dir(dir)?;
        let mut contents = LogContents::read(dir)?;
        contents.cut_torn_end()?;
        let index = Arc::new(Mutex::new(LogIndex::new(&contents, cache_bytes_max)));
        let writer =
            LogWriter::open(dir, &contents, Arc::clone(&index), file_bytes_max, health, lock)?;
        let (jobs, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(io_error(|| "start the log's thread"))?;
        Ok(LogStore { dir: dir.to_owned(), index, jobs })
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.index.lock().log_bytes()
    }

    pub(crate) fn snapshot_taken(&self, index: u64) {
        self.index.lock().snapshot_taken(index);
    }

    /// The last entry purged, as its reader must know to judge a snapshot.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.index.lock().purged()
    }

    /// Writes what is queued and ends the writer; later calls fail.
    pub(crate) async fn close(&self) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.ask(Job::Close { done })?;
        wait.await.map_err(|_| stopped())?
    }

    fn ask(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| stopped())
    }

    async fn write(&self, record: Record) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.ask(Job::Record { record, done })?;
        wait.await.map_err(|_| stopped())?
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let stored = self.index.lock().read(range, bytes_max);
        if stored.iter().all(|s| matches!(s, Stored::Cached(_))) {
            let cached = |s| match s {
                Stored::Cached(entry) => Some(entry),
                Stored::InFile(..) => None,
            };
            return Ok(stored.into_iter().filter_map(cached).collect());
        }
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.read_files(stored))
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::from)
    }

    fn read_files(&self, stored: Vec<Stored>) -> Result<Vec<Entry>> {
        let mut files = BTreeMap::new();
        let mut entries = Vec::with_capacity(stored.len());
        for item in stored {
            match item {
                Stored::Cached(entry) => entries.push(entry),
                Stored::InFile(index, place) => match self.read_place(&mut files, place) {
                    Ok(entry) => entries.push(entry),
                    // Purged while we were reading: as if it had been before.
                    Err(_) if self.purged().is_some_and(|p| p.index >= index) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Ok(entries)
    }

    fn read_place(&self, files: &mut BTreeMap<u64, File>, place: Place) -> Result<Entry> {
        let name = file_name(place.file);
        let action = || format!("read log file \"{name}\"");
        let file = match files.entry(place.file) {
            std::collections::btree_map::Entry::Occupied(file) => file.into_mut(),
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(File::open(self.dir.join(&name)).map_err(io_error(action))?)
            }
        };
        let mut bytes = vec![0; place.length as usize];
        file.read_exact_at(&mut bytes, place.offset).map_err(io_error(action))?;
        let corrupt = |reason: String| Error::Corrupt {
            what: format!("log file \"{name}\""),
            reason: format!("record at offset {}: {reason}", place.offset),
        };
        let record = block::read_record(&bytes)
            .ok_or_else(|| corrupt("its checksum is wrong".to_owned()))?;
        decode_entry(&record).map_err(|e| corrupt(e.to_string()))
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log is closed")
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&i) => i,
        Bound::Excluded(&i) => i.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&i) => i.saturating_add(1),
        Bound::Excluded(&i) => i,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(half_open(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES).await
    }

    // A start after a crash applies the whole log through this: never all of it at once.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pieces =
            stream::try_unfold((self.clone(), half_open(&range)), |(store, range)| async move {
                let entries = store.read(range.clone(), READ_BYTES).await?;
                let Some(last) = entries.last() else { return Ok::<_, io::Error>(None) };
                let rest = last.log_id().index + 1..range.end;
                Ok(Some((entries, (store, rest))))
            });
        let items = pieces.flat_map(|piece| {
            stream::iter(match piece {
                Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            })
        });
        Box::pin(items)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.index.lock().vote())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let index = self.index.lock();
        Ok(LogState { last_purged_log_id: index.purged(), last_log_id: index.last() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.index.lock().set_vote(*vote);
        self.write(Record::Vote(*vote)).await
    }

    // Not waited for: a committed id that is lost is found again by the next leader.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.index.lock().set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.index.lock().committed())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        flushed: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut new = Vec::new();
        for entry in entries {
            let log_id = entry.log_id();
            let record = encode_entry(&entry)?;
            let ticket = self.index.lock().append(entry, log_id, record.len());
            new.push(NewEntry { index: log_id.index, ticket, record });
        }
        self.ask(Job::Append { entries: new, flushed })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.index.lock().truncate_after(last);
        self.write(Record::Truncate(last)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.index.lock().purge(upto);
        self.write(Record::Purge(upto)).await
    }
}

#[cfg(test)]
mod tests;
