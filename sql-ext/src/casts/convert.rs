//! Arrays from one SQL type to another.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringViewBuilder, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use bytes::BytesMut;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::common::ScalarValue;

use super::{display_name, is_character, numbers, times};
use crate::error::{Error, Result};
use crate::text::{TextSettings, bits, internal, json, kept, normalize, read, write};

/// Why a value is cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `CAST`, `::` and what expressions imply: text too long for its type is cut.
    Explicit,
    /// To a column: text too long for its type is 22001.
    Assignment,
}

/// Casts an array of values of type `from` to the type `to`. The result has the Arrow type of
/// `to`.
///
/// # Errors
/// 42846 where there is no such cast; 22P02, 22003, 22007, 22008, … for a value that has none.
pub fn convert(
    values: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    mode: Mode,
    settings: &TextSettings,
) -> Result<ArrayRef> {
    use SqlType as T;
    if values.null_count() == values.len() || matches!(values.data_type(), DataType::Null) {
        return Ok(new_null_array(&to.arrow(), values.len()));
    }
    if from == to && !is_character(to) && *values.data_type() == to.arrow() {
        return Ok(Arc::clone(values));
    }
    // The engine's arrays may have another unit, width or zone than the type's own.
    let values = &natural(values, from)?;
    match (from, to) {
        (a, b) if is_character(a) && is_character(b) => fit(&unpadded(values, a, b), to, mode),
        (a, _) if is_character(a) => parse(values, to, settings),
        (_, b) if is_character(b) => {
            let text = match (from, to) {
                (T::Bool, _) => words(values, "true", "false"),
                (a, _) if kept::casts_to_other_text(a) => {
                    let mut out = StringViewBuilder::with_capacity(values.len());
                    for text in values.as_string_view() {
                        let cast = |text| kept::cast_to_text(a, text, settings.time_zone);
                        out.append_option(text.map(cast).transpose()?);
                    }
                    Arc::new(out.finish()) as ArrayRef
                }
                _ => shown(values, from, settings)?,
            };
            fit(&text, to, mode)
        }
        (a, b) if a.is_number() && b.is_number() => numbers::convert(values, from, to),
        (T::Bool, T::Int4) | (T::Int4, T::Bool) => plain(values, &to.arrow()),
        (T::Oid, T::Int4 | T::Int8) | (T::Int2 | T::Int4 | T::Int8, T::Oid) => {
            numbers::oid(values, from, to)
        }
        (T::Oid, T::Oid) | (T::Bool, T::Bool) | (T::Bytea, T::Bytea) | (T::Uuid, T::Uuid) => {
            plain(values, &to.arrow())
        }
        (T::Bit(_), T::Int4 | T::Int8) | (T::Int4 | T::Int8, T::Bit(_)) => {
            by_value(values, from, to, settings)
        }
        (a, b) if kept::exists(a, b) => {
            let of = |text: &str| match (b, mode) {
                // To a column: bits are not cut.
                (T::Bit(n), Mode::Assignment) => bits::fixed(text, *n),
                (T::Varbit(n), Mode::Assignment) => bits::varying(text, *n),
                _ => kept::convert(text, a, b),
            };
            let mut out = StringViewBuilder::with_capacity(values.len());
            for text in values.as_string_view() {
                out.append_option(text.map(of).transpose()?);
            }
            Ok(Arc::new(out.finish()))
        }
        (T::Timestamptz, T::Other(OtherType::Timetz))
        | (T::Time, T::Other(OtherType::Timetz))
        | (T::Other(OtherType::Timetz), T::Time) => by_value(values, from, to, settings),
        (T::Json | T::Jsonb, T::Json) | (T::Jsonb, T::Jsonb) => Ok(Arc::clone(values)),
        (T::Json, T::Jsonb) => parse(values, to, settings),
        (T::Jsonb, T::Bool) => from_json(values, to, "boolean", settings),
        (T::Jsonb, b) if b.is_number() => from_json(values, to, "numeric", settings),
        (
            T::Date | T::Time | T::Timestamp | T::Timestamptz | T::Interval,
            T::Date | T::Time | T::Timestamp | T::Timestamptz | T::Interval,
        ) => times::convert(values, from, to, settings.time_zone)?.ok_or_else(|| no_cast(from, to)),
        (T::Array(a), T::Array(b)) => items(values, a, b, mode, settings),
        _ => Err(no_cast(from, to)),
    }
}

