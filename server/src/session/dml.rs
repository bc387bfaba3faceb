//! UPDATE and DELETE: a query over the target that brings each row's place along.
//!
//! The query reads the target as it was before the statement, so a row that the statement writes
//! is never met by it again.

use std::collections::HashSet;
use std::sync::Arc;

use chronos_catalog::{ConstraintKind, RowRef, SegmentId, SqlType};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{Int64Type, Schema, UInt32Type, UInt64Type};
use datafusion::catalog::TableProvider;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Query, SelectItem, Statement,
    TableWithJoins, Update, UpdateTableFromKind, Value, With,
};
use futures::StreamExt;

use super::api::{FieldDescription, Response};
use super::names::fold;
use super::session::Session;
use super::write::{WriteTarget, nullable};
use super::{build, parameters};
use crate::error::{PgError, PgResult};

/// The name under which the target is planned. No user can write it by accident.
const TARGET: &str = "\u{1}target";

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
}

impl Session {
    pub(super) async fn update(&mut self, update: &Update) -> PgResult<Response> {
        self.update_with(update, None).await
    }

    pub(super) async fn update_with(
        &mut self,
        update: &Update,
        with: Option<&With>,
    ) -> PgResult<Response> {
        let write = self.take_update(update, with)?;
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
        let (fields, mut stream) = self.start_write(&write).await?;
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        let mut waiting = Vec::new();
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            let Some(rows) = self.matched(&write, &fields, &batch?, &mut seen)? else { continue };
            count += rows.rows.num_rows() as u64;
            self.check(&write.target, &rows.rows).await?;
            if write.returning.is_some() {
                kept.push(rows.rows.clone());
            }
            if keys_change {
                self.end_rows(&write.target, &rows.places).await?;
                waiting.push(rows);
            } else {
                self.end_rows(&write.target, &rows.places).await?;
                self.insert_versions(&write.target, rows).await?;
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
            self.insert_versions(&write.target, Matched { rows, versions, places: Vec::new() })
                .await?;
        }
        let Write { target, alias, returning, .. } = write;
        self.written(&target, Some(&alias), returning.as_deref(), kept, count, "UPDATE").await
    }

    pub(super) async fn delete(&mut self, delete: &Delete) -> PgResult<Response> {
        self.delete_with(delete, None).await
    }

    pub(super) async fn delete_with(
        &mut self,
        delete: &Delete,
        with: Option<&With>,
    ) -> PgResult<Response> {
        let write = self.take_delete(delete, with)?;
        self.run_delete(write).await
    }

    async fn run_delete(&mut self, write: Write) -> PgResult<Response> {
        let (fields, mut stream) = self.start_write(&write).await?;
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        let mut count = 0;
        while let Some(batch) = stream.next().await {
            let Some(rows) = self.matched(&write, &fields, &batch?, &mut seen)? else { continue };
            count += rows.places.len() as u64;
            self.end_rows(&write.target, &rows.places).await?;
            if write.returning.is_some() {
                kept.push(rows.rows);
            }
        }
        let Write { target, alias, returning, .. } = write;
        self.written(&target, Some(&alias), returning.as_deref(), kept, count, "DELETE").await
    }

    /// Ends every row of a table.
    pub(super) async fn delete_all(&mut self, target: &WriteTarget) -> PgResult<()> {
        let alias = target.name.clone();
        self.install_target(target)?;
        let query = target_query(target, &alias, &[], Vec::new(), None, None);
        let assigned = vec![false; target.def.columns.len()];
        let write = Write { target: target.clone(), alias, query, assigned, returning: None };
        self.run_delete(write).await.map(|_| ())
    }

    /// Takes an UPDATE apart.
    pub(super) fn take_update(&mut self, update: &Update, with: Option<&With>) -> PgResult<Write> {
        if !update.table.joins.is_empty() || update.limit.is_some() || !update.order_by.is_empty() {
            return Err(PgError::new("42601", "syntax error in UPDATE"));
        }
        let (name, alias) = Self::target_factor(&update.table.relation)?;
        let target = self.write_target(name)?;
        let alias = alias.map_or_else(|| target.name.clone(), |a| fold(&a.name));
        let from = match &update.from {
            None => Vec::new(),
            Some(UpdateTableFromKind::AfterSet(from) | UpdateTableFromKind::BeforeSet(from)) => {
                from.clone()
            }
        };
        let values = assigned_values(&target, &update.assignments)?;
        let assigned = values.iter().map(Option::is_some).collect();
        self.install_target(&target)?;
        let selection = update.selection.clone();
        let items = target
            .def
            .columns
            .iter()
            .zip(values)
            .enumerate()
            .map(|(i, (column, value))| {
                let expr = value.unwrap_or_else(|| build::qualified(&alias, &column.name));
                build::aliased(expr, &format!("c{i}"))
            })
            .collect::<Vec<_>>();
        let query = target_query(&target, &alias, &items, from, selection, with);
        Ok(Write { target, alias, query, assigned, returning: update.returning.clone() })
    }

    /// Takes a DELETE apart.
    pub(super) fn take_delete(&mut self, delete: &Delete, with: Option<&With>) -> PgResult<Write> {
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
        let (name, alias) = Self::target_factor(relation)?;
        let target = self.write_target(name)?;
        let alias = alias.map_or_else(|| target.name.clone(), |a| fold(&a.name));
        self.install_target(&target)?;
        let using = delete.using.clone().unwrap_or_default();
        // The columns are read only where RETURNING shows them.
        let items: Vec<SelectItem> = match &delete.returning {
            None => Vec::new(),
            Some(_) => target
                .def
                .columns
                .iter()
                .enumerate()
                .map(|(i, c)| build::aliased(build::qualified(&alias, &c.name), &format!("c{i}")))
                .collect(),
        };
        let selection = delete.selection.clone();
        let query = target_query(&target, &alias, &items, using, selection, with);
        let assigned = vec![false; target.def.columns.len()];
        Ok(Write { target, alias, query, assigned, returning: delete.returning.clone() })
    }

