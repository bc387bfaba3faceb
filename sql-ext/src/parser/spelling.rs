//! Statements of PostgreSQL in the spelling and order that sqlparser knows.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{begins, is_word};

/// The tokens as the parser takes them; `None` where they are that already.
pub(super) fn plain(tokens: &[TokenWithSpan]) -> Option<Vec<TokenWithSpan>> {
    if begins(tokens, &["COPY"]) {
        return Some(copy_options(tokens));
    }
    if begins(tokens, &["CREATE"]) {
        let at = tokens.iter().take(4).position(|t| is_word(Some(t), "SEQUENCE"))?;
        return Some(sequence_options(tokens, at + 1));
    }
    None
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
