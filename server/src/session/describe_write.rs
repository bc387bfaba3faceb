//! Describe of INSERT, UPDATE and DELETE.

use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, FromTable, Insert, OnConflict, OnConflictAction, OnInsert,
    Query, SelectItem, SetExpr, Statement, TableFactor, TableObject, With, visit_expressions,
};

use super::api::{Description, FieldDescription};
use super::joined::Joined;
use super::names::{fold, single};
use super::plan::{Planned, settle};
use super::query::{is_read, push_cte};
use super::session::Session;
use super::views::{Event, Through};
use super::write::{WriteTarget, nullable, shown_empty};
use super::{build, parameters};
use crate::error::{PgError, PgResult};

pub(super) type Types = Vec<Option<SqlType>>;

/// Gives a parameter a type unless it has one.
pub(super) fn note(types: &mut Types, expr: &Expr, ty: &SqlType) {
    if let Some(i) = parameters::placeholder(expr).and_then(parameters::index)
        && let Some(slot @ None) = types.get_mut(i)
    {
        *slot = Some(ty.clone());
    }
}

pub(super) fn note_assignments(
    types: &mut Types,
    target: &WriteTarget,
    assignments: &[Assignment],
) {
    let mut one = |name: &datafusion::sql::sqlparser::ast::ObjectName, value: &Expr| {
        if let Ok(name) = single(name)
            && let Some(column) = target.def.column_named(&name)
        {
            note(types, value, &column.ty);
        }
    };
    for assignment in assignments {
        match (&assignment.target, &assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => one(name, value),
            (AssignmentTarget::Tuple(names), Expr::Tuple(values)) => {
                names.iter().zip(values).for_each(|(n, v)| one(n, v));
            }
            (AssignmentTarget::Tuple(_), _) => {}
        }
    }
}

impl Session {
    pub(super) async fn describe_write(
        &mut self,
        sql: &Statement,
        mut types: Types,
    ) -> PgResult<Description> {
        let fields = self.describe_writing(sql, None, &mut types).await?;
        Ok(Description { parameters: settle(types), fields })
    }

