//! Dates, times and intervals: arithmetic, fields, truncation.

use chrono_tz::Tz;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;
use datafusion::common::Result;

use super::convert::{day_of, to_local, to_utc};
use super::function::{Call, Definition, P, f};
use super::value::{Decimal, Value};
use crate::error::Error;
use crate::text::datetime::{self, DAY, civil, days};
use crate::text::interval::Interval;
use crate::text::{kept, zone};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn micros(value: &Value) -> i64 {
    match value {
        Value::Timestamp(t) | Value::Timestamptz(t) | Value::Time(t) => *t,
        Value::Date(d) => i64::from(*d) * DAY,
        _ => 0,
    }
}

fn interval(value: &Value) -> Interval {
    match value {
        Value::Interval(i) => *i,
        _ => Interval::default(),
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(x) => *x,
        _ => 0.0,
    }
}

fn range(what: &str) -> datafusion::common::DataFusionError {
    Error::postgres("22008", format!("{what} out of range")).into()
}

fn infinite(t: i64) -> bool {
    t == i64::MIN || t == i64::MAX
}

fn month_length(year: i64, month: u32) -> u32 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    (days(next_year, next, 1) - days(year, month, 1)) as u32
}

/// A local time and an interval: months first, the day cut to the month's length, then days,
/// then time.
fn add(t: i64, by: Interval) -> Option<i64> {
    let day = t.div_euclid(DAY);
    let (year, month, of_month) = civil(day);
    let months = year * 12 + i64::from(month) - 1 + i64::from(by.months);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) as u32 + 1);
    let day = days(year, month, of_month.min(month_length(year, month)));
    let day = day.checked_add(by.days.into())?;
    day.checked_mul(DAY)?.checked_add(t.rem_euclid(DAY))?.checked_add(by.micros)
}

fn negated(i: Interval) -> Result<Interval> {
    let parts = (i.months.checked_neg(), i.days.checked_neg(), i.micros.checked_neg());
    match parts {
        (Some(months), Some(days), Some(micros)) => Ok(Interval { months, days, micros }),
        _ => Err(range("interval")),
    }
}

/// An instant and an interval: months and days are those of the session's zone.
fn add_zoned(t: i64, by: Interval, zone: Tz) -> Option<i64> {
    if infinite(t) {
        return Some(t);
    }
    let calendar = Interval { micros: 0, ..by };
    let moved = match calendar {
        Interval { months: 0, days: 0, .. } => t,
        calendar => to_utc(zone, add(to_local(zone, t), calendar)?),
    };
    moved.checked_add(by.micros)
}

/// A time moved by an interval.
pub(crate) fn moved(a: &Value, by: Interval, zone: Tz) -> Result<Value> {
    plus(a, by, zone)
}

fn plus(a: &Value, by: Interval, zone: Tz) -> Result<Value> {
    Ok(match a {
        Value::Timestamptz(t) => {
            Value::Timestamptz(add_zoned(*t, by, zone).ok_or_else(|| range("timestamp"))?)
        }
        Value::Timestamp(t) if infinite(*t) => a.clone(),
        a => Value::Timestamp(add(micros(a), by).ok_or_else(|| range("timestamp"))?),
    })
}

fn add_interval(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    plus(&a[0], interval(&a[1]), c.zone)
}

fn add_to_interval(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    plus(&a[1], interval(&a[0]), c.zone)
}

fn subtract_interval(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    plus(&a[0], negated(interval(&a[1]))?, c.zone)
}

/// Days and time between two times.
fn difference(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (x, y) = (micros(&a[0]), micros(&a[1]));
    if infinite(x) || infinite(y) {
        return Err(Error::postgres("22008", "cannot subtract infinite timestamps").into());
    }
    let span = x.checked_sub(y).ok_or_else(|| range("interval"))?;
    let whole = i32::try_from(span / DAY).map_err(|_| range("interval"))?;
    Ok(Value::Interval(Interval { months: 0, days: whole, micros: span % DAY }))
}

fn date_difference(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    match (&a[0], &a[1]) {
        (Value::Date(x), Value::Date(y))
            if ![i32::MIN, i32::MAX].contains(x) && ![i32::MIN, i32::MAX].contains(y) =>
        {
            Ok(Value::Int(i64::from(*x) - i64::from(*y)))
        }
        _ => Err(Error::postgres("22008", "cannot subtract infinite dates").into()),
    }
}

fn date_moved(date: &Value, by: i64) -> Result<Value> {
    match date {
        Value::Date(d) if [i32::MIN, i32::MAX].contains(d) => Ok(date.clone()),
        Value::Date(d) => i64::from(*d)
            .checked_add(by)
            .and_then(|d| i32::try_from(d).ok())
            .map(Value::Date)
            .ok_or_else(|| range("date")),
        _ => Ok(Value::Null),
    }
}

