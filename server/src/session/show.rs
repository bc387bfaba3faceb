//! SET, RESET and SHOW.

use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    ContextModifier, Expr, Ident, ObjectName, Reset, ResetStatement, Set, UnaryOperator, Value,
};
use futures::StreamExt;

use super::api::{FieldDescription, Response};
use super::session::Session;
use super::settings::{Scope, Settings};
use super::transaction::Block;
use crate::error::{PgError, PgResult};

/// The name that SHOW names, in one piece.
pub(super) fn variable_name(variable: &[Ident]) -> String {
    let words: Vec<String> = variable.iter().map(|i| i.value.to_ascii_lowercase()).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["transaction", "isolation", "level"] => "transaction_isolation".to_owned(),
        ["time", "zone"] => "TimeZone".to_owned(),
        ["session", "authorization"] => "session_authorization".to_owned(),
        _ => words.join("."),
    }
}

/// Text columns of those names.
pub(super) fn text_fields(names: &[&str]) -> Arc<[FieldDescription]> {
    names
        .iter()
        .map(|name| FieldDescription {
            name: (*name).to_owned(),
            table_oid: 0,
            column: 0,
            ty: SqlType::Text,
        })
        .collect()
}

/// The columns of SHOW.
pub(super) fn show_fields(name: &str) -> Arc<[FieldDescription]> {
    if name == "all" {
        text_fields(&["name", "setting", "description"])
    } else {
        text_fields(&[&Settings::display_name(name)])
    }
}

/// An answer of text columns.
pub(super) fn text_rows(
    fields: Arc<[FieldDescription]>,
    columns: Vec<Vec<String>>,
    tag: &str,
) -> PgResult<Response> {
    let schema: Vec<_> = fields.iter().map(|f| f.ty.field(&f.name, true)).collect();
    let arrays = columns
        .into_iter()
        .map(|values| Arc::new(StringViewArray::from_iter_values(values)) as ArrayRef)
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(schema)), arrays)?;
    let rows = futures::stream::iter([Ok(batch)]).boxed();
    Ok(Response::Rows { fields, rows, tag: tag.to_owned() })
}

fn setting_name(name: &ObjectName) -> String {
    let parts: Vec<String> = name
        .0
        .iter()
        .map(|p| p.as_ident().map_or_else(|| p.to_string(), |i| i.value.clone()))
        .collect();
    parts.join(".")
}

/// The text of one value of SET; `None` is DEFAULT.
fn value_text(expr: &Expr) -> PgResult<Option<String>> {
    Ok(Some(match expr {
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            if ident.value.eq_ignore_ascii_case("default") {
                return Ok(None);
            }
            ident.value.clone()
        }
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(idents) => {
            idents.iter().map(|i| i.value.as_str()).collect::<Vec<_>>().join(".")
        }
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(s)
            | Value::DoubleQuotedString(s)
            | Value::EscapedStringLiteral(s) => s.clone(),
            Value::DollarQuotedString(s) => s.value.clone(),
            Value::Number(n, _) => n.to_string(),
            Value::Boolean(b) => b.to_string(),
            other => {
                return Err(PgError::new("42601", format!("syntax error at or near \"{other}\"")));
            }
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
            format!("-{}", value_text(expr)?.unwrap_or_default())
        }
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } => return value_text(expr),
        Expr::Interval(interval) => match value_text(&interval.value)? {
            Some(text) => text,
            None => return Ok(None),
        },
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(s) => s.clone(),
            other => other.to_string(),
        },
        other => {
            return Err(PgError::new("42601", format!("syntax error at or near \"{other}\"")));
        }
    }))
}

/// Whether a setting's value is a list of identifiers, which keeps its quotes.
fn is_list(name: &str) -> bool {
    name.eq_ignore_ascii_case("search_path") || name.eq_ignore_ascii_case("DateStyle")
}

