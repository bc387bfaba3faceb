//! Ranges and multiranges: `[1,10)`, `{[1,2),[5,6)}`.
//!
//! A range is kept as the text of its canonical form, its bounds as their types write them in UTC,
//! a numeric without zeros at its end. So equal ranges have equal texts.

use std::cmp::Ordering;

use chrono_tz::Tz;
use chronos_catalog::SqlType;
use chronos_catalog::schema::OtherType;

use super::number::{self, parse_int};
use super::zone::ZoneOffset;
use super::{TextSettings, datetime, to_string};
use crate::error::{Error, Result};

/// A bound's value.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// As its type writes it.
    pub text: String,
    /// Bytes that are ordered as the values are.
    key: Vec<u8>,
    /// The integer, day or microsecond that it is.
    number: i64,
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Bound {}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// Bytes that are ordered as integers are.
pub(crate) fn number_key(number: i64) -> [u8; 8] {
    (number as u64 ^ 1 << 63).to_be_bytes()
}

impl Bound {
    /// Reads a bound of that type.
    pub(crate) fn parse(ty: &SqlType, text: &str, zone: Tz) -> Result<Bound> {
        Ok(match ty {
            SqlType::Int4 => {
                Self::of(ty, parse_int(text, i32::MIN.into(), i32::MAX.into(), "integer")?)
            }
            SqlType::Int8 => Self::of(ty, parse_int(text, i64::MIN, i64::MAX, "bigint")?),
            SqlType::Date => Self::of(ty, datetime::parse_date(text)?.into()),
            SqlType::Timestamp => Self::of(ty, datetime::parse_timestamp(text)?),
            SqlType::Timestamptz => Self::of(ty, datetime::parse_timestamptz(text, zone)?),
            _ => {
                let (text, key) = decimal(text)?;
                Bound { text, key, number: 0 }
            }
        })
    }

    fn of(ty: &SqlType, number: i64) -> Bound {
        let text = match ty {
            SqlType::Date => to_string(|out| datetime::write_date(out, number as i32)),
            SqlType::Timestamp => to_string(|out| datetime::write_timestamp(out, number)),
            SqlType::Timestamptz => to_string(|out| {
                datetime::write_timestamptz(out, number, &mut ZoneOffset::new(Tz::UTC));
            }),
            _ => number.to_string(),
        };
        Bound { text, key: number_key(number).to_vec(), number }
    }

    /// The value after it, of a type that has one.
    fn next(&self, ty: &SqlType) -> Result<Option<Bound>> {
        let overflow = |what: &str| Err(Error::postgres("22003", format!("{what} out of range")));
        Ok(Some(match ty {
            SqlType::Int4 if self.number >= i32::MAX.into() => return overflow("integer"),
            SqlType::Int8 if self.number == i64::MAX => return overflow("bigint"),
            SqlType::Date if [i32::MAX.into(), i32::MIN.into()].contains(&self.number) => {
                return Ok(None);
            }
            SqlType::Int4 | SqlType::Int8 | SqlType::Date => Self::of(ty, self.number + 1),
            _ => return Ok(None),
        }))
    }
}

/// A numeric's text without zeros at its end, and its key.
fn decimal(text: &str) -> Result<(String, Vec<u8>)> {
    let wrong = || super::invalid("22P02", "numeric", text);
    let word = number::trim(text);
    let (negative, body) = match word.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    match body.to_ascii_lowercase().as_str() {
        "nan" if body.len() == word.len() => return Ok(("NaN".into(), vec![5])),
        "infinity" | "inf" if negative => return Ok(("-Infinity".into(), vec![0])),
        "infinity" | "inf" => return Ok(("Infinity".into(), vec![4])),
        _ => {}
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| wrong())?),
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let zeros = all.bytes().take_while(|b| *b == b'0').count();
    let digits = all[zeros..].trim_end_matches('0');
    if digits.is_empty() {
        return Ok(("0".into(), vec![2]));
    }
    // Digits before the point.
    let point = whole.len() as i64 - zeros as i64 + i64::from(exponent);
    if !(-16_383..=131_072).contains(&point) || digits.len() as i64 - point > 16_383 {
        return Err(Error::postgres("22003", "value overflows numeric format"));
    }
    let mut text = String::from(if negative { "-" } else { "" });
    match usize::try_from(point) {
        Ok(point) if point > 0 => {
            let head = digits.len().min(point);
            text.push_str(&digits[..head]);
            text.extend(std::iter::repeat_n('0', point - head));
            if digits.len() > point {
                text.push('.');
                text.push_str(&digits[point..]);
            }
        }
        _ => {
            text.push_str("0.");
            text.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
            text.push_str(digits);
        }
    }
    let mut key = ((point + (1 << 20)) as u32).to_be_bytes().to_vec();
    key.extend(digits.bytes().map(|b| b - b'0' + 1));
    key.push(0);
    if negative {
        key.iter_mut().for_each(|b| *b = !*b);
    }
    key.insert(0, if negative { 1 } else { 3 });
    Ok((text, key))
}