/// Whether [`convert`] knows a cast between the types, whatever the values.
pub(super) fn exists(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    match (from, to) {
        (a, b) if a == b || is_character(a) || is_character(b) => true,
        (a, b) if a.is_number() && b.is_number() => true,
        (T::Bool, T::Int4) | (T::Int4, T::Bool) => true,
        (T::Oid, T::Int4 | T::Int8) | (T::Int2 | T::Int4 | T::Int8, T::Oid) => true,
        (T::Json | T::Jsonb, T::Json | T::Jsonb) => true,
        (T::Jsonb, b) => *b == T::Bool || b.is_number(),
        (T::Date, T::Timestamp | T::Timestamptz) => true,
        (T::Timestamp, T::Date | T::Time | T::Timestamptz | T::Timestamp) => true,
        (T::Timestamptz, T::Date | T::Time | T::Timestamp | T::Timestamptz) => true,
        (T::Time, T::Interval) | (T::Interval, T::Time) => true,
        (T::Bit(_), T::Int4 | T::Int8) | (T::Int4 | T::Int8, T::Bit(_)) => true,
        (T::Timestamptz | T::Time, T::Other(OtherType::Timetz))
        | (T::Other(OtherType::Timetz), T::Time) => true,
        (T::Array(a), T::Array(b)) => exists(a, b),
        (a, b) => kept::exists(a, b),
    }
}

/// 42846
pub(super) fn no_cast(from: &SqlType, to: &SqlType) -> Error {
    let message = format!("cannot cast type {} to {}", display_name(from), display_name(to));
    Error::postgres("42846", message)
}

/// The array in the Arrow type of its SQL type; a numeric keeps its scale.
fn natural(values: &ArrayRef, ty: &SqlType) -> Result<ArrayRef> {
    match (ty, values.data_type()) {
        (SqlType::Numeric(_), DataType::Decimal128(..) | DataType::Decimal256(..)) => {
            Ok(Arc::clone(values))
        }
        (SqlType::Timestamp | SqlType::Timestamptz, _) => {
            let micros = normalize::to_sql_type(values, ty)?;
            plain_zone(&micros, &ty.arrow())
        }
        _ => normalize::to_sql_type(values, ty),
    }
}

/// The same instants under another zone.
pub(super) fn plain_zone(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    let data = values.to_data().into_builder().data_type(to.clone()).build().map_err(internal)?;
    Ok(arrow::array::make_array(data))
}

