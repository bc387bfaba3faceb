//! `json` and `jsonb`.

use serde_json::Value;

use crate::error::{Error, Result};

/// Whether the text is JSON.
///
/// # Errors
/// 22P02
pub fn validate(text: &str) -> Result<()> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|e| invalid(text, &e))
}

/// The text in which PostgreSQL shows this `jsonb`: keys by length and then by bytes, the last
/// of equal keys, one blank after `:` and `,`.
///
/// # Errors
/// 22P02 for what is no JSON, 22P05 for a zero character, which `jsonb` cannot hold.
pub fn canonical(text: &str) -> Result<String> {
    let value: Value = serde_json::from_str(text).map_err(|e| invalid(text, &e))?;
    let mut out = String::with_capacity(text.len());
    write(&mut out, &value)?;
    Ok(out)
}

fn invalid(text: &str, error: &serde_json::Error) -> Error {
    let shown = if text.is_empty() {
        "The input string ended unexpectedly.".to_owned()
    } else {
        format!("JSON error: {error}.")
    };
    Error::postgres("22P02", "invalid input syntax for type json").with_detail(shown)
}

pub(crate) fn write(out: &mut String, value: &Value) -> Result<()> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => plain_number(out, &number.to_string())?,
        Value::String(text) => string(out, text)?,
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write(out, item)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            out.push('{');
            for (i, (key, value)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                string(out, key)?;
                out.push_str(": ");
                write(out, value)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// A number as `numeric` shows it: no exponent, the digits after the point kept.
fn plain_number(out: &mut String, text: &str) -> Result<()> {
    /// PostgreSQL's own limits are 131072 digits before and 16383 after the point.
    const DIGITS: i64 = 16_383;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let overflow = || Error::postgres("22003", "value overflows numeric format");
    let exponent: i64 = exponent.parse().map_err(|_| overflow())?;
    if exponent.abs() > DIGITS {
        return Err(overflow());
    }
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i64 + exponent;
    let zero = digits.bytes().all(|b| b == b'0');
    let (whole, fraction) = if point <= 0 {
        ("0".to_owned(), format!("{}{digits}", "0".repeat(-point as usize)))
    } else if point as usize >= digits.len() {
        (format!("{digits}{}", "0".repeat(point as usize - digits.len())), String::new())
    } else {
        (digits[..point as usize].to_owned(), digits[point as usize..].to_owned())
    };
    let whole = whole.trim_start_matches('0');
    if negative && !zero {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(&fraction);
    }
    Ok(())
}

pub(crate) fn string(out: &mut String, text: &str) -> Result<()> {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0' => {
                return Err(Error::postgres("22P05", "unsupported Unicode escape sequence")
                    .with_detail("\\u0000 cannot be converted to text."));
            }
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonb_has_one_form() {
        for (text, form) in [
            (r#"{"bb":1,"a":2,"c":3,"a":4}"#, r#"{"a": 4, "c": 3, "bb": 1}"#),
            (r#"[1.50, 1e3, -0, 1.5e-3, "\u00e9\n"]"#, "[1.50, 1000, 0, 0.0015, \"é\\n\"]"),
            ("{}", "{}"),
            (" [ ] ", "[]"),
            ("100000000000000000000000000000001", "100000000000000000000000000000001"),
        ] {
            assert_eq!(canonical(text).unwrap(), form);
        }
        assert_eq!(canonical("{a:1}").unwrap_err().sqlstate(), "22P02");
        assert_eq!(canonical("\"\\u0000\"").unwrap_err().sqlstate(), "22P05");
    }
}
