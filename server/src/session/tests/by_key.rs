//! Statements that a key answers are compiled once, and answer what the planner would.

use chronos_catalog::SqlType;

use super::*;
use crate::session::session::Prepared;

async fn prepare(session: &mut Session, sql: &str) -> Prepared {
    let statement = session.parse(sql).unwrap().pop().unwrap();
    session.describe(&statement, &[]).await.unwrap();
    statement
}

async fn execute(
    session: &mut Session,
    statement: &Prepared,
    parameters: &[ScalarValue],
) -> PgResult<Vec<String>> {
    match session.execute(statement, parameters.to_vec()).await? {
        Response::Complete(tag) => Ok(vec![tag]),
        Response::Rows { rows, .. } => Ok(lines(&rows.try_collect::<Vec<_>>().await?)),
        _ => Ok(Vec::new()),
    }
}

fn int(n: i32) -> ScalarValue {
    ScalarValue::Int32(Some(n))
}

async fn world() -> (World, Session) {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, n int, u text UNIQUE, at timestamptz);
         INSERT INTO t VALUES (1, 10, 'a', '2026-01-01 00:00Z'), (2, 20, 'b', NULL), (3, 30, NULL, NULL)",
    )
    .await
    .unwrap();
    (world, s)
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_with_a_whole_key_are_compiled_and_others_are_not() {
    let (_world, mut s) = world().await;
    for (sql, parameters, compiled, answer) in [
        ("SELECT n FROM t WHERE id = $1", vec![int(2)], true, vec!["20"]),
        ("SELECT n FROM t WHERE id = $1", vec![ScalarValue::Int32(None)], true, vec![]),
        (
            "SELECT * FROM t AS x WHERE x.u = $1",
            vec![ScalarValue::from("b")],
            true,
            vec!["2|20|b|NULL"],
        ),
        ("SELECT id + $2 FROM t WHERE $1 = id AND n > 5", vec![int(1), int(7)], true, vec!["8"]),
        ("SELECT id FROM t WHERE id = 3 AND n > 30", vec![], true, vec![]),
        ("SELECT id FROM t WHERE id IN ($1, 3, 3, 9)", vec![int(1)], true, vec!["1", "3"]),
        ("SELECT id FROM t WHERE id = 2 OR id = $1", vec![int(2)], true, vec!["2"]),
        ("SELECT id, _ov FROM t WHERE id = 1 ORDER BY n LIMIT 1", vec![], true, vec!["1|0"]),
        (
            "SELECT id FROM (SELECT id, n AS m FROM t) v WHERE id = 2 AND m = 20",
            vec![],
            false,
            vec!["2"],
        ),
        ("SELECT id FROM t WHERE id = 1 LIMIT 0", vec![], false, vec![]),
        ("SELECT count(*) FROM t WHERE id = 1", vec![], false, vec!["1"]),
        ("SELECT n FROM t WHERE n = $1", vec![int(30)], false, vec!["30"]),
        ("SELECT id FROM t WHERE id = 1 AND at < now()", vec![], false, vec!["1"]),
        ("SELECT id FROM t WHERE id = 1 AND at < 'today'", vec![], false, vec!["1"]),
        ("SELECT id FROM t WHERE id = 1 OR n = 20", vec![], false, vec!["1", "2"]),
        ("SELECT id FROM t WHERE id = (SELECT max(id) FROM t)", vec![], false, vec!["3"]),
    ] {
        let statement = prepare(&mut s, sql).await;
        for _ in 0..3 {
            let mut rows = execute(&mut s, &statement, &parameters).await.unwrap();
            rows.sort();
            assert_eq!(rows, answer, "{sql}");
        }
        assert_eq!(statement.is_compiled(), compiled, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_statement_follows_definitions_and_settings() {
    let (_world, mut s) = world().await;
    let all = prepare(&mut s, "SELECT * FROM t WHERE id = $1").await;
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|20|b|NULL"]);
    run(&mut s, "ALTER TABLE t DROP COLUMN at").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|20|b"]);
    run(&mut s, "ALTER TABLE t ALTER COLUMN n TYPE text").await.unwrap();
    run(&mut s, "UPDATE t SET n = 'twenty' WHERE id = 2").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|twenty|b"]);
    run(&mut s, "ALTER TABLE t DROP CONSTRAINT t_pkey").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|twenty|b"]);
    assert!(!all.is_compiled());
    run(
        &mut s,
        "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, x int); INSERT INTO t VALUES (2, 5)",
    )
    .await
    .unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|5"]);
    run(&mut s, "CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY, y text)")
        .await
        .unwrap();
    run(&mut s, "INSERT INTO other.t VALUES (2, 'other')").await.unwrap();
    run(&mut s, "SET search_path = other").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|other"]);
    run(&mut s, "RESET search_path").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|5"]);
    assert!(all.is_compiled());
    // A block that makes a definition and takes it back.
    run(&mut s, "BEGIN; ALTER TABLE t ADD COLUMN z int DEFAULT 1").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|5|1"]);
    run(&mut s, "ROLLBACK").await.unwrap();
    assert_eq!(execute(&mut s, &all, &[int(2)]).await.unwrap(), ["2|5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiled_statement_follows_the_time_zone_and_the_instant() {
    let (_world, mut s) = world().await;
    let text = prepare(&mut s, "SELECT at::text FROM t WHERE id = $1").await;
    assert_eq!(execute(&mut s, &text, &[int(1)]).await.unwrap(), ["2026-01-01 00:00:00+00"]);
    run(&mut s, "SET timezone = 'Asia/Tokyo'").await.unwrap();
    assert_eq!(execute(&mut s, &text, &[int(1)]).await.unwrap(), ["2026-01-01 09:00:00+09"]);
    assert!(text.is_compiled());
    run(&mut s, "RESET timezone").await.unwrap();
    let n = prepare(&mut s, "SELECT n FROM t WHERE id = $1").await;
    assert_eq!(execute(&mut s, &n, &[int(1)]).await.unwrap(), ["10"]);
    let before = run(&mut s, "SELECT clock_timestamp()::text").await.unwrap().remove(0);
    run(&mut s, "UPDATE t SET n = 11 WHERE id = 1").await.unwrap();
    assert_eq!(execute(&mut s, &n, &[int(1)]).await.unwrap(), ["11"]);
    run(&mut s, &format!("SET chronos.as_of = '{before}'")).await.unwrap();
    assert_eq!(execute(&mut s, &n, &[int(1)]).await.unwrap(), ["10"]);
    run(&mut s, "RESET chronos.as_of").await.unwrap();
    assert_eq!(execute(&mut s, &n, &[int(1)]).await.unwrap(), ["11"]);
    // An instant that is a parameter is never taken from an execution before.
    let at = prepare(&mut s, "SELECT n FROM t FOR SYSTEM_TIME AS OF $2 WHERE id = $1").await;
    let then =
        run(&mut s, "SELECT min(_system_from)::text FROM t FOR SYSTEM_TIME ALL").await.unwrap();
    let then = ScalarValue::from(then[0].as_str()).cast_to(&SqlType::Timestamptz.arrow()).unwrap();
    let now =
        run(&mut s, "SELECT max(_system_from)::text FROM t FOR SYSTEM_TIME ALL").await.unwrap();
    let now = ScalarValue::from(now[0].as_str()).cast_to(&SqlType::Timestamptz.arrow()).unwrap();
    for _ in 0..2 {
        assert_eq!(execute(&mut s, &at, &[int(1), then.clone()]).await.unwrap(), ["10"]);
        assert_eq!(execute(&mut s, &at, &[int(1), now.clone()]).await.unwrap(), ["11"]);
    }
}

/// With the stack that the server's threads have.
#[test]
fn compiled_writes_check_lock_and_return_as_others_do() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let test = std::thread::Builder::new()
        .stack_size(chronos_sql_ext::PLANNING_STACK_BYTES)
        .spawn(move || runtime.block_on(compiled_writes()))
        .unwrap();
    test.join().unwrap();
}

async fn compiled_writes() {
    let (world, mut s) = world().await;
    run(&mut s, "ALTER TABLE t ADD CONSTRAINT small CHECK (n < 100)").await.unwrap();
    let add = prepare(&mut s, "UPDATE t SET n = n + $1 WHERE id = $2 RETURNING id, n, _ov").await;
    assert_eq!(execute(&mut s, &add, &[int(5), int(1)]).await.unwrap(), ["1|15|1"]);
    assert_eq!(execute(&mut s, &add, &[int(5), int(1)]).await.unwrap(), ["1|20|2"]);
    assert!(add.is_compiled());
    assert_eq!(execute(&mut s, &add, &[int(90), int(1)]).await.unwrap_err().code, "23514");
    let key = prepare(&mut s, "UPDATE t SET u = $1 WHERE id = $2").await;
    let text = |t: &str| ScalarValue::Utf8View(Some(t.to_owned()));
    assert_eq!(execute(&mut s, &key, &[text("b"), int(1)]).await.unwrap_err().code, "23505");
    assert_eq!(execute(&mut s, &key, &[text("c"), int(1)]).await.unwrap(), ["UPDATE 1"]);
    assert_eq!(execute(&mut s, &key, &[text("c"), int(9)]).await.unwrap(), ["UPDATE 0"]);
    let moved = prepare(&mut s, "UPDATE t SET id = id + 10 WHERE id = $1").await;
    assert_eq!(execute(&mut s, &moved, &[int(3)]).await.unwrap(), ["UPDATE 1"]);
    // Own writes are seen, and taken back.
    run(&mut s, "BEGIN; SAVEPOINT a").await.unwrap();
    assert_eq!(execute(&mut s, &add, &[int(1), int(1)]).await.unwrap(), ["1|21|4"]);
    assert_eq!(execute(&mut s, &add, &[int(1), int(1)]).await.unwrap(), ["1|22|4"]);
    run(&mut s, "ROLLBACK TO a").await.unwrap();
    assert_eq!(execute(&mut s, &add, &[int(1), int(1)]).await.unwrap(), ["1|21|4"]);
    // Another session's change in between is a lost race.
    run(&mut s, "COMMIT; BEGIN; SELECT 1").await.unwrap();
    let mut other = world.session();
    run(&mut other, "UPDATE t SET n = 50 WHERE id = 1").await.unwrap();
    run(&mut s, "SELECT n FROM t WHERE id = 2").await.unwrap();
    assert_eq!(execute(&mut s, &add, &[int(1), int(1)]).await.unwrap_err().code, "40001");
    run(&mut s, "ROLLBACK").await.unwrap();
    assert_eq!(execute(&mut s, &add, &[int(1), int(1)]).await.unwrap(), ["1|51|6"]);
    let delete = prepare(&mut s, "DELETE FROM t WHERE id = $1 RETURNING n").await;
    assert_eq!(execute(&mut s, &delete, &[int(1)]).await.unwrap(), ["51"]);
    assert_eq!(execute(&mut s, &delete, &[int(1)]).await.unwrap(), Vec::<String>::new());
    assert!(delete.is_compiled() && key.is_compiled() && moved.is_compiled());
    run(&mut s, "SET default_transaction_read_only = on").await.unwrap();
    assert_eq!(execute(&mut s, &delete, &[int(2)]).await.unwrap_err().code, "25006");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_comes_again_is_known_with_each_type_of_its_parameters() {
    let (_world, mut s) = world().await;
    for _ in 0..3 {
        let statement = s.parse("SELECT $1").unwrap().pop().unwrap();
        let told = s.describe(&statement, &[]).await.unwrap();
        assert_eq!(told.parameters, [SqlType::Text]);
        let statement = s.parse("SELECT $1").unwrap().pop().unwrap();
        let told = s.describe(&statement, &[Some(SqlType::Int8)]).await.unwrap();
        assert_eq!(told.parameters, [SqlType::Int8]);
        let answer = execute(&mut s, &statement, &[ScalarValue::Int64(Some(7))]).await.unwrap();
        assert_eq!(answer, ["7"]);
    }
    let statement = s.parse("SELECT * FROM t WHERE id = 1").unwrap().pop().unwrap();
    let told = s.describe(&statement, &[]).await.unwrap();
    run(&mut s, "ALTER TABLE t DROP COLUMN n").await.unwrap();
    let again = s.parse("SELECT * FROM t WHERE id = 1").unwrap().pop().unwrap();
    let anew = s.describe(&again, &[]).await.unwrap();
    assert_eq!((told.fields.unwrap().len(), anew.fields.unwrap().len()), (4, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_many_versions_is_found_now_and_before() {
    let (_world, mut s) = world().await;
    let set = prepare(&mut s, "UPDATE t SET n = $1 WHERE id = 1").await;
    let mut instants = Vec::new();
    for n in 0..50 {
        execute(&mut s, &set, &[int(n)]).await.unwrap();
        let now = run(&mut s, "SELECT _system_from::text FROM t WHERE id = 1").await.unwrap();
        instants.push(now[0].clone());
    }
    for (n, instant) in instants.iter().enumerate().rev().step_by(7) {
        let sql = format!("SELECT n FROM t FOR SYSTEM_TIME AS OF '{instant}' WHERE id = 1");
        assert_eq!(run(&mut s, &sql).await.unwrap(), [n.to_string()]);
        assert_eq!(run(&mut s, "SELECT n FROM t WHERE id = 1").await.unwrap(), ["49"]);
    }
    run(&mut s, "CALL chronos.flush()").await.unwrap();
    assert_eq!(run(&mut s, "SELECT n FROM t WHERE id = 1").await.unwrap(), ["49"]);
    let sql = format!("SELECT n FROM t FOR SYSTEM_TIME AS OF '{}' WHERE id = 1", instants[20]);
    assert_eq!(run(&mut s, &sql).await.unwrap(), ["20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_are_listed_until_they_are_deallocated() {
    let (_world, mut s) = world().await;
    let list = "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY name";
    let statement = prepare(&mut s, "SELECT n FROM t WHERE id = $1").await;
    s.prepared("by_protocol", Some(&statement));
    run(&mut s, "PREPARE by_sql (int) AS SELECT u FROM t WHERE id = $1").await.unwrap();
    assert_eq!(
        run(&mut s, list).await.unwrap(),
        [
            "by_protocol|SELECT n FROM t WHERE id = $1|false",
            "by_sql|PREPARE by_sql (int) AS SELECT u FROM t WHERE id = $1|true",
        ]
    );
    for _ in 0..3 {
        assert_eq!(run(&mut s, "EXECUTE by_sql (2)").await.unwrap(), ["b"]);
    }
    s.prepared("by_protocol", None);
    run(&mut s, "DEALLOCATE by_sql").await.unwrap();
    assert_eq!(run(&mut s, list).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_differ_in_numbers_are_one() {
    let (_world, mut s) = world().await;
    let mut answers = Vec::new();
    for sql in [
        "SELECT n FROM t WHERE id = 1",
        "SELECT n FROM t WHERE id = 2",
        "SELECT n FROM t WHERE id = 3",
        "SELECT n FROM t WHERE id = 70000000000",
        "SELECT n FROM t WHERE id = 1;",
        "UPDATE t SET n = n + -1 WHERE id = 1",
        "UPDATE t SET n = n + -2 WHERE id = 2",
        "UPDATE t SET n = n + -3 WHERE id = 3",
        "UPDATE t SET n = n + -3000000000 WHERE id = 3",
        "SELECT n FROM t WHERE id = 3",
        "SELECT missing FROM t WHERE id = 3",
        "SELECT missing FROM t WHERE id = 4",
    ] {
        let statement = s.parse_simple(sql).unwrap().pop().unwrap();
        let answer = execute(&mut s, &statement, &[]).await;
        answers.push(match answer {
            Ok(rows) => rows.join(","),
            Err(error) => format!("{} at {:?}", error.code, error.position),
        });
    }
    let expected = [
        "10",
        "20",
        "30",
        "",
        "10",
        "UPDATE 1",
        "UPDATE 1",
        "UPDATE 1",
        "22003 at None",
        "27",
        "42703 at Some(8)",
        "42703 at Some(8)",
    ];
    assert_eq!(answers, expected);
}
