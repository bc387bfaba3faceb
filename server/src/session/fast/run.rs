//! Finds, makes and runs what was compiled of a statement.

use std::sync::Arc;

use chronos_catalog::{Relation, SqlType, TableDef};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FromTable, GroupByExpr, Query, SetExpr, Statement, TableFactor,
    TableWithJoins,
};
use futures::StreamExt;

use super::compile::compile;
use super::instant::Instant;
use super::key_plan::KeyPlan;
use super::slot::{Basis, Compiled, Found, Kept, KeyQuery};
use crate::error::PgResult;
use crate::session::api::Response;
use crate::session::dml::{TARGET, Write};
use crate::session::names::{Lookup, RelationName, fold, relation};
use crate::session::plan::Planned;
use crate::session::session::Session;

impl Session {
    /// The definitions and settings that hold for the running statement.
    pub(in crate::session) fn basis(&self) -> PgResult<Basis> {
        let (objects, at) = self.shared.objects()?;
        Ok(Basis::new(objects, at, self.shared.settings.read().facts()))
    }

    /// What is compiled of a statement, if a key answers it.
    pub(in crate::session) async fn compiled(
        &mut self,
        kept: Option<&Kept>,
        sql: &Statement,
    ) -> PgResult<Option<Compiled>> {
        let Some(Kept { slot, .. }) = kept else { return Ok(None) };
        if !matches!(sql, Statement::Query(_) | Statement::Update(_) | Statement::Delete(_))
            || self.shared.as_of().is_some()
        {
            return Ok(None);
        }
        let now = self.basis()?;
        let types = known_types(&self.shared.scope.lock().parameter_types);
        let came_before = match slot.look(&now, &types) {
            Found::Compiled(compiled) => return Ok(Some(compiled)),
            Found::Refused => return Ok(None),
            Found::Nothing(before) => before,
        };
        let compiled = match self.has_key(sql, came_before) {
            Some(true) => Box::pin(self.compile_statement(sql)).await,
            Some(false) => None,
            // Perhaps the next time.
            None => return Ok(None),
        };
        if now.is_whole() {
            slot.keep(now, &types, compiled.clone());
        }
        Ok(compiled)
    }

    /// Compiles; whatever is wrong is left to the planner, which tells it better.
    async fn compile_statement(&mut self, sql: &Statement) -> Option<Compiled> {
        match sql {
            Statement::Query(_) => {
                let past = Instant::take(sql);
                if past.is_some() && self.in_present_shape() {
                    return None;
                }
                let name = one_table(sql).and_then(|(factor, _)| self.table_name(factor));
                let (planned, as_of) = match past {
                    Some((now, instant)) => (self.plan_open(&now).await?, Some((name?, instant))),
                    None => (self.plan_open(sql).await?, None),
                };
                let fields = Arc::clone(&planned.fields);
                let plan = self.compile_planned(planned)?;
                Some(Compiled::Query(Arc::new(KeyQuery { plan, fields, as_of })))
            }
            Statement::Update(update) => {
                let write = self.take_update(update, None, &[]).await.ok()?;
                self.compile_write(write).await
            }
            Statement::Delete(delete) => {
                let write = self.take_delete(delete, None, &[]).await.ok()?;
                self.compile_write(write).await
            }
            _ => None,
        }
    }

    async fn compile_write(&mut self, mut write: Write) -> Option<Compiled> {
        let planned =
            match write.others.is_empty() && write.portion.is_none() && write.through.is_none() {
                true => self.plan_open(&Statement::Query(Box::new(write.query.clone()))).await,
                false => None,
            };
        self.shared.scope.lock().overrides.remove(TARGET);
        let planned = planned?;
        let fields = Arc::clone(&planned.fields);
        let plan = self.compile_planned(planned)?;
        write.by_key = Some((plan, fields));
        Some(Compiled::Write(Arc::new(write)))
    }

