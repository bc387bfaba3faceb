//! Dates, times and timestamps: ISO output, and the input forms that PostgreSQL takes with
//! `DateStyle` `ISO, MDY`.
//!
//! Days and microseconds count from 1970-01-01; the largest and smallest value of a date or
//! timestamp are `infinity` and `-infinity`.

use chrono_tz::Tz;

use super::number::{trim, write_padded};
use super::zone::{self, ZoneOffset};
use super::{Out, invalid};
use crate::error::{Error, Result};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;
/// 4714-11-24 BC, the first day of PostgreSQL's calendar.
const FIRST_DAY: i64 = -2440588;
/// 5874898-01-01, after the last day of PostgreSQL's dates.
const END_DAY: i64 = 2145042906;
/// The largest timestamp but `infinity`, in the year 294247; PostgreSQL's own end thirty years
/// later, since it counts from 2000.
const END_MICROS: i64 = 9223372036854775807;

/// Year (0 is 1 BC), month and day of a day number.
pub fn civil(days: i64) -> (i64, u32, u32) {
    // Eras of 400 years that begin in March, so that the leap day comes last.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a date of the proleptic Gregorian calendar.
pub fn days(year: i64, month: u32, day: u32) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Writes the year, month and day; the answer is whether ` BC` has to follow.
fn write_civil(out: &mut Out, day: i64) -> bool {
    let (year, month, day) = civil(day);
    let bc = year <= 0;
    write_padded(out, (if bc { 1 - year } else { year }) as u64, 4);
    let two = |n: u32| [b'-', b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
    out.extend_from_slice(&two(month));
    out.extend_from_slice(&two(day));
    bc
}

/// Writes a date.
pub fn write_date(out: &mut Out, day: i32) {
    match day {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        day => {
            if write_civil(out, i64::from(day)) {
                out.extend_from_slice(b" BC");
            }
        }
    }
}

/// Writes a time of day.
pub fn write_time(out: &mut Out, micros: i64) {
    let seconds = micros / 1_000_000;
    let two = |n: i64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
    let [[h1, h2], [m1, m2], [s1, s2]] =
        [two(seconds / 3600), two(seconds / 60 % 60), two(seconds % 60)];
    out.extend_from_slice(&[h1, h2, b':', m1, m2, b':', s1, s2]);
    write_fraction(out, micros % 1_000_000);
}

/// Writes the microseconds of a second with the point before them, without zeros at the end.
pub(super) fn write_fraction(out: &mut Out, micros: i64) {
    if micros == 0 {
        return;
    }
    let mut digits = [b'.'; 7];
    let (mut rest, mut end) = (micros, 1);
    for at in (1..7).rev() {
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if end == 1 && digits[at] != b'0' {
            end = at + 1;
        }
    }
    out.extend_from_slice(&digits[..end]);
}

fn write_infinity(out: &mut Out, micros: i64) -> bool {
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        _ => return false,
    }
    true
}

/// Writes a timestamp without zone.
pub fn write_timestamp(out: &mut Out, micros: i64) {
    if write_infinity(out, micros) {
        return;
    }
    let bc = write_civil(out, micros.div_euclid(DAY));
    out.extend_from_slice(b" ");
    write_time(out, micros.rem_euclid(DAY));
    if bc {
        out.extend_from_slice(b" BC");
    }
}

/// Writes a timestamp with time zone as the zone's clock shows it.
pub fn write_timestamptz(out: &mut Out, micros: i64, zone: &mut ZoneOffset) {
    if write_infinity(out, micros) {
        return;
    }
    let offset = zone.at(micros);
    let local = micros.saturating_add(i64::from(offset) * 1_000_000);
    let bc = write_civil(out, local.div_euclid(DAY));
    out.extend_from_slice(b" ");
    write_time(out, local.rem_euclid(DAY));
    write_offset(out, offset);
    if bc {
        out.extend_from_slice(b" BC");
    }
}

fn write_offset(out: &mut Out, offset: i32) {
    let seconds = offset.unsigned_abs();
    out.extend_from_slice(if offset < 0 { b"-" } else { b"+" });
    write_padded(out, u64::from(seconds / 3600), 2);
    if !seconds.is_multiple_of(3600) {
        out.extend_from_slice(b":");
        write_padded(out, u64::from(seconds / 60 % 60), 2);
        if !seconds.is_multiple_of(60) {
            out.extend_from_slice(b":");
            write_padded(out, u64::from(seconds % 60), 2);
        }
    }
}

/// Reads a date.
///
/// # Errors
/// 22007 for what is none, 22008 for one that the calendar does not have, 0A000 for words that
/// need a clock (`now`, `today`).
pub fn parse_date(text: &str) -> Result<i32> {
    // By far the most common form is taken at once.
    if let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes()
        && let Some([y1, y2, y3, y4, m1, m2, d1, d2]) =
            digits([*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2])
    {
        let year = i64::from(y1 * 1000 + y2 * 100 + y3 * 10 + y4);
        return date_of(year, m1 * 10 + m2, d1 * 10 + d2, text, false).map(|day| day as i32);
    }
    // A zone says nothing of a date, but some drivers write one behind it.
    let text = match text.rsplit_once(' ') {
        Some((date, zone))
            if zone.starts_with(['+', '-'])
                && date.len() >= 8
                && zone[1..].bytes().all(|b| b.is_ascii_digit() || b == b':') =>
        {
            date
        }
        _ => text,
    };
    match parse(text, "date")? {
        Parsed::Infinity(true) => Ok(i32::MAX),
        Parsed::Infinity(false) => Ok(i32::MIN),
        Parsed::Parts(Parts { day: Some(day), .. }) if day < END_DAY => Ok(day as i32),
        Parsed::Parts(Parts { day: Some(_), .. }) => {
            Err(Error::postgres("22008", format!("date out of range: \"{text}\"")))
        }
        Parsed::Parts(_) => Err(invalid("22007", "date", text)),
    }
}

/// Reads a time of day; a zone is read and forgotten.
///
/// # Errors
/// Those of [`parse_date`].
pub fn parse_time(text: &str) -> Result<i64> {
    match parse(text, "time")? {
        Parsed::Parts(Parts { time: Some(time), .. }) => Ok(time),
        _ => Err(invalid("22007", "time", text)),
    }
}

/// Reads a time of day with its zone: microseconds and seconds west of Greenwich. Without a zone
/// it is that of the session at the transaction's time.
///
/// # Errors
/// Those of [`parse_date`].
pub fn parse_timetz(text: &str, zone: Tz, now: Option<i64>) -> Result<(i64, i32)> {
    const TYPE: &str = "time with time zone";
    let Parsed::Parts(Parts { day, time: Some(time), zone: named }) = parse(text, TYPE)? else {
        return Err(invalid("22007", TYPE, text));
    };
    let east = |zone: Tz, at: i64| ZoneOffset::new(zone).at(at);
    let offset = match (named, day, now) {
        (Some(Zone::Offset(seconds)), ..) => seconds,
        // The offset of a named zone is that of a day.
        (Some(Zone::Named(zone)), Some(day), _) => {
            east(zone, zone::to_utc(zone, day.saturating_mul(DAY).saturating_add(time)))
        }
        (Some(Zone::Named(Tz::UTC)), None, _) => 0,
        (Some(Zone::Named(_)), None, _) => return Err(invalid("22007", TYPE, text)),
        (None, Some(day), _) => {
            east(zone, zone::to_utc(zone, day.saturating_mul(DAY).saturating_add(time)))
        }
        (None, None, Some(now)) => east(zone, now),
        (None, None, None) if zone == Tz::UTC => 0,
        (None, None, None) => {
            return Err(Error::unsupported("a time with time zone without its zone here"));
        }
    };
    Ok((time, -offset))
}

/// Writes a time of day with its zone, seconds west of Greenwich.
pub fn write_timetz(out: &mut Out, micros: i64, west: i32) {
    write_time(out, micros);
    write_offset(out, -west);
}

/// Reads a timestamp without zone; a zone is read and forgotten.
///
/// # Errors
/// Those of [`parse_date`].
pub fn parse_timestamp(text: &str) -> Result<i64> {
    match parse(text, "timestamp")? {
        Parsed::Infinity(true) => Ok(i64::MAX),
        Parsed::Infinity(false) => Ok(i64::MIN),
        Parsed::Parts(parts) => local(&parts, "timestamp", text),
    }
}

/// Reads a timestamp with time zone; `zone` is that of text which names none.
///
/// # Errors
/// Those of [`parse_date`], and 22023 for a zone that is not known.
pub fn parse_timestamptz(text: &str, zone: Tz) -> Result<i64> {
    const TYPE: &str = "timestamp with time zone";
    match parse(text, TYPE)? {
        Parsed::Infinity(true) => Ok(i64::MAX),
        Parsed::Infinity(false) => Ok(i64::MIN),
        Parsed::Parts(parts) => {
            let local = local(&parts, TYPE, text)?;
            Ok(match parts.zone {
                None => zone::to_utc(zone, local),
                Some(Zone::Offset(seconds)) => local - i64::from(seconds) * 1_000_000,
                Some(Zone::Named(zone)) => zone::to_utc(zone, local),
            })
        }
    }
}

fn local(parts: &Parts, ty: &str, text: &str) -> Result<i64> {
    let day = parts.day.ok_or_else(|| invalid("22007", ty, text))?;
    day.checked_mul(DAY)
        .and_then(|micros| micros.checked_add(parts.time.unwrap_or(0)))
        .filter(|micros| (FIRST_DAY * DAY..END_MICROS).contains(micros))
        .ok_or_else(|| Error::postgres("22008", format!("timestamp out of range: \"{text}\"")))
}

enum Parsed {
    Infinity(bool),
    Parts(Parts),
}

#[derive(Default)]
struct Parts {
    day: Option<i64>,
    time: Option<i64>,
    zone: Option<Zone>,
}

#[derive(Clone, Copy)]
enum Zone {
    /// Seconds east of Greenwich.
    Offset(i32),
    Named(Tz),
}

fn digits<const N: usize>(bytes: [u8; N]) -> Option<[u32; N]> {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = u32::from(from.wrapping_sub(b'0'));
        if *to > 9 {
            return None;
        }
    }
    Some(out)
}

