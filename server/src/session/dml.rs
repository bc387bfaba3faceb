//! UPDATE and DELETE: a query over the target that brings each row's place along.
//!
//! The query reads the target as it was before the statement, so a row that the statement writes
//! is never met by it again.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{ConstraintKind, RowRef, SegmentId, SqlType};
use chronos_storage::Overlay;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Field, Int64Type, Schema, UInt32Type, UInt64Type};
use datafusion::catalog::TableProvider;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Query, SelectItem, SetExpr, Statement,
    TableAliasColumnDef, TableFactor, TableWithJoins, Update, UpdateTableFromKind, Value, With,
};
use futures::StreamExt;

use super::api::{FieldDescription, Response};
use super::fast::{Kept, KeyPlan};
use super::joined::Joined;
use super::names::fold;
use super::periods::Portion;
use super::plan::Planned;
use super::session::Session;
use super::views::{self, Event, Through};
use super::write::{WriteTarget, nullable, shown, shown_empty, shown_with};
use super::{build, parameters};
use crate::engine::{LockMode, LockWait};
use crate::error::{PgError, PgResult};

/// The name under which the target is planned. No user can write it by accident.
pub(super) const TARGET: &str = "\u{1}target";

/// The hidden columns that lead each row of the query.
const PLACE: [&str; 3] = ["_segment", "_position", "_ov"];

/// An UPDATE or DELETE taken apart.
pub(super) struct Write {
    pub target: WriteTarget,
    pub alias: String,
    /// Gives the place, `_ov`, and the columns of the new (or deleted) rows.
    pub query: Query,
    /// Which columns are assigned a value.
    pub assigned: Vec<bool>,
    pub returning: Option<Vec<SelectItem>>,
    /// The other relations whose columns RETURNING may show, and their columns.
    pub others: Vec<(String, Arc<[FieldDescription]>)>,
    /// Whether the rows are deleted.
    pub deletes: bool,
    /// FOR PORTION OF
    pub portion: Option<Portion>,
    /// Finds the rows by a key instead of the query, with the columns that it gives.
    pub by_key: Option<(KeyPlan, Arc<[FieldDescription]>)>,
    /// The views that the statement names the target through.
    pub through: Option<Through>,
    /// What policies hold of it: whether the statement looks at the target's rows; `None` for
    /// what the database does by itself.
    pub secured: Option<bool>,
}

impl Write {
    /// The sides of RETURNING without rows.
    pub fn empty(&self) -> Joined {
        let own = match &self.through {
            Some(through) => through.empty(),
            None => shown_empty(&self.target),
        };
        let mut joined = Joined::one(&self.alias, own);
        for (alias, fields) in &self.others {
            joined = joined.and(alias, RecordBatch::new_empty(schema_of(fields)));
        }
        joined
    }
}

fn schema_of(fields: &[FieldDescription]) -> Arc<Schema> {
    Arc::new(Schema::new(fields.iter().map(|f| f.ty.field(&f.name, true)).collect::<Vec<_>>()))
}

impl Session {
    pub(super) async fn update(
        &mut self,
        sql: &Statement,
        update: &Update,
        kept: Option<&Kept>,
    ) -> PgResult<Response> {
        match self.write_by_key(kept, sql).await? {
            Some(write) => self.run_update(&write).await,
            None => self.update_with(update, None).await,
        }
    }

    pub(super) async fn update_with(
        &mut self,
        update: &Update,
        with: Option<&With>,
    ) -> PgResult<Response> {
        let write = self.take_update(update, with, &[]).await?;
        self.run_update(&write).await
    }

