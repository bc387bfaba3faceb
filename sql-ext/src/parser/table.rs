//! Clauses of CREATE TABLE and INSERT that sqlparser lacks, written as what it knows.
//!
//! ```text
//! (LIKE s.t INCLUDING ALL, b int)       ("\u{1}like" "s"."t" DEFAULT 'all', b int)
//! t (a, b) AS SELECT …                  t (a text, b text) AS SELECT …
//! … AS SELECT … WITH NO DATA            WITH ("\u{1}no_data" = true) AS SELECT …
//! AS IDENTITY (SEQUENCE NAME s …)       AS IDENTITY (… CACHE \u{1}name s)
//! INSERT INTO t (a) OVERRIDING SYSTEM VALUE …    INSERT INTO t (a, "\u{1}system") …
//! WHERE CURRENT OF c                    WHERE "\u{1}current_of"('c')
//! ```
//!
//! No user can write the names with the control character.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::spelling::in_order;
use super::{begins, is_word};

/// The column that stands for `LIKE t`: its type is the table's name, its default the options.
pub const TABLE_LIKE: &str = "\u{1}like";
/// The table option that stands for `WITH NO DATA`.
pub const NO_DATA: &str = "\u{1}no_data";
/// The column that stands for `OVERRIDING SYSTEM VALUE`.
pub const OVERRIDING_SYSTEM: &str = "\u{1}system";
/// The column that stands for `OVERRIDING USER VALUE`.
pub const OVERRIDING_USER: &str = "\u{1}user";
/// What the number of CACHE begins with where it is the name of the sequence.
pub const SEQUENCE_NAME: &str = "\u{1}name ";
/// The function that stands for `CURRENT OF`.
pub const CURRENT_OF: &str = "\u{1}current_of";

/// What a LIKE clause may include.
const LIKE_OPTIONS: [&str; 9] = [
    "ALL",
    "DEFAULTS",
    "CONSTRAINTS",
    "IDENTITY",
    "GENERATED",
    "INDEXES",
    "COMMENTS",
    "STORAGE",
    "STATISTICS",
];

/// The tokens as sqlparser takes them.
pub(super) fn plain(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let tokens = match table_name(&tokens) {
        Some(place) => create_table(tokens, place),
        None => tokens,
    };
    let tokens = match tokens.iter().any(|t| is_word(Some(t), "OVERRIDING")) {
        true => overriding(tokens),
        false => tokens,
    };
    let tokens = match tokens.iter().any(|t| is_word(Some(t), "IDENTITY")) {
        true => identity_options(tokens),
        false => tokens,
    };
    match tokens.windows(2).any(|pair| begins(pair, &["CURRENT", "OF"])) {
        true => current_of(tokens),
        false => tokens,
    }
}

