//! Strings: quoting, `format`, splitting and joining, regular expressions.

use std::cell::RefCell;
use std::collections::HashMap;

use chronos_catalog::SqlType;
use datafusion::common::Result;
use regex::Regex;

use super::convert::text_of;
use super::function::{Call, Definition, P, f};
use super::value::Value;
use crate::error::Error;
use crate::system_tables::quote::{quote_ident, quote_literal};

const TEXT: fn(&[SqlType]) -> SqlType = |_| SqlType::Text;
const INT4: fn(&[SqlType]) -> SqlType = |_| SqlType::Int4;
const TEXTS: fn(&[SqlType]) -> SqlType = |_| SqlType::Array(Box::new(SqlType::Text));

/// An argument's text as `concat` writes it: a boolean is a letter.
fn word(c: &Call<'_>, a: &[Value], at: usize) -> Result<String> {
    match &a[at] {
        Value::Bool(b) => Ok(if *b { "t" } else { "f" }.to_owned()),
        value => text_of(value, &c.types[at], c.zone),
    }
}

fn concat(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    let words: Vec<String> = (0..a.len()).map(|at| word(c, a, at)).collect::<Result<_>>()?;
    Ok(Value::Text(words.concat()))
}

fn concat_ws(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let present = (1..a.len()).filter(|at| !a[*at].is_null());
    let words: Vec<String> = present.map(|at| word(c, a, at)).collect::<Result<_>>()?;
    Ok(Value::Text(words.join(a[0].text())))
}

/// `format(pattern, …)`: `%s`, `%I`, `%L`, `%%`, with position, `-` and width.
fn format_text(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() {
        return Ok(Value::Null);
    }
    let bad = |message: String| {
        datafusion::common::DataFusionError::from(Error::postgres("22023", message))
    };
    let few = || bad("too few arguments for format()".into());
    let mut out = String::new();
    let mut chars = a[0].text().chars().peekable();
    let mut next = 1;
    while let Some(c0) = chars.next() {
        if c0 != '%' {
            out.push(c0);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut digits = String::new();
        while let Some(d) = chars.next_if(char::is_ascii_digit) {
            digits.push(d);
        }
        let (mut position, mut left, mut width) = (None, false, 0usize);
        if !digits.is_empty() && chars.next_if_eq(&'$').is_some() {
            position = digits.parse::<usize>().ok();
            if position == Some(0) {
                return Err(bad(
                    "format specifies argument 0, but arguments are numbered from 1".into()
                ));
            }
            digits.clear();
        }
        if digits.is_empty() {
            while chars.next_if_eq(&'-').is_some() {
                left = true;
            }
            if chars.peek() == Some(&'*') {
                return Err(Error::unsupported("format() with a width of *").into());
            }
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                digits.push(d);
            }
        }
        if !digits.is_empty() {
            width = digits.parse().ok().filter(|w| *w < 1 << 20).ok_or_else(few)?;
        }
        let Some(kind) = chars.next() else {
            return Err(bad("unterminated format() type specifier".into()));
        };
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(bad(format!("unrecognized format() type specifier \"{kind}\"")));
        }
        let at = position.unwrap_or(next);
        next = at + 1;
        let value = a.get(at).ok_or_else(few)?;
        let text = match (kind, value) {
            ('s', Value::Null) => String::new(),
            ('L', Value::Null) => "NULL".to_owned(),
            ('I', Value::Null) => {
                return Err(Error::postgres(
                    "22004",
                    "null values cannot be formatted as an SQL identifier",
                )
                .into());
            }
            ('I', _) => quote_ident(&word(c, a, at)?).to_string(),
            ('L', _) => quote_literal(&word(c, a, at)?).to_string(),
            _ => word(c, a, at)?,
        };
        let pad = " ".repeat(width.saturating_sub(text.chars().count()));
        if left {
            out.push_str(&text);
            out.push_str(&pad);
        } else {
            out.push_str(&pad);
            out.push_str(&text);
        }
    }
    Ok(Value::Text(out))
}

fn split(a: &[Value]) -> Vec<Value> {
    let text = a[0].text();
    let null = a.get(2).filter(|n| !n.is_null()).map(Value::text);
    let pieces: Vec<String> = match &a[1] {
        _ if text.is_empty() => vec![],
        Value::Null => text.chars().map(String::from).collect(),
        Value::Text(by) if by.is_empty() => vec![text.to_owned()],
        by => text.split(by.text()).map(str::to_owned).collect(),
    };
    pieces
        .into_iter()
        .map(|piece| if Some(piece.as_str()) == null { Value::Null } else { Value::Text(piece) })
        .collect()
}

