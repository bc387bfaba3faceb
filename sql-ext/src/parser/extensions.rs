//! The statements that sqlparser lacks.

use datafusion::sql::sqlparser::ast::{DataType, Expr, Ident, ObjectName};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::source::Source;
use super::{access, alter, begins, expect_end, is_word, parser};
use crate::error::Result;
use crate::statement::{
    Extension, FetchCount, Moment, RelationChange, RelationKind, Restore, TransactionModes,
};

/// The statement of ours that the tokens are, if they are one.
pub(super) fn parse(source: &Source<'_>, tokens: &[TokenWithSpan]) -> Result<Option<Extension>> {
    let is = |words: &[&str]| begins(tokens, words);
    // The statements that may be long are none of ours.
    if is(&["INSERT"]) || is(&["SELECT"]) || is(&["UPDATE"]) || is(&["WITH"]) || is(&["VALUES"]) {
        return Ok(None);
    }
    let mut cursor = Cursor { source, parser: parser(tokens.to_vec()) };
    if let Some(access) = access::parse(&mut cursor, tokens)? {
        expect_end(source, &cursor.parser)?;
        return Ok(Some(Extension::Access(Box::new(access))));
    }
    let mut cursor = Cursor { source, parser: parser(tokens.to_vec()) };
    let extension = if is(&["VACUUM"]) {
        cursor.skip(1);
        vacuum(&mut cursor)?
    } else if is(&["ANALYZE"]) || is(&["ANALYSE"]) {
        cursor.skip(1);
        cursor.word("VERBOSE");
        Extension::Analyze { tables: cursor.tables()? }
    } else if is(&["REINDEX"]) || is(&["CLUSTER"]) || is(&["CHECKPOINT"]) {
        reorganize(&mut cursor, tokens)?
    } else if is(&["SET", "CONSTRAINTS"]) {
        cursor.skip(2);
        let mut names = Vec::new();
        if !cursor.word("ALL") {
            names.push(cursor.name()?);
            while cursor.parser.consume_token(&Token::Comma) {
                names.push(cursor.name()?);
            }
        }
        let deferred = cursor.word("DEFERRED");
        if !deferred {
            cursor.expect("IMMEDIATE")?;
        }
        Extension::SetConstraints { names, deferred }
    } else if is(&["BEGIN"]) || is(&["START", "TRANSACTION"]) || is(&["SET"]) {
        match transaction(&mut cursor, tokens)? {
            Some(extension) => extension,
            None => return Ok(None),
        }
    } else if is(&["MOVE"]) || is(&["FETCH"]) {
        cursor.skip(1);
        fetch(&mut cursor, is(&["MOVE"]))?
    } else if is(&["RESTORE", "TABLE"]) || is(&["RESTORE", "ROW"]) {
        Extension::Restore(Box::new(restore(&mut cursor, is(&["RESTORE", "ROW"]))?))
    } else if is(&["COMMENT", "ON"]) {
        match alter::comment(&mut cursor)? {
            Some(extension) => extension,
            None => return Ok(None),
        }
    } else if is(&["ALTER"]) {
        match alter_other(source, &mut cursor, tokens)? {
            Some(extension) => extension,
            None => match refused(tokens) {
                Some(what) => return Ok(Some(Extension::Refused { what: what.into() })),
                None => return Ok(None),
            },
        }
    } else if is(&["REVERT", "TRANSACTION"]) {
        cursor.skip(2);
        Extension::Revert { transaction: cursor.expr()? }
    } else if is(&["UNDROP", "TABLE"]) {
        cursor.skip(2);
        let table = cursor.name()?;
        let (mut instant, mut name) = (None, None);
        if cursor.word("AS") {
            if cursor.word("OF") {
                instant = Some(cursor.expr()?);
                if cursor.word("AS") {
                    name = Some(cursor.name()?);
                }
            } else {
                name = Some(cursor.name()?);
            }
        }
        Extension::UndropTable { table, instant, name }
    } else if is(&["BACKUP", "DATABASE"]) {
        cursor.skip(2);
        let database = if cursor.word("TO") { None } else { Some(cursor.name()?) };
        if database.is_some() {
            cursor.expect("TO")?;
        }
        Extension::Backup { database, url: cursor.expr()? }
    } else if is(&["VERIFY", "BACKUP"]) {
        cursor.skip(2);
        Extension::VerifyBackup { url: cursor.expr()? }
    } else if is(&["ERASE", "FROM"]) {
        cursor.skip(2);
        let table = cursor.name()?;
        let selection = if cursor.word("WHERE") { Some(cursor.expr()?) } else { None };
        Extension::Erase { table, selection }
    } else if is(&["DELETE", "HISTORY", "FROM"]) {
        cursor.skip(3);
        let table = cursor.name()?;
        cursor.expect("BEFORE")?;
        cursor.word("SYSTEM_TIME");
        Extension::DeleteHistory { table, before: cursor.expr()? }
    } else if let Some(what) = refused(tokens) {
        return Ok(Some(Extension::Refused { what: what.into() }));
    } else {
        return Ok(None);
    };
    expect_end(source, &cursor.parser)?;
    Ok(Some(extension))
}