fn quoted(value: &str, like: &TokenWithSpan) -> TokenWithSpan {
    let word =
        Word { value: value.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
    TokenWithSpan { token: Token::Word(word), span: like.span }
}

fn other(token: Token, like: &TokenWithSpan) -> TokenWithSpan {
    TokenWithSpan { token, span: like.span }
}

/// Where the name begins in CREATE TABLE.
fn table_name(tokens: &[TokenWithSpan]) -> Option<usize> {
    if !begins(tokens, &["CREATE"]) {
        return None;
    }
    let mut i = 1;
    while ["GLOBAL", "LOCAL", "TEMP", "TEMPORARY", "UNLOGGED"]
        .iter()
        .any(|word| is_word(tokens.get(i), word))
    {
        i += 1;
    }
    if !is_word(tokens.get(i), "TABLE") {
        return None;
    }
    i += 1;
    Some(if begins(&tokens[i..], &["IF", "NOT", "EXISTS"]) { i + 3 } else { i })
}

/// The place after the bracket that opens at `open`.
fn after_bracket(tokens: &[TokenWithSpan], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn create_table(tokens: Vec<TokenWithSpan>, name: usize) -> Vec<TokenWithSpan> {
    let mut head: Vec<TokenWithSpan> =
        tokens[..name].iter().filter(|t| !is_word(Some(t), "UNLOGGED")).cloned().collect();
    let mut i = name;
    while i < tokens.len()
        && (matches!(tokens[i].token, Token::Period)
            || (matches!(tokens[i].token, Token::Word(_))
                && (i == name || tokens[i - 1].token == Token::Period)))
    {
        i += 1;
    }
    head.extend_from_slice(&tokens[name..i]);
    let mut rest = tokens[i..].to_vec();
    if rest.first().is_some_and(|t| t.token == Token::LParen)
        && let Some(end) = after_bracket(&rest, 0)
    {
        let inner = &rest[1..end - 1];
        let names_only = inner.iter().enumerate().all(|(k, t)| match k % 2 {
            0 => matches!(t.token, Token::Word(_)),
            _ => t.token == Token::Comma,
        }) && inner.len() % 2 == 1;
        let elements = match names_only && is_query(&rest, end) {
            true => typed_names(inner),
            false => likes(inner),
        };
        let mut replaced = vec![rest[0].clone()];
        replaced.extend(elements);
        replaced.extend_from_slice(&rest[end - 1..]);
        rest = replaced;
    }
    head.extend(with_data(rest));
    head
}

/// Whether an AS of a query follows the column names.
fn is_query(tokens: &[TokenWithSpan], from: usize) -> bool {
    let mut depth = 0usize;
    for token in &tokens[from..] {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 && is_word(Some(token), "AS") => return true,
            _ => {}
        }
    }
    false
}

fn typed_names(inner: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(inner.len() * 2);
    for token in inner {
        out.push(token.clone());
        if matches!(token.token, Token::Word(_)) {
            out.push(other(Token::make_keyword("TEXT"), token));
        }
    }
    out
}

/// The elements of a table, each LIKE as a column.
fn likes(inner: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(inner.len());
    let mut depth = 0usize;
    let mut first = true;
    let mut i = 0;
    while i < inner.len() {
        if first && depth == 0 && is_word(inner.get(i), "LIKE") {
            let at = inner[i].clone();
            out.push(quoted(TABLE_LIKE, &at));
            i += 1;
            while let Some(token) = inner.get(i) {
                match &token.token {
                    Token::Word(w)
                        if out.last().is_some_and(|t| t.token == Token::Period)
                            || matches!(&out.last().map(|t| &t.token),
                            Some(Token::Word(l)) if l.value == TABLE_LIKE) =>
                    {
                        let name = match w.quote_style {
                            Some(_) => w.value.clone(),
                            None => w.value.to_lowercase(),
                        };
                        out.push(quoted(&name, token));
                    }
                    Token::Period => out.push(token.clone()),
                    _ => break,
                }
                i += 1;
            }
            let mut options: Vec<&str> = Vec::new();
            loop {
                let including = is_word(inner.get(i), "INCLUDING");
                if !including && !is_word(inner.get(i), "EXCLUDING") {
                    break;
                }
                let option =
                    LIKE_OPTIONS.into_iter().find(|option| is_word(inner.get(i + 1), option));
                let known = option
                    .or_else(|| is_word(inner.get(i + 1), "COMPRESSION").then_some("COMPRESSION"));
                // What is not known is left for the parser to refuse.
                let Some(option) = known else { break };
                match (including, option) {
                    (true, "ALL") => options = LIKE_OPTIONS[1..].to_vec(),
                    (false, "ALL") => options.clear(),
                    (true, option) => options.push(option),
                    (false, option) => options.retain(|o| *o != option),
                }
                i += 2;
            }
            out.push(other(Token::make_keyword("DEFAULT"), &at));
            out.push(other(Token::SingleQuotedString(options.join(",")), &at));
            first = false;
            continue;
        }
        first = false;
        match inner[i].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => first = true,
            _ => {}
        }
        out.push(inner[i].clone());
        i += 1;
    }
    out
}

