//! What clients ask, asked of our tables. The objects are those of a small shop of sensors, with
//! the identifiers that a PostgreSQL 15 gave the same ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::DataType;
use chronos_catalog::{
    Column, ColumnId, CommitTs, Constraint, ConstraintKind, Object, Objects, Oid, Relation,
    SqlType, State, TableDef,
};
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::{Setting, SystemCatalog, SystemSession, TableSize, analyzer_rules, rewrite};
use crate::types::PostgresTypePlanner;

#[derive(Debug)]
struct Fixture;

impl SystemSession for Fixture {
    fn user(&self) -> String {
        "postgres".into()
    }
    fn database(&self) -> String {
        "shop".into()
    }
    fn search_path(&self) -> Vec<String> {
        vec!["public".into()]
    }
    fn pid(&self) -> i32 {
        4711
    }
    fn version(&self) -> String {
        "PostgreSQL 15.8 (Chronos)".into()
    }
    fn settings(&self) -> Vec<Setting> {
        let setting = |name: &str, value: &str| Setting {
            name: name.into(),
            value: value.into(),
            default: value.into(),
            kind: "string",
            context: "user",
            ..Setting::default()
        };
        vec![setting("default_table_access_method", "heap"), setting("work_mem", "4096")]
    }
    fn table_size(&self, _table: Oid) -> TableSize {
        TableSize { live_rows: 3, table_bytes: 8192, ..TableSize::default() }
    }
}

fn column(id: u32, name: &str, ty: SqlType, not_null: bool, default: Option<&str>) -> Column {
    Column {
        id: ColumnId(id),
        name: name.into(),
        ty,
        not_null,
        default: default.map(Into::into),
        generated: None,
        identity_always: None,
        missing: None,
    }
}

fn object(name: &str, namespace: u32, relation: Relation) -> Object {
    Object {
        name: name.into(),
        namespace: Some(Oid(namespace)),
        owner: Oid::SUPERUSER,
        comments: BTreeMap::new(),
        acl: Vec::new(),
        column_acl: BTreeMap::new(),
        row_security: chronos_catalog::RowSecurity::default(),
        relation,
    }
}

fn table(columns: Vec<Column>, constraints: Vec<(u32, &str, ConstraintKind)>) -> Relation {
    let constraints = constraints
        .into_iter()
        .map(|(oid, name, kind)| Constraint::new(Oid(oid), name, kind))
        .collect();
    let next_column = columns.len() as u32 + 1;
    Relation::Table(Arc::new(TableDef {
        schema_version: 1,
        columns,
        constraints,
        options: BTreeMap::new(),
        next_column,
        periods: Vec::new(),
    }))
}

fn sequence(owned_by: Option<(u32, u32)>, ty: SqlType, max: i64) -> Relation {
    Relation::Sequence {
        start: 1,
        increment: 1,
        min: 1,
        max,
        cycle: false,
        ty,
        owned_by: owned_by.map(|(t, c)| (Oid(t), ColumnId(c))),
    }
}

