//! Forms of ALTER and COMMENT that sqlparser lacks.

use datafusion::sql::sqlparser::ast::{Expr, Ident, SequenceOptions, Value};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::extensions::Cursor;
use crate::error::Result;
use crate::statement::{AlterSequence, ColumnChange, Extension};

/// `ALTER SEQUENCE …` but for what concerns the sequence as a relation.
pub(super) fn sequence(cursor: &mut Cursor<'_, '_>) -> Result<Extension> {
    let if_exists = cursor.word("IF") && cursor.word("EXISTS");
    let name = cursor.name()?;
    let mut alter = AlterSequence { if_exists, name, ..AlterSequence::empty() };
    while !cursor.at_end() {
        option(cursor, &mut alter)?;
    }
    Ok(Extension::AlterSequence(Box::new(alter)))
}

/// One option of a sequence.
fn option(cursor: &mut Cursor<'_, '_>, alter: &mut AlterSequence) -> Result<()> {
    if cursor.word("AS") {
        alter.data_type = Some(cursor.data_type()?);
    } else if cursor.word("INCREMENT") {
        cursor.word("BY");
        alter.options.push(SequenceOptions::IncrementBy(number(cursor)?, true));
    } else if cursor.word("NO") {
        if cursor.word("MINVALUE") {
            alter.options.push(SequenceOptions::MinValue(None));
        } else if cursor.word("MAXVALUE") {
            alter.options.push(SequenceOptions::MaxValue(None));
        } else {
            cursor.expect("CYCLE")?;
            alter.options.push(SequenceOptions::Cycle(true));
        }
    } else if cursor.word("MINVALUE") {
        alter.options.push(SequenceOptions::MinValue(Some(number(cursor)?)));
    } else if cursor.word("MAXVALUE") {
        alter.options.push(SequenceOptions::MaxValue(Some(number(cursor)?)));
    } else if cursor.word("START") {
        cursor.word("WITH");
        alter.options.push(SequenceOptions::StartWith(number(cursor)?, true));
    } else if cursor.word("RESTART") {
        let with = cursor.word("WITH");
        alter.restart = Some(match cursor.whole()? {
            Some(n) => Some(n),
            None if with => return Err(cursor.unexpected()),
            None => None,
        });
    } else if cursor.word("CACHE") {
        number(cursor)?;
    } else if cursor.word("CYCLE") {
        alter.options.push(SequenceOptions::Cycle(false));
    } else if cursor.word("OWNED") {
        cursor.expect("BY")?;
        alter.owned_by = Some(if cursor.word("NONE") { None } else { Some(cursor.name()?) });
    } else {
        return Err(cursor.unexpected());
    }
    Ok(())
}

fn number(cursor: &mut Cursor<'_, '_>) -> Result<Expr> {
    match cursor.whole()? {
        Some(n) => Ok(Expr::value(Value::Number(n.to_string(), false))),
        None => Err(cursor.unexpected()),
    }
}

/// `ALTER TABLE t ALTER c …` in the forms of identity, generation and storage; `None` for others.
pub(super) fn column(cursor: &mut Cursor<'_, '_>) -> Result<Option<Extension>> {
    let if_exists = cursor.word("IF") && cursor.word("EXISTS");
    cursor.word("ONLY");
    let Ok(table) = cursor.name() else { return Ok(None) };
    let _ = cursor.parser.consume_token(&Token::Mul);
    if cursor.word("CLUSTER") {
        cursor.expect("ON")?;
        cursor.name()?;
        return Ok(Some(Extension::AlterStorage { table, if_exists }));
    }
    if cursor.word("SET") {
        let known = cursor.word("LOGGED")
            || cursor.word("UNLOGGED")
            || (cursor.word("WITHOUT") && (cursor.word("CLUSTER") || cursor.word("OIDS")));
        return Ok(known.then_some(Extension::AlterStorage { table, if_exists }));
    }
    if !cursor.word("ALTER") {
        return Ok(None);
    }
    cursor.word("COLUMN");
    let Ok(column) = cursor.parser.parse_identifier() else { return Ok(None) };
    let change = if cursor.word("SET") {
        if cursor.word("STATISTICS") {
            cursor.whole()?;
            return Ok(Some(Extension::AlterStorage { table, if_exists }));
        }
        if cursor.word("STORAGE") || cursor.word("COMPRESSION") {
            cursor.name()?;
            return Ok(Some(Extension::AlterStorage { table, if_exists }));
        }
        if !cursor.word("GENERATED") {
            let is_option = ["INCREMENT", "MINVALUE", "MAXVALUE", "START", "CYCLE", "CACHE", "NO"]
                .iter()
                .any(|word| cursor.comes(word));
            return match is_option {
                true => sequence_of(cursor, table, column, if_exists).map(Some),
                false => Ok(None),
            };
        }
        let always = cursor.word("ALWAYS");
        if !always {
            cursor.expect("BY")?;
            cursor.expect("DEFAULT")?;
        }
        ColumnChange::SetGenerated { always }
    } else if cursor.comes("RESTART") {
        return sequence_of(cursor, table, column, if_exists).map(Some);
    } else if cursor.word("DROP") {
        let identity = cursor.word("IDENTITY");
        if !identity && !cursor.word("EXPRESSION") {
            return Ok(None);
        }
        let missing_ok = cursor.word("IF") && cursor.word("EXISTS");
        match identity {
            true => ColumnChange::DropIdentity { missing_ok },
            false => ColumnChange::DropExpression { missing_ok },
        }
    } else {
        return Ok(None);
    };
    Ok(Some(Extension::AlterColumn { table, if_exists, column, change }))
}

/// Options of the sequence of an identity column.
fn sequence_of(
    cursor: &mut Cursor<'_, '_>,
    table: datafusion::sql::sqlparser::ast::ObjectName,
    column: Ident,
    if_exists: bool,
) -> Result<Extension> {
    let mut alter = AlterSequence::empty();
    while !cursor.at_end() {
        cursor.word("SET");
        option(cursor, &mut alter)?;
    }
    let change = ColumnChange::Sequence(Box::new(alter));
    Ok(Extension::AlterColumn { table, if_exists, column, change })
}

/// `COMMENT ON CONSTRAINT c ON t IS …` and of objects that are not here; `None` for the others.
pub(super) fn comment(cursor: &mut Cursor<'_, '_>) -> Result<Option<Extension>> {
    cursor.skip(2);
    if !cursor.word("CONSTRAINT") {
        return Ok(None);
    }
    let constraint =
        cursor.parser.parse_identifier().map_err(|error| cursor.source.parser_error(error))?;
    cursor.expect("ON")?;
    if cursor.word("DOMAIN") {
        return Ok(Some(Extension::Refused { what: "COMMENT ON CONSTRAINT … ON DOMAIN".into() }));
    }
    let table = cursor.name()?;
    cursor.expect("IS")?;
    let text = if cursor.word("NULL") {
        None
    } else {
        match cursor.parser.parse_literal_string() {
            Ok(text) => Some(text),
            Err(error) => return Err(cursor.source.parser_error(error)),
        }
    };
    Ok(Some(Extension::CommentOnConstraint { table, constraint, text }))
}
