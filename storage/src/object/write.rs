//! Writing objects: each under a new name, once, durably.
//!
//! A create is ambiguous: a store may apply it and then answer an error or nothing, and the next
//! try meets its own object. Some answer "exists" to a race that left nothing. So after anything
//! but success the object is read back and compared.

use std::path::Path as FsPath;

use bytes::Bytes;
use chronos_catalog::ObjectMeta;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};

use super::Objects;
use super::retry::may_pass;
use crate::checksum;
use crate::error::{Error, Result};

impl Objects {
    /// Writes a new object under the first free one of the names, durably: when this returns,
    /// the object survives a power failure.
    pub(crate) async fn create(
        &self,
        name: impl Fn(u32) -> String,
        bytes: Bytes,
    ) -> Result<ObjectMeta> {
        self.probe().await?;
        for attempt in 0.. {
            let key = name(attempt);
            // Else it was left by a crash, and nobody names it.
            if self.put(&key, &bytes).await? {
                self.sync(&key).await?;
                if let Some(disk) = &self.disk {
                    disk.put(&key, &bytes).await;
                }
                return Ok(checksum::describe(key, &bytes, self.block_bytes));
            }
        }
        unreachable!("the attempts do not end")
    }

    /// Writes an object whose name tells its content, unless it is there.
    pub(crate) async fn create_once(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.probe().await?;
        if !self.put(key, &bytes).await? {
            let reason = "it is there with another content".to_owned();
            return Err(Error::Corrupt { path: key.to_owned(), reason });
        }
        self.sync(key).await
    }

    /// Whether the object is there with these bytes afterwards; else another has the name.
    async fn put(&self, key: &str, bytes: &Bytes) -> Result<bool> {
        if !self.names.write(key) {
            return Ok(false);
        }
        let path = self.path(key);
        let mut failures = 0;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let put = self.store.put_opts(&path, bytes.clone().into(), options);
            let source = match self.retry.once(put).await {
                Ok(_) => return Ok(true),
                Err(
                    error @ (StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }),
                ) => match self.content(key).await? {
                    Some(there) => return Ok(there == bytes),
                    None => error,
                },
                Err(error) if may_pass(&error) => error,
                Err(source) => {
                    return Err(Error::ObjectStore { action: "write", path: key.into(), source });
                }
            };
            failures += 1;
            if failures > self.retry.retries {
                return Err(Error::ObjectStore { action: "write", path: key.into(), source });
            }
            tokio::time::sleep(self.retry.pause_after(failures)).await;
        }
    }

    /// What stands under a name, if anything does.
    async fn content(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.path(key);
        match self.retry.call("read", key, || self.get_whole(&path)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::ObjectStore { source: StoreError::NotFound { .. }, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether anything stands under a name.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool> {
        Ok(self.content(key).await?.is_some())
    }

    /// Makes sure, once, that the store refuses to create an object that is there: without that
    /// two servers could write over each other's objects. A directory does.
    ///
    /// # Errors
    /// [`Error::NotEnforced`]; [`Error::ObjectStore`] where the store cannot be reached.
    pub(crate) async fn probe(&self) -> Result<()> {
        if self.local.is_some() {
            return Ok(());
        }
        let tried = self.probed.get_or_try_init(|| async {
            let key = format!("probes/{:016x}", rand::random::<u64>());
            let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
            self.put(&key, &first).await?;
            let refused = !self.put(&key, &second).await?;
            let kept = self.content(&key).await?.is_some_and(|bytes| bytes == first);
            self.delete(&key).await?;
            match refused && kept {
                true => Ok(()),
                false => Err(Error::NotEnforced { url: self.url.clone() }),
            }
        });
        tried.await.copied()
    }

    /// Removes an object that no manifest names.
    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        if let Some(disk) = &self.disk {
            disk.remove(key);
        }
        let path = self.path(key);
        let deleted = self.retry.call("delete", key, || async {
            match self.store.delete(&path).await {
                // An earlier try's work.
                Err(StoreError::NotFound { .. }) => Ok(()),
                done => done,
            }
        });
        deleted.await
    }

    /// The operating system's buffers to the disk: object_store does not wait for that.
    async fn sync(&self, key: &str) -> Result<()> {
        let Some(root) = self.local.clone() else { return Ok(()) };
        let key = key.to_owned();
        let work = move || {
            let file = root.join(&key);
            let io = |path: &FsPath, source| Error::Io {
                action: "sync",
                path: path.display().to_string(),
                source,
            };
            let sync = |path: &FsPath| {
                std::fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| io(path, e))
            };
            sync(&file)?;
            // The directories between may be new as well.
            let mut directory = file.parent();
            while let Some(path) = directory {
                sync(path)?;
                directory = if path == root { None } else { path.parent() };
            }
            Ok(())
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| {
            Err(Error::Io { action: "sync", path: String::new(), source: std::io::Error::other(e) })
        })
    }
}