    pub(super) async fn run_update(&mut self, write: &Write) -> PgResult<Response> {
        // New keys must not meet old ones of rows that are still to be updated.
        let keys_change = write.target.def.constraints.iter().any(|c| match &c.kind {
            ConstraintKind::PrimaryKey(ids) | ConstraintKind::Unique(ids) => write
                .target
                .def
                .columns
                .iter()
                .zip(&write.assigned)
                .any(|(column, assigned)| *assigned && ids.contains(&column.id)),
            _ => false,
        });
        let (fields, mut stream) = self.start_write(write).await?;
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        let mut waiting = Vec::new();
        let mut left_over = Vec::new();
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            let Some(mut rows) = self.matched(write, &fields, &batch?, &mut seen)? else {
                continue;
            };
            count += rows.rows.num_rows() as u64;
            rows.rows = self.generate(&write.target, rows.rows).await?;
            self.check(&write.target, &rows.rows).await?;
            if let Some(reads) = write.secured {
                self.check_policies(&write.target, Event::Update, reads, &rows.rows).await?;
            }
            if let Some(through) = &write.through {
                self.check_through(&write.target, through, &rows.rows).await?;
            }
            if write.returning.is_some() {
                kept.push(self.returned(write, &rows).await?);
            }
            if let Some(portion) = &write.portion {
                left_over.extend(self.left_over(&write.target, portion, &rows.places).await?);
            }
            self.end_rows(&write.target, &rows.places, Some(&rows.rows)).await?;
            if keys_change {
                waiting.push(rows);
            } else {
                self.insert_versions(&write.target, rows.rows, rows.versions).await?;
            }
        }
        if !waiting.is_empty() {
            let batches: Vec<&RecordBatch> = waiting.iter().map(|w| &w.rows).collect();
            let rows = concat_batches(&nullable(&write.target), batches)?;
            let versions: Int64Array = waiting
                .iter()
                .flat_map(|w| w.versions.values().to_vec())
                .collect::<Vec<_>>()
                .into();
            self.insert_versions(&write.target, rows, versions).await?;
        }
        self.insert_left_over(&write.target, left_over).await?;
        let empty = write.empty();
        let Write { target, returning, .. } = write;
        self.written(target, returning.as_deref(), empty, kept, count, "UPDATE").await
    }

    pub(super) async fn delete(
        &mut self,
        sql: &Statement,
        delete: &Delete,
        kept: Option<&Kept>,
    ) -> PgResult<Response> {
        match self.write_by_key(kept, sql).await? {
            Some(write) => self.run_delete(&write).await,
            None => self.delete_with(delete, None).await,
        }
    }

    pub(super) async fn delete_with(
        &mut self,
        delete: &Delete,
        with: Option<&With>,
    ) -> PgResult<Response> {
        let write = self.take_delete(delete, with, &[]).await?;
        self.run_delete(&write).await
    }

    pub(super) async fn run_delete(&mut self, write: &Write) -> PgResult<Response> {
        let (fields, mut stream) = self.start_write(write).await?;
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        let mut left_over = Vec::new();
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            let Some(rows) = self.matched(write, &fields, &batch?, &mut seen)? else { continue };
            count += rows.places.len() as u64;
            if write.returning.is_some() {
                kept.push(self.returned(write, &rows).await?);
            }
            if let Some(portion) = &write.portion {
                left_over.extend(self.left_over(&write.target, portion, &rows.places).await?);
            }
            self.end_rows(&write.target, &rows.places, None).await?;
        }
        self.insert_left_over(&write.target, left_over).await?;
        let empty = write.empty();
        let Write { target, returning, .. } = write;
        self.written(target, returning.as_deref(), empty, kept, count, "DELETE").await
    }

    /// The rows as RETURNING shows them.
    async fn returned(&mut self, write: &Write, rows: &Matched) -> PgResult<Joined> {
        let mut joined = rows.joined(write)?;
        if let Some(through) = &write.through {
            let own = joined.sides[0].rows.clone();
            joined.sides[0].rows = self.rows_through(through, own).await?;
        }
        Ok(joined)
    }

    /// Ends every row of a table.
    pub(super) async fn delete_all(&mut self, target: &WriteTarget) -> PgResult<()> {
        let alias = target.name.clone();
        self.install_target(target)?;
        let query = target_query(target, &alias, &[], Vec::new(), None, None);
        let assigned = vec![false; target.def.columns.len()];
        let (others, deletes) = (Vec::new(), true);
        let write = Write {
            target: target.clone(),
            alias,
            query,
            assigned,
            returning: None,
            others,
            deletes,
            portion: None,
            by_key: None,
            through: None,
            secured: None,
        };
        self.run_delete(&write).await.map(|_| ())
    }

    /// Every row of a table with one column's value converted, for [`Session::insert_rewritten`].
    pub(super) async fn converted_rows(
        &mut self,
        target: &WriteTarget,
        place: usize,
        value: Expr,
        column: &chronos_catalog::Column,
    ) -> PgResult<Rewritten> {
        let alias = target.name.clone();
        self.install_target(target)?;
        let items: Vec<SelectItem> = target
            .def
            .columns
            .iter()
            .enumerate()
            .map(|(i, c)| {
                let expr =
                    if i == place { value.clone() } else { build::qualified(&alias, &c.name) };
                build::aliased(expr, &format!("c{i}"))
            })
            .collect();
        let query = target_query(target, &alias, &items, Vec::new(), None, None);
        let assigned = vec![false; target.def.columns.len()];
        let write = Write {
            target: target.clone(),
            alias,
            query,
            assigned,
            returning: None,
            others: Vec::new(),
            deletes: false,
            portion: None,
            by_key: None,
            through: None,
            secured: None,
        };
        let (fields, mut stream) = self.start_write(&write).await?;
        let mut result = Rewritten::default();
        let internal = || PgError::internal("rows without their places");
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            let segments = batch.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(internal)?;
            let positions =
                batch.column(1).as_primitive_opt::<UInt32Type>().ok_or_else(internal)?;
            let versions = batch.column(2).as_primitive_opt::<Int64Type>().ok_or_else(internal)?;
            for i in 0..batch.num_rows() {
                let segment = SegmentId(segments.value(i));
                result.places.push(RowRef { segment, position: positions.value(i) });
            }
            result.versions.extend(versions.values().iter().map(|v| v + 1));
            let mut arrays = Vec::with_capacity(target.def.columns.len());
            for (i, own) in target.def.columns.iter().enumerate() {
                let (array, field) = (batch.column(PLACE.len() + i), &fields[PLACE.len() + i]);
                arrays.push(if i == place {
                    self.assign_column(array, Some(&field.ty), false, column)?
                } else {
                    datafusion::arrow::compute::cast(array, &own.ty.arrow())?
                });
            }
            result.columns.push(arrays);
        }
        Ok(result)
    }

    /// Ends the rows that are written again.
    pub(super) async fn end_rewritten(
        &mut self,
        target: &WriteTarget,
        rows: &Rewritten,
    ) -> PgResult<()> {
        self.end_rows(target, &rows.places, None).await
    }

    /// Writes all rows of a table again.
    pub(super) async fn insert_rewritten(
        &mut self,
        target: &WriteTarget,
        rows: Rewritten,
    ) -> PgResult<()> {
        let schema = nullable(target);
        let batches = rows
            .columns
            .into_iter()
            .map(|columns| Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?))
            .collect::<PgResult<Vec<_>>>()?;
        let batch = concat_batches(&schema, &batches)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.check(target, &batch).await?;
        self.insert_versions(target, batch, rows.versions.into()).await
    }

    /// Takes an UPDATE apart.
    pub(super) async fn take_update(
        &mut self,
        update: &Update,
        with: Option<&With>,
        types: &[Option<SqlType>],
    ) -> PgResult<Write> {
        if !update.table.joins.is_empty() || update.limit.is_some() || !update.order_by.is_empty() {
            return Err(PgError::new("42601", "syntax error in UPDATE"));
        }
        let mut relation = update.table.relation.clone();
        let portion = chronos_sql_ext::take_portion(&mut relation)?;
        let (name, alias) = Self::target_factor(&relation)?;
        let (target, through) = self.write_target_through(name, Event::Update)?;
        let named = through.as_ref().map_or(target.name.as_str(), Through::name);
        let alias = alias.map_or_else(|| named.to_owned(), |a| fold(&a.name));
        let from = match &update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => {
                from.clone()
            }
        };
        let mut values = match &through {
            None => assigned_values(&target, &update.assignments)?,
            Some(through) => {
                let assignments = through.assignments(&target, &update.assignments)?;
                assigned_values(&target, &assignments)?
            }
        };
        let places: Vec<usize> = (0..values.len()).filter(|&i| values[i].is_some()).collect();
        let names = |e: &Expr| !matches!(e, Expr::Value(_));
        let reads = update.selection.is_some()
            || update.returning.is_some()
            || values.iter().flatten().any(names);
        match &through {
            None => {
                self.require(&target, 'w', Some(&places))?;
                for expr in values.iter().flatten().chain(&update.selection) {
                    self.require_named(&target, &alias, expr)?;
                }
                self.require_returned(&target, &alias, update.returning.as_deref())?;
            }
            Some(through) => {
                self.require_through(&target, through, Some(&places), reads)?;
                refuse_portion(portion.is_some())?;
            }
        }
        let mut selection = self.current_of(update.selection.clone(), &target, &alias)?;
        let portion = match &portion {
            None => None,
            Some(clause) => {
                let portion = self.portion(&target, clause).await?;
                portion.assign(&target, &alias, &mut values)?;
                selection = portion.selection(&target, &alias, selection)?;
                Some(portion)
            }
        };
        let assigned: Vec<bool> = values.iter().map(Option::is_some).collect();
        let others = match &update.returning {
            Some(_) if !from.is_empty() => self.relations(&from, types).await?,
            _ => Vec::new(),
        };
        self.install_target(&target)?;
        self.secure_target(&target, through.as_ref(), Event::Update, reads)?;
        let mut items = target
            .def
            .columns
            .iter()
            .zip(values)
            .enumerate()
            .map(|(i, (column, value))| {
                let own = match &through {
                    None => column.name.clone(),
                    Some(_) => views::column_name(i),
                };
                let expr = value.unwrap_or_else(|| build::qualified(&alias, &own));
                build::aliased(expr, &format!("c{i}"))
            })
            .collect::<Vec<_>>();
        items.extend(other_items(&others));
        let relation = (&target, alias.as_str(), through.as_ref());
        let query = query_of_target(relation, &items, from, selection, with);
        let (returning, deletes) = (update.returning.clone(), false);
        Ok(Write {
            target,
            alias,
            query,
            assigned,
            returning,
            others,
            deletes,
            portion,
            by_key: None,
            through,
            secured: Some(reads),
        })
    }

    /// Takes a DELETE apart.
    pub(super) async fn take_delete(
        &mut self,
        delete: &Delete,
        with: Option<&With>,
        types: &[Option<SqlType>],
    ) -> PgResult<Write> {
        if !delete.tables.is_empty() || delete.limit.is_some() || !delete.order_by.is_empty() {
            return Err(PgError::new("42601", "syntax error in DELETE"));
        }
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let [TableWithJoins { relation, joins }] = from.as_slice() else {
            return Err(PgError::new("42601", "DELETE takes one table"));
        };
        if !joins.is_empty() {
            return Err(PgError::new("42601", "DELETE takes one table; use USING for others"));
        }
        let mut relation = relation.clone();
        let portion = chronos_sql_ext::take_portion(&mut relation)?;
        let (name, alias) = Self::target_factor(&relation)?;
        let (target, through) = self.write_target_through(name, Event::Delete)?;
        let named = through.as_ref().map_or(target.name.as_str(), Through::name);
        let alias = alias.map_or_else(|| named.to_owned(), |a| fold(&a.name));
        let reads = delete.selection.is_some() || delete.returning.is_some();
        match &through {
            None => {
                self.require(&target, 'd', None)?;
                if let Some(selection) = &delete.selection {
                    self.require_named(&target, &alias, selection)?;
                }
                self.require_returned(&target, &alias, delete.returning.as_deref())?;
            }
            Some(through) => {
                self.require_through(&target, through, None, reads)?;
                refuse_portion(portion.is_some())?;
            }
        }
        let mut selection = self.current_of(delete.selection.clone(), &target, &alias)?;
        let portion = match &portion {
            None => None,
            Some(clause) => {
                let portion = self.portion(&target, clause).await?;
                selection = portion.selection(&target, &alias, selection)?;
                Some(portion)
            }
        };
        let using = delete.using.clone().unwrap_or_default();
        let others = match &delete.returning {
            Some(_) if !using.is_empty() => self.relations(&using, types).await?,
            _ => Vec::new(),
        };
        self.install_target(&target)?;
        self.secure_target(&target, through.as_ref(), Event::Delete, reads)?;
        // The columns are read only where RETURNING shows them.
        let items: Vec<SelectItem> = match &delete.returning {
            None => Vec::new(),
            Some(_) => target
                .def
                .columns
                .iter()
                .map(|c| c.name.as_str())
                .chain(["_system_from", "_cv"])
                .enumerate()
                .map(|(i, name)| {
                    let own = match &through {
                        None => name.to_owned(),
                        Some(_) if i < target.def.columns.len() => views::column_name(i),
                        Some(_) => views::inner(name),
                    };
                    build::aliased(build::qualified(&alias, &own), &format!("c{i}"))
                })
                .chain(other_items(&others))
                .collect(),
        };
        let relation = (&target, alias.as_str(), through.as_ref());
        let query = query_of_target(relation, &items, using, selection, with);
        let assigned = vec![false; target.def.columns.len()];
        let (returning, deletes) = (delete.returning.clone(), true);
        Ok(Write {
            target,
            alias,
            query,
            assigned,
            returning,
            others,
            deletes,
            portion,
            by_key: None,
            through,
            secured: Some(reads),
        })
    }

    /// Lets the target be planned under its internal name, with the places of its rows.
    pub(super) fn install_target(&mut self, target: &WriteTarget) -> PgResult<()> {
        let table = self.shared.table(target.oid, None)?;
        let provider: Arc<dyn TableProvider> =
            Arc::new(table.as_ref().clone().with_internal_columns());
        let mut scope = self.shared.scope.lock();
        scope.overrides.insert(TARGET.to_owned(), provider);
        scope.target_event = None;
        Ok(())
    }

    async fn start_write(
        &mut self,
        write: &Write,
    ) -> PgResult<(Arc<[FieldDescription]>, super::api::RowStream)> {
        if let Some((plan, fields)) = &write.by_key {
            if let Some(rows) = self.rows_by_key(plan, None).await? {
                let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
                return Ok((Arc::clone(fields), rows));
            }
            self.install_target(&write.target)?;
            if let Some(reads) = write.secured {
                let event = if write.deletes { Event::Delete } else { Event::Update };
                self.secure_target(&write.target, write.through.as_ref(), event, reads)?;
            }
        }
        let planned = self.plan_write(write).await?;
        let fields = Arc::clone(&planned.fields);
        Ok((fields, self.stream(planned).await?))
    }

    /// Plans the query that finds the rows of a write.
    pub(super) async fn plan_write(&mut self, write: &Write) -> PgResult<Planned> {
        let statement = Statement::Query(Box::new(write.query.clone()));
        let planned = self.plan(&statement).await;
        self.shared.scope.lock().overrides.remove(TARGET);
        planned
    }

    /// The rows of one batch that were not met before; `None` without any.
    fn matched(
        &self,
        write: &Write,
        fields: &[FieldDescription],
        batch: &RecordBatch,
        seen: &mut HashSet<RowRef>,
    ) -> PgResult<Option<Matched>> {
        let internal = || PgError::internal("rows without their places");
        let segments = batch.column(0).as_primitive_opt::<UInt64Type>().ok_or_else(internal)?;
        let positions = batch.column(1).as_primitive_opt::<UInt32Type>().ok_or_else(internal)?;
        let row = |i: usize| RowRef {
            segment: SegmentId(segments.value(i)),
            position: positions.value(i),
        };
        // A join may match a row more than once; the first match counts. So does the first of the
        // statements of one WITH that writes a row.
        let ended = self.ended_before()?;
        let ended = |row: RowRef| ended.as_ref().is_some_and(|e| e.is_ended(write.target.oid, row));
        let first: BooleanArray =
            (0..batch.num_rows()).map(|i| Some(seen.insert(row(i)) && !ended(row(i)))).collect();
        if first.true_count() == 0 {
            return Ok(None);
        }
        let places = (0..batch.num_rows()).filter(|&i| first.value(i)).map(row).collect::<Vec<_>>();
        let batch = filter_record_batch(batch, &first)?;
        let versions = batch.column(2).as_primitive_opt::<Int64Type>().ok_or_else(internal)?;
        let versions = self.next_versions(&write.target, versions, &places)?;
        // A DELETE without RETURNING reads no columns.
        let all = write.target.def.columns.len();
        let width = if batch.num_columns() == PLACE.len() { 0 } else { all };
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(width);
        for i in 0..width {
            let column = &write.target.def.columns[i];
            let (array, field) = (batch.column(PLACE.len() + i), &fields[PLACE.len() + i]);
            arrays.push(if write.assigned[i] {
                self.assign_column(array, Some(&field.ty), false, column)?
            } else if array.data_type() == &column.ty.arrow() {
                Arc::clone(array)
            } else {
                datafusion::arrow::compute::cast(array, &column.ty.arrow())?
            });
        }
        let schema = if width == 0 { Arc::new(Schema::empty()) } else { nullable(&write.target) };
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let rows = RecordBatch::try_new_with_options(schema, arrays, &options)?;
        let rest = batch.columns()[PLACE.len() + width..].to_vec();
        Ok(Some(Matched { rows, versions, places, rest }))
    }

    /// What earlier statements of the same WITH have written.
    fn ended_before(&self) -> PgResult<Option<Overlay>> {
        let guard = self
            .shared
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("the transaction is in use"))?;
        Ok(guard.as_ref().filter(|t| t.is_pinned()).map(|t| t.overlay()))
    }

    /// The `_ov` of the rows that replace others. A transaction leaves one version of a row,
    /// however often it changes it.
    pub(super) fn next_versions(
        &self,
        target: &WriteTarget,
        versions: &Int64Array,
        places: &[RowRef],
    ) -> PgResult<Int64Array> {
        let guard = self
            .shared
            .transaction
            .try_read()
            .map_err(|_| PgError::internal("the transaction is in use"))?;
        let own = guard.as_ref().ok_or_else(super::session::aborted)?.own_segments(target.oid);
        let next = versions
            .values()
            .iter()
            .zip(places)
            .map(|(version, place)| version + i64::from(!own.contains(&place.segment)));
        Ok(next.collect::<Vec<_>>().into())
    }

    /// Ends versions of rows; `updated` are what takes their place, if anything does.
    pub(super) async fn end_rows(
        &mut self,
        target: &WriteTarget,
        rows: &[RowRef],
        updated: Option<&RecordBatch>,
    ) -> PgResult<()> {
        self.lock_rows(target, rows).await?;
        self.note_ended(target, rows, updated).await?;
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        transaction.end_rows(target.oid, rows)?;
        Ok(())
    }

    /// Writes the next versions of rows, which `versions` counts.
    pub(super) async fn insert_versions(
        &mut self,
        target: &WriteTarget,
        rows: RecordBatch,
        versions: Int64Array,
    ) -> PgResult<()> {
        self.note_new(target, &rows)?;
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        Ok(transaction.insert(target.oid, rows, Some(versions)).await?)
    }

    /// Waits until no other transaction is changing the rows, and keeps others from it until this
    /// one ends.
    pub(super) async fn lock_rows(
        &mut self,
        target: &WriteTarget,
        rows: &[RowRef],
    ) -> PgResult<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let wait = LockWait::Wait(self.lock_timeout());
        let guard = self.shared.transaction.read().await;
        let transaction = guard.as_ref().ok_or_else(super::session::aborted)?;
        transaction.lock_rows(target.oid, rows, LockMode::Exclusive, wait).await?;
        Ok(())
    }
}