fn range(text: &str) -> Error {
    Error::postgres("22008", format!("date/time field value out of range: \"{text}\""))
}

fn date_of(year: i64, month: u32, day: u32, text: &str, bc: bool) -> Result<i64> {
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    if year < 1 {
        return Err(range(text));
    }
    let year = if bc { 1 - year } else { year };
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    };
    if !(1..=12).contains(&month) || day < 1 || day > length {
        return Err(range(text));
    }
    let number = days(year, month, day);
    if (FIRST_DAY..=END_DAY).contains(&number) { Ok(number) } else { Err(range(text)) }
}

/// The pieces of a date that come one by one: `8 January 1999`.
#[derive(Default)]
struct Loose {
    numbers: Vec<(i64, usize)>,
    month: Option<u32>,
}

fn parse(text: &str, ty: &str) -> Result<Parsed> {
    let error = || invalid("22007", ty, text);
    let word = trim(text);
    for (name, positive) in [("infinity", true), ("+infinity", true), ("-infinity", false)] {
        if word.eq_ignore_ascii_case(name) {
            if ty == "time" {
                return Err(error());
            }
            return Ok(Parsed::Infinity(positive));
        }
    }
    let mut parts = Parts::default();
    if word.eq_ignore_ascii_case("epoch") {
        (parts.day, parts.time, parts.zone) = (Some(0), Some(0), Some(Zone::Offset(0)));
        return Ok(Parsed::Parts(parts));
    }
    let (mut loose, mut date, mut bc) = (Loose::default(), None, false);
    let mut pm = None;
    // The years of both digits before Christ are no short ones.
    let bc_follows = word.to_ascii_lowercase().ends_with("bc");
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        match first {
            c if c.is_ascii_whitespace() || c == ',' => rest = &rest[1..],
            '0'..='9' => {
                let end = rest
                    .find(|c: char| {
                        !(c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '/' | '-'))
                    })
                    .unwrap_or(rest.len());
                let mut piece = &rest[..end];
                let is_time = |p: &str| p.as_bytes().iter().take(3).any(|b| *b == b':');
                if is_time(piece) {
                    // What follows the digits of a time is its zone or AM/PM.
                    let stop = piece
                        .find(|c: char| !(c.is_ascii_digit() || matches!(c, ':' | '.')))
                        .unwrap_or(piece.len());
                    piece = &piece[..stop];
                    if parts.time.replace(clock(piece).ok_or_else(error)??).is_some() {
                        return Err(error());
                    }
                    rest = &rest[stop..];
                    continue;
                }
                // `2024-01-02T03:04:05`: the date ends at the T.
                if let Some(t) = piece
                    .find(['T', 't'])
                    .filter(|t| piece.as_bytes().get(t + 1).is_some_and(u8::is_ascii_digit))
                {
                    piece = &piece[..t];
                    rest = &rest[t + 1..];
                } else {
                    rest = &rest[end..];
                }
                let separator = if piece.contains('-') { '-' } else { '/' };
                let fields: Vec<&str> = piece.split(separator).collect();
                if let [number] = fields.as_slice() {
                    let first = date.is_none() && loose.numbers.is_empty() && loose.month.is_none();
                    let value: i64 = number.parse().map_err(|_| error())?;
                    let timely = date.is_some() || ty == "time";
                    if first && number.len() == 6 && !timely {
                        let (year, rest) = (value / 10_000, (value % 10_000) as u32);
                        date = Some((short_year(year), rest / 100, rest % 100));
                    } else if first && number.len() == 8 {
                        date = Some((
                            value / 10_000,
                            (value / 100 % 100) as u32,
                            (value % 100) as u32,
                        ));
                    } else if timely && number.len() == 6 && parts.time.is_none() {
                        // `20240102T030405`
                        let (h, m, s) = (value / 10_000, value / 100 % 100, value % 100);
                        let time = clock(&format!("{h}:{m}:{s}")).ok_or_else(error)??;
                        parts.time = Some(time);
                    } else {
                        loose.numbers.push((value, number.len()));
                    }
                    continue;
                }
                // What is left of `Jan-08-1999`.
                if let ([day, year], Some(_)) = (fields.as_slice(), loose.month) {
                    for field in [day, year] {
                        loose.numbers.push((field.parse().map_err(|_| error())?, field.len()));
                    }
                    continue;
                }
                let [a, b, c] = fields.as_slice() else { return Err(error()) };
                if date.is_some() {
                    return Err(error());
                }
                let number = |t: &str| -> Result<i64> {
                    if t.is_empty() || t.len() > 9 || !t.bytes().all(|b| b.is_ascii_digit()) {
                        return Err(error());
                    }
                    t.parse().map_err(|_| error())
                };
                let year = |t: &str| -> Result<i64> {
                    let value = number(t)?;
                    Ok(if t.len() > 2 || bc_follows { value } else { short_year(value) })
                };
                date = Some(if let Some(month) = month_named(b) {
                    // `8-Jan-1999` or `1999-Jan-08`
                    if a.len() > 2 {
                        (year(a)?, month, number(c)? as u32)
                    } else {
                        (year(c)?, month, number(a)? as u32)
                    }
                } else if a.len() > 2 {
                    (year(a)?, number(b)? as u32, number(c)? as u32)
                } else {
                    // MDY
                    (year(c)?, number(a)? as u32, number(b)? as u32)
                });
            }
            '+' | '-' if parts.time.is_some() && parts.zone.is_none() => {
                let end = rest[1..]
                    .find(|c: char| !(c.is_ascii_digit() || c == ':'))
                    .map_or(rest.len(), |e| e + 1);
                parts.zone = Some(Zone::Offset(offset(&rest[..end]).ok_or_else(|| {
                    Error::postgres(
                        "22009",
                        format!("time zone displacement out of range: \"{text}\""),
                    )
                })?));
                rest = &rest[end..];
            }
            c if c.is_ascii_alphabetic() => {
                let end = rest
                    .find(|c: char| {
                        !(c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '+' | '-'))
                    })
                    .unwrap_or(rest.len());
                // Only names of zones go on after letters: `America/New_York`, `Etc/GMT+5`.
                let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                let end = if rest[..end].contains('/') { end } else { letters };
                let name = &rest[..end];
                rest = &rest[end..];
                if name.eq_ignore_ascii_case("bc") {
                    bc = true;
                } else if name.eq_ignore_ascii_case("ad") {
                } else if name.eq_ignore_ascii_case("am") {
                    pm = Some(false);
                } else if name.eq_ignore_ascii_case("pm") {
                    pm = Some(true);
                } else if name.eq_ignore_ascii_case("t")
                    && rest.starts_with(|c: char| c.is_ascii_digit())
                {
                } else if let (Some(month), None) = (month_named(name), loose.month) {
                    loose.month = Some(month);
                    rest = rest.strip_prefix('-').unwrap_or(rest);
                } else if weekday(name) {
                } else if name.eq_ignore_ascii_case("allballs") && parts.time.is_none() {
                    (parts.time, parts.zone) = (Some(0), Some(Zone::Offset(0)));
                } else if ["now", "today", "tomorrow", "yesterday"]
                    .iter()
                    .any(|w| w.eq_ignore_ascii_case(name))
                {
                    return Err(Error::unsupported(format!("date/time input \"{name}\"")));
                } else if parts.zone.is_none() {
                    parts.zone = Some(match zone::abbreviation(name) {
                        Some(seconds) => Zone::Offset(seconds),
                        None if name.contains('/') => Zone::Named(zone::named(name)?),
                        None => match zone::named(name) {
                            Ok(zone) => Zone::Named(zone),
                            Err(_) => return Err(error()),
                        },
                    });
                } else {
                    return Err(error());
                }
            }
            _ => return Err(error()),
        }
    }
    if let (None, Some(month)) = (date, loose.month) {
        let (year, day) = match loose.numbers.as_slice() {
            [(a, width), (b, _)] if *width > 2 => (*a, *b),
            [(a, _), (b, width)] => (if *width > 2 || bc { *b } else { short_year(*b) }, *a),
            _ => return Err(error()),
        };
        date = Some((year, month, u32::try_from(day).map_err(|_| range(text))?));
    } else if !loose.numbers.is_empty() || loose.month.is_some() {
        return Err(error());
    }
    if let Some((year, month, day)) = date {
        parts.day = Some(date_of(year, month, day, text, bc)?);
    } else if bc {
        return Err(error());
    }
    if let (Some(pm), Some(time)) = (pm, &mut parts.time) {
        const NOON: i64 = DAY / 2;
        const HOUR: i64 = DAY / 24;
        if *time >= NOON + HOUR {
            return Err(range(text));
        }
        match (pm, *time >= NOON) {
            (true, false) => *time += NOON,
            (false, true) => *time -= NOON,
            _ => {}
        }
    } else if pm.is_some() {
        return Err(error());
    }
    Ok(Parsed::Parts(parts))
}

