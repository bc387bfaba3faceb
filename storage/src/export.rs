//! Unflushed rows and row ends, as the Raft snapshot holds them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronos_catalog::{CommitTs, Oid, Relation, RowEndsMeta, SegmentId, State};
use datafusion::arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{
    DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flush::EndsBySegment;
use crate::hot::HotSegment;
use crate::provider::{CV, SYSTEM_FROM};
use crate::rows::{decode_rows, encode_rows};
use crate::segment::{Segment, Source};
use crate::store::Store;
use crate::table::TableStore;

/// Everything that is in memory only.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Export {
    tables: Vec<TableExport>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TableExport {
    table: Oid,
    segments: Vec<SegmentExport>,
    ends: Vec<(SegmentId, CommitTs, RoaringBitmap)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SegmentExport {
    id: SegmentId,
    schema_version: u32,
    /// The rows as in the log, then `_system_from` and `_cv`.
    rows: Vec<u8>,
    /// About how many bytes they take in memory.
    bytes: u64,
}

impl Store {
    /// What [`Store::restore_hot`] takes for a state without rows in memory.
    ///
    /// # Errors
    /// When it has no encoding (a bug).
    pub fn nothing_in_memory() -> Result<Bytes> {
        let none = rmp_serde::to_vec_named(&Export::default());
        none.map(Bytes::from).map_err(|e| Error::Encode(e.to_string()))
    }

    pub(crate) fn export_hot(&self, state: &State) -> Result<Bytes> {
        let mut export = Export::default();
        for &table in state.manifests.keys() {
            let Some(store) = self.table(table) else { continue };
            let mut segments = Vec::new();
            for segment in store.segments().values() {
                if let Some(exported) = export_segment(segment)? {
                    segments.push(exported);
                }
            }
            let (ends, _): (EndsBySegment, _) = store.row_ends_in_memory();
            let ends = ends
                .into_iter()
                .flat_map(|(id, ends)| ends.into_iter().map(move |(ts, p)| (id, ts, p)))
                .collect();
            export.tables.push(TableExport { table, segments, ends });
        }
        rmp_serde::to_vec_named(&export).map(Bytes::from).map_err(|e| Error::Encode(e.to_string()))
    }

    /// Tables come from the state's manifests; no object is read.
    pub(crate) fn restore_hot(&self, state: &State, exported: &Bytes) -> Result<()> {
        let export: Export =
            rmp_serde::from_slice(exported).map_err(|e| Error::Encode(e.to_string()))?;
        let mut exports: BTreeMap<Oid, TableExport> =
            export.tables.into_iter().map(|t| (t.table, t)).collect();
        let mut tables = BTreeMap::new();
        for (&table, manifest) in &state.manifests {
            let (objects, options) = (Arc::clone(&self.objects), Arc::clone(&self.options));
            let store = TableStore::new(table, objects, options);
            let mut inner = store.inner.write();
            inner.horizon = manifest.horizon;
            for version in state.objects.history(table) {
                if let Relation::Table(def) = &version.object.relation {
                    inner.shapes.insert(def.schema_version, Arc::clone(def));
                }
            }
            let mut segments = BTreeMap::new();
            let sidecars_of = |id: SegmentId| -> Vec<Arc<RowEndsMeta>> {
                let names = |m: &&Arc<RowEndsMeta>| m.segments.contains_key(&id);
                manifest.row_ends.iter().filter(names).cloned().collect()
            };
            for (&id, meta) in &manifest.segments {
                let segment = Segment::cold_with_ends(Arc::clone(meta), sidecars_of(id));
                segments.insert(id, Arc::new(segment));
            }
            if let Some(export) = exports.remove(&table) {
                for exported in export.segments {
                    let id = exported.id;
                    let segment = Segment::restored(id, import(table, exported)?, sidecars_of(id));
                    segments.insert(id, Arc::new(segment));
                }
                let mut ends = export.ends;
                ends.sort_by_key(|(_, ts, _)| *ts);
                for (id, ts, positions) in ends {
                    let segment =
                        segments.get(&id).ok_or(Error::NoSuchSegment { table, segment: id })?;
                    segment.ends.add(ts, &positions);
                }
            }
            let hot = manifest.sealed.iter().map(|(&id, &rows)| (id, rows)).chain(manifest.open);
            for (id, rows) in hot {
                let there = segments.get(&id).and_then(|s| s.with_hot(HotSegment::rows));
                if there != Some(rows) {
                    return Err(Error::Inconsistent {
                        table,
                        reason: format!(
                            "the snapshot has {} rows of segment {id}, not {rows}",
                            there.unwrap_or_default()
                        ),
                    });
                }
            }
            inner.segments = Arc::new(segments);
            drop(inner);
            tables.insert(table, Arc::new(store));
        }
        *self.tables.write() = tables;
        Ok(())
    }
}

fn export_segment(segment: &Segment) -> Result<Option<SegmentExport>> {
    let bytes = segment.with_hot(HotSegment::bytes).unwrap_or_default() as u64;
    let Source::Hot(schema_version, chunks) = segment.source() else { return Ok(None) };
    let Some(first) = chunks.first() else { return Ok(None) };
    let mut fields: Vec<Field> =
        first.batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new(SYSTEM_FROM, DataType::Timestamp(TimeUnit::Microsecond, None), false));
    fields.push(Field::new(CV, DataType::Int64, false));
    let schema = Arc::new(Schema::new(fields));
    let batches = chunks
        .iter()
        .map(|chunk| {
            let mut columns = chunk.batch.columns().to_vec();
            columns.push(Arc::new(chunk.from.clone()) as ArrayRef);
            columns.push(Arc::new(chunk.cv.clone()));
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        })
        .collect::<Result<Vec<_>>>()?;
    let rows = encode_rows(&concat_batches(&schema, &batches)?)?;
    Ok(Some(SegmentExport { id: segment.id, schema_version, rows: rows.into(), bytes }))
}

fn import(table: Oid, exported: SegmentExport) -> Result<HotSegment> {
    let batch = decode_rows(&exported.rows)?;
    let width = batch.num_columns().checked_sub(2).ok_or_else(|| Error::Inconsistent {
        table,
        reason: format!("segment {} of the snapshot has no columns", exported.id),
    })?;
    let from: Option<&TimestampMicrosecondArray> =
        batch.column(width).as_primitive_opt::<TimestampMicrosecondType>();
    let cv: Option<&Int64Array> = batch.column(width + 1).as_primitive_opt::<Int64Type>();
    let (Some(from), Some(cv)) = (from, cv) else {
        return Err(Error::Inconsistent {
            table,
            reason: format!("segment {} of the snapshot has other columns", exported.id),
        });
    };
    let places: Vec<usize> = (0..width).collect();
    let mut hot = HotSegment::default();
    let own = from.len() * 16;
    let bytes = (exported.bytes as usize).saturating_sub(own);
    let rows = batch.project(&places)?;
    hot.append(exported.schema_version, 0, rows, from.clone(), cv.clone(), bytes)?;
    Ok(hot)
}