    /// The columns that a write within `with` returns; notes the types of its parameters.
    async fn describe_writing(
        &mut self,
        sql: &Statement,
        with: Option<With>,
        types: &mut Types,
    ) -> PgResult<Option<Arc<[FieldDescription]>>> {
        self.statement_with = with.clone();
        let with = with.as_ref();
        let (empty, returning) = match sql {
            Statement::Insert(insert) => {
                let (target, through) = self.describe_insert(insert, types).await?;
                let alias = insert.table_alias.as_ref().map(|a| fold(&a.alias));
                let named = through.as_ref().map_or(target.name.as_str(), Through::name);
                let alias = alias.unwrap_or_else(|| named.to_owned());
                let own = through.as_ref().map_or_else(|| shown_empty(&target), Through::empty);
                let empty = Joined::one(&alias, own);
                if let Some(OnInsert::OnConflict(OnConflict {
                    action: OnConflictAction::DoUpdate(update),
                    ..
                })) = &insert.on
                {
                    note_assignments(types, &target, &update.assignments);
                    let proposed = RecordBatch::new_empty(nullable(&target));
                    let joined = empty.clone().and("excluded", proposed);
                    let values = super::dml::assigned_values(&target, &update.assignments)?;
                    let items = values.into_iter().flatten().chain(update.selection.clone());
                    let items = items
                        .enumerate()
                        .map(|(i, e)| build::aliased(e, &format!("c{i}")))
                        .collect();
                    self.infer_joined(&joined, items, types).await?;
                }
                (empty, insert.returning.clone())
            }
            Statement::Update(update) => {
                let (target, through) =
                    self.note_portion(types, &update.table.relation, Event::Update)?;
                match through {
                    None => note_assignments(types, &target, &update.assignments),
                    Some(through) => {
                        let assignments = through.assignments(&target, &update.assignments)?;
                        note_assignments(types, &target, &assignments);
                    }
                }
                let write = self.take_update(update, with, types).await?;
                self.infer(&Statement::Query(Box::new(write.query.clone())), types).await?;
                (write.empty(), write.returning)
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) =
                    &delete.from;
                if let Some(from) = from.first() {
                    self.note_portion(types, &from.relation, Event::Delete)?;
                }
                let write = self.take_delete(delete, with, types).await?;
                self.infer(&Statement::Query(Box::new(write.query.clone())), types).await?;
                (write.empty(), write.returning)
            }
            Statement::Merge(merge) => self.describe_merge(merge, types).await?,
            _ => return Err(PgError::internal("not a statement that writes")),
        };
        let Some(items) = returning else { return Ok(None) };
        self.infer_joined(&empty, items.clone(), types).await?;
        Ok(Some(self.evaluate_fields(&empty, items, types).await?.0))
    }

    /// The table that a statement changes; notes the types of the bounds of FOR PORTION OF.
    fn note_portion(
        &self,
        types: &mut Types,
        factor: &TableFactor,
        event: Event,
    ) -> PgResult<(WriteTarget, Option<Through>)> {
        let mut factor = factor.clone();
        let portion = chronos_sql_ext::take_portion(&mut factor)?;
        let (name, _) = Self::target_factor(&factor)?;
        let (target, through) = self.write_target_through(name, event)?;
        if let Some(portion) = portion
            && let Some(period) = target.def.period(&portion.period)
            && let Some(column) = target.def.column(period.start)
        {
            note(types, &portion.from, &column.ty);
            note(types, &portion.to, &column.ty);
        }
        Ok((target, through))
    }

    /// Describes a query with writes in it.
    pub(super) async fn describe_query_with_writes(
        &mut self,
        query: &Query,
        mut types: Types,
    ) -> PgResult<Description> {
        let fields = self.describe_with(query, None, &mut types).await?;
        self.statement_with = None;
        Ok(Description { parameters: settle(types), fields })
    }

    async fn describe_with(
        &mut self,
        query: &Query,
        outer: Option<With>,
        types: &mut Types,
    ) -> PgResult<Option<Arc<[FieldDescription]>>> {
        let mut with = outer;
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            let recursive = query.with.as_ref().is_some_and(|w| w.recursive);
            let cte = if is_read(&cte.query) {
                cte.clone()
            } else {
                let fields = Box::pin(self.describe_with(&cte.query, with.clone(), types)).await?;
                let Some(fields) = fields else { continue };
                let fields: Vec<_> = fields.iter().map(|f| f.ty.field(&f.name, true)).collect();
                let schema = Arc::new(Schema::new(fields));
                let empty = RecordBatch::new_empty(Arc::clone(&schema));
                self.result_cte(cte, schema, vec![empty])?
            };
            push_cte(&mut with, cte, recursive);
        }
        match query.body.as_ref() {
            SetExpr::Insert(sql)
            | SetExpr::Update(sql)
            | SetExpr::Delete(sql)
            | SetExpr::Merge(sql) => self.describe_writing(sql, with, types).await,
            _ => {
                let mut rest = query.clone();
                rest.with = with;
                let statement = Statement::Query(Box::new(rest));
                self.infer(&statement, types).await?;
                Ok(Some(self.plan_described(&statement, types).await?.fields))
            }
        }
    }

    /// The types of the parameters that expressions over rows tell.
    pub(super) async fn infer_joined(
        &mut self,
        joined: &Joined,
        items: Vec<SelectItem>,
        types: &mut Types,
    ) -> PgResult<()> {
        if items.is_empty() || types.iter().all(Option::is_some) {
            return Ok(());
        }
        let (_, planned) = self.evaluate_fields(joined, items, types).await?;
        learn(&planned, types);
        Ok(())
    }

    /// The types of the parameters that planning a query tells.
    pub(super) async fn infer(&mut self, query: &Statement, types: &mut Types) -> PgResult<()> {
        if types.iter().all(Option::is_some) {
            return Ok(());
        }
        let planned = self.plan_described(query, types).await?;
        learn(&planned, types);
        Ok(())
    }

    async fn describe_insert(
        &mut self,
        insert: &Insert,
        types: &mut Types,
    ) -> PgResult<(WriteTarget, Option<Through>)> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(PgError::new("42601", "INSERT needs the name of a table"));
        };
        let (target, through) = self.write_target_through(name, Event::Insert)?;
        let places = super::insert::insert_places(&target, through.as_ref(), insert)?;
        let Some(source) = &insert.source else { return Ok((target, through)) };
        let ty = |i: usize| places.get(i).map(|&p| &target.def.columns[p].ty);
        match source.body.as_ref() {
            SetExpr::Values(values) if source.with.is_none() => {
                let mut others = Vec::new();
                for row in &values.rows {
                    for (i, expr) in row.content.iter().enumerate() {
                        match ty(i) {
                            Some(ty) if parameters::placeholder(expr).is_some() => {
                                note(types, expr, ty);
                            }
                            _ if holds_placeholder(expr) => others.push(expr.clone()),
                            _ => {}
                        }
                    }
                }
                if !others.is_empty() {
                    let items = others
                        .into_iter()
                        .enumerate()
                        .map(|(i, e)| build::aliased(e, &format!("c{i}")))
                        .collect();
                    let query = build::select(items, Vec::new(), None);
                    self.infer(&Statement::Query(Box::new(query)), types).await?;
                }
            }
            _ => {
                note_projection(source, types, &ty);
                let mut query = Query::clone(source);
                query.with = super::query::both_with(self.statement_with.clone(), query.with)?;
                self.infer(&Statement::Query(Box::new(query)), types).await?;
            }
        }
        Ok((target, through))
    }
}

/// Notes the types that a plan tells of parameters.
fn learn(planned: &Planned, types: &mut Types) {
    for (slot, ty) in types.iter_mut().zip(&planned.types) {
        if slot.is_none() {
            slot.clone_from(ty);
        }
    }
}

fn note_projection<'t>(
    source: &Query,
    types: &mut Types,
    ty: &impl Fn(usize) -> Option<&'t SqlType>,
) {
    if let SetExpr::Select(select) = source.body.as_ref() {
        for (i, item) in select.projection.iter().enumerate() {
            match item {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    if let Some(ty) = ty(i) {
                        note(types, expr, ty);
                    }
                }
                // What a wildcard takes is not known here.
                _ => break,
            }
        }
    }
}

fn holds_placeholder(expr: &Expr) -> bool {
    visit_expressions(expr, |e| {
        if parameters::placeholder(e).is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .is_break()
}
