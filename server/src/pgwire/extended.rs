//! The extended protocol: prepared statements, portals and what is done with them.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::common::ScalarValue;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::cursor::Cursor;
use super::decode;
use super::frontend::Bind;
use super::io::Flow;
use super::simple::Ended;
use super::{backend, types};
use crate::error::{PgError, PgResult};
use crate::session::api::{Executor, FieldDescription, Response, TransactionStatus};

/// What Parse makes.
pub(super) struct Prepared<S> {
    /// `None` for an empty query string.
    statement: Option<S>,
    parameters: Vec<SqlType>,
    /// The parameters' types as the client is told: its own where it declared them.
    oids: Vec<u32>,
    fields: Option<Arc<[FieldDescription]>>,
}

/// What Bind makes.
pub(super) struct Portal<S> {
    statement: Option<S>,
    fields: Option<Arc<[FieldDescription]>>,
    formats: Vec<i16>,
    state: State,
}

enum State {
    /// Not executed so far.
    Bound(Vec<ScalarValue>),
    /// Rows are left.
    Suspended(Cursor, String),
    /// All rows are sent; the tag without its count.
    AtEnd(String),
    /// A statement without rows is done.
    Done,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send, E: Executor> Connection<S, E> {
    pub(super) async fn parse(&mut self, name: String, sql: &str, types: &[u32]) -> Flow<()> {
        // The unnamed statement goes even when the new one is wrong.
        if name.is_empty() {
            self.statements.remove("");
        } else if self.statements.contains_key(&name) {
            return Err(PgError::new(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        let mut statements = self.executor.parse(sql)?;
        if statements.len() > 1 {
            return Err(PgError::new(
                "42601",
                "cannot insert multiple commands into a prepared statement",
            )
            .into());
        }
        let declared = types.iter().map(|oid| declared(*oid)).collect::<PgResult<Vec<_>>>()?;
        let prepared = match statements.pop() {
            None => Prepared { statement: None, parameters: vec![], oids: vec![], fields: None },
            Some(statement) => {
                let described = self.executor.describe(&statement, &declared).await?;
                let oids = described
                    .parameters
                    .iter()
                    .enumerate()
                    .map(|(i, ty)| match types.get(i) {
                        Some(oid) if !types::is_open(*oid) => *oid,
                        _ => types::oid(ty),
                    })
                    .collect();
                Prepared {
                    statement: Some(statement),
                    parameters: described.parameters,
                    oids,
                    fields: described.fields,
                }
            }
        };
        if !name.is_empty() {
            self.executor.prepared(&name, prepared.statement.as_ref());
        }
        self.statements.insert(name, prepared);
        backend::bare(&mut self.io.out, b'1');
        Ok(())
    }

    pub(super) fn bind(&mut self, bind: Bind) -> Flow<()> {
        let prepared = find(&self.statements, &bind.statement)?;
        let count = bind.parameters.len();
        let formats = bind.parameter_formats.len();
        if formats > 1 && formats != count {
            return Err(violation(format!(
                "bind message has {formats} parameter formats but {count} parameters"
            )));
        }
        if count != prepared.parameters.len() {
            return Err(violation(format!(
                "bind message supplies {count} parameters, but prepared statement \"{}\" requires {}",
                bind.statement,
                prepared.parameters.len()
            )));
        }
        let settings = self.executor.text_settings();
        let mut parameters = Vec::with_capacity(count);
        for (i, (value, ty)) in bind.parameters.iter().zip(&prepared.parameters).enumerate() {
            let format = pick(&bind.parameter_formats, i);
            let value = decode::parameter(ty, format, value.as_deref(), &settings)
                .map_err(|e| e.context(format!("unnamed portal parameter ${}", i + 1)))?;
            parameters.push(value);
        }
        let columns = prepared.fields.as_ref().map_or(0, |f| f.len());
        let asked = bind.result_formats.len();
        if asked > 1 && asked != columns {
            return Err(violation(format!(
                "bind message has {asked} result formats but query has {columns} columns"
            )));
        }
        if let Some(code) = bind.result_formats.iter().find(|c| !matches!(c, 0 | 1)) {
            return Err(PgError::new("22023", format!("unsupported format code: {code}")).into());
        }
        let portal = Portal {
            statement: prepared.statement.clone(),
            fields: prepared.fields.clone(),
            formats: (0..columns).map(|i| pick(&bind.result_formats, i)).collect(),
            state: State::Bound(parameters),
        };
        match self.portals.entry(bind.portal) {
            Entry::Occupied(entry) if !entry.key().is_empty() => {
                return Err(PgError::new(
                    "42P03",
                    format!("cursor \"{}\" already exists", entry.key()),
                )
                .into());
            }
            Entry::Occupied(mut entry) => drop(entry.insert(portal)),
            Entry::Vacant(entry) => drop(entry.insert(portal)),
        }
        backend::bare(&mut self.io.out, b'2');
        Ok(())
    }

    pub(super) fn describe_statement(&mut self, name: &str) -> Flow<()> {
        let prepared = find(&self.statements, name)?;
        backend::parameter_description(&mut self.io.out, prepared.oids.iter().copied());
        match &prepared.fields {
            Some(fields) => backend::row_description(&mut self.io.out, fields, |_| 0),
            None => backend::bare(&mut self.io.out, b'n'),
        }
        Ok(())
    }

    pub(super) fn describe_portal(&mut self, name: &str) -> Flow<()> {
        let Some(portal) = self.portals.get(name) else {
            let fields = self.executor.cursor_fields(name).ok_or_else(|| no_portal(name))?;
            backend::row_description(&mut self.io.out, &fields, |_| 0);
            return Ok(());
        };
        match &portal.fields {
            Some(fields) => {
                backend::row_description(&mut self.io.out, fields, |i| portal.formats[i]);
            }
            None => backend::bare(&mut self.io.out, b'n'),
        }
        Ok(())
    }

    pub(super) async fn execute(&mut self, name: &str, max_rows: i32) -> Flow<()> {
        // A portal that fails is gone, so it is out of its place meanwhile.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let most = u64::try_from(max_rows).ok().filter(|n| *n > 0).unwrap_or(u64::MAX);
        self.advance(name, &mut portal, most).await?;
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    /// MOVE in a portal.
    pub(super) async fn move_portal(&mut self, name: &str, rows: u64) -> Flow<String> {
        let missing = || PgError::new("34000", format!("cursor \"{name}\" does not exist"));
        let settings = self.executor.text_settings();
        let portal = self.portals.get_mut(name).ok_or_else(missing)?;
        match &mut portal.state {
            State::Suspended(cursor, _) => {
                let moved = cursor.skip(&settings, &self.token, rows).await?;
                Ok(format!("MOVE {moved}"))
            }
            State::AtEnd(_) => Ok("MOVE 0".to_owned()),
            State::Bound(_) | State::Done => {
                Err(PgError::unsupported("MOVE in a portal that was not executed").into())
            }
        }
    }

    async fn advance(
        &mut self,
        name: &str,
        portal: &mut Portal<E::Statement>,
        most: u64,
    ) -> Flow<()> {
        if let State::Bound(parameters) = &mut portal.state {
            let parameters = std::mem::take(parameters);
            let Some(statement) = &portal.statement else {
                portal.state = State::Done;
                backend::bare(&mut self.io.out, b'I');
                return Ok(());
            };
            // What is followed by Sync at once needs no block around it.
            if !self.implicit
                && self.executor.status() == TransactionStatus::Idle
                && self.io.peek() != Some(b'S')
            {
                self.executor.begin_implicit().await?;
                self.implicit = true;
            }
            portal.state = State::Done;
            match self.executor.execute(statement, parameters).await? {
                Response::Empty => self.complete(&Ended::Empty),
                Response::Complete(tag) => self.complete(&Ended::Tag(tag)),
                Response::Rows { fields, rows, tag } => {
                    if !same_columns(portal.fields.as_deref(), &fields) {
                        return Err(PgError::new(
                            "0A000",
                            "cached plan must not change result type",
                        )
                        .into());
                    }
                    let cursor = Cursor::new(fields, rows, portal.formats.clone());
                    portal.state = State::Suspended(cursor, tag);
                }
                Response::MovePortal { name, rows } => {
                    let tag = self.move_portal(&name, rows).await?;
                    self.complete(&Ended::Tag(tag));
                }
                Response::CopyIn(sink) => {
                    let tag = self.copy_in(sink).await?;
                    self.complete(&Ended::Tag(tag));
                }
                Response::CopyOut { fields, rows, options } => {
                    let tag = self.copy_out(fields, rows, options).await?;
                    self.complete(&Ended::Tag(tag));
                }
            }
            if matches!(portal.state, State::Done) {
                return Ok(());
            }
        }
        match &mut portal.state {
            State::Suspended(cursor, tag) => {
                self.notices();
                let settings = self.executor.text_settings();
                let sent = cursor.send(&mut self.io, &settings, &self.token, most).await?;
                if sent.end {
                    let tag = std::mem::take(tag);
                    self.complete(&Ended::Tag(format!("{tag} {}", sent.rows)));
                    portal.state = State::AtEnd(tag);
                } else {
                    backend::bare(&mut self.io.out, b's');
                }
            }
            State::AtEnd(tag) => {
                let tag = format!("{tag} 0");
                self.complete(&Ended::Tag(tag));
            }
            State::Bound(_) | State::Done => {
                return Err(
                    PgError::new("55000", format!("portal \"{name}\" cannot be run")).into()
                );
            }
        }
        Ok(())
    }
}

fn same_columns(described: Option<&[FieldDescription]>, made: &[FieldDescription]) -> bool {
    described.is_some_and(|described| {
        described.len() == made.len()
            && described.iter().zip(made).all(|(a, b)| types::oid(&a.ty) == types::oid(&b.ty))
    })
}

/// The code for place `i` of a list of format codes: none is text, one is for all.
fn pick(formats: &[i16], i: usize) -> i16 {
    match formats {
        [] => 0,
        [one] => *one,
        many => many.get(i).copied().unwrap_or(0),
    }
}

fn declared(oid: u32) -> PgResult<Option<SqlType>> {
    match types::of_oid(oid) {
        Some(ty) => Ok(Some(ty)),
        None if types::is_open(oid) => Ok(None),
        None => Err(PgError::unsupported(format!("a parameter of the type with OID {oid}"))),
    }
}

fn find<'a, S>(
    statements: &'a std::collections::HashMap<String, Prepared<S>>,
    name: &str,
) -> PgResult<&'a Prepared<S>> {
    statements.get(name).ok_or_else(|| {
        PgError::new(
            "26000",
            if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            },
        )
    })
}

fn no_portal(name: &str) -> PgError {
    PgError::new("34000", format!("portal \"{name}\" does not exist"))
}

fn violation(message: String) -> super::io::Failure {
    PgError::new("08P01", message).into()
}
