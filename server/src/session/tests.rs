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

mod by_key;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_an_instant_is_timestamptz() {
    use chronos_catalog::SqlType;
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    let t = run(&mut s, "SELECT chronos.last_commit_time()").await.unwrap().remove(0);
    let micros = run(&mut s, "SELECT (extract(epoch from _system_from) * 1000000)::bigint FROM t")
        .await
        .unwrap()
        .remove(0);
    run(&mut s, "DELETE FROM t").await.unwrap();
    let sql = "SELECT a.id FROM t FOR SYSTEM_TIME AS OF $1 a \
               JOIN t FOR SYSTEM_TIME AS OF $2 b ON a.id = b.id WHERE a.id = $3";
    let statement = s.parse(sql).unwrap().remove(0);
    let description = s.describe(&statement, &[]).await.unwrap();
    let types = [SqlType::Timestamptz, SqlType::Timestamptz, SqlType::Int4];
    assert_eq!(description.parameters, types);
    let instant =
        ScalarValue::TimestampMicrosecond(Some(micros.parse().unwrap()), Some("UTC".into()));
    let values = vec![instant.clone(), instant, ScalarValue::Int32(Some(1))];
    assert_eq!(run_with(&mut s, sql, values).await.unwrap(), ["1"]);

    let sql = "SELECT id FROM t FOR SYSTEM_TIME AS OF $1";
    let statement = s.parse(sql).unwrap().remove(0);
    let description = s.describe(&statement, &[Some(SqlType::Text)]).await.unwrap();
    assert_eq!(description.parameters, [SqlType::Text]);
    let values = vec![ScalarValue::Utf8View(Some(t))];
    assert_eq!(run_with(&mut s, sql, values).await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_raises_the_version_of_a_row_once() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)")
        .await
        .unwrap();
    run(&mut s, "BEGIN; UPDATE t SET v = 2; UPDATE t SET v = 3; COMMIT").await.unwrap();
    assert_eq!(run(&mut s, "SELECT v, _ov FROM t").await.unwrap(), ["3|1"]);
    run(&mut s, "BEGIN; INSERT INTO t VALUES (2, 0); UPDATE t SET v = 4; COMMIT").await.unwrap();
    let rows = run(&mut s, "SELECT id, v, _ov FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, ["1|4|2", "2|4|0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_without_a_value_is_42p02() {
    let world = World::new().await;
    let mut s = world.session();
    for sql in ["SELECT $1::int", "SELECT 1 WHERE $1", "CREATE TABLE t AS SELECT $1"] {
        let error = run(&mut s, sql).await.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), ("42P02", "there is no parameter $1"));
    }
    run(&mut s, "PREPARE p AS SELECT $1::int + $2").await.unwrap();
    assert_eq!(run(&mut s, "EXECUTE p(1, 2)").await.unwrap(), ["3"]);
    assert_eq!(code(&mut s, "EXECUTE p(1)").await, "42601");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_past_cannot_be_locked() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    let past = "SELECT * FROM t FOR SYSTEM_TIME AS OF now() FOR UPDATE";
    assert_eq!(code(&mut s, past).await, "25006");
    let of = "SELECT n.id FROM t n, t AS OF now() o FOR UPDATE OF n";
    assert_eq!(run(&mut s, of).await.unwrap(), ["1"]);
    assert_eq!(run(&mut s, "SELECT * FROM t FOR UPDATE").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_of_a_cast_has_the_type_it_is_cast_to() {
    use chronos_catalog::SqlType;
    let world = World::new().await;
    let mut s = world.session();
    for (sql, given, expected) in [
        ("SELECT $1::numeric(12,2)", SqlType::Numeric(None), SqlType::Numeric(Some((12, 2)))),
        ("SELECT $1::text", SqlType::Uuid, SqlType::Text),
        ("SELECT $1::varchar::text", SqlType::Jsonb, SqlType::Text),
    ] {
        let statement = s.parse(sql).unwrap().remove(0);
        let description = s.describe(&statement, &[Some(given)]).await.unwrap();
        assert_eq!(description.fields.unwrap()[0].ty, expected, "{sql}");
    }
    let sql = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); \
               SELECT x, sum(y) FROM (SELECT id::text x, id::bigint y FROM t) d GROUP BY x";
    assert_eq!(run(&mut s, sql).await.unwrap(), ["1|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_keeps_the_instants_in_its_query() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    let first = run(&mut s, "SELECT chronos.last_commit_time()").await.unwrap().remove(0);
    run(&mut s, "UPDATE t SET id = 2").await.unwrap();
    let create = format!("CREATE VIEW v AS SELECT o.id, n.id AS now FROM t AS OF '{first}' o, t n");
    run(&mut s, &create).await.unwrap();
    let second = run(&mut s, "SELECT chronos.last_commit_time()").await.unwrap().remove(0);
    run(&mut s, "UPDATE t SET id = 3").await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM v").await.unwrap(), ["1|3"]);
    let past = format!("SELECT * FROM v FOR SYSTEM_TIME AS OF '{second}'");
    assert_eq!(run(&mut s, &past).await.unwrap(), ["1|2"]);
    let text = run(&mut s, "SELECT pg_get_viewdef('v'::regclass)").await.unwrap().remove(0);
    assert!(text.contains(&format!("AS OF '{first}'")), "{text}");
    assert_eq!(code(&mut s, "DROP TABLE t").await, "2BP01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_table_can_be_asked_for_in_every_way() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)").await.unwrap();
    for sql in
        ["TABLE t", "SELECT * FROM ONLY t", "SELECT * FROM t *", "SELECT * FROM (TABLE public.t) d"]
    {
        assert_eq!(run(&mut s, sql).await.unwrap(), ["1"], "{sql}");
    }
}

/// Carries out a statement and gives the instant of its commit as text.
async fn at(session: &mut Session, sql: &str) -> String {
    run(session, sql).await.unwrap();
    run(session, "SELECT chronos.last_commit_time()").await.unwrap().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_commits_tells_who_why_and_what() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v int)").await.unwrap();
    run(&mut s, "SET application_name = 'tool'").await.unwrap();
    run(&mut s, "BEGIN; SET LOCAL chronos.actor = 'alice'; SET LOCAL chronos.reason = 'why'; INSERT INTO t VALUES (1, 1), (2, 2); COMMIT").await.unwrap();
    run(&mut s, "UPDATE t SET v = 3 WHERE id = 1; DELETE FROM t WHERE id = 2").await.unwrap();
    let sql = "SELECT commit_number, user_name, application_name, actor, reason, tables, \
               rows_written, rows_ended, definitions FROM chronos.commits ORDER BY commit_number";
    let rows = run(&mut s, sql).await.unwrap();
    assert_eq!(
        rows,
        [
            "0|chronos||NULL|NULL|NULL|0|0|1",
            "1|chronos|tool|alice|why|[public.t]|2|0|0",
            "2|chronos|tool|NULL|NULL|[public.t]|1|1|0",
            "3|chronos|tool|NULL|NULL|[public.t]|0|1|0",
        ]
    );
    let same = "SELECT count(*) FROM chronos.commits \
                WHERE pg_xact_commit_timestamp(commit_number) = commit_time";
    assert_eq!(run(&mut s, same).await.unwrap(), ["4"]);
    let last =
        "SELECT xid, \"timestamp\" = chronos.last_commit_time() FROM pg_last_committed_xact()";
    assert_eq!(run(&mut s, last).await.unwrap(), ["3|true"]);
    let counters = "SELECT table_name, created, updated, deleted FROM chronos.get_totals('t')";
    assert_eq!(run(&mut s, counters).await.unwrap(), ["t|2|1|1"]);
    assert_eq!(run(&mut s, "SELECT chronos.table_version('t')").await.unwrap(), ["2"]);
    let old = "SELECT id, v FROM t FOR VERSION AS OF 0 ORDER BY id";
    assert_eq!(run(&mut s, old).await.unwrap(), ["1|1", "2|2"]);
    assert_eq!(code(&mut s, "SELECT * FROM t FOR VERSION AS OF 9").await, "22023");
    assert_eq!(code(&mut s, "INSERT INTO chronos._commits DEFAULT VALUES").await, "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_difference_between_two_instants_is_by_key() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let a = at(&mut s, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await;
    run(&mut s, "UPDATE t SET v = 'x' WHERE id = 1; UPDATE t SET v = v WHERE id = 3")
        .await
        .unwrap();
    run(&mut s, "ALTER TABLE t RENAME TO u").await.unwrap();
    let b = at(&mut s, "DELETE FROM u WHERE id = 2; INSERT INTO u VALUES (4, 'd')").await;
    run(&mut s, "DELETE FROM u").await.unwrap();
    let sql = format!(
        "SELECT change, key, before, after FROM chronos.diff('u', '{a}', '{b}') \
         ORDER BY (key->>'id')::int"
    );
    assert_eq!(
        run(&mut s, &sql).await.unwrap(),
        [
            r#"update|{"id": 1}|{"v": "a", "id": 1}|{"v": "x", "id": 1}"#,
            r#"delete|{"id": 2}|{"v": "b", "id": 2}|NULL"#,
            r#"insert|{"id": 4}|NULL|{"v": "d", "id": 4}"#,
        ]
    );
    let future = "SELECT * FROM chronos.diff('u', '2026-01-01', now() + '1 day'::interval)";
    assert_eq!(code(&mut s, future).await, "22023");
    assert_eq!(code(&mut s, "SELECT * FROM chronos.diff('nothing', now())").await, "42P01");
    run(&mut s, "CREATE TABLE k (v int); INSERT INTO k VALUES (1), (1)").await.unwrap();
    let c = run(&mut s, "SELECT chronos.last_commit_time()").await.unwrap().remove(0);
    run(&mut s, "DELETE FROM k; INSERT INTO k VALUES (2)").await.unwrap();
    let sql = format!("SELECT change, before, after FROM chronos.diff('k', '{c}') ORDER BY 1, 2");
    let rows = run(&mut s, &sql).await.unwrap();
    assert_eq!(
        rows,
        [r#"delete|{"v": 1}|NULL"#, r#"delete|{"v": 1}|NULL"#, r#"insert|NULL|{"v": 2}"#]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rows_history_tells_each_change_and_who_made_it() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v int); SET chronos.actor = 'ann'")
        .await
        .unwrap();
    run(&mut s, "INSERT INTO t VALUES (1, 1), (2, 2)").await.unwrap();
    run(&mut s, "SET chronos.actor = 'bob'; UPDATE t SET v = 5 WHERE id = 1").await.unwrap();
    run(&mut s, "SET chronos.actor = 'cid'; DELETE FROM t WHERE id = 1").await.unwrap();
    let sql = "SELECT op, _ov, \"row\", actor, system_to IS NULL FROM chronos.history('t', 1) \
               ORDER BY system_from";
    assert_eq!(
        run(&mut s, sql).await.unwrap(),
        [
            r#"INSERT|0|{"v": 1, "id": 1}|ann|false"#,
            r#"UPDATE|1|{"v": 5, "id": 1}|bob|false"#,
            "DELETE|NULL|NULL|cid|true",
        ]
    );
    let blame = "SELECT key, _ov, actor FROM chronos.blame('t')";
    assert_eq!(run(&mut s, blame).await.unwrap(), [r#"{"id": 2}|0|ann"#]);
    assert_eq!(code(&mut s, "SELECT * FROM chronos.history('t', 1, 2)").await, "42883");
    let with = vec![ScalarValue::Int32(Some(2))];
    let rows = run_with(&mut s, "SELECT op FROM chronos.history('t', $1)", with).await.unwrap();
    assert_eq!(rows, ["INSERT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_table_has_its_rows_of_then_as_new_versions() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let a = at(&mut s, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await;
    run(&mut s, "UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2").await.unwrap();
    let b = at(&mut s, "INSERT INTO t VALUES (4, 'd')").await;
    let dry = format!("RESTORE TABLE t TO SYSTEM TIME '{a}' DRY RUN");
    let row = run(&mut s, &dry).await.unwrap().remove(0);
    assert!(row.starts_with("t|0|") && row.ends_with("|3|0"), "{row}");
    let rows = "SELECT id, v, _ov FROM t ORDER BY id";
    assert_eq!(run(&mut s, rows).await.unwrap(), ["1|x|1", "3|c|0", "4|d|0"]);
    let row =
        run(&mut s, &format!("RESTORE TABLE t TO SYSTEM TIME '{a}'")).await.unwrap().remove(0);
    assert!(row.ends_with("|3|3"), "{row}");
    assert_eq!(run(&mut s, rows).await.unwrap(), ["1|a|2", "2|b|1", "3|c|0"]);
    let row = run(&mut s, "RESTORE TABLE t TO VERSION 3").await.unwrap().remove(0);
    assert!(row.ends_with("|3|3"), "{row}");
    assert_eq!(run(&mut s, rows).await.unwrap(), ["1|x|3", "3|c|0", "4|d|1"]);
    let sql = format!("RESTORE ROW t WHERE id = 2 TO SYSTEM TIME '{a}'");
    let row = run(&mut s, &sql).await.unwrap().remove(0);
    assert!(row.starts_with(r#"insert|{"v": "b", "id": 2}|2|"#), "{row}");
    let past = format!("SELECT id, v FROM t AS OF '{b}' ORDER BY id");
    assert_eq!(run(&mut s, &past).await.unwrap(), ["1|x", "3|c", "4|d"]);
    assert_eq!(code(&mut s, "RESTORE TABLE t TO VERSION 99").await, "22023");
    assert_eq!(code(&mut s, "BEGIN READ ONLY; RESTORE TABLE t TO VERSION 0").await, "25006");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_reverted_unless_a_later_one_changed_its_rows() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (x int)")
        .await
        .unwrap();
    run(&mut s, "INSERT INTO t VALUES (1, 'a'), (2, 'b')").await.unwrap();
    run(&mut s, "BEGIN; UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO u VALUES (7); COMMIT").await.unwrap();
    let number = "SELECT max(commit_number) FROM chronos.commits";
    let number = run(&mut s, number).await.unwrap().remove(0);
    let revert = format!("REVERT TRANSACTION {number}");
    run(&mut s, "UPDATE t SET v = 'later' WHERE id = 1").await.unwrap();
    assert_eq!(code(&mut s, &revert).await, "40001");
    let restored = run(&mut s, "RESTORE TABLE t TO VERSION 1").await.unwrap();
    assert_eq!(restored.len(), 1);
    // It was written again meanwhile: still a conflict.
    assert_eq!(code(&mut s, &revert).await, "40001");
    run(&mut s, "BEGIN; UPDATE t SET v = 'y' WHERE id = 1; INSERT INTO u VALUES (8); COMMIT")
        .await
        .unwrap();
    let n = run(&mut s, "SELECT max(commit_number) FROM chronos.commits").await.unwrap().remove(0);
    let row = run(&mut s, &format!("REVERT TRANSACTION {n}")).await.unwrap().remove(0);
    assert!(row.ends_with("|2|1|1"), "{row}");
    assert_eq!(run(&mut s, "SELECT id, v FROM t").await.unwrap(), ["1|x"]);
    assert_eq!(run(&mut s, "SELECT x FROM u").await.unwrap(), ["7"]);
    assert_eq!(code(&mut s, "REVERT TRANSACTION 0").await, "0A000");
    assert_eq!(code(&mut s, "REVERT TRANSACTION 12345").await, "22023");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undropped_table_has_its_rows_and_its_gap() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id serial PRIMARY KEY, v text); CREATE INDEX i ON t (v)")
        .await
        .unwrap();
    run(&mut s, "INSERT INTO t (v) VALUES ('a')").await.unwrap();
    let gap = at(&mut s, "DROP TABLE t").await;
    run(&mut s, "UNDROP TABLE t").await.unwrap();
    run(&mut s, "INSERT INTO t (v) VALUES ('b')").await.unwrap();
    assert_eq!(run(&mut s, "SELECT count(*) FROM t").await.unwrap(), ["2"]);
    assert_eq!(code(&mut s, &format!("SELECT * FROM t AS OF '{gap}'")).await, "42P01");
    assert_eq!(code(&mut s, "UNDROP TABLE t").await, "42P07");
    assert_eq!(code(&mut s, "UNDROP TABLE nothing").await, "42P01");
    run(&mut s, "DROP TABLE t; CREATE TABLE t (x int)").await.unwrap();
    assert_eq!(code(&mut s, "UNDROP TABLE t").await, "42P07");
    run(&mut s, "UNDROP TABLE t AS old").await.unwrap();
    assert_eq!(run(&mut s, "SELECT v FROM old ORDER BY id").await.unwrap(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_keeps_names_and_columns_and_views_go_along() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, a int, CHECK (a > 0))").await.unwrap();
    run(&mut s, "CREATE VIEW v AS SELECT t.id, t.a + 1 AS b, a FROM t").await.unwrap();
    let before = at(&mut s, "INSERT INTO t VALUES (1, 5)").await;
    run(&mut s, "ALTER TABLE t RENAME COLUMN a TO c").await.unwrap();
    run(&mut s, "ALTER TABLE t RENAME TO u").await.unwrap();
    assert_eq!(run(&mut s, "SELECT c FROM u").await.unwrap(), ["5"]);
    assert_eq!(run(&mut s, "SELECT * FROM v").await.unwrap(), ["1|6|5"]);
    assert_eq!(code(&mut s, "SELECT * FROM t").await, "42P01");
    assert_eq!(code(&mut s, "INSERT INTO u VALUES (2, 0)").await, "23514");
    let past = format!("SELECT a FROM t AS OF '{before}'");
    assert_eq!(run(&mut s, &past).await.unwrap(), ["5"]);
    let past = format!("SELECT * FROM v AS OF '{before}'");
    assert_eq!(run(&mut s, &past).await.unwrap(), ["1|6|5"]);
    assert_eq!(code(&mut s, &format!("SELECT c FROM t AS OF '{before}'")).await, "42703");
    run(&mut s, "SET chronos.as_of_schema = current").await.unwrap();
    let present = format!("SELECT c FROM u AS OF '{before}'");
    assert_eq!(run(&mut s, &present).await.unwrap(), ["5"]);
    run(&mut s, "RESET chronos.as_of_schema; CREATE SCHEMA x").await.unwrap();
    run(&mut s, "ALTER TABLE u SET SCHEMA x; ALTER VIEW v RENAME TO w").await.unwrap();
    assert_eq!(run(&mut s, "SELECT b FROM w").await.unwrap(), ["6"]);
    assert_eq!(run(&mut s, "SELECT id FROM x.u").await.unwrap(), ["1"]);
    assert_eq!(code(&mut s, "ALTER SCHEMA x RENAME TO y").await, "0A000");
    run(&mut s, "DROP VIEW w; ALTER SCHEMA x RENAME TO y").await.unwrap();
    assert_eq!(run(&mut s, "SELECT id FROM y.u").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_added_to_tables_with_rows_in_memory_and_in_files() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        .await
        .unwrap();
    s.shared.engine.flush_all().await.unwrap();
    run(&mut s, "INSERT INTO t VALUES (3, 'b')").await.unwrap();
    assert_eq!(code(&mut s, "ALTER TABLE t ADD UNIQUE (v)").await, "23505");
    assert_eq!(code(&mut s, "CREATE UNIQUE INDEX i ON t (v)").await, "23505");
    run(&mut s, "ALTER TABLE t ADD PRIMARY KEY (id)").await.unwrap();
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (1, 'x')").await, "23505");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (3, 'x')").await, "23505");
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (NULL, 'x')").await, "23502");
    assert_eq!(run(&mut s, "SELECT v FROM t WHERE id = 1").await.unwrap(), ["a"]);
    run(&mut s, "UPDATE t SET v = 'c' WHERE id = 3; CREATE UNIQUE INDEX i ON t (v)").await.unwrap();
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (4, 'a')").await, "23505");
    run(&mut s, "ALTER INDEX i RENAME TO j; ALTER TABLE t DROP CONSTRAINT j").await.unwrap();
    run(&mut s, "INSERT INTO t VALUES (4, 'a')").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_takes_another_type_and_the_past_keeps_the_old_one() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let before = at(&mut s, "INSERT INTO t VALUES (1, '10'), (2, '20')").await;
    run(&mut s, "ALTER TABLE t ALTER COLUMN v TYPE int USING v::int + 1").await.unwrap();
    assert_eq!(
        run(&mut s, "SELECT id, v * 2, _ov FROM t ORDER BY id").await.unwrap(),
        ["1|22|1", "2|42|1"]
    );
    let past = format!("SELECT v || 'x' FROM t AS OF '{before}' ORDER BY id");
    assert_eq!(run(&mut s, &past).await.unwrap(), ["10x", "20x"]);
    assert_eq!(code(&mut s, "INSERT INTO t VALUES (2, 1)").await, "23505");
    run(&mut s, "BEGIN; INSERT INTO t VALUES (3, 3); ALTER TABLE t ADD COLUMN w int NOT NULL DEFAULT 9; COMMIT").await.unwrap();
    assert_eq!(
        run(&mut s, "SELECT id, w FROM t ORDER BY id").await.unwrap(),
        ["1|9", "2|9", "3|9"]
    );
    assert_eq!(code(&mut s, "ALTER TABLE t ALTER COLUMN v TYPE int USING v / 0").await, "22012");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_owners_and_grants_are_kept() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int); CREATE ROLE ann LOGIN; CREATE ROLE staff").await.unwrap();
    run(&mut s, "GRANT SELECT, INSERT ON t TO ann; GRANT ALL ON SCHEMA public TO staff")
        .await
        .unwrap();
    let sql =
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname IN ('ann', 'staff') ORDER BY 1";
    assert_eq!(run(&mut s, sql).await.unwrap(), ["ann|true", "staff|false"]);
    let sql = "SELECT has_table_privilege('ann', 't', 'SELECT'), has_table_privilege('ann', 't', 'DELETE')";
    assert_eq!(run(&mut s, sql).await.unwrap(), ["true|false"]);
    assert_eq!(code(&mut s, "DROP ROLE ann").await, "2BP01");
    run(&mut s, "REVOKE ALL ON t FROM ann; ALTER TABLE t OWNER TO staff; DROP ROLE ann")
        .await
        .unwrap();
    let sql = "SELECT tableowner FROM pg_tables WHERE tablename = 't'";
    assert_eq!(run(&mut s, sql).await.unwrap(), ["staff"]);
    assert_eq!(code(&mut s, "CREATE ROLE staff").await, "42710");
    assert_eq!(code(&mut s, "GRANT SELECT ON t TO nobody").await, "42704");
    let md5 = "CREATE ROLE p PASSWORD 'md5d41d8cd98f00b204e9800998ecf8427e'";
    assert_eq!(code(&mut s, md5).await, "0A000");
}
