//! ON CONFLICT, RETURNING, writes within WITH, MERGE.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn on_conflict_updates_the_row_that_is_there() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 1, u text UNIQUE)")
        .await
        .unwrap();
    run(&mut s, "INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b')").await.unwrap();
    let rows = run(
        &mut s,
        "INSERT INTO t AS x (id, n) VALUES (3, 5), (1, 5) ON CONFLICT (id) DO UPDATE
         SET n = x.n + excluded.n RETURNING id, n, u, (_ov = 0) AS created",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["3|5|NULL|true", "1|15|a|false"]);
    // WHERE leaves alone what it does not hold for, and does not return it.
    let rows = run(
        &mut s,
        "INSERT INTO t VALUES (1, 0, 'z'), (2, 0, 'y') ON CONFLICT ON CONSTRAINT t_pkey DO UPDATE
         SET n = excluded.n WHERE t.n > 18 RETURNING *",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["2|0|b"]);
    let twice = "INSERT INTO t VALUES (7), (7) ON CONFLICT (id) DO UPDATE SET n = 0";
    assert_eq!(code(&mut s, twice).await, "21000");
    let other = "INSERT INTO t VALUES (1, 0, 'b') ON CONFLICT (id) DO UPDATE SET u = excluded.u";
    assert_eq!(code(&mut s, other).await, "23505");
    let none = "INSERT INTO t VALUES (1) ON CONFLICT (n) DO NOTHING";
    assert_eq!(code(&mut s, none).await, "42P10");
    // Own uncommitted rows are rows like others.
    run(&mut s, "BEGIN; INSERT INTO t VALUES (9, 1)").await.unwrap();
    run(
        &mut s,
        "INSERT INTO t VALUES (9, 1) ON CONFLICT (id) DO UPDATE SET (n, u) = (t.n + 1, 'q')",
    )
    .await
    .unwrap();
    run(&mut s, "COMMIT").await.unwrap();
    let rows = run(&mut s, "SELECT n, u, _ov FROM t WHERE id = 9").await.unwrap();
    assert_eq!(rows, ["2|q|0"]);
    let rows = run_with(
        &mut s,
        "INSERT INTO t (id, n) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET n = $2 + 1",
        vec![ScalarValue::Int32(Some(9)), ScalarValue::Int32(Some(100))],
    )
    .await
    .unwrap();
    assert_eq!(rows, ["INSERT 0 1"]);
    assert_eq!(run(&mut s, "SELECT n FROM t WHERE id = 9").await.unwrap(), ["101"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn returning_shows_what_was_written_and_what_it_was_joined_with() {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE f (id int, d int);
         INSERT INTO t VALUES (1, 1), (2, 2); INSERT INTO f VALUES (1, 10), (2, 20)",
    )
    .await
    .unwrap();
    let rows = run(
        &mut s,
        "UPDATE t SET n = n + f.d FROM f WHERE f.id = t.id AND t.id = 2
         RETURNING *, t.n - f.d AS before, t._ov, (SELECT count(*) FROM f)",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["2|22|2|20|2|1|2"]);
    let rows =
        run(&mut s, "DELETE FROM t USING f AS g WHERE g.id = t.id AND g.d = 20 RETURNING g.d, t.*")
            .await
            .unwrap();
    assert_eq!(rows, ["20|2|22"]);
    // A statement of its own answers after its commit.
    let rows =
        run(&mut s, "INSERT INTO t VALUES (5, 5) RETURNING _cv, _system_from").await.unwrap();
    let read = run(&mut s, "SELECT _cv, _system_from FROM t WHERE id = 5").await.unwrap();
    assert_eq!(rows, read);
    run(&mut s, "BEGIN").await.unwrap();
    let rows = run(&mut s, "INSERT INTO t VALUES (6, 5) RETURNING _cv, _ov").await.unwrap();
    assert_eq!(rows, ["NULL|0"]);
    run(&mut s, "ROLLBACK").await.unwrap();
    let rows = run(&mut s, "DELETE FROM t WHERE id = 5 RETURNING _cv, _system_from").await.unwrap();
    assert_eq!(rows, read);
    let rows = run(
        &mut s,
        "UPDATE t SET (id, n) = (SELECT id + 1, d FROM f WHERE d = 10) RETURNING id, n",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["2|10"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_within_with_read_what_was_there_before_the_statement() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int, n int)")
        .await
        .unwrap();
    run(&mut s, "INSERT INTO a VALUES (1, 1), (2, 2)").await.unwrap();
    let rows = run(
        &mut s,
        "WITH moved AS (DELETE FROM a WHERE id = 1 RETURNING *),
              kept AS (INSERT INTO b SELECT id, n * 10 FROM moved RETURNING n)
         SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), n FROM kept",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["2|0|10"]);
    assert_eq!(run(&mut s, "SELECT * FROM b").await.unwrap(), ["1|10"]);
    let rows = run(
        &mut s,
        "WITH x (k) AS (UPDATE a SET n = n + 1 RETURNING id), y AS (SELECT k + 5 AS k FROM x)
         INSERT INTO b SELECT k, 0 FROM y RETURNING id, (SELECT max(k) FROM x)",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["7|2"]);
    // One that fails late undoes all.
    let late = "WITH x AS (DELETE FROM a RETURNING n) SELECT 1 / (n - n) FROM x";
    assert_eq!(code(&mut s, late).await, "22012");
    assert_eq!(run(&mut s, "SELECT n FROM a").await.unwrap(), ["3"]);
    // Two that write the same row: the first one does.
    run(&mut s, "WITH x AS (UPDATE a SET n = 100) UPDATE a SET n = 200").await.unwrap();
    assert_eq!(run(&mut s, "SELECT n FROM a").await.unwrap(), ["100"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_takes_the_first_clause_that_fits() {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 7); CREATE TABLE s (id int, d int);
         INSERT INTO t VALUES (1, 1), (2, 2), (3, 3);
         INSERT INTO s VALUES (1, 10), (2, 0), (3, -1), (4, 40), (5, -5)",
    )
    .await
    .unwrap();
    let tag = run(
        &mut s,
        "MERGE INTO t AS x USING s ON x.id = s.id
         WHEN MATCHED AND d = 0 THEN DELETE
         WHEN MATCHED AND d < 0 THEN DO NOTHING
         WHEN MATCHED THEN UPDATE SET n = n + d
         WHEN NOT MATCHED AND d > 0 THEN INSERT (id, n) VALUES (s.id, DEFAULT)
         WHEN NOT MATCHED THEN DO NOTHING",
    )
    .await
    .unwrap();
    assert_eq!(tag, ["MERGE 3"]);
    let rows = run(&mut s, "SELECT * FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, ["1|11", "3|3", "4|7"]);
    let twice = "MERGE INTO t USING (VALUES (1), (1)) AS v (id) ON v.id = t.id
                 WHEN MATCHED THEN UPDATE SET n = 0";
    assert_eq!(code(&mut s, twice).await, "21000");
    let rows = run(
        &mut s,
        "MERGE INTO t USING (VALUES (1), (6)) AS v (id) ON v.id = t.id
         WHEN MATCHED THEN UPDATE SET n = 0 WHEN NOT MATCHED THEN INSERT VALUES (v.id, 1)
         RETURNING v.id, t.n",
    )
    .await
    .unwrap();
    assert_eq!(rows, ["1|0", "6|1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_of_a_row_that_many_update_is_lost_or_fails() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE acc (id int PRIMARY KEY, bal int); INSERT INTO acc VALUES (1, 0)")
        .await
        .unwrap();
    let mut clients = Vec::new();
    for i in 0..16 {
        let mut client = world.session();
        clients.push(tokio::spawn(async move {
            for _ in 0..10 {
                if i % 2 == 0 {
                    run(&mut client, "UPDATE acc SET bal = bal + 1 WHERE id = 1").await.unwrap();
                } else {
                    // The first statement of a block waits and sees what the winner left.
                    run(&mut client, "BEGIN").await.unwrap();
                    run(&mut client, "SELECT bal FROM acc WHERE id = 1 FOR UPDATE").await.unwrap();
                    run(&mut client, "UPDATE acc SET bal = bal + 1 WHERE id = 1").await.unwrap();
                    run(&mut client, "COMMIT").await.unwrap();
                }
                let upsert = "INSERT INTO acc VALUES (2, 1) ON CONFLICT (id)
                              DO UPDATE SET bal = acc.bal + 1";
                run(&mut client, upsert).await.unwrap();
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let rows = run(&mut s, "SELECT bal FROM acc ORDER BY id").await.unwrap();
    assert_eq!(rows, ["160", "160"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_statement_that_meets_a_changed_row_is_40001_with_its_key() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(&mut a, "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0), (2, 0)")
        .await
        .unwrap();
    run(&mut a, "BEGIN").await.unwrap();
    run(&mut b, "UPDATE t SET n = 1 WHERE id = 2").await.unwrap();
    // The block sees what was committed before its first statement.
    assert_eq!(run(&mut a, "SELECT sum(n) FROM t").await.unwrap(), ["1"]);
    run(&mut b, "UPDATE t SET n = 5 WHERE id = 1").await.unwrap();
    let error = run(&mut a, "UPDATE t SET n = 6 WHERE id = 1").await.unwrap_err();
    assert_eq!(error.code, "40001");
    let detail = error.detail.unwrap();
    assert_eq!(detail, "Key (id)=(1) of table \"t\" was changed by another transaction.");
    run(&mut a, "ROLLBACK").await.unwrap();
    // READ COMMITTED looks again.
    run(&mut a, "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1 FROM t").await.unwrap();
    run(&mut b, "UPDATE t SET n = 7 WHERE id = 1").await.unwrap();
    run(&mut a, "UPDATE t SET n = n + 1 WHERE id = 1").await.unwrap();
    run(&mut a, "COMMIT").await.unwrap();
    assert_eq!(run(&mut a, "SELECT n FROM t WHERE id = 1").await.unwrap(), ["8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn write_skew_is_impossible_when_serializable() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(&mut a, "CREATE TABLE duty (name text PRIMARY KEY, on_call bool)").await.unwrap();
    run(&mut a, "INSERT INTO duty VALUES ('ann', true), ('bob', true)").await.unwrap();
    for s in [&mut a, &mut b] {
        run(s, "BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
        assert_eq!(run(s, "SELECT count(*) FROM duty WHERE on_call").await.unwrap(), ["2"]);
    }
    run(&mut a, "UPDATE duty SET on_call = false WHERE name = 'ann'").await.unwrap();
    run(&mut b, "UPDATE duty SET on_call = false WHERE name = 'bob'").await.unwrap();
    run(&mut a, "COMMIT").await.unwrap();
    assert_eq!(code(&mut b, "COMMIT").await, "40001");
    assert_eq!(run(&mut b, "SELECT count(*) FROM duty WHERE on_call").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_rows_are_waited_for_refused_or_skipped() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(&mut a, "CREATE TABLE jobs (id int PRIMARY KEY, v text)").await.unwrap();
    run(&mut a, "INSERT INTO jobs VALUES (1, 'a'), (2, 'b'), (3, 'c')").await.unwrap();
    let next = "SELECT * FROM jobs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
    run(&mut a, "BEGIN").await.unwrap();
    assert_eq!(run(&mut a, next).await.unwrap(), ["1|a"]);
    run(&mut b, "BEGIN").await.unwrap();
    assert_eq!(run(&mut b, next).await.unwrap(), ["2|b"]);
    run(&mut b, "SAVEPOINT s").await.unwrap();
    let now = "SELECT v FROM jobs AS j WHERE id = 1 FOR UPDATE OF j NOWAIT";
    assert_eq!(code(&mut b, now).await, "55P03");
    run(&mut b, "ROLLBACK TO s; SET LOCAL lock_timeout = 20").await.unwrap();
    assert_eq!(code(&mut b, "DELETE FROM jobs WHERE id = 1").await, "55P03");
    run(&mut b, "ROLLBACK").await.unwrap();
    run(&mut a, "COMMIT").await.unwrap();
    assert_eq!(run(&mut b, now).await.unwrap(), ["a"]);
    let nested = "SELECT * FROM (SELECT * FROM jobs FOR UPDATE) AS x";
    assert_eq!(code(&mut b, nested).await, "0A000");
    assert_eq!(code(&mut b, "SELECT count(*) FROM jobs GROUP BY v FOR UPDATE").await, "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_needs_its_row() {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "CREATE TABLE p (id int PRIMARY KEY, n int);
         CREATE TABLE c (id int PRIMARY KEY, p_id bigint REFERENCES p, up int REFERENCES c (id))",
    )
    .await
    .unwrap();
    let error = run(&mut s, "INSERT INTO c VALUES (1, 5)").await.unwrap_err();
    assert_eq!(error.code, "23503");
    let message = "insert or update on table \"c\" violates foreign key constraint \"c_p_id_fkey\"";
    assert_eq!(error.message, message);
    assert_eq!(error.detail.unwrap(), "Key (p_id)=(5) is not present in table \"p\".");
    run(&mut s, "INSERT INTO p VALUES (5), (6)").await.unwrap();
    // At the end of the statement, so that rows may refer to each other.
    run(&mut s, "INSERT INTO c VALUES (1, 5, 2), (2, NULL, 1)").await.unwrap();
    let error = run(&mut s, "DELETE FROM p WHERE id = 5").await.unwrap_err();
    assert_eq!(error.code, "23503");
    assert_eq!(error.detail.unwrap(), "Key (id)=(5) is still referenced from table \"c\".");
    assert_eq!(code(&mut s, "UPDATE p SET id = 7 WHERE id = 5").await, "23503");
    run(&mut s, "UPDATE p SET n = 1; DELETE FROM p WHERE id = 6").await.unwrap();
    assert_eq!(code(&mut s, "UPDATE c SET p_id = 6 WHERE id = 1").await, "23503");
    assert_eq!(code(&mut s, "TRUNCATE p").await, "0A000");
    assert_eq!(code(&mut s, "DROP TABLE p").await, "2BP01");
    assert_eq!(code(&mut s, "ALTER TABLE p DROP CONSTRAINT p_pkey").await, "2BP01");
    run(&mut s, "BEGIN; TRUNCATE p CASCADE").await.unwrap();
    assert_eq!(run(&mut s, "SELECT count(*) FROM c").await.unwrap(), ["0"]);
    run(&mut s, "ROLLBACK; DROP TABLE p CASCADE").await.unwrap();
    run(&mut s, "UPDATE c SET p_id = 99 WHERE id = 1").await.unwrap();
    run(&mut s, "CREATE TABLE q (id int PRIMARY KEY)").await.unwrap();
    let add = "ALTER TABLE c ADD CONSTRAINT cq FOREIGN KEY (p_id) REFERENCES q";
    assert_eq!(code(&mut s, add).await, "23503");
    run(&mut s, "INSERT INTO q VALUES (99)").await.unwrap();
    run(&mut s, add).await.unwrap();
    assert_eq!(code(&mut s, "DELETE FROM q").await, "23503");
    assert_eq!(code(&mut s, "CREATE TABLE x (a int REFERENCES c (p_id))").await, "42830");
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_of_foreign_keys_change_the_rows_that_refer() {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE c (id int PRIMARY KEY,
                         p int REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE);
         CREATE TABLE g (id int, c int DEFAULT 0 REFERENCES c ON DELETE SET NULL,
                         d int DEFAULT 20 REFERENCES c ON DELETE SET DEFAULT);
         INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (10, 1), (20, 2);
         INSERT INTO g VALUES (100, 10, 10), (200, 20, 20)",
    )
    .await
    .unwrap();
    run(&mut s, "UPDATE p SET id = id + 5").await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM c ORDER BY id").await.unwrap(), ["10|6", "20|7"]);
    run(&mut s, "DELETE FROM p WHERE id = 6").await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM c").await.unwrap(), ["20|7"]);
    let rows = run(&mut s, "SELECT * FROM g ORDER BY id").await.unwrap();
    assert_eq!(rows, ["100|NULL|20", "200|20|20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_cannot_be_referred_to_and_deleted_at_the_same_time() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(&mut a, "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int REFERENCES p)")
        .await
        .unwrap();
    run(&mut a, "INSERT INTO p VALUES (1), (2)").await.unwrap();
    for (id, first) in [(1, true), (2, false)] {
        run(&mut a, &format!("BEGIN; INSERT INTO c VALUES ({id})")).await.unwrap();
        run(&mut b, &format!("BEGIN; DELETE FROM p WHERE id = {id}")).await.unwrap();
        let (winner, loser) = if first { (&mut a, &mut b) } else { (&mut b, &mut a) };
        run(winner, "COMMIT").await.unwrap();
        assert_eq!(code(loser, "COMMIT").await, "23503");
    }
    assert_eq!(run(&mut a, "SELECT * FROM c").await.unwrap(), ["1"]);
    assert_eq!(run(&mut a, "SELECT * FROM p").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn deferred_keys_are_looked_at_when_the_transaction_ends() {
    let world = World::new().await;
    let mut s = world.session();
    run(
        &mut s,
        "CREATE TABLE p (id int PRIMARY KEY);
         CREATE TABLE c (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED)",
    )
    .await
    .unwrap();
    run(&mut s, "BEGIN; INSERT INTO c VALUES (1); INSERT INTO p VALUES (1); COMMIT").await.unwrap();
    run(&mut s, "BEGIN; INSERT INTO c VALUES (2)").await.unwrap();
    assert_eq!(code(&mut s, "COMMIT").await, "23503");
    run(&mut s, "BEGIN; INSERT INTO c VALUES (2); DELETE FROM c WHERE p = 2; COMMIT")
        .await
        .unwrap();
    run(&mut s, "BEGIN; DELETE FROM p").await.unwrap();
    assert_eq!(code(&mut s, "SET CONSTRAINTS ALL IMMEDIATE").await, "23503");
    run(&mut s, "ROLLBACK; BEGIN; SET CONSTRAINTS c_p_fkey IMMEDIATE").await.unwrap();
    assert_eq!(code(&mut s, "INSERT INTO c VALUES (3)").await, "23503");
    run(&mut s, "ROLLBACK").await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM c").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_came_and_went_within_a_transaction_bind_nobody() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(&mut a, "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int REFERENCES p)")
        .await
        .unwrap();
    run(&mut a, "BEGIN; INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)").await.unwrap();
    run(&mut a, "DELETE FROM c; DELETE FROM p; INSERT INTO p VALUES (7)").await.unwrap();
    run(&mut b, "INSERT INTO p VALUES (2)").await.unwrap();
    run(&mut a, "COMMIT").await.unwrap();
    assert_eq!(run(&mut a, "SELECT * FROM p ORDER BY id").await.unwrap(), ["2", "7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temporary_table_is_its_sessions_own() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(&mut a, "CREATE TABLE t (v text); INSERT INTO t VALUES ('all')").await.unwrap();
    run(&mut a, "CREATE TEMP TABLE t AS SELECT 'own'::text AS v").await.unwrap();
    assert_eq!(run(&mut a, "SELECT v FROM t").await.unwrap(), ["own"]);
    assert_eq!(run(&mut a, "SELECT v FROM pg_temp.t").await.unwrap(), ["own"]);
    assert_eq!(run(&mut a, "SELECT v FROM public.t").await.unwrap(), ["all"]);
    assert_eq!(run(&mut b, "SELECT v FROM t").await.unwrap(), ["all"]);
    run(&mut a, "CREATE TABLE u (v int)").await.unwrap();
    assert_eq!(run(&mut b, "SELECT count(*) FROM u").await.unwrap(), ["0"]);
    run(&mut a, "DROP TABLE t").await.unwrap();
    assert_eq!(run(&mut a, "SELECT v FROM t").await.unwrap(), ["all"]);
    run(&mut a, "BEGIN; CREATE TEMP TABLE d (v int) ON COMMIT DROP; INSERT INTO d VALUES (1)")
        .await
        .unwrap();
    assert_eq!(run(&mut a, "SELECT v FROM d").await.unwrap(), ["1"]);
    run(&mut a, "COMMIT").await.unwrap();
    assert_eq!(code(&mut a, "SELECT v FROM d").await, "42P01");
    run(&mut a, "CREATE TEMP TABLE r (v serial) ON COMMIT DELETE ROWS").await.unwrap();
    run(&mut a, "BEGIN; INSERT INTO r DEFAULT VALUES").await.unwrap();
    assert_eq!(run(&mut a, "SELECT v FROM r").await.unwrap(), ["1"]);
    run(&mut a, "COMMIT").await.unwrap();
    assert_eq!(run(&mut a, "SELECT count(*) FROM r").await.unwrap(), ["0"]);
    assert_eq!(code(&mut a, "CREATE TABLE x (v int) ON COMMIT DROP").await, "42P16");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pg_temp_%'";
    assert_eq!(run(&mut b, left).await.unwrap(), ["1"]);
    drop(a);
    // The session ended; what was its own goes soon.
    for _ in 0..500 {
        if run(&mut b, left).await.unwrap() == ["0"] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the temporary schema outlived its session");
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_deletes_what_the_source_lacks() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    run(&mut s, "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await.unwrap();
    let tag = run(
        &mut s,
        "MERGE INTO t USING (VALUES (2, 'B'), (4, 'D')) AS s (id, v) ON t.id = s.id
         WHEN MATCHED THEN UPDATE SET v = s.v
         WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (s.id, s.v)
         WHEN NOT MATCHED BY SOURCE AND t.id = 1 THEN DELETE
         WHEN NOT MATCHED BY SOURCE THEN UPDATE SET v = upper(t.v) || '?'",
    )
    .await
    .unwrap();
    assert_eq!(tag, ["MERGE 4"]);
    let rows = run(&mut s, "SELECT * FROM t ORDER BY id").await.unwrap();
    assert_eq!(rows, ["2|B", "3|C?", "4|D"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn periods_of_concurrent_transactions_do_not_overlap() {
    let world = World::new().await;
    let (mut a, mut b) = (world.session(), world.session());
    run(
        &mut a,
        "CREATE TABLE r (k int, s date, e date, PERIOD FOR p (s, e),
                         PRIMARY KEY (k, p WITHOUT OVERLAPS))",
    )
    .await
    .unwrap();
    let insert = |from: &str, to: &str| format!("INSERT INTO r VALUES (1, '{from}', '{to}')");
    run(&mut a, &format!("BEGIN; {}", insert("2026-01-01", "2026-03-01"))).await.unwrap();
    run(&mut b, &format!("BEGIN; {}", insert("2026-02-01", "2026-04-01"))).await.unwrap();
    run(&mut a, "COMMIT").await.unwrap();
    let error = run(&mut b, "COMMIT").await.unwrap_err();
    assert_eq!(error.code, "23P01");
    assert_eq!(error.message, "conflicting key value violates exclusion constraint \"r_pkey\"");
    assert_eq!(
        error.detail.unwrap(),
        "Key (k, s, e)=(1, 2026-02-01, 2026-04-01) conflicts with existing key \
         (k, s, e)=(1, 2026-01-01, 2026-03-01)."
    );
    // Beside each other they may stand.
    run(&mut a, &format!("BEGIN; {}", insert("2026-03-01", "2026-04-01"))).await.unwrap();
    run(&mut b, &insert("2026-04-01", "2026-05-01")).await.unwrap();
    run(&mut a, "COMMIT").await.unwrap();
    let rows = run(&mut a, "SELECT count(*) FROM r").await.unwrap();
    assert_eq!(rows, ["3"]);
    let rows = run_with(
        &mut a,
        "UPDATE r FOR PORTION OF p FROM $1 TO $2 SET k = 2 WHERE k = 1 RETURNING s",
        vec![
            ScalarValue::Utf8(Some("2026-02-01".to_owned())),
            ScalarValue::Utf8(Some("2026-03-15".to_owned())),
        ],
    )
    .await
    .unwrap();
    assert_eq!(rows, ["2026-02-01", "2026-03-01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursors_present_row_can_be_changed() {
    let world = World::new().await;
    let mut s = world.session();
    run(&mut s, "CREATE TABLE t (id int PRIMARY KEY, v int)").await.unwrap();
    run(&mut s, "INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)").await.unwrap();
    run(&mut s, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id").await.unwrap();
    assert_eq!(code(&mut s, "UPDATE t SET v = 1 WHERE CURRENT OF c").await, "24000");
    run(&mut s, "ROLLBACK; BEGIN; DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id")
        .await
        .unwrap();
    assert_eq!(run(&mut s, "FETCH 2 FROM c").await.unwrap(), ["1", "2"]);
    run(&mut s, "UPDATE t SET v = 7 WHERE CURRENT OF c").await.unwrap();
    assert_eq!(run(&mut s, "FETCH c").await.unwrap(), ["3"]);
    run(&mut s, "DELETE FROM t WHERE CURRENT OF c; COMMIT").await.unwrap();
    assert_eq!(run(&mut s, "SELECT * FROM t ORDER BY id").await.unwrap(), ["1|0", "2|7"]);
    run(&mut s, "BEGIN; DECLARE n CURSOR FOR SELECT count(*) FROM t FOR UPDATE").await.err();
    run(&mut s, "ROLLBACK; BEGIN; DECLARE u CURSOR FOR SELECT v FROM t WHERE id = 2 FOR UPDATE")
        .await
        .unwrap();
    assert_eq!(run(&mut s, "FETCH u").await.unwrap(), ["7"]);
    run(&mut s, "UPDATE t SET v = 8 WHERE CURRENT OF u; COMMIT").await.unwrap();
    assert_eq!(run(&mut s, "SELECT v FROM t WHERE id = 2").await.unwrap(), ["8"]);
    assert_eq!(code(&mut s, "DELETE FROM t WHERE CURRENT OF nowhere").await, "34000");
}
