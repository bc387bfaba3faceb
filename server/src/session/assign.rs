//! Assignment: values of an expression's type to a column's type (PostgreSQL's assignment casts).

use std::sync::Arc;

use chrono::{NaiveDateTime, TimeZone};
use chronos_catalog::SqlType;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, StringViewArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{PgError, PgResult};
use crate::pgwire::types;

/// What is assigned to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub name: &'a str,
    pub ty: &'a SqlType,
}

/// Turns values of type `from` into values of the target's type. `unknown` says that they are
/// literals without a type of their own (or parameters sent as text), which are read as the
/// target's type.
///
/// # Errors
/// 42804 where no assignment cast exists, 22001 and 22003 where a value does not fit, and what
/// reading text answers.
pub(super) fn assign(
    values: &ArrayRef,
    from: Option<&SqlType>,
    unknown: bool,
    to: Target<'_>,
    zone: chrono_tz::Tz,
) -> PgResult<ArrayRef> {
    let wanted = to.ty.arrow();
    if values.null_count() == values.len() || matches!(values.data_type(), DataType::Null) {
        return Ok(datafusion::arrow::array::new_null_array(&wanted, values.len()));
    }
    if unknown && is_text_array(values.data_type()) {
        let parsed = super::values::parse_array(to.ty, values, zone)?;
        return fit(parsed, to);
    }
    let from = match from {
        Some(from) => from.clone(),
        None => SqlType::of_arrow(values.data_type()).ok_or_else(|| mismatch(None, to))?,
    };
    if from == *to.ty {
        return fit(cast_to(values, &wanted)?, to);
    }
    use SqlType as T;
    let array = match (&from, to.ty) {
        (a, b) if a.is_character() && b.is_character() => cast_to(values, &wanted)?,
        (a, b) if a.is_number() && b.is_number() => number(values, to)?,
        (T::Date, T::Timestamp) | (T::Timestamp, T::Date | T::Time) => cast_to(values, &wanted)?,
        (T::Date, T::Timestamptz) => local_to_utc(&cast_to(values, &T::Timestamp.arrow())?, zone)?,
        (T::Timestamp, T::Timestamptz) => {
            local_to_utc(&cast_to(values, &T::Timestamp.arrow())?, zone)?
        }
        (T::Timestamptz, T::Timestamp) => utc_to_local(values, zone)?,
        (T::Timestamptz, T::Date | T::Time) => cast_to(&utc_to_local(values, zone)?, &wanted)?,
        (T::Time, T::Interval) => cast_to(values, &wanted)?,
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => {
            super::values::parse_array(to.ty, values, zone)?
        }
        (a, T::Oid) if a.is_number() => number(values, to)?,
        (T::Oid, b) if b.is_number() => number(values, to)?,
        (T::Array(_), T::Array(_)) => cast_to(values, &wanted)?,
        (a, b) if b.is_character() => text_of(values, a, zone)?,
        _ => return Err(mismatch(Some(&from), to)),
    };
    fit(array, to)
}