/// An interval times a number: fractions of months become days, of days time.
fn scaled(i: Interval, factor: f64) -> Result<Value> {
    let overflow = || range("interval");
    let fits = |x: f64| x.is_finite() && x.abs() <= f64::from(i32::MAX);
    let months = f64::from(i.months) * factor;
    let days = f64::from(i.days) * factor;
    if !fits(months) || !fits(days) {
        return Err(overflow());
    }
    let round = |x: f64| (x * 1e6).round_ties_even() / 1e6;
    let mut month_days = round((months - months.trunc()) * 30.0);
    let mut seconds = round((days - days.trunc() + month_days - month_days.trunc()) * 86_400.0);
    month_days = month_days.trunc();
    let mut day = days.trunc() + month_days;
    if seconds.abs() >= 86_400.0 {
        day += (seconds / 86_400.0).trunc();
        seconds %= 86_400.0;
    }
    let micros = (i.micros as f64 * factor + seconds * 1e6).round_ties_even();
    if !fits(day) || micros.abs() >= 9.2e18 {
        return Err(overflow());
    }
    Ok(Value::Interval(Interval {
        months: months.trunc() as i32,
        days: day as i32,
        micros: micros as i64,
    }))
}

fn quotient(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let by = float(&a[1]);
    if by == 0.0 {
        return Err(Error::postgres("22012", "division by zero").into());
    }
    scaled(interval(&a[0]), 1.0 / by)
}

/// Years, months, days and time from the second time to the first.
fn symbolic_age(from: i64, to: i64) -> Result<Value> {
    if infinite(from) || infinite(to) {
        return Err(range("interval"));
    }
    let negative = to < from;
    let (early, late) = if negative { (to, from) } else { (from, to) };
    let (y1, m1, d1) = civil(early.div_euclid(DAY));
    let (y2, m2, d2) = civil(late.div_euclid(DAY));
    let mut time = late.rem_euclid(DAY) - early.rem_euclid(DAY);
    let mut day = i64::from(d2) - i64::from(d1);
    let mut months = (y2 * 12 + i64::from(m2)) - (y1 * 12 + i64::from(m1));
    if time < 0 {
        time += DAY;
        day -= 1;
    }
    if day < 0 {
        // Days are borrowed from the month of the earlier time.
        day += i64::from(month_length(y1, m1));
        months -= 1;
    }
    let sign = if negative { -1 } else { 1 };
    Ok(Value::Interval(Interval {
        months: (months * sign) as i32,
        days: (day * sign) as i32,
        micros: time * sign,
    }))
}

/// The ISO week's year and number of a day.
pub(crate) fn iso_week(day: i64) -> (i64, i64) {
    // The week belongs to the year of its Thursday.
    let thursday = day - (day + 3).rem_euclid(7) + 3;
    let year = civil(thursday).0;
    (year, (thursday - days(year, 1, 1)) / 7 + 1)
}

