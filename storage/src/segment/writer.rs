//! Writes segments as Parquet, each with a key-hash file for every key.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronos_catalog::{CommitTs, Oid, SegmentId, SegmentMeta, SqlType, TableDef};
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, Encoding, ZstdLevel};
use datafusion::parquet::file::properties::{WriterProperties, WriterVersion};
use datafusion::parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};
use crate::keys::{KeyHashes, KeySpec, hash_key, is_hashable};
use crate::object::Objects;
use crate::options::StoreOptions;
use crate::paths;
use crate::provider::{CV, OV, SYSTEM_FROM, SYSTEM_TO};
use crate::segment::schema::{file_schema, to_stored};
use crate::store::unplaced_segment_id;

/// Rows in a data page: a read of one row decodes one page of each column.
pub(crate) const PAGE_ROWS: usize = 8192;

/// A dictionary of instants or version numbers has no more bytes.
const SYSTEM_DICTIONARY_BYTES: usize = 32 << 10;
/// A dictionary of floats has no more bytes.
const FLOAT_DICTIONARY_BYTES: usize = 128 << 10;

/// Where the rows' `_system_from` and `_cv` come from.
pub(crate) enum Begun {
    /// Each row's own.
    Each(TimestampMicrosecondArray, Int64Array),
    /// The commit that the segment is part of, which is not known yet.
    WithCommit,
}

/// Writes one segment into memory.
pub(crate) struct SegmentFile {
    table: Oid,
    id: SegmentId,
    schema_version: u32,
    schema: SchemaRef,
    parquet: ArrowWriter<Buffer>,
    keys: Vec<(KeySpec, Vec<usize>, Vec<Option<u64>>)>,
    rows: u32,
    from: Option<(i64, i64)>,
    ended: Option<(i64, i64)>,
    constant: bool,
}

/// The file as it grows.
type Buffer = Vec<u8>;

impl std::fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentFile").field("id", &self.id).field("rows", &self.rows).finish()
    }
}

impl SegmentFile {
    /// Of rows that are current, or whose ends stand elsewhere.
    pub(crate) fn new(
        table: Oid,
        id: SegmentId,
        def: &TableDef,
        keys: &[KeySpec],
        options: &StoreOptions,
    ) -> Result<Self> {
        Self::with_schema(table, id, def, keys, options, file_schema(def, false))
    }

    /// Of rows that have all ended: [`SegmentFile::write_ended`] takes them.
    pub(crate) fn of_ended(
        table: Oid,
        id: SegmentId,
        def: &TableDef,
        keys: &[KeySpec],
        options: &StoreOptions,
    ) -> Result<Self> {
        Self::with_schema(table, id, def, keys, options, file_schema(def, true))
    }

    fn with_schema(
        table: Oid,
        id: SegmentId,
        def: &TableDef,
        keys: &[KeySpec],
        options: &StoreOptions,
        schema: SchemaRef,
    ) -> Result<Self> {
        let properties = properties(def, options)?;
        let parquet = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        let place = |id| def.columns.iter().position(|c| c.id == id);
        let keys = keys
            .iter()
            .filter(|key| is_hashable(def, &key.columns))
            .filter_map(|key| {
                let columns = key.columns.iter().map(|&id| place(id)).collect::<Option<_>>()?;
                Some((key.clone(), columns, Vec::new()))
            })
            .collect();
        Ok(SegmentFile {
            table,
            id,
            schema_version: def.schema_version,
            schema,
            parquet,
            keys,
            rows: 0,
            from: None,
            ended: None,
            constant: false,
        })
    }

    /// Adds rows: the table's columns in order, then `_ov`.
    pub(crate) fn write(&mut self, rows: &RecordBatch, begun: Begun) -> Result<()> {
        self.write_with_ends(rows, begun, None)
    }