/// Statements of PostgreSQL that are not here, by their first words.
fn refused(tokens: &[TokenWithSpan]) -> Option<&'static str> {
    const REFUSED: [&str; 14] = [
        "PREPARE TRANSACTION",
        "COMMIT PREPARED",
        "ROLLBACK PREPARED",
        "DO",
        "SECURITY LABEL",
        "CREATE USER MAPPING",
        "DROP OWNED",
        "REFRESH MATERIALIZED VIEW",
        "IMPORT FOREIGN SCHEMA",
        "ALTER SYSTEM",
        "CREATE RULE",
        "CREATE TABLESPACE",
        "CREATE PUBLICATION",
        "CREATE SUBSCRIPTION",
    ];
    REFUSED
        .into_iter()
        .find(|name| name.split(' ').enumerate().all(|(i, word)| is_word(tokens.get(i), word)))
}

/// The forms of ALTER that sqlparser lacks.
fn alter_other<'a, 'b>(
    source: &'b Source<'a>,
    cursor: &mut Cursor<'a, 'b>,
    tokens: &[TokenWithSpan],
) -> Result<Option<Extension>> {
    if let Some(extension) = alter_relation(cursor)? {
        return Ok(Some(extension));
    }
    *cursor = Cursor { source, parser: parser(tokens.to_vec()) };
    cursor.skip(2);
    if begins(tokens, &["ALTER", "SEQUENCE"]) {
        return alter::sequence(cursor).map(Some);
    }
    match begins(tokens, &["ALTER", "TABLE"]) {
        true => alter::column(cursor),
        false => Ok(None),
    }
}

