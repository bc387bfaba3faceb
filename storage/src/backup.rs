//! Backups: the objects of a database in another store, and what they mean.
//!
//! ```text
//! objects/tables/16384/s-7.parquet.<size>-<crc>   an object; backups share those that are equal
//! images/1700000000000000.image                   state and rows in memory, as a Raft snapshot
//! backups/01700000000000000.backup                names both with their checksums; written last
//! ```
//! So a backup that was interrupted is none, and what it had copied the next one need not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chronos_catalog::raft::{Finding, Severity};
use chronos_catalog::{CommitTs, ObjectMeta, Oid, SegmentId, State};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::object::Objects;
use crate::options::StoreOptions;
use crate::segment::Segment;
use crate::store::Store;

const MAGIC: &[u8; 8] = b"CHRBACK1";

/// A store that backups are kept in.
#[derive(Debug)]
pub struct BackupStore {
    objects: Arc<Objects>,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The last commit that it holds.
    pub commit: CommitTs,
    /// When it was written, in microseconds since the Unix epoch.
    pub written_at: i64,
    /// The state and the rows that were in memory.
    image: ObjectMeta,
    /// Every object of the manifests, with the name of its copy.
    objects: Vec<(String, ObjectMeta)>,
    /// Its own name.
    #[serde(skip)]
    name: String,
}

/// What a backup came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupSize {
    /// Objects that it names.
    pub objects: u64,
    /// Those that were copied; the others were there.
    pub copied: u64,
    /// The bytes copied.
    pub bytes: u64,
}

/// Segments that are not removed while this lives, whatever a compaction does.
#[derive(Debug)]
pub struct Pin(BTreeMap<(Oid, SegmentId), Arc<Segment>>);

impl Pin {
    /// Whether it keeps every object that a state names.
    pub fn covers(&self, state: &State) -> bool {
        state.manifests.iter().all(|(&table, manifest)| {
            manifest.segments.keys().all(|&id| self.0.contains_key(&(table, id)))
        })
    }
}

impl Store {
    /// Keeps all objects that the present manifests name. For a state that was looked at before,
    /// [`Pin::covers`] tells whether they are its as well.
    pub fn pin(&self) -> Pin {
        let mut all = BTreeMap::new();
        for (&oid, table) in self.tables.read().iter() {
            let segments = table.segments();
            all.extend(segments.iter().map(|(&id, segment)| ((oid, id), Arc::clone(segment))));
        }
        Pin(all)
    }
}