fn string_to_array(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    Ok(if a[0].is_null() { Value::Null } else { Value::List(split(a)) })
}

fn array_to_string(c: &Call<'_>, a: &[Value]) -> Result<Value> {
    if a[0].is_null() || a[1].is_null() {
        return Ok(Value::Null);
    }
    let SqlType::Array(item) = &c.types[0] else { return Ok(Value::Null) };
    let null = a.get(2).filter(|n| !n.is_null()).map(Value::text);
    let mut words = Vec::new();
    for value in a[0].list() {
        match (value, null) {
            (Value::Null, None) => {}
            (Value::Null, Some(null)) => words.push(null.to_owned()),
            (Value::Bool(b), _) => words.push(if *b { "t" } else { "f" }.to_owned()),
            (value, _) => words.push(text_of(value, item, c.zone)?),
        }
    }
    Ok(Value::Text(words.join(a[1].text())))
}

/// A regular expression with PostgreSQL's flags. `g` is told apart.
///
/// # Errors
/// 2201B for one that is none, 22023 for a flag that is none; back references and look-around are
/// refused.
pub(super) fn regex(pattern: &str, flags: &str) -> Result<(Regex, bool)> {
    // The rows of a column ask for the same few again and again.
    thread_local! {
        static COMPILED: RefCell<HashMap<(String, String), (Regex, bool)>> = RefCell::default();
    }
    const KEPT: usize = 64;
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(found) = COMPILED.with_borrow(|kept| kept.get(&key).cloned()) {
        return Ok(found);
    }
    let compiled = compile(pattern, flags)?;
    COMPILED.with_borrow_mut(|kept| {
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, compiled.clone());
    });
    Ok(compiled)
}

fn compile(pattern: &str, flags: &str) -> Result<(Regex, bool)> {
    let (mut inline, mut global) = (String::from("s"), false);
    for flag in flags.chars() {
        match flag {
            'g' => global = true,
            'i' => inline.push('i'),
            'c' => inline.retain(|f| f != 'i'),
            'n' | 'm' => {
                inline.retain(|f| f != 's');
                inline.push('m');
            }
            's' => {}
            'x' => inline.push('x'),
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(Error::postgres("22023", message).into());
            }
        }
    }
    // Word boundaries have other letters in PostgreSQL.
    let pattern =
        pattern.replace("\\y", "\\b").replace("\\m", "\\b{start}").replace("\\M", "\\b{end}");
    let pattern = format!("(?{inline}){pattern}");
    match Regex::new(&pattern) {
        Ok(regex) => Ok((regex, global)),
        Err(error) => {
            let text = error.to_string();
            if text.contains("backreferences") || text.contains("look-around") {
                return Err(Error::unsupported("a regular expression that refers to itself").into());
            }
            Err(Error::postgres("2201B", "invalid regular expression").with_detail(text).into())
        }
    }
}

pub(super) fn flags(a: &[Value], at: usize) -> &str {
    a.get(at).map_or("", Value::text)
}

/// The groups of a match, or the whole of it where there are none.
fn groups(captures: &regex::Captures<'_>) -> Value {
    let from = usize::from(captures.len() > 1);
    let texts = (from..captures.len()).map(|i| captures.get(i).map(|m| m.as_str()).into());
    Value::List(texts.collect())
}

fn regexp_match(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, global) = regex(a[1].text(), flags(a, 2))?;
    if global {
        let message = "regexp_match() does not support the \"global\" option";
        return Err(Error::postgres("22023", message)
            .with_hint("Use the regexp_matches function instead.")
            .into());
    }
    Ok(regex.captures(a[0].text()).map_or(Value::Null, |captures| groups(&captures)))
}

/// `\1` to `\9` and `\&` of a replacement.
pub(super) fn replacement(captures: &regex::Captures<'_>, by: &str, out: &mut String) {
    let mut chars = by.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(&captures[0]),
            Some(d @ '1'..='9') => {
                let group = captures.get(d as usize - '0' as usize);
                out.push_str(group.map_or("", |m| m.as_str()));
            }
            Some('\\') | None => out.push('\\'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
}

fn regexp_replace(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, global) = regex(a[1].text(), flags(a, 3))?;
    let (text, by) = (a[0].text(), a[2].text());
    let mut out = String::new();
    let mut end = 0;
    for captures in regex.captures_iter(text).take(if global { usize::MAX } else { 1 }) {
        let Some(found) = captures.get(0) else { break };
        out.push_str(&text[end..found.start()]);
        replacement(&captures, by, &mut out);
        end = found.end();
    }
    out.push_str(&text[end..]);
    Ok(Value::Text(out))
}

