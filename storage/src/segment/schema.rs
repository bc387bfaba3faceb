//! The columns of a segment: as a file keeps them, and from one shape of the table to another.
//!
//! A file has the table's columns under their names at the time, with the column's number as
//! the Parquet field identifier, then `_system_from`, `_ov` and `_cv`, and in one of ended rows
//! `_system_to`.

use std::collections::HashMap;
use std::sync::Arc;

use chronos_catalog::{Column, SqlType, TableDef};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, IntervalMonthDayNanoArray, ListArray,
    StringArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Schema, SchemaRef,
};
use datafusion::common::ScalarValue;
use datafusion::parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::error::{Error, Result};
use crate::provider::{CV, OV, SYSTEM_FROM, SYSTEM_TO};

/// Bytes of an interval in a file: months and days as 32-bit, nanoseconds as 64-bit integers,
/// little-endian. Parquet's own interval type has milliseconds only.
const INTERVAL_BYTES: i32 = 16;

/// The type that a file keeps a type as.
fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::FixedSizeBinary(INTERVAL_BYTES),
        DataType::List(item) => DataType::List(stored_field(item)),
        other => other.clone(),
    }
}

fn stored_field(field: &FieldRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(stored_type(field.data_type())))
}

/// The schema of a segment file; `ended` is one of rows that have all ended.
pub(crate) fn file_schema(def: &TableDef, ended: bool) -> SchemaRef {
    let mut fields: Vec<Field> = def
        .columns
        .iter()
        .map(|column| {
            // What a file holds is not bound to what the table demands by now.
            let field = column.ty.field(&column.name, true);
            let mut metadata: HashMap<String, String> = field.metadata().clone();
            metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), column.id.0.to_string());
            let stored = stored_type(field.data_type());
            field.with_data_type(stored).with_metadata(metadata)
        })
        .collect();
    fields.push(Field::new(SYSTEM_FROM, SqlType::Timestamptz.arrow(), true));
    fields.push(Field::new(OV, DataType::Int64, false));
    fields.push(Field::new(CV, DataType::Int64, true));
    if ended {
        fields.push(Field::new(SYSTEM_TO, SqlType::Timestamptz.arrow(), false));
    }
    Arc::new(Schema::new(fields))
}

/// Turns an array into the type that a file keeps.
pub(crate) fn to_stored(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), target) {
        (from, to) if from == to => Ok(Arc::clone(array)),
        (DataType::Interval(IntervalUnit::MonthDayNano), DataType::FixedSizeBinary(_)) => {
            let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
            let bytes = intervals.iter().map(|v| {
                v.map(|v| {
                    let mut out = [0_u8; INTERVAL_BYTES as usize];
                    out[..4].copy_from_slice(&v.months.to_le_bytes());
                    out[4..8].copy_from_slice(&v.days.to_le_bytes());
                    out[8..].copy_from_slice(&v.nanoseconds.to_le_bytes());
                    out
                })
            });
            let array =
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, INTERVAL_BYTES)?;
            Ok(Arc::new(array))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = to_stored(list.values(), item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        _ => Ok(cast_strictly(array, target)?),
    }
}

fn cast_strictly(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, target, &options)?)
}

/// Turns an array of a file, or of an older shape, into a type of the table's present shape.
pub(crate) fn adapt(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    match (array.data_type(), target) {
        (from, to) if from == to => Ok(Arc::clone(array)),
        (DataType::FixedSizeBinary(_), DataType::Interval(IntervalUnit::MonthDayNano)) => {
            let bytes = array.as_fixed_size_binary();
            let intervals: IntervalMonthDayNanoArray = bytes
                .iter()
                .map(|v| {
                    v.and_then(|v| {
                        let (months, rest) = v.split_first_chunk()?;
                        let (days, rest) = rest.split_first_chunk()?;
                        let nanos = rest.first_chunk()?;
                        Some(IntervalMonthDayNano::new(
                            i32::from_le_bytes(*months),
                            i32::from_le_bytes(*days),
                            i64::from_le_bytes(*nanos),
                        ))
                    })
                })
                .collect();
            Ok(Arc::new(intervals))
        }
        (DataType::List(_), DataType::List(item)) => {
            let list = array.as_list::<i32>();
            let values = adapt(list.values(), item.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, values, nulls)?))
        }
        _ => cast_strictly(array, target),
    }
}

