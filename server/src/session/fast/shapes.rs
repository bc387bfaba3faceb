//! Statements of the simple protocol that differ in their numbers only: `… WHERE id = 7` and
//! `… WHERE id = 8` are one statement with a parameter.
//!
//! The numbers are given the types that they have as literals, and only those in the conditions
//! and assignments of short statements are taken: none that names a column, counts rows or is
//! part of a type.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::common::ScalarValue;

use crate::session::session::Prepared;

/// Shapes that are kept.
const SHAPES_MAX: usize = 256;
/// Longer texts are parsed as they are.
const TEXT_BYTES_MAX: usize = 1024;
/// More numbers than this make no shape.
const NUMBERS_MAX: usize = 16;

/// Words after which a number may mean something else than its value, or that give it a name in
/// the answer.
const REFUSED: &[&str] = &[
    "as",
    "at",
    "date",
    "except",
    "extract",
    "fetch",
    "for",
    "group",
    "having",
    "intersect",
    "interval",
    "into",
    "limit",
    "offset",
    "order",
    "over",
    "precision",
    "returning",
    "select",
    "time",
    "timestamp",
    "timestamptz",
    "union",
    "window",
    "with",
];

/// A text without its numbers.
pub(super) struct Shape {
    /// The text with `$1`, `$2`, … for them.
    pub text: String,
    pub numbers: Vec<ScalarValue>,
}

impl Shape {
    /// The shape of a query string, if it may have one.
    pub fn of(sql: &str) -> Option<Shape> {
        let bytes = sql.as_bytes();
        if bytes.len() > TEXT_BYTES_MAX {
            return None;
        }
        let mut text = String::with_capacity(bytes.len() + 8);
        let mut numbers = Vec::new();
        let mut taking = false;
        let mut words = 0;
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            let byte = bytes[at];
            at += 1;
            match byte {
                b'\'' | b'"' => {
                    at += bytes[at..].iter().position(|b| *b == byte)? + 1;
                }
                // Parameters, comments, other statements, type modifiers, escapes.
                b'$' | b'\\' | b';' if !sql[at..].trim().is_empty() => return None,
                b'$' | b'\\' => return None,
                b'-' if bytes.get(at) == Some(&b'-') => return None,
                b'/' if bytes.get(at) == Some(&b'*') => return None,
                b':' if bytes.get(at) == Some(&b':') => return None,
                b'0'..=b'9' => {
                    let more = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
                    at += bytes[at..].iter().take_while(|b| more(b)).count();
                    let token = &sql[start..at];
                    if taking
                        && bytes[..start].last() != Some(&b'.')
                        && let Some(number) = number(token)
                    {
                        numbers.push(number);
                        let _infallible = write!(text, "${}", numbers.len());
                        continue;
                    }
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                    let more = |b: &u8| {
                        b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || *b >= 0x80
                    };
                    at += bytes[at..].iter().take_while(|b| more(b)).count();
                    let word = sql.get(start..at)?;
                    words += 1;
                    let is = |w: &str| word.eq_ignore_ascii_case(w);
                    if words == 1 {
                        if !["select", "update", "delete"].into_iter().any(is) {
                            return None;
                        }
                    } else if REFUSED.iter().any(|w| is(w)) {
                        return None;
                    } else if is("where") || is("set") {
                        taking = true;
                    }
                    // E'…', U&'…' and the like.
                    if bytes.get(at) == Some(&b'\'') || bytes.get(at) == Some(&b'&') {
                        return None;
                    }
                }
                _ => {}
            }
            text.push_str(sql.get(start..at)?);
        }
        (!numbers.is_empty() && numbers.len() <= NUMBERS_MAX).then_some(Shape { text, numbers })
    }
}

/// An integer as PostgreSQL types it.
fn number(token: &str) -> Option<ScalarValue> {
    if !token.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if let Ok(n) = token.parse::<i32>() {
        return Some(ScalarValue::Int32(Some(n)));
    }
    token.parse::<i64>().ok().map(|n| ScalarValue::Int64(Some(n)))
}

