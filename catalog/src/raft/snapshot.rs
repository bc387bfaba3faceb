//! Snapshot files: the state, and the rows that no flush had written.
//!
//! ```text
//! "CHRONSNP"  version u32  header length u32  header  state  rows  crc u32
//! ```
//!
//! Header and state are MessagePack with field names; the rows are the storage's own bytes; the
//! checksum is CRC-32C over everything before it. Numbers are little-endian.
//!
//! A file appears under its name only when it is complete and durable. The last two are kept,
//! and the log from the older one on, so that one damaged file costs time and no data.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, io_error};
use crate::raft::block::u32_at;
use crate::raft::log_files::{create_dir, sync_dir};
use crate::raft::record::{LogIdForm, MembershipForm};
use crate::raft::types::{LogId, SnapshotMeta, StoredMembership};
use crate::state::State;

const MAGIC: &[u8; 8] = b"CHRONSNP";
const VERSION: u32 = 1;
const PREFIX_BYTES: usize = 16;
/// How many snapshot files stay.
const KEPT: usize = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    last_log_id: Option<LogIdForm>,
    membership_log_id: Option<LogIdForm>,
    membership: MembershipForm,
    state_bytes: u64,
    rows_bytes: u64,
}

/// A snapshot file as openraft passes it around: by name, for it may be large.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) path: PathBuf,
}

/// A consistent view of everything, in memory.
#[derive(Debug)]
pub(crate) struct SnapshotContents {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: State,
    pub(crate) rows: Bytes,
}

impl SnapshotContents {
    /// Writes the file durably and removes those that are then too old.
    pub(crate) fn write(&self, dir: &Path) -> Result<SnapshotFile> {
        create_dir(dir)?;
        let name = file_name(self.meta.last_log_id.map_or(0, |id| id.index));
        let (path, partial) = (dir.join(&name), dir.join(format!("{name}.partial")));
        let action = || format!("write snapshot \"{}\"", path.display());
        let bytes = self.encode(&format!("snapshot \"{}\"", path.display()))?;
        let mut file = File::create(&partial).map_err(io_error(action))?;
        file.write_all(&bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&partial, &path))
            .map_err(io_error(action))?;
        sync_dir(dir)?;
        remove_old(dir)?;
        Ok(SnapshotFile { path })
    }

    /// The bytes of a file.
    pub(crate) fn encode(&self, what: &str) -> Result<Vec<u8>> {
        let state = encode(&self.state, what)?;
        let header = encode(
            &Header {
                last_log_id: self.meta.last_log_id.map(LogIdForm::from),
                membership_log_id: self.meta.last_membership.log_id().map(LogIdForm::from),
                membership: MembershipForm::of(self.meta.last_membership.membership()),
                state_bytes: state.len() as u64,
                rows_bytes: self.rows.len() as u64,
            },
            what,
        )?;
        let length = PREFIX_BYTES + header.len() + state.len() + self.rows.len() + 4;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&state);
        bytes.extend_from_slice(&self.rows);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> Result<SnapshotContents> {
        let bytes = std::fs::read(path)
            .map_err(io_error(|| format!("read snapshot \"{}\"", path.display())))?;
        Self::decode(Bytes::from(bytes), &format!("snapshot \"{}\"", path.display()))
    }

    /// Checks and reads the bytes of a file, which `what` names in errors.
    pub(crate) fn decode(bytes: Bytes, what: &str) -> Result<SnapshotContents> {
        let corrupt =
            |reason: &str| Error::Corrupt { what: what.to_owned(), reason: reason.to_owned() };
        if bytes.len() < PREFIX_BYTES + 4 || &bytes[..8] != MAGIC {
            return Err(corrupt("it is not a snapshot"));
        }
        if u32_at(&bytes, 8) != VERSION {
            return Err(corrupt(&format!("format version {} is not known", u32_at(&bytes, 8))));
        }
        let end = bytes.len() - 4;
        if crc32c::crc32c(&bytes[..end]) != u32_at(&bytes, end) {
            return Err(corrupt("its checksum is wrong"));
        }
        let bytes = bytes.slice(..end);
        let header_end = PREFIX_BYTES + u32_at(&bytes, 12) as usize;
        let header: Header = bytes
            .get(PREFIX_BYTES..header_end)
            .and_then(|b| rmp_serde::from_slice(b).ok())
            .ok_or_else(|| corrupt("its header cannot be read"))?;
        let state_end = header_end as u64 + header.state_bytes;
        if state_end + header.rows_bytes != end as u64 {
            return Err(corrupt("its parts do not add up to its size"));
        }
        let mut state: State = rmp_serde::from_slice(&bytes[header_end..state_end as usize])
            .map_err(|e| corrupt(&format!("its state cannot be read: {e}")))?;
        // An earlier release may have known fewer.
        Arc::make_mut(&mut state.objects).add_predefined_roles();
        let membership = StoredMembership::new(
            header.membership_log_id.map(LogId::from),
            header.membership.membership()?,
        );
        Ok(SnapshotContents {
            meta: SnapshotMeta {
                last_log_id: header.last_log_id.map(LogId::from),
                last_membership: membership,
            },
            state,
            rows: bytes.slice(state_end as usize..),
        })
    }
}

fn encode(value: &impl Serialize, what: &str) -> Result<Vec<u8>> {
    rmp_serde::to_vec_named(value).map_err(|e| Error::Corrupt {
        what: what.to_owned(),
        reason: format!("it has no encoding: {e}"),
    })
}

fn file_name(index: u64) -> String {
    format!("{index:016}.snap")
}

/// The complete snapshot files with the log index of each, newest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let action = || format!("list directory \"{}\"", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { action: action(), source }),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error(action))?;
        let name = entry.file_name();
        let index = name.to_str().and_then(|n| n.strip_suffix(".snap")?.parse().ok());
        if let Some(index) = index {
            files.push((index, entry.path()));
        }
    }
    files.sort_by(|a, b| b.cmp(a));
    Ok(files)
}

fn remove_old(dir: &Path) -> Result<()> {
    for (_, path) in list(dir)?.into_iter().skip(KEPT) {
        std::fs::remove_file(&path)
            .map_err(io_error(|| format!("remove snapshot \"{}\"", path.display())))?;
    }
    Ok(())
}

/// The newest good snapshot from which the log goes on. `None` when the log reaches back to its
/// beginning and no snapshot is good.
///
/// # Errors
/// [`Error::Corrupt`] when the log was purged beyond every good snapshot.
pub(crate) fn newest(
    dir: &Path,
    purged: Option<LogId>,
) -> Result<Option<(SnapshotContents, SnapshotFile)>> {
    let mut first_error = None;
    for (index, path) in list(dir)? {
        if purged.is_some_and(|p| p.index > index) {
            break;
        }
        match SnapshotContents::read(&path) {
            Ok(contents) => return Ok(Some((contents, SnapshotFile { path }))),
            Err(error) => {
                tracing::error!(snapshot = %path.display(), %error, "going back to an older snapshot");
                first_error.get_or_insert(error);
            }
        }
    }
    match (purged, first_error) {
        (None, _) => Ok(None),
        (Some(_), Some(error)) => Err(error),
        (Some(purged), None) => Err(Error::Corrupt {
            what: format!("snapshot directory \"{}\"", dir.display()),
            reason: format!(
                "the log begins after entry {}, and no snapshot reaches it",
                purged.index
            ),
        }),
    }
}
