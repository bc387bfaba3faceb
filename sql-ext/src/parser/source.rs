//! Positions in the query string, and the parser's errors in PostgreSQL's words.

use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, TokenizerError};

use crate::error::Error;

/// The query string, with the places of its lines.
pub(super) struct Source<'a> {
    sql: &'a str,
    /// Of each line: characters and bytes before it.
    lines: Vec<(usize, usize)>,
}

impl<'a> Source<'a> {
    pub(super) fn new(sql: &'a str) -> Self {
        let mut lines = vec![(0, 0)];
        for (characters, (bytes, c)) in sql.char_indices().enumerate() {
            if c == '\n' {
                lines.push((characters + 1, bytes + 1));
            }
        }
        Source { sql, lines }
    }

    /// Characters before a location.
    pub(super) fn characters(&self, location: Location) -> usize {
        let line = (location.line.max(1) as usize - 1).min(self.lines.len() - 1);
        self.lines[line].0 + location.column.max(1) as usize - 1
    }

    fn bytes(&self, location: Location) -> usize {
        let line = (location.line.max(1) as usize - 1).min(self.lines.len() - 1);
        let start = self.lines[line].1;
        let column = location.column.max(1) as usize - 1;
        self.sql[start..]
            .char_indices()
            .nth(column)
            .map_or(self.sql.len(), |(offset, _)| start + offset)
    }

    /// The source text of a run of tokens, and the characters before it.
    pub(super) fn text(&self, tokens: &[TokenWithSpan]) -> (&'a str, usize) {
        match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => (
                &self.sql[self.bytes(first.span.start)..self.bytes(last.span.end)],
                self.characters(first.span.start),
            ),
            _ => ("", 0),
        }
    }

    /// `syntax error at or near …`
    pub(super) fn unexpected(&self, token: &TokenWithSpan) -> Error {
        if token.token == Token::EOF {
            return self.end_of_input(None);
        }
        let (text, offset) = self.text(std::slice::from_ref(token));
        Error::Syntax {
            message: format!("syntax error at or near \"{text}\""),
            detail: None,
            position: Some(offset + 1),
        }
    }

    fn end_of_input(&self, detail: Option<String>) -> Error {
        Error::Syntax {
            message: "syntax error at end of input".into(),
            detail,
            position: Some(self.sql.chars().count() + 1),
        }
    }

    /// A syntax error of our own at a token.
    pub(super) fn syntax(&self, at: &TokenWithSpan, message: impl Into<String>) -> Error {
        Error::Syntax {
            message: message.into(),
            detail: None,
            position: Some(self.characters(at.span.start) + 1),
        }
    }

    pub(super) fn tokenizer_error(&self, error: &TokenizerError) -> Error {
        let offset = self.characters(error.location);
        let message = if error.message.contains("nterminated string literal") {
            let text: String = self.sql.chars().skip(offset).collect();
            format!("unterminated quoted string at or near \"{text}\"")
        } else {
            let mut message = error.message.clone();
            if let Some(first) = message.get_mut(0..1) {
                first.make_ascii_lowercase();
            }
            message
        };
        Error::Syntax { message, detail: None, position: Some(offset + 1) }
    }

    pub(super) fn parser_error(&self, error: ParserError) -> Error {
        let message = match error {
            ParserError::TokenizerError(message) => message,
            ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return Error::TooComplex {
                    message: "the statement is nested too deeply".into(),
                    position: None,
                };
            }
        };
        let (what, location) = match message.rsplit_once(" at Line: ") {
            Some((what, rest)) => (what.to_owned(), location(rest)),
            None => (message, None),
        };
        if what.ends_with("found: EOF") {
            return self.end_of_input(Some(sentence(&what)));
        }
        let Some(location) = location else {
            return Error::Syntax { message: lower_first(&what), detail: None, position: None };
        };
        match what.rsplit_once("found: ") {
            Some((_, found)) => Error::Syntax {
                message: format!("syntax error at or near \"{found}\""),
                detail: Some(sentence(&what)),
                position: Some(self.characters(location) + 1),
            },
            None => Error::Syntax {
                message: lower_first(&what),
                detail: None,
                position: Some(self.characters(location) + 1),
            },
        }
    }
}

/// Reads `3, Column: 14`.
fn location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location::new(line.parse().ok()?, column.trim().parse().ok()?))
}

fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
