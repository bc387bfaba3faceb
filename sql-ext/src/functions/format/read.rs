//! Times read by a template.

use datafusion::common::{DataFusionError, Result};

use super::template::{self, DAYS, Field, MONTHS, Node, ROMAN, is_separator};
use super::write::iso_year_start;
use crate::error::Error;
use crate::text::datetime::{DAY, days};

/// What was read: a local time, and the offset in seconds where the text has one.
pub(super) struct Read {
    pub(super) micros: i64,
    pub(super) offset: Option<i32>,
}

#[derive(Default)]
struct Parts {
    year: Option<i64>,
    /// The year has two digits at most, and a century stands elsewhere.
    short_year: bool,
    century: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    week: Option<i64>,
    week_of_month: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    weekday: Option<i64>,
    iso_day_of_year: Option<i64>,
    julian: Option<i64>,
    hour: Option<i64>,
    twelve: bool,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    second_of_day: Option<i64>,
    micros: i64,
    zone_sign: i32,
    zone_hours: Option<i32>,
    zone_minutes: i32,
}

struct Source<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Source<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn blanks(&mut self) -> i32 {
        let mut count = 0;
        while let Some(c) = self.next().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
            count += 1;
        }
        count
    }

    /// An integer of at most `width` characters, or of any number of them.
    fn integer(&mut self, width: usize, open: bool, word: &str) -> Result<(i64, usize)> {
        self.blanks();
        let rest = self.rest();
        let limit = if open {
            rest.len()
        } else {
            rest.char_indices().nth(width).map_or(rest.len(), |(at, _)| at)
        };
        let piece = &rest[..limit];
        let sign = usize::from(piece.starts_with(['-', '+']));
        let digits = piece[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let taken = sign + digits;
        if digits == 0 {
            let shown: String = rest.chars().take(if open { usize::MAX } else { width }).collect();
            return Err(bad(format!("invalid value \"{shown}\" for \"{word}\""))
                .with_detail("Value must be an integer.")
                .into());
        }
        if !open && taken < width && piece.len() < width {
            let message = format!("source string too short for \"{word}\" formatting field");
            return Err(bad(message)
                .with_detail(format!(
                    "Field requires {width} characters, but only {} remain.",
                    piece.chars().count()
                ))
                .with_hint(
                    "If your source string is not fixed-width, try using the \"FM\" modifier.",
                )
                .into());
        }
        if !open && taken < width {
            let message = format!("invalid value \"{piece}\" for \"{word}\"");
            return Err(bad(message)
                .with_detail(format!(
                    "Field requires {width} characters, but only {taken} could be parsed."
                ))
                .with_hint(
                    "If your source string is not fixed-width, try using the \"FM\" modifier.",
                )
                .into());
        }
        let value: i64 = piece[..taken].parse().map_err(|_| {
            Error::postgres(
                "22008",
                format!("value for \"{word}\" in source string is out of range"),
            )
        })?;
        self.at += taken;
        Ok((value, digits))
    }

    /// Which of the words the text goes on with, by their first `letters` letters.
    fn one_of(&mut self, words: &[&str], letters: Option<usize>, word: &str) -> Result<usize> {
        self.blanks();
        let rest = self.rest();
        let mut best = None;
        for (i, candidate) in words.iter().enumerate() {
            let wanted = letters.map_or(*candidate, |n| &candidate[..n.min(candidate.len())]);
            let hit = rest.get(..wanted.len()).is_some_and(|t| t.eq_ignore_ascii_case(wanted));
            if hit && best.is_none_or(|(_, length)| length < wanted.len()) {
                best = Some((i, wanted.len()));
            }
        }
        match best {
            Some((i, length)) => {
                self.at += length;
                Ok(i)
            }
            None => {
                let shown: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
                Err(bad(format!("invalid value \"{shown}\" for \"{word}\""))
                    .with_detail(
                        "The given value did not match any of the allowed values for this field.",
                    )
                    .into())
            }
        }
    }
}

fn bad(message: String) -> Error {
    Error::postgres("22007", message)
}

/// Years of fewer than four digits lie around 2020.
fn around_2020(year: i64) -> i64 {
    match year {
        0..=69 => year + 2000,
        70..=99 => year + 1900,
        100..=519 => year + 2000,
        520..=999 => year + 1000,
        _ => year,
    }
}

