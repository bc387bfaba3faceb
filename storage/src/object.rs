//! The object store: durable writes of new objects, verified reads.

use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chronos_catalog::ObjectMeta;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::cache::{Cache, CacheKey, PARSED};
use crate::checksum;
use crate::error::{Error, Result};

/// Reads of at most this many blocks go through the cache; longer ones are scans, which would
/// only push everything else out of it.
const CACHED_BLOCKS: usize = 8;
/// Ranges read at once of one object.
const CONCURRENT_READS: usize = 8;

/// Where a table's objects live.
#[derive(Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The directory, where the store is one: object_store does not fsync what it writes.
    local: Option<PathBuf>,
    pub(crate) cache: Cache,
    block_bytes: u32,
}

impl Objects {
    /// Opens the store of a URL or path.
    pub(crate) fn open(url: &str, cache_bytes: usize, block_bytes: u32) -> Result<Objects> {
        let refuse = |reason: String| Error::Url { url: url.to_owned(), reason };
        let scheme = url.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
        let cloud = |e: object_store::Error| refuse(e.to_string());
        let prefix_of = || {
            let path = url.splitn(4, '/').nth(3).unwrap_or_default();
            Path::parse(path.trim_matches('/')).map_err(|e| refuse(e.to_string()))
        };
        let (store, prefix, local): (Arc<dyn ObjectStore>, Path, Option<PathBuf>) = match scheme {
            "memory" => (Arc::new(InMemory::new()), Path::default(), None),
            "s3" | "s3a" => {
                let store = object_store::aws::AmazonS3Builder::from_env()
                    .with_url(url)
                    .build()
                    .map_err(cloud)?;
                (Arc::new(store), prefix_of()?, None)
            }
            "az" | "azure" | "abfs" | "abfss" => {
                let store = object_store::azure::MicrosoftAzureBuilder::from_env()
                    .with_url(url)
                    .build()
                    .map_err(cloud)?;
                (Arc::new(store), prefix_of()?, None)
            }
            "gs" => {
                let store = object_store::gcp::GoogleCloudStorageBuilder::from_env()
                    .with_url(url)
                    .build()
                    .map_err(cloud)?;
                (Arc::new(store), prefix_of()?, None)
            }
            "file" => {
                let path = url.trim_start_matches("file:");
                let path = path.strip_prefix("//").unwrap_or(path);
                Self::open_directory(FsPath::new(path))?
            }
            _ if url.contains("://") => {
                return Err(refuse(format!(
                    "unknown scheme \"{scheme}\"; use a path, file:, s3:, az:, gs: or memory:"
                )));
            }
            _ => Self::open_directory(FsPath::new(url))?,
        };
        Ok(Objects { store, prefix, local, cache: Cache::new(cache_bytes), block_bytes })
    }

    fn open_directory(path: &FsPath) -> Result<(Arc<dyn ObjectStore>, Path, Option<PathBuf>)> {
        let io = |action, source| Error::Io { action, path: path.display().to_string(), source };
        std::fs::create_dir_all(path).map_err(|e| io("create directory", e))?;
        let path = path.canonicalize().map_err(|e| io("open directory", e))?;
        let store = LocalFileSystem::new_with_prefix(&path)
            .map_err(|e| Error::Url { url: path.display().to_string(), reason: e.to_string() })?;
        Ok((Arc::new(store), Path::default(), Some(path)))
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Writes a new object under the first free one of the names, durably: when this returns,
    /// the object survives a power failure.
    pub(crate) async fn create(
        &self,
        name: impl Fn(u32) -> String,
        bytes: Bytes,
    ) -> Result<ObjectMeta> {
        for attempt in 0.. {
            let key = name(attempt);
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(&self.path(&key), bytes.clone().into(), options).await {
                Ok(_) => {
                    self.sync(&key).await?;
                    return Ok(checksum::describe(key, &bytes, self.block_bytes));
                }
                // Left by a crash, or by this very call when the store answered an error after
                // it had written. Either way nobody names it.
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(source) => {
                    return Err(Error::ObjectStore { action: "write", path: key, source });
                }
            }
        }
        unreachable!("the attempts do not end")
    }

    /// Removes an object that no manifest names.
    pub(crate) async fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(&self.path(key)).await.map_err(|source| Error::ObjectStore {
            action: "delete",
            path: key.to_owned(),
            source,
        })
    }

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

    async fn fetch(&self, meta: &ObjectMeta, range: Range<u64>) -> Result<Bytes> {
        let length = (range.end - range.start) as usize;
        let bytes =
            self.store.get_range(&self.path(&meta.path), range).await.map_err(|source| {
                Error::ObjectStore { action: "read", path: meta.path.clone(), source }
            })?;
        if bytes.len() != length {
            return Err(Error::Corrupt {
                path: meta.path.clone(),
                reason: format!("it is shorter than {} bytes", meta.size),
            });
        }
        Ok(bytes)
    }

