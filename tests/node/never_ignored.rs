//! An AS OF is answered about then, or refused. It is never answered about now.

use std::fmt::Write;

use chronos_tests::TestNode;
use chronos_tests::script::now;

/// Every place for an AS OF that we could think of. `{}` is the instant as a quoted literal. The
/// answer is one value: `then`, or an error; `now` would be the worst bug there is.
const PLACES: &[&str] = &[
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} a",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} AS a",
    "SELECT v FROM t a FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM t AS a FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM public.t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM \"t\" FOR SYSTEM_TIME AS OF {}",
    "select v from t for system_time as of {}",
    "SELECT v FROM t /* a comment */ FOR SYSTEM_TIME -- and another\n AS OF {}",
    "SELECT v FROM ONLY t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF ({}::timestamptz)",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF TIMESTAMPTZ {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {}::timestamptz + INTERVAL '0 seconds'",
    "SELECT v FROM t AS OF {}",
    "SELECT v FROM t FOR TIMESTAMP AS OF {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF EACH ({})",
    "SELECT v FROM t a AS OF EACH (VALUES ({}))",
    "SELECT v FROM t TIMESTAMP AS OF {}",
    "SELECT v FROM t FOR SYSTEM TIME AS OF {}",
    "SELECT v FROM t AS OF SYSTEM TIME {}",
    "SELECT v FROM t FOR SYSTEM_TIME BETWEEN {} AND {}",
    "SELECT v FROM t FOR SYSTEM_TIME CONTAINED IN ({}, {})",
    "SELECT v FROM as_of('t', {})",
    "TABLE t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM (SELECT * FROM t) s FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM (SELECT * FROM t FOR SYSTEM_TIME AS OF {}) s",
    "SELECT (SELECT v FROM t FOR SYSTEM_TIME AS OF {})",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} WHERE EXISTS (SELECT 1 FROM t)",
    "SELECT 'then' WHERE 'then' IN (SELECT v FROM t FOR SYSTEM_TIME AS OF {})",
    "SELECT a.v FROM t FOR SYSTEM_TIME AS OF {} a JOIN t b ON a.id = b.id",
    "SELECT b.v FROM t a JOIN t FOR SYSTEM_TIME AS OF {} b ON a.id = b.id",
    "SELECT b.v FROM t a, t FOR SYSTEM_TIME AS OF {} b WHERE a.id = b.id",
    "SELECT b.v FROM t a LEFT JOIN t FOR SYSTEM_TIME AS OF {} b USING (id)",
    "SELECT b.v FROM t a CROSS JOIN LATERAL (SELECT v FROM t FOR SYSTEM_TIME AS OF {} c WHERE c.id = a.id) b",
    "WITH w AS (SELECT v FROM t FOR SYSTEM_TIME AS OF {}) SELECT v FROM w",
    "WITH w AS (SELECT v FROM t) SELECT v FROM w FOR SYSTEM_TIME AS OF {}",
    "WITH RECURSIVE w(v) AS (SELECT v FROM t FOR SYSTEM_TIME AS OF {} UNION SELECT v FROM w) SELECT v FROM w",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} UNION SELECT v FROM t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} GROUP BY v HAVING count(*) > 0",
    "SELECT max(v) OVER () FROM t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} ORDER BY v LIMIT 1",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} WHERE id = 1",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} WHERE id IN (1)",
    "SELECT count(*)::text FROM t FOR SYSTEM_TIME AS OF {} WHERE v = 'now'",
    "SELECT v FROM view_of_t FOR SYSTEM_TIME AS OF {}",
    "SELECT v FROM t FOR SYSTEM_TIME AS OF {} FOR UPDATE",
    "SELECT v FROM t TABLESAMPLE SYSTEM (100) FOR SYSTEM_TIME AS OF {}",
    "INSERT INTO copy_of_t SELECT * FROM t FOR SYSTEM_TIME AS OF {}; SELECT v FROM copy_of_t",
    "WITH w AS (SELECT * FROM t FOR SYSTEM_TIME AS OF {}) INSERT INTO copy_of_t SELECT * FROM w; SELECT v FROM copy_of_t",
    "CREATE TABLE made AS SELECT v FROM t FOR SYSTEM_TIME AS OF {}; SELECT v FROM made",
    "CREATE VIEW seen AS SELECT v FROM t FOR SYSTEM_TIME AS OF {}; SELECT v FROM seen",
    "PREPARE p AS SELECT v FROM t FOR SYSTEM_TIME AS OF {}; EXECUTE p",
    "BEGIN; DECLARE c CURSOR FOR SELECT v FROM t FOR SYSTEM_TIME AS OF {}; FETCH ALL FROM c; COMMIT",
    "BEGIN AS OF SYSTEM TIME {}; SELECT v FROM t; COMMIT",
    "UPDATE copy_of_t SET v = (SELECT v FROM t FOR SYSTEM_TIME AS OF {}); SELECT v FROM t FOR SYSTEM_TIME AS OF {}",
    "SET chronos.as_of = {}; SELECT v FROM t",
    "SET chronos.as_of = {}; SELECT v FROM view_of_t",
    "SET chronos.as_of = {}; SELECT max(v) FROM t WHERE id = 1",
    "BEGIN; SET LOCAL chronos.as_of = {}; SELECT v FROM t; COMMIT",
];