/// The types of a shape's numbers.
fn types(numbers: &[ScalarValue]) -> Vec<SqlType> {
    let ty = |n: &ScalarValue| match n {
        ScalarValue::Int32(_) => SqlType::Int4,
        _ => SqlType::Int8,
    };
    numbers.iter().map(ty).collect()
}

#[derive(Debug)]
enum Known {
    /// It came once.
    Once,
    Statement(Prepared),
    /// No key answers it.
    Refused,
}

/// A session's shapes.
#[derive(Debug, Default)]
pub(in crate::session) struct Shapes(HashMap<Arc<str>, Known>);

impl Shapes {
    /// The statement that a text is with its numbers as parameters, if it came before.
    pub fn find(
        &mut self,
        sql: &str,
        parse: impl FnOnce(&str) -> Option<Prepared>,
    ) -> Option<Prepared> {
        let Shape { text, numbers } = Shape::of(sql)?;
        let types = types(&numbers);
        match self.0.get_mut(text.as_str()) {
            None => {
                if self.0.len() >= SHAPES_MAX {
                    self.0.clear();
                }
                self.0.insert(Arc::from(text), Known::Once);
                None
            }
            Some(Known::Refused) => None,
            Some(Known::Statement(statement)) if statement.is_refused() => {
                self.0.insert(Arc::from(text), Known::Refused);
                None
            }
            Some(Known::Statement(statement)) => Some(statement.with(numbers, types, sql)),
            Some(once @ Known::Once) => {
                let statement = parse(&text);
                *once = match &statement {
                    Some(statement) => Known::Statement(statement.clone()),
                    None => Known::Refused,
                };
                statement.map(|s| s.with(numbers, types, sql))
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sql: &str) -> Option<(String, Vec<i64>)> {
        let shape = Shape::of(sql)?;
        let numbers = shape.numbers.iter().map(|n| n.to_string().parse().unwrap());
        Some((shape.text, numbers.collect()))
    }

    #[test]
    fn numbers_in_conditions_and_assignments_become_parameters() {
        assert_eq!(
            shape("UPDATE t1 SET b = b + -5 WHERE id=70000000000;"),
            Some(("UPDATE t1 SET b = b + -$1 WHERE id=$2;".to_owned(), vec![5, 70_000_000_000]))
        );
        assert_eq!(
            shape("SELECT 1, a FROM t WHERE \"1\" = 'it''s 2' AND x1 = 3"),
            Some(("SELECT 1, a FROM t WHERE \"1\" = 'it''s 2' AND x1 = $1".to_owned(), vec![3]))
        );
    }

    #[test]
    fn other_numbers_and_texts_are_left_alone() {
        for sql in [
            "SELECT 1",
            "SELECT a FROM t WHERE id = 1 ORDER BY 2",
            "SELECT a FROM t WHERE id = 1 LIMIT 1",
            "SELECT a FROM t WHERE id = 1.5",
            "SELECT a FROM t WHERE id = 1e5",
            "SELECT a FROM t WHERE id = '1'::varchar(3)",
            "SELECT a FROM t WHERE b = E'\\'' AND id = 1",
            "SELECT a FROM t WHERE id = 1 -- 2",
            "SELECT a FROM t WHERE id = 1; SELECT a FROM t WHERE id = 2",
            "SELECT a FROM t WHERE id = $1 AND b = 2",
            "UPDATE t SET a = 1 WHERE id = 2 RETURNING 3",
            "SELECT a FROM t FOR SYSTEM_TIME AS OF '2026-01-01' WHERE id = 1",
            "INSERT INTO t VALUES (1)",
            "SELECT a FROM t WHERE b = 'open",
        ] {
            assert_eq!(shape(sql), None, "{sql}");
        }
    }
}
