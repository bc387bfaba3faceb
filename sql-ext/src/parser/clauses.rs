//! Takes the clauses of time travel out of the tokens of a statement.
//!
//! ```text
//! FROM flights f FOR SYSTEM_TIME AS OF $1 JOIN …      anchor: the token before, f
//! FROM (SELECT …) AS OF $1 d                          anchor: the alias after, d
//! ```
//!
//! The anchor is the place of the table's name or alias; identifiers keep their place through the
//! parser, so [`super::attach`] finds the reference again. What remains is ordinary PostgreSQL.

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};

use super::attach::TimeClause;
use super::dialect::ChronosDialect;
use super::source::Source;
use super::{begins, follows_name, is_word, parser};
use crate::error::{Error, Result};

/// A statement without its clauses of time travel, and the clauses.
pub(super) struct Extracted {
    pub(super) tokens: Vec<TokenWithSpan>,
    /// Each with the place of the name or alias of its table reference.
    pub(super) clauses: Vec<(Location, TimeClause)>,
    /// `AS OF SYSTEM TIME`, for the whole statement.
    pub(super) whole: Option<TimeClause>,
}

/// Where a bracket level stands.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    /// Before FROM, where a FROM begins table references: after SELECT, DELETE or UPDATE … SET.
    BeforeFrom,
    /// Among table references.
    From,
    /// Elsewhere.
    Other,
}

pub(super) fn extract(source: &Source<'_>, tokens: Vec<TokenWithSpan>) -> Result<Extracted> {
    // Every clause begins with FOR or has OF for its second or third word.
    let may_be = |t: &TokenWithSpan| is_word(Some(t), "FOR") || is_word(Some(t), "OF");
    if !tokens.iter().any(may_be) {
        return Ok(Extracted { tokens, clauses: Vec::new(), whole: None });
    }
    let tokens = tokens.as_slice();
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut clauses = Vec::new();
    let mut whole: Option<TimeClause> = None;
    let mut levels = vec![Part::Other];
    let mut i = 0;
    while i < tokens.len() {
        let rest = &tokens[i..];
        let part = levels.last().copied().unwrap_or(Part::Other);
        if begins(rest, &["AS", "OF", "SYSTEM", "TIME"]) {
            if levels.len() > 1 {
                return Err(Error::Unsupported(
                    "AS OF SYSTEM TIME inside a subquery (it is for the whole statement; FOR \
                     SYSTEM_TIME AS OF is for one table)"
                        .into(),
                ));
            }
            if whole.is_some() {
                return Err(source.syntax(&tokens[i], "AS OF SYSTEM TIME is given twice"));
            }
            let (expr, used) = expression(source, &rest[4..])?;
            whole = Some(TimeClause::AsOfRelative(expr));
            i += 4 + used;
            continue;
        }
        if let Some((clause, used)) = clause(source, rest, part, out.last())? {
            let mut next = i + used;
            let anchor = anchor(&mut out, tokens, &mut next, &tokens[i]);
            clauses.push((anchor, clause));
            i = next;
            continue;
        }
        match &tokens[i].token {
            // A bracket among table references may hold a join; anything in it that is not
            // begins with SELECT, WITH or VALUES, or is a list of names.
            Token::LParen => levels.push(if part == Part::From && !is_call(out.last()) {
                Part::From
            } else {
                Part::Other
            }),
            Token::RParen if levels.len() > 1 => {
                levels.pop();
            }
            Token::Word(word) if word.quote_style.is_none() => {
                if let Some(level) = levels.last_mut() {
                    *level = part_after(word, *level, out.last());
                }
            }
            _ => {}
        }
        out.push(tokens[i].clone());
        i += 1;
    }
    Ok(Extracted { tokens: out, clauses, whole })
}

