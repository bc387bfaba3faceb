//! Describe of INSERT, UPDATE and DELETE.

use std::ops::ControlFlow;
use std::sync::Arc;

use chronos_catalog::SqlType;
use datafusion::arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, Expr, Insert, Query, SelectItem, SetExpr, Statement, TableObject,
    visit_expressions,
};

use super::api::{Description, FieldDescription};
use super::names::{fold, single};
use super::plan::settle;
use super::session::Session;
use super::write::{WriteTarget, nullable};
use super::{build, parameters};
use crate::error::{PgError, PgResult};

type Types = Vec<Option<SqlType>>;

/// Gives a parameter a type unless it has one.
fn note(types: &mut Types, expr: &Expr, ty: &SqlType) {
    if let Some(i) = parameters::placeholder(expr).and_then(parameters::index)
        && let Some(slot @ None) = types.get_mut(i)
    {
        *slot = Some(ty.clone());
    }
}

fn note_assignments(types: &mut Types, target: &WriteTarget, assignments: &[Assignment]) {
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
        let (target, alias, returning) = match sql {
            Statement::Insert(insert) => {
                let target = self.describe_insert(insert, &mut types).await?;
                let alias = insert.table_alias.as_ref().map(|a| fold(&a.alias));
                (target, alias, insert.returning.clone())
            }
            Statement::Update(update) => {
                let (name, _) = Self::target_factor(&update.table.relation)?;
                let target = self.write_target(name)?;
                note_assignments(&mut types, &target, &update.assignments);
                let write = self.take_update(update, None)?;
                self.infer(&Statement::Query(Box::new(write.query)), &mut types).await?;
                (target, Some(write.alias), write.returning)
            }
            Statement::Delete(delete) => {
                let write = self.take_delete(delete, None)?;
                self.infer(&Statement::Query(Box::new(write.query)), &mut types).await?;
                (write.target, Some(write.alias), write.returning)
            }
            _ => return Err(PgError::internal("not a statement that writes")),
        };
        let fields = match returning {
            None => None,
            Some(items) => Some(self.returning_fields(&target, alias, items).await?),
        };
        Ok(Description { parameters: settle(types), fields })
    }

    async fn returning_fields(
        &mut self,
        target: &WriteTarget,
        alias: Option<String>,
        items: Vec<SelectItem>,
    ) -> PgResult<Arc<[FieldDescription]>> {
        let rows = RecordBatch::new_empty(nullable(target));
        let alias = alias.unwrap_or_else(|| target.name.clone());
        self.project_fields(&rows, &alias, items).await
    }

    /// The types of the parameters that planning a query tells.
    async fn infer(&mut self, query: &Statement, types: &mut Types) -> PgResult<()> {
        if types.iter().all(Option::is_some) {
            return Ok(());
        }
        let planned = self.plan_described(query, types).await?;
        let inferred = planned.plan.get_parameter_fields()?;
        for (i, slot) in types.iter_mut().enumerate() {
            if slot.is_none()
                && let Some(Some(field)) = inferred.get(&format!("${}", i + 1))
            {
                *slot = SqlType::of_field(field);
            }
        }
        Ok(())
    }

    async fn describe_insert(
        &mut self,
        insert: &Insert,
        types: &mut Types,
    ) -> PgResult<WriteTarget> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(PgError::new("42601", "INSERT needs the name of a table"));
        };
        let target = self.write_target(name)?;
        let places = super::insert::insert_places(&target, insert)?;
        let Some(source) = &insert.source else { return Ok(target) };
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
                let query: &Query = source;
                self.infer(&Statement::Query(Box::new(query.clone())), types).await?;
            }
        }
        Ok(target)
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
