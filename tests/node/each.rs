//! One query, many instants.

use chronos_tests::TestNode;
use chronos_tests::answer::{Answer, sqlstate};
use chronos_tests::script::now;
use tokio_postgres::{Client, Error};

/// The rows of a query, the same in both protocols, or its SQLSTATE. They are sorted where the
/// query leaves their order open.
async fn rows(client: &Client, sql: &str) -> String {
    let shown = |answer: Result<Answer, Error>| match answer {
        Err(error) => sqlstate(&error),
        Ok(answer) => {
            let cell = |cell: Option<String>| cell.unwrap_or_else(|| "NULL".into());
            let row = |row: Vec<_>| row.into_iter().map(cell).collect::<Vec<_>>().join("|");
            let mut rows: Vec<_> = answer.rows.into_iter().map(row).collect();
            if !sql.contains("ORDER BY") {
                rows.sort();
            }
            rows.join("\n")
        }
    };
    let simple = shown(Answer::simple(client, sql).await);
    assert_eq!(simple, shown(Answer::extended(client, sql).await), "{sql}");
    simple
}

async fn one(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_seen_at_every_instant_of_a_series() {
    let mut node = TestNode::start();
    let client = node.connect().await;
    let before = now(&client).await;
    one(
        &client,
        "CREATE TABLE t (id int PRIMARY KEY, v int); CREATE VIEW w AS SELECT v, id FROM t",
    )
    .await;
    one(&client, "INSERT INTO t VALUES (1, 10), (2, 20)").await;
    let a = now(&client).await;
    one(&client, "UPDATE t SET v = 11 WHERE id = 1").await;
    let b = now(&client).await;
    one(&client, "DELETE FROM t WHERE id = 2").await;
    let c = now(&client).await;
    one(&client, "UPDATE t SET v = 12").await;
    let client = {
        drop(client);
        // What is read then comes from files too.
        node.restart();
        node.connect().await
    };
    one(&client, "UPDATE t SET v = 13").await;

    let list = format!("FOR SYSTEM_TIME AS OF EACH ('{a}', '{b}', '{c}')");
    // What it says of each instant, and what asking for each says.
    let union = [&a, &b, &c]
        .map(|at| format!("SELECT *, timestamptz '{at}' FROM t FOR SYSTEM_TIME AS OF '{at}'"))
        .join(" UNION ALL ");
    let expected = rows(&client, &format!("{union} ORDER BY 3, 1")).await;
    assert_eq!(expected.lines().count(), 5, "{expected}");
    for from in [
        format!("t {list}"),
        format!("t {list} AS x"),
        format!("t AS x {list}"),
        format!("t AS OF EACH (VALUES ('{a}'), ('{b}'), ('{c}'))"),
        format!("t FOR SYSTEM_TIME AS OF EACH (ARRAY['{a}', '{b}', '{c}']::timestamptz[])"),
        format!("(SELECT * FROM t {list}) AS d"),
    ] {
        let sql = format!("SELECT * FROM {from} ORDER BY system_time, id");
        assert_eq!(rows(&client, &sql).await, expected, "{sql}");
    }
    let each = |query: &str| query.replace("EACH", &list);
    for (query, answer) in [
        (
            "SELECT count(*), sum(v) FROM t EACH GROUP BY system_time ORDER BY system_time",
            "2|30\n2|31\n1|11",
        ),
        ("SELECT v FROM t EACH WHERE id = 2 ORDER BY system_time", "20\n20"),
        ("SELECT x.*, x._ov FROM t EACH x WHERE id = 1 AND x.v = 10", "1|10|A|0"),
        ("SELECT w.v, w.id FROM w EACH ORDER BY system_time, id", "10|1\n20|2\n11|1\n20|2\n11|1"),
        ("SELECT s, n FROM t EACH AS x (n, m, s) WHERE m = 10", "A|1"),
        (
            "SELECT o.v, n.v FROM t EACH o JOIN t n ON n.id = o.id ORDER BY system_time",
            "10|13\n11|13\n11|13",
        ),
        ("SELECT count(DISTINCT system_time) FROM t EACH", "3"),
        ("SELECT (SELECT sum(v) FROM t EACH)", "72"),
    ] {
        let shown = rows(&client, &each(query)).await;
        let shown = shown.replace(&rows(&client, &format!("SELECT timestamptz '{a}'")).await, "A");
        assert_eq!(shown, answer, "{query}");
    }
    let series = format!(
        "SELECT count(*), count(DISTINCT system_time) FROM t FOR SYSTEM_TIME AS OF EACH \
         (generate_series('{a}', '{c}', ('{b}'::timestamptz - '{a}'::timestamptz)))"
    );
    let at_least = rows(&client, &series).await;
    assert!(!at_least.starts_with('0') && at_least.contains('|'), "{at_least}");
    let parameters = client
        .query(
            "SELECT system_time, v FROM t FOR SYSTEM_TIME AS OF EACH
             (generate_series($1, $2, '1 day')) WHERE id = $3",
            &[
                &client
                    .query_one("SELECT $1::text::timestamptz", &[&a])
                    .await
                    .unwrap()
                    .get::<_, std::time::SystemTime>(0),
                &client
                    .query_one("SELECT $1::text::timestamptz", &[&c])
                    .await
                    .unwrap()
                    .get::<_, std::time::SystemTime>(0),
                &2i32,
            ],
        )
        .await
        .expect("instants may be parameters");
    assert_eq!(parameters.iter().map(|row| row.get::<_, i32>(1)).collect::<Vec<_>>(), [20]);

    for (instants, answer) in [
        (format!("generate_series('{c}', '{a}', '1 day')"), ""),
        (format!("'{a}', NULL"), "22004"),
        (format!("generate_series('{a}', NULL, '1 day')"), "22004"),
        (format!("'{a}', now() + interval '1 day'"), "22023"),
        (format!("'{before}', '{a}'"), "42P01"),
        ("generate_series(now() - interval '1 year', now(), '1 second')".into(), "54000"),
        ("generate_series(now() - interval '1 year', now(), '0 seconds')".into(), "22023"),
        (format!("generate_series('{a}', '{a}', '0 seconds')"), "22023"),
        ("1, 2".into(), "22007"),
        ("id".into(), "42P10"),
        ("SELECT now()".into(), "0A000"),
        (String::new(), "42601"),
    ] {
        let sql = format!("SELECT v FROM t FOR SYSTEM_TIME AS OF EACH ({instants})");
        assert_eq!(rows(&client, &sql).await, answer, "{sql}");
    }
    for (query, code) in [
        ("SELECT * FROM (SELECT * FROM t) EACH d", "0A000"),
        ("WITH x AS (SELECT * FROM t) SELECT * FROM x EACH", "0A000"),
        ("SELECT AVG_1H(v) FROM t EACH", "0A000"),
        ("SELECT * FROM t EACH FOR UPDATE", "25006"),
        ("UPDATE t EACH SET v = 1", "25006"),
    ] {
        assert_eq!(rows(&client, &each(query)).await, code, "{query}");
    }
    let plan = rows(&client, &each("EXPLAIN SELECT * FROM t EACH")).await;
    assert_eq!(plan.matches("t@").count() % 3, 0, "{plan}");

    // What is not kept is not left out in silence.
    one(&client, &format!("DELETE HISTORY FROM t BEFORE SYSTEM_TIME '{b}'")).await;
    let sql = |from: &str| format!("SELECT v FROM t FOR SYSTEM_TIME AS OF EACH ('{from}', '{c}')");
    assert_eq!(rows(&client, &sql(&a)).await, "72000");
    assert_eq!(rows(&client, &sql(&b)).await.lines().count(), 3);

    // Each instant judges by itself which rows have expired.
    one(
        &client,
        "CREATE TABLE e (at timestamptz) WITH (ttl_column = 'at');
         INSERT INTO e VALUES (now() + interval '3 seconds')",
    )
    .await;
    let alive = now(&client).await;
    tokio::time::sleep(std::time::Duration::from_millis(3100)).await;
    let sql = format!(
        "SELECT system_time = '{alive}' FROM e FOR SYSTEM_TIME AS OF EACH ('{alive}', now())"
    );
    assert_eq!(rows(&client, &sql).await, "t");

    // The shape is that of each instant; where they differ it is no one table.
    one(&client, "ALTER TABLE t ADD COLUMN more int").await;
    let d = now(&client).await;
    let sql = |from: &str| format!("SELECT * FROM t FOR SYSTEM_TIME AS OF EACH ('{from}', '{d}')");
    assert_eq!(rows(&client, &sql(&c)).await, "0A000");
    assert_eq!(rows(&client, &sql(&d)).await.lines().count(), 2);
    one(&client, "CREATE TABLE own (system_time int)").await;
    let sql = "SELECT * FROM own FOR SYSTEM_TIME AS OF EACH (now())";
    assert_eq!(rows(&client, sql).await, "42701");
}
