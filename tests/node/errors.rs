//! Which SQLSTATE which mistake has.

use std::fmt::Write;

use chronos_tests::TestNode;
use chronos_tests::answer::sqlstate;

const SETUP: &str = "
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL, n smallint, at timestamptz, d numeric(5,2));
INSERT INTO t VALUES (1, 'a', 1, NULL, NULL);
CREATE TABLE u (id int PRIMARY KEY, email text UNIQUE);
INSERT INTO u VALUES (1, 'x@example.org');
";

/// What is asked, and the SQLSTATE of its error.
const MISTAKES: &[(&str, &str)] = &[
    // Syntax and names.
    ("SELEC 1", "42601"),
    ("SELECT * FORM t", "42601"),
    ("SELECT * FROM no_such_table", "42P01"),
    ("SELECT no_such_column FROM t", "42703"),
    ("SELECT t.no_such_column FROM t", "42703"),
    ("SELECT no_such_function(1)", "42883"),
    ("SELECT 1::no_such_type", "42704"),
    ("INSERT INTO no_such_table VALUES (1)", "42P01"),
    ("INSERT INTO t (no_such_column) VALUES (1)", "42703"),
    ("UPDATE no_such_table SET v = 1", "42P01"),
    ("UPDATE t SET no_such_column = 1", "42703"),
    ("DELETE FROM no_such_table", "42P01"),
    ("DROP TABLE no_such_table", "42P01"),
    ("CREATE TABLE t (id int)", "42P07"),
    ("CREATE TABLE w (a int, a int)", "42701"),
    ("CREATE TABLE w (a no_such_type)", "42704"),
    ("SELECT id FROM t a JOIN t b ON a.id = b.id", "42702"),
    ("SELECT v, count(*) FROM t", "42803"),
    ("SELECT * FROM t WHERE count(*) > 1", "42803"),
    ("SELECT $1::int", "42P02"),
    // Values.
    ("SELECT 1/0", "22012"),
    ("SELECT id / 0 FROM t", "22012"),
    ("SELECT 'abc'::int", "22P02"),
    ("SELECT 'abc'::uuid", "22P02"),
    ("SELECT '2026-13-45'::date", "22008"),
    ("SELECT 'yesterdayish'::timestamptz", "22007"),
    ("SELECT 3000000000::int", "22003"),
    ("SELECT 2147483647 + 1", "22003"),
    ("SELECT 9223372036854775807 + 1", "22003"),
    ("INSERT INTO t (id, v, n) VALUES (2, 'b', 70000)", "22003"),
    ("INSERT INTO t (id, v, d) VALUES (2, 'b', 12345.67)", "22003"),
    ("SELECT '{\"a\":'::jsonb", "22P02"),
    // Constraints.
    ("INSERT INTO t VALUES (1, 'again')", "23505"),
    ("INSERT INTO t VALUES (5, 'a'), (5, 'b')", "23505"),
    ("INSERT INTO u VALUES (2, 'x@example.org')", "23505"),
    ("INSERT INTO t (id) VALUES (3)", "23502"),
    ("INSERT INTO t (v) VALUES ('no key')", "23502"),
    ("UPDATE t SET v = NULL", "23502"),
    ("INSERT INTO t VALUES (4)", "23502"),
    ("INSERT INTO u VALUES (4, 'a', 'b')", "42601"),
    // Transactions and sessions.
    ("EXECUTE no_such_statement", "26000"),
    ("FETCH ALL FROM no_such_cursor", "34000"),
    ("SET no_such_setting = 1", "42704"),
    ("SET TIME ZONE 'Mars/Olympus'", "22023"),
    ("SHOW no_such_setting", "42704"),
    ("BEGIN; SELECT 1/0; COMMIT", "22012"),
    ("SAVEPOINT s", "25P01"),
    // Time.
    ("SELECT * FROM t FOR SYSTEM_TIME AS OF 'not a time'", "22007"),
    ("SELECT * FROM t FOR SYSTEM_TIME AS OF '2999-01-01'", "22023"),
    ("SELECT * FROM t FOR SYSTEM_TIME AS OF now() + INTERVAL '1 hour'", "22023"),
    ("SELECT * FROM t FOR SYSTEM_TIME AS OF NULL", "22004"),
    ("SELECT * FROM t FOR SYSTEM_TIME AS OF '1999-01-01'", "42P01"),
    ("SELECT * FROM no_such_table FOR SYSTEM_TIME AS OF now()", "42P01"),
    ("SET chronos.as_of = 'not a time'", "22007"),
    ("SET chronos.as_of = '2999-01-01'", "22023"),
    ("DELETE FROM t FOR SYSTEM_TIME AS OF now()", "25006"),
    ("UPDATE t FOR SYSTEM_TIME AS OF now() SET v = 'x'", "25006"),
    ("SELECT * FROM t FOR SYSTEM_TIME AS OF now() FOR UPDATE", "25006"),
    ("SELECT AVG_3Q(id) FROM t", "42883"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_has_postgresqls_sqlstate() {
    let node = TestNode::start();
    let setup = node.connect().await;
    setup.batch_execute(SETUP).await.expect("the tables can be made");
    let mut wrong = String::new();
    for (sql, code) in MISTAKES {
        let client = node.connect().await;
        let got = match client.simple_query(sql).await {
            Ok(_) => "no error".to_owned(),
            Err(e) if e.as_db_error().is_none() => panic!("{sql}: {e:?}\n{}", node.stderr()),
            Err(e) if sqlstate(&e) == *code => continue,
            Err(e) => format!("{} {}", sqlstate(&e), e.as_db_error().map_or("", |e| e.message())),
        };
        let _infallible = writeln!(wrong, "{sql}: expected {code}, got {got}");
    }
    let unchanged =
        setup.query_one("SELECT count(*), max(v) FROM t", &[]).await.expect("t is there");
    assert_eq!((unchanged.get(0), unchanged.get(1)), (1_i64, "a"), "a mistake wrote something");
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_takes_nothing_but_its_end() {
    let node = TestNode::start();
    let client = node.connect().await;
    client.batch_execute(SETUP).await.expect("the tables can be made");
    client.batch_execute("BEGIN; INSERT INTO t VALUES (7, 'x')").await.expect("BEGIN works");
    let error = client.batch_execute("SELECT 1/0").await.expect_err("a division by zero");
    assert_eq!(sqlstate(&error), "22012");
    let error = client.batch_execute("SELECT 1").await.expect_err("the transaction failed");
    assert_eq!(sqlstate(&error), "25P02");
    client.batch_execute("COMMIT").await.expect("a failed transaction can be ended");
    let rows = client.query("SELECT 1 FROM t WHERE id = 7", &[]).await.expect("t is there");
    assert!(rows.is_empty(), "a failed transaction left a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_of_two_writers_of_a_row_is_told_so() {
    let node = TestNode::start();
    let (alice, bob) = (node.connect().await, node.connect().await);
    alice.batch_execute(SETUP).await.expect("the tables can be made");
    alice.batch_execute("BEGIN; UPDATE t SET v = 'alice'").await.expect("Alice updates");
    // Bob reads before Alice commits, and then waits for her to let go of the row.
    bob.batch_execute("BEGIN; SELECT * FROM t").await.expect("Bob reads");
    let update = async {
        bob.batch_execute("UPDATE t SET v = 'bob'").await?;
        bob.batch_execute("COMMIT").await
    };
    let (error, committed) = tokio::join!(update, alice.batch_execute("COMMIT"));
    committed.expect("Alice was first");
    let error = error.expect_err("Bob was second");
    assert_eq!(sqlstate(&error), "40001");
    // Bob's transaction is over; his next statement sees what Alice wrote.
    drop(bob.batch_execute("ROLLBACK").await);
    let row = bob.query_one("SELECT v FROM t", &[]).await.expect("t is there");
    assert_eq!(row.get::<_, &str>(0), "alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unique_violation_names_the_key() {
    let node = TestNode::start();
    let client = node.connect().await;
    client.batch_execute(SETUP).await.expect("the tables can be made");
    let error = client.batch_execute("INSERT INTO t VALUES (1, 'again')").await;
    let error = error.expect_err("the key is taken");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.detail(), Some("Key (id)=(1) already exists."));
    assert_eq!((error.table(), error.constraint()), (Some("t"), Some("t_pkey")));
    assert_eq!(error.severity(), "ERROR");
}
