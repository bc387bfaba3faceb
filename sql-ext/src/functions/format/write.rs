//! Times and intervals by a template.

use chrono::{DateTime, TimeZone};
use chrono_tz::{OffsetName, Tz};
use datafusion::common::Result;

use super::template::{self, DAYS, Field, Letters, MONTHS, Node, ROMAN, ordinal};
use crate::error::Error;
use crate::functions::datetime::iso_week;
use crate::text::datetime::{DAY, civil, days};
use crate::text::interval::Interval;

/// What a template writes: a time taken apart.
pub(super) struct Moment {
    interval: bool,
    /// The year as it is counted with a year 0.
    year: i64,
    month: i64,
    day: i64,
    /// Days since 1970 of a time.
    number: i64,
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    /// Seconds east of Greenwich and the zone's abbreviation.
    zone: Option<(i64, String)>,
}

impl Moment {
    pub(super) fn local(local: i64) -> Self {
        let number = local.div_euclid(DAY);
        let (year, month, day) = civil(number);
        let time = local.rem_euclid(DAY);
        Moment {
            interval: false,
            year,
            month: month.into(),
            day: day.into(),
            number,
            day_of_year: number - days(year, 1, 1) + 1,
            hour: time / 3_600_000_000,
            minute: time / 60_000_000 % 60,
            second: time / 1_000_000 % 60,
            micros: time % 1_000_000,
            zone: None,
        }
    }

    pub(super) fn zoned(local: i64, instant: i64, zone: Tz) -> Self {
        let name = DateTime::from_timestamp_micros(instant).map(|at| {
            let offset = zone.offset_from_utc_datetime(&at.naive_utc());
            offset.abbreviation().unwrap_or_default().to_owned()
        });
        let zone = Some(((local - instant) / 1_000_000, name.unwrap_or_default()));
        Moment { zone, ..Moment::local(local) }
    }

    pub(super) fn interval(i: Interval) -> Self {
        let (year, month) = (i64::from(i.months) / 12, i64::from(i.months) % 12);
        Moment {
            interval: true,
            year,
            month,
            day: i.days.into(),
            number: 0,
            day_of_year: i64::from(i.months) * 30 + i64::from(i.days),
            hour: i.micros / 3_600_000_000,
            minute: i.micros / 60_000_000 % 60,
            second: i.micros / 1_000_000 % 60,
            micros: i.micros % 1_000_000,
            zone: None,
        }
    }

    /// A year as it is shown: the one before 1 is 1 BC.
    fn shown_year(&self, year: i64) -> i64 {
        if self.interval || year > 0 { year } else { 1 - year }
    }
}

fn spelled(name: &str, letters: Letters) -> String {
    match letters {
        Letters::Upper => name.to_uppercase(),
        Letters::Capital => name.to_owned(),
        Letters::Lower => name.to_lowercase(),
    }
}

/// A number of so many digits, one more column where it is negative.
fn padded(number: i64, width: usize, fill: bool) -> String {
    if fill {
        return number.to_string();
    }
    let width = if number < 0 { width + 1 } else { width };
    format!("{number:0width$}")
}

/// The text of a moment.
///
/// # Errors
/// 22007 for a field that an interval has not.
pub(super) fn by_template(m: &Moment, template: &str) -> Result<String> {
    let mut out = String::new();
    for node in template::parse(template) {
        match node {
            Node::Separator(c) | Node::Text(c) => out.push(c),
            Node::Field { field, letters, fill, ordinal: suffix, .. } => {
                let Some((text, number)) = field_text(m, field, letters, fill)? else { continue };
                out.push_str(&text);
                if let (true, Some(suffix)) = (number, suffix) {
                    out.push_str(ordinal(&text, suffix));
                }
            }
        }
    }
    Ok(out)
}

