//! SIMILAR TO, `substring` by a pattern, and the functions of regular expressions that give sets
//! or places.

use chronos_catalog::SqlType;
use datafusion::common::Result;
use regex::Regex;

use super::function::{Call, Definition, P, f};
use super::strings::{flags, regex, replacement};
use super::value::Value;
use crate::error::Error;
use crate::text::{array, to_string};

const TEXT: fn(&[SqlType]) -> SqlType = |_| SqlType::Text;
const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;

/// A pattern of SIMILAR TO as a regular expression, which `"` after the escape divides in three.
fn similar(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::from("^(?:");
    let mut chars = pattern.chars();
    let mut quotes = 0;
    let mut class = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            match chars.next() {
                Some('"') => {
                    quotes += 1;
                    out.push_str(if quotes == 1 { ")(" } else { ")(?:" });
                }
                Some(next) => out.push_str(&regex::escape(&next.to_string())),
                None => {}
            }
            continue;
        }
        match c {
            '%' if !class => out.push_str(if quotes == 0 { ".*?" } else { ".*" }),
            '_' if !class => out.push('.'),
            '[' => {
                class = true;
                out.push('[');
            }
            ']' => {
                class = false;
                out.push(']');
            }
            '\\' => out.push_str("\\\\"),
            '.' | '^' | '$' if !class => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out.push_str(")$");
    out
}

fn escape_of(a: &[Value], at: usize) -> Result<Option<char>> {
    match a.get(at) {
        None => Ok(Some('\\')),
        Some(value) => {
            let mut chars = value.text().chars();
            match (chars.next(), chars.next()) {
                (first, None) => Ok(first),
                _ => Err(Error::postgres("22025", "invalid escape string")
                    .with_hint("Escape string must be empty or one character.")
                    .into()),
            }
        }
    }
}

/// The first group of a match, or the match where it has none.
fn found(regex: &Regex, text: &str) -> Value {
    match regex.captures(text) {
        None => Value::Null,
        Some(captures) => {
            let at = usize::from(captures.len() > 1);
            captures.get(at).map(|m| m.as_str()).into()
        }
    }
}

fn whole_number(a: &[Value], at: usize, default: i64, name: &str, least: i64) -> Result<usize> {
    let value = a.get(at).map_or(default, Value::int);
    if value < least {
        let message = format!("invalid value for parameter \"{name}\": {value}");
        return Err(Error::postgres("22023", message).into());
    }
    Ok(usize::try_from(value).unwrap_or(usize::MAX))
}

/// Where a text goes on from a character, counted from 1; `None` beyond its end.
fn start(text: &str, from: usize) -> Option<usize> {
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.nth(from - 1)
}

/// The captures of the n-th match from a character on, with where the search began.
fn nth<'t>(regex: &Regex, text: &'t str, from: usize, n: usize) -> Option<regex::Captures<'t>> {
    let at = start(text, from)?;
    let mut place = at;
    for i in 1.. {
        let captures = regex.captures_at(text, place)?;
        if i == n {
            return Some(captures);
        }
        let whole = captures.get(0)?;
        place = if whole.end() > whole.start() {
            whole.end()
        } else {
            whole.end() + text[whole.end()..].chars().next()?.len_utf8()
        };
    }
    None
}

fn instr(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, _) = regex(a[1].text(), flags(a, 5))?;
    let from = whole_number(a, 2, 1, "start", 1)?;
    let n = whole_number(a, 3, 1, "n", 1)?;
    let end = whole_number(a, 4, 0, "endoption", 0)?;
    let group = whole_number(a, 6, 0, "subexpr", 0)?;
    let text = a[0].text();
    let place = nth(&regex, text, from, n).and_then(|captures| {
        let found = captures.get(group)?;
        let at = if end == 1 { found.end() } else { found.start() };
        Some(text[..at].chars().count() as i64 + 1)
    });
    Ok(Value::Int(place.unwrap_or(0)))
}

fn substr(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, _) = regex(a[1].text(), flags(a, 4))?;
    let from = whole_number(a, 2, 1, "start", 1)?;
    let n = whole_number(a, 3, 1, "n", 1)?;
    let group = whole_number(a, 5, 0, "subexpr", 0)?;
    let found = nth(&regex, a[0].text(), from, n);
    Ok(found.and_then(|captures| captures.get(group).map(|m| m.as_str())).into())
}

