//! Brings the arrays that the engine makes to the Arrow types that the writers know.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chronos_catalog::SqlType;

use super::internal;
use crate::error::{Error, Result};

/// The array in the Arrow type of the SQL type. A numeric keeps the scale that it came with if
/// the type has none; one beyond 128 bits keeps its width.
///
/// # Errors
/// 22003 for a value that the type cannot hold.
pub fn to_sql_type(array: &ArrayRef, ty: &SqlType) -> Result<ArrayRef> {
    let from = array.data_type();
    let to = match (ty, from) {
        (SqlType::Numeric(None), DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            return Ok(Arc::clone(array));
        }
        (SqlType::Numeric(None), DataType::Decimal32(p, s) | DataType::Decimal64(p, s)) => {
            DataType::Decimal128(*p, *s)
        }
        // The declared precision bounds what is stored, not what an aggregate makes of it.
        (SqlType::Numeric(Some((_, s))), DataType::Decimal128(_, scale)) if s == scale => {
            return Ok(Arc::clone(array));
        }
        (SqlType::Numeric(Some((_, s))), DataType::Decimal256(_, scale)) if s == scale => {
            return Ok(Arc::clone(array));
        }
        (SqlType::Numeric(Some((_, s))), DataType::Decimal256(p, _)) => {
            DataType::Decimal256(*p, *s)
        }
        (SqlType::Timestamptz | SqlType::Timestamp, DataType::Timestamp(unit, _)) => {
            // The instant stays; only its unit and zone may change.
            DataType::Timestamp(*unit, None)
        }
        (SqlType::Array(item), DataType::List(field)) if natural(item, field.data_type()) => {
            return Ok(Arc::clone(array));
        }
        _ => ty.arrow(),
    };
    if *from == to && !matches!(ty, SqlType::Timestamp | SqlType::Timestamptz) {
        return Ok(Arc::clone(array));
    }
    if matches!(ty, SqlType::Timestamp | SqlType::Timestamptz) {
        let micros = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
        return cast(&cast_zone(array)?, &micros);
    }
    if matches!(to, DataType::Utf8View) && matches!(from, DataType::Struct(_)) {
        return display(array);
    }
    cast(array, &to)
}

/// Whether a list's items are what the writers of the item's type take as they are.
fn natural(item: &SqlType, data_type: &DataType) -> bool {
    item.arrow() == *data_type
}

/// A timestamp without its zone and with its instant, whatever the unit.
fn cast_zone(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let data = array
                .to_data()
                .into_builder()
                .data_type(DataType::Timestamp(*unit, None))
                .build()
                .map_err(internal)?;
            Ok(datafusion::arrow::array::make_array(data))
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|error| {
        Error::postgres("22003", format!("a value is out of range for its type: {error}"))
    })
}

/// Records: no client takes them apart here, they are shown.
fn display(array: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array, &options).map_err(internal)?;
    let mut out = StringViewBuilder::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
        } else {
            let text = formatter.value(row).try_to_string().map_err(internal)?;
            out.append_value(text);
        }
    }
    Ok(Arc::new(out.finish()))
}
