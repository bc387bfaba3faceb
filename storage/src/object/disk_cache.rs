//! Copies of whole objects on the local disk, for a store that is far away: what this node wrote,
//! and what it read whole. So the objects that are asked for most, the young ones, are read
//! without the store, also after a start and while the store is down.
//!
//! A copy is verified as the object is; one that does not match is removed and read again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::debug;

use crate::error::{Error, Result};

/// An object that takes more than this part of the capacity is not kept.
const SHARE_MAX: u64 = 4;

/// Files of one directory, the least recently used of which leave first.
#[derive(Clone, Debug)]
pub(super) struct DiskCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    capacity: u64,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    used: u64,
    tick: u64,
    /// Size and last use by file name.
    files: HashMap<String, (u64, u64)>,
    order: BTreeMap<u64, String>,
}

impl Index {
    fn touch(&mut self, name: &str) -> bool {
        self.tick += 1;
        let tick = self.tick;
        let Some((_, used_at)) = self.files.get_mut(name) else { return false };
        self.order.remove(used_at);
        *used_at = tick;
        self.order.insert(tick, name.to_owned());
        true
    }

    fn add(&mut self, name: &str, size: u64) {
        self.remove(name);
        self.tick += 1;
        self.files.insert(name.to_owned(), (size, self.tick));
        self.order.insert(self.tick, name.to_owned());
        self.used += size;
    }

    fn remove(&mut self, name: &str) {
        if let Some((size, used_at)) = self.files.remove(name) {
            self.order.remove(&used_at);
            self.used -= size;
        }
    }

    /// Takes out what is too much, the least recently used first.
    fn shrink(&mut self, capacity: u64) -> Vec<String> {
        let mut out = Vec::new();
        while self.used > capacity {
            let Some((_, name)) = self.order.pop_first() else { break };
            if let Some((size, _)) = self.files.remove(&name) {
                self.used -= size;
            }
            out.push(name);
        }
        out
    }
}

/// An object's file name; keys have no tilde.
fn file_name(key: &str) -> String {
    key.replace('/', "~")
}

impl DiskCache {
    /// Takes over what the directory holds.
    pub(super) fn open(dir: &Path, capacity: u64) -> Result<DiskCache> {
        let io = |source| {
            let path = dir.display().to_string();
            Error::Io { action: "open directory", path, source }
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let meta = entry.metadata().map_err(io)?;
            match entry.file_name().into_string() {
                Ok(name) if meta.is_file() && !name.ends_with(".partial") => {
                    found.push((meta.modified().map_err(io)?, name, meta.len()));
                }
                // Left by a crash.
                Ok(name) if meta.is_file() => {
                    std::fs::remove_file(dir.join(name)).map_err(io)?;
                }
                _ => {}
            }
        }
        found.sort();
        let mut index = Index::default();
        found.iter().for_each(|(_, name, size)| index.add(name, *size));
        let shared = Shared { dir: dir.to_owned(), capacity, index: Mutex::new(index) };
        let cache = DiskCache { shared: Arc::new(shared) };
        cache.shrink();
        Ok(cache)
    }

    fn shrink(&self) {
        let out = self.shared.index.lock().shrink(self.shared.capacity);
        out.iter().for_each(|name| self.unlink(name));
    }

    fn unlink(&self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.shared.dir.join(name)) {
            debug!(name, %error, "could not remove a cached object");
        }
    }

    /// Keeps a copy. A full disk costs nothing but the copy.
    pub(super) async fn put(&self, key: &str, bytes: &Bytes) {
        let size = bytes.len() as u64;
        if size > self.shared.capacity / SHARE_MAX {
            return;
        }
        let (this, name, bytes) = (self.clone(), file_name(key), bytes.clone());
        let work = move || {
            let path = this.shared.dir.join(&name);
            let partial = this.shared.dir.join(format!("{name}.partial"));
            let written =
                std::fs::write(&partial, &bytes).and_then(|()| std::fs::rename(&partial, &path));
            match written {
                Ok(()) => {
                    this.shared.index.lock().add(&name, size);
                    this.shrink();
                }
                Err(error) => debug!(name, %error, "could not cache an object"),
            }
        };
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            debug!(%error, "could not cache an object");
        }
    }

    /// A part of a copy, not verified; `None` where there is none.
    pub(super) async fn read(&self, key: &str, range: Range<u64>) -> Option<Bytes> {
        let name = file_name(key);
        if !self.shared.index.lock().touch(&name) {
            return None;
        }
        let path = self.shared.dir.join(&name);
        let work = move || {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).ok()?];
            let read = File::open(path).and_then(|f| f.read_exact_at(&mut bytes, range.start));
            read.ok().map(|()| Bytes::from(bytes))
        };
        tokio::task::spawn_blocking(work).await.ok().flatten()
    }

    /// Whether there is a copy.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.shared.index.lock().files.contains_key(&file_name(key))
    }

    /// Forgets a copy.
    pub(super) fn remove(&self, key: &str) {
        let name = file_name(key);
        let held = {
            let mut index = self.shared.index.lock();
            let held = index.files.contains_key(&name);
            index.remove(&name);
            held
        };
        if held {
            self.unlink(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn least_recently_used_copies_leave_and_the_others_stay_over_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let cache = DiskCache::open(dir.path(), 400).unwrap();
        let bytes = |n: u8| Bytes::from(vec![n; 100]);
        for n in 0..4 {
            cache.put(&format!("a/{n}"), &bytes(n)).await;
        }
        assert_eq!(cache.read("a/0", 10..20).await, Some(bytes(0).slice(..10)));
        cache.put("a/4", &bytes(4)).await;
        let held = |cache: &DiskCache| {
            (0..5).filter(|n| cache.holds(&format!("a/{n}"))).collect::<Vec<_>>()
        };
        assert_eq!(held(&cache), [0, 2, 3, 4]);
        cache.put("a/large", &Bytes::from(vec![0; 101])).await;
        cache.remove("a/3");
        drop(cache);
        let cache = DiskCache::open(dir.path(), 400).unwrap();
        assert_eq!(held(&cache), [0, 2, 4]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(DiskCache::open(dir.path(), 150).map(|c| held(&c).len()).unwrap(), 1);
    }
}
