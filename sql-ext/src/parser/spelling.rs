//! Statements of PostgreSQL in the spelling and order that sqlparser knows.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{begins, is_word};

/// The tokens as the parser takes them; `None` where they are that already.
pub(super) fn plain(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let common = everywhere(tokens);
    let tokens = common.as_deref().unwrap_or(tokens);
    if begins(tokens, &["DROP", "INDEX", "CONCURRENTLY"]) {
        return Some(tokens.iter().take(2).chain(&tokens[3..]).cloned().collect());
    }
    if begins(tokens, &["COPY"]) {
        return Some(copy_options(tokens));
    }
    if begins(tokens, &["ALTER", "TABLE"])
        || tokens.first().is_some_and(|t| is_word(Some(t), "CREATE"))
            && tokens.iter().take(4).any(|t| is_word(Some(t), "TABLE"))
    {
        return Some(table_options(tokens));
    }
    if begins(tokens, &["CREATE"])
        && let Some(at) = tokens.iter().take(4).position(|t| is_word(Some(t), "SEQUENCE"))
    {
        return Some(sequence_options(tokens, at + 1));
    }
    if begins(tokens, &["CREATE"])
        && let Some(at) = tokens.iter().take(5).position(|t| is_word(Some(t), "VIEW"))
    {
        return Some(view_options(tokens, at + 1));
    }
    common
}

/// `WITH CHECK OPTION` after a view's query as an option before it, and options without a value
/// as true: `CREATE VIEW v WITH (check_option = 'cascaded', security_invoker = true) AS …`.
fn view_options(tokens: &[TokenWithSpan], name: usize) -> Vec<TokenWithSpan> {
    let mut tokens = tokens.to_vec();
    let mut check = None;
    if let [.., option] = tokens.as_slice()
        && is_word(Some(option), "OPTION")
    {
        for (words, kind) in [
            (&["WITH", "LOCAL", "CHECK"][..], "local"),
            (&["WITH", "CASCADED", "CHECK"], "cascaded"),
            (&["WITH", "CHECK"], "cascaded"),
        ] {
            let Some(at) = tokens.len().checked_sub(words.len() + 1) else { continue };
            if begins(&tokens[at..], words) {
                tokens.truncate(at);
                check = Some(kind);
                break;
            }
        }
    }
    let mut depth = 0_usize;
    let Some(query) = (name..tokens.len()).find(|&i| {
        match tokens[i].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && is_word(tokens.get(i), "AS")
    }) else {
        return tokens;
    };
    let given = (name..query).find(|&i| is_word(tokens.get(i), "WITH"));
    if check.is_none() && given.is_none() {
        return tokens;
    }
    let like = |token| TokenWithSpan { token, span: tokens[query].span };
    let mut options = Vec::new();
    if let Some(given) = given {
        // What stands in the brackets.
        let inside = tokens.get(given + 2..query.saturating_sub(1)).unwrap_or_default();
        for option in inside.split(|t| t.token == Token::Comma) {
            options.extend_from_slice(option);
            if !option.iter().any(|t| t.token == Token::Eq) {
                options.extend([like(Token::Eq), like(Token::make_keyword("TRUE"))]);
            }
            options.push(like(Token::Comma));
        }
    }
    if let Some(check) = check {
        options.extend([
            like(Token::make_word("check_option", None)),
            like(Token::Eq),
            like(Token::SingleQuotedString(check.into())),
        ]);
    } else {
        options.pop();
    }
    let mut out = tokens[..given.unwrap_or(query)].to_vec();
    out.push(like(Token::make_keyword("WITH")));
    out.push(like(Token::LParen));
    out.extend(options);
    out.push(like(Token::RParen));
    out.extend_from_slice(&tokens[query..]);
    out
}

