//! Rows as text: `(1,"a b",)`.

use super::Out;

/// Writes a row of texts; `None` is NULL.
pub fn write<'a>(out: &mut Out, columns: impl Iterator<Item = Option<&'a str>>) {
    out.extend_from_slice(b"(");
    for (i, column) in columns.enumerate() {
        if i > 0 {
            out.extend_from_slice(b",");
        }
        let Some(text) = column else { continue };
        let special = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '"' | '\\');
        if text.is_empty() || text.contains(special) {
            out.extend_from_slice(b"\"");
            for c in text.chars() {
                if matches!(c, '"' | '\\') {
                    let mut twice = [0; 4];
                    out.extend_from_slice(c.encode_utf8(&mut twice).as_bytes());
                }
                let mut bytes = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut bytes).as_bytes());
            }
            out.extend_from_slice(b"\"");
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.extend_from_slice(b")");
}

/// The columns of a row that [`write`] wrote.
pub fn parse(text: &str) -> Vec<Option<String>> {
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')).unwrap_or(text);
    if inner.is_empty() {
        return Vec::new();
    }
    let mut columns = Vec::new();
    let (mut column, mut present, mut quoted) = (String::new(), false, false);
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                column.push('"');
            }
            '"' => {
                quoted = !quoted;
                present = true;
            }
            '\\' => column.extend(chars.next()),
            ',' if !quoted => {
                columns.push(present.then(|| std::mem::take(&mut column)));
                column.clear();
                present = false;
            }
            c => {
                column.push(c);
                present = true;
            }
        }
    }
    columns.push(present.then_some(column));
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_and_read() {
        let row = [Some("1"), None, Some("a b"), Some("c\"d"), Some("")];
        let text = super::super::to_string(|out| write(out, row.into_iter()));
        assert_eq!(text, "(1,,\"a b\",\"c\"\"d\",\"\")");
        let read = parse(&text);
        assert_eq!(read.iter().map(|c| c.as_deref()).collect::<Vec<_>>(), row);
        assert!(parse("()").is_empty());
    }
}
