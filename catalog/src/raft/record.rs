//! What one record of the log says, and its bytes.
//!
//! ```text
//! kind 1  entry      log id, payload kind u8 (0 blank, 1 command, 2 membership), payload
//! kind 2  vote       term u64, node u64, committed u8
//! kind 3  truncate   log id; entries after it are gone (index u64::MAX: all are)
//! kind 4  purge      log id; entries up to it are gone
//! kind 5  committed  log id
//! ```
//!
//! A log id is term u64, node u64, index u64. A command is MessagePack with field names.

use std::collections::{BTreeMap, BTreeSet};

use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::{BasicNode, EntryPayload};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::raft::types::{Entry, LogId, Membership, Proposal, Vote};

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const COMMITTED: u8 = 5;

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// One record, decoded as far as opening the log needs it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    Entry(LogId),
    Vote(Vote),
    Truncate(Option<LogId>),
    Purge(LogId),
    Committed(LogId),
}

/// A membership's serialized form; openraft's own would need its serde feature.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MembershipForm {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, String>,
}

impl MembershipForm {
    pub(crate) fn of(membership: &Membership) -> MembershipForm {
        MembershipForm {
            configs: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(&id, node)| (id, node.addr.clone())).collect(),
        }
    }

    pub(crate) fn membership(self) -> Result<Membership> {
        let nodes: BTreeMap<u64, BasicNode> =
            self.nodes.into_iter().map(|(id, addr)| (id, BasicNode::new(addr))).collect();
        // What a fresh node has before it is initialized is empty, which `new` would refuse.
        if self.configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(self.configs, nodes).map_err(|e| corrupt(&format!("membership: {e}")))
    }
}

/// A log id's serialized form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdForm {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) index: u64,
}

