//! DECLARE, FETCH, MOVE and CLOSE: a query read piece by piece, backwards too if it is SCROLL.

use std::sync::Arc;

use chronos_catalog::{Oid, RowRef, SegmentId};
use chronos_sql_ext::FetchCount;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CloseCursor, Declare, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, Query, Statement, Value,
};
use futures::StreamExt;

use super::api::{FieldDescription, Response, RowStream};
use super::build;
use super::locking::Placed;
use super::names::fold;
use super::session::Session;
use super::transaction::Block;
use super::write::WriteTarget;
use crate::error::{PgError, PgResult};

/// An open cursor.
///
/// ```text
/// position   0            1 … n          n + 1
///            before all   on that row    after the last
/// ```
pub(super) struct Cursor {
    fields: Arc<[FieldDescription]>,
    /// Behind a lock only to be shareable; it is never contended.
    rows: parking_lot::Mutex<RowStream>,
    /// SCROLL: all rows read so far. Otherwise the rows read and not fetched.
    read: Vec<RecordBatch>,
    scroll: bool,
    /// The number of the present row, from 1.
    position: usize,
    /// Rows read from the stream.
    known: usize,
    /// The stream has ended.
    ended: bool,
    /// WITH HOLD: outlives its transaction.
    pub hold: bool,
    /// The one table that it reads; its rows then end with their places.
    table: Option<Oid>,
    /// The place of the present row.
    current: Option<RowRef>,
}

fn backward() -> PgError {
    PgError::new("55000", "cursor can only scan forward")
        .hint("Declare it with SCROLL option to enable backward scan.")
}

