//! Applies the log: first the state, then the rows, then the word that readers wait for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use tokio::sync::watch;

use crate::command::{Command, Outcome};
use crate::error::{Error, Result};
use crate::raft::Applier;
use crate::raft::health::Health;
use crate::raft::snapshot::{SnapshotContents, SnapshotFile};
use crate::raft::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::state::State;
use crate::time::CommitTs;

type RaftSnapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotFile>;

/// What the state machine shares with the node's handle.
pub(crate) struct Shared {
    pub(crate) state: Arc<RwLock<State>>,
    pub(crate) applied: watch::Sender<CommitTs>,
    pub(crate) applier: Arc<dyn Applier>,
    pub(crate) health: Health,
    pub(crate) snapshot_dir: PathBuf,
    /// The newest snapshot.
    pub(crate) current: Mutex<Option<RaftSnapshot>>,
    /// A snapshot that was written and that openraft is about to ask for.
    pub(crate) ready: Mutex<Option<RaftSnapshot>>,
}

pub(crate) struct StateMachine {
    shared: Arc<Shared>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

impl StateMachine {
    /// A state machine whose state and rows stand at what `meta` says.
    pub(crate) fn new(shared: Arc<Shared>, meta: SnapshotMeta) -> StateMachine {
        StateMachine { shared, last_applied: meta.last_log_id, membership: meta.last_membership }
    }

    fn follow(&self, command: &Command) -> Result<Outcome> {
        let mut state = self.shared.state.write();
        let outcome = state.apply(command)?;
        let state = RwLockWriteGuard::downgrade(state);
        self.shared.applier.apply(&state, command, &outcome)?;
        drop(state);
        if let Some(ts) = outcome.ts {
            self.shared.applied.send_replace(ts);
        }
        Ok(outcome)
    }

    /// A consistent view; nothing is applied meanwhile.
    pub(crate) fn capture(&self) -> Result<SnapshotContents> {
        let state = self.shared.state.read().clone();
        let rows = self.shared.applier.export(&state)?;
        let meta = SnapshotMeta {
            last_log_id: self.last_applied,
            last_membership: self.membership.clone(),
        };
        Ok(SnapshotContents { meta, state, rows })
    }

    fn restore(&mut self, contents: SnapshotContents) -> Result<()> {
        let SnapshotContents { meta, state, rows } = contents;
        let last_commit = state.last_commit;
        *self.shared.state.write() = state;
        self.shared.applier.restore(&self.shared.state.read(), rows)?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.shared.applied.send_replace(last_commit);
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            self.shared.health.check()?;
            let log_id = entry.log_id();
            let outcome = match entry.payload {
                EntryPayload::Blank => Outcome::default(),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Outcome::default()
                }
                EntryPayload::Normal(proposal) => {
                    // A panic is a failure like any other: the task must live to report it.
                    let follow = AssertUnwindSafe(|| self.follow(&proposal.command));
                    let followed = catch_unwind(follow).unwrap_or_else(|_| {
                        Err(Error::Corrupt {
                            what: "command".to_owned(),
                            reason: "applying it panicked".to_owned(),
                        })
                    });
                    followed.inspect_err(|e| {
                        self.shared
                            .health
                            .fail(format!("could not apply entry {}: {e}", log_id.index));
                    })?
                }
            };
            self.last_applied = Some(log_id);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let ready = self.shared.ready.lock().take();
        let source = match ready {
            Some(snapshot) => Source::Ready(snapshot),
            None => Source::Captured(self.capture().map(Box::new)),
        };
        SnapshotBuilder { shared: Arc::clone(&self.shared), source: Some(source) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let dir = self.shared.snapshot_dir.clone();
        let (contents, file) = tokio::task::spawn_blocking(move || -> Result<_> {
            let contents = SnapshotContents::read(&snapshot.path)?;
            // One that came from another node stands outside of our directory until now.
            let file = match snapshot.path.parent() {
                Some(parent) if parent == dir => snapshot,
                _ => contents.write(&dir)?,
            };
            Ok((contents, file))
        })
        .await
        .map_err(io::Error::other)??;
        if contents.meta != *meta {
            return Err(io::Error::other("the snapshot is not the one that was announced"));
        }
        self.restore(contents)?;
        *self.shared.current.lock() = Some(Snapshot { meta: meta.clone(), snapshot: file });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        Ok(self.shared.current.lock().clone())
    }
}

enum Source {
    Ready(RaftSnapshot),
    Captured(Result<Box<SnapshotContents>>),
}

pub(crate) struct SnapshotBuilder {
    shared: Arc<Shared>,
    source: Option<Source>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let source = self.source.take().ok_or_else(|| io::Error::other("built already"))?;
        let snapshot = match source {
            Source::Ready(snapshot) => snapshot,
            Source::Captured(contents) => {
                let (contents, dir) = (contents?, self.shared.snapshot_dir.clone());
                tokio::task::spawn_blocking(move || -> Result<RaftSnapshot> {
                    let snapshot = contents.write(&dir)?;
                    Ok(Snapshot { meta: contents.meta.clone(), snapshot })
                })
                .await
                .map_err(io::Error::other)??
            }
        };
        *self.shared.current.lock() = Some(snapshot.clone());
        Ok(snapshot)
    }
}