/// The columns of other relations as the query gives them.
fn other_items(others: &[(String, Arc<[FieldDescription]>)]) -> Vec<SelectItem> {
    let mut items = Vec::new();
    for (k, (alias, fields)) in others.iter().enumerate() {
        for (j, field) in fields.iter().enumerate() {
            let column = build::qualified(alias, &field.name);
            items.push(build::aliased(column, &format!("o{k}_{j}")));
        }
    }
    items
}

/// All rows of a table, to be written again in another shape.
#[derive(Default)]
pub(super) struct Rewritten {
    places: Vec<RowRef>,
    versions: Vec<i64>,
    columns: Vec<Vec<ArrayRef>>,
}

/// Rows that a statement met.
struct Matched {
    rows: RecordBatch,
    /// Their next `_ov`.
    versions: Int64Array,
    places: Vec<RowRef>,
    /// What follows the target's columns: for a DELETE `_system_from` and `_cv`, then the columns
    /// of the other relations.
    rest: Vec<ArrayRef>,
}

impl Matched {
    /// The rows as RETURNING shows them.
    fn joined(&self, write: &Write) -> PgResult<Joined> {
        let columns = self.rows.columns();
        let mut rest = self.rest.iter();
        let rows = if write.deletes {
            let from = rest.next().cloned();
            let commit = rest.next().cloned();
            let versions = self.versions.unary(|v| v - 1);
            shown_with(&write.target, columns, from, versions, commit)?
        } else {
            shown(&write.target, &self.rows, Some(self.versions.clone()))?
        };
        let mut joined = Joined::one(&write.alias, rows);
        for (alias, fields) in &write.others {
            let arrays: Vec<ArrayRef> = rest.by_ref().take(fields.len()).cloned().collect();
            let named: Vec<Field> = fields
                .iter()
                .zip(&arrays)
                .map(|(f, a)| f.ty.field(&f.name, true).with_data_type(a.data_type().clone()))
                .collect();
            let options = RecordBatchOptions::new().with_row_count(Some(self.places.len()));
            let schema = Arc::new(Schema::new(named));
            let rows = RecordBatch::try_new_with_options(schema, arrays, &options)?;
            joined = joined.and(alias, rows);
        }
        Ok(joined)
    }
}