    /// Reads a range of an object, verified.
    pub(crate) async fn read(&self, meta: &ObjectMeta, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > meta.size {
            return Err(Error::Corrupt {
                path: meta.path.clone(),
                reason: format!(
                    "bytes {}..{} were asked for, it has {}",
                    range.start, range.end, meta.size
                ),
            });
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let block = u64::from(meta.block_bytes);
        let first = range.start / block;
        let last = (range.end - 1) / block;
        let skip = (range.start - first * block) as usize;
        let length = (range.end - range.start) as usize;
        let blocks = (last - first + 1) as usize;
        if blocks > CACHED_BLOCKS {
            let covering = first * block..((last + 1) * block).min(meta.size);
            let bytes = self.fetch(meta, covering).await?;
            checksum::verify(meta, first as usize, &bytes)?;
            return Ok(bytes.slice(skip..skip + length));
        }
        let path: Arc<str> = Arc::from(meta.path.as_str());
        let key = |n: u64| -> CacheKey { (Arc::clone(&path), n) };
        let mut parts: Vec<Option<Arc<Bytes>>> =
            (first..=last).map(|n| self.cache.get::<Bytes>(&key(n))).collect();
        let missing = parts.iter().position(Option::is_none);
        if let Some(from) = missing {
            let to = parts.iter().rposition(Option::is_none).unwrap_or(from);
            let start = (first + from as u64) * block;
            let end = ((first + to as u64 + 1) * block).min(meta.size);
            let bytes = self.fetch(meta, start..end).await?;
            checksum::verify(meta, first as usize + from, &bytes)?;
            for (i, n) in (from..=to).enumerate() {
                let at = i * block as usize;
                // A copy, so that a cached block does not keep a longer read alive.
                let part = &bytes[at..(at + block as usize).min(bytes.len())];
                let part = Arc::new(Bytes::copy_from_slice(part));
                self.cache.put(key(first + n as u64), Arc::clone(&part), part.len());
                parts[n] = Some(part);
            }
        }
        let parts: Vec<Arc<Bytes>> = parts.into_iter().flatten().collect();
        if let [only] = parts.as_slice() {
            return Ok(only.slice(skip..skip + length));
        }
        let mut all = BytesMut::with_capacity(blocks * block as usize);
        parts.iter().for_each(|p| all.extend_from_slice(p));
        Ok(all.freeze().slice(skip..skip + length))
    }

    /// Reads a whole object and parses it, or takes it from the cache.
    pub(crate) async fn parsed<T: Send + Sync + 'static>(
        &self,
        meta: &ObjectMeta,
        parse: impl FnOnce(&Bytes) -> Result<T, String>,
    ) -> Result<Arc<T>> {
        let key: CacheKey = (Arc::from(meta.path.as_str()), PARSED);
        if let Some(value) = self.cache.get::<T>(&key) {
            return Ok(value);
        }
        let bytes = self.fetch(meta, 0..meta.size).await?;
        checksum::verify(meta, 0, &bytes)?;
        let value =
            parse(&bytes).map_err(|reason| Error::Corrupt { path: meta.path.clone(), reason })?;
        let value = Arc::new(value);
        self.cache.put(key, Arc::clone(&value), meta.size as usize);
        Ok(value)
    }

    /// A Parquet file's footer and page index.
    pub(crate) async fn footer(
        self: &Arc<Self>,
        meta: &ObjectMeta,
    ) -> Result<Arc<ArrowReaderMetadata>> {
        let key: CacheKey = (Arc::from(meta.path.as_str()), PARSED);
        if let Some(value) = self.cache.get::<ArrowReaderMetadata>(&key) {
            return Ok(value);
        }
        let mut reader = VerifiedReader { objects: Arc::clone(self), meta: Arc::new(meta.clone()) };
        let parsed = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_prefetch_hint(Some(meta.block_bytes as usize))
            .load_and_finish(&mut reader, meta.size)
            .await
            .map_err(|e| of_parquet(e, &meta.path))?;
        let bytes = parsed.memory_size();
        let footer = ArrowReaderMetadata::try_new(Arc::new(parsed), ArrowReaderOptions::new())
            .map_err(|e| of_parquet(e, &meta.path))?;
        let value = Arc::new(footer);
        self.cache.put(key, Arc::clone(&value), bytes);
        Ok(value)
    }
}

/// The error that a verified read failed with, out of what Parquet wrapped it in; anything else
/// that Parquet finds wrong with verified bytes means that the file is not what was written.
pub(crate) fn of_parquet(error: ParquetError, path: &str) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(own) => *own,
            Err(inner) => Error::Corrupt { path: path.to_owned(), reason: inner.to_string() },
        },
        other => Error::Corrupt { path: path.to_owned(), reason: other.to_string() },
    }
}

/// Reads a Parquet file through the checksums.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedReader {
    pub(crate) objects: Arc<Objects>,
    pub(crate) meta: Arc<ObjectMeta>,
}

impl AsyncFileReader for VerifiedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { Ok(self.objects.read(&self.meta, range).await?) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let reads = ranges.into_iter().map(|range| {
                let this = self.clone();
                async move { this.objects.read(&this.meta, range).await }
            });
            let all = futures::stream::iter(reads.collect::<Vec<_>>()).buffered(CONCURRENT_READS);
            Ok(all.try_collect().await?)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move { Ok(Arc::clone(self.objects.footer(&self.meta).await?.metadata())) }.boxed()
    }
}