/// Spellings that any statement may have; `None` where there are none.
///
/// - String literals on lines of their own are one.
/// - An operator ends before a sign: `->>-1` is `->> -1`.
/// - `trim(leading from x)` is `ltrim(x)`.
/// - `substring(x similar p escape e)` is a function.
/// - `ORDER BY x USING >` is `ORDER BY x DESC`.
/// - `inet '::1'` is `'::1'::inet`, of the types whose names the parser does not know.
/// - `x ISNULL` is `x IS NULL`.
/// - `x BETWEEN SYMMETRIC a AND b` is `x BETWEEN "\u{1}symmetric"(a) AND b`, which
///   [`crate::bind`] writes out.
/// - `FOR NO KEY UPDATE` is `FOR UPDATE`, `FOR KEY SHARE` is `FOR SHARE`: the locks of rows have
///   two strengths, and the stronger one does what the weaker one promises.
/// - `pg_catalog.substring(x, y)`, a word of the grammar otherwise, is `substring(x, y)`.
fn everywhere(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    let wanted = |(i, t): (usize, &TokenWithSpan)| match &t.token {
        Token::CustomBinaryOperator(_) => true,
        Token::SingleQuotedString(_) => {
            matches!(tokens.get(i + 1).map(|t| &t.token), Some(Token::SingleQuotedString(_)))
        }
        Token::Word(_) if types_literal(tokens, i) => true,
        Token::Word(_) => {
            let words = [
                "trim",
                "similar",
                "using",
                "pg_catalog",
                "isnull",
                "symmetric",
                "asymmetric",
                "key",
            ];
            words.iter().any(|word| is_word(Some(t), word))
        }
        _ => false,
    };
    if !tokens.iter().enumerate().any(wanted) {
        return None;
    }
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match (&token.token, out.last_mut()) {
            (Token::SingleQuotedString(more), Some(before))
                if token.span.start.line > before.span.end.line =>
            {
                if let Token::SingleQuotedString(text) = &mut before.token {
                    text.push_str(more);
                    before.span.end = token.span.end;
                    continue;
                }
                out.push(token.clone());
            }
            (Token::CustomBinaryOperator(operator), _) => {
                out.extend(without_sign(token, operator));
            }
            (Token::Word(_), _) if types_literal(tokens, at - 1) => {
                let mut cast = token.clone();
                cast.token = Token::DoubleColon;
                out.extend([tokens[at].clone(), cast, token.clone()]);
                at += 1;
            }
            (Token::Word(_), _)
                if is_word(Some(token), "trim")
                    && tokens.get(at).is_some_and(|t| t.token == Token::LParen)
                    && is_word(tokens.get(at + 2), "from") =>
            {
                let side = ["leading", "trailing", "both"]
                    .iter()
                    .position(|word| is_word(tokens.get(at + 1), word));
                let mut name = token.clone();
                if let Some(side) = side {
                    name.token = Token::make_word(["ltrim", "rtrim", "btrim"][side], None);
                    out.push(name);
                    out.push(tokens[at].clone());
                    at += 3;
                } else {
                    out.push(name);
                }
            }
            (Token::Word(_), Some(before))
                if is_word(Some(token), "isnull")
                    && ends_expression(before)
                    && tokens.get(at).is_none_or(|t| t.token != Token::LParen) =>
            {
                for word in ["IS", "NULL"] {
                    out.push(TokenWithSpan { token: Token::make_keyword(word), span: token.span });
                }
            }
            (Token::Word(_), Some(before))
                if is_word(Some(token), "asymmetric") && is_word(Some(before), "between") => {}
            (Token::Word(_), Some(before))
                if is_word(Some(token), "symmetric")
                    && is_word(Some(before), "between")
                    && let Some(end) = bound_end(tokens, at) =>
            {
                let like = |token_of| TokenWithSpan { token: token_of, span: token.span };
                out.push(like(Token::make_word(SYMMETRIC, Some('"'))));
                out.push(like(Token::LParen));
                out.extend_from_slice(&tokens[at..end]);
                out.push(like(Token::RParen));
                at = end;
            }
            (Token::Word(_), Some(before))
                if is_word(Some(token), "key")
                    && (is_word(Some(before), "for") && is_word(tokens.get(at), "share")
                        || is_word(Some(before), "no") && is_word(tokens.get(at), "update")) =>
            {
                if is_word(Some(before), "no") {
                    out.pop();
                }
            }
            (Token::Word(_), _)
                if is_word(Some(token), "pg_catalog")
                    && tokens.get(at).is_some_and(|t| t.token == Token::Period)
                    && ["substring", "position", "overlay", "trim", "ceil", "floor"]
                        .iter()
                        .any(|word| is_word(tokens.get(at + 1), word))
                    && tokens.get(at + 2).is_some_and(|t| t.token == Token::LParen) =>
            {
                at += 1;
            }
            // `ORDER BY x USING >`
            (Token::Word(_), _)
                if is_word(Some(token), "using")
                    && matches!(tokens.get(at).map(|t| &t.token), Some(Token::Lt | Token::Gt)) =>
            {
                let ascending = tokens[at].token == Token::Lt;
                let mut order = token.clone();
                order.token = Token::make_word(if ascending { "asc" } else { "desc" }, None);
                out.push(order);
                at += 1;
            }
            (Token::Word(_), _) if is_word(Some(token), "similar") => {
                if is_word(tokens.get(at), "to") || !similar_substring(&mut out) {
                    out.push(token.clone());
                } else {
                    let mut comma = token.clone();
                    comma.token = Token::Comma;
                    out.push(comma);
                    // The pattern, then its escape.
                    if is_word(tokens.get(at + 1), "escape") {
                        out.push(tokens[at].clone());
                        let mut comma = tokens[at + 1].clone();
                        comma.token = Token::Comma;
                        out.push(comma);
                        at += 2;
                    }
                }
            }
            _ => out.push(token.clone()),
        }
    }
    Some(out)
}