/// Where each column of the table's present shape comes from in rows of one shape.
#[derive(Debug)]
pub(crate) struct ColumnMap {
    columns: Vec<ColumnSource>,
    /// How many columns the rows' shape has; `_ov` and its like stand behind them.
    pub(crate) width: usize,
}

#[derive(Debug)]
enum ColumnSource {
    /// That column of the rows' shape.
    At(usize),
    /// A value, for rows from before the column was added.
    Missing(ScalarValue),
}

impl ColumnMap {
    /// From rows of one shape to another shape of the same table.
    pub(crate) fn new(shape: &TableDef, def: &TableDef) -> Result<Self> {
        let source = |column: &Column| match shape.columns.iter().position(|c| c.id == column.id) {
            Some(i) => Ok(ColumnSource::At(i)),
            None => missing_value(column).map(ColumnSource::Missing),
        };
        let columns = def.columns.iter().map(source).collect::<Result<_>>()?;
        Ok(ColumnMap { columns, width: shape.columns.len() })
    }

    /// The place in the rows' shape of a column of the present shape.
    pub(crate) fn place(&self, column: usize) -> Option<usize> {
        match self.columns.get(column) {
            Some(ColumnSource::At(i)) => Some(*i),
            _ => None,
        }
    }

    /// A column of the present shape; `at` gives a column of the rows' shape.
    pub(crate) fn column(
        &self,
        column: usize,
        target: &DataType,
        rows: usize,
        at: impl FnOnce(usize) -> Option<ArrayRef>,
    ) -> Result<ArrayRef> {
        match &self.columns[column] {
            ColumnSource::At(i) => match at(*i) {
                Some(array) => adapt(&array, target),
                None => Err(Error::Unsupported(format!("column {i} of a segment, not read"))),
            },
            ColumnSource::Missing(value) if value.is_null() => Ok(new_null_array(target, rows)),
            ColumnSource::Missing(value) => Ok(value.to_array_of_size(rows)?),
        }
    }
}

/// The value of a column in rows that were written before it was added.
///
/// # Errors
/// [`Error::Unsupported`] for what is no literal of the column's type.
pub fn missing_value(column: &Column) -> Result<ScalarValue> {
    let target = column.ty.arrow();
    let Some(sql) = &column.missing else { return Ok(ScalarValue::try_from(&target)?) };
    let text = sql.trim();
    if text.eq_ignore_ascii_case("null") {
        return Ok(ScalarValue::try_from(&target)?);
    }
    let refuse = || {
        Error::Unsupported(format!(
            "the value {sql} of column \"{}\" in rows from before it was added",
            column.name
        ))
    };
    // A literal: what DDL keeps here was evaluated when the column was added.
    let text = match text.strip_prefix('\'') {
        Some(rest) => {
            let body = rest.strip_suffix('\'').ok_or_else(refuse)?;
            let unescaped = body.replace("''", "'");
            if unescaped.matches('\'').count() * 2 != body.matches('\'').count() {
                return Err(refuse());
            }
            unescaped
        }
        None => text.to_owned(),
    };
    match &target {
        DataType::BinaryView => {
            let digits = text.strip_prefix("\\x").ok_or_else(refuse)?;
            let bytes = (0..digits.len())
                .step_by(2)
                .map(|i| digits.get(i..i + 2).and_then(|d| u8::from_str_radix(d, 16).ok()))
                .collect::<Option<Vec<u8>>>()
                .ok_or_else(refuse)?;
            Ok(ScalarValue::BinaryView(Some(bytes)))
        }
        DataType::List(_) => Err(refuse()),
        _ => {
            let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
            let value = cast_strictly(&array, &target).map_err(|_| refuse())?;
            Ok(ScalarValue::try_from_array(&value, 0)?)
        }
    }
}