fn objects() -> Objects {
    let mut objects = (*State::default().objects).clone();
    let mut superuser = (**objects.get(Oid::SUPERUSER, CommitTs(1)).expect("it exists")).clone();
    superuser.name = "postgres".into();
    objects.put(Oid::SUPERUSER, superuser, CommitTs(2));
    let mut put = |oid: u32, object: Object| objects.put(Oid(oid), object, CommitTs(10));
    let text_list = SqlType::Array(Box::new(SqlType::Text));
    let mut sensors = object(
        "sensors",
        2200,
        table(
            vec![
                column(1, "id", SqlType::Int4, true, None),
                column(2, "name", SqlType::Text, true, Some("'x'::text")),
                column(3, "location", SqlType::Varchar(Some(20)), false, None),
                column(4, "active", SqlType::Bool, false, Some("true")),
                column(5, "score", SqlType::Numeric(Some((10, 2))), false, None),
                column(6, "tags", text_list, false, None),
                column(7, "added", SqlType::Timestamptz, false, Some("now()")),
            ],
            vec![(16397, "sensors_pkey", ConstraintKind::PrimaryKey(vec![ColumnId(1)]))],
        ),
    );
    sensors.comments.insert(0, "All sensors".into());
    sensors.comments.insert(2, "Its name".into());
    put(16389, sensors);
    put(
        16399,
        object(
            "readings",
            2200,
            table(
                vec![
                    column(1, "sensor", SqlType::Int4, true, None),
                    column(2, "at", SqlType::Timestamptz, true, None),
                    column(3, "value", SqlType::Float8, false, None),
                ],
                vec![
                    (
                        16403,
                        "readings_pkey",
                        ConstraintKind::PrimaryKey(vec![ColumnId(1), ColumnId(2)]),
                    ),
                    (
                        16402,
                        "positive",
                        ConstraintKind::Check("value > 0::double precision".into()),
                    ),
                    (
                        16405,
                        "readings_sensor_fkey",
                        ConstraintKind::ForeignKey {
                            columns: vec![ColumnId(1)],
                            table: Oid(16389),
                            referenced: vec![ColumnId(1)],
                            on_delete: "NO ACTION".into(),
                            on_update: String::new(),
                            match_full: false,
                            deferrable: None,
                        },
                    ),
                ],
            ),
        ),
    );
    let index = |table: u32, column: u32, unique: bool| Relation::Index {
        table: Oid(table),
        columns: vec![ColumnId(column)],
        unique,
        method: "btree".into(),
    };
    put(16410, object("sensors_name", 2200, index(16389, 2, true)));
    put(16411, object("readings_at", 2200, index(16399, 2, false)));
    put(
        16412,
        object(
            "hot",
            2200,
            Relation::View {
                query:
                    "SELECT sensors.id,\n    sensors.name\n   FROM sensors\n  WHERE sensors.active"
                        .into(),
                columns: vec![("id".into(), SqlType::Int4), ("name".into(), SqlType::Text)],
                search_path: vec!["public".into()],
                options: std::collections::BTreeMap::new(),
            },
        ),
    );
    put(16416, object("counter", 2200, sequence(None, SqlType::Int8, i64::MAX)));
    let mut app = object("app", 0, Relation::Schema);
    app.namespace = None;
    put(16417, app);
    put(16418, object("users_id_seq", 16417, sequence(Some((16420, 1)), SqlType::Int8, i64::MAX)));
    put(
        16419,
        object(
            "users_n_seq",
            16417,
            sequence(Some((16420, 3)), SqlType::Int4, i64::from(i32::MAX)),
        ),
    );
    let mut id = column(1, "id", SqlType::Int8, true, None);
    id.identity_always = Some(true);
    put(
        16420,
        object(
            "users",
            16417,
            table(
                vec![
                    id,
                    column(2, "email", SqlType::Text, false, None),
                    column(
                        3,
                        "n",
                        SqlType::Int4,
                        true,
                        Some("nextval('app.users_n_seq'::regclass)"),
                    ),
                ],
                vec![(16426, "users_email_key", ConstraintKind::Unique(vec![ColumnId(2)]))],
            ),
        ),
    );
    objects
}

fn context_at(at: i64) -> SessionContext {
    let catalog = SystemCatalog::new(Arc::new(objects()), CommitTs(at), Arc::new(Fixture));
    let memory = Arc::new(MemoryCatalogProvider::new());
    let public = Arc::new(MemorySchemaProvider::new());
    for schema in SystemCatalog::SCHEMAS {
        let tables = Arc::new(MemorySchemaProvider::new());
        for name in catalog.table_names(schema) {
            let table = catalog.table(schema, &name).expect("a listed table is there");
            if schema == "pg_catalog" {
                public.register_table(name.clone(), Arc::clone(&table)).expect("fresh");
            }
            tables.register_table(name, table).expect("fresh");
        }
        memory.register_schema(schema, tables).expect("fresh");
    }
    memory.register_schema("public", public).expect("fresh");
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema("shop", "public")
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(1);
    config.options_mut().sql_parser.map_string_types_to_utf8view = true;
    // As `configure` has it.
    config.options_mut().execution.skip_physical_aggregate_schema_check = true;
    let mut builder = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_type_planner(Arc::new(PostgresTypePlanner));
    let mut rules = analyzer_rules();
    rules.extend(datafusion::optimizer::Analyzer::new().rules);
    *builder.analyzer_rules() = Some(rules);
    let context = SessionContext::new_with_state(builder.build());
    context.register_catalog("shop", memory);
    for function in crate::functions::all().iter().chain(&catalog.functions()) {
        context.register_udf(function.as_ref().clone());
    }
    context
}

/// Rows as `psql -At` prints them.
async fn ask(context: &SessionContext, sql: &str) -> Result<Vec<String>> {
    let mut statements =
        Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("the parser knows the statement");
    let mut statement = statements.remove(0);
    rewrite(&mut statement);
    let plan = context.state().statement_to_plan(Statement::Statement(Box::new(statement))).await?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = batch
                .columns()
                .iter()
                .map(|c| ScalarValue::try_from_array(c, row).map(|v| print(&v)))
                .collect::<Result<_>>()?;
            rows.push(cells.join("|"));
        }
    }
    Ok(rows)
}

fn print(value: &ScalarValue) -> String {
    match value {
        v if v.is_null() => String::new(),
        ScalarValue::Boolean(Some(v)) => if *v { "t" } else { "f" }.into(),
        ScalarValue::List(list) => {
            let items = list.value(0);
            let texts: Vec<String> = (0..items.len())
                .map(|i| {
                    ScalarValue::try_from_array(&items, i)
                        .map_or_else(|e| e.to_string(), |v| print(&v))
                })
                .collect();
            format!("{{{}}}", texts.join(","))
        }
        other if other.data_type() == DataType::Null => String::new(),
        other => other.to_string(),
    }
}

