//! Rows of a system table, by column name, and their way into Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Decimal128Builder, Float32Builder, Float64Builder,
    Int16Builder, Int32Builder, Int64Builder, IntervalMonthDayNanoBuilder, ListArray, RecordBatch,
    StringViewBuilder, TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano};
use chronos_catalog::SqlType;
use datafusion::common::{Result, exec_err, internal_err};

use super::shape::Shape;

/// One value of a system table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Cell>),
}

impl From<bool> for Cell {
    fn from(v: bool) -> Self {
        Cell::Bool(v)
    }
}
impl From<i64> for Cell {
    fn from(v: i64) -> Self {
        Cell::Int(v)
    }
}
impl From<i32> for Cell {
    fn from(v: i32) -> Self {
        Cell::Int(v.into())
    }
}
impl From<i16> for Cell {
    fn from(v: i16) -> Self {
        Cell::Int(v.into())
    }
}
impl From<u32> for Cell {
    fn from(v: u32) -> Self {
        Cell::Int(v.into())
    }
}
impl From<u64> for Cell {
    fn from(v: u64) -> Self {
        Cell::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}
impl From<usize> for Cell {
    fn from(v: usize) -> Self {
        Cell::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}
impl From<f64> for Cell {
    fn from(v: f64) -> Self {
        Cell::Float(v)
    }
}
impl From<&str> for Cell {
    fn from(v: &str) -> Self {
        Cell::Text(v.to_owned())
    }
}
impl From<String> for Cell {
    fn from(v: String) -> Self {
        Cell::Text(v)
    }
}
impl From<char> for Cell {
    fn from(v: char) -> Self {
        Cell::Text(v.to_string())
    }
}
impl From<chronos_catalog::Oid> for Cell {
    fn from(v: chronos_catalog::Oid) -> Self {
        Cell::Int(v.0.into())
    }
}
impl From<chronos_catalog::CommitTs> for Cell {
    fn from(v: chronos_catalog::CommitTs) -> Self {
        Cell::Int(v.0)
    }
}
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(v: Option<T>) -> Self {
        v.map_or(Cell::Null, Into::into)
    }
}
impl<T: Into<Cell>> From<Vec<T>> for Cell {
    fn from(v: Vec<T>) -> Self {
        Cell::List(v.into_iter().map(Into::into).collect())
    }
}

/// Rows being made. A column that a row does not name is NULL, or false, 0 or empty where it is
/// NOT NULL.
#[derive(Debug)]
pub(crate) struct Rows {
    shape: &'static Shape,
    rows: Vec<Vec<Cell>>,
}

impl Rows {
    pub fn new(shape: &'static Shape) -> Rows {
        Rows { shape, rows: Vec::new() }
    }

    /// Adds a row by column names. A name that the table lacks is ignored, so that views over
    /// one catalog share the code that makes its rows.
    pub fn push<const N: usize>(&mut self, cells: [(&str, Cell); N]) {
        let mut row: Vec<Cell> = self
            .shape
            .columns
            .iter()
            .map(|c| match (&c.ty, c.not_null) {
                (_, false) => Cell::Null,
                (SqlType::Bool, true) => Cell::Bool(false),
                (SqlType::Array(_), true) => Cell::List(Vec::new()),
                (SqlType::Text | SqlType::Name | SqlType::Varchar(_), true) => "".into(),
                (SqlType::Float4 | SqlType::Float8, true) => Cell::Float(0.0),
                _ => Cell::Int(0),
            })
            .collect();
        for (name, cell) in cells {
            if let Some(i) = self.shape.position(name) {
                row[i] = cell;
            }
        }
        self.rows.push(row);
    }

    /// Adds a row that has every column.
    pub fn push_row(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The rows as a batch.
    pub fn finish(self) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.shape.columns.len());
        for (i, field) in self.shape.schema.fields().iter().enumerate() {
            if i == self.shape.columns.len() {
                // The hidden column.
                let oid = Cell::Int(self.shape.oid.into());
                columns.push(array(field, &vec![&oid; self.rows.len()])?);
                continue;
            }
            let cells: Vec<&Cell> =
                self.rows.iter().map(|r| r.get(i).unwrap_or(&Cell::Null)).collect();
            columns.push(array(field, &cells)?);
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.shape.schema), columns, &options)?)
    }
}

