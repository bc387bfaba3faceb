//! Clauses of PostgreSQL that are not here: refused by name rather than as syntax that is wrong.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{begins, is_word};
use crate::error::{Error, Result};

/// Refuses a statement with such a clause.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<()> {
    let found = tokens.iter().enumerate().find_map(|(i, token)| {
        let before = i.checked_sub(1).and_then(|i| tokens.get(i));
        let is = |at: usize, words: &[&str]| words.iter().any(|w| is_word(tokens.get(at), w));
        let after_bracket = before.is_some_and(|t| t.token == Token::RParen);
        if is_word(Some(token), "EXCLUDE") {
            if is(i + 1, &["GROUP", "TIES"]) || begins(&tokens[i + 1..], &["CURRENT", "ROW"]) {
                return Some("EXCLUDE in a window frame");
            }
            let list = tokens.get(i + 1).is_some_and(|t| t.token == Token::LParen)
                && is_word(tokens.get(i + 3), "WITH");
            let named = i.checked_sub(2).is_some_and(|i| is(i, &["CONSTRAINT"]));
            let first = before.is_some_and(|t| {
                matches!(t.token, Token::Comma | Token::LParen) || is_word(Some(t), "ADD")
            });
            if (named || first) && (list || is(i + 1, &["USING"])) {
                return Some("an EXCLUDE constraint");
            }
        }
        if after_bracket && is_word(Some(token), "SEARCH") && is(i + 1, &["DEPTH", "BREADTH"]) {
            return Some("SEARCH in a recursive query");
        }
        let column = tokens.get(i + 1).is_some_and(|t| matches!(t.token, Token::Word(_)));
        if after_bracket && is_word(Some(token), "CYCLE") && column && is(i + 2, &["SET"]) {
            return Some("CYCLE in a recursive query");
        }
        None
    });
    found.map_or(Ok(()), |what| Err(Error::unsupported(what)))
}