fn short_year(year: i64) -> i64 {
    if year < 70 { year + 2000 } else { year + 1900 }
}

fn month_named(name: &str) -> Option<u32> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let name = name.to_ascii_lowercase();
    let matches =
        |m: &&str| name == **m || name == m[..3] || (name == "sept" && m.starts_with("sep"));
    MONTHS.iter().position(matches).map(|at| at as u32 + 1)
}

fn weekday(name: &str) -> bool {
    const DAYS: [&str; 7] =
        ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let name = name.to_ascii_lowercase();
    DAYS.iter().any(|d| name == *d || name == d[..3])
}

/// A time of day: `hh:mm[:ss[.fraction]]`. `None` for what is none.
fn clock(text: &str) -> Option<Result<i64>> {
    let mut fields = text.split(':');
    let number = |t: &str| {
        (!t.is_empty() && t.len() <= 2 && t.bytes().all(|b| b.is_ascii_digit()))
            .then(|| t.parse::<i64>().ok())
            .flatten()
    };
    let (hours, minutes) = (number(fields.next()?)?, number(fields.next()?)?);
    let (seconds, micros) = match fields.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            (number(whole)?, fraction_micros(fraction)?)
        }
    };
    if fields.next().is_some() {
        return None;
    }
    let total = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + micros;
    if minutes > 59 || seconds > 60 || total > DAY {
        return Some(Err(range(text)));
    }
    Some(Ok(total))
}

