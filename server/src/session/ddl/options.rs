//! The options of a table: `WITH (…)`, `SET (…)`, `RESET (…)`.

use std::collections::BTreeMap;

use chronos_catalog::{Column, TableDef};
use chronos_storage::{Expiry, TTL, TTL_COLUMN, parse_age};
use datafusion::sql::sqlparser::ast::{Expr, SqlOption, Value};

use crate::error::{PgError, PgResult};
use crate::session::names::fold;
use crate::session::settings::parse_bool;

const TIME_COLUMN: &str = "time_column";
const VERSIONING: &str = "versioning";
const HISTORY_RETENTION: &str = "history_retention";

/// Storage parameters of PostgreSQL that change no answer.
const IGNORED: [&str; 4] =
    ["fillfactor", "autovacuum_enabled", "toast_tuple_target", "parallel_workers"];

/// Sets the given options, and takes away those that are NULL.
pub(super) fn set(
    options: &mut BTreeMap<String, String>,
    given: &[SqlOption],
    columns: &[Column],
) -> PgResult<()> {
    for option in given {
        let SqlOption::KeyValue { key, value } = option else {
            return Err(PgError::new("22023", format!("unrecognized parameter \"{option}\"")));
        };
        let key = fold(key);
        if key == chronos_sql_ext::NO_DATA {
            continue;
        }
        let text = match value {
            Expr::Value(v) => match &v.value {
                Value::SingleQuotedString(s) => Some(s.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            },
            Expr::Identifier(ident) => Some(fold(ident)),
            other => Some(other.to_string()),
        };
        check(&key, text.as_deref(), columns)?;
        let text = match (key.as_str(), text) {
            (VERSIONING, Some(text)) => Some(on_or_off(&key, &text)?.to_owned()),
            (_, text) => text,
        };
        match text {
            Some(text) => options.insert(key, text),
            None => options.remove(&key),
        };
    }
    Ok(())
}

fn check(key: &str, text: Option<&str>, columns: &[Column]) -> PgResult<()> {
    let named = |text: &str| {
        columns.iter().find(|c| c.name == text).ok_or_else(|| {
            PgError::new("42703", format!("column \"{text}\" of {key} does not exist"))
        })
    };
    match (key, text) {
        (TIME_COLUMN, Some(text)) => named(text).map(drop),
        (TTL_COLUMN, Some(text)) if Expiry::can_tell(&named(text)?.ty) => Ok(()),
        (TTL_COLUMN, Some(text)) => {
            let message = format!("column \"{text}\" cannot tell when a row expires");
            Err(PgError::new("42804", message).hint(
                "It must be of type timestamptz, timestamp, date, or bigint (milliseconds since \
                 1970).",
            ))
        }
        (HISTORY_RETENTION | TTL, Some(text)) if parse_age(text).is_none() => {
            Err(PgError::new("22023", format!("invalid value for {key}: \"{text}\""))
                .hint("A number with s, min, h, d, w or y, such as '90 days'."))
        }
        (TIME_COLUMN | TTL_COLUMN | HISTORY_RETENTION | TTL | VERSIONING, _) => Ok(()),
        ("history_max_versions", _) => Err(PgError::unsupported(format!("the table option {key}"))),
        (key, _) if IGNORED.contains(&key) => Ok(()),
        (key, _) => Err(PgError::new("22023", format!("unrecognized parameter \"{key}\""))),
    }
}

fn on_or_off(key: &str, text: &str) -> PgResult<&'static str> {
    match parse_bool(text) {
        Some(true) => Ok("on"),
        Some(false) => Ok("off"),
        None => {
            let message = format!("invalid value for boolean option \"{key}\": {text}");
            Err(PgError::new("22023", message))
        }
    }
}

/// Lets the options follow a column to its new name.
pub(super) fn rename_column(def: &mut TableDef, old: &str, new: &str) {
    for key in [TIME_COLUMN, TTL_COLUMN] {
        if let Some(column) = def.options.get_mut(key).filter(|c| *c == old) {
            new.clone_into(column);
        }
    }
}

/// Refuses a change after which rows would never expire, or at other times.
pub(super) fn check_column(def: &TableDef, table: &str) -> PgResult<()> {
    let Some(name) = def.options.get(TTL_COLUMN) else { return Ok(()) };
    match def.column_named(name) {
        Some(column) if Expiry::can_tell(&column.ty) => Ok(()),
        _ => {
            let message = format!(
                "cannot change column \"{name}\": the rows of table \"{table}\" expire by it"
            );
            Err(PgError::new("2BP01", message).hint("RESET (ttl_column) of the table first."))
        }
    }
}