    /// Adds rows and when each ended.
    pub(crate) fn write_ended(
        &mut self,
        rows: &RecordBatch,
        begun: Begun,
        to: TimestampMicrosecondArray,
    ) -> Result<()> {
        self.write_with_ends(rows, begun, Some(to))
    }

    fn write_with_ends(
        &mut self,
        rows: &RecordBatch,
        begun: Begun,
        to: Option<TimestampMicrosecondArray>,
    ) -> Result<()> {
        let n = rows.num_rows();
        if n == 0 {
            return Ok(());
        }
        let width = self.schema.fields().len() - 3 - usize::from(to.is_some());
        if rows.num_columns() != width + 1 {
            return Err(Error::Inconsistent {
                table: self.table,
                reason: format!("{} columns where {} belong", rows.num_columns(), width + 1),
            });
        }
        for (_, columns, hashes) in &mut self.keys {
            let arrays: Vec<ArrayRef> =
                columns.iter().map(|&i| Arc::clone(rows.column(i))).collect();
            hashes.extend(hash_key(&arrays)?);
        }
        let mut columns: Vec<ArrayRef> = rows.columns()[..width]
            .iter()
            .zip(self.schema.fields())
            .map(|(array, field)| to_stored(array, field.data_type()))
            .collect::<Result<_>>()?;
        let instant = SqlType::Timestamptz.arrow();
        let (from, cv): (ArrayRef, ArrayRef) = match begun {
            Begun::WithCommit => {
                self.constant = true;
                let cv = new_null_array(self.schema.field(width + 2).data_type(), n);
                (new_null_array(&instant, n), cv)
            }
            Begun::Each(from, cv) => {
                widen(&mut self.from, &from);
                (Arc::new(from.with_data_type(instant)), Arc::new(cv))
            }
        };
        columns.extend([from, Arc::clone(rows.column(width)), cv]);
        if let Some(to) = to {
            widen(&mut self.ended, &to);
            columns.push(Arc::new(to.with_data_type(SqlType::Timestamptz.arrow())));
        }
        self.parquet.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        self.rows += n as u32;
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows as usize
    }

    /// About how many bytes the file would have if it were finished now.
    pub(crate) fn bytes(&self) -> usize {
        self.parquet.bytes_written() + self.parquet.in_progress_size()
    }

    /// Puts the file and its key files into the store, durably.
    pub(crate) async fn finish(self, objects: &Objects) -> Result<SegmentMeta> {
        let SegmentFile {
            table,
            id,
            schema_version,
            parquet,
            keys,
            rows,
            from,
            ended,
            constant,
            ..
        } = self;
        let file: Bytes = parquet.into_inner()?.into();
        let meta = objects.create(|n| paths::segment(table, id, n), file.clone()).await?;
        objects.cache_written(&meta, &file);
        let file = meta;
        let mut key_files = BTreeMap::new();
        for (key, _, hashes) in keys {
            let hashes = KeyHashes::new(&hashes);
            let name = |n| paths::key_file(table, id, key.oid, n);
            let meta = objects.create(name, hashes.encode()).await?;
            objects.cache_parsed(&meta, Arc::new(hashes));
            key_files.insert(key.oid.0, meta);
        }
        let (from_min, from_max) = match from {
            Some((first, last)) if !constant => (CommitTs(first), CommitTs(last)),
            _ => (CommitTs::ZERO, CommitTs::ZERO),
        };
        Ok(SegmentMeta {
            id,
            schema_version,
            rows,
            file,
            key_files,
            from_min,
            from_max,
            commit_number: None,
            ended_max: ended.map(|e| CommitTs(e.1)),
            ended_min: ended.map(|e| CommitTs(e.0)),
            sorted: false,
        })
    }
}

/// Makes a range hold further instants.
fn widen(range: &mut Option<(i64, i64)>, times: &TimestampMicrosecondArray) {
    if let (Some(least), Some(greatest)) = (min(times), max(times)) {
        *range = Some(range.map_or((least, greatest), |r| (r.0.min(least), r.1.max(greatest))));
    }
}

