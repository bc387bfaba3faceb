//! `interval`: months, days and microseconds that are kept apart.

use super::datetime::{fraction_micros, write_fraction};
use super::number::{trim, write_int, write_padded};
use super::{Out, invalid};
use crate::error::{Error, Result};

const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

/// A span of months, days and microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months, years among them.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

/// Writes an interval in an `IntervalStyle`: `postgres`, `postgres_verbose`, `sql_standard` or
/// `iso_8601`.
pub fn write(out: &mut Out, value: Interval, style: &str) {
    match style {
        "postgres_verbose" => verbose(out, value),
        "sql_standard" => sql_standard(out, value),
        "iso_8601" => iso_8601(out, value),
        _ => postgres(out, value),
    }
}

fn write_clock(out: &mut Out, micros: u64, hour_width: usize) {
    write_padded(out, micros / HOUR as u64, hour_width);
    out.extend_from_slice(b":");
    write_padded(out, micros / MINUTE as u64 % 60, 2);
    out.extend_from_slice(b":");
    write_padded(out, micros / SECOND as u64 % 60, 2);
    write_fraction(out, (micros % SECOND as u64) as i64);
}

fn postgres(out: &mut Out, value: Interval) {
    let (mut empty, mut negative) = (true, false);
    for (amount, unit) in
        [(value.months / 12, " year"), (value.months % 12, " mon"), (value.days, " day")]
    {
        if amount == 0 {
            continue;
        }
        if !empty {
            out.extend_from_slice(b" ");
        }
        // A sign that changes is shown.
        if negative && amount > 0 {
            out.extend_from_slice(b"+");
        }
        write_int(out, i64::from(amount));
        out.extend_from_slice(unit.as_bytes());
        if amount != 1 {
            out.extend_from_slice(b"s");
        }
        (empty, negative) = (false, amount < 0);
    }
    if value.micros != 0 || empty {
        if !empty {
            out.extend_from_slice(b" ");
        }
        if value.micros < 0 {
            out.extend_from_slice(b"-");
        } else if negative {
            out.extend_from_slice(b"+");
        }
        write_clock(out, value.micros.unsigned_abs(), 2);
    }
}

fn verbose(out: &mut Out, value: Interval) {
    out.extend_from_slice(b"@");
    let (mut empty, mut ago) = (true, false);
    let micros = value.micros;
    let mut unit = |out: &mut Out, amount: i64, name: &str, fraction: i64, negative: bool| {
        if amount == 0 && fraction == 0 {
            return;
        }
        // The first amount decides whether the whole is `ago`; later ones are relative to it.
        if empty {
            ago = negative;
        }
        out.extend_from_slice(if !empty && negative != ago { b" -" } else { b" " });
        write_padded(out, amount.unsigned_abs(), 1);
        write_fraction(out, fraction);
        out.extend_from_slice(name.as_bytes());
        // Only of seconds is one below the others in the singular.
        let singular = empty || negative == ago || name == " sec";
        if amount.unsigned_abs() != 1 || fraction != 0 || !singular {
            out.extend_from_slice(b"s");
        }
        empty = false;
    };
    let (years, months) = (i64::from(value.months / 12), i64::from(value.months % 12));
    unit(out, years, " year", 0, years < 0);
    unit(out, months, " mon", 0, months < 0);
    unit(out, i64::from(value.days), " day", 0, value.days < 0);
    let before = micros < 0;
    unit(out, micros / HOUR, " hour", 0, before);
    unit(out, micros / MINUTE % 60, " min", 0, before);
    unit(out, micros / SECOND % 60, " sec", (micros % SECOND).abs(), before);
    if empty {
        out.extend_from_slice(b" 0");
    }
    if ago {
        out.extend_from_slice(b" ago");
    }
}

