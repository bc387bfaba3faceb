//! Instants: from text and values to commit timestamps, and back to text.

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;
use arrow::datatypes::IntervalMonthDayNanoType;
use chrono::{DateTime, Days, Months, SecondsFormat, TimeDelta};
use chrono_tz::Tz;
use chronos_catalog::{CommitTs, SqlType};
use datafusion::common::ScalarValue;

use crate::error::{Error, Result};
use crate::text::zone::to_utc;
use crate::text::{TextSettings, read};

/// An instant as text, in UTC.
pub fn display(instant: CommitTs) -> String {
    match DateTime::from_timestamp_micros(instant.micros()) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => format!("{} µs", instant.micros()),
    }
}

/// Reads an instant: `2026-11-20`, `2026-11-20 09:00`, `2026-11-20T09:00:00.5+01:00`, `now`,
/// `infinity`; text without a zone is in `zone`. Text that begins with a sign is an interval
/// counted from `now`: `-10s`, `-1 hour`, `-1h30m`.
///
/// # Errors
/// 22007 for anything else.
pub fn parse(text: &str, zone: Tz, now: CommitTs) -> Result<CommitTs> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "now" => return Ok(now),
        "infinity" => return Ok(CommitTs::MAX),
        "-infinity" | "epoch" => return Ok(CommitTs::ZERO),
        _ => {}
    }
    let malformed = || Error::MalformedInstant(format!("\"{text}\""));
    if text.starts_with('-') || text.starts_with('+') {
        let interval = parse_interval_month_day_nano(&spaced(text)).map_err(|_| malformed())?;
        return add(now, interval).ok_or_else(malformed);
    }
    let settings =
        TextSettings { time_zone: zone, now: Some(now.micros()), ..TextSettings::default() };
    match read::from_text(&SqlType::Timestamptz, text, &settings) {
        Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) => Ok(CommitTs(micros)),
        _ => Err(malformed()),
    }
}

/// The instant that a value stands for; intervals count from `now`.
///
/// # Errors
/// 22004 for NULL, 22007 for a value that is no instant.
pub fn of_value(value: &ScalarValue, zone: Tz, now: CommitTs) -> Result<CommitTs> {
    let malformed = || Error::MalformedInstant(value.to_string());
    if value.is_null() {
        return Err(Error::NullInstant);
    }
    let zoned = |micros: i64, tz: &Option<std::sync::Arc<str>>| match tz {
        Some(_) => Ok(CommitTs(micros)),
        None => Ok(CommitTs(to_utc(zone, micros))),
    };
    match value {
        ScalarValue::Utf8(Some(text))
        | ScalarValue::LargeUtf8(Some(text))
        | ScalarValue::Utf8View(Some(text)) => parse(text, zone, now),
        ScalarValue::TimestampSecond(Some(n), tz) => {
            zoned(n.checked_mul(1_000_000).ok_or_else(malformed)?, tz)
        }
        ScalarValue::TimestampMillisecond(Some(n), tz) => {
            zoned(n.checked_mul(1_000).ok_or_else(malformed)?, tz)
        }
        ScalarValue::TimestampMicrosecond(Some(n), tz) => zoned(*n, tz),
        ScalarValue::TimestampNanosecond(Some(n), tz) => zoned(n.div_euclid(1_000), tz),
        ScalarValue::Date32(Some(days)) => {
            let micros = i64::from(*days) * 86_400_000_000;
            zoned(micros, &None)
        }
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            add(now, *interval).ok_or_else(malformed)
        }
        _ => Err(malformed()),
    }
}

fn add(
    now: CommitTs,
    interval: <IntervalMonthDayNanoType as arrow::datatypes::ArrowPrimitiveType>::Native,
) -> Option<CommitTs> {
    let time = DateTime::from_timestamp_micros(now.micros())?;
    let months = Months::new(interval.months.unsigned_abs());
    let days = Days::new(u64::from(interval.days.unsigned_abs()));
    let time = if interval.months < 0 {
        time.checked_sub_months(months)?
    } else {
        time.checked_add_months(months)?
    };
    let time =
        if interval.days < 0 { time.checked_sub_days(days)? } else { time.checked_add_days(days)? };
    let time = time.checked_add_signed(TimeDelta::nanoseconds(interval.nanoseconds))?;
    Some(CommitTs(time.timestamp_micros()))
}

/// `-1h30m` as `-1 h -30 m`, in the units that the interval parser knows.
fn spaced(text: &str) -> String {
    let sign = if text.starts_with('-') { "-" } else { "" };
    let mut out = String::new();
    let mut number = false;
    for c in text.trim_start_matches(['-', '+']).chars() {
        let digit = c.is_ascii_digit() || c == '.';
        if digit && !number {
            out.push(' ');
            out.push_str(sign);
        } else if !digit && number && !c.is_whitespace() {
            out.push(' ');
        }
        number = digit;
        out.push(c);
    }
    out.split_whitespace()
        .map(|word| match word {
            "s" => "seconds",
            "m" | "min" => "minutes",
            "h" => "hours",
            "d" => "days",
            "w" => "weeks",
            "ms" => "milliseconds",
            "us" => "microseconds",
            other => other,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let now = CommitTs(1_800_000_000_000_000);
        match parse(text, Tz::Europe__Berlin, now) {
            Ok(instant) => display(instant),
            Err(error) => format!("{} {error}", error.sqlstate()),
        }
    }

    #[test]
    fn text_without_zone_is_in_the_sessions_zone() {
        assert_eq!(read("2026-01-02"), "2026-01-01T23:00:00Z");
        assert_eq!(read("2026-07-02 10:30 "), "2026-07-02T08:30:00Z");
        assert_eq!(read("July 2, 2026 10:30 AM"), "2026-07-02T08:30:00Z");
        assert_eq!(read("2026-07-02 10:30"), "2026-07-02T08:30:00Z");
        assert_eq!(read("2026-07-02 10:30:01.123456"), "2026-07-02T08:30:01.123456Z");
    }

    #[test]
    fn text_with_zone_is_in_that_zone() {
        assert_eq!(read("2026-01-02 09:00Z"), "2026-01-02T09:00:00Z");
        assert_eq!(read("2026-01-02 09:00 America/New_York"), "2026-01-02T14:00:00Z");
        assert_eq!(read("2026-01-02T09:00Z"), "2026-01-02T09:00:00Z");
        assert_eq!(read("2026-01-02 09:00:00+02"), "2026-01-02T07:00:00Z");
        assert_eq!(read("2026-01-02 09:00:00 +02:00"), "2026-01-02T07:00:00Z");
    }

    #[test]
    fn signed_text_counts_from_now() {
        assert_eq!(read("now"), "2027-01-15T08:00:00Z");
        assert_eq!(read("today"), "2027-01-14T23:00:00Z");
        assert_eq!(read("yesterday 12:00"), "2027-01-14T11:00:00Z");
        assert_eq!(read("-10s"), "2027-01-15T07:59:50Z");
        assert_eq!(read("-1h30m"), "2027-01-15T06:30:00Z");
        assert_eq!(read("-1 day"), "2027-01-14T08:00:00Z");
        assert_eq!(read("-1 month 2 days"), "2026-12-13T08:00:00Z");
    }

    #[test]
    fn what_is_no_instant_is_22007() {
        for text in ["", "yesterdayish", "2026-13-01", "2026-02-30 00:00", "-10 parsecs", "12"] {
            assert!(read(text).starts_with("22007"), "{text}: {}", read(text));
        }
    }
}
