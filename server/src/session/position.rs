//! Where in a statement an error is: planning forgets where names stood, so they are looked for.
//!
//! A name that stands in the text more than once is left without a position: none is better than
//! a wrong one.

use chronos_sql_ext::Statement;

use crate::error::PgError;

/// Adds the position of the name that the error is about, where only one place can be meant.
pub(super) fn locate(error: &mut PgError, statement: &Statement) {
    if error.position.is_none()
        && let Some(name) = subject(error)
        && let Some(at) = only_place(&statement.text, name)
    {
        error.position = Some(statement.offset + at + 1);
    }
}

/// The name that is not known, or the literal that is no value.
fn subject(error: &PgError) -> Option<&str> {
    let message = error.message.as_str();
    match error.code {
        "42P01" | "42703" => quoted(message),
        "42883" => message.strip_prefix("function ")?.split_once('(').map(|(name, _)| name),
        _ => None,
    }
}

fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once('"')?;
    rest.split_once('"').map(|(name, _)| name)
}

/// The characters before the only place where the name stands as a whole.
fn only_place(text: &str, name: &str) -> Option<usize> {
    let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '\'');
    let lower = text.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let mut places = lower.match_indices(&name).filter(|(at, found)| {
        let before = lower[..*at].chars().next_back();
        let after = lower[at + found.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    });
    let (mut at, _) = places.next()?;
    if name.is_empty() || places.next().is_some() {
        return None;
    }
    if text[..at].ends_with('"') {
        at -= 1;
    }
    Some(text[..at].chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(sql: &str, code: &'static str, message: &str) -> Option<usize> {
        let statement = chronos_sql_ext::parse(sql).unwrap().pop().unwrap();
        let mut error = PgError::new(code, message);
        locate(&mut error, &statement);
        error.position
    }

    #[test]
    fn a_name_is_found_where_it_stands_as_a_whole() {
        let message = "relation \"a\" does not exist";
        assert_eq!(position("SELECT 1; SELECT * FROM A", "42P01", message), Some(25));
        assert_eq!(position("SELECT 'ž' FROM \"a\"", "42P01", message), Some(17));
        let message = "function f(integer) does not exist";
        assert_eq!(position("SELECT f(1)", "42883", message), Some(8));
    }

    #[test]
    fn a_name_that_stands_twice_gets_no_position() {
        let message = "column \"a\" does not exist";
        assert_eq!(position("SELECT a FROM b AS a", "42703", message), None);
        assert_eq!(position("SELECT 1", "42703", message), None);
    }
}
