//! Rows as they stand in a log entry: one Arrow IPC stream of the table's columns, then `_ov`.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use chronos_catalog::TableDef;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, MAX_INLINE_VIEW_LEN, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

use crate::error::Result;
use crate::provider::OV;

/// The schema of rows in the log and in hot segments: the table's columns in order, then `_ov`.
pub fn rows_schema(def: &TableDef) -> SchemaRef {
    let mut fields = def.arrow_fields();
    fields.push(Field::new(OV, DataType::Int64, false));
    Arc::new(Schema::new(fields))
}

/// Writes rows as one Arrow IPC stream.
///
/// # Errors
/// Only for an Arrow type that IPC does not know.
pub fn encode_rows(batch: &RecordBatch) -> Result<Bytes> {
    let mut out = Vec::with_capacity(batch.get_array_memory_size() + 1024);
    let mut writer = StreamWriter::try_new(&mut out, batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    Ok(out.into())
}

/// Reads what [`encode_rows`] wrote, as one batch.
///
/// # Errors
/// When the bytes are not an Arrow IPC stream.
pub fn decode_rows(bytes: &[u8]) -> Result<RecordBatch> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    let schema = reader.schema();
    let mut batches = reader.collect::<Result<Vec<_>, _>>()?;
    match batches.len() {
        1 => Ok(batches.remove(0)),
        _ => Ok(concat_batches(&schema, &batches)?),
    }
}

/// About how many bytes rows take in memory. Arrow's own measure counts a buffer that several
/// columns share, as those of one message do, once for each.
pub(crate) fn memory_of(batch: &RecordBatch) -> usize {
    fn long(lengths: impl Iterator<Item = usize>) -> usize {
        lengths.filter(|&n| n > MAX_INLINE_VIEW_LEN as usize).sum()
    }
    let one = |array: &ArrayRef| match array.data_type() {
        DataType::Utf8View => {
            let lengths = array.as_string_view().lengths();
            array.len() * 16 + long(lengths.map(|n| n as usize))
        }
        DataType::BinaryView => {
            let lengths = array.as_binary_view().lengths();
            array.len() * 16 + long(lengths.map(|n| n as usize))
        }
        _ => {
            let size = array.to_data().get_slice_memory_size();
            size.unwrap_or_else(|_| array.get_array_memory_size())
        }
    };
    batch.columns().iter().map(one).sum()
}
