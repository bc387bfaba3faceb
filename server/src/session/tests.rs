//! Statements on an engine in a directory of the test's own.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;

use super::api::{Executor, Response, TransactionStatus};
use super::{Session, Sessions};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::PgResult;
use crate::pgwire::listener::StartupParameters;

mod writes;

struct World {
    sessions: Sessions,
    directory: PathBuf,
}

impl World {
    async fn new() -> World {
        let directory =
            std::env::temp_dir().join(format!("chronos-session-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&directory).unwrap();
        let config = Config { data_dir: directory.clone(), ..Config::default() };
        let engine = Engine::open(&config).await.unwrap();
        World { sessions: Sessions::new(Arc::clone(&engine)), directory }
    }

    fn session(&self) -> Session {
        let startup = StartupParameters {
            user: "chronos".to_owned(),
            database: "chronos".to_owned(),
            ..StartupParameters::default()
        };
        self.sessions.session(startup).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What the engine still writes meanwhile is the system's to clean up.
        let _ignored = std::fs::remove_dir_all(&self.directory);
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            lines.push(values.join("|"));
        }
    }
    lines
}

/// Carries out statements and gives the last one's rows, or its tag.
async fn run(session: &mut Session, sql: &str) -> PgResult<Vec<String>> {
    run_with(session, sql, Vec::new()).await
}

async fn run_with(
    session: &mut Session,
    sql: &str,
    parameters: Vec<ScalarValue>,
) -> PgResult<Vec<String>> {
    let mut answer = Vec::new();
    for statement in session.parse(sql)? {
        answer = match session.execute(&statement, parameters.clone()).await? {
            Response::Complete(tag) => vec![tag],
            Response::Rows { rows, .. } => match rows.try_collect::<Vec<_>>().await {
                Ok(batches) => lines(&batches),
                Err(error) => {
                    session.failed();
                    return Err(error);
                }
            },
            _ => Vec::new(),
        };
    }
    Ok(answer)
}

async fn code(session: &mut Session, sql: &str) -> &'static str {
    run(session, sql).await.unwrap_err().code
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_inserted_updated_and_deleted() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v int DEFAULT 7, s text)").await.unwrap();
    let tag = run(&mut s, "INSERT INTO t (id, s) VALUES (1, 'a'), (2, 'b'), (3, upper('c'))").await;
    assert_eq!(tag.unwrap(), ["INSERT 0 3"]);
    let tag =
        run(&mut s, "UPDATE t SET v = v + 1 WHERE id IN (SELECT id FROM t WHERE id > 1)").await;
    assert_eq!(tag.unwrap(), ["UPDATE 2"]);
    assert_eq!(run(&mut s, "DELETE FROM t WHERE id = 3 RETURNING s").await.unwrap(), ["C"]);
    let rows = run(&mut s, "SELECT id, v, s, _ov FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, ["1|7|a|0", "2|8|b|1"]);
    assert_eq!(run(&mut s, "SELECT count(*) FROM t FOR SYSTEM_TIME ALL").await.unwrap(), ["5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_can_move_up_by_one() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)")
        .await
        .unwrap();
    run(&mut s, "UPDATE t SET id = id + 1").await.unwrap();
    assert_eq!(run(&mut s, "SELECT id FROM t ORDER BY id").await.unwrap(), ["2", "3", "4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn constraints_answer_their_sqlstates_and_leave_no_row() {
    let world = World::new().await;
    let mut s = world.session();
    let create = "CREATE TABLE t (id int PRIMARY KEY, s varchar(2) NOT NULL, CHECK (id < 10))";
    run(&mut s, create).await.unwrap();
    run(&mut s, "INSERT INTO t VALUES (1, 'a')").await.unwrap();
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (2, 'b'), (1, 'c')").await, "23505");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (2, NULL)").await, "23502");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (20, 'b')").await, "23514");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (2, 'abc')").await, "22001");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES ('x', 'a')").await, "22P02");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (1, 2, 3)").await, "42601");
    assert_eq!(code(&mut s, "UPDATE t SET id = 50").await, "23514");
    assert_eq!(run(&mut s, "SELECT * FROM t").await.unwrap(), ["1|a"]);
    let tag = run(&mut s, "INSERT INTO t VALUES (1, 'z'), (2, 'b') ON CONFLICT DO NOTHING").await;
    assert_eq!(tag.unwrap(), ["INSERT 0 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_fails_as_a_whole_and_goes_back_to_a_savepoint() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY)").await.unwrap();
    run(&mut s, "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a; INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (1)").await, "23505");
    assert_eq!(s.status(), TransactionStatus::Failed);
    assert_eq!(code(&mut s, "SELECT 1").await, "25P02");
    run(&mut s, "ROLLBACK TO a").await.unwrap();
    assert_eq!(run(&mut s, "COMMIT").await.unwrap(), ["COMMIT"]);
    assert_eq!(run(&mut s, "SELECT id FROM t").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_takes_back_rows_definitions_and_settings() {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "BEGIN; CREATE TABLE t (id int); INSERT INTO t VALUES (1); SET TimeZone = 'Asia/Tokyo'",
    )
    .await
    .unwrap();
    assert_eq!(run(&mut s, "SELECT id FROM t").await.unwrap(), ["1"]);
    run(&mut s, "ROLLBACK").await.unwrap();
    assert_eq!(code(&mut s, "SELECT id FROM t").await, "42P01");
    assert_eq!(run(&mut s, "SHOW TimeZone").await.unwrap(), ["UTC"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_as_of_an_instant_reads_it_and_cannot_write() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    let t = run(&mut s, "SELECT chronos.last_commit_time()").await.unwrap().remove(0);
    run(&mut s, "DELETE FROM t").await.unwrap();
    assert_eq!(run(&mut s, "SELECT count(*) FROM t").await.unwrap(), ["0"]);
    run(&mut s, &format!("SET chronos.as_of = '{t}'")).await.unwrap();
    assert_eq!(run(&mut s, "SELECT count(*) FROM t").await.unwrap(), ["1"]);
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (2)").await, "25006");
    assert_eq!(code(&mut s, "SET chronos.as_of = '2999-01-01'").await, "22023");
    run(&mut s, "RESET chronos.as_of").await.unwrap();
    assert_eq!(run(&mut s, "SELECT count(*) FROM t").await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_get_the_types_of_the_columns_they_meet() {
    use chronos_catalog::SqlType;
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id bigint, s varchar(5), d date)").await.unwrap();
    for sql in ["INSERT INTO t VALUES ($1, $2, $3)", "UPDATE t SET id = $1, s = $2, d = $3"] {
        let statement = s.parse(sql).unwrap().remove(0);
        let description = s.describe(&statement, &[]).await.unwrap();
        let types = [SqlType::Int8, SqlType::Varchar(Some(5)), SqlType::Date];
        assert_eq!(description.parameters, types, "{sql}");
        assert!(description.fields.is_none());
    }
    let statement = s.parse("SELECT s AS name FROM t WHERE id = $1").unwrap().remove(0);
    let description = s.describe(&statement, &[]).await.unwrap();
    assert_eq!(description.parameters, [SqlType::Int8]);
    assert_eq!(description.fields.unwrap()[0].name, "name");
    let values = vec![
        ScalarValue::Int64(Some(5)),
        ScalarValue::Utf8View(Some("x".to_owned())),
        ScalarValue::Date32(Some(0)),
    ];
    run_with(&mut s, "INSERT INTO t VALUES ($1, $2, $3)", values).await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM t").await.unwrap(), ["5|x|1970-01-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_can_be_added_renamed_and_dropped_and_the_past_stays() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").await.unwrap();
    let t = run(&mut s, "SELECT chronos.last_commit_time()").await.unwrap().remove(0);
    run(&mut s, "ALTER TABLE t ADD COLUMN v int NOT NULL DEFAULT 5").await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM t").await.unwrap(), ["1|5"]);
    run(&mut s, "ALTER TABLE t RENAME COLUMN v TO w").await.unwrap();
    assert_eq!(run(&mut s, "SELECT w FROM t").await.unwrap(), ["5"]);
    run(&mut s, "ALTER TABLE t DROP COLUMN w").await.unwrap();
    assert_eq!(code(&mut s, "SELECT w FROM t").await, "42703");
    let past = format!("SELECT * FROM t FOR SYSTEM_TIME AS OF '{t}'");
    assert_eq!(run(&mut s, &past).await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_of_the_user_is_never_an_internal_error() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int)").await.unwrap();
    for (sql, expected) in [
        ("SELECT * FROM nope", "42P01"),
        ("SELECT nope FROM t", "42703"),
        ("SELECT nope()", "42883"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::int", "22P02"),
        ("CREATE TABLE t (id int)", "42P07"),
        ("CREATE TABLE u (a int, A int)", "42701"),
        ("CREATE TABLE u (a int) WITH (nope = 1)", "22023"),
        ("CREATE TABLE no.u (a int)", "3F000"),
        ("DROP TABLE nope", "42P01"),
        ("INSERT INTO t (nope) VALUES (1)", "42703"),
        ("SET nope = 1", "42704"),
        ("EXECUTE nope", "26000"),
        ("FETCH 1 FROM nope", "34000"),
        ("SAVEPOINT a", "25P01"),
        ("PREPARE TRANSACTION 'a'", "0A000"),
    ] {
        assert_eq!(code(&mut s, sql).await, expected, "{sql}");
    }
}
