//! The values of a line in COPY's text format.

use std::borrow::Cow;

use crate::error::PgResult;
use crate::pgwire::frontend::utf8;

/// Takes the next value off the line: `None` at its end. A value that is `null` as it stands in
/// the data is NULL.
pub(super) fn next<'a>(
    rest: &mut Option<&'a str>,
    delimiter: u8,
    null: &str,
) -> PgResult<Option<Option<Cow<'a, str>>>> {
    let Some(line) = *rest else { return Ok(None) };
    let bytes = line.as_bytes();
    let (mut at, mut escapes) = (0, false);
    while let Some(&byte) = bytes.get(at) {
        if byte == delimiter {
            break;
        }
        if byte == b'\\' {
            escapes = true;
            at += 1;
        }
        at += 1;
    }
    // A delimiter or backslash is ASCII, so both sides are whole characters.
    let at = at.min(bytes.len());
    let raw = &line[..at];
    *rest = (at < bytes.len()).then(|| &line[at + 1..]);
    if raw == null {
        return Ok(Some(None));
    }
    let value = if escapes { Cow::Owned(unescape(raw)?) } else { Cow::Borrowed(raw) };
    Ok(Some(Some(value)))
}

fn unescape(raw: &str) -> PgResult<String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes().peekable();
    let mut check = false;
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let octal = |b: u8| (b'0'..=b'7').contains(&b);
        match bytes.next() {
            None => out.push(b'\\'),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'v') => out.push(11),
            Some(first) if octal(first) => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(|b| octal(*b)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                out.push(value as u8);
                check = true;
            }
            Some(b'x') => {
                let mut value = None;
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(u8::is_ascii_hexdigit) else { break };
                    let digit = (digit as char).to_digit(16).unwrap_or(0);
                    value = Some(value.unwrap_or(0) * 16 + digit);
                }
                match value {
                    None => out.push(b'x'),
                    Some(value) => {
                        out.push(value as u8);
                        check = true;
                    }
                }
            }
            Some(other) => out.push(other),
        }
    }
    if check {
        utf8(&out)?;
    }
    String::from_utf8(out).map_err(|_| crate::error::PgError::internal("text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(line: &str) -> PgResult<Vec<Option<String>>> {
        let (mut rest, mut values) = (Some(line), vec![]);
        while let Some(value) = next(&mut rest, b'\t', "\\N")? {
            values.push(value.map(Cow::into_owned));
        }
        Ok(values)
    }

    #[test]
    fn escapes_are_resolved_after_null_is_recognized() {
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(
            values("a\\tb\t\\N\t\\\\N\t\\101\\x42\\q\t").unwrap(),
            [some("a\tb"), None, some("\\N"), some("ABq"), some("")]
        );
        assert_eq!(values("a\\\tb").unwrap(), [some("a\tb")]);
        assert_eq!(values("").unwrap(), [some("")]);
        assert_eq!(values("\\303\\251").unwrap(), [some("é")]);
        assert_eq!(values("\\377").unwrap_err().code, "22021");
        assert_eq!(values("\\0").unwrap_err().code, "22021");
    }
}
