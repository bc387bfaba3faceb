//! Limits that keep one statement from exhausting the stack.
//!
//! The parser, the visitors and the planner recurse over the syntax tree, whose depth is bounded
//! by the nesting of brackets and by the length of operator chains (`a + b + c + …` is a tree as
//! deep as it is long).

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::is_word;
use super::source::Source;
use crate::error::{Error, Result};

/// Brackets, CASE … END and prefix operators within one another.
pub(crate) const NESTING_MAX: usize = 256;
/// AND, OR, JOIN, UNION and the like in one chain.
const CHAIN_MAX: usize = 4_000;
/// Other operators in one chain, such as the terms of a sum. Planning takes time with the cube of
/// their number.
const OPERATORS_MAX: usize = 400;

/// The chains at one level of brackets so far.
#[derive(Default)]
struct Level {
    chain: usize,
    operators: usize,
}

/// Refuses a statement that later steps could not recurse over.
pub(super) fn check(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<()> {
    let mut open: Vec<Level> = vec![Level::default()];
    let mut prefixes = 0usize;
    for token in tokens {
        let too_complex = |message: String| Error::TooComplex {
            message,
            position: Some(source.characters(token.span.start) + 1),
        };
        let is = |words: &[&str]| words.iter().any(|word| is_word(Some(token), word));
        let closes =
            matches!(&token.token, Token::RParen | Token::RBracket | Token::RBrace) || is(&["END"]);
        if closes && open.len() > 1 {
            open.pop();
        } else if matches!(&token.token, Token::LParen | Token::LBracket | Token::LBrace)
            || is(&["CASE"])
        {
            open.push(Level::default());
        } else if let Some(level) = open.last_mut() {
            match &token.token {
                Token::Comma => *level = Level::default(),
                Token::Word(_) => {
                    if is(&["AND", "OR", "UNION", "EXCEPT", "INTERSECT", "JOIN"]) {
                        level.chain += 1;
                    }
                    if is(&[
                        "AND",
                        "OR",
                        "UNION",
                        "EXCEPT",
                        "INTERSECT",
                        "JOIN",
                        "ON",
                        "SELECT",
                        "FROM",
                        "WHERE",
                        "HAVING",
                        "WHEN",
                        "THEN",
                        "ELSE",
                    ]) {
                        level.operators = 0;
                    }
                }
                Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::Placeholder(_)
                | Token::Period => {}
                _ => level.operators += 1,
            }
        }
        let prefix = matches!(&token.token, Token::Minus | Token::Plus | Token::Tilde)
            || is_word(Some(token), "NOT");
        prefixes = if prefix { prefixes + 1 } else { 0 };
        if open.len() > NESTING_MAX || prefixes > NESTING_MAX {
            return Err(too_complex(format!(
                "the statement is nested more than {NESTING_MAX} levels deep"
            )));
        }
        if open.last().is_some_and(|level| level.chain > CHAIN_MAX) {
            return Err(too_complex(format!("more than {CHAIN_MAX} terms in one chain")));
        }
        if open.last().is_some_and(|level| level.operators > OPERATORS_MAX) {
            return Err(too_complex(format!("more than {OPERATORS_MAX} operators in one chain")));
        }
    }
    Ok(())
}