/// A field of a local time, as a number with six digits after the point at most.
fn part(field: &str, value: &Value, ty: &SqlType, zone: Tz) -> Result<Decimal> {
    let int = |units: i64| Decimal { units: units.into(), scale: 0 };
    let unknown = |code: &'static str, what: &str| {
        let name = super::function::type_name(ty);
        let message = format!("unit \"{field}\" {what} for type {name}");
        datafusion::common::DataFusionError::from(Error::postgres(code, message))
    };
    if let Value::Interval(i) = value {
        let years = i64::from(i.months / 12);
        return Ok(match field {
            "microseconds" | "us" => int(i.micros % MINUTE),
            "milliseconds" | "ms" => Decimal { units: (i.micros % MINUTE).into(), scale: 3 },
            "second" | "seconds" => Decimal { units: (i.micros % MINUTE).into(), scale: 6 },
            "minute" | "minutes" => int(i.micros % HOUR / MINUTE),
            "hour" | "hours" => int(i.micros / HOUR),
            "day" | "days" => int(i.days.into()),
            "month" | "months" => int((i.months % 12).into()),
            "quarter" => int(i64::from(i.months % 12 / 3) + 1),
            "year" | "years" => int(years),
            "decade" => int(years / 10),
            "century" => int(years / 100),
            "millennium" => int(years / 1000),
            "epoch" => {
                let days = i128::from(i.months % 12) * 30 + i128::from(i.days);
                // A year is 365.25 days.
                let units = i128::from(years) * 31_557_600 * 1_000_000
                    + days * i128::from(DAY)
                    + i128::from(i.micros);
                Decimal { units, scale: 6 }
            }
            "dow" | "isodow" | "doy" | "week" | "isoyear" | "julian" | "timezone" => {
                return Err(unknown("0A000", "not supported"));
            }
            _ => return Err(unknown("22023", "not recognized")),
        });
    }
    let instant = micros(value);
    let local = match value {
        Value::Timestamptz(t) => to_local(zone, *t),
        _ => instant,
    };
    let time = local.rem_euclid(DAY);
    let has_time = !matches!(value, Value::Date(_));
    let has_day = !matches!(value, Value::Time(_));
    match field {
        "microseconds" | "us" if has_time => return Ok(int(time % MINUTE)),
        "milliseconds" | "ms" | "msec" if has_time => {
            return Ok(Decimal { units: (time % MINUTE).into(), scale: 3 });
        }
        "second" | "seconds" | "sec" if has_time => {
            return Ok(Decimal { units: (time % MINUTE).into(), scale: 6 });
        }
        "minute" | "minutes" | "min" if has_time => return Ok(int(time % HOUR / MINUTE)),
        "hour" | "hours" if has_time => return Ok(int(time / HOUR)),
        "epoch" if !has_time => return Ok(int(instant / SECOND)),
        "epoch" => return Ok(Decimal { units: instant.into(), scale: 6 }),
        _ if !has_day => return Err(unknown("22023", "not recognized")),
        _ => {}
    }
    let day = local.div_euclid(DAY);
    let (year, month, of_month) = civil(day);
    let era = |span: i64| if year > 0 { (year + span - 1) / span } else { -((span - year) / span) };
    Ok(int(match field {
        "day" | "days" => of_month.into(),
        "month" | "months" | "mon" => month.into(),
        "quarter" => i64::from((month - 1) / 3 + 1),
        // There is no year 0: the one before 1 is -1.
        "year" | "years" => {
            if year > 0 {
                year
            } else {
                year - 1
            }
        }
        "decade" => year.div_euclid(10),
        "century" => era(100),
        "millennium" => era(1000),
        "dow" => (day + 4).rem_euclid(7),
        "isodow" => (day + 3).rem_euclid(7) + 1,
        "doy" => day - days(year, 1, 1) + 1,
        "week" => iso_week(day).1,
        "isoyear" => iso_week(day).0,
        "julian" if !has_time || time == 0 => day + 2_440_588,
        "timezone" | "timezone_hour" | "timezone_minute"
            if matches!(value, Value::Timestamptz(_)) =>
        {
            let offset = (local - instant) / SECOND;
            match field {
                "timezone" => offset,
                "timezone_hour" => offset / 3600,
                _ => offset % 3600 / 60,
            }
        }
        "timezone" | "timezone_hour" | "timezone_minute" => {
            return Err(unknown("0A000", "not supported"));
        }
        _ => return Err(unknown("22023", "not recognized")),
    }))
}

/// A field's name without quotes, and its shorter and longer spellings as one.
fn field_name(name: &str) -> String {
    let inner = ['"', '\''].iter().find_map(|q| name.strip_prefix(*q)?.strip_suffix(*q));
    let name = inner.unwrap_or(name).to_lowercase();
    match name.as_str() {
        "millisecond" | "msec" | "msecs" => "milliseconds".to_owned(),
        "microsecond" | "usec" | "usecs" => "microseconds".to_owned(),
        "sec" | "secs" => "second".to_owned(),
        "min" | "mins" => "minute".to_owned(),
        "hr" | "hrs" => "hour".to_owned(),
        "mon" | "mons" => "month".to_owned(),
        "yr" | "yrs" => "year".to_owned(),
        "centuries" => "century".to_owned(),
        "decades" => "decade".to_owned(),
        "millennia" => "millennium".to_owned(),
        "weeks" => "week".to_owned(),
        _ => name,
    }
}

fn extract(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if infinite_value(&a[1]) {
        return Err(Error::unsupported("extract from infinity").into());
    }
    Ok(Value::Numeric(part(&field_name(a[0].text()), &a[1], &c.types[1], c.zone)?))
}

fn date_part(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if infinite_value(&a[1]) {
        return Err(Error::unsupported("date_part of infinity").into());
    }
    Ok(Value::Float(part(&field_name(a[0].text()), &a[1], &c.types[1], c.zone)?.to_f64()))
}

fn infinite_value(value: &Value) -> bool {
    match value {
        Value::Date(d) => *d == i32::MIN || *d == i32::MAX,
        Value::Timestamp(t) | Value::Timestamptz(t) => infinite(*t),
        _ => false,
    }
}

