//! Real data, before, between and after changes, against what PostgreSQL answered.

use std::time::SystemTime;

use chronos_tests::data::{self, STAGES};
use chronos_tests::script::now;
use chronos_tests::{Answer, TestNode};
use tokio_postgres::Client;

const UNITED: u64 = 58_665;
const FROM_LA_GUARDIA: u64 = 104_662;

/// Asks every recorded question with that clause and notes what differs.
async fn compare(client: &Client, clause: &str, stage: &str, how: &str, faults: &mut Vec<String>) {
    for query in data::queries() {
        let fault = match Answer::simple(client, &query.sql(clause)).await {
            Ok(answer) => answer.difference(&query.expected(stage)),
            Err(e) => Some(chronos_tests::answer::told(&e)),
        };
        faults.extend(fault.map(|fault| format!("{} at {stage}, {how}: {fault}", query.name)));
    }
}

fn as_of(at: &str) -> String {
    format!(" FOR SYSTEM_TIME AS OF '{at}'")
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_are_answered_as_postgresql_does_before_between_and_after_changes() {
    let mut node = TestNode::start();
    let mut client = node.connect().await;
    client.batch_execute("SET TIME ZONE 'UTC'").await.expect("the time zone can be set");
    data::load(&client).await;

    let mut faults = Vec::new();
    let mut moments = vec![now(&client).await];
    compare(&client, "", STAGES[0], "now", &mut faults).await;
    for ((change, rows), stage) in
        data::changes().iter().zip([UNITED, FROM_LA_GUARDIA]).zip(&STAGES[1..])
    {
        assert_eq!(client.execute(change, &[]).await.expect("the change works"), rows, "{change}");
        moments.push(now(&client).await);
        compare(&client, "", stage, "now", &mut faults).await;
    }
    for (at, stage) in moments.iter().zip(STAGES) {
        compare(&client, &as_of(at), stage, "AS OF", &mut faults).await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    for (at, stage) in moments.iter().zip(STAGES) {
        client.batch_execute(&format!("SET chronos.as_of = '{at}'")).await.expect("SET works");
        compare(&client, "", stage, "SET chronos.as_of", &mut faults).await;
    }
    client.batch_execute("RESET chronos.as_of").await.expect("RESET works");
    then_joined_with_now(&client, &moments[0]).await;

    for how in ["after a restart", "after a kill"] {
        match how {
            "after a kill" => node.crash(),
            _ => node.restart(),
        }
        client = node.connect().await;
        client.batch_execute("SET TIME ZONE 'UTC'").await.expect("the time zone can be set");
        for (at, stage) in moments.iter().zip(STAGES) {
            compare(&client, &as_of(at), stage, how, &mut faults).await;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// One query over the table then and the table now; the instant written out and as a parameter.
async fn then_joined_with_now(client: &Client, before: &str) {
    let question = |instant: &str| {
        format!(
            "SELECT count(*) AS n, count(is_now.flight) AS kept,
                    sum(is_now.dep_delay - was.dep_delay) AS added
             FROM flights FOR SYSTEM_TIME AS OF {instant} was
             LEFT JOIN flights is_now ON is_now.time_hour = was.time_hour
                  AND is_now.carrier = was.carrier AND is_now.flight = was.flight"
        )
    };
    let row = client
        .query_one(&question(&format!("'{before}'")), &[])
        .await
        .expect("then and now can be joined");
    let written: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    // The delays of United's flights that were not cancelled and not from La Guardia.
    let united =
        "SELECT count(*) * 100 FROM flights WHERE carrier = 'UA' AND dep_delay IS NOT NULL";
    let added: i64 = client.query_one(united, &[]).await.expect("a count").get(0);
    assert_eq!(written, (336_776, 336_776 - FROM_LA_GUARDIA as i64, added));

    let instant = format!("SELECT '{before}'::timestamptz");
    let instant: SystemTime = client.query_one(&instant, &[]).await.expect("an instant").get(0);
    let statement = client.prepare(&question("$1")).await.expect("the instant may be a parameter");
    let row = client.query_one(&statement, &[&instant]).await.expect("the same question");
    assert_eq!((row.get(0), row.get(1), row.get(2)), written);

    let counts = "SELECT count(*), sum(dep_delay) FROM flights FOR SYSTEM_TIME AS OF $1";
    let row = client.query_one(counts, &[&instant]).await.expect("counts of then");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (336_776, 4_152_200));
}