/// Whether the word there is a type that stands before a literal.
fn types_literal(tokens: &[TokenWithSpan], at: usize) -> bool {
    let Some(Token::Word(word)) = tokens.get(at).map(|t| &t.token) else { return false };
    matches!(tokens.get(at + 1).map(|t| &t.token), Some(Token::SingleQuotedString(_)))
        && crate::types::kept(&word.value.to_lowercase()).is_some()
        && !at
            .checked_sub(1)
            .and_then(|before| tokens.get(before))
            .is_some_and(|before| matches!(before.token, Token::Period | Token::DoubleColon))
}

/// The function that stands for SYMMETRIC.
pub(crate) const SYMMETRIC: &str = "\u{1}symmetric";

/// Whether an expression may end with a token.
fn ends_expression(token: &TokenWithSpan) -> bool {
    match &token.token {
        Token::Word(word) => {
            const NONE: [&str; 12] = [
                "as", "select", "where", "and", "or", "not", "on", "when", "then", "else", "by",
                "having",
            ];
            word.quote_style.is_some() || !NONE.iter().any(|w| is_word(Some(token), w))
        }
        Token::RParen
        | Token::RBracket
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Placeholder(_) => true,
        _ => false,
    }
}

/// Where the first bound of BETWEEN ends: at the AND outside brackets.
fn bound_end(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(from) {
        match token.token {
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.checked_sub(1)?,
            _ if is_word(Some(token), "case") => depth += 1,
            _ if is_word(Some(token), "end") => depth = depth.checked_sub(1)?,
            _ if depth == 0 && is_word(Some(token), "and") => return (i > from).then_some(i),
            _ => {}
        }
    }
    None
}

/// Makes the `substring(` whose bracket is open a call of the function for SIMILAR.
fn similar_substring(out: &mut [TokenWithSpan]) -> bool {
    let mut depth = 0;
    for i in (1..out.len()).rev() {
        match out[i].token {
            Token::RParen => depth += 1,
            Token::LParen if depth > 0 => depth -= 1,
            Token::LParen => {
                if !is_word(out.get(i - 1), "substring") {
                    return false;
                }
                out[i - 1].token = Token::make_word("_substring_similar", None);
                return true;
            }
            _ => {}
        }
    }
    false
}

/// A sign at the end of an operator belongs to what follows, unless the operator has a character
/// that none of SQL's own has.
fn without_sign(token: &TokenWithSpan, operator: &str) -> Vec<TokenWithSpan> {
    let own = operator.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']);
    let known = |text: &str| {
        Some(match text {
            "->>" => Token::LongArrow,
            "->" => Token::Arrow,
            "<" => Token::Lt,
            ">" => Token::Gt,
            "<=" => Token::LtEq,
            ">=" => Token::GtEq,
            "=" => Token::Eq,
            "<>" => Token::Neq,
            "*" => Token::Mul,
            "/" => Token::Div,
            "+" => Token::Plus,
            "-" => Token::Minus,
            _ => return None,
        })
    };
    let split = operator.strip_suffix('-').map(|o| (o, Token::Minus));
    let split = split.or_else(|| operator.strip_suffix('+').map(|o| (o, Token::Plus)));
    match split.and_then(|(rest, sign)| Some((known(rest)?, sign))) {
        Some((operator, sign)) if !own => {
            let with = |token_of| TokenWithSpan { token: token_of, span: token.span };
            vec![with(operator), with(sign)]
        }
        _ => vec![token.clone()],
    }
}