/// `AS query WITH [NO] DATA` with the flag as a table option.
fn with_data(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let n = tokens.len();
    if n >= 3 && begins(&tokens[n - 3..], &["WITH", "NO", "DATA"]) {
        let at = tokens[n - 1].clone();
        tokens.truncate(n - 3);
        let mut depth = 0usize;
        let place = tokens.iter().position(|t| {
            match t.token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && (is_word(Some(t), "AS") || is_word(Some(t), "WITH"))
        });
        let option =
            [quoted(NO_DATA, &at), other(Token::Eq, &at), other(Token::make_keyword("TRUE"), &at)];
        match place {
            Some(place) if is_word(tokens.get(place), "AS") => {
                let mut clause =
                    vec![other(Token::make_keyword("WITH"), &at), other(Token::LParen, &at)];
                clause.extend(option);
                clause.push(other(Token::RParen, &at));
                tokens.splice(place..place, clause);
            }
            Some(place) if tokens.get(place + 1).is_some_and(|t| t.token == Token::LParen) => {
                let mut clause = option.to_vec();
                clause.push(other(Token::Comma, &at));
                tokens.splice(place + 2..place + 2, clause);
            }
            _ => {}
        }
    } else if n >= 2 && begins(&tokens[n - 2..], &["WITH", "DATA"]) {
        tokens.truncate(n - 2);
    }
    tokens
}

/// `SEQUENCE NAME s` as the value of CACHE, and the options in the parser's order.
fn identity_options(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        out.push(tokens[i].clone());
        i += 1;
        let opens = tokens.get(i).is_some_and(|t| t.token == Token::LParen);
        if !(opens && begins(&tokens[i - 2.min(i)..], &["AS", "IDENTITY"])) {
            continue;
        }
        let Some(end) = after_bracket(&tokens, i) else { continue };
        let mut inner = tokens[i + 1..end - 1].to_vec();
        if let Some(at) = (0..inner.len()).find(|&k| begins(&inner[k..], &["SEQUENCE", "NAME"])) {
            let mut k = at + 2;
            let mut name = String::new();
            while let Some(token) = inner.get(k) {
                match &token.token {
                    Token::Word(_) if name.is_empty() || name.ends_with('.') => {
                        name += &token.token.to_string();
                    }
                    Token::Period => name.push('.'),
                    _ => break,
                }
                k += 1;
            }
            let like = inner[at].clone();
            inner.drain(at..k);
            if let Some(cache) = inner.iter().position(|t| is_word(Some(t), "CACHE")) {
                inner.drain(cache..(cache + 2).min(inner.len()));
            }
            inner.push(other(Token::make_keyword("CACHE"), &like));
            // The parser takes nothing but a number here.
            inner.push(other(Token::Number(format!("{SEQUENCE_NAME}{name}"), false), &like));
        }
        out.push(tokens[i].clone());
        out.extend(in_order(&inner));
        i = end - 1;
    }
    out
}

/// `OVERRIDING SYSTEM VALUE` as a column of the INSERT.
fn overriding(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let system = begins(&tokens[i..], &["OVERRIDING", "SYSTEM", "VALUE"]);
        if !system && !begins(&tokens[i..], &["OVERRIDING", "USER", "VALUE"]) {
            out.push(tokens[i].clone());
            i += 1;
            continue;
        }
        let at = tokens[i].clone();
        let marker = quoted(if system { OVERRIDING_SYSTEM } else { OVERRIDING_USER }, &at);
        if out.last().is_some_and(|t| t.token == Token::RParen) {
            let end = out.len() - 1;
            out.splice(end..end, [other(Token::Comma, &at), marker]);
        } else {
            out.extend([other(Token::LParen, &at), marker, other(Token::RParen, &at)]);
        }
        i += 3;
    }
    out
}

fn current_of(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        if begins(&tokens[i..], &["WHERE", "CURRENT", "OF"])
            && let Some(TokenWithSpan { token: Token::Word(cursor), .. }) = tokens.get(i + 3)
        {
            let name = match cursor.quote_style {
                Some(_) => cursor.value.clone(),
                None => cursor.value.to_lowercase(),
            };
            let at = &tokens[i + 1];
            out.push(tokens[i].clone());
            out.push(quoted(CURRENT_OF, at));
            out.push(other(Token::LParen, at));
            out.push(other(Token::SingleQuotedString(name), at));
            out.push(other(Token::RParen, at));
            i += 4;
            continue;
        }
        out.push(tokens[i].clone());
        i += 1;
    }
    out
}