/// The start of the field's period around a local time.
fn truncated(field: &str, t: i64, ty: &str) -> Result<i64> {
    let day = t.div_euclid(DAY);
    let (year, month, _) = civil(day);
    let first = |year: i64, month: u32| days(year, month, 1) * DAY;
    // Centuries begin with their year 1.
    let era = |span: i64| first((year - 1).div_euclid(span) * span + 1, 1);
    Ok(match field {
        "microseconds" => t,
        "milliseconds" => t - t.rem_euclid(1000),
        "second" | "seconds" => t - t.rem_euclid(SECOND),
        "minute" | "minutes" => t - t.rem_euclid(MINUTE),
        "hour" | "hours" => t - t.rem_euclid(HOUR),
        "day" | "days" => day * DAY,
        "week" | "weeks" => (day - (day + 3).rem_euclid(7)) * DAY,
        "month" | "months" => first(year, month),
        "quarter" => first(year, (month - 1) / 3 * 3 + 1),
        "year" | "years" => first(year, 1),
        "decade" => first(year.div_euclid(10) * 10, 1),
        "century" => era(100),
        "millennium" => era(1000),
        _ => {
            let message = format!("unit \"{field}\" not recognized for type {ty}");
            return Err(Error::postgres("22023", message).into());
        }
    })
}

fn date_trunc(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let field = field_name(a[0].text());
    Ok(match &a[1] {
        t if infinite_value(t) => t.clone(),
        Value::Timestamptz(t) => {
            let zone = match a.get(2) {
                Some(name) => zone::named(name.text())?,
                None => c.zone,
            };
            // Below a day the offset does not change; where it does, an hour stays its own.
            let local = to_local(zone, *t);
            let start = truncated(&field, local, "timestamp with time zone")?;
            let short = ["micro", "milli", "second", "minute", "hour"];
            Value::Timestamptz(if short.iter().any(|s| field.starts_with(s)) {
                t - (local - start)
            } else {
                to_utc(zone, start)
            })
        }
        Value::Interval(i) => {
            let months = |span: i32| i.months / span * span;
            let time = |span: i64| Interval { micros: i.micros / span * span, ..*i };
            let whole = |months: i32| Interval { months, days: 0, micros: 0 };
            Value::Interval(match field.as_str() {
                "microseconds" => *i,
                "milliseconds" => time(1000),
                "second" | "seconds" => time(SECOND),
                "minute" | "minutes" => time(MINUTE),
                "hour" | "hours" => time(HOUR),
                "day" | "days" => Interval { micros: 0, ..*i },
                "month" | "months" => whole(i.months),
                "quarter" => whole(months(3)),
                "year" | "years" => whole(months(12)),
                "decade" => whole(months(120)),
                "century" => whole(months(1200)),
                "millennium" => whole(months(12_000)),
                _ => {
                    let message = format!("unit \"{field}\" not recognized for type interval");
                    return Err(Error::postgres("22023", message).into());
                }
            })
        }
        t => Value::Timestamp(truncated(&field, micros(t), "timestamp without time zone")?),
    })
}

/// The start of the bucket of a fixed width around a time.
fn bucket(width: Interval, t: i64, origin: i64) -> Result<i64> {
    if width.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(Error::postgres("0A000", message).into());
    }
    let width = i64::from(width.days)
        .checked_mul(DAY)
        .and_then(|days| days.checked_add(width.micros))
        .ok_or_else(|| range("interval"))?;
    if width <= 0 {
        return Err(Error::postgres("22008", "stride must be greater than zero").into());
    }
    let span = t.checked_sub(origin).ok_or_else(|| range("timestamp"))?;
    Ok(t - span.rem_euclid(width))
}

fn like(value: &Value, t: i64) -> Value {
    match value {
        Value::Timestamptz(_) => Value::Timestamptz(t),
        _ => Value::Timestamp(t),
    }
}

fn date_bin(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    Ok(like(&a[1], bucket(interval(&a[0]), micros(&a[1]), micros(&a[2]))?))
}

/// Buckets begin at Monday, 2000-01-03, or for months at 2000-01-01.
fn time_bucket(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (width, t) = (interval(&a[0]), micros(&a[1]));
    let start = match width {
        Interval { months, days: 0, micros: 0 } if months > 0 => {
            let (year, month, _) = civil(t.div_euclid(DAY));
            let since = (year - 2000) * 12 + i64::from(month) - 1;
            let first = since - since.rem_euclid(months.into()) + 2000 * 12;
            days(first.div_euclid(12), first.rem_euclid(12) as u32 + 1, 1) * DAY
        }
        width => bucket(width, t, days(2000, 1, 3) * DAY)?,
    };
    Ok(match &a[1] {
        Value::Date(_) => Value::Date(day_of(start)),
        t => like(t, start),
    })
}