impl From<LogId> for LogIdForm {
    fn from(id: LogId) -> LogIdForm {
        LogIdForm { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> LogId {
        LogId::new(LeaderId { term: form.term, node_id: form.node }, form.index)
    }
}

fn corrupt(reason: &str) -> Error {
    Error::Corrupt { what: "log record".to_owned(), reason: reason.to_owned() }
}

fn put_log_id(out: &mut Vec<u8>, id: &LogId) {
    out.extend_from_slice(&id.leader_id.term.to_le_bytes());
    out.extend_from_slice(&id.leader_id.node_id.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

/// An entry's record.
pub(crate) fn encode_entry(entry: &Entry) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(32);
    out.push(ENTRY);
    put_log_id(&mut out, &entry.log_id());
    match &entry.payload {
        EntryPayload::Blank => out.push(BLANK),
        EntryPayload::Normal(proposal) => {
            out.reserve_exact(1 + proposal.bytes.len());
            out.push(COMMAND);
            out.extend_from_slice(&proposal.bytes);
        }
        EntryPayload::Membership(membership) => {
            out.push(MEMBERSHIP);
            let form = rmp_serde::to_vec_named(&MembershipForm::of(membership))
                .map_err(|e| corrupt(&e.to_string()))?;
            out.extend_from_slice(&form);
        }
    }
    Ok(out)
}

/// The entry that a record holds.
pub(crate) fn decode_entry(record: &[u8]) -> Result<Entry> {
    let Record::Entry(log_id) = Record::decode(record)? else {
        return Err(corrupt("it is not an entry"));
    };
    let payload = match record.get(25..) {
        Some([BLANK]) => EntryPayload::Blank,
        Some([COMMAND, bytes @ ..]) => EntryPayload::Normal(Proposal::decode(bytes)?),
        Some([MEMBERSHIP, bytes @ ..]) => {
            let form: MembershipForm =
                rmp_serde::from_slice(bytes).map_err(|e| corrupt(&e.to_string()))?;
            EntryPayload::Membership(form.membership()?)
        }
        _ => return Err(corrupt("its payload is of no known kind")),
    };
    Ok(Entry::new(log_id, payload))
}

impl Record {
    /// The record's bytes; an entry's come from [`encode_entry`].
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        match self {
            Record::Entry(id) => {
                out.push(ENTRY);
                put_log_id(&mut out, id);
                out.push(BLANK);
            }
            Record::Vote(vote) => {
                out.push(VOTE);
                out.extend_from_slice(&vote.leader_id.term.to_le_bytes());
                out.extend_from_slice(&vote.leader_id.node_id.to_le_bytes());
                out.push(u8::from(vote.committed));
            }
            Record::Truncate(after) => {
                out.push(TRUNCATE);
                let none = LogIdForm { term: 0, node: 0, index: u64::MAX };
                put_log_id(&mut out, &after.unwrap_or_else(|| none.into()));
            }
            Record::Purge(id) => {
                out.push(PURGE);
                put_log_id(&mut out, id);
            }
            Record::Committed(id) => {
                out.push(COMMITTED);
                put_log_id(&mut out, id);
            }
        }
        out
    }

    /// Reads a record, of an entry only its log id.
    pub(crate) fn decode(record: &[u8]) -> Result<Record> {
        let (&kind, rest) = record.split_first().ok_or_else(|| corrupt("it is empty"))?;
        let number = |i: usize| -> Result<u64> {
            let bytes = rest.get(8 * i..8 * i + 8).and_then(|b| b.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| corrupt("it is too short"))
        };
        let log_id = || -> Result<LogId> {
            Ok(LogIdForm { term: number(0)?, node: number(1)?, index: number(2)? }.into())
        };
        Ok(match kind {
            ENTRY => Record::Entry(log_id()?),
            VOTE => {
                let leader_id = LeaderId { term: number(0)?, node_id: number(1)? };
                let committed = match rest.get(16) {
                    Some(0) => false,
                    Some(1) => true,
                    _ => return Err(corrupt("its vote is neither committed nor not")),
                };
                Record::Vote(Vote { leader_id, committed })
            }
            TRUNCATE => Record::Truncate(Some(log_id()?).filter(|id| id.index != u64::MAX)),
            PURGE => Record::Purge(log_id()?),
            COMMITTED => Record::Committed(log_id()?),
            kind => return Err(corrupt(&format!("kind {kind} is not known"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Commit};

    fn id(term: u64, index: u64) -> LogId {
        LogIdForm { term, node: 1, index }.into()
    }

    #[test]
    fn records_survive_their_bytes() {
        let vote = Vote { leader_id: LeaderId { term: 3, node_id: 9 }, committed: true };
        for record in [
            Record::Entry(id(1, 2)),
            Record::Vote(vote),
            Record::Truncate(None),
            Record::Truncate(Some(id(4, 5))),
            Record::Purge(id(6, 7)),
            Record::Committed(id(8, 9)),
        ] {
            assert_eq!(Record::decode(&record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn entries_survive_their_bytes() {
        let command = Command::Commit(Commit::default());
        let members = Membership::new(
            vec![BTreeSet::from([1, 2])],
            BTreeMap::from([(1, BasicNode::new("a")), (2, BasicNode::new("b"))]),
        )
        .unwrap();
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(Proposal::new(command.clone()).unwrap()),
            EntryPayload::Membership(members.clone()),
        ];
        for payload in payloads {
            let entry = Entry::new(id(1, 2), payload);
            let back = decode_entry(&encode_entry(&entry).unwrap()).unwrap();
            assert_eq!(back.log_id(), id(1, 2));
            match (&entry.payload, &back.payload) {
                (EntryPayload::Blank, EntryPayload::Blank) => {}
                (EntryPayload::Normal(_), EntryPayload::Normal(p)) => {
                    assert_eq!(*p.command, command);
                }
                (EntryPayload::Membership(_), EntryPayload::Membership(m)) => {
                    assert_eq!(*m, members);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn record_of_an_unknown_kind_is_refused() {
        assert!(Record::decode(&[99, 0, 0]).is_err());
        assert!(Record::decode(&[]).is_err());
        assert!(Record::decode(&[ENTRY, 1]).is_err());
    }
}