macro_rules! build {
    ($builder:expr, $cells:expr, $($pattern:pat => $value:expr),+) => {{
        let mut builder = $builder;
        for cell in $cells {
            match cell {
                Cell::Null => builder.append_null(),
                $($pattern => builder.append_value($value),)+
                #[allow(unreachable_patterns)]
                other => return exec_err!("a system table's cell has the wrong type: {other:?}"),
            }
        }
        Arc::new(builder.finish())
    }};
}

/// Cells as an array of a field's type.
pub(crate) fn cells_to_array(field: &Field, cells: &[Cell]) -> Result<ArrayRef> {
    array(field, &cells.iter().collect::<Vec<_>>())
}

fn array(field: &Field, cells: &[&Cell]) -> Result<ArrayRef> {
    Ok(match field.data_type() {
        DataType::Boolean => build!(BooleanBuilder::new(), cells, Cell::Bool(v) => *v),
        DataType::Int16 => build!(Int16Builder::new(), cells, Cell::Int(v) => *v as i16),
        DataType::Int32 => build!(Int32Builder::new(), cells, Cell::Int(v) => *v as i32),
        DataType::Int64 => build!(Int64Builder::new(), cells, Cell::Int(v) => *v),
        DataType::UInt32 => build!(UInt32Builder::new(), cells, Cell::Int(v) => *v as u32),
        DataType::Float32 => {
            build!(Float32Builder::new(), cells, Cell::Float(v) => *v as f32, Cell::Int(v) => *v as f32)
        }
        DataType::Float64 => {
            build!(Float64Builder::new(), cells, Cell::Float(v) => *v, Cell::Int(v) => *v as f64)
        }
        DataType::Utf8View => build!(StringViewBuilder::new(), cells, Cell::Text(v) => v),
        DataType::BinaryView => {
            build!(BinaryViewBuilder::new(), cells, Cell::Text(v) => v.as_bytes())
        }
        DataType::Timestamp(_, tz) => build!(
            TimestampMicrosecondBuilder::new().with_timezone_opt(tz.clone()),
            cells,
            Cell::Int(v) => *v
        ),
        // Microseconds.
        DataType::Interval(_) => build!(
            IntervalMonthDayNanoBuilder::new(),
            cells,
            Cell::Int(v) => IntervalMonthDayNano::new(0, 0, v * 1000)
        ),
        DataType::Decimal128(p, s) => build!(
            Decimal128Builder::new().with_precision_and_scale(*p, *s)?,
            cells,
            Cell::Int(v) => i128::from(*v) * 10_i128.pow(u32::try_from(*s).unwrap_or(0))
        ),
        DataType::List(item) => {
            let mut items: Vec<&Cell> = Vec::new();
            let mut lengths = Vec::with_capacity(cells.len());
            let mut valid = Vec::with_capacity(cells.len());
            for cell in cells {
                match cell {
                    Cell::Null => {
                        lengths.push(0);
                        valid.push(false);
                    }
                    Cell::List(list) => {
                        lengths.push(list.len());
                        valid.push(true);
                        items.extend(list);
                    }
                    other => return exec_err!("a system table's cell is no list: {other:?}"),
                }
            }
            Arc::new(ListArray::try_new(
                Arc::clone(item),
                OffsetBuffer::from_lengths(lengths),
                array(item, &items)?,
                Some(NullBuffer::from(valid)),
            )?)
        }
        other => return internal_err!("no system table has columns of type {other}"),
    })
}

/// A value from its text in the static rows: `\N`, `t`, `{a,b}`, `1 2`.
pub(crate) fn parse(ty: &SqlType, text: &str) -> Result<Cell> {
    if text == "\\N" {
        return Ok(Cell::Null);
    }
    let int = |t: &str| match t.parse::<i64>() {
        Ok(v) => Ok(Cell::Int(v)),
        Err(_) => internal_err!("static row holds {t:?} where an integer belongs"),
    };
    Ok(match ty {
        SqlType::Bool => Cell::Bool(text == "t"),
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid => int(text)?,
        SqlType::Float4 | SqlType::Float8 => Cell::Float(text.parse().unwrap_or(0.0)),
        SqlType::Array(item) => {
            let items: Vec<&str> = match text.strip_prefix('{') {
                Some(rest) => rest.trim_end_matches('}').split(',').collect(),
                None => text.split(' ').collect(),
            };
            let items = items.into_iter().filter(|i| !i.is_empty());
            Cell::List(items.map(|i| parse(item, i.trim_matches('"'))).collect::<Result<_>>()?)
        }
        _ => Cell::Text(text.to_owned()),
    })
}