    /// Lets the target be planned under its internal name, with the places of its rows.
    fn install_target(&mut self, target: &WriteTarget) -> PgResult<()> {
        let table = self.shared.table(target.oid, None)?;
        let provider: Arc<dyn TableProvider> =
            Arc::new(table.as_ref().clone().with_internal_columns());
        self.shared.scope.lock().overrides.insert(TARGET.to_owned(), provider);
        Ok(())
    }

    async fn start_write(
        &mut self,
        write: &Write,
    ) -> PgResult<(Arc<[FieldDescription]>, super::api::RowStream)> {
        let statement = Statement::Query(Box::new(write.query.clone()));
        let planned = self.plan(&statement).await;
        self.shared.scope.lock().overrides.remove(TARGET);
        let planned = planned?;
        let fields = Arc::clone(&planned.fields);
        Ok((fields, self.stream(planned).await?))
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
        // A join may match a row more than once; the first match counts.
        let first: BooleanArray =
            (0..batch.num_rows()).map(|i| Some(seen.insert(row(i)))).collect();
        if first.true_count() == 0 {
            return Ok(None);
        }
        let places = (0..batch.num_rows()).filter(|&i| first.value(i)).map(row).collect::<Vec<_>>();
        let batch = filter_record_batch(batch, &first)?;
        let versions: Int64Array =
            batch.column(2).as_primitive_opt::<Int64Type>().ok_or_else(internal)?.unary(|v| v + 1);
        let width = batch.num_columns() - PLACE.len();
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
        Ok(Some(Matched { rows, versions, places }))
    }

    async fn end_rows(&mut self, target: &WriteTarget, rows: &[RowRef]) -> PgResult<()> {
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        transaction.end_rows(target.oid, rows)?;
        Ok(())
    }

    async fn insert_versions(&mut self, target: &WriteTarget, rows: Matched) -> PgResult<()> {
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        Ok(transaction.insert(target.oid, rows.rows, Some(rows.versions)).await?)
    }
}

/// Rows that a statement met.
struct Matched {
    rows: RecordBatch,
    /// Their next `_ov`.
    versions: Int64Array,
    places: Vec<RowRef>,
}

/// `SELECT place, items FROM target AS alias, from WHERE selection`.
fn target_query(
    target: &WriteTarget,
    alias: &str,
    items: &[SelectItem],
    from: Vec<TableWithJoins>,
    selection: Option<Expr>,
    with: Option<&With>,
) -> Query {
    debug_assert!(items.is_empty() || items.len() == target.def.columns.len());
    let mut projection: Vec<SelectItem> = PLACE
        .iter()
        .map(|name| build::aliased(build::qualified(alias, name), &format!("\u{1}{name}")))
        .collect();
    projection.extend_from_slice(items);
    let mut tables = vec![build::table(TARGET, Some(build::alias(alias)))];
    tables.extend(from);
    let mut query = build::select(projection, tables, selection);
    query.with = with.cloned();
    query
}

/// The value that each column is assigned, if any.
pub(super) fn assigned_values(
    target: &WriteTarget,
    assignments: &[Assignment],
) -> PgResult<Vec<Option<Expr>>> {
    let mut values: Vec<Option<Expr>> = vec![None; target.def.columns.len()];
    let mut assign = |name: &datafusion::sql::sqlparser::ast::ObjectName, value: &Expr| {
        let name = super::names::single(name)?;
        let place = target.column(&name)?;
        if values[place].is_some() {
            let message = format!("multiple assignments to same column \"{name}\"");
            return Err(PgError::new("42601", message));
        }
        values[place] = Some(typed(target, place, value)?);
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
                return Err(PgError::new(
                    "42601",
                    "number of columns does not match number of values",
                ));
            }
            (AssignmentTarget::Tuple(names), value) if names.len() == 1 => {
                assign(&names[0], value)?;
            }
            (AssignmentTarget::Tuple(_), _) => {
                return Err(PgError::unsupported("assigning a row of a subquery"));
            }
        }
    }
    Ok(values)
}

/// An assigned expression; literals and parameters, which have no type of their own, get the
/// column's.
fn typed(target: &WriteTarget, place: usize, value: &Expr) -> PgResult<Expr> {
    let column = &target.def.columns[place];
    let is_default = matches!(value, Expr::Identifier(i)
        if i.quote_style.is_none() && i.value.eq_ignore_ascii_case("default"));
    if is_default {
        return match &column.default {
            Some(text) => super::write::parse_expr(text),
            None => Ok(Expr::value(Value::Null)),
        };
    }
    if column.identity_always == Some(true) {
        let message = format!("column \"{}\" can only be updated to DEFAULT", column.name);
        return Err(PgError::new("428C9", message));
    }
    let untyped = parameters::placeholder(value).is_some()
        || matches!(value, Expr::Value(v) if matches!(v.value, Value::SingleQuotedString(_)));
    if !untyped {
        return Ok(value.clone());
    }
    // Without its length: assignment refuses what is too long, a cast would cut it.
    let base = match &column.ty {
        SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => SqlType::Text,
        other => other.clone(),
    };
    Ok(match parameters::data_type(&base) {
        Some(data_type) => parameters::cast(value.clone(), data_type),
        None => value.clone(),
    })
}
