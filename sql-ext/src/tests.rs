//! Whole statements over a small history in memory.
//!
//! ```text
//! now = 1000 s        t: id, x, at (timestamptz), in periods of system time (seconds)
//!   1  10  at 900     [100, ∞)
//!   2  20  at 995     [100, 500)
//!   2  21  at 996     [500, ∞)
//!   3  30  at 400     [300, 700)
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use chronos_catalog::{CommitTs, SystemTime};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, TableReference};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement as DfStatement;

use crate::temporal::{Resolved, TemporalCatalog, TemporalInfo};
use crate::{Error, StatementKind, bind, configure, parse};

const SECOND: i64 = 1_000_000;
const NOW: i64 = 1000;

#[derive(Debug)]
struct Fixed {
    rows: MemTable,
    info: TemporalInfo,
}

#[async_trait]
impl TableProvider for Fixed {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.rows.scan(state, projection, filters, limit).await
    }
}

#[derive(Debug)]
struct FakeCatalog {
    parameters: Option<Vec<ScalarValue>>,
    time_column: Option<String>,
}

type Row = (i64, Option<i64>, &'static str, i64, i64, Option<i64>);

/// id, x, name, at, from, to
const ROWS: [Row; 4] = [
    (1, Some(10), "a", 900, 100, None),
    (2, Some(20), "b", 995, 100, Some(500)),
    (2, Some(21), "b", 996, 500, None),
    (3, Some(30), "a", 400, 300, Some(700)),
];

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let values: TimestampMicrosecondArray = values.map(|v| v.map(|v| v * SECOND)).collect();
    Arc::new(values.with_timezone("UTC"))
}

fn zoned(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true)
}

impl TemporalCatalog for FakeCatalog {
    fn resolve(&self, name: &TableReference, time: Option<SystemTime>) -> Result<Resolved> {
        let seconds = |t: CommitTs| t.micros() / SECOND;
        let keep = |from: i64, to: Option<i64>| match time {
            None => to.is_none(),
            Some(SystemTime::AsOf(t)) => from <= seconds(t) && to.is_none_or(|to| seconds(t) < to),
            Some(SystemTime::FromTo(a, b)) => {
                from < seconds(b) && to.is_none_or(|to| seconds(a) < to)
            }
            Some(SystemTime::Between(a, b)) => {
                from <= seconds(b) && to.is_none_or(|to| seconds(a) < to)
            }
            Some(SystemTime::ContainedIn(a, b)) => {
                seconds(a) <= from && to.is_some_and(|to| to <= seconds(b))
            }
            Some(SystemTime::All) => true,
        };
        let rows: Vec<Row> = ROWS.into_iter().filter(|r| keep(r.4, r.5)).collect();
        let with_time = match name.table() {
            "t" | "u" => true,
            "plain" => false,
            "v" => {
                return Ok(Resolved::View {
                    query: "WITH c AS (SELECT * FROM t) SELECT id, x FROM c".into(),
                    columns: vec!["vid".into(), "vx".into()],
                    owner: None,
                });
            }
            other => {
                return Err(Error::postgres(
                    "42P01",
                    format!("relation \"{other}\" does not exist"),
                )
                .into());
            }
        };
        let mut fields = vec![
            Field::new("id", DataType::Int64, true),
            Field::new("x", DataType::Int64, true),
            Field::new("name", DataType::Utf8View, true),
        ];
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))),
            Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| r.2))),
        ];
        if with_time {
            fields.push(zoned("at"));
            columns.push(times(rows.iter().map(|r| Some(r.3))));
        }
        fields.extend([zoned("_system_from"), zoned("_system_to")]);
        columns.push(times(rows.iter().map(|r| Some(r.4))));
        columns.push(times(rows.iter().map(|r| r.5)));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let as_of = match time {
            Some(SystemTime::AsOf(t)) => Some(t),
            _ => None,
        };
        Ok(Resolved::Table(Arc::new(Fixed {
            rows: MemTable::try_new(schema, vec![vec![batch]])?,
            info: TemporalInfo {
                as_of,
                time_column: self.time_column.clone(),
                periods: Vec::new(),
            },
        })))
    }

    fn info(&self, provider: &dyn TableProvider) -> Option<TemporalInfo> {
        provider.downcast_ref::<Fixed>().map(|fixed| fixed.info.clone())
    }

    fn parameters(&self) -> Option<Vec<ScalarValue>> {
        self.parameters.clone()
    }

    fn now(&self) -> CommitTs {
        CommitTs(NOW * SECOND)
    }

    fn time_zone(&self) -> chrono_tz::Tz {
        chrono_tz::Tz::UTC
    }
}