/// `regexp_replace(text, pattern, by, start [, n [, flags]])`; n = 0 replaces all.
fn replace_from(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, global) = regex(a[1].text(), flags(a, 5))?;
    let from = whole_number(a, 3, 1, "start", 1)?;
    let default = if global { 0 } else { 1 };
    let n = whole_number(a, 4, default, "n", 0)?;
    let (text, by) = (a[0].text(), a[2].text());
    let Some(begin) = start(text, from) else { return Ok(a[0].clone()) };
    let mut out = text[..begin].to_owned();
    let rest = &text[begin..];
    let mut end = 0;
    for (i, captures) in regex.captures_iter(rest).enumerate() {
        if n != 0 && i + 1 != n {
            continue;
        }
        let Some(found) = captures.get(0) else { break };
        out.push_str(&rest[end..found.start()]);
        replacement(&captures, by, &mut out);
        end = found.end();
        if n != 0 {
            break;
        }
    }
    out.push_str(&rest[end..]);
    Ok(Value::Text(out))
}

/// Each match's groups, as the text of an array of texts.
fn matches(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, global) = regex(a[1].text(), flags(a, 2))?;
    let rows = regex.captures_iter(a[0].text()).take(if global { usize::MAX } else { 1 });
    let rows = rows.map(|captures| {
        let from = usize::from(captures.len() > 1);
        let words: Vec<String> = (from..captures.len())
            .map(|i| match captures.get(i) {
                None => "NULL".to_owned(),
                Some(m) => to_string(|out| array::write_item(out, m.as_str().as_bytes())),
            })
            .collect();
        Value::Text(format!("{{{}}}", words.join(",")))
    });
    Ok(Value::List(rows.collect()))
}

/// The parts of a qualified name, folded as the parser does.
fn parse_ident(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let text = a[0].text();
    let bad = || {
        let message = format!("string is not a valid identifier: \"{text}\"");
        datafusion::common::DataFusionError::from(Error::postgres("22023", message))
    };
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(bad)?;
            parts.push(Value::from(&quoted[..end]));
            rest = quoted[end + 1..].trim_start();
        } else {
            let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(bad());
            }
            parts.push(Value::Text(rest[..end].to_lowercase()));
            rest = rest[end..].trim_start();
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => return Ok(Value::List(parts)),
            None => return Err(bad()),
        }
    }
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f(
        "_similar_to",
        &[P::Text, P::Text, P::Text],
        |_| SqlType::Bool,
        |_, a| {
            let pattern = similar(a[1].text(), escape_of(a, 2)?);
            Ok(regex(&pattern, "")?.0.is_match(a[0].text()).into())
        },
    )
    .optional(1),
    f("_substring_regex", &[P::Text, P::Text], TEXT, |_, a| {
        Ok(found(&regex(a[1].text(), "")?.0, a[0].text()))
    }),
    f("_substring_similar", &[P::Text, P::Text, P::Text], TEXT, |_, a| {
        let pattern = similar(a[1].text(), escape_of(a, 2)?);
        Ok(found(&regex(&pattern, "")?.0, a[0].text()))
    }),
    f(
        "regexp_instr",
        &[P::Text, P::Text, P::Int4, P::Int4, P::Int4, P::Text, P::Int4],
        INT4,
        instr,
    )
    .optional(5),
    f("regexp_substr", &[P::Text, P::Text, P::Int4, P::Int4, P::Text, P::Int4], TEXT, substr)
        .optional(4),
    f(
        "regexp_replace",
        &[P::Text, P::Text, P::Text, P::Int4, P::Int4, P::Text],
        TEXT,
        replace_from,
    )
    .optional(2),
    f(
        "_regexp_matches",
        &[P::Text, P::Text, P::Text],
        |_| SqlType::Array(Box::new(SqlType::Text)),
        matches,
    )
    .optional(1),
    f("parse_ident", &[P::Text], |_| SqlType::Array(Box::new(SqlType::Text)), parse_ident),
    f(
        "starts_with",
        &[P::Text, P::Text],
        |_| SqlType::Bool,
        |_, a| Ok(a[0].text().starts_with(a[1].text()).into()),
    ),
];