impl BackupStore {
    /// Opens the store of a URL or path.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(url: &str) -> Result<BackupStore> {
        let block_bytes = StoreOptions::new(url).block_bytes;
        Ok(BackupStore { objects: Arc::new(Objects::open(url, 0, block_bytes)?) })
    }

    /// Writes a backup of a state, whose objects must not go away meanwhile ([`Store::pin`]).
    ///
    /// # Errors
    /// When an object is damaged, or a store fails.
    pub async fn write(
        &self,
        store: &Store,
        state: &State,
        image: Bytes,
        now: i64,
    ) -> Result<BackupSize> {
        let there = self.objects.list_sizes("objects").await?;
        let there: HashMap<String, u64> = there.into_iter().collect();
        let mut size = BackupSize::default();
        let mut objects = Vec::new();
        for meta in objects_of(state) {
            let name = copy_name(meta);
            size.objects += 1;
            if there.get(&name) != Some(&meta.size) {
                let bytes = store.objects.read_whole(meta).await?;
                self.objects.create_once(&name, bytes).await?;
                size.copied += 1;
                size.bytes += meta.size;
            }
            objects.push((name, meta.clone()));
        }
        let commit = state.last_commit;
        let again = |n: u32| if n == 0 { String::new() } else { format!("-{n}") };
        let name = |n| format!("images/{:017}{}.image", commit.micros(), again(n));
        let image = self.objects.create(name, image).await?;
        let backup = Backup { commit, written_at: now, image, objects, name: String::new() };
        let body = rmp_serde::to_vec_named(&backup).map_err(|e| Error::Encode(e.to_string()))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let name = |n| format!("backups/{:017}{}.backup", commit.micros(), again(n));
        self.objects.create(name, Bytes::from(bytes)).await?;
        Ok(size)
    }

    /// The backups that are there, in the order of their commits.
    ///
    /// # Errors
    /// When the store cannot be read or one of them is damaged.
    pub async fn list(&self) -> Result<Vec<Backup>> {
        let mut backups = Vec::new();
        for name in self.names().await? {
            backups.push(self.backup(&name).await?);
        }
        backups.sort_by_key(|b| (b.commit, b.written_at));
        Ok(backups)
    }

    async fn names(&self) -> Result<Vec<String>> {
        let mut names = self.objects.list("backups").await?;
        names.retain(|name| name.ends_with(".backup"));
        names.sort();
        Ok(names)
    }

    async fn backup(&self, name: &str) -> Result<Backup> {
        let corrupt =
            |reason: &str| Error::Corrupt { path: name.to_owned(), reason: reason.to_owned() };
        let bytes = self.objects.read_unknown(name).await?;
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| corrupt("it is not a backup"))?;
        let (crc, body) = rest.split_first_chunk::<4>().ok_or_else(|| corrupt("it is cut off"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(corrupt("its checksum is wrong"));
        }
        let backup: Backup =
            rmp_serde::from_slice(body).map_err(|e| corrupt(&format!("it cannot be read: {e}")))?;
        Ok(Backup { name: name.to_owned(), ..backup })
    }

    /// Reads everything of every backup. A finding for each object that is not as it was written,
    /// and one for each backup.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn verify(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let damaged =
            |error: &Error| Finding { severity: Severity::Damaged, message: error.to_string() };
        // Backups share objects.
        let mut seen: HashMap<String, bool> = HashMap::new();
        for name in self.names().await? {
            let backup = match self.backup(&name).await {
                Ok(backup) => backup,
                Err(error) => {
                    findings.push(damaged(&error));
                    continue;
                }
            };
            let mut good = true;
            for meta in backup.copies().chain([backup.image.clone()]) {
                if let Some(known) = seen.get(&meta.path) {
                    good &= *known;
                    continue;
                }
                let read = self.objects.verify(&meta).await;
                if let Err(error) = &read {
                    findings.push(damaged(error));
                }
                good &= read.is_ok();
                seen.insert(meta.path, read.is_ok());
            }
            if good {
                let message = format!(
                    "backup \"{name}\" of commit {} is whole: {} objects",
                    backup.commit,
                    backup.objects.len()
                );
                findings.push(Finding { severity: Severity::Fine, message });
            }
        }
        Ok(findings)
    }

    /// The state and the rows that were in memory, as they were given.
    ///
    /// # Errors
    /// When the store fails or the bytes are not those that were written.
    pub async fn image(&self, backup: &Backup) -> Result<Bytes> {
        self.objects.read_whole(&backup.image).await
    }

    /// Copies the objects of a backup into a store that has none of those names.
    ///
    /// # Errors
    /// When an object is damaged or a store fails.
    pub async fn copy_back(&self, backup: &Backup, to: &Store) -> Result<()> {
        for (name, meta) in &backup.objects {
            let copy = ObjectMeta { path: name.clone(), ..meta.clone() };
            let bytes = self.objects.read_whole(&copy).await?;
            to.objects.create_once(&meta.path, bytes).await?;
        }
        Ok(())
    }
}

impl Backup {
    /// The objects under the names of their copies.
    fn copies(&self) -> impl Iterator<Item = ObjectMeta> {
        self.objects.iter().map(|(name, meta)| ObjectMeta { path: name.clone(), ..meta.clone() })
    }

    /// Its own name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Every object that a state's manifests name.
fn objects_of(state: &State) -> impl Iterator<Item = &ObjectMeta> {
    state.manifests.values().flat_map(|manifest| {
        let segments = manifest.segments.values();
        segments
            .flat_map(|m| m.key_files.values().chain([&m.file]))
            .chain(manifest.row_ends.iter().map(|m| &m.file))
    })
}

/// The name of an object's copy. Another database may have an object of the same name; its
/// content makes the copy's another.
fn copy_name(meta: &ObjectMeta) -> String {
    let checksums: Vec<u8> = meta.checksums.iter().flat_map(|c| c.to_le_bytes()).collect();
    format!("objects/{}.{}-{:08x}", meta.path, meta.size, crc32c::crc32c(&checksums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_backup_stay() {
        let meta = |path: &str| ObjectMeta {
            path: path.to_owned(),
            size: 3,
            block_bytes: 4,
            checksums: vec![5],
        };
        let backup = Backup {
            commit: CommitTs(1),
            written_at: 2,
            image: meta("i"),
            objects: vec![("c".to_owned(), meta("o"))],
            name: "not written".to_owned(),
        };
        let object = |path: &str| {
            let fields = [
                &b"\x84\xa4path\xa1"[..],
                path.as_bytes(),
                b"\xa4size\x03\xabblock_bytes\x04\xa9checksums\x91\x05",
            ];
            fields.concat()
        };
        let expected = [
            &b"\x84\xa6commit\x01\xaawritten_at\x02\xa5image"[..],
            &object("i"),
            b"\xa7objects\x91\x92\xa1c",
            &object("o"),
        ];
        assert_eq!(rmp_serde::to_vec_named(&backup).unwrap(), expected.concat());
        assert_eq!(copy_name(&meta("a/b")), "objects/a/b.3-ee00d08c");
    }
}