/// `SELECT place, items FROM target AS alias, from WHERE selection`.
pub(super) fn target_query(
    target: &WriteTarget,
    alias: &str,
    items: &[SelectItem],
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
    with: Option<&With>,
) -> Query {
    query_of_target((target, alias, None), items, from, selection, with)
}

/// Likewise, of a target that may stand behind views.
fn query_of_target(
    (target, alias, through): (&WriteTarget, &str, Option<&Through>),
    items: &[SelectItem],
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
    with: Option<&With>,
) -> Query {
    debug_assert!(items.is_empty() || items.len() >= target.def.columns.len());
    let mut projection: Vec<SelectItem> = PLACE
        .iter()
        .map(|name| {
            let own = through.map_or_else(|| (*name).to_owned(), |_| views::inner(name));
            build::aliased(build::qualified(alias, &own), &views::inner(name))
        })
        .collect();
    projection.extend_from_slice(items);
    let mut tables = vec![match through {
        None => build::table(TARGET, Some(build::alias(alias))),
        Some(through) => through.relation(target, alias),
    }];
    tables.extend(from);
    let mut query = build::select(projection, tables, selection);
    query.with = with.cloned();
    query
}

fn refuse_portion(given: bool) -> PgResult<()> {
    if given { Err(PgError::unsupported("FOR PORTION OF through a view")) } else { Ok(()) }
}