fn part_after(word: &Word, part: Part, before: Option<&TokenWithSpan>) -> Part {
    match word.value.to_ascii_uppercase().as_str() {
        "SELECT" | "DELETE" => Part::BeforeFrom,
        "UPDATE" if !is_word(before, "FOR") && !is_word(before, "ON") && !is_word(before, "DO") => {
            Part::From
        }
        "SET" => Part::BeforeFrom,
        "FROM" if part == Part::BeforeFrom && !is_word(before, "DISTINCT") => Part::From,
        "JOIN" => Part::From,
        // DELETE … USING names tables; JOIN … USING is followed by a bracket of names.
        "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "OFFSET" | "FETCH" | "WINDOW"
        | "UNION" | "EXCEPT" | "INTERSECT" | "RETURNING" | "ON" | "VALUES" => {
            if part == Part::From { Part::Other } else { part }
        }
        _ => part,
    }
}

/// Whether a bracket after this token holds arguments or names.
fn is_call(before: Option<&TokenWithSpan>) -> bool {
    const NOT_NAMES: [&str; 6] = ["FROM", "JOIN", "LATERAL", "AS", "ONLY", "UPDATE"];
    match before.map(|t| &t.token) {
        Some(Token::Word(_)) => !NOT_NAMES.iter().any(|word| is_word(before, word)),
        _ => false,
    }
}

/// The clause that the tokens begin with, and how many of them it takes.
fn clause(
    source: &Source<'_>,
    tokens: &[TokenWithSpan],
    part: Part,
    before: Option<&TokenWithSpan>,
) -> Result<Option<(TimeClause, usize)>> {
    if begins(tokens, &["FOR", "SYSTEM_TIME"]) {
        return system_time(source, tokens).map(Some);
    }
    if begins(tokens, &["FOR", "PORTION", "OF"]) {
        return portion(source, tokens).map(Some);
    }
    if part == Part::From
        && ends_reference(before)
        && let Some(name) = period_name(tokens)
    {
        let (clause, used) = of_time(source, &tokens[2..])?;
        return Ok(Some((TimeClause::Period(name, Box::new(clause)), used + 2)));
    }
    let (kind, words) = if begins(tokens, &["FOR", "TIMESTAMP", "AS", "OF"]) {
        ("TIMESTAMP", 4)
    } else if begins(tokens, &["FOR", "VERSION", "AS", "OF"]) {
        ("VERSION", 4)
    } else if part != Part::From || !ends_reference(before) {
        return Ok(None);
    } else if begins(tokens, &["TIMESTAMP", "AS", "OF"]) {
        ("TIMESTAMP", 3)
    } else if begins(tokens, &["VERSION", "AS", "OF"]) {
        ("VERSION", 3)
    } else if begins(tokens, &["AS", "OF"]) && begins_expression(tokens.get(2)) {
        ("TIMESTAMP", 2)
    } else {
        return Ok(None);
    };
    if kind == "TIMESTAMP"
        && let Some((instants, used)) = each(source, &tokens[words..])?
    {
        return Ok(Some((TimeClause::Each(instants), words + used)));
    }
    let (expr, used) = expression(source, &tokens[words..])?;
    let clause = if kind == "VERSION" { TimeClause::Version(expr) } else { TimeClause::AsOf(expr) };
    Ok(Some((clause, words + used)))
}

/// `FOR SYSTEM_TIME …`
fn system_time(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<(TimeClause, usize)> {
    let (clause, used) = of_time(source, &tokens[2..])?;
    Ok((clause, used + 2))
}

/// The period that `FOR p AS OF`, `FOR p FROM` and their like name.
fn period_name(tokens: &[TokenWithSpan]) -> Option<String> {
    const OTHERS: [&str; 7] =
        ["UPDATE", "SHARE", "NO", "KEY", "SYSTEM_TIME", "TIMESTAMP", "VERSION"];
    if !is_word(tokens.first(), "FOR") || OTHERS.iter().any(|w| is_word(tokens.get(1), w)) {
        return None;
    }
    let rest = tokens.get(2..)?;
    let said = begins(rest, &["AS", "OF"])
        || begins(rest, &["FROM"])
        || begins(rest, &["BETWEEN"])
        || begins(rest, &["CONTAINED", "IN"]);
    if said { word_value(&tokens[1]) } else { None }
}

/// The name that a word is.
fn word_value(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => Some(word.value.clone()),
        Token::Word(word) => Some(word.value.to_lowercase()),
        _ => None,
    }
}