    fn compile_planned(&self, planned: Planned) -> Option<KeyPlan> {
        let types: Vec<_> = {
            let scope = self.shared.scope.lock();
            let values = scope.parameters.as_deref().unwrap_or_default();
            if values.contains(&ScalarValue::Null) {
                return None;
            }
            values.iter().map(ScalarValue::data_type).collect()
        };
        let now = self.shared.transaction.try_read().ok()?.as_ref()?.read_ts();
        match compile(planned.plan, &types, &planned.state, now) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::debug!(%error, "left to the planner");
                None
            }
        }
    }

    /// The plan of a statement without the values of its parameters; `None` where it holds
    /// instants, or is wrong.
    async fn plan_open(&mut self, sql: &Statement) -> Option<Planned> {
        let values = self.shared.scope.lock().parameters.take();
        let planned = self.plan_once(sql).await;
        let latest = {
            let mut scope = self.shared.scope.lock();
            scope.parameters = values;
            scope.latest_instant.take()
        };
        let planned = planned.ok().filter(|p| latest.is_none() && !p.holds_instants)?;
        // What may not be read is told by the planner.
        self.shared.check_columns(&planned.plan, &planned.state).ok()?;
        Some(planned)
    }

    /// Whether the statement's conditions may bind a whole unique key of its one table. For a
    /// view that is known only after planning, which is worth it for what came before.
    fn has_key(&self, sql: &Statement, came_before: bool) -> Option<bool> {
        let Some((factor, selection)) = one_table(sql) else { return Some(false) };
        let Some(name) = self.table_name(factor) else { return Some(false) };
        let Ok((objects, at)) = self.shared.objects() else { return Some(false) };
        let path = self.shared.search_path();
        let lookup = Lookup { objects: &objects, at, path: &path };
        match lookup.relation(&name).map(|(_, object)| &object.relation) {
            Some(Relation::Table(def)) => Some(binds_key(def, selection)),
            Some(Relation::View { .. }) => came_before.then_some(true),
            _ => Some(false),
        }
    }

    /// The name of a table; of one at another time only where that time may be evaluated.
    fn table_name(&self, factor: &TableFactor) -> Option<RelationName> {
        let mut factor = factor.clone();
        chronos_sql_ext::take_as_of(&mut factor);
        match &factor {
            TableFactor::Table { name, args: None, version: None, .. } => {
                relation(name, &self.shared.identity.database).ok()
            }
            _ => None,
        }
    }

    /// Whether the past is read in the present's shape.
    fn in_present_shape(&self) -> bool {
        self.shared.settings.read().known("chronos.as_of_schema") == "current"
    }

    /// The rows that a key finds, as the plan's answer; `None` where it does not fit.
    pub(in crate::session) async fn rows_by_key(
        &mut self,
        plan: &KeyPlan,
        as_of: Option<&(RelationName, Instant)>,
    ) -> PgResult<Option<Vec<RecordBatch>>> {
        let parameters = {
            let scope = self.shared.scope.lock();
            plan.bind(scope.parameters.as_deref().unwrap_or_default())?
        };
        let Some(parameters) = parameters else { return Ok(None) };
        let keys = plan.keys(&parameters)?;
        let found = match as_of {
            Some((name, instant)) => self.read_as_of(plan.read(), &keys, name, instant).await?,
            None => {
                let guard = self.shared.transaction.read().await;
                let transaction = guard.as_ref().ok_or_else(crate::session::session::aborted)?;
                transaction.read_by_key(plan.read(), &keys).await?
            }
        };
        match found {
            Some(found) => plan.evaluate(&found, &parameters).map(Some),
            None => Ok(None),
        }
    }

    /// The answer of a query that a key answers.
    pub(in crate::session) async fn query_by_key(
        &mut self,
        kept: Option<&Kept>,
        sql: &Statement,
    ) -> PgResult<Option<Response>> {
        let Some(Compiled::Query(query)) = self.compiled(kept, sql).await? else {
            return Ok(None);
        };
        let rows = self.rows_by_key(&query.plan, query.as_of.as_ref()).await?;
        let Some(rows) = rows else { return Ok(None) };
        let fields = Arc::clone(&query.fields);
        let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
        Ok(Some(Response::Rows { fields, rows, tag: "SELECT".to_owned() }))
    }

    /// What is compiled of a write, if a key finds its rows.
    pub(in crate::session) async fn write_by_key(
        &mut self,
        kept: Option<&Kept>,
        sql: &Statement,
    ) -> PgResult<Option<Arc<Write>>> {
        match self.compiled(kept, sql).await? {
            Some(Compiled::Write(write)) => Ok(Some(write)),
            _ => Ok(None),
        }
    }
}

fn known_types(types: &[Option<SqlType>]) -> Vec<SqlType> {
    types.iter().map(|t| t.clone().unwrap_or(SqlType::Text)).collect()
}

/// The one table of a statement and its condition.
fn one_table(sql: &Statement) -> Option<(&TableFactor, &Expr)> {
    fn plain(table: &TableWithJoins) -> Option<&TableFactor> {
        table.joins.is_empty().then_some(&table.relation)
    }
    match sql {
        Statement::Query(query) => {
            let Query { with: None, body, locks, .. } = query.as_ref() else { return None };
            let SetExpr::Select(select) = body.as_ref() else { return None };
            let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty());
            if !locks.is_empty() || grouped || select.having.is_some() || select.into.is_some() {
                return None;
            }
            let [from] = select.from.as_slice() else { return None };
            Some((plain(from)?, select.selection.as_ref()?))
        }
        Statement::Update(update) if update.from.is_none() => {
            Some((plain(&update.table)?, update.selection.as_ref()?))
        }
        Statement::Delete(delete) if delete.using.is_none() => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            let [from] = from.as_slice() else { return None };
            Some((plain(from)?, delete.selection.as_ref()?))
        }
        _ => None,
    }
}

/// Whether a condition compares every column of some unique key.
fn binds_key(def: &TableDef, selection: &Expr) -> bool {
    let mut compared = Vec::new();
    note_compared(selection, &mut compared);
    def.unique_keys().any(|(_, _, columns)| {
        columns
            .iter()
            .all(|id| def.column(*id).is_some_and(|column| compared.contains(&column.name)))
    })
}

fn note_compared(expr: &Expr, compared: &mut Vec<String>) {
    let mut note = |expr: &Expr| match expr {
        Expr::Identifier(name) => compared.push(fold(name)),
        Expr::CompoundIdentifier(parts) => compared.extend(parts.last().map(fold)),
        _ => {}
    };
    match expr {
        Expr::Nested(inner) => note_compared(inner, compared),
        Expr::BinaryOp { left, op: BinaryOperator::And | BinaryOperator::Or, right } => {
            note_compared(left, compared);
            note_compared(right, compared);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            note(left);
            note(right);
        }
        Expr::InList { expr, .. } => note(expr),
        Expr::AnyOp { left, .. } => note(left),
        _ => {}
    }
}
