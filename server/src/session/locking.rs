//! SELECT … FOR UPDATE and FOR SHARE.
//!
//! The query brings along the place of each row of each locked table, as an UPDATE's does; the
//! rows are answered when all of them are locked.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::{Oid, Relation, RowRef, SegmentId};
use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{UInt32Type, UInt64Type};
use datafusion::catalog::TableProvider;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, LimitClause, Lock, LockTableMode, LockType, NonBlock,
    ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    TableWithJoins, Visit, Visitor, visit_expressions,
};
use futures::StreamExt;

use super::api::{FieldDescription, Response, RowStream};
use super::build;
use super::names::fold;
use super::session::Session;
use crate::engine::{LockMode, LockWait};
use crate::error::{PgError, PgResult};

/// A table whose rows are locked, by the number of its pair of columns at the end.
struct Locked {
    oid: Oid,
    mode: LockMode,
    wait: LockWait,
}

/// Rows of a query, with their places at the end where the table is told.
pub(super) struct Placed {
    pub fields: Arc<[FieldDescription]>,
    pub rows: RowStream,
    pub table: Option<Oid>,
}

fn holds_subquery(items: &Vec<SelectItem>) -> bool {
    visit_expressions(items, |expr| match expr {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

impl Session {
    /// LOCK TABLE. The modes that hold off only a change of the table's definition need nothing
    /// here: a transaction reads the definitions of its own instant.
    pub(super) fn lock_table(&mut self, lock: &Lock) -> PgResult<String> {
        use LockTableMode as Mode;
        if self.block == super::transaction::Block::None {
            let message = "LOCK TABLE can only be used in transaction blocks";
            return Err(PgError::new("25P01", message));
        }
        let scope = self.scope()?;
        for table in &lock.tables {
            let name = self.relation_name(&table.name)?;
            let lookup = scope.lookup();
            let found = lookup.relation(&name);
            let (_, object) = found.ok_or_else(|| super::names::no_relation(&name))?;
            if !matches!(object.relation, Relation::Table(_) | Relation::View { .. }) {
                let message = format!("\"{name}\" is not a table or view");
                return Err(PgError::new("42809", message));
            }
        }
        match &lock.lock_mode {
            Some(Mode::AccessShare | Mode::RowShare | Mode::RowExclusive) => {
                Ok("LOCK TABLE".to_owned())
            }
            mode => {
                let mode = mode.as_ref().map_or("ACCESS EXCLUSIVE".to_owned(), ToString::to_string);
                Err(PgError::unsupported(format!("LOCK TABLE IN {mode} MODE"))
                    .hint("Lock rows with SELECT … FOR UPDATE, or use an advisory lock."))
            }
        }
    }

    /// A query with locks at its top.
    pub(super) async fn locking_query(&mut self, query: &Query) -> PgResult<Response> {
        let Placed { fields, rows, .. } = self.locked_rows(query, false).await?;
        Ok(Response::Rows { fields, rows, tag: "SELECT".to_owned() })
    }

    /// The query of a cursor over one table, with the place of each row at its end; `None` for
    /// any other.
    pub(super) async fn placed_query(&mut self, query: &Query) -> PgResult<Option<Placed>> {
        let SetExpr::Select(select) = query.body.as_ref() else { return Ok(None) };
        let [from] = select.from.as_slice() else { return Ok(None) };
        let simple = from.joins.is_empty()
            && query.with.is_none()
            && select.distinct.is_none()
            && select.having.is_none()
            && matches!(&select.group_by, GroupByExpr::Expressions(e, _) if e.is_empty())
            && matches!(from.relation, TableFactor::Table { args: None, version: None, .. })
            && self.shared.as_of().is_none();
        if !simple {
            return Ok(None);
        }
        if !query.locks.is_empty() {
            let placed = self.locked_rows(query, true).await?;
            return Ok(placed.table.is_some().then_some(placed));
        }
        // What is wrong with the query itself is told of it.
        let _checked = self.plan(&Statement::Query(Box::new(query.clone()))).await?;
        let mut query = query.clone();
        let SetExpr::Select(select) = query.body.as_mut() else { return Ok(None) };
        let mut from = select.from.remove(0);
        let mut found = Vec::new();
        let how = (LockMode::Shared, LockWait::Skip);
        let none = HashSet::new();
        let is_table = self.lock_factor(&mut from.relation, &none, None, how, &mut found, select);
        let is_table = is_table.unwrap_or(false);
        select.from.push(from);
        let planned = match is_table {
            true => Some(self.plan(&Statement::Query(Box::new(query))).await),
            false => None,
        };
        self.shared.scope.lock().overrides.retain(|name, _| !name.starts_with(LOCKED));
        // With an aggregate there are no rows of the table to speak of.
        let (Some(Ok(planned)), Some(table)) = (planned, found.first()) else { return Ok(None) };
        let fields = planned.fields[..planned.fields.len() - 2].into();
        let table = Some(table.oid);
        Ok(Some(Placed { fields, rows: self.stream(planned).await?, table }))
    }

    async fn locked_rows(&mut self, query: &Query, places: bool) -> PgResult<Placed> {
        self.check_locks()?;
        let mut query = query.clone();
        let locked = self.bring_places(&mut query)?;
        let skips = locked.iter().any(|l| l.wait == LockWait::Skip);
        let limit = if skips { self.take_limit(&mut query)? } else { None };
        let planned = self.plan(&Statement::Query(Box::new(query))).await;
        self.shared.scope.lock().overrides.retain(|name, _| !name.starts_with(LOCKED));
        let planned = planned?;
        let width = planned.fields.len() - 2 * locked.len();
        let fields: Arc<[FieldDescription]> = planned.fields[..width].into();
        let table = match locked.as_slice() {
            [one] if places => Some(one.oid),
            _ => None,
        };
        let shown = if table.is_some() { width + 2 } else { width };
        let visible: Vec<usize> = (0..shown).collect();
        let mut stream = self.stream(planned).await?;
        let mut left = limit.unwrap_or(usize::MAX);
        let mut rows = Vec::new();
        while left > 0
            && let Some(batch) = stream.next().await
        {
            let batch = batch?;
            let mut from = 0;
            while from < batch.num_rows() && left > 0 {
                // No more rows are locked than are answered.
                let n = left.min(batch.num_rows() - from);
                let part = self.lock_batch(&locked, &batch.slice(from, n), width).await?;
                from += n;
                left -= part.num_rows();
                rows.push(Ok(part.project(&visible)?));
            }
        }
        let rows = futures::stream::iter(rows).boxed();
        Ok(Placed { fields, rows, table })
    }

    fn check_locks(&self) -> PgResult<()> {
        if self.shared.as_of().is_some() {
            return Err(PgError::new("25006", "cannot lock rows while reading as of an instant"));
        }
        if self.shared.settings.read().is_on("transaction_read_only") {
            let message = "cannot execute SELECT FOR UPDATE in a read-only transaction";
            return Err(PgError::new("25006", message));
        }
        Ok(())
    }

    /// Rewrites a query so that the places of the rows to lock come after its columns.
    fn bring_places(&mut self, query: &mut Query) -> PgResult<Vec<Locked>> {
        let locks = std::mem::take(&mut query.locks);
        let refused =
            |what: &str| PgError::new("0A000", format!("FOR UPDATE is not allowed with {what}"));
        let ctes: HashSet<String> =
            query.with.iter().flat_map(|w| &w.cte_tables).map(|c| fold(&c.alias.name)).collect();
        let select = match query.body.as_mut() {
            SetExpr::Select(select) => select,
            SetExpr::SetOperation { .. } => return Err(refused("UNION/INTERSECT/EXCEPT")),
            _ => return Err(refused("VALUES")),
        };
        match &select.distinct {
            None | Some(Distinct::All) => {}
            Some(_) => return Err(refused("DISTINCT clause")),
        }
        let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(e, _) if e.is_empty());
        if grouped || select.having.is_some() {
            return Err(refused("GROUP BY clause"));
        }
        let aggregates = visit_expressions(&select.projection, |expr| match expr {
            Expr::Function(Function { name, over: None, .. })
                if name
                    .0
                    .last()
                    .and_then(ObjectNamePart::as_ident)
                    .is_some_and(|name| chronos_sql_ext::is_aggregate(&fold(name))) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        // One in a subquery is the subquery's own.
        if aggregates.is_break() && !holds_subquery(&select.projection) {
            return Err(refused("aggregate functions"));
        }
        let mut locked = Vec::new();
        for lock in &locks {
            let mode = match lock.lock_type {
                LockType::Share => LockMode::Shared,
                LockType::Update => LockMode::Exclusive,
            };
            let wait = match lock.nonblock {
                None => LockWait::Wait(self.lock_timeout()),
                Some(NonBlock::Nowait) => LockWait::NoWait,
                Some(NonBlock::SkipLocked) => LockWait::Skip,
            };
            let of = match &lock.of {
                None => None,
                Some(name) => Some(super::names::single(name)?),
            };
            let mut found = false;
            for i in 0..select.from.len() {
                let mut from = std::mem::replace(&mut select.from[i], build::table("", None));
                let result = self.lock_tables(
                    &mut from,
                    &ctes,
                    of.as_deref(),
                    (mode, wait),
                    &mut locked,
                    select,
                );
                select.from[i] = from;
                found |= result?;
            }
            if let (Some(name), false) = (&of, found) {
                let message =
                    format!("relation \"{name}\" in FOR UPDATE clause not found in FROM clause");
                return Err(PgError::new("42P01", message));
            }
        }
        Ok(locked)
    }

    /// Replaces the tables of a FROM item that are to be locked. Gives whether there was one.
    fn lock_tables(
        &mut self,
        from: &mut TableWithJoins,
        ctes: &HashSet<String>,
        of: Option<&str>,
        how: (LockMode, LockWait),
        locked: &mut Vec<Locked>,
        select: &mut Select,
    ) -> PgResult<bool> {
        let mut found = self.lock_factor(&mut from.relation, ctes, of, how, locked, select)?;
        for join in &mut from.joins {
            found |= self.lock_factor(&mut join.relation, ctes, of, how, locked, select)?;
        }
        Ok(found)
    }

    fn lock_factor(
        &mut self,
        factor: &mut TableFactor,
        ctes: &HashSet<String>,
        of: Option<&str>,
        (mode, wait): (LockMode, LockWait),
        locked: &mut Vec<Locked>,
        select: &mut Select,
    ) -> PgResult<bool> {
        let TableFactor::Table { name, alias, args, version, .. } = factor else {
            return match factor {
                TableFactor::NestedJoin { table_with_joins, alias: None } => {
                    self.lock_tables(table_with_joins, ctes, of, (mode, wait), locked, select)
                }
                _ => Ok(false),
            };
        };
        let ObjectName(parts) = &*name;
        let Some(last) = parts.last().and_then(ObjectNamePart::as_ident).cloned() else {
            return Ok(false);
        };
        let known = alias.as_ref().map_or_else(|| fold(&last), |a| fold(&a.name));
        if of.is_some_and(|of| of != known)
            || last.value.starts_with(LOCKED)
            || (parts.len() == 1 && ctes.contains(&fold(&last)))
        {
            return Ok(false);
        }
        if args.is_some() || version.is_some() {
            // A table as of an instant; a function has no rows to lock.
            return match self.write_target(name) {
                Ok(_) => Err(PgError::new("25006", "cannot lock rows as of an instant")),
                Err(_) => Ok(false),
            };
        }
        let target = match self.write_target(name) {
            Ok(target) => target,
            // A table of the system has no rows to lock.
            Err(error) if error.code == "42501" && error.message.contains("relation") => {
                return Ok(false);
            }
            Err(error) if error.code == "42809" => {
                return Err(PgError::unsupported("locking the rows of what is no table"));
            }
            Err(error) => return Err(error),
        };
        let all: Vec<usize> = (0..target.def.columns.len()).collect();
        self.require(&target, 'r', Some(&all))?;
        if self.require(&target, 'd', None).is_err() {
            self.require(&target, 'w', Some(&[]))?;
        }
        let table = self.shared.table(target.oid, None)?;
        let provider: Arc<dyn TableProvider> =
            Arc::new(table.as_ref().clone().with_internal_columns());
        let planned = format!("{LOCKED}{}", locked.len());
        self.shared.scope.lock().overrides.insert(planned.clone(), provider);
        *name = ObjectName::from(vec![build::ident(&planned)]);
        alias.get_or_insert_with(|| build::alias(&known));
        for column in ["_segment", "_position"] {
            let item = build::qualified(&known, column);
            let number = locked.len();
            select.projection.push(build::aliased(item, &format!("\u{1}{column}{number}")));
        }
        locked.push(Locked { oid: target.oid, mode, wait });
        Ok(true)
    }

    /// Takes the limit out of a query whose rows may be skipped.
    fn take_limit(&self, query: &mut Query) -> PgResult<Option<usize>> {
        let parameters = self.shared.scope.lock().parameters.clone();
        let refused = || PgError::unsupported("SKIP LOCKED with this LIMIT");
        let limit = match query.limit_clause.take() {
            None => None,
            Some(LimitClause::LimitOffset { limit, offset: None, limit_by })
                if limit_by.is_empty() =>
            {
                limit
            }
            Some(_) => return Err(refused()),
        };
        let limit = match (limit, query.fetch.take()) {
            (limit, None) => limit,
            (None, Some(fetch)) if !fetch.percent && !fetch.with_ties => match fetch.quantity {
                Some(quantity) => Some(quantity),
                None => return Ok(Some(1)),
            },
            _ => return Err(refused()),
        };
        let Some(limit) = limit else { return Ok(None) };
        let cell = super::insert::literal(&limit, parameters.as_deref())?.ok_or_else(refused)?;
        let (value, _) = cell.into_value()?;
        if value.is_null() {
            return Ok(None);
        }
        let text = value.to_string();
        text.parse().map(Some).map_err(|_| refused())
    }

    /// Locks the rows of a batch and gives those that are locked.
    async fn lock_batch(
        &mut self,
        locked: &[Locked],
        batch: &RecordBatch,
        width: usize,
    ) -> PgResult<RecordBatch> {
        let internal = || PgError::internal("rows without their places");
        let mut keep = vec![true; batch.num_rows()];
        for (i, lock) in locked.iter().enumerate() {
            let segments = batch.column(width + 2 * i);
            let segments = segments.as_primitive_opt::<UInt64Type>().ok_or_else(internal)?;
            let positions = batch.column(width + 2 * i + 1);
            let positions = positions.as_primitive_opt::<UInt32Type>().ok_or_else(internal)?;
            let place = |row: usize| RowRef {
                segment: SegmentId(segments.value(row)),
                position: positions.value(row),
            };
            // The empty side of an outer join has no row.
            let rows: Vec<RowRef> = (0..batch.num_rows())
                .filter(|&row| keep[row] && segments.is_valid(row))
                .map(place)
                .collect();
            let guard = self.shared.transaction.read().await;
            let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
            let got = transaction.lock_rows(lock.oid, &rows, lock.mode, lock.wait).await?;
            if lock.wait == LockWait::Skip {
                let got: HashSet<RowRef> = got.into_iter().collect();
                for (row, keep) in keep.iter_mut().enumerate() {
                    *keep &= !segments.is_valid(row) || got.contains(&place(row));
                }
            }
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(keep))?)
    }
}

/// What the names of locked tables begin with while they are planned.
pub(super) const LOCKED: &str = "\u{1}locked";

/// Refuses locks in subqueries, which nothing would take. In a statement that changes the very
/// table they are not needed: changing a row locks it, and whoever comes second looks again.
///
/// # Errors
/// 0A000
pub(super) fn refuse_nested(sql: &Statement, target: Option<&ObjectName>) -> PgResult<()> {
    struct Nested<'a> {
        depth: usize,
        free: usize,
        target: Option<&'a ObjectName>,
    }
    impl Visitor for Nested<'_> {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            self.depth += 1;
            if query.locks.is_empty() || self.depth <= self.free {
                return ControlFlow::Continue(());
            }
            let same = match (query.body.as_ref(), self.target) {
                (SetExpr::Select(select), Some(target)) => select.from.iter().all(|t| {
                    t.joins.is_empty()
                        && matches!(&t.relation, TableFactor::Table { name, .. }
                            if name.0.last() == target.0.last())
                }),
                _ => false,
            };
            if same { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        }

        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
    }
    let free = usize::from(matches!(sql, Statement::Query(_)));
    match sql.visit(&mut Nested { depth: 0, free, target }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(PgError::unsupported("FOR UPDATE in a subquery")
            .hint("Lock the rows by a SELECT … FOR UPDATE of its own.")),
    }
}

/// The table that a statement changes.
pub(super) fn changed_table(sql: &Statement) -> Option<&ObjectName> {
    fn table(factor: &TableFactor) -> Option<&ObjectName> {
        match factor {
            TableFactor::Table { name, .. } => Some(name),
            _ => None,
        }
    }
    match sql {
        Statement::Update(update) => table(&update.table.relation),
        Statement::Delete(delete) => {
            use datafusion::sql::sqlparser::ast::FromTable;
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            table(&from.first()?.relation)
        }
        Statement::Query(query) => match query.body.as_ref() {
            SetExpr::Update(sql) | SetExpr::Delete(sql) => changed_table(sql),
            _ => None,
        },
        _ => None,
    }
}
