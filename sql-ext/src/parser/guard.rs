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
/// Operators in one chain, not counting commas' other sides.
const CHAIN_MAX: usize = 4_000;

/// Refuses a statement that later steps could not recurse over.
pub(super) fn check(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<()> {
    // Of each open bracket: the operators of the chain so far.
    let mut open: Vec<usize> = vec![0];
    let mut prefixes = 0usize;
    for token in tokens {
        let too_complex = |message: String| Error::TooComplex {
            message,
            position: Some(source.characters(token.span.start) + 1),
        };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => open.push(0),
            Token::Word(_) if is_word(Some(token), "CASE") => open.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if open.len() > 1 => {
                open.pop();
            }
            Token::Word(_) if is_word(Some(token), "END") && open.len() > 1 => {
                open.pop();
            }
            Token::Comma => {
                if let Some(chain) = open.last_mut() {
                    *chain = 0;
                }
            }
            Token::Word(_) => {
                if ["AND", "OR", "UNION", "EXCEPT", "INTERSECT", "JOIN"]
                    .iter()
                    .any(|word| is_word(Some(token), word))
                    && let Some(chain) = open.last_mut()
                {
                    *chain += 1;
                }
            }
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_)
            | Token::Period => {}
            _ => {
                if let Some(chain) = open.last_mut() {
                    *chain += 1;
                }
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
        if open.last().is_some_and(|chain| *chain > CHAIN_MAX) {
            return Err(too_complex(format!("more than {CHAIN_MAX} operators in one expression")));
        }
    }
    Ok(())
}