fn catalog(parameters: Option<Vec<ScalarValue>>) -> Arc<FakeCatalog> {
    Arc::new(FakeCatalog { parameters, time_column: None })
}

async fn plan_with(catalog: Arc<FakeCatalog>, sql: &str, bound: bool) -> Result<LogicalPlan> {
    let builder = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features();
    let state = configure(builder, catalog.clone()).build();
    let Some(StatementKind::Sql(statement)) = parse(sql)?.pop().map(|s| s.kind) else {
        panic!("not a statement of SQL: {sql}");
    };
    let statement = if bound { bind(&statement, catalog.as_ref())?.statement } else { *statement };
    let plan = state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await?;
    state.optimize(&plan)
}

async fn rows_with(catalog: Arc<FakeCatalog>, sql: &str) -> Result<Vec<String>> {
    let plan = plan_with(catalog.clone(), sql, true).await?;
    let builder = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features();
    let state = configure(builder, catalog).build();
    let physical = state.query_planner().create_physical_plan(&plan, &state).await?;
    let batches = collect(physical, state.task_ctx()).await?;
    let options = FormatOptions::default().with_null("null");
    let mut out = Vec::new();
    for batch in &batches {
        let columns: Vec<ArrayFormatter<'_>> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<std::result::Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            out.push(cells.join(" "));
        }
    }
    Ok(out)
}

async fn rows(sql: &str) -> String {
    match rows_with(catalog(Some(vec![])), sql).await {
        Ok(rows) => rows.join(", "),
        Err(error) => match Error::find(&error) {
            Some(ours) => format!("{} {ours}", ours.sqlstate()),
            None => error.strip_backtrace(),
        },
    }
}

#[tokio::test]
async fn unhandled_time_travel_is_an_error() {
    // Neither planned by our planner without being bound …
    let sql = "select * from t for system_time as of now()";
    let error = plan_with(catalog(Some(vec![])), sql, false).await.unwrap_err();
    assert_eq!(Error::find(&error).map(Error::sqlstate), Some("0A000"));
    // … nor by DataFusion alone, whether it was bound or not.
    let alone = SessionStateBuilder::new().with_default_features().build();
    let Some(StatementKind::Sql(parsed)) = parse(sql).unwrap().pop().map(|s| s.kind) else {
        panic!("not a statement of SQL");
    };
    let bound = bind(&parsed, catalog(Some(vec![])).as_ref()).unwrap().statement;
    for statement in [*parsed, bound] {
        let planned = alone.statement_to_plan(DfStatement::Statement(Box::new(statement))).await;
        assert!(planned.is_err());
    }
}

#[tokio::test]
async fn each_reference_reads_at_its_own_instant() {
    assert_eq!(rows("select id, x from t order by id").await, "1 10, 2 21");
    assert_eq!(
        rows("select id, x from t for system_time as of '1970-01-01 00:06:40' order by id").await,
        "1 10, 2 20, 3 30"
    );
    assert_eq!(
        rows(
            "select a.id, a.x, b.x from t for system_time as of '1970-01-01 00:06:40' a \
             left join t b on a.id = b.id order by a.id"
        )
        .await,
        "1 10 10, 2 20 21, 3 30 null"
    );
    assert_eq!(
        rows(
            "select (select sum(x) from t as of '1970-01-01 00:06:40') \
             - (select sum(x) from t as of '1970-01-01 00:10:00') \
             + (select sum(x) from t)"
        )
        .await,
        "30"
    );
    assert_eq!(rows("select count(*) from t for system_time all where id = 2").await, "2");
    assert_eq!(
        rows(
            "select id, x from t for system_time from '1970-01-01 00:08:20' to \
             '1970-01-01 00:11:40' order by id, x"
        )
        .await,
        "1 10, 2 21, 3 30"
    );
}

#[tokio::test]
async fn instant_is_any_expression_without_columns() {
    for instant in [
        "now() - interval '10 minutes'",
        "timestamp '1970-01-01 00:06:40'",
        "timestamptz '1970-01-01 01:06:40+01'",
        "to_timestamp(400)",
        "'1970-01-01'::timestamp + interval '400 seconds'",
        "'-10m'",
    ] {
        assert_eq!(
            rows(&format!("select count(*), sum(x) from t for system_time as of {instant}")).await,
            "3 60",
            "{instant}"
        );
    }
    let at = ScalarValue::TimestampMicrosecond(Some(400 * SECOND), Some("UTC".into()));
    let sql = "select sum(x) from t for system_time as of $1 where id > $2";
    let known = catalog(Some(vec![at, ScalarValue::Int64(Some(1))]));
    let plan = plan_with(known, sql, true).await.unwrap();
    assert!(plan.display_indent().to_string().contains("t@1970-01-01T00:06:40Z"), "{plan}");
    // While describing, the table is as it is now.
    let plan = plan_with(catalog(None), sql, true).await.unwrap();
    assert!(!plan.display_indent().to_string().contains("t@"), "{plan}");
}