/// Seconds east of Greenwich of a zone that is written as an offset. As in POSIX, and unlike
/// ISO 8601, `+02:00` lies west.
fn posix_offset(name: &str) -> Option<i64> {
    let (sign, rest) = match name.trim().split_at_checked(1)? {
        ("+", rest) => (-1, rest),
        ("-", rest) => (1, rest),
        _ => return None,
    };
    let mut parts = rest.split(':').map(|p| p.parse::<i64>().ok());
    let hours = parts.next()??;
    let minutes = parts.next().unwrap_or(Some(0))?;
    let seconds = parts.next().unwrap_or(Some(0))?;
    Some(sign * (hours * 3600 + minutes * 60 + seconds))
}

/// `t AT TIME ZONE interval`
fn at_offset(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let offset = interval(&a[0]);
    if offset.months != 0 || offset.days != 0 {
        let message = "interval time zone must not include months or days";
        return Err(Error::postgres("22023", message).into());
    }
    Ok(shifted(&a[1], offset.micros))
}

/// An instant as local time that is so much ahead of UTC, or the other way round.
fn shifted(value: &Value, micros_east: i64) -> Value {
    match value {
        Value::Timestamptz(t) => Value::Timestamp(t.saturating_add(micros_east)),
        t => Value::Timestamptz(micros(t).saturating_sub(micros_east)),
    }
}

/// `t AT TIME ZONE zone`
fn at_zone(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    if let Some(seconds) = posix_offset(a[0].text()) {
        return Ok(shifted(&a[1], seconds * SECOND));
    }
    let zone = zone::named(a[0].text())?;
    Ok(match &a[1] {
        Value::Timestamptz(t) => Value::Timestamp(to_local(zone, *t)),
        t => Value::Timestamptz(to_utc(zone, micros(t))),
    })
}

fn make_date(year: i64, month: i64, day: i64) -> Result<i64> {
    let year = if year < 0 { year + 1 } else { year };
    let valid = (1..=12).contains(&month)
        && (1..=i64::from(month_length(year, month as u32))).contains(&day);
    if !valid || !(-4713..=294_276).contains(&year) {
        return Err(Error::postgres(
            "22008",
            format!("date field value out of range: {year}-{month:02}-{day:02}"),
        )
        .into());
    }
    Ok(days(year, month as u32, day as u32))
}

fn make_time(hour: i64, minute: i64, second: f64) -> Result<i64> {
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60.0).contains(&second) {
        return Err(Error::postgres(
            "22008",
            format!("time field value out of range: {hour}:{minute:02}:{second:02}"),
        )
        .into());
    }
    Ok(hour * HOUR + minute * MINUTE + (second * 1e6).round_ties_even() as i64)
}

fn make_timestamp(a: &[Value]) -> Result<i64> {
    let day = make_date(a[0].int(), a[1].int(), a[2].int())?;
    Ok(day * DAY + make_time(a[3].int(), a[4].int(), float(&a[5]))?)
}

fn make_interval(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let at = |i: usize| a.get(i).map_or(0, Value::int);
    let months = at(0).checked_mul(12).and_then(|m| m.checked_add(at(1)));
    let days = at(2).checked_mul(7).and_then(|d| d.checked_add(at(3)));
    let time = at(4).checked_mul(HOUR).and_then(|t| t.checked_add(at(5).checked_mul(MINUTE)?));
    let seconds = (a.get(6).map_or(0.0, float) * 1e6).round_ties_even() as i64;
    let interval = || {
        Some(Interval {
            months: i32::try_from(months?).ok()?,
            days: i32::try_from(days?).ok()?,
            micros: time?.checked_add(seconds)?,
        })
    };
    interval().map(Value::Interval).ok_or_else(|| range("interval"))
}

fn justify(i: Interval, hours: bool, as_months: bool) -> Result<Value> {
    let (mut months, mut day, mut time) = (i64::from(i.months), i64::from(i.days), i.micros);
    if hours {
        day += time / DAY;
        time %= DAY;
    }
    if as_months {
        months += day / 30;
        day %= 30;
    }
    if as_months {
        if months > 0 && (day < 0 || day == 0 && time < 0 && hours) {
            day += 30;
            months -= 1;
        } else if months < 0 && (day > 0 || day == 0 && time > 0 && hours) {
            day -= 30;
            months += 1;
        }
    }
    if hours {
        if day > 0 && time < 0 {
            time += DAY;
            day -= 1;
        } else if day < 0 && time > 0 {
            time -= DAY;
            day += 1;
        }
    }
    match (i32::try_from(months), i32::try_from(day)) {
        (Ok(months), Ok(days)) => Ok(Value::Interval(Interval { months, days, micros: time })),
        _ => Err(range("interval")),
    }
}

fn same(types: &[SqlType]) -> SqlType {
    match types.get(1) {
        Some(ty @ (SqlType::Timestamptz | SqlType::Date)) => ty.clone(),
        _ => SqlType::Timestamp,
    }
}

const TIMETZ: fn(&[SqlType]) -> SqlType = |_| SqlType::Other(OtherType::Timetz);

