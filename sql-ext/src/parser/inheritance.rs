//! Other ways to ask for a whole table.
//!
//! `FROM ONLY t` and `FROM t *` leave out and take in the tables that inherit. No table inherits
//! here, so both say what `FROM t` says, and the tokens go. `TABLE t` is `SELECT * FROM t`.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{begins, follows_name, is_word};

/// The words that a table reference follows. A comma may be one's as well, but need not.
const BEFORE: [&str; 4] = ["FROM", "JOIN", "UPDATE", "USING"];

/// Takes the tokens of inheritance out, and spells a statement `TABLE t` out.
pub(super) fn strip(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let may_be = |t: &TokenWithSpan| {
        t.token == Token::Mul || is_word(Some(t), "TABLE") || is_word(Some(t), "ONLY")
    };
    if !tokens.iter().any(may_be) {
        return tokens;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 2);
    let mut i = 0;
    if begins(&tokens, &["TABLE"]) {
        let span = tokens[0].span;
        for token in [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")] {
            out.push(TokenWithSpan::new(token, span));
        }
        i = 1;
    }
    while i < tokens.len() {
        let names = matches!(tokens.get(i + 1).map(|t| &t.token), Some(Token::Word(_)));
        if is_word(tokens.get(i), "TABLE") && names && begins_query(out.last()) {
            let span = tokens[i].span;
            for token in [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")] {
                out.push(TokenWithSpan::new(token, span));
            }
            i += 1;
            continue;
        }
        if is_word(tokens.get(i), "ONLY") && follows(out.last()) {
            match (tokens.get(i + 1), bracketed(&tokens[i + 1..])) {
                // ONLY (t)
                (_, Some(length)) => {
                    out.extend_from_slice(&tokens[i + 2..i + 2 + length]);
                    i += length + 3;
                    continue;
                }
                (Some(next), None) if matches!(next.token, Token::Word(_)) => {
                    i += 1;
                    continue;
                }
                _ => {}
            }
        }
        if tokens[i].token == Token::Mul && ends(tokens.get(i + 1)) && ends_name(&out) {
            i += 1;
            continue;
        }
        out.push(tokens[i].clone());
        i += 1;
    }
    out
}

/// Whether a query, and so TABLE, may begin after this token.
fn begins_query(before: Option<&TokenWithSpan>) -> bool {
    const BEFORE_QUERY: [&str; 4] = ["UNION", "INTERSECT", "EXCEPT", "ALL"];
    matches!(before.map(|t| &t.token), Some(Token::LParen))
        || BEFORE_QUERY.iter().any(|word| is_word(before, word))
}

fn follows(before: Option<&TokenWithSpan>) -> bool {
    BEFORE.iter().any(|word| is_word(before, word))
        || matches!(before.map(|t| &t.token), Some(Token::Comma))
}

/// The tokens of a name in brackets.
fn bracketed(tokens: &[TokenWithSpan]) -> Option<usize> {
    if tokens.first()?.token != Token::LParen {
        return None;
    }
    let length = tokens[1..].iter().position(|t| t.token == Token::RParen)?;
    let name = tokens[1..=length].iter();
    name.into_iter().all(|t| matches!(t.token, Token::Word(_) | Token::Period)).then_some(length)
}

fn ends(after: Option<&TokenWithSpan>) -> bool {
    match after.map(|t| &t.token) {
        None | Some(Token::RParen | Token::Comma | Token::EOF) => true,
        Some(_) => follows_name(after) || is_word(after, "VERSION") || is_word(after, "TIMESTAMP"),
    }
}

/// Whether the tokens end with a name that begins a FROM.
fn ends_name(tokens: &[TokenWithSpan]) -> bool {
    let mut rest = tokens;
    loop {
        let [before @ .., name] = rest else { return false };
        if !matches!(name.token, Token::Word(_)) {
            return false;
        }
        match before.last() {
            Some(token) if token.token == Token::Period => rest = &before[..before.len() - 1],
            last => return BEFORE[..3].iter().any(|word| is_word(last, word)),
        }
    }
}
