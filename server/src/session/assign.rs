//! Assignment: values of an expression's type to a column's type (PostgreSQL's assignment casts).

use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType as O;
use chronos_sql_ext::casts::{Mode, convert, display_name};
use chronos_sql_ext::text::TextSettings;
use datafusion::arrow::array::{Array, ArrayRef, new_null_array};
use datafusion::arrow::datatypes::DataType;

use crate::error::{PgError, PgResult};

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
    settings: &TextSettings,
) -> PgResult<ArrayRef> {
    if values.null_count() == values.len() || matches!(values.data_type(), DataType::Null) {
        return Ok(new_null_array(&to.ty.arrow(), values.len()));
    }
    if unknown && is_text_array(values.data_type()) {
        return Ok(convert(values, &SqlType::Text, to.ty, Mode::Assignment, settings)?);
    }
    let from = match from {
        Some(from) => from.clone(),
        None => SqlType::of_arrow(values.data_type()).ok_or_else(|| mismatch(None, to))?,
    };
    if !assignable(&from, to.ty) {
        return Err(mismatch(Some(&from), to));
    }
    Ok(convert(values, &from, to.ty, Mode::Assignment, settings)?)
}

/// Whether PostgreSQL has a cast between the types that an assignment implies.
fn assignable(from: &SqlType, to: &SqlType) -> bool {
    use SqlType as T;
    match (from, to) {
        (a, b) if a == b || b.is_character() => true,
        (a, b) if a.is_number() && b.is_number() => true,
        (T::Date, T::Timestamp | T::Timestamptz) => true,
        (T::Timestamp, T::Date | T::Time | T::Timestamptz) => true,
        (T::Timestamptz, T::Date | T::Time | T::Timestamp) => true,
        (T::Time, T::Interval) | (T::Interval, T::Time) => true,
        (T::Json, T::Jsonb) | (T::Jsonb, T::Json) => true,
        (T::Int2 | T::Int4 | T::Int8, T::Oid) | (T::Oid, T::Int4 | T::Int8) => true,
        (T::Bit(_) | T::Varbit(_), T::Bit(_) | T::Varbit(_)) => true,
        (T::Timestamptz | T::Time, T::Other(O::Timetz)) | (T::Other(O::Timetz), T::Time) => true,
        (T::Other(O::Inet | O::Cidr), T::Other(O::Inet | O::Cidr)) => true,
        (T::Other(O::Macaddr | O::Macaddr8), T::Other(O::Macaddr | O::Macaddr8)) => true,
        (T::Array(a), T::Array(b)) => assignable(a, b),
        _ => false,
    }
}

fn is_text_array(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Kinds of types.
trait Kinds {
    fn is_character(&self) -> bool;
}

impl Kinds for SqlType {
    fn is_character(&self) -> bool {
        matches!(self, SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name)
    }
}

fn mismatch(from: Option<&SqlType>, to: Target<'_>) -> PgError {
    let from = from.map_or_else(|| "unknown".to_owned(), display_name);
    let message = format!(
        "column \"{}\" is of type {} but expression is of type {from}",
        to.name,
        display_name(to.ty)
    );
    PgError::new("42804", message).hint("You will need to rewrite or cast the expression.")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        AsArray, Decimal128Array, Float64Array, Int64Array, StringViewArray,
        TimestampMicrosecondArray,
    };
    use datafusion::arrow::datatypes::TimestampMicrosecondType;

    use super::*;

    fn settings(time_zone: chrono_tz::Tz) -> TextSettings {
        TextSettings { time_zone, ..TextSettings::default() }
    }

    fn to(ty: &SqlType) -> Target<'_> {
        Target { name: "c", ty }
    }

    #[test]
    fn an_integer_that_does_not_fit_is_22003() {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![3_000_000_000]));
        let error = assign(
            &values,
            Some(&SqlType::Int8),
            false,
            to(&SqlType::Int4),
            &settings(chrono_tz::UTC),
        );
        assert_eq!(error.unwrap_err().code, "22003");
    }

    #[test]
    fn a_number_is_rounded_to_the_nearest_integer() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.5, -0.6]));
        let array = assign(
            &values,
            Some(&SqlType::Float8),
            false,
            to(&SqlType::Int8),
            &settings(chrono_tz::UTC),
        )
        .unwrap();
        assert_eq!(
            array.as_primitive::<datafusion::arrow::datatypes::Int64Type>().values(),
            &[2, 2, -1]
        );
        let values: ArrayRef =
            Arc::new(Decimal128Array::from(vec![25, -25]).with_precision_and_scale(3, 1).unwrap());
        let ty = SqlType::Numeric(Some((3, 1)));
        let array =
            assign(&values, Some(&ty), false, to(&SqlType::Int8), &settings(chrono_tz::UTC))
                .unwrap();
        assert_eq!(
            array.as_primitive::<datafusion::arrow::datatypes::Int64Type>().values(),
            &[3, -3]
        );
    }

    #[test]
    fn a_text_that_is_too_long_is_22001_and_blanks_are_cut() {
        let ty = SqlType::Varchar(Some(2));
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["abc"]));
        let error =
            assign(&values, Some(&SqlType::Text), false, to(&ty), &settings(chrono_tz::UTC))
                .unwrap_err();
        assert_eq!(error.code, "22001");
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["ab "]));
        let array =
            assign(&values, Some(&SqlType::Text), false, to(&ty), &settings(chrono_tz::UTC))
                .unwrap();
        assert_eq!(array.as_string_view().value(0), "ab");
    }

    #[test]
    fn text_is_no_number_unless_it_is_a_literal() {
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["5"]));
        let error = assign(
            &values,
            Some(&SqlType::Text),
            false,
            to(&SqlType::Int4),
            &settings(chrono_tz::UTC),
        );
        assert_eq!(error.unwrap_err().code, "42804");
        assert!(
            assign(
                &values,
                Some(&SqlType::Text),
                true,
                to(&SqlType::Int4),
                &settings(chrono_tz::UTC)
            )
            .is_ok()
        );
    }

    #[test]
    fn a_local_time_becomes_the_instant_of_the_sessions_zone() {
        let noon = 1_782_907_200_000_000; // 2026-07-01 12:00:00
        let values: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![noon]));
        let berlin = chrono_tz::Europe::Berlin;
        let array = assign(
            &values,
            Some(&SqlType::Timestamp),
            false,
            to(&SqlType::Timestamptz),
            &settings(berlin),
        )
        .unwrap();
        let utc = array.as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!(utc, noon - 2 * 3_600_000_000);
    }
}