/// The time of day an interval later, or before it, by the same zone's clock.
fn add_to_timetz(time: &Value, by: &Value, sign: i64) -> Result<Value> {
    let (micros, west) = datetime::parse_timetz(time.text(), Tz::UTC, None)?;
    let by = match by {
        Value::Interval(by) => by.micros % DAY * sign,
        _ => 0,
    };
    Ok(Value::Text(kept::timetz((micros + by).rem_euclid(DAY), west)))
}

const INTERVAL: fn(&[SqlType]) -> SqlType = |_| SqlType::Interval;
const TIMESTAMP: fn(&[SqlType]) -> SqlType = |_| SqlType::Timestamp;
const TIMESTAMPTZ: fn(&[SqlType]) -> SqlType = |_| SqlType::Timestamptz;
const DATE: fn(&[SqlType]) -> SqlType = |_| SqlType::Date;
const FLOAT: fn(&[SqlType]) -> SqlType = |_| SqlType::Float8;
const BOOL: fn(&[SqlType]) -> SqlType = |_| SqlType::Bool;
const PART: fn(&[SqlType]) -> SqlType = |_| SqlType::Numeric(None);

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("_timetz_add", &[P::Kept(OtherType::Timetz), P::Interval], TIMETZ, |_, a| {
        add_to_timetz(&a[0], &a[1], 1)
    }),
    f("_timetz_add", &[P::Interval, P::Kept(OtherType::Timetz)], TIMETZ, |_, a| {
        add_to_timetz(&a[1], &a[0], 1)
    }),
    f("_timetz_subtract", &[P::Kept(OtherType::Timetz), P::Interval], TIMETZ, |_, a| {
        add_to_timetz(&a[0], &a[1], -1)
    }),
    f("_add_interval", &[P::Timestamptz, P::Interval], TIMESTAMPTZ, add_interval),
    f("_add_interval", &[P::Timestamp, P::Interval], TIMESTAMP, add_interval),
    f("_add_interval", &[P::Date, P::Interval], TIMESTAMP, add_interval),
    f("_add_interval", &[P::Interval, P::Date], TIMESTAMP, add_to_interval),
    f("_subtract_interval", &[P::Date, P::Interval], TIMESTAMP, subtract_interval),
    f("_add_interval", &[P::Interval, P::Timestamptz], TIMESTAMPTZ, add_to_interval),
    f("_add_interval", &[P::Interval, P::Timestamp], TIMESTAMP, add_to_interval),
    f("_subtract_interval", &[P::Timestamptz, P::Interval], TIMESTAMPTZ, subtract_interval),
    f("_subtract_interval", &[P::Timestamp, P::Interval], TIMESTAMP, subtract_interval),
    f("_subtract_time", &[P::Timestamptz, P::Timestamptz], INTERVAL, difference),
    f("_subtract_time", &[P::Timestamp, P::Timestamp], INTERVAL, difference),
    f("_subtract_time", &[P::Date, P::Date], |_| SqlType::Int4, date_difference),
    f("_add_days", &[P::Date, P::Int8], DATE, |_, a| date_moved(&a[0], a[1].int())),
    f("_add_days", &[P::Int8, P::Date], DATE, |_, a| date_moved(&a[1], a[0].int())),
    f("_subtract_days", &[P::Date, P::Int8], DATE, |_, a| {
        date_moved(&a[0], a[1].int().saturating_neg())
    }),
    f("_multiply_interval", &[P::Interval, P::Float], INTERVAL, |_, a| {
        scaled(interval(&a[0]), float(&a[1]))
    }),
    f("_multiply_interval", &[P::Float, P::Interval], INTERVAL, |_, a| {
        scaled(interval(&a[1]), float(&a[0]))
    }),
    f("_divide_interval", &[P::Interval, P::Float], INTERVAL, quotient),
    f("age", &[P::Timestamptz, P::Timestamptz], INTERVAL, |c, a| {
        symbolic_age(to_local(c.zone, micros(&a[1])), to_local(c.zone, micros(&a[0])))
    }),
    f("age", &[P::Timestamp, P::Timestamp], INTERVAL, |_, a| {
        symbolic_age(micros(&a[1]), micros(&a[0]))
    }),
    f("extract", &[P::Text, P::Timestamptz], PART, extract),
    f("extract", &[P::Text, P::Timestamp], PART, extract),
    f("extract", &[P::Text, P::Date], PART, extract),
    f("extract", &[P::Text, P::Time], PART, extract),
    f("extract", &[P::Text, P::Interval], PART, extract),
    f("date_part", &[P::Text, P::Timestamptz], FLOAT, date_part),
    f("date_part", &[P::Text, P::Timestamp], FLOAT, date_part),
    // A date has the times of its midnight here, unlike in extract.
    f("date_part", &[P::Text, P::Date], FLOAT, |c, a| {
        let midnight = [a[0].clone(), Value::Timestamp(micros(&a[1]))];
        let types = [SqlType::Text, SqlType::Timestamp];
        match &a[1] {
            date if infinite_value(date) => date_part(c, a),
            _ => date_part(&Call { types: &types, zone: c.zone }, &midnight),
        }
    }),
    f("date_part", &[P::Text, P::Time], FLOAT, date_part),
    f("date_part", &[P::Text, P::Interval], FLOAT, date_part),
    f("date_trunc", &[P::Text, P::Timestamptz], TIMESTAMPTZ, date_trunc),
    f("date_trunc", &[P::Text, P::Timestamptz, P::Text], TIMESTAMPTZ, date_trunc),
    f("date_trunc", &[P::Text, P::Timestamp], TIMESTAMP, date_trunc),
    f("date_trunc", &[P::Text, P::Interval], INTERVAL, date_trunc),
    f("date_bin", &[P::Interval, P::Timestamptz, P::Timestamptz], TIMESTAMPTZ, date_bin),
    f("date_bin", &[P::Interval, P::Timestamp, P::Timestamp], TIMESTAMP, date_bin),
    f("time_bucket", &[P::Interval, P::Timestamptz], same, time_bucket),
    f("time_bucket", &[P::Interval, P::Timestamp], same, time_bucket),
    f("time_bucket", &[P::Interval, P::Date], same, time_bucket),
    f("timezone", &[P::Text, P::Timestamptz], TIMESTAMP, at_zone),
    f("timezone", &[P::Text, P::Timestamp], TIMESTAMPTZ, at_zone),
    f("timezone", &[P::Interval, P::Timestamptz], TIMESTAMP, at_offset),
    f("timezone", &[P::Interval, P::Timestamp], TIMESTAMPTZ, at_offset),
    f("make_date", &[P::Int4, P::Int4, P::Int4], DATE, |_, a| {
        Ok(Value::Date(make_date(a[0].int(), a[1].int(), a[2].int())? as i32))
    }),
    f(
        "make_time",
        &[P::Int4, P::Int4, P::Float],
        |_| SqlType::Time,
        |_, a| Ok(Value::Time(make_time(a[0].int(), a[1].int(), float(&a[2]))?)),
    ),
    f(
        "make_timestamp",
        &[P::Int4, P::Int4, P::Int4, P::Int4, P::Int4, P::Float],
        TIMESTAMP,
        |_, a| Ok(Value::Timestamp(make_timestamp(a)?)),
    ),
    f(
        "make_timestamptz",
        &[P::Int4, P::Int4, P::Int4, P::Int4, P::Int4, P::Float, P::Text],
        TIMESTAMPTZ,
        |c, a| {
            let zone = match a.get(6) {
                Some(name) => zone::named(name.text())?,
                None => c.zone,
            };
            Ok(Value::Timestamptz(to_utc(zone, make_timestamp(a)?)))
        },
    )
    .optional(1),
    f(
        "make_interval",
        &[P::Int4, P::Int4, P::Int4, P::Int4, P::Int4, P::Int4, P::Float],
        INTERVAL,
        make_interval,
    )
    .optional(7),
    f("justify_hours", &[P::Interval], INTERVAL, |_, a| justify(interval(&a[0]), true, false)),
    f("justify_days", &[P::Interval], INTERVAL, |_, a| justify(interval(&a[0]), false, true)),
    f("justify_interval", &[P::Interval], INTERVAL, |_, a| justify(interval(&a[0]), true, true)),
    f("isfinite", &[P::Timestamptz], BOOL, |_, a| Ok((!infinite_value(&a[0])).into())),
    f("isfinite", &[P::Timestamp], BOOL, |_, a| Ok((!infinite_value(&a[0])).into())),
    f("isfinite", &[P::Date], BOOL, |_, a| Ok((!infinite_value(&a[0])).into())),
    f("isfinite", &[P::Interval], BOOL, |_, _| Ok(true.into())),
];