/// Microseconds of the digits after a decimal point, rounded.
pub(super) fn fraction_micros(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut micros = 0;
    for i in 0..6 {
        micros = micros * 10 + i64::from(digits.as_bytes().get(i).map_or(0, |b| b - b'0'));
    }
    Some(micros + i64::from(digits.as_bytes().get(6).is_some_and(|b| *b >= b'5')))
}

/// `+hh`, `+hhmm`, `+hh:mm` or `+hh:mm:ss` in seconds.
fn offset(text: &str) -> Option<i32> {
    let (sign, digits) = (if text.starts_with('-') { -1 } else { 1 }, &text[1..]);
    let fields: Vec<&str> = match digits.split(':').collect::<Vec<_>>() {
        fields if fields.len() > 1 => fields,
        _ if digits.len() > 2 && digits.len() % 2 == 0 => {
            (0..digits.len()).step_by(2).map(|i| &digits[i..i + 2]).collect()
        }
        _ => vec![digits],
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for (i, field) in fields.iter().enumerate() {
        let value: i32 = (field.len() <= 2).then(|| field.parse().ok()).flatten()?;
        if i > 2 || (i == 0 && value > 15) || (i > 0 && value > 59) {
            return None;
        }
        seconds += value * unit;
        unit /= 60;
    }
    Some(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::super::to_string;
    use super::*;

    fn shown(text: &str) -> String {
        to_string(|o| write_timestamp(o, parse_timestamp(text).unwrap()))
    }

    #[test]
    fn timestamps_are_read_in_the_usual_forms() {
        for (text, iso) in [
            ("2024-02-29 12:34:56.789", "2024-02-29 12:34:56.789"),
            ("2024-02-29T12:34:56Z", "2024-02-29 12:34:56"),
            ("20240229 123456", "2024-02-29 12:34:56"),
            ("2/29/2024 1:02 PM", "2024-02-29 13:02:00"),
            ("February 29, 2024 12:34", "2024-02-29 12:34:00"),
            ("29 Feb 2024", "2024-02-29 00:00:00"),
            ("Thu Feb 29 12:34:56 2024", "2024-02-29 12:34:56"),
            ("0044-03-15 12:00:00 BC", "0044-03-15 12:00:00 BC"),
            ("2024-12-31 24:00:00", "2025-01-01 00:00:00"),
            ("2024-01-01 00:00:00.1234567", "2024-01-01 00:00:00.123457"),
            ("epoch", "1970-01-01 00:00:00"),
            ("infinity", "infinity"),
            ("12345-01-01", "12345-01-01 00:00:00"),
        ] {
            assert_eq!(shown(text), iso, "{text}");
        }
    }

    #[test]
    fn what_is_no_date_and_what_is_out_of_range_are_different_errors() {
        assert_eq!(parse_date("abc").unwrap_err().sqlstate(), "22007");
        assert_eq!(parse_date("").unwrap_err().sqlstate(), "22007");
        assert_eq!(parse_date("2023-02-29").unwrap_err().sqlstate(), "22008");
        assert_eq!(parse_date("2023-13-01").unwrap_err().sqlstate(), "22008");
        assert_eq!(parse_date("0000-01-01").unwrap_err().sqlstate(), "22008");
        assert_eq!(parse_timestamp("300000-01-01").unwrap_err().sqlstate(), "22008");
        assert_eq!(parse_date("today").unwrap_err().sqlstate(), "0A000");
        assert_eq!(parse_timestamp("2024-01-01 25:00:00").unwrap_err().sqlstate(), "22008");
    }

    #[test]
    fn a_timestamptz_is_shown_by_the_zones_clock() {
        let zoned = |text: &str, zone: Tz| {
            let at = parse_timestamptz(text, zone).unwrap();
            to_string(|o| write_timestamptz(o, at, &mut ZoneOffset::new(zone)))
        };
        assert_eq!(zoned("2024-01-01 00:00:00Z", Tz::Asia__Kolkata), "2024-01-01 05:30:00+05:30");
        assert_eq!(zoned("2024-07-01 12:00", Tz::America__New_York), "2024-07-01 12:00:00-04");
        assert_eq!(zoned("2024-07-01 12:00 Europe/Berlin", Tz::UTC), "2024-07-01 10:00:00+00");
        assert_eq!(zoned("2024-07-01 12:00:00.5-0330", Tz::UTC), "2024-07-01 15:30:00.5+00");
        assert_eq!(zoned("2024-07-01 12:00 EST", Tz::UTC), "2024-07-01 17:00:00+00");
    }

    #[test]
    fn every_day_of_the_calendar_reads_back() {
        for day in (FIRST_DAY..END_DAY).step_by(99_991) {
            let text = to_string(|o| write_date(o, day as i32));
            assert_eq!(i64::from(parse_date(&text).unwrap()), day, "{text}");
        }
    }
}