/// Encodings by column: differences for whole numbers and times, split bytes for floats, a
/// dictionary for what may repeat.
fn properties(def: &TableDef, options: &StoreOptions) -> Result<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("chronos ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(options.row_group_rows))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS.min(1024));
    // A path of one part, whatever dots are in the name.
    let path = |name: &str| ColumnPath::new(vec![name.to_owned()]);
    for name in [SYSTEM_FROM, OV, CV, SYSTEM_TO] {
        // A commit writes many rows: few values, in long runs.
        properties = properties
            .set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_page_size_limit(path(name), SYSTEM_DICTIONARY_BYTES);
    }
    for column in &def.columns {
        let path = path(&column.name);
        let encoding = match column.ty {
            SqlType::Int2
            | SqlType::Int4
            | SqlType::Int8
            | SqlType::Oid
            | SqlType::Date
            | SqlType::Time
            | SqlType::Timestamp
            | SqlType::Timestamptz => Encoding::DELTA_BINARY_PACKED,
            SqlType::Float4 | SqlType::Float8 => {
                // Measured values repeat more often than not; then numbers of a dictionary are
                // a fifth of the size, and faster to read. The others soon fill it.
                properties = properties
                    .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
                    .set_column_dictionary_page_size_limit(path, FLOAT_DICTIONARY_BYTES);
                continue;
            }
            _ => continue,
        };
        properties = properties
            .set_column_encoding(path.clone(), encoding)
            .set_column_dictionary_enabled(path, false);
    }
    Ok(properties.build())
}

/// Writes a large transaction's rows as segments before it commits. Memory is bounded by one
/// segment's file.
#[derive(Debug)]
pub struct SegmentWriter {
    table: Oid,
    def: Arc<TableDef>,
    keys: Vec<KeySpec>,
    objects: Arc<Objects>,
    options: Arc<StoreOptions>,
    open: Option<SegmentFile>,
}

impl SegmentWriter {
    pub(crate) fn new(
        table: Oid,
        def: Arc<TableDef>,
        objects: Arc<Objects>,
        options: Arc<StoreOptions>,
    ) -> Self {
        let keys = unique_keys(&def);
        SegmentWriter { table, def, keys, objects, options, open: None }
    }

    /// Adds rows: the table's columns in order, then `_ov`. Gives the segments that it finished
    /// with them, ready for [`crate::Overlay::add_segment`] and the commit.
    ///
    /// # Errors
    /// When the object store fails.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<Vec<SegmentMeta>> {
        let mut finished = Vec::new();
        let mut at = 0;
        while at < rows.num_rows() {
            let file = match &mut self.open {
                Some(file) => file,
                None => {
                    let id = unplaced_segment_id();
                    let file =
                        SegmentFile::new(self.table, id, &self.def, &self.keys, &self.options)?;
                    self.open.insert(file)
                }
            };
            let room = self.options.segment_rows.saturating_sub(file.rows()).max(1);
            let n = room.min(rows.num_rows() - at).min(PAGE_ROWS);
            file.write(&rows.slice(at, n), Begun::WithCommit)?;
            at += n;
            let full = file.rows() >= self.options.segment_rows
                || file.bytes() >= self.options.segment_bytes;
            if full && let Some(file) = self.open.take() {
                finished.push(file.finish(&self.objects).await?);
            }
        }
        Ok(finished)
    }

    /// Finishes the last segment, if it has rows.
    ///
    /// # Errors
    /// When the object store fails.
    pub async fn finish(mut self) -> Result<Option<SegmentMeta>> {
        match self.open.take() {
            Some(file) => Ok(Some(file.finish(&self.objects).await?)),
            None => Ok(None),
        }
    }
}

/// A table's unique keys.
pub(crate) fn unique_keys(def: &TableDef) -> Vec<KeySpec> {
    def.unique_keys().map(|(oid, _, columns)| KeySpec { oid, columns: columns.to_vec() }).collect()
}
