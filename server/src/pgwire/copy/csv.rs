//! The values of a line in COPY's CSV format.

use std::borrow::Cow;

use crate::error::{PgError, PgResult};
use crate::session::api::CopyOptions;

/// A value and whether any of it was quoted.
pub(super) struct Value<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) quoted: bool,
}

/// Takes the next value off the line: `None` at its end.
///
/// # Errors
/// 22P04 for quotes that do not end.
pub(super) fn next<'a>(
    rest: &mut Option<&'a str>,
    options: &CopyOptions,
) -> PgResult<Option<Value<'a>>> {
    let Some(line) = *rest else { return Ok(None) };
    let (delimiter, quote, escape) = (options.delimiter, options.quote, options.escape);
    let bytes = line.as_bytes();
    // The usual value has no quotes, or is quoted as a whole without any inside.
    let plain = bytes.iter().position(|b| *b == delimiter || *b == quote).unwrap_or(bytes.len());
    if bytes.get(plain) != Some(&quote) {
        *rest = (plain < bytes.len()).then(|| &line[plain + 1..]);
        return Ok(Some(Value { text: Cow::Borrowed(&line[..plain]), quoted: false }));
    }
    let mut out = bytes[..plain].to_vec();
    let mut at = plain;
    loop {
        // Outside quotes.
        match bytes.get(at) {
            None => {
                *rest = None;
                break;
            }
            Some(b) if *b == delimiter => {
                *rest = Some(&line[at + 1..]);
                break;
            }
            Some(b) if *b == quote => at += 1,
            Some(b) => {
                out.push(*b);
                at += 1;
                continue;
            }
        }
        // Within quotes.
        loop {
            let Some(&byte) = bytes.get(at) else {
                return Err(PgError::new("22P04", "unterminated CSV quoted field"));
            };
            let following = bytes.get(at + 1).copied();
            if byte == escape && following.is_some_and(|n| n == escape || n == quote) {
                out.extend(following);
                at += 2;
            } else {
                at += 1;
                if byte == quote {
                    break;
                }
                out.push(byte);
            }
        }
    }
    let text = String::from_utf8(out).map_err(|_| PgError::internal("text that is not UTF-8"))?;
    Ok(Some(Value { text: Cow::Owned(text), quoted: true }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::api::CopyFormat;

    fn values(line: &str) -> PgResult<Vec<(String, bool)>> {
        let options = CopyOptions {
            format: CopyFormat::Csv,
            delimiter: b',',
            null: String::new(),
            header: false,
            header_match: false,
            quote: b'"',
            escape: b'"',
            force_quote: vec![],
            force_not_null: vec![],
            force_null: vec![],
        };
        let (mut rest, mut values) = (Some(line), vec![]);
        while let Some(value) = next(&mut rest, &options)? {
            values.push((value.text.into_owned(), value.quoted));
        }
        Ok(values)
    }

    #[test]
    fn quotes_are_told_from_their_absence() {
        let of = |t: &str, q| (t.to_owned(), q);
        assert_eq!(
            values("a,\"b,\"\"c\"\"\",,\"\",d\"e\"f").unwrap(),
            [of("a", false), of("b,\"c\"", true), of("", false), of("", true), of("def", true)]
        );
        assert_eq!(values("a,\"b").unwrap_err().code, "22P04");
    }
}