fn sql_standard(out: &mut Out, value: Interval) {
    let Interval { months, days, micros } = value;
    let negative = months < 0 || days < 0 || micros < 0;
    let positive = months > 0 || days > 0 || micros > 0;
    let parts = usize::from(months != 0) + usize::from(days != 0 || micros != 0);
    let sign = |negative: bool| if negative { b"-" } else { b"+" };
    if !negative && !positive {
        out.extend_from_slice(b"0");
    } else if (negative && positive) || parts > 1 {
        // Not the standard's: every part has its sign.
        out.extend_from_slice(sign(months < 0));
        write_padded(out, u64::from((months / 12).unsigned_abs()), 1);
        out.extend_from_slice(b"-");
        write_padded(out, u64::from((months % 12).unsigned_abs()), 1);
        out.extend_from_slice(b" ");
        out.extend_from_slice(sign(days < 0));
        write_padded(out, u64::from(days.unsigned_abs()), 1);
        out.extend_from_slice(b" ");
        out.extend_from_slice(sign(micros < 0));
        write_clock(out, micros.unsigned_abs(), 1);
    } else {
        if negative {
            out.extend_from_slice(b"-");
        }
        if months != 0 {
            write_padded(out, u64::from((months / 12).unsigned_abs()), 1);
            out.extend_from_slice(b"-");
            write_padded(out, u64::from((months % 12).unsigned_abs()), 1);
        } else {
            if days != 0 {
                write_padded(out, u64::from(days.unsigned_abs()), 1);
                out.extend_from_slice(b" ");
            }
            write_clock(out, micros.unsigned_abs(), 1);
        }
    }
}

fn iso_8601(out: &mut Out, value: Interval) {
    let Interval { months, days, micros } = value;
    if months == 0 && days == 0 && micros == 0 {
        out.extend_from_slice(b"PT0S");
        return;
    }
    let unit = |out: &mut Out, amount: i64, unit: u8| {
        if amount != 0 {
            write_int(out, amount);
            out.extend_from_slice(&[unit]);
        }
    };
    out.extend_from_slice(b"P");
    unit(out, i64::from(months / 12), b'Y');
    unit(out, i64::from(months % 12), b'M');
    unit(out, i64::from(days), b'D');
    if micros != 0 {
        out.extend_from_slice(b"T");
        unit(out, micros / HOUR, b'H');
        unit(out, micros / MINUTE % 60, b'M');
        let rest = micros % MINUTE;
        if rest != 0 {
            if rest < 0 {
                out.extend_from_slice(b"-");
            }
            write_padded(out, rest.unsigned_abs() / SECOND as u64, 1);
            write_fraction(out, (rest % SECOND).abs());
            out.extend_from_slice(b"S");
        }
    }
}

/// A number of the text: its whole part and its fraction in millionths, both with its sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    millionths: i64,
}

impl Number {
    fn parse(text: &str) -> Option<Number> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let sign = if negative { -1 } else { 1 };
        if !whole.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
        Some(Number { whole: sign * whole, millionths: sign * fraction_micros(fraction)? })
    }
}

#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    micros: i64,
}

impl Sum {
    /// Adds an amount of a unit; `None` on overflow.
    fn add(&mut self, number: Number, unit: Unit) -> Option<()> {
        let Number { whole, millionths } = number;
        match unit {
            Unit::Micros(size) => {
                // A fraction is rounded to microseconds.
                let part = i128::from(millionths) * i128::from(size);
                let rounded = (part + part.signum() * 500_000) / 1_000_000;
                self.micros = self
                    .micros
                    .checked_add(whole.checked_mul(size)?)?
                    .checked_add(i64::try_from(rounded).ok()?)?;
            }
            Unit::Days(size) => {
                self.days = self.days.checked_add(whole.checked_mul(size)?)?;
                let part = millionths * size;
                self.days = self.days.checked_add(part / 1_000_000)?;
                self.micros = self.micros.checked_add(part % 1_000_000 * 86_400)?;
            }
            Unit::Months(size) => {
                self.months = self.months.checked_add(whole.checked_mul(size)?)?;
                let part = millionths * size;
                if size == 1 {
                    // A fraction of a month is of its 30 days.
                    return self.add(
                        Number { whole: 0, millionths: part.checked_mul(30)? },
                        Unit::Days(1),
                    );
                }
                // A fraction of a year is rounded to months.
                self.months =
                    self.months.checked_add((part + part.signum() * 500_000) / 1_000_000)?;
            }
        }
        Some(())
    }
}

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Days(i64),
    Micros(i64),
}

/// Every unit may be there once.
fn once(seen: &mut Vec<(u8, i64)>, unit: Unit) -> Option<Unit> {
    let key = match unit {
        Unit::Months(size) => (0, size),
        Unit::Days(size) => (1, size),
        Unit::Micros(size) => (2, size),
    };
    if seen.contains(&key) {
        return None;
    }
    seen.push(key);
    Some(unit)
}

