//! Queries: planned, then streamed.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast;
use futures::{StreamExt, TryStreamExt};

use super::api::{Response, RowStream};
use super::build;
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
        super::locking::refuse_nested(sql, None)?;
        if let ast::Statement::Query(query) = sql
            && !query.locks.is_empty()
        {
            return self.locking_query(query).await;
        }
        let planned = self.plan(sql).await?;
        let fields = Arc::clone(&planned.fields);
        let rows = self.stream(planned).await?;
        Ok(Response::Rows { fields, rows, tag: "SELECT".to_owned() })
    }

    /// A query with writes in it: WITH … INSERT/UPDATE/DELETE/MERGE, and such statements within
    /// WITH. All of them read the tables as they were before the statement; each runs once, in
    /// the order of the text.
    pub(super) async fn query_with_writes(&mut self, query: &ast::Query) -> PgResult<Response> {
        self.pin(true).await?;
        let result = self.run_with(query, None).await;
        self.statement_with = None;
        // What failed goes back to before the statement, or ends.
        if result.is_ok() {
            self.pin(false).await?;
        }
        result
    }

    async fn pin(&mut self, pin: bool) -> PgResult<()> {
        let mut guard = self.shared.transaction.write().await;
        let transaction = guard.as_mut().ok_or_else(super::session::aborted)?;
        if pin {
            transaction.pin();
        } else {
            transaction.unpin();
        }
        Ok(())
    }

    async fn run_with(
        &mut self,
        query: &ast::Query,
        outer: Option<ast::With>,
    ) -> PgResult<Response> {
        let mut with = outer;
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            let recursive = query.with.as_ref().is_some_and(|w| w.recursive);
            let cte = if is_read(&cte.query) {
                cte.clone()
            } else {
                let response = Box::pin(self.run_with(&cte.query, with.clone())).await?;
                match self.result_of(response, cte).await? {
                    Some(cte) => cte,
                    None => continue,
                }
            };
            push_cte(&mut with, cte, recursive);
        }
        self.statement_with = with.clone();
        self.unknown = None;
        match query.body.as_ref() {
            ast::SetExpr::Insert(ast::Statement::Insert(insert)) => self.insert(insert).await,
            ast::SetExpr::Update(ast::Statement::Update(update)) => {
                self.update_with(update, with.as_ref()).await
            }
            ast::SetExpr::Delete(ast::Statement::Delete(delete)) => {
                self.delete_with(delete, with.as_ref()).await
            }
            ast::SetExpr::Merge(ast::Statement::Merge(merge)) => self.merge(merge).await,
            _ => {
                let mut rest = query.clone();
                rest.with = with;
                if !is_read(&rest) {
                    return Err(PgError::unsupported("a data-modifying statement here")
                        .hint("Write it at the top of the statement's WITH."));
                }
                let planned = self.plan(&ast::Statement::Query(Box::new(rest))).await?;
                let fields = Arc::clone(&planned.fields);
                // Whatever fails must fail before the commit.
                let batches = self.collect(planned).await?;
                let rows = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
                Ok(Response::Rows { fields, rows, tag: "SELECT".to_owned() })
            }
        }
    }

    /// The rows that a write within WITH returned, as a CTE; `None` without RETURNING.
    async fn result_of(
        &mut self,
        response: Response,
        cte: &ast::Cte,
    ) -> PgResult<Option<ast::Cte>> {
        let Response::Rows { fields, rows, .. } = response else { return Ok(None) };
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let named = |schema: &Schema| {
            let fields = schema.fields().iter().zip(fields.iter());
            let fields: Vec<_> =
                fields.map(|(f, d)| f.as_ref().clone().with_name(d.name.as_str())).collect();
            Arc::new(Schema::new(fields))
        };
        let schema = match batches.first() {
            Some(batch) => named(&batch.schema()),
            None => {
                let fields: Vec<_> = fields.iter().map(|f| f.ty.field(&f.name, true)).collect();
                Arc::new(Schema::new(fields))
            }
        };
        let batches = batches
            .into_iter()
            .map(|batch| {
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = batch.columns().to_vec();
                RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(self.result_cte(cte, schema, batches)?))
    }

    /// A CTE of given rows.
    pub(super) fn result_cte(
        &mut self,
        cte: &ast::Cte,
        schema: Arc<Schema>,
        batches: Vec<RecordBatch>,
    ) -> PgResult<ast::Cte> {
        let table: Arc<dyn TableProvider> = Arc::new(MemTable::try_new(schema, vec![batches])?);
        self.results += 1;
        let name = format!("\u{1}result{}", self.results);
        self.shared.scope.lock().overrides.insert(name.clone(), table);
        let all = ast::SelectItem::Wildcard(Default::default());
        let query = build::select(vec![all], vec![build::table(&name, None)], None);
        Ok(ast::Cte { query: Box::new(query), ..cte.clone() })
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

/// Adds a CTE to a WITH.
pub(super) fn push_cte(with: &mut Option<ast::With>, cte: ast::Cte, recursive: bool) {
    let with = with.get_or_insert_with(|| ast::With {
        with_token: ast::helpers::attached_token::AttachedToken::empty(),
        recursive: false,
        cte_tables: Vec::new(),
    });
    with.recursive |= recursive;
    with.cte_tables.push(cte);
}

/// The CTEs of a WITH around a query together with those of its own.
pub(super) fn both_with(
    outer: Option<ast::With>,
    own: Option<ast::With>,
) -> PgResult<Option<ast::With>> {
    let (mut outer, own) = match (outer, own) {
        (Some(outer), Some(own)) => (outer, own),
        (one, other) => return Ok(one.or(other)),
    };
    for cte in own.cte_tables {
        let name = super::names::fold(&cte.alias.name);
        if outer.cte_tables.iter().any(|c| super::names::fold(&c.alias.name) == name) {
            return Err(PgError::unsupported(format!("two WITH queries named \"{name}\"")));
        }
        outer.cte_tables.push(cte);
    }
    outer.recursive |= own.recursive;
    Ok(Some(outer))
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
