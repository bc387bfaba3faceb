//! Text and literals to values of a type, as PostgreSQL's input functions read them.

use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use crate::error::{PgError, PgResult};

/// Reads one text as a value of the type.
///
/// # Errors
/// 22P02, 22007, 22003 as PostgreSQL.
pub(super) fn from_text(ty: &SqlType, text: &str, zone: chrono_tz::Tz) -> PgResult<ScalarValue> {
    if matches!(
        ty,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name | SqlType::Json
    ) {
        return Ok(ScalarValue::Utf8View(Some(text.to_owned())));
    }
    let array: ArrayRef = Arc::new(StringViewArray::from_iter_values([text]));
    let array = parse_array(ty, &array, zone)?;
    Ok(ScalarValue::try_from_array(&array, 0)?)
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
    let strings: &StringViewArray = texts.as_string_view();
    let options = CastOptions { safe: false, ..CastOptions::default() };
    match ty {
        SqlType::Timestamptz => {
            // Text without a zone is in the session's.
            let local = format!("{}", zone.name());
            let zoned = DataType::Timestamp(
                datafusion::arrow::datatypes::TimeUnit::Microsecond,
                Some(Arc::from(local)),
            );
            let array = cast_with_options(&texts, &zoned, &options)
                .map_err(|e| input_error(ty, strings, &e.into()))?;
            Ok(cast(&array, &ty.arrow())?)
        }
        SqlType::Bool => {
            let parsed = strings
                .iter()
                .map(|t| match t {
                    None => Ok(None),
                    Some(t) => super::settings::parse_bool(t).map(Some).ok_or_else(|| {
                        PgError::new(
                            "22P02",
                            format!("invalid input syntax for type boolean: \"{t}\""),
                        )
                    }),
                })
                .collect::<PgResult<Vec<_>>>()?;
            Ok(Arc::new(datafusion::arrow::array::BooleanArray::from(parsed)))
        }
        SqlType::Uuid => {
            let parsed = strings
                .iter()
                .map(|t| match t {
                    None => Ok(None),
                    Some(t) => {
                        uuid::Uuid::parse_str(t.trim()).map(|u| Some(u.to_string())).map_err(|_| {
                            let message = format!("invalid input syntax for type uuid: \"{t}\"");
                            PgError::new("22P02", message)
                        })
                    }
                })
                .collect::<PgResult<Vec<_>>>()?;
            Ok(Arc::new(StringViewArray::from_iter(parsed)))
        }
        SqlType::Bytea | SqlType::Jsonb | SqlType::Array(_) => {
            Err(PgError::unsupported(format!("text as {}", crate::pgwire::types::name(ty))))
        }
        SqlType::Json | SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => {
            Ok(texts)
        }
        _ => {
            let trimmed: ArrayRef =
                Arc::new(StringViewArray::from_iter(strings.iter().map(|t| t.map(str::trim))));
            cast_with_options(&trimmed, &ty.arrow(), &options)
                .map_err(|e| input_error(ty, strings, &e.into()))
        }
    }
}

fn input_error(ty: &SqlType, texts: &StringViewArray, cause: &PgError) -> PgError {
    let name = crate::pgwire::types::name(ty);
    let code = match ty {
        SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp
        | SqlType::Timestamptz
        | SqlType::Interval => "22007",
        _ => "22P02",
    };
    // The message of a single value is PostgreSQL's; of many, the cast tells which.
    if texts.len() == 1 && texts.is_valid(0) {
        let text = texts.value(0);
        let number = text.trim().parse::<f64>().is_ok();
        if number
            && code == "22P02"
            && matches!(ty, SqlType::Int2 | SqlType::Int4 | SqlType::Int8)
            && !text.contains(['.', 'e', 'E'])
        {
            return PgError::new(
                "22003",
                format!("value \"{}\" is out of range for type {name}", text.trim()),
            );
        }
        return PgError::new(code, format!("invalid input syntax for type {name}: \"{text}\""));
    }
    PgError { code, ..cause.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: chrono_tz::Tz = chrono_tz::UTC;

    #[test]
    fn text_that_is_no_value_of_the_type_is_22p02_or_22007() {
        assert_eq!(from_text(&SqlType::Int4, "abc", UTC).unwrap_err().code, "22P02");
        assert_eq!(from_text(&SqlType::Date, "abc", UTC).unwrap_err().code, "22007");
        assert_eq!(from_text(&SqlType::Int4, "99999999999", UTC).unwrap_err().code, "22003");
    }

    #[test]
    fn a_timestamp_without_zone_is_in_the_sessions() {
        let berlin = chrono_tz::Europe::Berlin;
        let value = from_text(&SqlType::Timestamptz, "2026-07-01 12:00:00", berlin).unwrap();
        let utc = from_text(&SqlType::Timestamptz, "2026-07-01 10:00:00+00", UTC).unwrap();
        assert_eq!(value, utc);
    }
}