fn compared(a: &[Value]) -> std::cmp::Ordering {
    super::compare::compare(&a[0], &a[1])
}

/// Whether two periods, each of a start and an end or length, share a moment.
fn overlap(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let period = |from: &Value, to: &Value| -> Result<(i64, i64)> {
        let start = micros(from);
        let end = match to {
            Value::Interval(length) => match from {
                Value::Time(t) => (t + length.micros).rem_euclid(DAY),
                from => micros(&plus(from, *length, c.zone)?),
            },
            to => micros(to),
        };
        Ok((start.min(end), start.max(end)))
    };
    let (a, b) = (period(&a[0], &a[1])?, period(&a[2], &a[3])?);
    let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
    // A period without length is a moment.
    Ok((first.0 == second.0 || second.0 < first.1).into())
}

/// A time with so many digits of its seconds.
fn rounded(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let unit = 10i64.pow(6 - u32::try_from(a[1].int().clamp(0, 6)).unwrap_or(6));
    let round = |t: i64| {
        let half = if t < 0 { -unit / 2 } else { unit / 2 };
        t.saturating_add(half) / unit * unit
    };
    Ok(match &a[0] {
        t if infinite_value(t) => t.clone(),
        Value::Timestamp(t) => Value::Timestamp(round(*t)),
        Value::Timestamptz(t) => Value::Timestamptz(round(*t)),
        Value::Time(t) => Value::Time(round(*t)),
        other => other.clone(),
    })
}