/// The options of a table as a list of names and literals: `WITH TTL=7d` is `WITH (TTL = '7d')`,
/// `RESET (ttl)` is `SET (ttl = NULL)`.
fn table_options(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let is = |i: usize, word| is_word(tokens.get(i), word);
    let token = |i: usize| tokens.get(i).map(|t| &t.token);
    let like = |i: usize, token| TokenWithSpan { token, ..tokens[i].clone() };
    let mut out = Vec::with_capacity(tokens.len() + 2);
    let mut i = 0;
    let mut depth = 0_usize;
    while i < tokens.len() {
        match &tokens[i].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && is(i, "WITH") && is(i + 1, "TTL") {
            let value = i + 2 + usize::from(token(i + 2) == Some(&Token::Eq));
            if let Some((text, used)) = age(&tokens[value.min(tokens.len())..]) {
                let at = i + 1;
                out.push(tokens[i].clone());
                out.push(like(at, Token::LParen));
                out.push(tokens[at].clone());
                out.push(like(at, Token::Eq));
                out.push(like(at, Token::SingleQuotedString(text)));
                out.push(like(at, Token::RParen));
                i = value + used;
                continue;
            }
        }
        if depth == 0 && is(i, "RESET") && token(i + 1) == Some(&Token::LParen) {
            out.push(like(i, Token::make_keyword("SET")));
            i += 1;
            while i < tokens.len() {
                if matches!(tokens[i].token, Token::Comma | Token::RParen) {
                    out.push(like(i, Token::Eq));
                    out.push(like(i, Token::make_keyword("NULL")));
                }
                out.push(tokens[i].clone());
                i += 1;
            }
            continue;
        }
        let is_age =
            (is(i, "TTL") || is(i, "HISTORY_RETENTION")) && token(i + 1) == Some(&Token::Eq);
        if is_age
            && depth > 0
            && let Some((text, used)) = age(&tokens[(i + 2).min(tokens.len())..])
        {
            out.extend_from_slice(&tokens[i..i + 2]);
            out.push(like(i + 1, Token::SingleQuotedString(text)));
            i += 2 + used;
            continue;
        }
        out.push(tokens[i].clone());
        i += 1;
    }
    out
}

/// `7d`, `90 days` or `'7d'`, and how many tokens it takes.
fn age(tokens: &[TokenWithSpan]) -> Option<(String, usize)> {
    match (tokens.first().map(|t| &t.token), tokens.get(1).map(|t| &t.token)) {
        (Some(Token::SingleQuotedString(text)), _) => Some((text.clone(), 1)),
        (Some(Token::Number(number, _)), Some(Token::Word(unit))) if unit.quote_style.is_none() => {
            Some((format!("{number} {}", unit.value), 2))
        }
        _ => None,
    }
}

/// The options of COPY in the spelling that the parser knows: `(FREEZE on)` is `(FREEZE true)`,
/// `(FORMAT 'csv')` is `(FORMAT csv)`.
fn copy_options(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut tokens = tokens.to_vec();
    for i in 1..tokens.len() {
        let after = |word| is_word(tokens.get(i - 1), word);
        let word = match &tokens[i].token {
            Token::SingleQuotedString(format) if after("FORMAT") => format.clone(),
            Token::Word(w) if after("FREEZE") || after("HEADER") => {
                match w.value.to_lowercase().as_str() {
                    "on" => "true".to_owned(),
                    "off" => "false".to_owned(),
                    _ => continue,
                }
            }
            Token::Number(n, _) if after("FREEZE") || after("HEADER") => match n.as_str() {
                "1" => "true".to_owned(),
                "0" => "false".to_owned(),
                _ => continue,
            },
            _ => continue,
        };
        tokens[i].token = Token::make_word(&word, None);
    }
    tokens
}

/// The options of CREATE SEQUENCE in the one order that the parser takes: PostgreSQL, and so
/// pg_dump, has them in any.
fn sequence_options(tokens: &[TokenWithSpan], after: usize) -> Vec<TokenWithSpan> {
    // The name, with its schema and IF NOT EXISTS, comes first.
    sorted(tokens, after + 1)
}

/// The options of a sequence in the one order that the parser takes.
pub(super) fn in_order(options: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    sorted(options, 0)
}

fn sorted(tokens: &[TokenWithSpan], from: usize) -> Vec<TokenWithSpan> {
    const ORDER: [&str; 8] =
        ["AS", "INCREMENT", "MINVALUE", "MAXVALUE", "START", "CACHE", "CYCLE", "OWNED"];
    let option = |token| ORDER.iter().position(|word| is_word(Some(token), word));
    let mut groups: Vec<(usize, &[TokenWithSpan])> = Vec::new();
    let before = |i: usize| i.checked_sub(1).and_then(|i| tokens.get(i));
    let starts: Vec<usize> = (from..tokens.len())
        .filter(|&i| {
            let no = is_word(tokens.get(i), "NO")
                && tokens.get(i + 1).is_some_and(|t| option(t).is_some());
            no || (option(&tokens[i]).is_some() && !is_word(before(i), "NO"))
        })
        .filter(|&i| before(i).is_none_or(|t| t.token != Token::Period))
        .collect();
    let Some(&first) = starts.first() else { return tokens.to_vec() };
    for (n, &start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(tokens.len());
        let word = usize::from(is_word(tokens.get(start), "NO"));
        let rank = tokens.get(start + word).and_then(option).unwrap_or(ORDER.len());
        groups.push((rank, &tokens[start..end]));
    }
    groups.sort_by_key(|(rank, _)| *rank);
    let sorted = groups.into_iter().flat_map(|(_, group)| group);
    tokens[..first].iter().chain(sorted).cloned().collect()
}