/// `FOR PORTION OF p FROM a TO b`
fn portion(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<(TimeClause, usize)> {
    let Some(name) = tokens.get(3).and_then(word_value) else {
        return Err(unexpected(source, tokens.get(3)));
    };
    if !is_word(tokens.get(4), "FROM") {
        return Err(unexpected(source, tokens.get(4)));
    }
    let (low, high, used) = bounds(source, &tokens[5..], "TO")?;
    Ok((TimeClause::Portion(name, low, high), 5 + used))
}

/// What stands after the name of a period.
fn of_time(source: &Source<'_>, rest: &[TokenWithSpan]) -> Result<(TimeClause, usize)> {
    if begins(rest, &["AS", "OF"]) {
        if let Some((instants, used)) = each(source, &rest[2..])? {
            return Ok((TimeClause::Each(instants), 2 + used));
        }
        let (expr, used) = expression(source, &rest[2..])?;
        return Ok((TimeClause::AsOf(expr), 2 + used));
    }
    if begins(rest, &["ALL"]) {
        return Ok((TimeClause::All, 1));
    }
    if begins(rest, &["FROM"]) {
        let (low, high, used) = bounds(source, &rest[1..], "TO")?;
        return Ok((TimeClause::FromTo(low, high), 1 + used));
    }
    if begins(rest, &["BETWEEN"]) {
        let (low, high, used) = bounds(source, &rest[1..], "AND")?;
        return Ok((TimeClause::Between(low, high), 1 + used));
    }
    if begins(rest, &["CONTAINED", "IN"]) {
        let inner = &rest[2..];
        if inner.first().map(|t| &t.token) != Some(&Token::LParen) {
            return Err(unexpected(source, inner.first()));
        }
        let mut parser = parser(inner[1..].to_vec());
        let mut read = |end: Token| -> Result<Expr> {
            let expr = parser.parse_expr().map_err(|error| source.parser_error(error))?;
            let next = parser.next_token();
            if next.token == end { Ok(expr) } else { Err(source.unexpected(&next)) }
        };
        let low = read(Token::Comma)?;
        let high = read(Token::RParen)?;
        return Ok((TimeClause::ContainedIn(low, high), 3 + parser.index()));
    }
    Err(unexpected(source, rest.first()))
}

/// `EACH (a, b, …)`, `EACH (VALUES (a), (b), …)`: the instants, and series and arrays of them.
fn each(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<Option<(Vec<Expr>, usize)>> {
    if !is_word(tokens.first(), "EACH") || tokens.get(1).map(|t| &t.token) != Some(&Token::LParen) {
        return Ok(None);
    }
    let inner = &tokens[2..];
    if ["SELECT", "WITH", "TABLE"].iter().any(|word| is_word(inner.first(), word)) {
        return Err(Error::unsupported("a query in AS OF EACH"));
    }
    let rows = usize::from(is_word(inner.first(), "VALUES"));
    let mut parser = parser(inner[rows..].to_vec());
    let mut instants = Vec::new();
    loop {
        let open = parser.peek_token();
        if rows == 1 && open.token != Token::LParen {
            return Err(source.unexpected(&open));
        }
        instants.push(parser.parse_expr().map_err(|error| source.parser_error(error))?);
        let next = parser.next_token();
        match next.token {
            Token::Comma => {}
            Token::RParen => return Ok(Some((instants, 2 + rows + parser.index()))),
            _ => return Err(source.unexpected(&next)),
        }
    }
}

fn unexpected(source: &Source<'_>, token: Option<&TokenWithSpan>) -> Error {
    match token {
        Some(token) => source.unexpected(token),
        None => source.unexpected(&TokenWithSpan::wrap(Token::EOF)),
    }
}

/// Two bounds with a word between them.
fn bounds(
    source: &Source<'_>,
    tokens: &[TokenWithSpan],
    word: &str,
) -> Result<(Expr, Expr, usize)> {
    let (low, used) = expression(source, tokens)?;
    if !is_word(tokens.get(used), word) {
        return Err(unexpected(source, tokens.get(used)));
    }
    let (high, more) = expression(source, &tokens[used + 1..])?;
    Ok((low, high, used + 1 + more))
}

/// One expression at the start of the tokens, without AND, OR and comparisons on its outside
/// (the AND of BETWEEN, and an ON condition, must not be taken for a part of it).
fn expression(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<(Expr, usize)> {
    // The expression ends at the latest where its bracket does.
    let mut parser = parser(tokens.to_vec());
    let precedence = ChronosDialect.prec_value(Precedence::Between);
    let expr = parser.parse_subexpr(precedence).map_err(|error| source.parser_error(error))?;
    Ok((expr, parser.index()))
}

/// Whether a token can be the last of a table reference: a name, an alias or a bracket.
fn ends_reference(token: Option<&TokenWithSpan>) -> bool {
    const NOT_NAMES: [&str; 12] = [
        "FROM", "JOIN", "LATERAL", "AS", "ONLY", "UPDATE", "INNER", "LEFT", "RIGHT", "FULL",
        "CROSS", "NATURAL",
    ];
    match token.map(|t| &t.token) {
        Some(Token::Word(_)) => !NOT_NAMES.iter().any(|word| is_word(token, word)),
        Some(Token::RParen | Token::Mul) => true,
        _ => false,
    }
}

/// Whether a token can begin the instant of `AS OF`; otherwise `of` is an alias.
fn begins_expression(token: Option<&TokenWithSpan>) -> bool {
    match token.map(|t| &t.token) {
        None | Some(Token::Comma | Token::RParen | Token::EOF) => false,
        Some(Token::Word(_)) => !(follows_name(token) || is_word(token, "FROM")),
        Some(_) => true,
    }
}

/// The place of the name or alias that stands for the table reference of a clause: before it, or
/// after it for a derived table. One without any gets an alias made up.
fn anchor(
    out: &mut Vec<TokenWithSpan>,
    tokens: &[TokenWithSpan],
    next: &mut usize,
    clause: &TokenWithSpan,
) -> Location {
    if let Some(last) = out.last() {
        match &last.token {
            Token::Word(_) => return last.span.start,
            Token::Mul if out.len() > 1 => return out[out.len() - 2].span.start,
            Token::RParen => {
                // An alias with column names, or a call: the name before the bracket.
                if let Some(name) = before_bracket(out)
                    && is_call(out.get(name))
                {
                    return out[name].span.start;
                }
            }
            _ => {}
        }
    }
    let alias = *next + usize::from(is_word(tokens.get(*next), "AS"));
    match tokens.get(alias) {
        Some(token) if matches!(&token.token, Token::Word(_)) && begins_expression(Some(token)) => {
            out.extend_from_slice(&tokens[*next..=alias]);
            *next = alias + 1;
            token.span.start
        }
        _ => {
            let ident = Ident::new(format!("_chronos_{}", clause.span.start.column));
            out.push(TokenWithSpan::new(Token::make_word(&ident.value, Some('"')), clause.span));
            clause.span.start
        }
    }
}

/// The index of the token before the bracket that ends the tokens.
fn before_bracket(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().rev() {
        match token.token {
            Token::RParen => depth += 1,
            Token::LParen => {
                depth -= 1;
                if depth == 0 {
                    return i.checked_sub(1);
                }
            }
            _ => {}
        }
    }
    None
}
