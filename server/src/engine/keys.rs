//! Unique keys of rows that are being written: duplicates among themselves, hashes, and the
//! sentence that PostgreSQL says about them.

use std::collections::HashMap;
use std::sync::Arc;

use chronos_catalog::{ColumnId, RowRef, SqlType, TableDef};
use chronos_storage::{Overlay, TableStore, fetch_rows};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{RowConverter, SortField};

use crate::pgwire::text_of;
use crate::session::api::TextSettings;

/// The columns of a key out of rows in the table's columns.
pub(super) fn project(
    def: &TableDef,
    columns: &[ColumnId],
    rows: &RecordBatch,
) -> Result<RecordBatch, ArrowError> {
    let places: Vec<usize> = columns
        .iter()
        .map(|id| {
            def.columns.iter().position(|c| c.id == *id).ok_or_else(|| {
                ArrowError::SchemaError(format!("key column {} is not in the table", id.0))
            })
        })
        .collect::<Result<_, _>>()?;
    rows.project(&places)
}

/// The first row whose key stands in an earlier row too. Keys with a NULL equal none.
pub(super) fn first_duplicate(keys: &RecordBatch) -> Result<Option<usize>, ArrowError> {
    if keys.num_rows() < 2 {
        return Ok(None);
    }
    let columns: Vec<ArrayRef> = keys.columns().iter().map(normalized).collect();
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let converter = RowConverter::new(fields)?;
    let rows = converter.convert_columns(&columns)?;
    let mut seen = HashMap::with_capacity(rows.num_rows());
    for (i, row) in rows.iter().enumerate() {
        if columns.iter().any(|c| c.is_null(i)) {
            continue;
        }
        if seen.insert(row, i).is_some() {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

/// Floats in one form for each value that PostgreSQL takes as equal: -0 is 0, and every NaN is
/// the same.
fn normalized(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float32Type>(|v| {
                if v == 0.0 {
                    0.0
                } else if v.is_nan() {
                    f32::NAN
                } else {
                    v
                }
            }))
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            Arc::new(floats.unary::<_, Float64Type>(|v| {
                if v == 0.0 {
                    0.0
                } else if v.is_nan() {
                    f64::NAN
                } else {
                    v
                }
            }))
        }
        _ => Arc::clone(array),
    }
}

/// `Key (id, name)=(5, x) already exists.`
pub(super) fn exists_sentence(keys: &RecordBatch, row: usize) -> String {
    format!("Key {} already exists.", equation(keys, row))
}

/// `(id, name)=(5, x)`
pub(super) fn equation(keys: &RecordBatch, row: usize) -> String {
    let names: Vec<&str> = keys.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    format!("({})=({})", names.join(", "), values(keys, row))
}

/// `Key (id)=(5) of table "t" was changed by another transaction.` Without a primary key only
/// the table is told.
pub(super) async fn changed_sentence(
    store: &TableStore,
    def: &Arc<TableDef>,
    table: &str,
    row: RowRef,
) -> String {
    let places: Vec<usize> = def
        .primary_key()
        .into_iter()
        .flatten()
        .filter_map(|id| def.columns.iter().position(|c| c.id == *id))
        .collect();
    let unnamed = || format!("A row of table \"{table}\" was changed by another transaction.");
    if places.is_empty() {
        return unnamed();
    }
    match fetch_rows(store, &Overlay::default(), def, &[row], &places).await {
        Ok(keys) => {
            let schema = keys.schema();
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            let (names, values) = (names.join(", "), values(&keys, 0));
            format!(
                "Key ({names})=({values}) of table \"{table}\" was changed by another transaction."
            )
        }
        // The conflict is what has to be told.
        Err(_) => unnamed(),
    }
}

/// `Failing row contains (5, null).`
pub(super) fn failing_row_sentence(rows: &RecordBatch, row: usize) -> String {
    format!("Failing row contains ({}).", values(rows, row))
}

/// A row's values as text, separated by commas. Times with a zone are shown in UTC, for a key
/// belongs to no session.
pub(super) fn values(rows: &RecordBatch, row: usize) -> String {
    let settings = TextSettings {
        time_zone: chrono_tz::UTC,
        interval_style: "postgres".to_owned(),
        bytea_escape: false,
        extra_float_digits: 1,
        date_style: "ISO, MDY".to_owned(),
        now: None,
    };
    let text = |(array, field): (&ArrayRef, &Arc<Field>)| {
        let ty = SqlType::of_field(field).unwrap_or(SqlType::Text);
        match text_of(array, &ty, row, &settings) {
            Ok(Some(text)) => text,
            Ok(None) => "null".to_owned(),
            // Never worth hiding the error that is about to be told.
            Err(_) => "?".to_owned(),
        }
    };
    let texts: Vec<String> =
        rows.columns().iter().zip(rows.schema_ref().fields()).map(text).collect();
    texts.join(", ")
}

/// A copy that shares no memory with the rows it was cut from.
pub(super) fn compact(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let all = UInt32Array::from_iter_values(0..batch.num_rows() as u32);
    let taken = take_record_batch(batch, &all)?;
    let columns = taken
        .columns()
        .iter()
        .map(|array| match array.data_type() {
            DataType::Utf8View => Arc::new(array.as_string_view().gc()) as ArrayRef,
            DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
            _ => Arc::clone(array),
        })
        .collect();
    RecordBatch::try_new(taken.schema(), columns)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int32Array, StringViewArray};
    use datafusion::arrow::datatypes::Schema;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let fields: Vec<Field> = columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
    }

    #[test]
    fn key_that_comes_again_is_a_duplicate_and_one_with_null_is_not() {
        let id: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, None, Some(1)]));
        let name: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "b", "a"]));
        let keys = batch(vec![("id", id), ("name", name)]);
        assert_eq!(first_duplicate(&keys).unwrap(), Some(3));
        assert_eq!(first_duplicate(&keys.slice(0, 3)).unwrap(), None);
        assert_eq!(exists_sentence(&keys, 3), "Key (id, name)=(1, a) already exists.");
        assert_eq!(failing_row_sentence(&keys, 1), "Failing row contains (null, b).");
    }

    #[test]
    fn minus_zero_is_zero_in_a_key() {
        let x: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0]));
        assert_eq!(first_duplicate(&batch(vec![("x", x)])).unwrap(), Some(1));
    }
}