fn unit(name: &str) -> Option<Unit> {
    Some(match name.to_ascii_lowercase().as_str() {
        "millennium" | "millennia" | "mil" | "mils" => Unit::Months(12_000),
        "century" | "centuries" | "cent" | "c" => Unit::Months(1_200),
        "decade" | "decades" | "dec" | "decs" => Unit::Months(120),
        "year" | "years" | "yr" | "yrs" | "y" => Unit::Months(12),
        "month" | "months" | "mon" | "mons" => Unit::Months(1),
        "week" | "weeks" | "w" => Unit::Days(7),
        "day" | "days" | "d" => Unit::Days(1),
        "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Micros(HOUR),
        "minute" | "minutes" | "min" | "mins" | "m" => Unit::Micros(MINUTE),
        "second" | "seconds" | "sec" | "secs" | "s" => Unit::Micros(SECOND),
        "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" | "msecond" | "mseconds" => {
            Unit::Micros(1_000)
        }
        "microsecond" | "microseconds" | "usec" | "usecs" | "us" | "usecond" | "useconds" => {
            Unit::Micros(1)
        }
        _ => return None,
    })
}

/// Reads an interval: `1 day 02:03:04`, `1 year 2 mons`, `1-2`, `P1DT2H`, `@ 1 hour ago`.
///
/// # Errors
/// 22007 for what is none, 22015 for one that is out of range.
pub fn parse(text: &str) -> Result<Interval> {
    let error = || invalid("22007", "interval", text);
    let range =
        || Error::postgres("22015", format!("interval field value out of range: \"{text}\""));
    let word = trim(text);
    let sum = match word.strip_prefix(['P', 'p']) {
        Some(rest) => iso(rest).ok_or_else(error)?,
        None => verbose_sum(word).ok_or_else(error)?,
    };
    let Some(sum) = sum else { return Err(range()) };
    Ok(Interval {
        months: i32::try_from(sum.months).map_err(|_| range())?,
        days: i32::try_from(sum.days).map_err(|_| range())?,
        micros: sum.micros,
    })
}

/// The outer option is whether it is an interval, the inner one whether it is in range.
type Parsed = Option<Option<Sum>>;

