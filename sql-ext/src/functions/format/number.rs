//! Numbers by a template.

use datafusion::common::Result;

use super::template::{Ordinal, ordinal};
use crate::error::Error;

/// One part of a template of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `9`, or `0` which always shows a digit.
    Digit(bool),
    Point,
    Comma,
    Sign(Sign),
    Currency,
    Ordinal(Ordinal),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// `S`
    Anchored,
    /// `MI`
    Minus,
    /// `PL`
    Plus,
    /// `SG`
    Both,
    /// `PR`
    Brackets,
}

#[derive(Default)]
struct Template {
    parts: Vec<Part>,
    fill: bool,
    roman: Option<bool>,
    exponent: bool,
    blank: bool,
    /// Digits after `V`.
    shift: Option<usize>,
}

impl Template {
    fn parse(text: &str) -> Result<Template> {
        let mut t = Template::default();
        let mut rest = text;
        let syntax = |message: &str| Err(Error::postgres("42601", message).into());
        while let Some(first) = rest.chars().next() {
            let upper: String = rest.chars().take(4).collect::<String>().to_uppercase();
            let starts = |word: &str| upper.starts_with(word);
            let (part, length) = match first {
                '9' | '0' => {
                    if t.exponent {
                        return syntax("\"EEEE\" must be the last pattern used");
                    }
                    if let Some(shift) = &mut t.shift {
                        *shift += 1;
                    }
                    (Some(Part::Digit(first == '0')), 1)
                }
                '.' => (Some(Part::Point), 1),
                ',' => (Some(Part::Comma), 1),
                '"' => {
                    let (mut inner, mut length, mut escaped) = (String::new(), rest.len(), false);
                    for (at, c) in rest[1..].char_indices() {
                        match c {
                            '\\' if !escaped => escaped = true,
                            '"' if !escaped => {
                                length = at + 2;
                                break;
                            }
                            c => {
                                inner.push(c);
                                escaped = false;
                            }
                        }
                    }
                    (Some(Part::Text(inner)), length)
                }
                '\\' if rest[1..].starts_with('"') => (Some(Part::Text("\"".to_owned())), 2),
                _ if starts("EEEE") => {
                    t.exponent = true;
                    (None, 4)
                }
                _ if starts("FM") => {
                    t.fill = true;
                    (None, 2)
                }
                _ if starts("MI") => (Some(Part::Sign(Sign::Minus)), 2),
                _ if starts("PL") => (Some(Part::Sign(Sign::Plus)), 2),
                _ if starts("PR") => (Some(Part::Sign(Sign::Brackets)), 2),
                _ if starts("SG") => (Some(Part::Sign(Sign::Both)), 2),
                _ if starts("RN") => {
                    t.roman = Some(first == 'R');
                    (None, 2)
                }
                _ if starts("TH") => {
                    let kind = if first == 'T' { Ordinal::Upper } else { Ordinal::Lower };
                    (Some(Part::Ordinal(kind)), 2)
                }
                _ if starts("S") => (Some(Part::Sign(Sign::Anchored)), 1),
                _ if starts("D") => (Some(Part::Point), 1),
                _ if starts("G") => (Some(Part::Comma), 1),
                _ if starts("L") => (Some(Part::Currency), 1),
                _ if starts("B") => {
                    t.blank = true;
                    (None, 1)
                }
                _ if starts("V") => {
                    t.shift = Some(0);
                    (None, 1)
                }
                other => (Some(Part::Text(other.to_string())), other.len_utf8()),
            };
            t.parts.extend(part);
            rest = &rest[length..];
        }
        let points = t.parts.iter().filter(|p| **p == Part::Point).count();
        if points > 1 {
            return syntax("multiple decimal points");
        }
        if t.shift.is_some() && points > 0 {
            return syntax("cannot use \"V\" and decimal point together");
        }
        let signs: Vec<Sign> = t
            .parts
            .iter()
            .filter_map(|p| match p {
                Part::Sign(sign) => Some(*sign),
                _ => None,
            })
            .collect();
        if signs.iter().filter(|s| **s == Sign::Anchored).count() > 1 {
            return syntax("cannot use \"S\" twice");
        }
        if signs.contains(&Sign::Anchored) && signs.len() > 1 {
            return syntax("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
        }
        Ok(t)
    }

    fn has(&self, sign: Sign) -> bool {
        self.parts.contains(&Part::Sign(sign))
    }

    /// Digits before and after the point.
    fn digits(&self) -> (usize, usize) {
        let point = self.parts.iter().position(|p| *p == Part::Point);
        let count = |parts: &[Part]| parts.iter().filter(|p| matches!(p, Part::Digit(_))).count();
        match point {
            Some(at) => (count(&self.parts[..at]), count(&self.parts[at..])),
            None => (count(&self.parts), 0),
        }
    }
}

/// A decimal text rounded half away from zero: sign, digits before and after the point.
fn rounded(text: &str, scale: usize) -> (bool, String, String) {
    let negative = text.starts_with('-');
    let digits = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let keep = whole.len() + scale;
    let up = all.get(keep).is_some_and(|d| *d >= b'5');
    all.resize(keep, b'0');
    if up {
        let mut at = keep;
        loop {
            if at == 0 {
                all.insert(0, b'1');
                break;
            }
            at -= 1;
            if all[at] < b'9' {
                all[at] += 1;
                break;
            }
            all[at] = b'0';
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (whole, fraction) = text.split_at(text.len() - scale);
    let whole = whole.trim_start_matches('0').to_owned();
    let zero = whole.is_empty() && fraction.bytes().all(|d| d == b'0');
    (negative && !zero, whole, fraction.to_owned())
}

/// A number's text through a template.
///
/// # Errors
/// 42601 for a template that is none.
pub(super) fn by_template(number: &str, template: &str) -> Result<String> {
    let t = Template::parse(template)?;
    if let Some(upper) = t.roman {
        let text = roman(number);
        let text = if upper { text } else { text.to_lowercase() };
        return Ok(if t.fill { text } else { format!("{text:>15}") });
    }
    let (before, after) = t.digits();
    if t.exponent {
        return Ok(scientific(number, after, &t));
    }
    let shifted;
    let (number, before) = match t.shift {
        Some(shift) => {
            shifted = move_point(number, shift);
            (shifted.as_str(), before)
        }
        None => (number, before),
    };
    let (negative, whole, fraction) = rounded(number, after);
    let overflow = whole.len() > before;
    let anchored = t.has(Sign::Anchored);
    // A sign of its own place leaves none before the number.
    let own_column = !anchored && !t.has(Sign::Minus) && !t.has(Sign::Both);
    let brackets = t.has(Sign::Brackets);
    let first_digit = t.parts.iter().position(|p| matches!(p, Part::Digit(_)));
    let anchor_first =
        anchored && t.parts.iter().position(|p| *p == Part::Sign(Sign::Anchored)) < first_digit;
    // Where nothing stands before the point, and nothing after it, a zero is shown.
    let lone_zero = whole.is_empty() && after == 0;
    let zeros_from = t
        .parts
        .iter()
        .filter(|p| matches!(p, Part::Digit(_)))
        .position(|p| *p == Part::Digit(true));
    let mut body = String::new();
    let mut started = false;
    let mut place = 0;
    let mut past_point = false;
    let mut places_after = 0;
    let last_zero = last_zero_after_point(&t);
    let last_digit =
        fraction.bytes().rposition(|d| d != b'0').map_or(0, |at| at + 1).max(last_zero);
    let blank = t.blank && whole.is_empty() && fraction.bytes().all(|d| d == b'0');
    let sign_text = |out: &mut String| {
        if brackets {
            out.push_str(if negative {
                "<"
            } else if t.fill {
                ""
            } else {
                " "
            });
        } else if anchored {
            if anchor_first {
                out.push(if negative { '-' } else { '+' });
            }
        } else if own_column {
            out.push_str(if negative {
                "-"
            } else if t.fill {
                ""
            } else {
                " "
            });
        }
    };
    for part in &t.parts {
        match part {
            Part::Digit(_) if past_point => {
                if overflow {
                    body.push('#');
                } else if !(t.fill && places_after >= last_digit) {
                    body.push(fraction.as_bytes().get(places_after).map_or('0', |d| *d as char));
                }
                places_after += 1;
            }
            Part::Digit(_) => {
                let from_right = before - place;
                let forced = zeros_from.is_some_and(|from| place >= from);
                let digit = if overflow {
                    Some('#')
                } else if from_right <= whole.len() {
                    Some(whole.as_bytes()[whole.len() - from_right] as char)
                } else if forced || lone_zero && from_right == 1 {
                    Some('0')
                } else {
                    None
                };
                match digit {
                    Some(digit) => {
                        if !started {
                            started = true;
                            sign_text(&mut body);
                        }
                        body.push(digit);
                    }
                    None if !t.fill => body.push(' '),
                    None => {}
                }
                place += 1;
            }
            Part::Comma if past_point || started => body.push(','),
            Part::Comma if !t.fill => body.push(' '),
            Part::Comma => {}
            Part::Point => {
                if !started {
                    started = true;
                    sign_text(&mut body);
                    // With FM a number below one shows its zero only where no digit follows.
                    if t.fill && before > 0 && last_digit == 0 {
                        body.push('0');
                    }
                }
                past_point = true;
                body.push('.');
            }
            Part::Sign(Sign::Minus) => {
                body.push_str(if negative {
                    "-"
                } else if t.fill {
                    ""
                } else {
                    " "
                });
            }
            Part::Sign(Sign::Plus) => {
                body.push_str(if !negative {
                    "+"
                } else if t.fill {
                    ""
                } else {
                    " "
                });
            }
            Part::Sign(Sign::Both) => body.push(if negative { '-' } else { '+' }),
            Part::Sign(Sign::Anchored) if !anchor_first => {
                body.push(if negative { '-' } else { '+' });
            }
            Part::Sign(Sign::Anchored) => {}
            Part::Sign(Sign::Brackets) => {
                body.push_str(if negative {
                    ">"
                } else if t.fill {
                    ""
                } else {
                    " "
                });
            }
            Part::Currency => body.push(' '),
            Part::Ordinal(kind) => {
                if !negative && after == 0 {
                    let digits = if whole.is_empty() { "0" } else { &whole };
                    body.push_str(ordinal(digits, *kind));
                }
            }
            Part::Text(text) => body.push_str(text),
        }
    }
    if blank {
        return Ok(if t.fill { String::new() } else { " ".repeat(body.chars().count()) });
    }
    Ok(body)
}

/// Places after the point up to the last `0` of the template.
fn last_zero_after_point(t: &Template) -> usize {
    let Some(point) = t.parts.iter().position(|p| *p == Part::Point) else { return 0 };
    let digits: Vec<bool> = t.parts[point..]
        .iter()
        .filter_map(|p| match p {
            Part::Digit(zero) => Some(*zero),
            _ => None,
        })
        .collect();
    digits.iter().rposition(|zero| *zero).map_or(0, |at| at + 1)
}

fn move_point(number: &str, by: usize) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut digits = fraction.to_owned();
    while digits.len() < by {
        digits.push('0');
    }
    let (left, right) = digits.split_at(by);
    if right.is_empty() { format!("{whole}{left}") } else { format!("{whole}{left}.{right}") }
}

/// `1.23e+05`
fn scientific(number: &str, after: usize, t: &Template) -> String {
    let value: f64 = number.parse().unwrap_or(0.0);
    let text = format!("{:.*e}", after, value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if number.starts_with('-') {
        "-"
    } else if t.has(Sign::Anchored) {
        "+"
    } else if t.fill {
        ""
    } else {
        " "
    };
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{mantissa}e{direction}{:02}", exponent.abs())
}

fn roman(number: &str) -> String {
    let value: i64 = rounded(number, 0).1.parse().unwrap_or(0);
    if !(1..=3999).contains(&value) || number.starts_with('-') {
        return "#".repeat(15);
    }
    const SIGNS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut rest = value;
    let mut out = String::new();
    for (worth, sign) in SIGNS {
        while rest >= worth {
            out.push_str(sign);
            rest -= worth;
        }
    }
    out
}

/// The number that a text shows by a template, as a decimal text; `None` for an empty text.
///
/// # Errors
/// 22P02 where the text has no digit, 42601 for a template that is none.
pub(super) fn read(text: &str, template: &str) -> Result<Option<String>> {
    let t = Template::parse(template)?;
    if text.is_empty() || template.is_empty() {
        return Ok(None);
    }
    if t.exponent {
        return Err(Error::postgres("0A000", "\"EEEE\" not supported for input").into());
    }
    if t.roman.is_some() {
        return Err(Error::postgres("0A000", "\"RN\" not supported for input").into());
    }
    let (before, after) = t.digits();
    let chars: Vec<char> = text.chars().collect();
    let mut at = chars.iter().take_while(|c| c.is_whitespace()).count();
    let (mut whole, mut fraction, mut negative, mut past) =
        (String::new(), String::new(), false, false);
    let sign = |at: &mut usize, negative: &mut bool| {
        while let Some(c) = chars.get(*at) {
            match c {
                '-' | '<' => *negative = true,
                '+' => {}
                c if c.is_whitespace() => {}
                _ => break,
            }
            *at += 1;
        }
    };
    sign(&mut at, &mut negative);
    for part in &t.parts {
        match part {
            Part::Digit(_) => {
                sign(&mut at, &mut negative);
                match chars.get(at) {
                    Some(c) if c.is_ascii_digit() => {
                        let (side, limit) =
                            if past { (&mut fraction, after) } else { (&mut whole, before) };
                        if side.len() < limit {
                            side.push(*c);
                        }
                        at += 1;
                    }
                    Some('.') if !past && after > 0 => {}
                    _ => {}
                }
            }
            Part::Point => {
                if chars.get(at) == Some(&'.') {
                    at += 1;
                    past = true;
                } else {
                    break;
                }
            }
            Part::Comma => {
                if chars.get(at) == Some(&',') {
                    at += 1;
                }
            }
            Part::Sign(_) => sign(&mut at, &mut negative),
            Part::Currency => {
                while chars
                    .get(at)
                    .is_some_and(|c| !c.is_ascii_digit() && !matches!(c, '-' | '+' | '.'))
                {
                    at += 1;
                }
            }
            Part::Ordinal(_) => at = (at + 2).min(chars.len()),
            Part::Text(text) => {
                for _ in text.chars() {
                    if chars
                        .get(at)
                        .is_some_and(|c| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
                    {
                        at += 1;
                    }
                }
            }
        }
    }
    if chars.get(at..).is_some_and(|rest| rest.first() == Some(&'-')) {
        negative = true;
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(Error::postgres("22P02", "invalid input syntax for type numeric: \" \"").into());
    }
    let whole = if whole.is_empty() { "0" } else { &whole };
    let sign = if negative { "-" } else { "" };
    let text = if fraction.is_empty() {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    };
    Ok(Some(match t.shift {
        Some(shift) => {
            let digits = format!("{whole:0>width$}", width = shift + 1);
            let (left, right) = digits.split_at(digits.len() - shift);
            format!("{sign}{left}.{right}")
        }
        None => text,
    }))
}
