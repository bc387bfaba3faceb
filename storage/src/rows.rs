//! Rows as they stand in a log entry: one Arrow IPC stream of the table's columns, then `_ov`.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use chronos_catalog::TableDef;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, MAX_INLINE_VIEW_LEN, MutableArrayData, RecordBatch,
    RecordBatchOptions, make_array,
};
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
    let columns = batch.columns().iter().map(without_unused_text).collect();
    let batch = RecordBatch::try_new(batch.schema(), columns)?;
    let mut out = Vec::with_capacity(memory_of(&batch) + 1024);
    let mut writer = StreamWriter::try_new(&mut out, batch.schema_ref())?;
    writer.write(&batch)?;
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

/// Text without what no row of it refers to. A part of a column that was read keeps all that was
/// read with it, and IPC would write that too.
fn without_unused_text(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Utf8View => {
            let array = array.as_string_view();
            let held: usize = array.data_buffers().iter().map(|b| b.len()).sum();
            if held > long(array.lengths()) {
                Arc::new(array.gc())
            } else {
                Arc::new(array.clone())
            }
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            let held: usize = array.data_buffers().iter().map(|b| b.len()).sum();
            if held > long(array.lengths()) {
                Arc::new(array.gc())
            } else {
                Arc::new(array.clone())
            }
        }
        _ => Arc::clone(array),
    }
}

/// The same rows in memory of their own. The columns of one message share its memory, and a part
/// of a batch shares that of the whole: each would keep all of it, and whoever counts what a
/// batch takes would count all of it every time.
pub(crate) fn own_memory(batch: &RecordBatch) -> Result<RecordBatch> {
    let copy = |array: &ArrayRef| -> Result<ArrayRef> {
        let data = without_unused_text(array).to_data();
        let mut copy = MutableArrayData::new(vec![&data], false, data.len());
        copy.try_extend(0, 0, data.len())?;
        Ok(make_array(copy.freeze()))
    };
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = batch.columns().iter().map(copy).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new_with_options(batch.schema(), columns, &options)?)
}

fn long(lengths: impl Iterator<Item = u32>) -> usize {
    lengths.filter(|&n| n > MAX_INLINE_VIEW_LEN).map(|n| n as usize).sum()
}

/// About how many bytes rows take in memory. Arrow's own measure counts a buffer that several
/// columns share, as those of one message do, once for each.
pub(crate) fn memory_of(batch: &RecordBatch) -> usize {
    let one = |array: &ArrayRef| match array.data_type() {
        DataType::Utf8View => array.len() * 16 + long(array.as_string_view().lengths()),
        DataType::BinaryView => array.len() * 16 + long(array.as_binary_view().lengths()),
        _ => {
            let size = array.to_data().get_slice_memory_size();
            size.unwrap_or_else(|_| array.get_array_memory_size())
        }
    };
    batch.columns().iter().map(one).sum()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn batch(n: i64) -> RecordBatch {
        let long = |i| format!("a text that does not fit into a view: {i}");
        let columns: [(&str, ArrayRef); 3] = [
            ("id", Arc::new(Int64Array::from_iter_values(0..n))),
            ("short", Arc::new(StringViewArray::from_iter_values((0..n).map(|i| i.to_string())))),
            ("long", Arc::new(StringViewArray::from_iter_values((0..n).map(long)))),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    #[test]
    fn part_of_a_batch_is_written_without_the_rest() {
        let whole = encode_rows(&batch(10_000)).unwrap();
        let part = encode_rows(&batch(10_000).slice(5_000, 10)).unwrap();
        assert!(part.len() < whole.len() / 100, "{} of {}", part.len(), whole.len());
        assert_eq!(decode_rows(&part).unwrap(), batch(10_000).slice(5_000, 10));
    }

    #[test]
    fn rows_of_a_message_get_memory_of_their_own() {
        let read = decode_rows(&encode_rows(&batch(1000)).unwrap()).unwrap();
        let own = own_memory(&read.slice(100, 10)).unwrap();
        assert_eq!(own, batch(1000).slice(100, 10));
        let (counted, used) = (own.get_array_memory_size(), memory_of(&own));
        assert!(counted < 4 * used + 2048, "{counted} for {used}");
    }
}