#[tokio::test]
async fn instants_that_cannot_be_read_are_refused() {
    for (instant, code) in [
        ("'1970-01-01 00:20:00'", "22023"),
        ("null", "22004"),
        ("'soon'", "22007"),
        ("id", "42P10"),
        ("(select max(at) from t)", "0A000"),
    ] {
        let answer = rows(&format!("select * from t for system_time as of {instant}")).await;
        assert!(answer.starts_with(code), "{instant}: {answer}");
    }
    let answer = rows("select * from t for system_time from now() to '1970-01-01'").await;
    assert!(answer.starts_with("22023"), "{answer}");
}

#[tokio::test]
async fn views_ctes_and_derived_tables_travel_with_the_tables_inside() {
    let at = "'1970-01-01 00:06:40'";
    assert_eq!(rows("select * from v order by vid").await, "1 10, 2 21");
    for sql in [
        format!("select vid, vx from v for system_time as of {at} order by vid"),
        format!("with c as (select id, x from t) select * from c as of {at} order by id"),
        format!("select * from (select id, x from t) as of {at} d order by d.id"),
        format!("select * from (select vid, vx from v) d as of {at} order by vid"),
        format!("select id, x from t as of system time {at} order by id"),
        format!("with v as (select * from v) select * from v as of {at} order by vid"),
        format!(
            "with c as (select 1) select * from (with c as (select * from v) select * from c) d \
                 as of {at} order by vid"
        ),
    ] {
        assert_eq!(rows(&sql).await, "1 10, 2 20, 3 30", "{sql}");
    }
    assert_eq!(
        rows(&format!("with c as (select id, x from t) select count(*) from c a, c as of {at} b"))
            .await,
        "6"
    );
}

#[tokio::test]
async fn hidden_columns_show_only_by_name() {
    assert_eq!(rows("select * from plain where id = 1").await, "1 10 a");
    assert_eq!(rows("select *, _system_to is null from plain where id = 1").await, "1 10 a true");
    assert_eq!(
        rows(
            "select p.*, q.x, extract(epoch from q._system_from)::int4 from plain p, \
              (select id, x, _system_from from plain) q where q.id = p.id and p.id = 2"
        )
        .await,
        "2 21 b 21 500"
    );
    assert_eq!(
        rows("select * from (select id, _system_from is null from plain) q where id = 1").await,
        "1 false"
    );
    assert_eq!(
        rows(
            "select * from plain p join plain q on p.id = q.id where p._system_from \
              < q._system_from"
        )
        .await,
        ""
    );
    assert_eq!(rows("select count(*) from plain where _system_from is not null").await, "2");
    assert_eq!(
        rows("select * from plain natural join plain q where q._system_to is null").await,
        "0A000 NATURAL JOIN in a query that names hidden columns is not supported"
    );
}

#[tokio::test]
async fn windowed_aggregate_equals_the_filter_query() {
    // The window (T - 60 s, T] of now holds 996 only; 2 minutes hold 900 as well.
    assert_eq!(
        rows("select sum_1m(x), count_2m(*), avg_2m(x), min_1h(x), max_1d(x) from t").await,
        "21 2 15.50000000000000000000 10 21"
    );
    assert_eq!(rows("select sum_1m(x), sum(x) from t where id < 10").await, "21 31");
    // AS OF second 900: the window ends there.
    assert_eq!(
        rows("select sum_1m(x), count_10m(*) from t as of '1970-01-01 00:06:40'").await,
        "30 1"
    );
    assert_eq!(
        rows("select sum_1m(x) as s from t group by name having sum_1m(x) > 0 order by s").await,
        "21"
    );
    assert_eq!(rows("select sum_1m(a.x), sum_1m(b.x) from t a, u b").await, "42 42");
}

#[tokio::test]
async fn groups_without_a_row_in_the_window_stay() {
    let windowed = "select name, sum_1m(x), count_1m(x) from t group by name order by name";
    assert_eq!(rows(windowed).await, "a null 0, b 21 1");
    let plain = "select name, sum(x) filter (where at > now() - interval '1 minute' and at <= \
                 now()), count(x) filter (where at > now() - interval '1 minute' and at <= \
                 now()) from t group by name order by name";
    assert_eq!(rows(windowed).await, rows(plain).await);
}