impl Session {
    pub(super) async fn set(&mut self, set: &Set) -> PgResult<String> {
        match set {
            Set::SingleAssignment { scope, variable, values, .. } => {
                let name = setting_name(variable);
                let mut texts = Vec::with_capacity(values.len());
                let mut default = false;
                for value in values {
                    let quoted = matches!(value, Expr::Identifier(i) if i.quote_style.is_some())
                        || matches!(value, Expr::Value(v)
                            if matches!(v.value, Value::SingleQuotedString(_)));
                    match value_text(value)? {
                        None => default = true,
                        Some(text) if quoted && is_list(&name) && values.len() > 1 => {
                            texts.push(super::names::quote(&text));
                        }
                        Some(text) if quoted && name.eq_ignore_ascii_case("search_path") => {
                            // One string may hold a whole list, as in PostgreSQL's own dumps.
                            texts.push(text);
                        }
                        Some(text) => texts.push(text),
                    }
                }
                let value = (!default).then(|| texts.join(", "));
                let scope = match scope {
                    Some(ContextModifier::Local) => Scope::Local,
                    Some(ContextModifier::Global) => {
                        return Err(PgError::new("42601", "syntax error at or near \"GLOBAL\""));
                    }
                    Some(ContextModifier::Session) | None => Scope::Session,
                };
                self.set_one(&name, value.as_deref(), scope).await?;
            }
            Set::SetTimeZone { local, value } => {
                let value = value_text(value)?;
                let scope = if *local { Scope::Local } else { Scope::Session };
                self.set_one("TimeZone", value.as_deref(), scope).await?;
            }
            Set::SetNames { charset_name, .. } => {
                let value = charset_name.value.clone();
                self.set_one("client_encoding", Some(&value), Scope::Session).await?;
            }
            Set::SetNamesDefault {} => {
                self.set_one("client_encoding", None, Scope::Session).await?;
            }
            Set::SetTransaction { modes, snapshot, session } => {
                if snapshot.is_some() {
                    return Err(PgError::unsupported("SET TRANSACTION SNAPSHOT"));
                }
                let modes = super::transaction::modes(modes)?;
                return self.set_transaction(*session, &modes).await;
            }
            // The parser of our own statements takes what is well-formed.
            Set::SetRole { .. }
            | Set::SetSessionAuthorization(_)
            | Set::ParenthesizedAssignments { .. }
            | Set::MultipleAssignments { .. }
            | Set::SetSessionParam(_) => {
                return Err(PgError::new("42601", "syntax error in SET"));
            }
        }
        Ok("SET".to_owned())
    }

    async fn set_one(&mut self, name: &str, value: Option<&str>, scope: Scope) -> PgResult<()> {
        if scope == Scope::Local && self.block == Block::None {
            let text = "SET LOCAL can only be used in transaction blocks";
            self.notice(PgError::warning("25P01", text));
            return Ok(());
        }
        let before = self.shared.settings.read().clone();
        self.shared.settings.write().set(name, value, scope)?;
        if name.eq_ignore_ascii_case("chronos.as_of")
            && let Err(error) = self.session_as_of()
        {
            *self.shared.settings.write() = before;
            return Err(error);
        }
        if self.block == Block::Explicit
            && name.to_ascii_lowercase().starts_with("transaction_")
            && let Some(value) = value
        {
            // The mode of the transaction, not of the session.
            *self.shared.settings.write() = before;
            self.shared.settings.write().set(name, Some(value), Scope::Local)?;
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, reset: &ResetStatement) -> PgResult<String> {
        let mut settings = self.shared.settings.write();
        match &reset.reset {
            Reset::ALL => settings.reset_all(),
            Reset::ConfigurationParameter(name) => {
                settings.set(&setting_name(name), None, Scope::Session)?;
            }
        }
        Ok("RESET".to_owned())
    }

    pub(super) fn show(&mut self, variable: &[Ident]) -> PgResult<Response> {
        let name = variable_name(variable);
        let fields = show_fields(&name);
        if name == "all" {
            let all = self.shared.settings.read().all();
            let (names, values): (Vec<_>, Vec<_>) = all.into_iter().unzip();
            let descriptions = vec![String::new(); names.len()];
            return text_rows(fields, vec![names, values, descriptions], "SHOW");
        }
        let value = match name.as_str() {
            "session_authorization" => self.shared.session_user(),
            "role" => {
                let role = self.shared.settings.read().identity("role");
                role.unwrap_or_else(|| "none".to_owned())
            }
            name => self.shared.settings.read().show(name)?,
        };
        text_rows(fields, vec![vec![value]], "SHOW")
    }
}