pub(super) fn plain(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if values.data_type() == to {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(values, to, &options).map_err(internal)
}

/// Reads texts as values of a type.
fn parse(values: &ArrayRef, to: &SqlType, settings: &TextSettings) -> Result<ArrayRef> {
    let texts = values.as_string_view();
    let null = ScalarValue::try_from(&to.arrow()).map_err(internal)?;
    let scalars = texts
        .iter()
        .map(|text| match text {
            Some(text) => read::from_text(to, text, settings),
            None => Ok(null.clone()),
        })
        .collect::<Result<Vec<_>>>()?;
    let array = ScalarValue::iter_to_array(scalars).map_err(internal)?;
    plain(&array, &to.arrow())
}

fn words(values: &ArrayRef, yes: &str, no: &str) -> ArrayRef {
    let mut out = StringViewBuilder::with_capacity(values.len());
    for value in values.as_boolean() {
        out.append_option(value.map(|v| if v { yes } else { no }));
    }
    Arc::new(out.finish())
}

/// Values as their type's output function writes them.
fn shown(values: &ArrayRef, from: &SqlType, settings: &TextSettings) -> Result<ArrayRef> {
    if values.data_type() == &DataType::Utf8View {
        return Ok(Arc::clone(values));
    }
    let mut write = write::writer(values, from, settings)?;
    let nulls = values.logical_nulls();
    let mut out = StringViewBuilder::with_capacity(values.len());
    let mut buffer = BytesMut::new();
    for row in 0..values.len() {
        if nulls.as_ref().is_some_and(|n| n.is_null(row)) {
            out.append_null();
            continue;
        }
        buffer.clear();
        write(row, &mut buffer);
        out.append_value(std::str::from_utf8(&buffer).map_err(internal)?);
    }
    Ok(Arc::new(out.finish()))
}

/// Values one by one, as the functions' arguments are cast.
fn by_value(
    values: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    settings: &TextSettings,
) -> Result<ArrayRef> {
    crate::functions::convert_array(values, from, to, settings.time_zone)
        .map_err(|error| Error::find(&error).cloned().unwrap_or_else(|| internal(&error)))
}

/// Text of a `char(n)` without its padding, unless it stays one.
fn unpadded(values: &ArrayRef, from: &SqlType, to: &SqlType) -> ArrayRef {
    if !matches!(from, SqlType::Char(_)) || matches!(to, SqlType::Char(_)) {
        return Arc::clone(values);
    }
    let mut out = StringViewBuilder::with_capacity(values.len());
    for text in values.as_string_view() {
        out.append_option(text.map(|t| t.trim_end_matches(' ')));
    }
    Arc::new(out.finish())
}

/// Text of the length that its type has.
fn fit(values: &ArrayRef, to: &SqlType, mode: Mode) -> Result<ArrayRef> {
    let (limit, pad) = match to {
        SqlType::Varchar(Some(n)) => (*n as usize, false),
        SqlType::Char(n) => (*n as usize, true),
        SqlType::Name => return Ok(names(values)),
        _ => return Ok(Arc::clone(values)),
    };
    let texts = values.as_string_view();
    if !pad && texts.iter().flatten().all(|t| t.len() <= limit) {
        return Ok(Arc::clone(values));
    }
    let mut out = StringViewBuilder::with_capacity(values.len());
    for text in texts {
        let Some(text) = text else {
            out.append_null();
            continue;
        };
        match text.char_indices().nth(limit) {
            Some((at, _)) => {
                if mode == Mode::Assignment && text[at..].bytes().any(|b| b != b' ') {
                    let message = format!("value too long for type {}({limit})", display_name(to));
                    return Err(Error::postgres("22001", message));
                }
                out.append_value(&text[..at]);
            }
            None if pad => {
                let missing = limit - text.chars().count();
                out.append_value(format!("{text}{}", " ".repeat(missing)));
            }
            None => out.append_value(text),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Names are cut to 63 bytes, whole characters.
fn names(values: &ArrayRef) -> ArrayRef {
    const LIMIT: usize = 63;
    let texts = values.as_string_view();
    if texts.iter().flatten().all(|t| t.len() <= LIMIT) {
        return Arc::clone(values);
    }
    let cut = texts.iter().map(|text| {
        text.map(|text| {
            let mut end = text.len().min(LIMIT);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            &text[..end]
        })
    });
    Arc::new(arrow::array::StringViewArray::from_iter(cut))
}

/// A JSON scalar as a value.
fn from_json(
    values: &ArrayRef,
    to: &SqlType,
    wanted: &str,
    settings: &TextSettings,
) -> Result<ArrayRef> {
    let mut out = StringViewBuilder::with_capacity(values.len());
    for text in values.as_string_view() {
        let Some(text) = text else {
            out.append_null();
            continue;
        };
        let canonical = json::canonical(text)?;
        let kind = match canonical.as_bytes().first() {
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ => "numeric",
        };
        if kind != wanted {
            let message = format!("cannot cast jsonb {kind} to type {}", display_name(to));
            return Err(Error::postgres("22023", message));
        }
        out.append_value(canonical);
    }
    let texts: ArrayRef = Arc::new(out.finish());
    if matches!(to, SqlType::Bool | SqlType::Numeric(_) | SqlType::Float4 | SqlType::Float8) {
        return parse(&texts, to, settings);
    }
    let numbers = parse(&texts, &SqlType::Numeric(None), settings)?;
    numbers::convert(&numbers, &SqlType::Numeric(None), to)
}

/// Casts the items of arrays.
fn items(
    values: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    mode: Mode,
    settings: &TextSettings,
) -> Result<ArrayRef> {
    let wanted = SqlType::Array(Box::new(to.clone())).arrow();
    let list = values.as_list_opt::<i32>().ok_or_else(|| internal("an array that is no list"))?;
    let DataType::List(field) = &wanted else { return Err(internal("no list")) };
    if matches!(list.values().data_type(), DataType::List(_)) {
        return Err(Error::unsupported("casting an array of arrays"));
    }
    let converted = convert(list.values(), from, to, mode, settings)?;
    let list = ListArray::try_new(
        Arc::clone(field),
        list.offsets().clone(),
        converted,
        list.nulls().cloned(),
    )
    .map_err(internal)?;
    Ok(Arc::new(list))
}
