//! Expressions and what PostgreSQL 15 answers for them.

use std::sync::Arc;

use chronos_catalog::{CommitTs, SqlType, SystemTime};
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, ScalarValue, TableReference};
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;

use super::column::{readable, value_at};
use super::convert::text_of;
use super::value::Value;
use crate::temporal::{Resolved, TemporalCatalog, TemporalInfo};
use crate::{Error, StatementKind, bind, configure, parse};

/// A catalog without tables.
#[derive(Debug)]
struct Nothing;

impl TemporalCatalog for Nothing {
    fn resolve(&self, name: &TableReference, _: Option<SystemTime>) -> Result<Resolved> {
        Err(Error::postgres("42P01", format!("relation \"{name}\" does not exist")).into())
    }

    fn info(&self, _: &dyn TableProvider) -> Option<TemporalInfo> {
        None
    }

    fn parameters(&self) -> Option<Vec<ScalarValue>> {
        Some(vec![])
    }

    fn now(&self) -> CommitTs {
        CommitTs(1_700_000_000_000_000)
    }

    fn time_zone(&self) -> chrono_tz::Tz {
        chrono_tz::Tz::Europe__Berlin
    }
}

async fn rows(sql: &str) -> Result<Vec<String>> {
    let catalog = Arc::new(Nothing);
    let builder = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features();
    let state = configure(builder, catalog.clone()).build();
    let Some(StatementKind::Sql(statement)) = parse(sql)?.pop().map(|s| s.kind) else {
        return Err(Error::postgres("42601", "no query").into());
    };
    let bound = bind(&statement, catalog.as_ref())?.statement;
    let plan = state.statement_to_plan(DfStatement::Statement(Box::new(bound))).await?;
    let plan = state.optimize(&plan)?;
    let physical = state.query_planner().create_physical_plan(&plan, &state).await?;
    let mut out = Vec::new();
    for batch in collect(physical, state.task_ctx()).await? {
        for row in 0..batch.num_rows() {
            let mut cells = Vec::new();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let ty = SqlType::of_field(field)
                    .ok_or_else(|| Error::unsupported(field.data_type()))?;
                let value = value_at(readable(column)?.as_ref(), row)?;
                cells.push(match value {
                    Value::Null => "null".to_owned(),
                    Value::Bool(b) => if b { "t" } else { "f" }.to_owned(),
                    value => text_of(&value, &ty, chrono_tz::Tz::Europe__Berlin)?,
                });
            }
            out.push(cells.join("|"));
        }
    }
    Ok(out)
}

async fn answer(sql: &str) -> String {
    match rows(sql).await {
        Ok(rows) => rows.join(";"),
        Err(error) => match Error::find(&error) {
            Some(ours) => format!("{} {ours}", ours.sqlstate()),
            None => format!("? {}", error.strip_backtrace()),
        },
    }
}

/// Lines of `expression => answer`; all that differ are told at once.
async fn check(cases: &str) {
    let mut wrong = Vec::new();
    for line in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((sql, expected)) = line.split_once(" => ") else {
            panic!("no expectation: {line}");
        };
        let found = answer(&format!("SELECT {sql}")).await;
        if found != expected {
            wrong.push(format!("{sql}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn jsonb_and_json() {
    check(include_str!("tests/json.txt")).await;
}

#[tokio::test]
async fn casts() {
    check(include_str!("tests/casts.txt")).await;
}

#[tokio::test]
async fn dates_and_times() {
    check(include_str!("tests/datetime.txt")).await;
}

#[tokio::test]
async fn strings_and_numbers() {
    check(include_str!("tests/strings.txt")).await;
}