/// Seconds, but of a date whole ones.
const MICROS: fn(&[SqlType]) -> SqlType = |types| {
    let scale = if types.get(1) == Some(&SqlType::Date) { 0 } else { 6 };
    SqlType::Numeric(Some((38, scale)))
};
const MILLIS: fn(&[SqlType]) -> SqlType = |_| SqlType::Numeric(Some((38, 3)));

pub(crate) static MORE_FUNCTIONS: &[Definition] = &[
    f("_extract_micros", &[P::Text, P::Timestamptz], MICROS, extract),
    f("_extract_micros", &[P::Text, P::Timestamp], MICROS, extract),
    f("_extract_micros", &[P::Text, P::Date], MICROS, extract),
    f("_extract_micros", &[P::Text, P::Time], MICROS, extract),
    f("_extract_micros", &[P::Text, P::Interval], MICROS, extract),
    f("_extract_millis", &[P::Text, P::Timestamptz], MILLIS, extract),
    f("_extract_millis", &[P::Text, P::Timestamp], MILLIS, extract),
    f("_extract_millis", &[P::Text, P::Date], MILLIS, extract),
    f("_extract_millis", &[P::Text, P::Time], MILLIS, extract),
    f("_extract_millis", &[P::Text, P::Interval], MILLIS, extract),
    f("_interval_eq", &[P::Interval, P::Interval], BOOL, |_, a| Ok(compared(a).is_eq().into())),
    f("_interval_ne", &[P::Interval, P::Interval], BOOL, |_, a| Ok(compared(a).is_ne().into())),
    f("_interval_lt", &[P::Interval, P::Interval], BOOL, |_, a| Ok(compared(a).is_lt().into())),
    f("_interval_le", &[P::Interval, P::Interval], BOOL, |_, a| Ok(compared(a).is_le().into())),
    f("_interval_gt", &[P::Interval, P::Interval], BOOL, |_, a| Ok(compared(a).is_gt().into())),
    f("_interval_ge", &[P::Interval, P::Interval], BOOL, |_, a| Ok(compared(a).is_ge().into())),
    f("overlaps", &[P::Timestamptz, P::Timestamptz, P::Timestamptz, P::Timestamptz], BOOL, overlap),
    f("overlaps", &[P::Timestamptz, P::Interval, P::Timestamptz, P::Interval], BOOL, overlap),
    f("overlaps", &[P::Timestamptz, P::Interval, P::Timestamptz, P::Timestamptz], BOOL, overlap),
    f("overlaps", &[P::Timestamptz, P::Timestamptz, P::Timestamptz, P::Interval], BOOL, overlap),
    f("overlaps", &[P::Timestamp, P::Timestamp, P::Timestamp, P::Timestamp], BOOL, overlap),
    f("overlaps", &[P::Timestamp, P::Interval, P::Timestamp, P::Interval], BOOL, overlap),
    f("overlaps", &[P::Timestamp, P::Interval, P::Timestamp, P::Timestamp], BOOL, overlap),
    f("overlaps", &[P::Timestamp, P::Timestamp, P::Timestamp, P::Interval], BOOL, overlap),
    f("overlaps", &[P::Time, P::Time, P::Time, P::Time], BOOL, overlap),
    f("overlaps", &[P::Time, P::Interval, P::Time, P::Interval], BOOL, overlap),
    f("_round_time", &[P::Timestamptz, P::Int4], TIMESTAMPTZ, rounded),
    f("_round_time", &[P::Timestamp, P::Int4], TIMESTAMP, rounded),
    f("_round_time", &[P::Time, P::Int4], |_| SqlType::Time, rounded),
    f("date_trunc", &[P::Text, P::Time], INTERVAL, |c, a| {
        let Value::Time(t) = &a[1] else { return Ok(Value::Null) };
        let time = Value::Interval(Interval { months: 0, days: 0, micros: *t });
        date_trunc(c, &[a[0].clone(), time])
    }),
];
