//! Finds the ends of lines in COPY data that arrives in pieces.

use crate::error::{PgError, PgResult};

/// How the lines of the data end; the first one decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Newline,
    Return,
    Both,
}

/// What may stand for something else than itself within a line.
pub(super) enum Dialect {
    /// A backslash takes away the meaning of the byte after it.
    Text,
    /// Line ends within quotes belong to the data.
    Csv { quote: u8, escape: u8 },
}

/// A line within the data at hand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its length, with its end, and how many lines it spans.
    Data { length: usize, whole: usize, spans: u64 },
    /// `\.`: no more data.
    End,
    /// Its end is not there yet.
    Partial,
}

/// Where the search for the end of a line stands.
pub(super) struct Lines {
    dialect: Dialect,
    ending: Option<Ending>,
    at: usize,
    quoted: bool,
    escaped: bool,
    spans: u64,
}

impl Lines {
    pub(super) fn new(dialect: Dialect) -> Self {
        Lines { dialect, ending: None, at: 0, quoted: false, escaped: false, spans: 1 }
    }

    /// Whether the data ends within quotes.
    pub(super) fn within_quotes(&self) -> bool {
        self.quoted
    }

    /// The line at the start of `data`, which is what followed the last line, possibly longer
    /// than at the last call. `last`: nothing follows `data`.
    ///
    /// # Errors
    /// 22P04 for line ends that differ from those before.
    pub(super) fn next(&mut self, data: &[u8], last: bool) -> PgResult<Line> {
        while let Some(&byte) = data.get(self.at) {
            match (&self.dialect, byte) {
                (Dialect::Text, b'\\') => match data.get(self.at + 1) {
                    Some(b'.') if self.at == 0 => match self.end_marker(data, last) {
                        Some(true) => return Ok(Line::End),
                        Some(false) => {
                            return Err(PgError::new("22P04", "end-of-copy marker corrupt"));
                        }
                        None => return Ok(Line::Partial),
                    },
                    Some(_) => self.at += 2,
                    None if last => self.at += 1,
                    None => return Ok(Line::Partial),
                },
                (Dialect::Csv { .. }, b'\\') if self.at == 0 && data.get(1) == Some(&b'.') => {
                    match self.end_marker(data, last) {
                        Some(true) => return Ok(Line::End),
                        Some(false) => self.step(byte),
                        None => return Ok(Line::Partial),
                    }
                }
                (Dialect::Csv { .. }, b'\\') if self.at == 0 && data.len() == 1 && !last => {
                    return Ok(Line::Partial);
                }
                (_, b'\n' | b'\r') if !self.quoted => {
                    let next = data.get(self.at + 1);
                    if byte == b'\r' && next.is_none() && !last {
                        return Ok(Line::Partial);
                    }
                    let ending = match (byte, next) {
                        (b'\n', _) => Ending::Newline,
                        (_, Some(b'\n')) if self.ending != Some(Ending::Return) => Ending::Both,
                        _ => Ending::Return,
                    };
                    if *self.ending.get_or_insert(ending) != ending {
                        return Err(self.mixed(byte));
                    }
                    let length = self.at;
                    let whole = length + if ending == Ending::Both { 2 } else { 1 };
                    let spans = self.spans;
                    self.restart();
                    return Ok(Line::Data { length, whole, spans });
                }
                _ => self.step(byte),
            }
        }
        if !last || data.is_empty() {
            return Ok(Line::Partial);
        }
        let (length, spans) = (data.len(), self.spans);
        let quoted = self.quoted;
        self.restart();
        self.quoted = quoted;
        Ok(Line::Data { length, whole: length, spans })
    }

    fn restart(&mut self) {
        (self.at, self.quoted, self.escaped, self.spans) = (0, false, false, 1);
    }

