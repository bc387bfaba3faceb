//! Between dates, times, timestamps and intervals. Infinity stays infinity.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    Date32Type, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use chrono_tz::Tz;
use chronos_catalog::SqlType;

use crate::error::{Error, Result};
use crate::text::datetime::DAY;
use crate::text::zone::{ZoneOffset, to_utc};

/// Casts values that are in the Arrow type of their SQL type; `None` where there is no cast.
pub(super) fn convert(
    values: &ArrayRef,
    from: &SqlType,
    to: &SqlType,
    zone: Tz,
) -> Result<Option<ArrayRef>> {
    use SqlType as T;
    Ok(Some(match (from, to) {
        (a, b) if a == b => Arc::clone(values),
        (T::Date, T::Timestamp) => Arc::new(midnights(values)?),
        (T::Date, T::Timestamptz) => utc(&midnights(values)?, zone),
        (T::Timestamp, T::Timestamptz) => {
            utc(values.as_primitive::<TimestampMicrosecondType>(), zone)
        }
        (T::Timestamptz, T::Timestamp) => Arc::new(local(values, zone)),
        (T::Timestamp, T::Date) => dates(values.as_primitive::<TimestampMicrosecondType>()),
        (T::Timestamptz, T::Date) => dates(&local(values, zone)),
        (T::Timestamp, T::Time) => clocks(values.as_primitive::<TimestampMicrosecondType>()),
        (T::Timestamptz, T::Time) => clocks(&local(values, zone)),
        (T::Time, T::Interval) => {
            let times = values.as_primitive::<Time64MicrosecondType>();
            Arc::new(times.unary::<_, IntervalMonthDayNanoType>(|t| {
                IntervalMonthDayNano::new(0, 0, t * 1_000)
            }))
        }
        (T::Interval, T::Time) => {
            let intervals = values.as_primitive::<IntervalMonthDayNanoType>();
            Arc::new(
                intervals
                    .unary::<_, Time64MicrosecondType>(|i| (i.nanoseconds / 1_000).rem_euclid(DAY)),
            )
        }
        _ => return Ok(None),
    }))
}

fn infinite(micros: i64) -> bool {
    matches!(micros, i64::MAX | i64::MIN)
}

fn midnights(values: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let days: &PrimitiveArray<Date32Type> = values.as_primitive();
    days.try_unary(|day| match day {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        day => i64::from(day)
            .checked_mul(DAY)
            .ok_or_else(|| Error::postgres("22008", "date out of range for timestamp")),
    })
}

fn utc(values: &TimestampMicrosecondArray, zone: Tz) -> ArrayRef {
    let converted: TimestampMicrosecondArray =
        values.unary(|t| if infinite(t) { t } else { to_utc(zone, t) });
    Arc::new(converted.with_timezone("UTC"))
}

fn local(values: &ArrayRef, zone: Tz) -> TimestampMicrosecondArray {
    let mut offsets = ZoneOffset::new(zone);
    let utc: &TimestampMicrosecondArray = values.as_primitive();
    let mut convert = |t: i64| {
        if infinite(t) { t } else { t.saturating_add(i64::from(offsets.at(t)) * 1_000_000) }
    };
    utc.iter().map(|t| t.map(&mut convert)).collect()
}

fn dates(values: &TimestampMicrosecondArray) -> ArrayRef {
    Arc::new(values.unary::<_, Date32Type>(|t| match t {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        t => t.div_euclid(DAY) as i32,
    }))
}

fn clocks(values: &TimestampMicrosecondArray) -> ArrayRef {
    let times: Vec<Option<i64>> =
        values.iter().map(|t| t.filter(|t| !infinite(*t)).map(|t| t.rem_euclid(DAY))).collect();
    Arc::new(PrimitiveArray::<Time64MicrosecondType>::from(times))
}
