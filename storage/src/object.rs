//! The object store: durable writes of new objects, verified reads.

mod disk_cache;
mod location;
mod retry;
mod write;

use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chronos_catalog::ObjectMeta;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
};
use datafusion::physical_plan::metrics::Count;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::OnceCell;

use crate::cache::{Cache, CacheKey, PARSED};
use crate::checksum;
use crate::error::{Error, Result};
use crate::options::StoreOptions;
use crate::orphans::Names;

pub use retry::Retry;

use disk_cache::DiskCache;
use location::Location;

/// Reads of at most this many blocks go through the cache; longer ones are scans, which would
/// only push everything else out of it.
const CACHED_BLOCKS: usize = 8;
/// Files up to this size are cached as they are written.
const CACHED_WRITE_BYTES: usize = 4 << 20;
/// Ranges read at once of one object.
const CONCURRENT_READS: usize = 8;

/// Where a table's objects live, for one who counts what it reads of them or not.
#[derive(Debug)]
pub(crate) struct Objects {
    all: Arc<AllObjects>,
    traffic: Option<Traffic>,
}

impl Deref for Objects {
    type Target = AllObjects;

    fn deref(&self) -> &AllObjects {
        &self.all
    }
}

/// How many bytes a read took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    /// From the store, or its copies on disk.
    pub(crate) fetched: Count,
    /// From the blocks that memory keeps.
    pub(crate) cached: Count,
}

/// The store and what is kept of its objects.
#[derive(Debug)]
pub(crate) struct AllObjects {
    store: Arc<dyn ObjectStore>,
    /// As it was given.
    url: String,
    prefix: Path,
    /// The directory, where the store is one: object_store does not fsync what it writes.
    local: Option<PathBuf>,
    pub(crate) cache: Cache,
    /// Copies of objects, where the store is far away.
    disk: Option<DiskCache>,
    block_bytes: u32,
    retry: Retry,
    /// Set when the store was seen to refuse what it must.
    probed: OnceCell<()>,
    pub(crate) names: Names,
}

impl Objects {
    /// Opens the store of a URL or path.
    pub(crate) fn open(url: &str, cache_bytes: usize, block_bytes: u32) -> Result<Objects> {
        Ok(Self::uncounted(Self::of(location::open(url)?, url, cache_bytes, block_bytes)))
    }

    /// Of the options' URL, or on the store that they give.
    pub(crate) fn of_options(options: &StoreOptions) -> Result<Objects> {
        let location = match &options.store {
            Some(store) => {
                Location { store: Arc::clone(store), prefix: Path::default(), local: None }
            }
            None => location::open(&options.url)?,
        };
        let all = Self::of(location, &options.url, options.cache_bytes, options.block_bytes);
        let disk = match &options.disk_cache_dir {
            Some(dir) if all.local.is_none() && options.disk_cache_bytes > 0 => {
                Some(DiskCache::open(dir, options.disk_cache_bytes)?)
            }
            _ => None,
        };
        Ok(Self::uncounted(AllObjects { retry: options.retry, disk, ..all }))
    }

    fn uncounted(all: AllObjects) -> Objects {
        Objects { all: Arc::new(all), traffic: None }
    }

    /// The same objects for a read that wants to know how much it read.
    pub(crate) fn counting(&self, traffic: &Traffic) -> Arc<Objects> {
        Arc::new(Objects { all: Arc::clone(&self.all), traffic: Some(traffic.clone()) })
    }

    fn of(location: Location, url: &str, cache_bytes: usize, block_bytes: u32) -> AllObjects {
        let Location { store, prefix, local } = location;
        AllObjects {
            store,
            url: url.to_owned(),
            prefix,
            local,
            cache: Cache::new(cache_bytes),
            disk: None,
            block_bytes,
            retry: Retry::default(),
            probed: OnceCell::new(),
            names: Names::default(),
        }
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Reads all of an object and verifies its size and every block.
    pub(crate) async fn verify(&self, meta: &ObjectMeta) -> Result<()> {
        let path = meta.path.clone();
        let place = self.path(&path);
        let head = self.retry.call("read", &path, || self.store.head(&place)).await;
        let size = head.map_err(missing)?.size;
        if size != meta.size {
            let reason = format!("it has {size} bytes, {} were expected", meta.size);
            return Err(Error::Corrupt { path, reason });
        }
        let blocks = meta.size.div_ceil(u64::from(meta.block_bytes.max(1)));
        if meta.checksums.len() as u64 != blocks {
            let reason = format!("{} checksums stand for {blocks} blocks", meta.checksums.len());
            return Err(Error::Corrupt { path, reason });
        }
        self.fetch_range(meta, 0, 0..meta.size).await.map(drop)
    }

    /// The keys of all objects below a prefix.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let all = self.list_sizes(prefix).await?;
        Ok(all.into_iter().map(|(key, _)| key).collect())
    }

    /// The same with the size of each.
    pub(crate) async fn list_sizes(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let root = self.path(prefix);
        let depth = self.prefix.parts().count();
        let list = || self.store.list(Some(&root)).try_collect::<Vec<_>>();
        let all = self.retry.call("list", prefix, list).await?;
        let key = |path: &Path| -> Path { path.parts().skip(depth).collect() };
        Ok(all.iter().map(|o| (key(&o.location).to_string(), o.size)).collect())
    }