/// A range in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub empty: bool,
    /// `None` is without end.
    pub lower: Option<Bound>,
    pub lower_inclusive: bool,
    pub upper: Option<Bound>,
    pub upper_inclusive: bool,
}

/// One end of a range.
#[derive(Clone, Copy)]
struct End<'a> {
    value: Option<&'a Bound>,
    inclusive: bool,
    lower: bool,
}

impl End<'_> {
    fn cmp(self, other: End<'_>) -> Ordering {
        let infinite = |lower: bool| if lower { Ordering::Less } else { Ordering::Greater };
        match (self.value, other.value) {
            (None, None) if self.lower == other.lower => Ordering::Equal,
            (None, _) => infinite(self.lower),
            (_, None) => infinite(other.lower).reverse(),
            (Some(a), Some(b)) => a.cmp(b).then_with(|| {
                let side = |end: &End<'_>| match (end.inclusive, end.lower) {
                    (true, _) => 0,
                    (false, true) => 1,
                    (false, false) => -1,
                };
                side(&self).cmp(&side(&other))
            }),
        }
    }
}

impl Range {
    pub(crate) const EMPTY: Range = Range {
        empty: true,
        lower: None,
        lower_inclusive: false,
        upper: None,
        upper_inclusive: false,
    };

    /// A range of these bounds.
    ///
    /// # Errors
    /// 22000 for bounds in the wrong order.
    pub(crate) fn new(
        ty: &SqlType,
        (lower, lower_inclusive): (Option<Bound>, bool),
        (upper, upper_inclusive): (Option<Bound>, bool),
    ) -> Result<Range> {
        let mut range = Range {
            empty: false,
            lower_inclusive: lower_inclusive && lower.is_some(),
            upper_inclusive: upper_inclusive && upper.is_some(),
            lower,
            upper,
        };
        if let (Some(lower), Some(upper)) = (&range.lower, &range.upper) {
            match lower.cmp(upper) {
                Ordering::Greater => {
                    return Err(Error::postgres(
                        "22000",
                        "range lower bound must be less than or equal to range upper bound",
                    ));
                }
                Ordering::Equal if !(range.lower_inclusive && range.upper_inclusive) => {
                    return Ok(Range::EMPTY);
                }
                _ => {}
            }
        }
        // Of integers and days: the lower bound within, the upper without.
        if !range.lower_inclusive
            && let Some(bound) = &range.lower
            && let Some(next) = bound.next(ty)?
        {
            (range.lower, range.lower_inclusive) = (Some(next), true);
        }
        if range.upper_inclusive
            && let Some(bound) = &range.upper
            && let Some(next) = bound.next(ty)?
        {
            (range.upper, range.upper_inclusive) = (Some(next), false);
        }
        if let (Some(lower), Some(upper)) = (&range.lower, &range.upper)
            && (lower > upper
                || lower == upper && !(range.lower_inclusive && range.upper_inclusive))
        {
            return Ok(Range::EMPTY);
        }
        Ok(range)
    }