/// The value that each column is assigned, if any.
pub(super) fn assigned_values(
    target: &WriteTarget,
    assignments: &[Assignment],
) -> PgResult<Vec<Option<Expr>>> {
    let mut values: Vec<Option<Expr>> = vec![None; target.def.columns.len()];
    let mut given = HashSet::new();
    let mut assign = |name: &datafusion::sql::sqlparser::ast::ObjectName, value: &Expr| {
        let name = super::names::single(name)?;
        let place = target.column(&name)?;
        if values[place].is_some() {
            let message = format!("multiple assignments to same column \"{name}\"");
            return Err(PgError::new("42601", message));
        }
        values[place] = typed(target, place, value)?;
        if values[place].is_none() && !given.insert(place) {
            let message = format!("multiple assignments to same column \"{name}\"");
            return Err(PgError::new("42601", message));
        }
        Ok(())
    };
    for assignment in assignments {
        match (&assignment.target, &assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => assign(name, value)?,
            (AssignmentTarget::Tuple(names), Expr::Tuple(values))
                if names.len() == values.len() =>
            {
                for (name, value) in names.iter().zip(values) {
                    assign(name, value)?;
                }
            }
            (AssignmentTarget::Tuple(_), Expr::Tuple(_)) => {
                return Err(tuple_width());
            }
            (AssignmentTarget::Tuple(names), value) if names.len() == 1 => {
                assign(&names[0], value)?;
            }
            (AssignmentTarget::Tuple(names), Expr::Subquery(query)) => {
                for (i, name) in names.iter().enumerate() {
                    let one = column_of(query, i, names.len())?;
                    assign(name, &Expr::Subquery(Box::new(one)))?;
                }
            }
            (AssignmentTarget::Tuple(names), Expr::Function(row))
                if row.name.to_string().eq_ignore_ascii_case("row") =>
            {
                let values = row_arguments(row);
                if values.len() != names.len() {
                    return Err(tuple_width());
                }
                for (name, value) in names.iter().zip(values) {
                    assign(name, value)?;
                }
            }
            (AssignmentTarget::Tuple(_), _) => {
                return Err(PgError::new(
                    "0A000",
                    "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression",
                ));
            }
        }
    }
    Ok(values)
}