/// Statements that would change a table AS OF then. All must be refused.
const WRITES: &[&str] = &[
    "UPDATE t FOR SYSTEM_TIME AS OF {} SET v = 'x'",
    "DELETE FROM t FOR SYSTEM_TIME AS OF {}",
    "INSERT INTO t FOR SYSTEM_TIME AS OF {} VALUES (2, 'x')",
    "SET chronos.as_of = {}; UPDATE t SET v = 'x'",
    "SET chronos.as_of = {}; DELETE FROM t",
    "SET chronos.as_of = {}; INSERT INTO t VALUES (2, 'x')",
    "SET chronos.as_of = {}; CREATE TABLE other (id int)",
    "SET chronos.as_of = {}; DROP TABLE t",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_as_of_is_answered_about_then_or_refused() {
    let node = TestNode::start();
    let setup = node.connect().await;
    setup
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'then');
             CREATE TABLE copy_of_t (id int PRIMARY KEY, v text)",
        )
        .await
        .expect("the tables can be made");
    // Where there are no views yet, the questions about them are refused, which is fine.
    drop(setup.batch_execute("CREATE VIEW view_of_t AS SELECT * FROM t").await);
    let then = now(&setup).await;
    setup.batch_execute("UPDATE t SET v = 'now'").await.expect("UPDATE works");

    let (mut refused, mut wrong) = (String::new(), String::new());
    for place in PLACES {
        let sql = place.replace("{}", &format!("'{then}'"));
        // Each on a connection of its own, for some leave a session in the past.
        let client = node.connect().await;
        drop(setup.batch_execute("DELETE FROM copy_of_t").await);
        drop(setup.batch_execute("DROP TABLE IF EXISTS made").await);
        drop(setup.batch_execute("DROP VIEW IF EXISTS seen").await);
        match client.simple_query(&sql).await {
            Err(e) if e.as_db_error().is_some() => {
                let _infallible =
                    writeln!(refused, "{place}: {}", e.as_db_error().map_or("", |e| e.message()));
            }
            Err(e) => panic!("{sql}: the connection broke: {e:?}\n{}", node.stderr()),
            Ok(messages) => {
                let values: Vec<String> = messages
                    .iter()
                    .filter_map(|message| match message {
                        tokio_postgres::SimpleQueryMessage::Row(row) => {
                            // TABLE gives all columns; the one asked for is its last.
                            let at = if place.starts_with("TABLE") { row.len() - 1 } else { 0 };
                            Some(row.get(at).unwrap_or("NULL").to_owned())
                        }
                        _ => None,
                    })
                    .collect();
                let expected = if place.contains("count(*)::text") { "0" } else { "then" };
                let nothing = place.contains("CONTAINED IN") && values.is_empty();
                if !nothing && values != [expected] {
                    let _infallible = writeln!(wrong, "{place}: {values:?}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not answered about then:\n{wrong}\n(refused:\n{refused})");
    // The standard's own form, where it is most used, is not among the refused.
    for place in &PLACES[..2] {
        let this = |line: &str| line.starts_with(&format!("{place}: "));
        assert!(!refused.lines().any(this), "refused:\n{refused}");
    }
    eprintln!("refused:\n{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_as_of_then() {
    let node = TestNode::start();
    let setup = node.connect().await;
    setup
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'then')",
        )
        .await
        .expect("the table can be made");
    let then = now(&setup).await;
    setup.batch_execute("UPDATE t SET v = 'now'").await.expect("UPDATE works");
    for write in WRITES {
        let sql = write.replace("{}", &format!("'{then}'"));
        let result = node.connect().await.batch_execute(&sql).await;
        let code = chronos_tests::answer::sqlstate(&result.expect_err(write));
        assert!(["25006", "42601", "0A000"].contains(&code.as_str()), "{write}: {code}");
        let rows = setup.query("SELECT id, v FROM t", &[]).await.expect("t is there");
        assert_eq!(rows.len(), 1, "{write}");
        assert_eq!((rows[0].get(0), rows[0].get(1)), (1_i32, "now"), "{write}");
    }
}