/// Reads a text.
///
/// # Errors
/// 22007 where it does not match, 22008 for what is out of range.
pub(super) fn by_template(text: &str, template: &str) -> Result<Read> {
    let nodes = template::parse(template);
    let mut source = Source { text, at: 0 };
    let mut parts = Parts { zone_sign: 1, ..Parts::default() };
    let fixed = nodes.iter().any(|n| matches!(n, Node::Field { field: Field::Fixed, .. }));
    let mut skipped = 0;
    for (i, node) in nodes.iter().enumerate() {
        if source.rest().is_empty() {
            break;
        }
        if !fixed && (i == 0 || !matches!(node, Node::Text(_))) {
            skipped += source.blanks();
        }
        match node {
            Node::Separator(_) if !fixed => {
                skipped -= 1;
                if let Some(c) = source.next().filter(|c| c.is_whitespace() || is_separator(*c)) {
                    source.at += c.len_utf8();
                    skipped += 1;
                }
            }
            Node::Text(_) if !fixed && skipped > 0 => skipped -= 1,
            Node::Separator(_) | Node::Text(_) => {
                source.at += source.next().map_or(0, char::len_utf8);
            }
            Node::Field { field, word, fill, ordinal, .. } => {
                let open = *fill || next_separates(&nodes[i..]);
                let before = source.at;
                take(&mut source, &mut parts, *field, word, open)?;
                if ordinal.is_some() && source.at > before {
                    let ending = source.rest().chars().take(2).map(char::len_utf8).sum::<usize>();
                    source.at += ending;
                }
                if !fixed {
                    skipped = source.blanks();
                }
            }
        }
    }
    assemble(text, &parts)
}

/// Whether a number may have any length, for what follows is no number.
fn next_separates(nodes: &[Node]) -> bool {
    if matches!(nodes.first(), Some(Node::Field { ordinal: Some(_), .. })) {
        return true;
    }
    match nodes.get(1) {
        None => true,
        Some(Node::Field { field, .. }) => !field.is_number(),
        Some(Node::Separator(c) | Node::Text(c)) => !c.is_ascii_digit(),
    }
}

fn take(s: &mut Source<'_>, p: &mut Parts, field: Field, word: &str, open: bool) -> Result<()> {
    match field {
        Field::Fixed => {}
        Field::Meridiem(points) => {
            let words: &[&str] = if points { &["a.m.", "p.m."] } else { &["am", "pm"] };
            p.afternoon = Some(s.one_of(words, None, word)? == 1);
            p.twelve = true;
        }
        Field::Era(points) => {
            let words: &[&str] = if points { &["a.d.", "b.c."] } else { &["ad", "bc"] };
            p.before_christ = s.one_of(words, None, word)? == 1;
        }
        Field::Century => p.century = Some(s.integer(2, open, word)?.0),
        Field::Day => drop(s.one_of(&DAYS, None, word)?),
        Field::DayShort => drop(s.one_of(&DAYS, Some(3), word)?),
        Field::DayOfYear => p.day_of_year = Some(s.integer(3, open, word)?.0),
        Field::DayOfMonth => p.day = Some(s.integer(2, open, word)?.0),
        Field::DayOfWeek => p.weekday = Some((s.integer(1, open, word)?.0 + 5) % 7 + 1),
        Field::IsoDayOfYear => p.iso_day_of_year = Some(s.integer(3, open, word)?.0),
        Field::IsoDayOfWeek => p.weekday = Some(s.integer(1, open, word)?.0),
        Field::IsoWeek => p.iso_week = Some(s.integer(2, open, word)?.0),
        Field::WeekOfYear => p.week = Some(s.integer(2, open, word)?.0),
        Field::WeekOfMonth => p.week_of_month = Some(s.integer(1, open, word)?.0),
        Field::IsoYear(width) => {
            let (year, digits) = s.integer(width.into(), open, word)?;
            p.iso_year = Some(if digits < 4 && width < 4 { around_2020(year) } else { year });
        }
        Field::Year(width) => {
            let (year, digits) = s.integer(width.into(), open, word)?;
            p.short_year = width <= 2;
            p.year = Some(if digits < 4 && width < 4 { around_2020(year) } else { year });
        }
        Field::YearComma => {
            let (thousands, _) = s.integer(1, true, word)?;
            if s.next() == Some(',') {
                s.at += 1;
                p.year = Some(thousands * 1000 + s.integer(3, false, word)?.0);
            } else {
                return Err(bad(format!("invalid input string for \"{word}\"")).into());
            }
        }
        Field::Fraction(width) => {
            let (value, digits) = s.integer(width.into(), open, word)?;
            p.micros += fraction(value, digits)?;
        }
        Field::Milliseconds => {
            let (value, digits) = s.integer(3, open, word)?;
            p.micros += fraction(value, digits)?;
        }
        Field::Microseconds => {
            let (value, digits) = s.integer(6, open, word)?;
            p.micros += fraction(value, digits)?;
        }
        Field::Hour24 => p.hour = Some(s.integer(2, open, word)?.0),
        Field::Hour12 => {
            p.hour = Some(s.integer(2, open, word)?.0);
            p.twelve = true;
        }
        Field::Minute => p.minute = s.integer(2, open, word)?.0,
        Field::Second => p.second = s.integer(2, open, word)?.0,
        Field::SecondOfDay => p.second_of_day = Some(s.integer(5, open, word)?.0),
        Field::Julian => p.julian = Some(s.integer(7, true, word)?.0),
        Field::Month => p.month = Some(s.integer(2, open, word)?.0),
        Field::MonthName => p.month = Some(s.one_of(&MONTHS, None, word)? as i64 + 1),
        Field::MonthShort => p.month = Some(s.one_of(&MONTHS, Some(3), word)? as i64 + 1),
        Field::Roman => p.month = Some(s.one_of(&ROMAN, None, word)? as i64 + 1),
        // Read and ignored, as PostgreSQL does.
        Field::Quarter => drop(s.integer(1, open, word)?),
        Field::Zone => {
            let message = format!("formatting field \"{word}\" is only supported in to_char");
            return Err(Error::postgres("0A000", message).into());
        }
        Field::ZoneHours | Field::Offset => {
            if let Some(c) = s.next().filter(|c| matches!(c, '+' | '-' | ' ')) {
                p.zone_sign = if c == '-' { -1 } else { 1 };
                s.at += 1;
            }
            p.zone_hours = Some(s.integer(2, open, word)?.0 as i32);
            if field == Field::Offset && s.next() == Some(':') {
                s.at += 1;
                p.zone_minutes = s.integer(2, open, word)?.0 as i32;
            }
        }
        Field::ZoneMinutes => p.zone_minutes = s.integer(2, open, word)?.0 as i32,
    }
    Ok(())
}