fn is_text_array(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Kinds of types.
trait Kinds {
    fn is_character(&self) -> bool;
    fn is_number(&self) -> bool;
}

impl Kinds for SqlType {
    fn is_character(&self) -> bool {
        matches!(self, SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name)
    }

    fn is_number(&self) -> bool {
        matches!(
            self,
            SqlType::Int2
                | SqlType::Int4
                | SqlType::Int8
                | SqlType::Float4
                | SqlType::Float8
                | SqlType::Numeric(_)
        )
    }
}

fn mismatch(from: Option<&SqlType>, to: Target<'_>) -> PgError {
    let from = from.map_or_else(|| "unknown".to_owned(), types::name);
    let message = format!(
        "column \"{}\" is of type {} but expression is of type {from}",
        to.name,
        types::name(to.ty)
    );
    PgError::new("42804", message).hint("You will need to rewrite or cast the expression.")
}

fn cast_to(values: &ArrayRef, wanted: &DataType) -> PgResult<ArrayRef> {
    if values.data_type() == wanted {
        return Ok(Arc::clone(values));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(values, wanted, &options)?)
}

/// Between numbers: rounded to the nearest where digits are lost, never wrapped.
fn number(values: &ArrayRef, to: Target<'_>) -> PgResult<ArrayRef> {
    let wanted = to.ty.arrow();
    let integer = matches!(to.ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Oid);
    let out_of_range = |_: PgError| {
        match to.ty {
        SqlType::Numeric(Some((p, s))) => PgError::new("22003", "numeric field overflow").detail(
            format!(
                "A field with precision {p}, scale {s} must round to an absolute value less than 10^{}.",
                i32::from(*p) - i32::from(*s)
            ),
        ),
        ty => PgError::new("22003", format!("{} out of range", types::name(ty))),
    }
    };
    let rounded: ArrayRef = match values.data_type() {
        DataType::Float32 | DataType::Float64 if integer => {
            let floats = cast(values, &DataType::Float64)?;
            let floats: &Float64Array = floats.as_primitive::<Float64Type>();
            if floats.iter().flatten().any(|f| !f.is_finite()) {
                return Err(out_of_range(PgError::internal("")));
            }
            Arc::new(floats.unary::<_, Float64Type>(f64::round_ties_even))
        }
        // Scaling a decimal down rounds half away from zero, as PostgreSQL does.
        DataType::Decimal128(_, scale) if integer && *scale > 0 => {
            cast_to(values, &DataType::Decimal128(38, 0)).map_err(out_of_range)?
        }
        _ => Arc::clone(values),
    };
    cast_to(&rounded, &wanted).map_err(out_of_range)
}

fn local_to_utc(values: &ArrayRef, zone: chrono_tz::Tz) -> PgResult<ArrayRef> {
    let local: &TimestampMicrosecondArray = values.as_primitive::<TimestampMicrosecondType>();
    let converted = local
        .iter()
        .map(|t| t.map(|t| to_utc(t, zone)).transpose())
        .collect::<PgResult<TimestampMicrosecondArray>>()?;
    Ok(Arc::new(converted.with_timezone("UTC")))
}

/// The instant at which the zone's clocks show that time; the earlier one where they show it
/// twice, and moved on by the gap where they never do.
fn to_utc(local: i64, zone: chrono_tz::Tz) -> PgResult<i64> {
    let out_of_range = || PgError::new("22008", "timestamp out of range");
    let naive: NaiveDateTime =
        chrono::DateTime::from_timestamp_micros(local).ok_or_else(out_of_range)?.naive_utc();
    if let Some(t) = zone.from_local_datetime(&naive).earliest() {
        return Ok(t.timestamp_micros());
    }
    let before = naive - chrono::Duration::hours(3);
    let offset = zone
        .from_local_datetime(&before)
        .earliest()
        .map(|t| chrono::Offset::fix(t.offset()).local_minus_utc())
        .ok_or_else(out_of_range)?;
    Ok(local - i64::from(offset) * 1_000_000)
}

fn utc_to_local(values: &ArrayRef, zone: chrono_tz::Tz) -> PgResult<ArrayRef> {
    let utc = cast_to(values, &DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))))?;
    let utc: &TimestampMicrosecondArray = utc.as_primitive::<TimestampMicrosecondType>();
    let local: TimestampMicrosecondArray = utc
        .iter()
        .map(|t| {
            let t = chrono::DateTime::from_timestamp_micros(t?)?.with_timezone(&zone);
            Some(t.naive_local().and_utc().timestamp_micros())
        })
        .collect();
    Ok(Arc::new(local))
}

/// Values as text, for assignment to a character column.
fn text_of(values: &ArrayRef, from: &SqlType, zone: chrono_tz::Tz) -> PgResult<ArrayRef> {
    match from {
        SqlType::Int2
        | SqlType::Int4
        | SqlType::Int8
        | SqlType::Oid
        | SqlType::Date
        | SqlType::Uuid
        | SqlType::Json
        | SqlType::Jsonb => cast_to(values, &DataType::Utf8View),
        SqlType::Bool => {
            let texts =
                values.as_boolean().iter().map(|b| b.map(|b| if b { "true" } else { "false" }));
            Ok(Arc::new(StringViewArray::from_iter(texts)))
        }
        SqlType::Timestamp => formatted(values, "%Y-%m-%d %H:%M:%S%.f"),
        SqlType::Timestamptz => {
            let local = cast(
                values,
                &DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from(zone.name()))),
            )?;
            formatted(&local, "%Y-%m-%d %H:%M:%S%.f%:::z")
        }
        _ => {
            let message = format!("assigning {} to a character column", types::name(from));
            Err(PgError::unsupported(message).hint("Cast the expression to text."))
        }
    }
}