impl Cursor {
    /// Reads until that many rows are known or there are no more.
    async fn read_to(&mut self, wanted: usize) -> PgResult<()> {
        while self.known < wanted && !self.ended {
            match self.rows.get_mut().next().await {
                Some(batch) => {
                    let batch = batch?;
                    self.known += batch.num_rows();
                    self.read.push(batch);
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }

    /// The known rows from number `first` (from 1), at most `count` of them.
    fn slice(&mut self, first: usize, count: usize) -> Vec<RecordBatch> {
        // Without SCROLL, what came before is gone.
        let gone = self.known - self.read.iter().map(RecordBatch::num_rows).sum::<usize>();
        let (mut skip, mut left) = (first - 1 - gone, count);
        let mut taken = Vec::new();
        for batch in &self.read {
            let rows = batch.num_rows();
            if skip >= rows {
                skip -= rows;
                continue;
            }
            let n = (rows - skip).min(left);
            if n == 0 {
                break;
            }
            taken.push(batch.slice(skip, n));
            left -= n;
            skip = 0;
        }
        taken
    }

    /// Drops the rows up to the present one, which cannot be asked for again.
    fn forget(&mut self) {
        if self.scroll {
            return;
        }
        let kept = self.known - self.position.min(self.known);
        let mut extra = self.read.iter().map(RecordBatch::num_rows).sum::<usize>() - kept;
        while let Some(batch) = self.read.first() {
            let rows = batch.num_rows();
            if extra < rows {
                let rest = batch.slice(extra, rows - extra);
                self.read[0] = rest;
                break;
            }
            extra -= rows;
            self.read.remove(0);
        }
    }

    /// Goes on by up to `count` rows and gives them.
    async fn forward(&mut self, count: usize) -> PgResult<Vec<RecordBatch>> {
        let wanted = self.position.saturating_add(count);
        self.read_to(wanted).await?;
        let first = self.position + 1;
        let last = wanted.min(self.known);
        let rows = if last < first { Vec::new() } else { self.slice(first, last + 1 - first) };
        self.position = if last < wanted { self.known + 1 } else { last };
        self.forget();
        Ok(rows)
    }

    /// Goes back by up to `count` rows and gives them, the last one first.
    fn backward(&mut self, count: usize) -> PgResult<Vec<RecordBatch>> {
        if !self.scroll {
            return Err(backward());
        }
        let last = self.position.saturating_sub(1);
        let first = last.saturating_sub(count);
        let mut rows = Vec::with_capacity(last - first);
        for number in (first + 1..=last).rev() {
            rows.extend(self.slice(number, 1));
        }
        self.position = if last - first < count { 0 } else { first + 1 };
        Ok(rows)
    }

    /// Goes to the row of that number, from 1, and gives it if it is there.
    async fn to(&mut self, number: usize) -> PgResult<Vec<RecordBatch>> {
        if number <= self.position && !self.scroll {
            return Err(backward());
        }
        if number == 0 {
            self.position = 0;
            return Ok(Vec::new());
        }
        self.read_to(number).await?;
        self.position = number.min(self.known + 1);
        let rows = if number <= self.known { self.slice(number, 1) } else { Vec::new() };
        self.forget();
        Ok(rows)
    }

    async fn take(&mut self, count: FetchCount) -> PgResult<Vec<RecordBatch>> {
        let size = |n: i64| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        match count {
            FetchCount::Rows(0) | FetchCount::Relative(0) => {
                if self.position == 0 || self.position > self.known {
                    return Ok(Vec::new());
                }
                if !self.scroll {
                    return Err(backward());
                }
                Ok(self.slice(self.position, 1))
            }
            FetchCount::Rows(n) if n > 0 => self.forward(size(n)).await,
            FetchCount::Rows(n) => self.backward(size(n)),
            FetchCount::All { backward: false } => self.forward(usize::MAX).await,
            FetchCount::All { backward: true } => self.backward(usize::MAX),
            FetchCount::Absolute(n) if n >= 0 => self.to(size(n)).await,
            FetchCount::Absolute(n) => {
                self.read_to(usize::MAX).await?;
                match (self.known + 1).checked_sub(size(n)) {
                    Some(number) => self.to(number).await,
                    None => self.to(0).await,
                }
            }
            FetchCount::Relative(n) if n > 0 => {
                self.to(self.position.saturating_add(size(n))).await
            }
            FetchCount::Relative(n) => self.to(self.position.saturating_sub(size(n))).await,
        }
    }
}

impl Session {
    pub(super) async fn declare(&mut self, declarations: &[Declare]) -> PgResult<String> {
        for declaration in declarations {
            let (Some(name), Some(query)) = (declaration.names.first(), &declaration.for_query)
            else {
                return Err(PgError::new("42601", "DECLARE needs a query"));
            };
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
            let result = self.cursor_rows(query).await;
            if self.block == Block::None {
                self.shared.rollback().await;
            }
            let Placed { fields, rows, table } = result?;
            let cursor = Cursor {
                fields,
                rows: parking_lot::Mutex::new(rows),
                read: Vec::new(),
                scroll: declaration.scroll == Some(true),
                position: 0,
                known: 0,
                ended: false,
                hold,
                table,
                current: None,
            };
            self.cursors.insert(name, cursor);
        }
        Ok("DECLARE CURSOR".to_owned())
    }

    async fn cursor_rows(&mut self, query: &Query) -> PgResult<Placed> {
        if super::query::is_read(query)
            && let Some(placed) = self.placed_query(query).await?
        {
            return Ok(placed);
        }
        match self.query(&Statement::Query(Box::new(query.clone()))).await? {
            Response::Rows { fields, rows, .. } => Ok(Placed { fields, rows, table: None }),
            _ => Err(PgError::new("42P11", "a cursor must read")),
        }
    }

    /// `WHERE CURRENT OF cursor` as the condition that it is; other conditions stay.
    ///
    /// # Errors
    /// 34000, 24000
    pub(super) fn current_of(
        &self,
        selection: Option<Expr>,
        target: &WriteTarget,
        alias: &str,
    ) -> PgResult<Option<Expr>> {
        let Some(Expr::Function(call)) = &selection else { return Ok(selection) };
        let is_ours = matches!(call.name.0.as_slice(), [part]
            if part.as_ident().is_some_and(|i| i.value == chronos_sql_ext::CURRENT_OF));
        if !is_ours {
            return Ok(selection);
        }
        let name = match &call.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(v)))] => match &v.value {
                    Value::SingleQuotedString(name) => name.as_str(),
                    _ => "",
                },
                _ => "",
            },
            _ => "",
        };
        let cursor = self.cursors.get(name).ok_or_else(|| missing(name))?;
        if cursor.table != Some(target.oid) {
            let message = format!(
                "cursor \"{name}\" is not a simply updatable scan of table \"{}\"",
                target.name
            );
            return Err(PgError::new("24000", message));
        }
        let Some(place) = cursor.current else {
            let message = format!("cursor \"{name}\" is not positioned on a row");
            return Err(PgError::new("24000", message));
        };
        let equal = |column: &str, number: u64| Expr::BinaryOp {
            left: Box::new(build::qualified(alias, column)),
            op: BinaryOperator::Eq,
            right: Box::new(Expr::value(Value::Number(number.to_string(), false))),
        };
        Ok(Some(Expr::BinaryOp {
            left: Box::new(equal("_segment", place.segment.0)),
            op: BinaryOperator::And,
            right: Box::new(equal("_position", place.position.into())),
        }))
    }

    pub(super) async fn fetch(
        &mut self,
        name: &Ident,
        count: FetchCount,
        only_move: bool,
    ) -> PgResult<Response> {
        let name = fold(name);
        let Some(cursor) = self.cursors.get_mut(&name) else {
            // Portals have their names in the same space, and asyncpg moves in them.
            return match (only_move, count) {
                (true, FetchCount::Rows(n) | FetchCount::Relative(n)) if n >= 0 => {
                    Ok(Response::MovePortal { name, rows: n.unsigned_abs() })
                }
                (true, FetchCount::All { backward: false }) => {
                    Ok(Response::MovePortal { name, rows: u64::MAX })
                }
                _ => Err(missing(&name)),
            };
        };
        let fields = Arc::clone(&cursor.fields);
        let mut batches = cursor.take(count).await?;
        if cursor.table.is_some() {
            cursor.current = batches.last().and_then(place_of_last);
            let visible: Vec<usize> = (0..fields.len()).collect();
            for batch in &mut batches {
                *batch = batch.project(&visible)?;
            }
        }
        if only_move {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            return Ok(Response::Complete(format!("MOVE {rows}")));
        }
        let rows = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        Ok(Response::Rows { fields, rows, tag: "FETCH".to_owned() })
    }

    pub(super) fn cursor_described(&self, name: &str) -> Option<Arc<[FieldDescription]>> {
        self.cursors.get(name).map(|c| Arc::clone(&c.fields))
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

/// The place that the last row ends with.
fn place_of_last(batch: &RecordBatch) -> Option<RowRef> {
    let (n, last) = (batch.num_columns(), batch.num_rows().checked_sub(1)?);
    let segments = batch.column(n.checked_sub(2)?).as_primitive_opt::<UInt64Type>()?;
    let positions = batch.column(n - 1).as_primitive_opt::<UInt32Type>()?;
    Some(RowRef { segment: SegmentId(segments.value(last)), position: positions.value(last) })
}

fn missing(name: &str) -> PgError {
    PgError::new("34000", format!("cursor \"{name}\" does not exist"))
}
