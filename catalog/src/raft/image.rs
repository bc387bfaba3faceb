//! A database without its objects: the state and the rows in memory, at one entry of the log.
//! What a backup holds beside the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use openraft::storage::RaftLogStorage;
use openraft::{BasicNode, Membership};

use crate::error::{Error, Result};
use crate::raft::dir_lock::DirLock;
use crate::raft::health::Health;
use crate::raft::log_store::LogStore;
use crate::raft::node::RaftOptions;
use crate::raft::record::LogIdForm;
use crate::raft::snapshot::SnapshotContents;
use crate::raft::types::{LogId, SnapshotMeta, StoredMembership, Vote};
use crate::state::State;

/// The state of a database and its rows in memory, in the storage's form.
#[derive(Debug)]
pub struct Image {
    /// The state.
    pub state: State,
    /// The rows in memory.
    pub rows: Bytes,
    index: u64,
}

impl Image {
    pub(crate) fn of(contents: SnapshotContents) -> Image {
        let index = contents.meta.last_log_id.map_or(0, |id| id.index);
        Image { state: contents.state, rows: contents.rows, index }
    }

    /// The same place in the log with another content.
    #[must_use]
    pub fn with(self, state: State, rows: Bytes) -> Image {
        Image { state, rows, ..self }
    }

    /// The bytes, in the form of a snapshot file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a state that has no encoding (a bug).
    pub fn encode(&self) -> Result<Bytes> {
        let meta = SnapshotMeta::default();
        let (state, rows) = (self.state.clone(), self.rows.clone());
        SnapshotContents { meta, state, rows }.encode("image").map(Bytes::from)
    }

    /// Reads what [`Image::encode`] wrote. `what` names it in errors.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(bytes: Bytes, what: &str) -> Result<Image> {
        SnapshotContents::decode(bytes, what).map(Image::of)
    }

    /// Makes an empty directory the data directory of node 1 that a start finds this in. A crash
    /// in between leaves a directory that does not start.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Io`]; the directory holds a log or snapshots.
    pub async fn install(self, dir: &Path) -> Result<()> {
        let lock = Arc::new(DirLock::acquire(dir)?);
        let (log, snapshots) = (dir.join("log"), dir.join("snapshot"));
        if log.exists() || snapshots.exists() {
            return Err(Error::NotEmpty { path: dir.display().to_string() });
        }
        let first = LogId::from(LogIdForm { term: 1, node: 1, index: self.index.max(1) });
        let node = BTreeMap::from([(1, BasicNode::default())]);
        let membership = Membership::new(vec![BTreeSet::from([1])], node)
            .map_err(|e| Error::Corrupt { what: "membership".into(), reason: e.to_string() })?;
        let meta = SnapshotMeta {
            last_log_id: Some(first),
            last_membership: StoredMembership::new(Some(first), membership),
        };
        // The log first: it says that a snapshot must be there.
        let options = RaftOptions::new(dir, 1);
        let (bytes_max, cache_max) = (options.log_file_bytes_max, options.log_cache_bytes_max);
        let mut store = LogStore::open(&log, bytes_max, cache_max, Health::default(), lock)?;
        let write = async {
            store.save_vote(&Vote::new_committed(1, 1)).await?;
            store.purge(first).await?;
            store.close().await
        };
        let action = || format!("write the log in \"{}\"", dir.display());
        write.await.map_err(|source| Error::Io { action: action(), source })?;
        SnapshotContents { meta, state: self.state, rows: self.rows }.write(&snapshots)?;
        Ok(())
    }
}
