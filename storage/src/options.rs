//! What a store is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;

use crate::object::Retry;

/// What a store is opened with.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Where objects are kept: a path, or a `file:`, `memory:`, `s3:`, `az:` or `gs:` URL.
    pub url: String,
    /// A store to use rather than the URL's: tests give one that fails.
    pub store: Option<Arc<dyn ObjectStore>>,
    /// How often a call of the store is tried.
    pub retry: Retry,
    /// The most bytes of verified object blocks, key files and row-end sidecars kept in memory.
    pub cache_bytes: usize,
    /// Where copies of objects are kept whose store is no directory; `None` for nowhere.
    pub disk_cache_dir: Option<PathBuf>,
    /// The most bytes of them.
    pub disk_cache_bytes: u64,
    /// A bulk segment is closed when it holds this many rows.
    pub segment_rows: usize,
    /// A bulk segment is closed when its Parquet file has about this many bytes.
    pub segment_bytes: usize,
    /// Rows in one Parquet row group.
    pub row_group_rows: usize,
    /// Bytes that one checksum covers.
    pub block_bytes: u32,
    /// The most bytes of rows that a compaction sorts in memory; more go through temporary
    /// files.
    pub compaction_memory_bytes: usize,
}

impl StoreOptions {
    /// The defaults, at that URL.
    pub fn new(url: impl Into<String>) -> Self {
        StoreOptions {
            url: url.into(),
            store: None,
            retry: Retry::default(),
            cache_bytes: 256 << 20,
            disk_cache_dir: None,
            disk_cache_bytes: 1 << 30,
            segment_rows: 1 << 20,
            segment_bytes: 64 << 20,
            row_group_rows: 128 << 10,
            block_bytes: 64 << 10,
            compaction_memory_bytes: 128 << 20,
        }
    }
}