    fn low(&self) -> End<'_> {
        End { value: self.lower.as_ref(), inclusive: self.lower_inclusive, lower: true }
    }

    fn high(&self) -> End<'_> {
        End { value: self.upper.as_ref(), inclusive: self.upper_inclusive, lower: false }
    }

    /// The order of ranges: the empty one, then by lower and by upper bound.
    pub(crate) fn cmp(&self, other: &Range) -> Ordering {
        match (self.empty, other.empty) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => {
                self.low().cmp(other.low()).then_with(|| self.high().cmp(other.high()))
            }
        }
    }

    pub(crate) fn holds(&self, value: &Bound) -> bool {
        let end = |lower| End { value: Some(value), inclusive: true, lower };
        !self.empty && self.low().cmp(end(true)).is_le() && self.high().cmp(end(false)).is_ge()
    }

    fn contains(&self, other: &Range) -> bool {
        other.empty
            || !self.empty
                && self.low().cmp(other.low()).is_le()
                && self.high().cmp(other.high()).is_ge()
    }

    fn overlaps(&self, other: &Range) -> bool {
        !self.empty
            && !other.empty
            && self.low().cmp(other.high()).is_le()
            && other.low().cmp(self.high()).is_le()
    }

    /// Whether the other begins where it ends, with nothing between nor in common.
    fn meets(&self, other: &Range) -> bool {
        match (&self.upper, &other.lower) {
            (Some(a), Some(b)) if !self.empty && !other.empty => {
                a == b && self.upper_inclusive != other.lower_inclusive
            }
            _ => false,
        }
    }

    fn adjacent(&self, other: &Range) -> bool {
        self.meets(other) || other.meets(self)
    }

    /// The least range with both in it.
    pub(crate) fn merged(&self, other: &Range) -> Range {
        if self.empty {
            return other.clone();
        }
        if other.empty {
            return self.clone();
        }
        let low = if self.low().cmp(other.low()).is_le() { self } else { other };
        let high = if self.high().cmp(other.high()).is_ge() { self } else { other };
        Range {
            empty: false,
            lower: low.lower.clone(),
            lower_inclusive: low.lower_inclusive,
            upper: high.upper.clone(),
            upper_inclusive: high.upper_inclusive,
        }
    }

    fn common(&self, other: &Range) -> Range {
        if !self.overlaps(other) {
            return Range::EMPTY;
        }
        let low = if self.low().cmp(other.low()).is_ge() { self } else { other };
        let high = if self.high().cmp(other.high()).is_le() { self } else { other };
        Range {
            empty: false,
            lower: low.lower.clone(),
            lower_inclusive: low.lower_inclusive,
            upper: high.upper.clone(),
            upper_inclusive: high.upper_inclusive,
        }
    }

    /// What is before and after the other.
    fn without(&self, other: &Range) -> Vec<Range> {
        if !self.overlaps(other) {
            return if self.empty { Vec::new() } else { vec![self.clone()] };
        }
        let mut rest = Vec::new();
        if self.low().cmp(other.low()).is_lt() {
            rest.push(Range {
                upper: other.lower.clone(),
                upper_inclusive: other.lower.is_some() && !other.lower_inclusive,
                ..self.clone()
            });
        }
        if self.high().cmp(other.high()).is_gt() {
            rest.push(Range {
                lower: other.upper.clone(),
                lower_inclusive: other.upper.is_some() && !other.upper_inclusive,
                ..self.clone()
            });
        }
        rest
    }

    fn text(&self) -> String {
        if self.empty {
            return "empty".to_owned();
        }
        let bound =
            |bound: &Option<Bound>| bound.as_ref().map_or_else(String::new, |b| quoted(&b.text));
        format!(
            "{}{},{}{}",
            if self.lower_inclusive { '[' } else { '(' },
            bound(&self.lower),
            bound(&self.upper),
            if self.upper_inclusive { ']' } else { ')' },
        )
    }

    fn key(&self, key: &mut Vec<u8>) {
        if self.empty {
            key.push(0);
            return;
        }
        key.push(1);
        match &self.lower {
            None => key.push(0),
            Some(lower) => {
                key.push(1);
                key.extend_from_slice(&lower.key);
                key.push(u8::from(!self.lower_inclusive));
            }
        }
        match &self.upper {
            None => key.push(2),
            Some(upper) => {
                key.push(1);
                key.extend_from_slice(&upper.key);
                key.push(u8::from(self.upper_inclusive));
            }
        }
    }

    /// The range of this text in the bounds' own notation.
    fn in_zone(&self, zone: Tz) -> Range {
        let moved = |bound: &Option<Bound>| {
            bound.as_ref().map(|bound| {
                let text = to_string(|out| {
                    datetime::write_timestamptz(out, bound.number, &mut ZoneOffset::new(zone));
                });
                Bound { text, ..bound.clone() }
            })
        };
        Range { lower: moved(&self.lower), upper: moved(&self.upper), ..self.clone() }
    }
}