#[tokio::test]
async fn window_is_pushed_to_the_scan() {
    for sql in [
        "select avg_1m(x), sum_2m(x) from t",
        "select name, avg_1m(x), sum_2m(x) from t group by name",
    ] {
        let plan = plan_with(catalog(Some(vec![])), sql, true).await.unwrap();
        let text = plan.display_indent().to_string();
        // The union is the longer window: from 880 s.
        assert!(
            text.contains("Filter: t.at > TimestampMicrosecond(880000000, Some(\"UTC\"))"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn time_column_is_the_option_or_the_only_one_or_the_commit() {
    assert_eq!(rows("select count_10m(*) from plain").await, "1");
    assert_eq!(rows("select count_10m(id, _system_from) from t").await, "1");
    let answer = rows("select count_10m(*) from t a, u b").await;
    assert!(answer.starts_with("42P18"), "{answer}");
    let option = Arc::new(FakeCatalog {
        parameters: Some(vec![]),
        time_column: Some("_system_from".into()),
    });
    assert_eq!(rows_with(option, "select count_10m(*) from t").await.unwrap(), ["1"]);
    assert!(rows("select avg_0h(x) from t").await.contains("avg_0h"));
}

#[tokio::test]
async fn columns_of_one_name_are_allowed() {
    assert_eq!(
        rows("select count(*), count(*), id, id from t where id = 1 group by id").await,
        "1 1 1 1"
    );
    assert_eq!(rows("select *, id, p.name from plain p where id = 1").await, "1 10 a 1 a");
    assert_eq!(rows("select count from (select count(*), sum(x), sum(id) from t) s").await, "2");
    assert_eq!(
        rows("select upper(name), sum(x) from t group by upper(name) order by upper(name)").await,
        "A 10, B 21"
    );
    assert_eq!(rows("select distinct lower(name) from t order by lower(name)").await, "a, b");
    assert_eq!(
        rows("select distinct on (name) name, x + 1 from t order by name, x + 1").await,
        "a 11, b 22"
    );
    assert_eq!(rows("select x::text from t group by x having x > 15").await, "21");
    assert_eq!(rows("select sum(x) from t union all select 1 order by sum").await, "1, 31");
    assert_eq!(rows("select id, 1 from t order by 2, 1 desc").await, "2 1, 1 1");
    assert_eq!(
        rows(
            "with recursive r(n) as (select 1 union all select n + 1 from r where n < 3) \
              select n from r"
        )
        .await,
        "1, 2, 3"
    );
}

#[tokio::test]
async fn arithmetic_fails_where_postgres_does() {
    for (expr, answer) in [
        ("2147483647 + 1", "22003 integer out of range"),
        ("2147483647::int8 + 1", "2147483648"),
        ("9223372036854775807 + 1", "22003 bigint out of range"),
        ("(-32768)::int2 - 1::int2", "22003 smallint out of range"),
        ("3000000000 * 3000000000 * 3", "22003 bigint out of range"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("1 / 0", "22012 division by zero"),
        ("1 % 0", "22012 division by zero"),
        ("1.5::float8 / 0", "22012 division by zero"),
        ("max(x) / (count(*) - 2)", "22012 division by zero"),
        ("sum(x + 9223372036854775800)", "22003 bigint out of range"),
        ("sum(x + 1)", "33"),
    ] {
        assert_eq!(
            rows(&format!(
                "select {expr} from t {}",
                if expr.contains("x") { "" } else { "where id = 1" }
            ))
            .await,
            answer,
            "{expr}"
        );
    }
}

#[test]
fn long_statements_plan_on_a_planning_stack() {
    let run = |sql: String| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { rows(&sql).await })
    };
    let answers = std::thread::Builder::new()
        .stack_size(crate::PLANNING_STACK_BYTES)
        .spawn(move || {
            [
                run(format!("select count(*) from t where {}id = 1", "id = 2 or ".repeat(2_000))),
                run(format!("select 1{}", " + 1".repeat(100))),
                run(format!("select {}1{}", "(".repeat(250), ")".repeat(250))),
                run(format!("select {}1{}", "abs(".repeat(100), ")".repeat(100))),
                run(format!("select 1{}", " + 1".repeat(401))),
            ]
        })
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(answers[..4], ["2", "101", "1", "1"]);
    assert!(answers[4].starts_with("54001"), "{}", answers[4]);
}
