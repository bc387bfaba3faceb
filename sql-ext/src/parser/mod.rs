//! From a query string to statements.
//!
//! ```text
//! text ─ tokens ─ split at ';' ─┬─ a statement of ours ──────────────── Extension
//!                               └─ take out clauses of time travel ─ sqlparser ─ attach them
//! ```
//!
//! Invariants: every clause that was taken out is attached to exactly one table reference, or
//! parsing fails; positions are those of the query string as the client sent it.

mod access;
mod alter;
mod attach;
mod clauses;
mod dialect;
mod extensions;
mod guard;
mod inheritance;
mod merge;
mod period;
mod refused;
mod source;
mod spelling;
mod table;

#[cfg(test)]
mod tests;

use datafusion::sql::sqlparser::parser::{Parser, ParserOptions};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::Result;
use crate::statement::{Statement, StatementKind};
use dialect::ChronosDialect;
use source::Source;

pub use attach::{Portion, query_text, take_as_of, take_portion};
pub use merge::MERGE_NOTHING;
pub use period::{PERIOD, WITHOUT_OVERLAPS};
pub use table::{
    CURRENT_OF, NO_DATA, OVERRIDING_SYSTEM, OVERRIDING_USER, SEQUENCE_NAME, TABLE_LIKE,
};

pub(crate) use attach::{TimeClause, reads_each, spread_over, take_time_clause};
use guard::NESTING_MAX;
pub(crate) use spelling::SYMMETRIC;

/// Splits and parses a query string.
pub(crate) fn parse(sql: &str) -> Result<Vec<Statement>> {
    let source = Source::new(sql);
    let tokens = Tokenizer::new(&ChronosDialect, sql)
        .tokenize_with_location()
        .map_err(|error| source.tokenizer_error(&error))?;
    let tokens: Vec<TokenWithSpan> =
        tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).collect();
    tokens
        .split(|t| t.token == Token::SemiColon)
        .filter(|tokens| !tokens.is_empty())
        .map(|tokens| parse_one(&source, tokens))
        .collect()
}

fn parse_one(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<Statement> {
    guard::check(source, tokens)?;
    let kind = match extensions::parse(source, tokens)? {
        Some(extension) => StatementKind::Extension(extension),
        None => {
            refused::check(tokens)?;
            let tokens = spelling::plain(tokens).unwrap_or_else(|| tokens.to_vec());
            let tokens = inheritance::strip(tokens);
            let tokens = table::plain(period::plain(tokens));
            let clauses::Extracted { tokens, clauses, whole } = clauses::extract(source, tokens)?;
            let mut parser = parser(merge::nothing_spelled_out(tokens));
            let mut statement =
                parser.parse_statement().map_err(|error| source.parser_error(error))?;
            expect_end(source, &parser)?;
            attach::attach(source, &mut statement, clauses, whole)?;
            StatementKind::Sql(Box::new(statement))
        }
    };
    let (text, offset) = source.text(tokens);
    Ok(Statement { kind, text: text.to_owned(), offset, parameter_count: parameters(tokens) })
}

/// The parser for a run of tokens, with PostgreSQL's dialect.
fn parser(tokens: Vec<TokenWithSpan>) -> Parser<'static> {
    Parser::new(&ChronosDialect)
        .with_options(ParserOptions::new().with_unescape(true))
        .with_recursion_limit(4 * NESTING_MAX)
        .with_tokens_with_locations(tokens)
}

fn expect_end(source: &Source<'_>, parser: &Parser<'_>) -> Result<()> {
    let next = parser.peek_token();
    if next.token == Token::EOF { Ok(()) } else { Err(source.unexpected(&next)) }
}

/// How many parameters a statement has. Those of PREPARE are its statement's.
fn parameters(tokens: &[TokenWithSpan]) -> usize {
    if begins(tokens, &["PREPARE"]) {
        return 0;
    }
    tokens
        .iter()
        .filter_map(|t| match &t.token {
            Token::Placeholder(name) => name.strip_prefix('$')?.parse().ok(),
            _ => None,
        })
        .max()
        .unwrap_or(0)
}

/// Whether a token is that unquoted word.
fn is_word(token: Option<&TokenWithSpan>, word: &str) -> bool {
    matches!(token.map(|t| &t.token), Some(Token::Word(w))
        if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// Whether a token can be the first after a table's name: of its alias, spelled with AS, or of
/// the next clause.
fn follows_name(token: Option<&TokenWithSpan>) -> bool {
    const WORDS: [&str; 25] = [
        "AS",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "WINDOW",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "RETURNING",
        "ON",
        "USING",
        "JOIN",
        "INNER",
        "LEFT",
        "RIGHT",
        "FULL",
        "CROSS",
        "NATURAL",
        "SET",
        "FOR",
        "TABLESAMPLE",
    ];
    WORDS.iter().any(|word| is_word(token, word))
}

/// Whether the tokens begin with those unquoted words.
fn begins(tokens: &[TokenWithSpan], words: &[&str]) -> bool {
    words.iter().enumerate().all(|(i, word)| is_word(tokens.get(i), word))
}