/// Digits after the point as microseconds.
fn fraction(value: i64, digits: usize) -> Result<i64> {
    let power = u32::try_from(6_usize.saturating_sub(digits)).unwrap_or(0);
    value
        .checked_mul(10i64.pow(power))
        .ok_or_else(|| Error::postgres("22008", "date/time field value out of range").into())
}

fn assemble(text: &str, p: &Parts) -> Result<Read> {
    let range = || -> DataFusionError {
        Error::postgres("22008", format!("date/time field value out of range: \"{text}\"")).into()
    };
    let mut year = p.year.unwrap_or(0);
    if let Some(century) = p.century {
        year = match p.year {
            Some(short) if p.short_year => (century - 1) * 100 + short % 100,
            Some(long) => long,
            None => (century - 1) * 100 + 1,
        };
    }
    if p.before_christ && year > 0 {
        year = 1 - year;
    } else if year < 0 {
        year += 1;
    }
    let mut day = if let Some(julian) = p.julian {
        julian - 2_440_588
    } else if let Some(iso_year) = p.iso_year {
        let start = iso_year_start(iso_year);
        match (p.iso_week, p.iso_day_of_year) {
            (_, Some(day)) => start + day - 1,
            (week, None) => start + (week.unwrap_or(1) - 1) * 7 + p.weekday.unwrap_or(1) - 1,
        }
    } else if let Some(of_year) = p.day_of_year {
        if !(1..=366).contains(&of_year) {
            return Err(range());
        }
        days(year, 1, 1) + of_year - 1
    } else if let (Some(week), None) = (p.week, p.month) {
        days(year, 1, 1) + (week - 1) * 7
    } else {
        let month = p.month.unwrap_or(1);
        let of_month = match (p.day, p.week_of_month) {
            (Some(day), _) => day,
            (None, Some(week)) => (week - 1) * 7 + 1,
            (None, None) => 1,
        };
        if !(1..=12).contains(&month) {
            return Err(range());
        }
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let length = days(next_year, next as u32, 1) - days(year, month as u32, 1);
        if !(1..=length).contains(&of_month) {
            return Err(range());
        }
        days(year, month as u32, 1) + of_month - 1
    };
    let mut hour = p.hour.unwrap_or(0);
    if p.twelve && p.hour.is_some() {
        if !(1..=12).contains(&hour) {
            let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
            return Err(Error::postgres("22007", message)
                .with_hint("Use the 24-hour clock, or give an hour between 1 and 12.")
                .into());
        }
        match p.afternoon {
            Some(true) if hour < 12 => hour += 12,
            Some(false) if hour == 12 => hour = 0,
            _ => {}
        }
    }
    let (mut minute, mut second) = (p.minute, p.second);
    if let Some(of_day) = p.second_of_day {
        if !(0..86_400).contains(&of_day) {
            return Err(range());
        }
        (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    }
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
        return Err(range());
    }
    if hour == 24 && (minute > 0 || second > 0) {
        return Err(range());
    }
    let time = ((hour * 60 + minute) * 60 + second) * 1_000_000 + p.micros;
    day += time.div_euclid(DAY);
    let micros =
        day.checked_mul(DAY).and_then(|d| d.checked_add(time.rem_euclid(DAY))).ok_or_else(range)?;
    let offset = p.zone_hours.map(|hours| p.zone_sign * (hours * 3600 + p.zone_minutes * 60));
    Ok(Read { micros, offset })
}