    /// Reads an object that no checksum is known of.
    pub(crate) async fn read_unknown(&self, key: &str) -> Result<Bytes> {
        let path = self.path(key);
        self.retry.call("read", key, || self.get_whole(&path)).await.map_err(missing)
    }

    /// One try to read an object by its own size: less than that is no answer.
    async fn get_whole(&self, path: &Path) -> object_store::Result<Bytes> {
        let result = self.store.get(path).await?;
        let size = result.meta.size;
        let bytes = result.bytes().await?;
        if bytes.len() as u64 == size {
            return Ok(bytes);
        }
        let source = format!("{} of {size} bytes came", bytes.len()).into();
        Err(object_store::Error::Generic { store: "object store", source })
    }

    /// Reads all of an object, verified and not cached.
    pub(crate) async fn read_whole(&self, meta: &ObjectMeta) -> Result<Bytes> {
        let bytes = self.fetch_range(meta, 0, 0..meta.size).await?;
        if let Some(disk) = self.disk.as_ref().filter(|disk| !disk.holds(&meta.path)) {
            disk.put(&meta.path, &bytes).await;
        }
        Ok(bytes)
    }

    /// Reads whole blocks and verifies them. What a store gives short or wrong it is asked for
    /// once more: the way may be at fault rather than the object.
    async fn fetch_range(
        &self,
        meta: &ObjectMeta,
        first_block: usize,
        range: Range<u64>,
    ) -> Result<Bytes> {
        let length = (range.end - range.start) as usize;
        if let Some(traffic) = &self.traffic {
            traffic.fetched.add(length);
        }
        if let Some(disk) = &self.disk
            && let Some(bytes) = disk.read(&meta.path, range.clone()).await
        {
            if checksum::verify(meta, first_block, &bytes).is_ok() {
                return Ok(bytes);
            }
            disk.remove(&meta.path);
        }
        let path = self.path(&meta.path);
        let mut last = false;
        loop {
            let get = || self.store.get_range(&path, range.clone());
            let bytes = match length {
                0 => Bytes::new(),
                _ => self.retry.call("read", &meta.path, get).await.map_err(missing)?,
            };
            let verified = match bytes.len() == length {
                true => checksum::verify(meta, first_block, &bytes),
                false => Err(Error::Corrupt {
                    path: meta.path.clone(),
                    reason: format!("it is shorter than {} bytes", meta.size),
                }),
            };
            match verified {
                Ok(()) => return Ok(bytes),
                Err(error) if last => return Err(error),
                Err(_) => last = true,
            }
        }
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
            let bytes = self.fetch_range(meta, first as usize, covering).await?;
            return Ok(bytes.slice(skip..skip + length));
        }
        let path: Arc<str> = Arc::from(meta.path.as_str());
        let key = |n: u64| -> CacheKey { (Arc::clone(&path), n) };
        let mut parts: Vec<Option<Arc<Bytes>>> =
            (first..=last).map(|n| self.cache.get::<Bytes>(&key(n))).collect();
        if let Some(traffic) = &self.traffic {
            traffic.cached.add(parts.iter().flatten().map(|part| part.len()).sum());
        }
        let missing = parts.iter().position(Option::is_none);
        if let Some(from) = missing {
            let to = parts.iter().rposition(Option::is_none).unwrap_or(from);
            let start = (first + from as u64) * block;
            let end = ((first + to as u64 + 1) * block).min(meta.size);
            let bytes = self.fetch_range(meta, first as usize + from, start..end).await?;
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
        let bytes = self.read_whole(meta).await?;
        let value =
            parse(&bytes).map_err(|reason| Error::Corrupt { path: meta.path.clone(), reason })?;
        let value = Arc::new(value);
        self.cache.put(key, Arc::clone(&value), meta.size as usize);
        Ok(value)
    }

    /// Keeps what was just written as a read would: most of what is asked for is young, and keys
    /// must be looked up while the store is down.
    pub(crate) fn cache_parsed<T: Send + Sync + 'static>(&self, meta: &ObjectMeta, value: Arc<T>) {
        let key: CacheKey = (Arc::from(meta.path.as_str()), PARSED);
        self.cache.put(key, value, meta.size as usize);
    }

    /// The same with the bytes of a file that is not too large.
    pub(crate) fn cache_written(&self, meta: &ObjectMeta, bytes: &Bytes) {
        if bytes.len() > CACHED_WRITE_BYTES {
            return;
        }
        let path: Arc<str> = Arc::from(meta.path.as_str());
        for (n, block) in bytes.chunks(meta.block_bytes as usize).enumerate() {
            let block = Arc::new(Bytes::copy_from_slice(block));
            let length = block.len();
            self.cache.put((Arc::clone(&path), n as u64), block, length);
        }
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

/// An object that a manifest names and that is not there is damage.
fn missing(error: Error) -> Error {
    match error {
        Error::ObjectStore { source: object_store::Error::NotFound { .. }, path, .. } => {
            Error::Corrupt { path, reason: "it is missing".to_owned() }
        }
        other => other,
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