fn regexp_split(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, _) = regex(a[1].text(), flags(a, 2))?;
    let text = a[0].text();
    let mut pieces = Vec::new();
    let mut start = 0;
    for found in regex.find_iter(text) {
        // An empty match splits between characters only.
        if found.is_empty() && (found.start() == start || found.start() == text.len()) {
            continue;
        }
        pieces.push(Value::from(&text[start..found.start()]));
        start = found.end();
    }
    pieces.push(Value::from(&text[start..]));
    Ok(Value::List(pieces))
}

fn regexp_count(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let from = a.get(2).map_or(1, Value::int);
    if from < 1 {
        let message = format!("invalid value for parameter \"start\": {from}");
        return Err(Error::postgres("22023", message).into());
    }
    let (regex, _) = regex(a[1].text(), flags(a, 3))?;
    let text = a[0].text();
    // Beyond the end not even nothing is found.
    let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let Some(start) = ends.nth(from as usize - 1) else { return Ok(Value::Int(0)) };
    Ok(Value::Int(regex.find_iter(&text[start..]).count() as i64))
}

fn regexp_like(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (regex, global) = regex(a[1].text(), flags(a, 2))?;
    if global {
        let message = "regexp_like() does not support the \"global\" option";
        return Err(Error::postgres("22023", message).into());
    }
    Ok(regex.is_match(a[0].text()).into())
}

/// The n-th part between separators; from the end where n is negative.
fn split_part(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    let (text, by, n) = (a[0].text(), a[1].text(), a[2].int());
    if n == 0 {
        return Err(Error::postgres("22023", "field position must not be zero").into());
    }
    let parts: Vec<&str> = if by.is_empty() { vec![text] } else { text.split(by).collect() };
    let at = if n > 0 { n - 1 } else { n + parts.len() as i64 };
    let found = usize::try_from(at).ok().and_then(|at| parts.get(at).copied());
    Ok(found.unwrap_or_default().into())
}

fn chr(_: &Call<'_>, a: &[Value]) -> Result<Value> {
    match u32::try_from(a[0].int()) {
        Ok(0) => Err(Error::postgres("54000", "null character not permitted").into()),
        Ok(code) => match char::from_u32(code) {
            Some(c) => Ok(Value::Text(c.to_string())),
            None => {
                let message = format!("requested character too large for encoding: {code}");
                Err(Error::postgres("54000", message).into())
            }
        },
        Err(_) => Err(Error::postgres("54000", "character number must be positive").into()),
    }
}

pub(crate) static FUNCTIONS: &[Definition] = &[
    f("chr", &[P::Int4], TEXT, chr),
    f("split_part", &[P::Text, P::Text, P::Int4], TEXT, split_part),
    f("concat", &[P::Any], TEXT, concat).variadic().called(),
    f("concat_ws", &[P::Text, P::Any], TEXT, concat_ws).variadic().called(),
    f("format", &[P::Text, P::Any], TEXT, format_text).variadic().called(),
    f("string_to_array", &[P::Text, P::Text, P::Text], TEXTS, string_to_array).optional(1).called(),
    f("string_to_table", &[P::Text, P::Text, P::Text], TEXTS, string_to_array).optional(1).called(),
    f("array_to_string", &[P::Array, P::Text, P::Text], TEXT, array_to_string).optional(1).called(),
    f("regexp_match", &[P::Text, P::Text, P::Text], TEXTS, regexp_match).optional(1),
    f("regexp_replace", &[P::Text, P::Text, P::Text, P::Text], TEXT, regexp_replace).optional(1),
    f("regexp_split_to_array", &[P::Text, P::Text, P::Text], TEXTS, regexp_split).optional(1),
    f("regexp_split_to_table", &[P::Text, P::Text, P::Text], TEXTS, regexp_split).optional(1),
    f("regexp_count", &[P::Text, P::Text, P::Int4, P::Text], INT4, regexp_count).optional(2),
    f("regexp_like", &[P::Text, P::Text, P::Text], |_| SqlType::Bool, regexp_like).optional(1),
];
