//! Text to values of a type, as PostgreSQL's input functions read it.

use chronos_catalog::SqlType;
use datafusion::arrow::array::{ArrayRef, AsArray, StringViewArray, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::api::TextSettings;
use crate::error::PgResult;
use crate::pgwire::decode;

fn settings(zone: chrono_tz::Tz) -> TextSettings {
    TextSettings {
        time_zone: zone,
        interval_style: "postgres".to_owned(),
        bytea_escape: false,
        extra_float_digits: 1,
        date_style: "ISO, MDY".to_owned(),
    }
}

/// Reads one text as a value of the type.
///
/// # Errors
/// 22P02, 22007, 22003 as PostgreSQL.
pub(super) fn from_text(ty: &SqlType, text: &str, zone: chrono_tz::Tz) -> PgResult<ScalarValue> {
    decode::from_text(ty, text, &settings(zone))
}

/// Reads texts as values of the type.
///
/// # Errors
/// Those of [`from_text`].
pub(super) fn parse_array(
    ty: &SqlType,
    texts: &ArrayRef,
    zone: chrono_tz::Tz,
) -> PgResult<ArrayRef> {
    let texts = cast(texts, &DataType::Utf8View)?;
    if matches!(ty, SqlType::Text | SqlType::Varchar(None)) {
        return Ok(texts);
    }
    let strings: &StringViewArray = texts.as_string_view();
    let settings = settings(zone);
    let null = ScalarValue::try_from(&ty.arrow())?;
    let values = strings
        .iter()
        .map(|text| match text {
            Some(text) => decode::from_text(ty, text, &settings),
            None => Ok(null.clone()),
        })
        .collect::<PgResult<Vec<_>>>()?;
    if values.is_empty() {
        return Ok(new_empty_array(&ty.arrow()));
    }
    let array = ScalarValue::iter_to_array(values)?;
    if array.data_type() == &ty.arrow() { Ok(array) } else { Ok(cast(&array, &ty.arrow())?) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const UTC: chrono_tz::Tz = chrono_tz::UTC;

    #[test]
    fn text_that_is_no_value_of_the_type_is_22p02_or_22007() {
        assert_eq!(from_text(&SqlType::Int4, "abc", UTC).unwrap_err().code, "22P02");
        assert_eq!(from_text(&SqlType::Date, "abc", UTC).unwrap_err().code, "22007");
        assert_eq!(from_text(&SqlType::Int4, "99999999999", UTC).unwrap_err().code, "22003");
    }

    #[test]
    fn texts_become_an_array_with_its_nulls() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("1"), None, Some("3")]));
        let array = parse_array(&SqlType::Int8, &texts, UTC).unwrap();
        let array = array.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        assert_eq!(array.iter().collect::<Vec<_>>(), [Some(1), None, Some(3)]);
    }

    #[test]
    fn a_timestamp_without_zone_is_in_the_sessions() {
        let berlin = chrono_tz::Europe::Berlin;
        let value = from_text(&SqlType::Timestamptz, "2026-07-01 12:00:00", berlin).unwrap();
        let utc = from_text(&SqlType::Timestamptz, "2026-07-01 10:00:00+00", UTC).unwrap();
        assert_eq!(value, utc);
    }
}