/// What ALTER says of a relation as a whole; `None` for its other forms.
fn alter_relation(cursor: &mut Cursor<'_, '_>) -> Result<Option<Extension>> {
    cursor.skip(1);
    let kind = if cursor.word("TABLE") {
        RelationKind::Table
    } else if cursor.word("VIEW") {
        RelationKind::View
    } else if cursor.word("SEQUENCE") {
        RelationKind::Sequence
    } else if cursor.word("INDEX") {
        RelationKind::Index
    } else {
        return Ok(None);
    };
    let if_exists = cursor.word("IF") && cursor.word("EXISTS");
    // Another form may have words here that are no name.
    let Ok(name) = cursor.name() else { return Ok(None) };
    if kind == RelationKind::View && cursor.comes("RENAME") {
        let [_, second] = cursor.parser.peek_tokens();
        if !matches!(&second, Token::Word(w) if w.value.eq_ignore_ascii_case("to")) {
            cursor.skip_to(&[]);
            return Ok(Some(Extension::Refused { what: "ALTER VIEW … RENAME COLUMN".into() }));
        }
    }
    let change: fn(Ident) -> RelationChange = if cursor.word("RENAME") && cursor.word("TO") {
        RelationChange::Rename
    } else if cursor.word("SET") && cursor.word("SCHEMA") {
        RelationChange::Schema
    } else if cursor.word("OWNER") && cursor.word("TO") {
        RelationChange::Owner
    } else {
        return Ok(None);
    };
    let new = cursor.name()?;
    match new.0.as_slice() {
        [part] => match part.as_ident() {
            Some(ident) => {
                let change = change(ident.clone());
                Ok(Some(Extension::AlterRelation { kind, if_exists, name, change }))
            }
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn restore(cursor: &mut Cursor<'_, '_>, row: bool) -> Result<Restore> {
    cursor.skip(2);
    let table = cursor.name()?;
    let selection = if row {
        cursor.expect("WHERE")?;
        Some(cursor.expr()?)
    } else {
        None
    };
    cursor.expect("TO")?;
    let to = if cursor.word("VERSION") {
        Moment::Version(cursor.expr()?)
    } else {
        if cursor.word("SYSTEM") {
            cursor.expect("TIME")?;
        } else if !cursor.word("SYSTEM_TIME") {
            // `TO TIMESTAMP '…'` is the type's literal as well as the word.
            cursor.skip_timestamp();
        }
        Moment::Instant(cursor.expr()?)
    };
    let name = if !row && cursor.word("AS") { Some(cursor.name()?) } else { None };
    let dry_run = cursor.word("DRY");
    if dry_run {
        cursor.expect("RUN")?;
    }
    Ok(Restore { table, selection, to, name, dry_run })
}

fn vacuum(cursor: &mut Cursor<'_, '_>) -> Result<Extension> {
    let mut analyze = false;
    if cursor.parser.consume_token(&Token::LParen) {
        loop {
            let next = cursor.parser.next_token();
            match &next.token {
                Token::RParen => break,
                Token::EOF => return Err(cursor.source.unexpected(&next)),
                Token::Word(word) => analyze |= word.value.eq_ignore_ascii_case("analyze"),
                _ => {}
            }
        }
    } else {
        for word in ["FULL", "FREEZE", "VERBOSE"] {
            cursor.word(word);
        }
        analyze = cursor.word("ANALYZE");
    }
    Ok(Extension::Vacuum { analyze, tables: cursor.tables()? })
}

fn reorganize(cursor: &mut Cursor<'_, '_>, tokens: &[TokenWithSpan]) -> Result<Extension> {
    let tag = if begins(tokens, &["REINDEX"]) {
        "REINDEX"
    } else if begins(tokens, &["CLUSTER"]) {
        "CLUSTER"
    } else {
        "CHECKPOINT"
    };
    cursor.skip(1);
    if cursor.parser.consume_token(&Token::LParen) {
        while !matches!(cursor.parser.next_token().token, Token::RParen | Token::EOF) {}
    }
    for word in ["INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM", "CONCURRENTLY", "VERBOSE"] {
        cursor.word(word);
    }
    let name = if cursor.at_end() { None } else { Some(cursor.name()?) };
    if cursor.word("USING") {
        cursor.name()?;
    }
    Ok(Extension::Reorganize { tag, name })
}

/// BEGIN and SET TRANSACTION, where they have what sqlparser does not know.
fn transaction(cursor: &mut Cursor<'_, '_>, tokens: &[TokenWithSpan]) -> Result<Option<Extension>> {
    let ours = tokens.windows(2).any(|pair| is_word(pair.get(1), "DEFERRABLE"))
        || tokens.windows(4).any(|four| begins(four, &["AS", "OF", "SYSTEM", "TIME"]));
    if !ours {
        return Ok(None);
    }
    let kind = if begins(tokens, &["BEGIN"]) {
        cursor.skip(1);
        if !cursor.word("TRANSACTION") {
            cursor.word("WORK");
        }
        0
    } else if begins(tokens, &["START", "TRANSACTION"]) {
        cursor.skip(2);
        1
    } else if begins(tokens, &["SET", "TRANSACTION"]) {
        cursor.skip(2);
        2
    } else if begins(tokens, &["SET", "SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
        cursor.skip(5);
        3
    } else {
        return Ok(None);
    };
    let mut modes = TransactionModes::default();
    while !cursor.at_end() {
        if cursor.word("ISOLATION") {
            cursor.expect("LEVEL")?;
            modes.isolation = Some(if cursor.word("SERIALIZABLE") {
                "serializable"
            } else if cursor.word("REPEATABLE") {
                cursor.expect("READ")?;
                "repeatable read"
            } else {
                cursor.expect("READ")?;
                if cursor.word("COMMITTED") {
                    "read committed"
                } else {
                    cursor.expect("UNCOMMITTED")?;
                    "read uncommitted"
                }
            });
        } else if cursor.word("READ") {
            modes.read_only = Some(if cursor.word("ONLY") {
                true
            } else {
                cursor.expect("WRITE")?;
                false
            });
        } else if cursor.word("NOT") {
            cursor.expect("DEFERRABLE")?;
            modes.deferrable = Some(false);
        } else if cursor.word("DEFERRABLE") {
            modes.deferrable = Some(true);
        } else {
            cursor.expect("AS")?;
            cursor.expect("OF")?;
            cursor.expect("SYSTEM")?;
            cursor.expect("TIME")?;
            modes.as_of = Some(cursor.expr()?);
        }
        let _ = cursor.parser.consume_token(&Token::Comma);
    }
    Ok(Some(match kind {
        0 | 1 => Extension::Begin { start: kind == 1, modes },
        _ => Extension::SetTransaction { session: kind == 3, modes },
    }))
}

/// FETCH and MOVE, of which the parser knows only some forms of the first.
fn fetch(cursor: &mut Cursor<'_, '_>, only_move: bool) -> Result<Extension> {
    use FetchCount::{Absolute, All, Relative, Rows};
    let count = if cursor.word("NEXT") {
        Rows(1)
    } else if cursor.word("PRIOR") {
        Rows(-1)
    } else if cursor.word("FIRST") {
        Absolute(1)
    } else if cursor.word("LAST") {
        Absolute(-1)
    } else if cursor.word("ABSOLUTE") {
        Absolute(cursor.whole()?.ok_or_else(|| cursor.unexpected())?)
    } else if cursor.word("RELATIVE") {
        Relative(cursor.whole()?.ok_or_else(|| cursor.unexpected())?)
    } else if cursor.word("ALL") {
        All { backward: false }
    } else {
        let backward = cursor.word("BACKWARD");
        if !backward {
            cursor.word("FORWARD");
        }
        if cursor.word("ALL") {
            All { backward }
        } else {
            let rows = cursor.whole()?.unwrap_or(1);
            Rows(if backward { rows.saturating_neg() } else { rows })
        }
    };
    if !cursor.word("FROM") {
        cursor.word("IN");
    }
    let name =
        cursor.parser.parse_identifier().map_err(|error| cursor.source.parser_error(error))?;
    Ok(Extension::Fetch { name, count, only_move })
}

pub(super) struct Cursor<'a, 'b> {
    pub(super) source: &'b Source<'a>,
    pub(super) parser: Parser<'static>,
}

impl Cursor<'_, '_> {
    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.parser.advance_token();
        }
    }

    /// Takes that unquoted word if it comes next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = is_word(Some(&self.parser.peek_token()), word);
        if found {
            self.parser.advance_token();
        }
        found
    }

    /// Whether that unquoted word comes next.
    pub(super) fn comes(&self, word: &str) -> bool {
        is_word(Some(&self.parser.peek_token()), word)
    }

    pub(super) fn data_type(&mut self) -> Result<DataType> {
        self.parser.parse_data_type().map_err(|error| self.source.parser_error(error))
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<()> {
        if self.word(word) {
            Ok(())
        } else {
            Err(self.source.unexpected(&self.parser.peek_token()))
        }
    }

    pub(super) fn at_end(&self) -> bool {
        self.parser.peek_token().token == Token::EOF
    }

    /// A whole number with its sign, if one comes next.
    pub(super) fn whole(&mut self) -> Result<Option<i64>> {
        let minus = self.parser.consume_token(&Token::Minus);
        if !minus {
            let _ = self.parser.consume_token(&Token::Plus);
        }
        let next = self.parser.peek_token();
        let Token::Number(digits, _) = &next.token else {
            return if minus { Err(self.source.unexpected(&next)) } else { Ok(None) };
        };
        let number: i64 = digits.parse().map_err(|_| self.source.unexpected(&next))?;
        self.parser.advance_token();
        Ok(Some(if minus { -number } else { number }))
    }

    pub(super) fn unexpected(&self) -> crate::error::Error {
        self.source.unexpected(&self.parser.peek_token())
    }

    /// Takes those unquoted words if they come next.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(i, word)| is_word(Some(self.parser.peek_nth_token_ref(i)), word));
        if found {
            self.skip(words.len());
        }
        found
    }

    /// Whether that unquoted word comes next.
    pub(super) fn next_is(&self, word: &str) -> bool {
        is_word(Some(self.parser.peek_token_ref()), word)
    }

    /// Goes to the next of those words.
    pub(super) fn skip_to(&mut self, words: &[&str]) {
        while !self.at_end() && !words.iter().any(|word| self.next_is(word)) {
            self.parser.advance_token();
        }
    }

    /// Takes that token if it comes next.
    pub(super) fn take(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// A number without a sign as it is written, if one comes next.
    pub(super) fn whole_text(&mut self) -> Option<String> {
        let Token::Number(digits, _) = &self.parser.peek_token_ref().token else { return None };
        let digits = digits.clone();
        self.parser.advance_token();
        Some(digits)
    }

    pub(super) fn ident(&mut self) -> Result<Ident> {
        self.parser.parse_identifier().map_err(|error| self.source.parser_error(error))
    }

    /// A string, if one comes next.
    pub(super) fn text(&mut self) -> Result<Option<String>> {
        let text = match &self.parser.peek_token_ref().token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return Ok(None),
        };
        self.parser.advance_token();
        Ok(Some(text))
    }

    pub(super) fn name(&mut self) -> Result<ObjectName> {
        self.parser.parse_object_name(false).map_err(|error| self.source.parser_error(error))
    }

    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.parser.parse_expr().map_err(|error| self.source.parser_error(error))
    }

    /// Table names, each with an optional list of columns, to the end.
    fn tables(&mut self) -> Result<Vec<ObjectName>> {
        let mut tables = Vec::new();
        if self.at_end() {
            return Ok(tables);
        }
        loop {
            tables.push(self.name()?);
            if self.parser.consume_token(&Token::LParen) {
                while !matches!(self.parser.next_token().token, Token::RParen | Token::EOF) {}
            }
            if !self.parser.consume_token(&Token::Comma) {
                return Ok(tables);
            }
        }
    }

    /// Takes the word TIMESTAMP unless a literal of that type follows.
    fn skip_timestamp(&mut self) {
        let [first, second] = self.parser.peek_tokens();
        let word = matches!(&first, Token::Word(w)
            if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("timestamp"));
        if word && !matches!(second, Token::SingleQuotedString(_)) {
            self.parser.advance_token();
        }
    }
}