fn iso(text: &str) -> Parsed {
    let (mut sum, mut rest, mut time, mut any) = (Sum::default(), text, false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']) {
            if time {
                return None;
            }
            (time, rest, any) = (true, after, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let number = Number::parse(&rest[..end])?;
        let unit = match (rest.as_bytes()[end].to_ascii_uppercase(), time) {
            (b'Y', false) => Unit::Months(12),
            (b'M', false) => Unit::Months(1),
            (b'W', false) => Unit::Days(7),
            (b'D', false) => Unit::Days(1),
            (b'H', true) => Unit::Micros(HOUR),
            (b'M', true) => Unit::Micros(MINUTE),
            (b'S', true) => Unit::Micros(SECOND),
            _ => return None,
        };
        if sum.add(number, unit).is_none() {
            return Some(None);
        }
        any = true;
        rest = &rest[end + 1..];
    }
    any.then_some(Some(sum))
}

fn verbose_sum(text: &str) -> Parsed {
    let mut sum = Sum::default();
    let mut seen = Vec::new();
    let (mut any, mut ago, mut pending) = (false, false, None::<Number>);
    let mut rest = text.strip_prefix('@').unwrap_or(text).trim_start();
    let add = |sum: &mut Sum, number, unit| sum.add(number, unit).is_some();
    while !rest.is_empty() {
        let first = rest.as_bytes()[0];
        if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let name = &rest[..end];
            rest = rest[end..].trim_start();
            if name.eq_ignore_ascii_case("ago") {
                if !any || !rest.is_empty() || pending.is_some() {
                    return None;
                }
                ago = true;
                continue;
            }
            if !add(&mut sum, pending.take()?, once(&mut seen, unit(name)?)?) {
                return Some(None);
            }
            any = true;
            continue;
        }
        if !(first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.')) {
            return None;
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, c)| !(c.is_ascii_digit() || matches!(c, '.' | ':' | '-')))
            .map_or(rest.len(), |(at, _)| at);
        let piece = &rest[..end];
        rest = rest[end..].trim_start();
        let (negative, unsigned) = match piece.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, piece.strip_prefix('+').unwrap_or(piece)),
        };
        let sign = if negative { -1 } else { 1 };
        if unsigned.contains(':') {
            // A number before a clock is of days.
            if let Some(days) = pending.take()
                && !add(&mut sum, days, Unit::Days(1))
            {
                return Some(None);
            }
            let fields: Vec<&str> = unsigned.split(':').collect();
            let units: &[i64] = match fields.as_slice() {
                // `mm:ss.f` if there is a fraction, else `hh:mm`.
                [_, second] if second.contains('.') => &[MINUTE, SECOND],
                [_, _] => &[HOUR, MINUTE],
                [_, _, _] => &[HOUR, MINUTE, SECOND],
                _ => return None,
            };
            for (i, (field, unit)) in fields.iter().zip(units).enumerate() {
                if field.is_empty() || field.starts_with(['-', '+']) {
                    return None;
                }
                let number = Number::parse(field)?;
                once(&mut seen, Unit::Micros(*unit))?;
                if i > 0 && number.whole > 59 {
                    return Some(None);
                }
                let number =
                    Number { whole: sign * number.whole, millionths: sign * number.millionths };
                if !add(&mut sum, number, Unit::Micros(*unit)) {
                    return Some(None);
                }
            }
            any = true;
        } else if let Some((years, months)) = unsigned.split_once('-') {
            let (years, months) = (Number::parse(years)?, Number::parse(months)?);
            if months.whole > 11 {
                return Some(None);
            }
            let total = years.whole.checked_mul(12).and_then(|y| y.checked_add(months.whole));
            let Some(total) = total else { return Some(None) };
            sum.months += sign * total;
            any = true;
        } else {
            // Two numbers in a row are none, unless the second is a clock.
            if pending.replace(Number::parse(piece)?).is_some() {
                return None;
            }
        }
    }
    // A number without a unit is of seconds.
    if let Some(seconds) = pending {
        if !add(&mut sum, seconds, Unit::Micros(SECOND)) {
            return Some(None);
        }
        any = true;
    }
    if !any {
        return None;
    }
    if ago {
        (sum.months, sum.days) = (-sum.months, -sum.days);
        let Some(micros) = sum.micros.checked_neg() else { return Some(None) };
        sum.micros = micros;
    }
    Some(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::super::to_string;
    use super::*;

    fn shown(text: &str, style: &str) -> String {
        to_string(|o| write(o, parse(text).unwrap(), style))
    }

    #[test]
    fn intervals_are_written_in_all_styles() {
        let mixed = "1 year 2 mons -3 days 04:05:06.789";
        assert_eq!(shown(mixed, "postgres"), "1 year 2 mons -3 days +04:05:06.789");
        assert_eq!(
            shown(mixed, "postgres_verbose"),
            "@ 1 year 2 mons -3 days 4 hours 5 mins 6.789 secs"
        );
        assert_eq!(shown(mixed, "sql_standard"), "+1-2 -3 +4:05:06.789");
        assert_eq!(shown(mixed, "iso_8601"), "P1Y2M-3DT4H5M6.789S");
        assert_eq!(shown("0", "postgres"), "00:00:00");
        assert_eq!(shown("0", "postgres_verbose"), "@ 0");
        assert_eq!(shown("1 day ago", "postgres"), "-1 days");
        assert_eq!(shown("1 day ago", "postgres_verbose"), "@ 1 day ago");
    }

    #[test]
    fn intervals_are_read_in_all_forms() {
        let of = |months, days, micros| Interval { months, days, micros };
        for (text, value) in [
            ("1 day 02:03:04", of(0, 1, 7_384_000_000)),
            ("1-2", of(14, 0, 0)),
            ("-1-2", of(-14, 0, 0)),
            ("P1DT2H", of(0, 1, 2 * HOUR)),
            ("1.5 hours", of(0, 0, HOUR * 3 / 2)),
            ("1.5 days", of(0, 1, 12 * HOUR)),
            ("1.5 months", of(1, 15, 0)),
            ("1.5 years", of(18, 0, 0)),
            ("30", of(0, 0, 30 * SECOND)),
            ("3 4:05", of(0, 3, 4 * HOUR + 5 * MINUTE)),
            ("@ 1 hour 2 mins ago", of(0, 0, -HOUR - 2 * MINUTE)),
            ("2 weeks", of(0, 14, 0)),
            ("-00:00:01.5", of(0, 0, -1_500_000)),
            ("1h30m", of(0, 0, HOUR + 30 * MINUTE)),
        ] {
            assert_eq!(parse(text).unwrap(), value, "{text}");
        }
        for text in ["", "day", "1 fortnight", "1 2", "P", "abc"] {
            assert_eq!(parse(text).unwrap_err().sqlstate(), "22007", "{text}");
        }
        assert_eq!(parse("3000000000 months").unwrap_err().sqlstate(), "22015");
    }
}
