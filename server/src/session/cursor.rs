//! DECLARE, FETCH and CLOSE: a query read piece by piece, forwards.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    CloseCursor, Declare, FetchDirection, Ident, Statement, Value, ValueWithSpan,
};
use futures::StreamExt;

use super::api::{FieldDescription, Response, RowStream};
use super::names::fold;
use super::session::Session;
use super::transaction::Block;
use crate::error::{PgError, PgResult};

/// An open cursor.
pub(super) struct Cursor {
    fields: Arc<[FieldDescription]>,
    /// Behind a lock only to be shareable; it is never contended.
    rows: parking_lot::Mutex<RowStream>,
    /// Read and not fetched yet.
    rest: Option<RecordBatch>,
    /// WITH HOLD: outlives its transaction.
    pub hold: bool,
}

impl Cursor {
    async fn take(&mut self, limit: usize) -> PgResult<Vec<RecordBatch>> {
        let mut taken = Vec::new();
        let mut left = limit;
        while left > 0 {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.rows.get_mut().next().await {
                    Some(batch) => batch?,
                    None => break,
                },
            };
            let n = batch.num_rows().min(left);
            if n < batch.num_rows() {
                self.rest = Some(batch.slice(n, batch.num_rows() - n));
            }
            left -= n;
            taken.push(batch.slice(0, n));
        }
        Ok(taken)
    }
}

fn count(limit: &ValueWithSpan) -> PgResult<i64> {
    match &limit.value {
        Value::Number(n, _) => n
            .to_string()
            .parse()
            .map_err(|_| PgError::new("42601", format!("invalid row count \"{n}\""))),
        other => Err(PgError::new("42601", format!("invalid row count \"{other}\""))),
    }
}

/// How many rows a direction asks for.
fn limit(direction: &FetchDirection) -> PgResult<usize> {
    let backward = || {
        PgError::new("55000", "cursor can only scan forward")
            .hint("Chronos reads cursors forwards only.")
    };
    let n = match direction {
        FetchDirection::Next => 1,
        FetchDirection::All | FetchDirection::ForwardAll => return Ok(usize::MAX),
        FetchDirection::Forward { limit: None } => 1,
        FetchDirection::Count { limit } | FetchDirection::Forward { limit: Some(limit) } => {
            count(limit)?
        }
        FetchDirection::Relative { limit } => match count(limit)? {
            1 => 1,
            _ => return Err(PgError::unsupported("FETCH RELATIVE")),
        },
        FetchDirection::Prior
        | FetchDirection::First
        | FetchDirection::Last
        | FetchDirection::Absolute { .. }
        | FetchDirection::Backward { .. }
        | FetchDirection::BackwardAll => return Err(backward()),
    };
    usize::try_from(n).map_err(|_| backward())
}

impl Session {
    pub(super) async fn declare(&mut self, declarations: &[Declare]) -> PgResult<String> {
        for declaration in declarations {
            let (Some(name), Some(query)) = (declaration.names.first(), &declaration.for_query)
            else {
                return Err(PgError::new("42601", "DECLARE needs a query"));
            };
            if declaration.scroll == Some(true) {
                return Err(PgError::unsupported("a SCROLL cursor"));
            }
            let hold = declaration.hold == Some(true);
            if self.block == Block::None && !hold {
                let message = "DECLARE CURSOR can only be used in transaction blocks";
                return Err(PgError::new("25P01", message));
            }
            let name = fold(name);
            if self.cursors.contains_key(&name) {
                return Err(PgError::new("42P03", format!("cursor \"{name}\" already exists")));
            }
            self.open_transaction().await?;
            let result = self.query(&Statement::Query(query.clone())).await;
            if self.block == Block::None {
                self.shared.rollback().await;
            }
            let Response::Rows { fields, rows, .. } = result? else {
                return Err(PgError::new("42P11", "a cursor must read"));
            };
            self.cursors.insert(
                name,
                Cursor { fields, rows: parking_lot::Mutex::new(rows), rest: None, hold },
            );
        }
        Ok("DECLARE CURSOR".to_owned())
    }

    pub(super) async fn fetch(
        &mut self,
        name: &Ident,
        direction: &FetchDirection,
    ) -> PgResult<Response> {
        let name = fold(name);
        let limit = limit(direction)?;
        let cursor = self.cursors.get_mut(&name).ok_or_else(|| missing(&name))?;
        let fields = Arc::clone(&cursor.fields);
        let batches = cursor.take(limit).await?;
        let rows = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        Ok(Response::Rows { fields, rows, tag: "FETCH".to_owned() })
    }

    pub(super) fn cursor_fields(&self, name: &Ident) -> Option<Arc<[FieldDescription]>> {
        self.cursors.get(&fold(name)).map(|c| Arc::clone(&c.fields))
    }

    pub(super) fn close_cursor(&mut self, cursor: &CloseCursor) -> PgResult<String> {
        match cursor {
            CloseCursor::All => {
                self.cursors.clear();
                Ok("CLOSE CURSOR ALL".to_owned())
            }
            CloseCursor::Specific { name } => {
                let name = fold(name);
                self.cursors.remove(&name).ok_or_else(|| missing(&name))?;
                Ok("CLOSE CURSOR".to_owned())
            }
        }
    }
}

fn missing(name: &str) -> PgError {
    PgError::new("34000", format!("cursor \"{name}\" does not exist"))
}