/// The statements of a file, by the comment above each.
fn statements(text: &str) -> Vec<(String, String)> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            let paragraph = paragraph.trim();
            let (comment, sql) = paragraph.strip_prefix("-- ")?.split_once('\n')?;
            Some((comment.to_owned(), sql.to_owned()))
        })
        .collect()
}

async fn all_run(text: &str, name: &str) {
    let failures = failures(text, name).await;
    assert!(failures.is_empty(), "{} fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

async fn failures(text: &str, name: &str) -> Vec<String> {
    let context = context_at(20);
    let mut failures = Vec::new();
    let mut answers = String::new();
    for (command, sql) in statements(text) {
        let (sql, expected) = match sql.split_once("\n-- rows: ") {
            Some((sql, rest)) => (
                sql.to_owned(),
                Some(rest.lines().skip(1).map(|l| l[4..].to_owned()).collect::<Vec<_>>()),
            ),
            None => (sql, None),
        };
        match ask(&context, &sql).await {
            Ok(rows) if expected.as_ref().is_some_and(|e| *e != rows) => {
                failures.push(format!("{command}: answers {rows:?}, not {expected:?}\n{sql}"));
            }
            Ok(rows) => answers += &format!("### {command}\n{sql}\n=> {}\n\n", rows.join("\n=> ")),
            Err(e) => {
                let message: String = e.to_string().chars().take(300).collect();
                failures.push(format!("{command}: {message}\n{sql}"));
            }
        }
    }
    if let Ok(path) = std::env::var("CHRONOS_ANSWERS") {
        let _ = std::fs::write(format!("{path}.{name}"), answers);
    }
    failures
}

#[tokio::test]
async fn every_statement_of_psql_15_runs() {
    all_run(include_str!("data/psql15.sql"), "psql").await;
}

#[tokio::test]
async fn every_statement_of_psql_15_completion_runs() {
    all_run(include_str!("data/completion15.sql"), "completion").await;
}

#[tokio::test]
async fn every_statement_of_client_libraries_runs() {
    all_run(include_str!("data/clients.sql"), "clients").await;
}

#[tokio::test]
async fn every_statement_of_pg_dump_15_runs() {
    all_run(include_str!("data/pg_dump15.sql"), "pg_dump").await;
}

#[tokio::test]
async fn the_catalog_is_read_as_of_its_instant() {
    let sql = "SELECT count(*) FROM pg_class WHERE relname = 'sensors'";
    assert_eq!(ask(&context_at(9), sql).await.expect("it runs"), ["0"]);
    assert_eq!(ask(&context_at(10), sql).await.expect("it runs"), ["1"]);
}

#[tokio::test]
async fn a_correlated_subquery_of_two_rows_is_an_error() {
    let sql = "SELECT (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid) FROM pg_class c \
               WHERE c.relname = 'sensors'";
    let error = ask(&context_at(20), sql).await.expect_err("sensors has seven columns");
    assert_eq!(crate::Error::find(&error).map(crate::Error::sqlstate), Some("21000"));
}

#[tokio::test]
async fn a_name_of_nothing_is_no_regclass() {
    let error = ask(&context_at(20), "SELECT 'nosuch'::regclass").await.expect_err("no such table");
    assert_eq!(crate::Error::find(&error).map(crate::Error::sqlstate), Some("42P01"));
}

#[tokio::test]
async fn reg_types_go_both_ways() {
    let context = context_at(20);
    let sql = "SELECT 'sensors'::regclass, 'sensors'::regclass::oid, 16420::regclass::text, \
               'int4'::regtype, 'app'::regnamespace, c.relname FROM pg_class c \
               WHERE c.oid = 'sensors'::regclass";
    let rows = ask(&context, sql).await.expect("it runs");
    assert_eq!(rows, ["sensors|16389|app.users|integer|app|sensors"]);
}

#[tokio::test]
async fn a_key_of_two_columns_prints_as_a_vector_and_unnests_as_a_list() {
    let context = context_at(20);
    let sql = "SELECT i.indkey FROM pg_index i WHERE i.indexrelid = 'readings_pkey'::regclass";
    assert_eq!(ask(&context, sql).await.expect("it runs"), ["1 2"]);
    let sql = "SELECT a.attname FROM (SELECT indrelid, unnest(indkey) AS k FROM pg_index \
               WHERE indexrelid = 'readings_pkey'::regclass) i \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.k ORDER BY a.attnum";
    assert_eq!(ask(&context, sql).await.expect("it runs"), ["sensor", "at"]);
}