/// A bound in quotes where it could be taken for something else.
pub fn quoted(text: &str) -> String {
    let special = |c: char| {
        matches!(c, '"' | '\\' | '(' | ')' | '[' | ']' | ',')
            || c.is_ascii_whitespace()
            || c == '\x0b'
    };
    if !text.is_empty() && !text.contains(special) {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The ranges of a range or multirange: one for a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// Not empty, in order, with something between each two; a range as it is.
    pub list: Vec<Range>,
    /// The type of the bounds.
    pub bound: SqlType,
}

impl Ranges {
    /// In order, without the empty ones, those joined that touch.
    pub(crate) fn normal(bound: &SqlType, mut list: Vec<Range>) -> Ranges {
        list.retain(|range| !range.empty);
        list.sort_by(Range::cmp);
        let mut joined: Vec<Range> = Vec::with_capacity(list.len());
        for range in list {
            match joined.last_mut() {
                Some(last) if last.overlaps(&range) || last.adjacent(&range) => {
                    *last = last.merged(&range);
                }
                _ => joined.push(range),
            }
        }
        Ranges { list: joined, bound: bound.clone() }
    }

    /// Reads the text of a range or multirange; `zone` is that of bounds which name none.
    pub(crate) fn parse(ty: OtherType, text: &str, zone: Tz) -> Result<Ranges> {
        Self::read(ty, text, &TextSettings { time_zone: zone, ..TextSettings::default() })
    }

    /// Reads the text of a range or multirange as a session means it.
    pub(crate) fn read(ty: OtherType, text: &str, settings: &TextSettings) -> Result<Ranges> {
        let bound = ty.bound().ok_or_else(|| super::internal("no range type"))?;
        if ty.range().is_none() {
            let mut reader = Reader { text, at: 0, kind: "range" };
            let range = reader.range(&bound, settings)?;
            reader.end("Junk after right parenthesis or bracket.")?;
            return Ok(Ranges { list: vec![range], bound });
        }
        let mut reader = Reader { text, at: 0, kind: "multirange" };
        let list = reader.multirange(&bound, settings)?;
        Ok(Ranges::normal(&bound, list))
    }

    /// The text that is kept of it.
    pub(crate) fn text(&self, ty: OtherType) -> String {
        if ty.range().is_none() {
            return self.list.first().unwrap_or(&Range::EMPTY).text();
        }
        let texts: Vec<String> = self.list.iter().map(Range::text).collect();
        format!("{{{}}}", texts.join(","))
    }

    pub(crate) fn key(&self, ty: OtherType) -> Vec<u8> {
        let mut key = Vec::new();
        if ty.range().is_none() {
            self.list.first().unwrap_or(&Range::EMPTY).key(&mut key);
            return key;
        }
        for range in &self.list {
            key.push(1);
            range.key(&mut key);
        }
        key.push(0);
        key
    }

    fn present(&self) -> impl Iterator<Item = &Range> {
        self.list.iter().filter(|range| !range.empty)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present().next().is_none()
    }

    pub(crate) fn first(&self) -> Option<&Range> {
        self.present().next()
    }

    pub(crate) fn last(&self) -> Option<&Range> {
        self.list.iter().rev().find(|range| !range.empty)
    }

    /// From its first to its last bound.
    pub(crate) fn merged(&self) -> Range {
        self.present().fold(Range::EMPTY, |all, range| all.merged(range))
    }

    pub(crate) fn holds(&self, value: &Bound) -> bool {
        self.list.iter().any(|range| range.holds(value))
    }

    pub(crate) fn contains(&self, other: &Ranges) -> bool {
        other.present().all(|inner| self.list.iter().any(|range| range.contains(inner)))
    }

    pub(crate) fn overlaps(&self, other: &Ranges) -> bool {
        self.list.iter().any(|a| other.list.iter().any(|b| a.overlaps(b)))
    }

    /// Whether two that are not empty are so; empty ones are not.
    fn ends(&self, other: &Ranges, holds: impl Fn(Ends<'_>, Ends<'_>) -> bool) -> bool {
        match (self.first(), self.last(), other.first(), other.last()) {
            (Some(a), Some(b), Some(c), Some(d)) => holds((a, b), (c, d)),
            _ => false,
        }
    }

    pub(crate) fn before(&self, other: &Ranges) -> bool {
        self.ends(other, |(_, last), (first, _)| last.high().cmp(first.low()).is_lt())
    }

    pub(crate) fn not_right_of(&self, other: &Ranges) -> bool {
        self.ends(other, |(_, a), (_, b)| a.high().cmp(b.high()).is_le())
    }

    pub(crate) fn not_left_of(&self, other: &Ranges) -> bool {
        self.ends(other, |(a, _), (b, _)| a.low().cmp(b.low()).is_ge())
    }

    pub(crate) fn adjacent(&self, other: &Ranges) -> bool {
        self.ends(other, |(a, b), (c, d)| b.meets(c) || d.meets(a))
    }

    pub(crate) fn union(&self, other: &Ranges) -> Ranges {
        Self::normal(&self.bound, self.list.iter().chain(&other.list).cloned().collect())
    }

    pub(crate) fn common(&self, other: &Ranges) -> Ranges {
        let pairs = self.list.iter().flat_map(|a| other.list.iter().map(|b| a.common(b)));
        Self::normal(&self.bound, pairs.collect())
    }

    pub(crate) fn without(&self, other: &Ranges) -> Ranges {
        let mut rest: Vec<Range> = self.present().cloned().collect();
        for range in other.present() {
            rest = rest.iter().flat_map(|piece| piece.without(range)).collect();
        }
        // A piece of integers or days may hold none; its bounds are canonical already.
        Self::normal(&self.bound, rest)
    }
}

/// The first and the last range of several.
type Ends<'a> = (&'a Range, &'a Range);

/// A range or multirange of instants by the clock of a zone.
///
/// # Errors
/// Those of reading it.
pub fn shown(ty: OtherType, text: &str, zone: Tz) -> Result<String> {
    let mut ranges = Ranges::parse(ty, text, Tz::UTC)?;
    for range in &mut ranges.list {
        *range = range.in_zone(zone);
    }
    Ok(ranges.text(ty))
}

/// A range taken apart: whether each bound is within, and its text where it has one; `None` for
/// the empty range.
pub type Parts = Option<[(bool, Option<String>); 2]>;

/// The parts of the ranges of a range or multirange as it is kept.
///
/// # Errors
/// Those of reading it.
pub fn parts(ty: OtherType, text: &str) -> Result<Vec<Parts>> {
    let ranges = Ranges::parse(ty, text, Tz::UTC)?;
    let parts = ranges.list.into_iter().map(|range| {
        let text = |bound: Option<Bound>| bound.map(|b| b.text);
        (!range.empty).then(|| {
            [(range.lower_inclusive, text(range.lower)), (range.upper_inclusive, text(range.upper))]
        })
    });
    Ok(parts.collect())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    kind: &'static str,
}

impl Reader<'_> {
    fn malformed(&self, detail: &str) -> Error {
        let message = format!("malformed {} literal: \"{}\"", self.kind, self.text);
        Error::postgres("22P02", message).with_detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace() || b == 0x0b) {
            self.at += 1;
        }
    }

    fn end(&mut self, detail: &str) -> Result<()> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(self.malformed(detail)) }
    }

    fn range(&mut self, ty: &SqlType, settings: &TextSettings) -> Result<Range> {
        self.blanks();
        let rest = &self.text[self.at..];
        if rest.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("empty")) {
            self.at += 5;
            if self.kind == "range" {
                self.end("Junk after \"empty\" key word.")?;
            }
            return Ok(Range::EMPTY);
        }
        let lower_inclusive = match self.peek() {
            Some(b'[') => true,
            Some(b'(') => false,
            _ => return Err(self.malformed("Missing left parenthesis or bracket.")),
        };
        self.at += 1;
        let lower = self.bound()?;
        if self.peek() != Some(b',') {
            return Err(self.malformed("Missing comma after lower bound."));
        }
        self.at += 1;
        let upper = self.bound()?;
        let upper_inclusive = match self.peek() {
            Some(b']') => true,
            Some(b')') => false,
            _ => return Err(self.malformed("Too many commas.")),
        };
        self.at += 1;
        let read = |text: Option<String>| match text {
            Some(text) => {
                let text = match ty {
                    SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz => {
                        super::words::expand(&text, settings)
                    }
                    _ => text.as_str().into(),
                };
                Bound::parse(ty, &text, settings.time_zone).map(Some)
            }
            None => Ok(None),
        };
        Range::new(ty, (read(lower)?, lower_inclusive), (read(upper)?, upper_inclusive))
    }

    /// A bound's text; `None` where there is none.
    fn bound(&mut self) -> Result<Option<String>> {
        if matches!(self.peek(), Some(b',' | b')' | b']')) {
            return Ok(None);
        }
        let mut text = String::new();
        let mut quotes = false;
        let mut chars = self.text[self.at..].char_indices().peekable();
        let ended = loop {
            match chars.next() {
                None => break None,
                Some((at, ',' | ')' | ']')) if !quotes => break Some(at),
                Some((_, '\\')) => match chars.next() {
                    Some((_, c)) => text.push(c),
                    None => break None,
                },
                Some((_, '"')) if !quotes => quotes = true,
                Some((_, '"')) if chars.peek().is_some_and(|(_, c)| *c == '"') => {
                    chars.next();
                    text.push('"');
                }
                Some((_, '"')) => quotes = false,
                Some((_, c)) => text.push(c),
            }
        };
        let Some(ended) = ended else { return Err(self.malformed("Unexpected end of input.")) };
        self.at += ended;
        Ok(Some(text))
    }

    fn multirange(&mut self, ty: &SqlType, settings: &TextSettings) -> Result<Vec<Range>> {
        self.blanks();
        if self.peek() != Some(b'{') {
            return Err(self.malformed("Missing left brace."));
        }
        self.at += 1;
        let mut list = Vec::new();
        loop {
            self.blanks();
            match self.peek() {
                Some(b'}') if list.is_empty() => break,
                Some(b'[' | b'(' | b'e' | b'E') => list.push(self.range(ty, settings)?),
                None => return Err(self.malformed("Unexpected end of input.")),
                _ => return Err(self.malformed("Expected range start.")),
            }
            self.blanks();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                None => return Err(self.malformed("Unexpected end of input.")),
                _ => return Err(self.malformed("Expected comma or end of multirange.")),
            }
        }
        self.at += 1;
        self.end("Junk after closing right brace.")?;
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ty: OtherType, text: &str) -> String {
        Ranges::parse(ty, text, Tz::UTC).unwrap().text(ty)
    }

    #[test]
    fn ranges_are_read_in_their_canonical_form() {
        use OtherType as O;
        for (ty, given, kept) in [
            (O::Int4range, "[1,10]", "[1,11)"),
            (O::Int4range, " ( 1 , 3 ) ", "[2,3)"),
            (O::Int4range, "(1,2)", "empty"),
            (O::Int4range, "(,5]", "(,6)"),
            (O::Int4range, "EMPTY", "empty"),
            (O::Numrange, "[1.50,2.0]", "[1.5,2]"),
            (O::Numrange, "[-1e-3,\"1e3\"]", "[-0.001,1000]"),
            (O::Daterange, "[2024-02-28,2024-02-29]", "[2024-02-28,2024-03-01)"),
            (O::Tsrange, "[2024-01-01,]", "[\"2024-01-01 00:00:00\",)"),
            (O::Int4multirange, "{[1,2),[2,4),(10,12],empty}", "{[1,4),[11,13)}"),
            (O::Int8multirange, "{}", "{}"),
        ] {
            assert_eq!(text(ty, given), kept);
        }
        for (ty, given, code) in [
            (O::Int4range, "[2,1]", "22000"),
            (O::Int4range, "[1,2", "22P02"),
            (O::Int4range, "[1]", "22P02"),
            (O::Int4range, "[1,2)x", "22P02"),
            (O::Int4range, "[1,2147483647]", "22003"),
            (O::Int4multirange, "{[1,2),}", "22P02"),
        ] {
            let error = Ranges::parse(ty, given, Tz::UTC).unwrap_err();
            assert_eq!(error.sqlstate(), code, "{given}");
        }
    }

    #[test]
    fn keys_are_ordered_as_ranges_are() {
        let ascending = [
            "empty",
            "(,-5)",
            "(,)",
            "[-10,-9.5)",
            "[-10,-9.5]",
            "(-10,0)",
            "[0,1)",
            "[1,10)",
            "[1,)",
        ];
        let keys: Vec<_> = ascending
            .iter()
            .map(|t| {
                Ranges::parse(OtherType::Numrange, t, Tz::UTC).unwrap().key(OtherType::Numrange)
            })
            .collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    }
}
