//! Periods of valid time (SQL:2011) in the words that sqlparser knows.
//!
//! ```text
//! PERIOD FOR p (s, e)               CONSTRAINT "\u{1}period p" CHECK (s < e)
//! DROP PERIOD FOR p                 DROP CONSTRAINT "\u{1}period p"
//! PRIMARY KEY (k, p WITHOUT OVERLAPS)    PRIMARY KEY (k, "\u{1}without_overlaps p")
//! ```
//!
//! No user can write the names with the control character.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::{begins, is_word};

/// What the name of a constraint that stands for a period begins with.
pub const PERIOD: &str = "\u{1}period ";
/// What the name of a key's column that stands for a period begins with.
pub const WITHOUT_OVERLAPS: &str = "\u{1}without_overlaps ";

/// The tokens as sqlparser takes them.
pub(super) fn plain(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let ours = tokens
        .windows(2)
        .any(|two| begins(two, &["PERIOD", "FOR"]) || begins(two, &["WITHOUT", "OVERLAPS"]));
    if !ours || !(is_word(tokens.first(), "CREATE") || is_word(tokens.first(), "ALTER")) {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    let mut i = 0;
    while i < tokens.len() {
        if begins(&tokens[i..], &["PERIOD", "FOR"])
            && let Some(name) = tokens.get(i + 2).and_then(name)
        {
            let at = &tokens[i];
            out.push(like(Token::make_keyword("CONSTRAINT"), at));
            out.push(quoted(PERIOD, &name, &tokens[i + 2]));
            i += 3;
            if let [open, start, comma, end, close, ..] = &tokens[i..]
                && open.token == Token::LParen
                && comma.token == Token::Comma
                && close.token == Token::RParen
            {
                out.push(like(Token::make_keyword("CHECK"), at));
                let less = like(Token::Lt, comma);
                out.extend([open.clone(), start.clone(), less, end.clone(), close.clone()]);
                i += 5;
            }
            continue;
        }
        if begins(&tokens[i..], &["WITHOUT", "OVERLAPS"])
            && let Some(last) = out.pop()
        {
            match name(&last) {
                Some(name) => out.push(quoted(WITHOUT_OVERLAPS, &name, &last)),
                None => out.extend([last, tokens[i].clone(), tokens[i + 1].clone()]),
            }
            i += 2;
            continue;
        }
        out.push(tokens[i].clone());
        i += 1;
    }
    out
}

/// The name that a token is.
fn name(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    }
}

fn quoted(prefix: &str, name: &str, at: &TokenWithSpan) -> TokenWithSpan {
    let value = format!("{prefix}{name}");
    let word = Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword };
    like(Token::Word(word), at)
}

fn like(token: Token, at: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan { token, span: at.span }
}
