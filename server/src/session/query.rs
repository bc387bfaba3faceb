//! Queries: planned, then streamed.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast;
use futures::{StreamExt, TryStreamExt};

use super::api::{Response, RowStream};
use super::plan::Planned;
use super::session::Session;
use crate::error::{PgError, PgResult};

/// Whether a query only reads. A WITH clause may hold writes, and a query may lock rows.
pub(super) fn is_read(query: &ast::Query) -> bool {
    fn body_reads(body: &ast::SetExpr) -> bool {
        match body {
            ast::SetExpr::Select(select) => select.into.is_none(),
            ast::SetExpr::Query(query) => is_read(query),
            ast::SetExpr::SetOperation { left, right, .. } => body_reads(left) && body_reads(right),
            ast::SetExpr::Values(_) | ast::SetExpr::Table(_) => true,
            ast::SetExpr::Insert(_)
            | ast::SetExpr::Update(_)
            | ast::SetExpr::Delete(_)
            | ast::SetExpr::Merge(_) => false,
        }
    }
    let with_reads =
        query.with.as_ref().is_none_or(|w| w.cte_tables.iter().all(|c| is_read(&c.query)));
    with_reads && body_reads(&query.body)
}

impl Session {
    /// SELECT, VALUES, TABLE, WITH.
    pub(super) async fn query(&mut self, sql: &ast::Statement) -> PgResult<Response> {
        let mut unlocked;
        let mut sql = sql;
        if let ast::Statement::Query(query) = sql
            && !query.locks.is_empty()
        {
            self.check_locks()?;
            unlocked = sql.clone();
            if let ast::Statement::Query(query) = &mut unlocked {
                query.locks.clear();
            }
            sql = &unlocked;
        }
        let planned = self.plan(sql).await?;
        let fields = Arc::clone(&planned.fields);
        let rows = self.stream(planned).await?;
        Ok(Response::Rows { fields, rows, tag: "SELECT".to_owned() })
    }

    fn check_locks(&self) -> PgResult<()> {
        if self.shared.as_of().is_some() {
            return Err(PgError::new("25006", "cannot lock rows while reading as of an instant"));
        }
        // The locks of a statement that is a transaction of its own end with it.
        if self.block != super::transaction::Block::None {
            return Err(PgError::unsupported("SELECT … FOR UPDATE in a transaction block").hint(
                "A transaction that changes rows which another changed meanwhile fails with 40001.",
            ));
        }
        Ok(())
    }

    /// WITH … INSERT/UPDATE/DELETE, SELECT INTO.
    pub(super) async fn query_with_writes(&mut self, query: &ast::Query) -> PgResult<Response> {
        match query.body.as_ref() {
            ast::SetExpr::Insert(ast::Statement::Insert(insert)) => {
                let mut insert = insert.clone();
                let with = query.with.clone();
                match (&mut insert.source, with) {
                    (Some(source), Some(with)) if source.with.is_none() => source.with = Some(with),
                    (_, None) => {}
                    _ => return Err(PgError::unsupported("WITH before this INSERT")),
                }
                self.insert(&insert).await
            }
            ast::SetExpr::Update(ast::Statement::Update(update)) => {
                self.update_with(update, query.with.as_ref()).await
            }
            ast::SetExpr::Delete(ast::Statement::Delete(delete)) => {
                self.delete_with(delete, query.with.as_ref()).await
            }
            ast::SetExpr::Select(select) if select.into.is_some() => {
                Err(PgError::unsupported("SELECT INTO").hint("Use CREATE TABLE AS."))
            }
            _ => Err(PgError::unsupported("a data-modifying statement in WITH")),
        }
    }

    /// Starts a plan; the rows come as they are read.
    pub(super) async fn stream(&mut self, planned: Planned) -> PgResult<RowStream> {
        let Planned { plan, state, .. } = planned;
        refuse_writes(&plan)?;
        let physical = state.create_physical_plan(&plan).await?;
        let physical: Arc<dyn ExecutionPlan> = physical;
        let stream = execute_stream(physical, state.task_ctx())?;
        Ok(stream.map(|batch| batch.map_err(PgError::from)).boxed())
    }

    /// All rows of a plan.
    pub(super) async fn collect(&mut self, planned: Planned) -> PgResult<Vec<RecordBatch>> {
        self.stream(planned).await?.try_collect().await
    }
}

/// DataFusion's own DDL and DML never run: they know nothing of our tables.
fn refuse_writes(plan: &LogicalPlan) -> PgResult<()> {
    match plan {
        LogicalPlan::Ddl(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::Statement(_) => Err(PgError::unsupported("this statement")),
        _ => Ok(()),
    }
}
