//! Expressions as PostgreSQL 15 itself answers them: `casts.tsv` has a line for each with its
//! type and text, or an SQLSTATE, recorded with the session's time zone Europe/Berlin. `\\`,
//! `\n` and `\t` stand for themselves escaped.

use std::sync::Arc;

use arrow::error::ArrowError;
use bytes::BytesMut;
use chronos_catalog::{CommitTs, SqlType, SystemTime};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, ScalarValue, TableReference};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;

use super::display_name;
use crate::temporal::{Resolved, TemporalCatalog, TemporalInfo};
use crate::text::{normalize, write};
use crate::{Error, StatementKind, bind, configure, parse};

#[derive(Debug)]
struct Empty;

impl TemporalCatalog for Empty {
    fn resolve(&self, name: &TableReference, _: Option<SystemTime>) -> Result<Resolved> {
        Err(Error::postgres("42P01", format!("relation \"{name}\" does not exist")).into())
    }

    fn info(&self, _: &dyn TableProvider) -> Option<TemporalInfo> {
        None
    }

    fn parameters(&self) -> Option<Vec<ScalarValue>> {
        Some(Vec::new())
    }

    fn now(&self) -> CommitTs {
        CommitTs(1_782_918_000_500_000)
    }

    fn time_zone(&self) -> chrono_tz::Tz {
        chrono_tz::Tz::Europe__Berlin
    }
}

fn state(catalog: &Arc<Empty>) -> SessionState {
    let builder = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features();
    configure(builder, Arc::clone(catalog) as Arc<dyn TemporalCatalog>).build()
}

/// The type, as it is told before execution, and the text of a query's one value.
async fn value(sql: &str) -> Result<(String, String)> {
    let catalog = Arc::new(Empty);
    let state = state(&catalog);
    let Some(StatementKind::Sql(statement)) = parse(sql)?.pop().map(|s| s.kind) else {
        panic!("not a statement of SQL: {sql}");
    };
    let statement = bind(&statement, catalog.as_ref())?.statement;
    let plan = state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await?;
    let ty = SqlType::of_field(plan.schema().field(0)).expect("a type of SQL");
    let physical = state.create_physical_plan(&plan).await?;
    let batches = collect(physical, state.task_ctx()).await?;
    let settings = catalog.text_settings();
    let mut rows = Vec::new();
    for batch in &batches {
        let array = normalize::to_sql_type(batch.column(0), &ty)?;
        let mut write = write::writer(&array, &ty, &settings)?;
        for row in 0..batch.num_rows() {
            if array.is_null(row) {
                rows.push("NULL".to_owned());
                continue;
            }
            let mut out = BytesMut::new();
            write(row, &mut out);
            rows.push(String::from_utf8_lossy(&out).into_owned());
        }
    }
    Ok((display_name(&ty), rows.join("\n")))
}

async fn answer(expression: &str) -> String {
    let (head, tail) = match expression.find(" from (values") {
        Some(at) => expression.split_at(at),
        None => (expression, ""),
    };
    let sql = format!("SELECT {head} AS x{tail}");
    match value(&sql).await {
        Ok((ty, text)) => format!("{ty}\t{}", escape(&text)).trim_end_matches('\t').to_owned(),
        Err(error) => match Error::find(&error) {
            Some(ours) => format!("error\t{}", ours.sqlstate()),
            // The kernels' own errors, which the server gives the same codes.
            None => match error.find_root() {
                DataFusionError::ArrowError(error, _) => match error.as_ref() {
                    ArrowError::ArithmeticOverflow(_) => "error\t22003".to_owned(),
                    ArrowError::DivideByZero => "error\t22012".to_owned(),
                    other => format!("error\t{other}"),
                },
                other => format!("error\t{other}"),
            },
        },
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

#[tokio::test]
async fn expressions_answer_as_in_postgresql_15() {
    let mut wrong = Vec::new();
    for line in include_str!("casts.tsv").lines() {
        let (expression, expected) = line.split_once('\t').expect("two fields");
        let found = answer(expression).await;
        if found != expected {
            wrong.push(format!("{expression}\n    {found}\n    {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
