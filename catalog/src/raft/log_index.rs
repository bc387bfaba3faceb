//! What the log store keeps in memory: where each entry stands, and the recent entries
//! themselves.
//!
//! Invariants:
//! - An entry without a place in a file is in memory.
//! - `slots` has no holes.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::raft::log_files::{LogContents, Place};
use crate::raft::record::Record;
use crate::raft::types::{Entry, LogId, Vote};

struct Slot {
    log_id: LogId,
    ticket: u64,
    bytes: usize,
    /// `None` until it is durable.
    place: Option<Place>,
    /// `None` when only the file has it.
    entry: Option<Entry>,
}

/// An entry, or where to read it.
pub(crate) enum Stored {
    Cached(Entry),
    InFile(u64, Place),
}

#[derive(Default)]
pub(crate) struct LogIndex {
    slots: BTreeMap<u64, Slot>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    committed_written: Option<LogId>,
    next_ticket: u64,
    cached_bytes: usize,
    cache_bytes_max: usize,
    /// Nothing below is cached.
    cached_from: u64,
    /// Bytes of the entries after the last snapshot.
    log_bytes: u64,
}

impl LogIndex {
    pub(crate) fn new(contents: &LogContents, cache_bytes_max: usize) -> LogIndex {
        let slot = |(log_id, place): (LogId, Place)| Slot {
            log_id,
            ticket: 0,
            bytes: place.length as usize,
            place: Some(place),
            entry: None,
        };
        LogIndex {
            slots: contents.entries.iter().map(|(&i, &found)| (i, slot(found))).collect(),
            vote: contents.vote,
            purged: contents.purged,
            committed: contents.committed,
            committed_written: contents.committed,
            next_ticket: 1,
            cache_bytes_max,
            log_bytes: contents.entries.values().map(|(_, p)| u64::from(p.length)).sum(),
            ..LogIndex::default()
        }
    }

    /// Takes an entry into the log; it is not durable yet. Returns its ticket.
    pub(crate) fn append(&mut self, entry: Entry, log_id: LogId, bytes: usize) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.cached_bytes += bytes;
        self.log_bytes += bytes as u64;
        self.cached_from = self.cached_from.min(log_id.index);
        let slot = Slot { log_id, ticket, bytes, place: None, entry: Some(entry) };
        self.slots.insert(log_id.index, slot);
        ticket
    }

    /// Notes where entries stand now, unless a truncation removed them meanwhile.
    pub(crate) fn durable(&mut self, places: &[(u64, u64, Place)]) {
        for &(index, ticket, place) in places {
            if let Some(slot) = self.slots.get_mut(&index)
                && slot.ticket == ticket
            {
                slot.place = Some(place);
            }
        }
        while self.cached_bytes > self.cache_bytes_max {
            let Some((&index, slot)) = self.slots.range_mut(self.cached_from..).next() else {
                break;
            };
            if slot.place.is_none() {
                break;
            }
            if slot.entry.take().is_some() {
                self.cached_bytes -= slot.bytes;
            }
            self.cached_from = index + 1;
        }
    }

    fn forget(&mut self, slots: &BTreeMap<u64, Slot>) {
        for slot in slots.values().filter(|s| s.entry.is_some()) {
            self.cached_bytes -= slot.bytes;
        }
    }

    pub(crate) fn truncate_after(&mut self, last: Option<LogId>) {
        let from = last.map_or(0, |id| id.index + 1);
        let removed = self.slots.split_off(&from);
        self.forget(&removed);
        let bytes: usize = removed.values().map(|s| s.bytes).sum();
        self.log_bytes = self.log_bytes.saturating_sub(bytes as u64);
    }

    pub(crate) fn purge(&mut self, upto: LogId) {
        let kept = self.slots.split_off(&(upto.index + 1));
        let removed = std::mem::replace(&mut self.slots, kept);
        self.forget(&removed);
        self.purged = self.purged.max(Some(upto));
    }

    /// A snapshot now holds everything up to an index.
    pub(crate) fn snapshot_taken(&mut self, index: u64) {
        self.log_bytes = self.slots.range(index + 1..).map(|(_, s)| s.bytes as u64).sum();
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        self.slots.values().next_back().map(|s| s.log_id).or(self.purged)
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(crate) fn set_vote(&mut self, vote: Vote) {
        self.vote = Some(vote);
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(crate) fn set_committed(&mut self, committed: Option<LogId>) {
        self.committed = committed;
    }

    /// The committed id if no file has it yet: it goes along with whatever is written next.
    pub(crate) fn take_unwritten_committed(&mut self) -> Option<LogId> {
        if self.committed == self.committed_written {
            return None;
        }
        self.committed_written = self.committed;
        self.committed
    }

    /// What a reader of the next file must know without the earlier ones.
    pub(crate) fn carried(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.vote.map(Record::Vote));
        records.extend(self.purged.map(Record::Purge));
        records.extend(self.committed_written.map(Record::Committed));
        records
    }

    /// The entries of a range, up to about `bytes_max` of them but at least one.
    pub(crate) fn read(&self, range: Range<u64>, bytes_max: usize) -> Vec<Stored> {
        let mut found = Vec::new();
        let mut bytes = 0;
        if range.is_empty() {
            return found;
        }
        for (&index, slot) in self.slots.range(range) {
            if bytes >= bytes_max && !found.is_empty() {
                break;
            }
            bytes += slot.bytes;
            match (&slot.entry, slot.place) {
                (Some(entry), _) => found.push(Stored::Cached(entry.clone())),
                (None, Some(place)) => found.push(Stored::InFile(index, place)),
                (None, None) => unreachable!("an entry is in memory until it is durable"),
            }
        }
        found
    }
}
