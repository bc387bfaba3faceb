//! Arrays as text: `{a,NULL,"x y"}`.

use super::Out;
use crate::error::{Error, Result};

/// Writes an item's text, in quotes where it could be taken for something else.
pub fn write_item(out: &mut Out, text: &[u8]) {
    let special = |b: &u8| {
        matches!(b, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
    };
    if !text.is_empty() && !text.iter().any(special) && !text.eq_ignore_ascii_case(b"null") {
        out.extend_from_slice(text);
        return;
    }
    out.extend_from_slice(b"\"");
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.extend_from_slice(b"\\");
        }
        out.extend_from_slice(&[*byte]);
    }
    out.extend_from_slice(b"\"");
}

/// Reads the items of an array of one dimension; `None` is NULL.
///
/// # Errors
/// 22P02 for what is no array, 0A000 for more dimensions.
pub fn parse(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &str| {
        Error::postgres("22P02", format!("malformed array literal: \"{text}\"")).with_detail(detail)
    };
    let blank = |b: u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let mut body = text.trim_matches(|c: char| u8::try_from(c).is_ok_and(blank));
    // Bounds are read and forgotten: `[1:2]={a,b}`.
    if body.starts_with('[') {
        let Some((bounds, rest)) = body.split_once('=') else {
            return Err(malformed("Missing \"=\" after array dimensions."));
        };
        if !bounds.trim_start_matches("[1:").trim_end().ends_with(']') || !bounds.starts_with("[1:")
        {
            return Err(Error::unsupported("an array whose lower bound is not 1"));
        }
        body = rest;
    }
    let Some(inner) = body.strip_prefix('{') else {
        return Err(malformed("Array value must start with \"{\" or dimension information."));
    };
    let mut items = Vec::new();
    let bytes = inner.as_bytes();
    let mut at = 0;
    let skip = |at: &mut usize| {
        while bytes.get(*at).is_some_and(|b| blank(*b)) {
            *at += 1;
        }
    };
    skip(&mut at);
    if bytes.get(at) == Some(&b'}') {
        at += 1;
        skip(&mut at);
        return if at == bytes.len() {
            Ok(items)
        } else {
            Err(malformed("Junk after closing right brace."))
        };
    }
    loop {
        skip(&mut at);
        let mut item = Vec::new();
        let quoted = bytes.get(at) == Some(&b'"');
        if quoted {
            at += 1;
            loop {
                match bytes.get(at) {
                    None => return Err(malformed("Unexpected end of input.")),
                    Some(b'"') => break,
                    Some(b'\\') => {
                        at += 1;
                        item.extend(bytes.get(at));
                    }
                    Some(byte) => item.push(*byte),
                }
                at += 1;
            }
            at += 1;
            skip(&mut at);
        } else {
            // Blanks at the end do not belong to it, unless they are escaped.
            let mut keep = 0;
            loop {
                match bytes.get(at) {
                    None => return Err(malformed("Unexpected end of input.")),
                    Some(b',' | b'}') => break,
                    Some(b'{') => return Err(Error::unsupported("an array of arrays")),
                    Some(b'"') => return Err(malformed("Unexpected array element.")),
                    Some(b'\\') => {
                        at += 1;
                        item.extend(bytes.get(at));
                        keep = item.len();
                    }
                    Some(byte) => {
                        item.push(*byte);
                        if !blank(*byte) {
                            keep = item.len();
                        }
                    }
                }
                at += 1;
            }
            item.truncate(keep);
            if item.is_empty() {
                let found = bytes.get(at).map_or(' ', |b| char::from(*b));
                return Err(malformed(&format!("Unexpected \"{found}\" character.")));
            }
        }
        let item = String::from_utf8(item).map_err(|_| malformed("Unexpected array element."))?;
        let null = !quoted && item.eq_ignore_ascii_case("null");
        items.push(if null { None } else { Some(item) });
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'}') => break,
            Some(_) => return Err(malformed("Unexpected array element.")),
            None => return Err(malformed("Unexpected end of input.")),
        }
    }
    at += 1;
    skip(&mut at);
    if at == bytes.len() { Ok(items) } else { Err(malformed("Junk after closing right brace.")) }
}

#[cfg(test)]
mod tests {
    use super::super::to_string;
    use super::*;

    #[test]
    fn items_are_quoted_where_they_have_to_be() {
        for (item, text) in [
            ("a", "a"),
            ("", "\"\""),
            ("NULL", "\"NULL\""),
            ("x y", "\"x y\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ] {
            assert_eq!(to_string(|o| write_item(o, item.as_bytes())), text);
        }
    }

    #[test]
    fn arrays_are_read_with_nulls_and_quotes() {
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(
            parse(r#" { a , NULL,"x \"y","null" , b\,c } "#).unwrap(),
            [some("a"), None, some("x \"y"), some("null"), some("b,c")]
        );
        assert_eq!(parse("{}").unwrap(), []);
        assert_eq!(parse("[1:2]={1,2}").unwrap(), [some("1"), some("2")]);
        for text in ["", "a", "{a", "{a,}", "{a}b", "{\"a", "{,}"] {
            assert_eq!(parse(text).unwrap_err().sqlstate(), "22P02", "{text}");
        }
        assert_eq!(parse("{{1},{2}}").unwrap_err().sqlstate(), "0A000");
    }
}