/// The text of a field and whether it takes an ordinal's ending; `None` where there is none.
fn field_text(
    m: &Moment,
    field: Field,
    letters: Letters,
    fill: bool,
) -> Result<Option<(String, bool)>> {
    let of_time = || {
        if m.interval {
            return Err(Error::postgres(
                "22007",
                "invalid format specification for an interval value",
            )
            .with_hint("Intervals are not tied to specific calendar dates."));
        }
        Ok(())
    };
    let number = |n: i64, width: usize| Ok(Some((padded(n, width, fill), true)));
    let name = |name: &str, width: usize| {
        let text = spelled(name, letters);
        Ok(Some((if fill { text } else { format!("{text:<width$}") }, false)))
    };
    let plain = |text: String| Ok(Some((text, false)));
    let weekday = (m.number + 4).rem_euclid(7);
    match field {
        Field::Meridiem(points) => {
            let text = match (m.hour.rem_euclid(24) >= 12, points) {
                (true, true) => "P.M.",
                (true, false) => "PM",
                (false, true) => "A.M.",
                (false, false) => "AM",
            };
            plain(spelled(text, letters))
        }
        Field::Era(points) => {
            of_time()?;
            let text = match (m.year <= 0, points) {
                (true, true) => "B.C.",
                (true, false) => "BC",
                (false, true) => "A.D.",
                (false, false) => "AD",
            };
            plain(spelled(text, letters))
        }
        Field::Hour12 => number(if m.hour % 12 == 0 { 12 } else { m.hour % 12 }, 2),
        Field::Hour24 => number(m.hour, 2),
        Field::Minute => number(m.minute, 2),
        Field::Second => number(m.second, 2),
        Field::Milliseconds => number(m.micros / 1000, 3),
        Field::Microseconds => number(m.micros, 6),
        Field::Fraction(digits) => {
            let divisor = 10i64.pow(6 - u32::from(digits));
            number(m.micros / divisor, digits.into())
        }
        Field::SecondOfDay => {
            Ok(Some(((m.hour * 3600 + m.minute * 60 + m.second).to_string(), true)))
        }
        Field::Zone => {
            of_time()?;
            let zone = m.zone.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
            plain(if letters == Letters::Lower { zone.to_lowercase() } else { zone })
        }
        Field::ZoneHours => {
            of_time()?;
            let offset = m.zone.as_ref().map_or(0, |(offset, _)| *offset);
            let sign = if offset >= 0 { '+' } else { '-' };
            plain(format!("{sign}{:02}", offset.abs() / 3600))
        }
        Field::ZoneMinutes => {
            of_time()?;
            let offset = m.zone.as_ref().map_or(0, |(offset, _)| *offset);
            plain(format!("{:02}", offset.abs() % 3600 / 60))
        }
        Field::Offset => {
            of_time()?;
            let offset = m.zone.as_ref().map_or(0, |(offset, _)| *offset);
            let sign = if offset >= 0 { '+' } else { '-' };
            let mut text = format!("{sign}{}", padded(offset.abs() / 3600, 2, fill));
            if offset % 3600 != 0 {
                text.push_str(&format!(":{:02}", offset.abs() % 3600 / 60));
            }
            plain(text)
        }
        Field::MonthName | Field::MonthShort => {
            of_time()?;
            let month = MONTHS.get(m.month as usize - 1).copied().unwrap_or_default();
            if field == Field::MonthName { name(month, 9) } else { name(&month[..3], 3) }
        }
        Field::Month => number(m.month, 2),
        Field::Day | Field::DayShort => {
            of_time()?;
            let day = DAYS[weekday as usize];
            if field == Field::Day { name(day, 9) } else { name(&day[..3], 3) }
        }
        Field::DayOfYear => number(m.day_of_year, 3),
        Field::IsoDayOfYear => {
            let (year, _) = iso_week(m.number);
            number(m.number - iso_year_start(year) + 1, 3)
        }
        Field::DayOfMonth => number(m.day, 2),
        Field::DayOfWeek => {
            of_time()?;
            number(weekday + 1, 1)
        }
        Field::IsoDayOfWeek => {
            of_time()?;
            number(if weekday == 0 { 7 } else { weekday }, 1)
        }
        Field::WeekOfYear => number((m.day_of_year - 1) / 7 + 1, 2),
        Field::IsoWeek => number(iso_week(m.number).1, 2),
        Field::WeekOfMonth => number((m.day - 1) / 7 + 1, 1),
        Field::Quarter if m.month == 0 => Ok(None),
        Field::Quarter => number((m.month - 1) / 3 + 1, 1),
        Field::Century => {
            let century = if m.interval {
                m.year / 100
            } else if m.year > 0 {
                (m.year - 1) / 100 + 1
            } else {
                m.year / 100 - 1
            };
            number(century, if century.abs() <= 99 { 2 } else { 1 })
        }
        Field::YearComma => {
            let year = m.shown_year(m.year);
            Ok(Some((format!("{},{:03}", year / 1000, year % 1000), true)))
        }
        Field::Year(digits) | Field::IsoYear(digits) => {
            let year = match field {
                Field::IsoYear(_) if !m.interval => iso_week(m.number).0,
                _ => m.year,
            };
            let year = m.shown_year(year);
            let shown = if digits == 4 { year } else { year % 10i64.pow(digits.into()) };
            number(shown, digits.into())
        }
        Field::Roman if m.month == 0 && m.year == 0 => Ok(None),
        Field::Roman => {
            let month = (m.month - 1).rem_euclid(12);
            name(ROMAN[month as usize], 4).map(|found| {
                found.map(|(text, n)| match letters {
                    Letters::Lower => (text.to_lowercase(), n),
                    _ => (text.to_uppercase(), n),
                })
            })
        }
        Field::Julian => {
            if m.interval {
                return number(m.day_of_year, 1);
            }
            number(m.number + 2_440_588, 1)
        }
        Field::Fixed => Ok(None),
    }
}

/// The first day of an ISO year.
pub(super) fn iso_year_start(year: i64) -> i64 {
    let fourth = days(year, 1, 4);
    fourth - (fourth + 3).rem_euclid(7)
}