    fn step(&mut self, byte: u8) {
        if let Dialect::Csv { quote, escape } = self.dialect {
            // An escape counts only within quotes; where it is the quote itself, two quotes
            // leave and enter them again.
            if self.quoted && escape != quote && byte == escape {
                self.escaped = !self.escaped;
            }
            if byte == quote && !self.escaped {
                self.quoted = !self.quoted;
            }
            if byte != escape {
                self.escaped = false;
            }
            if self.quoted {
                let newline = if self.ending == Some(Ending::Return) { b'\r' } else { b'\n' };
                self.spans += u64::from(byte == newline);
            }
        }
        self.at += 1;
    }

    /// Whether the `\.` at the start is alone in its line; `None` if more is needed to tell.
    fn end_marker(&self, data: &[u8], last: bool) -> Option<bool> {
        match data.get(2) {
            None => last.then_some(true),
            Some(b'\n' | b'\r') => Some(true),
            Some(_) => Some(false),
        }
    }

    fn mixed(&self, byte: u8) -> PgError {
        let (what, escape) =
            if byte == b'\n' { ("newline", "\\n") } else { ("carriage return", "\\r") };
        match self.dialect {
            Dialect::Text => PgError::new("22P04", format!("literal {what} found in data"))
                .hint(format!("Use \"{escape}\" to represent {what}.")),
            Dialect::Csv { .. } => PgError::new("22P04", format!("unquoted {what} found in data"))
                .hint(format!("Use quoted CSV field to represent {what}.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(dialect: Dialect, data: &[u8]) -> Vec<usize> {
        let (mut lines, mut at, mut lengths) = (Lines::new(dialect), 0, vec![]);
        while let Line::Data { length, whole, .. } = lines.next(&data[at..], true).unwrap() {
            lengths.push(length);
            at += whole;
        }
        lengths
    }

    #[test]
    fn an_escaped_or_quoted_newline_is_data() {
        assert_eq!(lengths(Dialect::Text, b"a\\\nb\nc\\\\\nd"), [4, 3, 1]);
        let csv = || Dialect::Csv { quote: b'"', escape: b'"' };
        assert_eq!(lengths(csv(), b"\"a\n\"\"b\",c\nd\n"), [9, 1]);
        let escape = || Dialect::Csv { quote: b'"', escape: b'\\' };
        assert_eq!(lengths(escape(), b"\"a\\\"\nb\"\nd\n"), [7, 1]);
        assert_eq!(lengths(Dialect::Text, b"a\r\nb\r\n"), [1, 1]);
        assert_eq!(lengths(Dialect::Text, b"a\rb\r"), [1, 1]);
    }

    #[test]
    fn the_end_marker_stands_alone() {
        let next = |data: &[u8]| Lines::new(Dialect::Text).next(data, false);
        assert_eq!(next(b"\\.\n").unwrap(), Line::End);
        assert_eq!(next(b"\\").unwrap(), Line::Partial);
        assert_eq!(next(b"\\.").unwrap(), Line::Partial);
        assert_eq!(next(b"\\.x\n").unwrap_err().code, "22P04");
    }

    #[test]
    fn line_ends_do_not_change() {
        let mut lines = Lines::new(Dialect::Text);
        assert_eq!(
            lines.next(b"a\nb\r\n", false).unwrap(),
            Line::Data { length: 1, whole: 2, spans: 1 }
        );
        assert_eq!(
            lines.next(b"b\r\n", false).unwrap_err().message,
            "literal carriage return found in data"
        );
    }

    #[test]
    fn pieces_give_the_same_lines_as_the_whole() {
        let data = b"\"a\n\"\"b\",c\r\n\"d\r\n\"\r\n";
        let mut lines = Lines::new(Dialect::Csv { quote: b'"', escape: b'"' });
        let (mut start, mut found) = (0, vec![]);
        for end in 0..=data.len() {
            if let Line::Data { length, whole, spans } =
                lines.next(&data[start..end], false).unwrap()
            {
                found.push((length, spans));
                start += whole;
            }
        }
        assert_eq!(found, [(9, 2), (5, 2)]);
    }
}
