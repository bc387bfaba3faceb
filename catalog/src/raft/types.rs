//! The types that openraft is used with.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::impls::{BoxedErrorSource, InlineBatch, TokioRuntime};
use openraft::{BasicNode, EntryPayload, OptionalSend};
use tokio::sync::oneshot;

use crate::command::{Command, Outcome};
use crate::error::Result;
use crate::format::{decode_command, encode_command};

/// Nodes have numbers and addresses; a leader is a term and a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Proposal;
    type R = Outcome;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, BasicNode>;
    type Entry = openraft::Entry<LeaderId<u64, u64>, Self::Payload>;
    type Responder<T>
        = Reply<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type AsyncRuntime = TokioRuntime;
    type ErrorSource = BoxedErrorSource;
}

pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, openraft::BasicNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type WriteResult =
    Result<openraft::raft::ClientWriteResponse<TypeConfig>, ClientWriteError>;
pub(crate) type ClientWriteError = openraft::errors::ClientWriteError<TypeConfig>;

/// A command with its bytes, so that it is encoded once and decoded only when it comes from a
/// file or another node.
#[derive(Clone)]
pub(crate) struct Proposal {
    pub(crate) command: Arc<Command>,
    pub(crate) bytes: Bytes,
}

impl Proposal {
    pub(crate) fn new(command: Command) -> Result<Proposal> {
        let bytes = encode_command(&command)?;
        Ok(Proposal { command: Arc::new(command), bytes })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Proposal> {
        let command = Arc::new(decode_command(bytes)?);
        Ok(Proposal { command, bytes: Bytes::copy_from_slice(bytes) })
    }
}

// openraft prints entries; rows do not belong into a trace.
impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.bytes.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Hands an outcome to whoever proposed. Nobody may be waiting any more, which is no event.
pub(crate) struct Reply<T>(pub(crate) oneshot::Sender<T>);

impl<T: OptionalSend + 'static> openraft::raft::responder::Responder<TypeConfig, T> for Reply<T> {
    fn on_complete(self, result: T) {
        let _ = self.0.send(result);
    }
}