fn formatted(values: &ArrayRef, pattern: &str) -> PgResult<ArrayRef> {
    let options = FormatOptions::new()
        .with_timestamp_format(Some(pattern))
        .with_timestamp_tz_format(Some(pattern));
    let formatter = ArrayFormatter::try_new(values.as_ref(), &options)?;
    let texts =
        (0..values.len()).map(|i| values.is_valid(i).then(|| formatter.value(i).to_string()));
    Ok(Arc::new(StringViewArray::from_iter(texts)))
}

/// Checks the length of character values; blanks too many are cut, as SQL wants it.
fn fit(values: ArrayRef, to: Target<'_>) -> PgResult<ArrayRef> {
    let (limit, pad) = match to.ty {
        SqlType::Varchar(Some(n)) => (*n as usize, false),
        SqlType::Char(n) => (*n as usize, true),
        SqlType::Name => (63, false),
        _ => return Ok(values),
    };
    let strings: &StringViewArray = values.as_string_view();
    let fits = |s: &str| s.len() <= limit || s.chars().count() <= limit;
    if !pad && strings.iter().flatten().all(fits) {
        return Ok(values);
    }
    let fitted = strings
        .iter()
        .map(|s| {
            let Some(s) = s else { return Ok(None) };
            let length = s.chars().count();
            if length <= limit {
                let blanks = if pad { limit - length } else { 0 };
                return Ok(Some(format!("{s}{}", " ".repeat(blanks))));
            }
            let cut: String = s.chars().take(limit).collect();
            let rest_blank = s.chars().skip(limit).all(|c| c == ' ');
            if rest_blank || matches!(to.ty, SqlType::Name) {
                return Ok(Some(cut));
            }
            let message = format!("value too long for type {}({limit})", types::name(to.ty));
            Err(PgError::new("22001", message))
        })
        .collect::<PgResult<Vec<_>>>()?;
    Ok(Arc::new(StringViewArray::from_iter(fitted)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Decimal128Array, Int64Array};

    use super::*;

    const UTC: chrono_tz::Tz = chrono_tz::UTC;

    fn to(ty: &SqlType) -> Target<'_> {
        Target { name: "c", ty }
    }

    #[test]
    fn an_integer_that_does_not_fit_is_22003() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![3_000_000_000]));
        let error = assign(&values, Some(&SqlType::Int8), false, to(&SqlType::Int4), UTC);
        assert_eq!(error.unwrap_err().code, "22003");
    }

    #[test]
    fn a_number_is_rounded_to_the_nearest_integer() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.5, -0.6]));
        let array =
            assign(&values, Some(&SqlType::Float8), false, to(&SqlType::Int8), UTC).unwrap();
        assert_eq!(
            array.as_primitive::<datafusion::arrow::datatypes::Int64Type>().values(),
            &[2, 2, -1]
        );
        let values: ArrayRef =
            Arc::new(Decimal128Array::from(vec![25, -25]).with_precision_and_scale(3, 1).unwrap());
        let ty = SqlType::Numeric(Some((3, 1)));
        let array = assign(&values, Some(&ty), false, to(&SqlType::Int8), UTC).unwrap();
        assert_eq!(
            array.as_primitive::<datafusion::arrow::datatypes::Int64Type>().values(),
            &[3, -3]
        );
    }

    #[test]
    fn a_text_that_is_too_long_is_22001_and_blanks_are_cut() {
        let ty = SqlType::Varchar(Some(2));
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["abc"]));
        let error = assign(&values, Some(&SqlType::Text), false, to(&ty), UTC).unwrap_err();
        assert_eq!(error.code, "22001");
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["ab "]));
        let array = assign(&values, Some(&SqlType::Text), false, to(&ty), UTC).unwrap();
        assert_eq!(array.as_string_view().value(0), "ab");
    }

    #[test]
    fn text_is_no_number_unless_it_is_a_literal() {
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["5"]));
        let error = assign(&values, Some(&SqlType::Text), false, to(&SqlType::Int4), UTC);
        assert_eq!(error.unwrap_err().code, "42804");
        assert!(assign(&values, Some(&SqlType::Text), true, to(&SqlType::Int4), UTC).is_ok());
    }

    #[test]
    fn a_local_time_becomes_the_instant_of_the_sessions_zone() {
        let noon = 1_782_907_200_000_000; // 2026-07-01 12:00:00
        let values: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![noon]));
        let berlin = chrono_tz::Europe::Berlin;
        let array =
            assign(&values, Some(&SqlType::Timestamp), false, to(&SqlType::Timestamptz), berlin)
                .unwrap();
        let utc = array.as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!(utc, noon - 2 * 3_600_000_000);
    }
}
