//! MERGE … DO NOTHING, which sqlparser lacks: it gets an action on a column that cannot exist.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::is_word;

/// The column that the action of DO NOTHING names. No user can write it.
pub const MERGE_NOTHING: &str = "\u{1}nothing";

/// The tokens with each `THEN DO NOTHING` of a MERGE written as an action that sqlparser knows.
pub(super) fn nothing_spelled_out(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|t| is_word(Some(t), "MERGE")) {
        return tokens;
    }
    let mut result = Vec::with_capacity(tokens.len());
    let mut inserts = false;
    let mut i = 0;
    while i < tokens.len() {
        let is = |at: usize, word: &str| is_word(tokens.get(at), word);
        if is(i, "WHEN") && (is(i + 1, "MATCHED") || (is(i + 1, "NOT") && is(i + 2, "MATCHED"))) {
            inserts = is(i + 1, "NOT") && !(is(i + 3, "BY") && is(i + 4, "SOURCE"));
        }
        if is(i, "THEN") && is(i + 1, "DO") && is(i + 2, "NOTHING") {
            let span = tokens[i + 1].span;
            let word = |value: &str, keyword: Keyword| {
                Token::Word(Word { value: value.to_owned(), quote_style: None, keyword })
            };
            let column = Token::Word(Word {
                value: MERGE_NOTHING.to_owned(),
                quote_style: Some('"'),
                keyword: Keyword::NoKeyword,
            });
            let null = word("NULL", Keyword::NULL);
            let action = if inserts {
                vec![
                    word("INSERT", Keyword::INSERT),
                    Token::LParen,
                    column,
                    Token::RParen,
                    word("VALUES", Keyword::VALUES),
                    Token::LParen,
                    null,
                    Token::RParen,
                ]
            } else {
                let update = word("UPDATE", Keyword::UPDATE);
                vec![update, word("SET", Keyword::SET), column, Token::Eq, null]
            };
            result.push(tokens[i].clone());
            result.extend(action.into_iter().map(|token| TokenWithSpan { token, span }));
            i += 3;
            continue;
        }
        result.push(tokens[i].clone());
        i += 1;
    }
    result
}