fn tuple_width() -> PgError {
    PgError::new("42601", "number of columns does not match number of values")
}

/// The arguments of ROW(…).
fn row_arguments(row: &datafusion::sql::sqlparser::ast::Function) -> Vec<&Expr> {
    use datafusion::sql::sqlparser::ast::{FunctionArg, FunctionArgExpr, FunctionArguments};
    let FunctionArguments::List(list) = &row.args else { return Vec::new() };
    list.args
        .iter()
        .filter_map(|a| match a {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
            _ => None,
        })
        .collect()
}

/// A subquery that gives one column of another.
fn column_of(query: &Query, column: usize, width: usize) -> PgResult<Query> {
    let mut one = query.clone();
    if let SetExpr::Select(select) = one.body.as_mut()
        && select.distinct.is_none()
        && query.order_by.is_none()
        && select.projection.iter().all(|item| {
            matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
        })
    {
        if select.projection.len() != width {
            return Err(tuple_width());
        }
        select.projection = vec![select.projection.swap_remove(column)];
        return Ok(one);
    }
    let mut alias = build::alias("\u{1}row");
    alias.columns = (0..width)
        .map(|i| TableAliasColumnDef { name: build::ident(&format!("c{i}")), data_type: None })
        .collect();
    let from = TableWithJoins {
        relation: TableFactor::Derived {
            lateral: false,
            subquery: Box::new(one),
            alias: Some(alias),
            sample: None,
        },
        joins: Vec::new(),
    };
    let item = SelectItem::UnnamedExpr(build::column(&format!("c{column}")));
    Ok(build::select(vec![item], vec![from], None))
}

/// Whether a value is the word DEFAULT.
pub(super) fn is_default(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(i)
        if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"))
}

/// An assigned expression; literals and parameters, which have no type of their own, get the
/// column's. None is needed for a generated column, which may only get DEFAULT.
fn typed(target: &WriteTarget, place: usize, value: &Expr) -> PgResult<Option<Expr>> {
    let column = &target.def.columns[place];
    if is_default(value) {
        return match &column.default {
            _ if column.generated.is_some() => Ok(None),
            Some(text) => super::write::parse_expr(text).map(Some),
            None => Ok(Some(Expr::value(Value::Null))),
        };
    }
    super::generated::refuse_update(column)?;
    let untyped = parameters::placeholder(value).is_some()
        || matches!(value, Expr::Value(v) if matches!(v.value, Value::SingleQuotedString(_)));
    if !untyped {
        return Ok(Some(value.clone()));
    }
    // Without its length: assignment refuses what is too long, a cast would cut it.
    let base = match &column.ty {
        SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => SqlType::Text,
        other => other.clone(),
    };
    Ok(Some(match parameters::data_type(&base) {
        Some(data_type) => parameters::cast(value.clone(), data_type),
        None => value.clone(),
    }))
}
