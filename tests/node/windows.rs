//! Aggregates over sliding windows, against the same thing spelled out with FILTER.

use chronos_tests::data;
use chronos_tests::script::now;
use chronos_tests::{Answer, TestNode};
use tokio_postgres::Client;

const WINDOWED: &str = "SELECT origin, AVG_1H(temp) AS avg_1h, AVG_24H(temp) AS avg_24h,
    AVG_7D(temp) AS avg_7d, COUNT_7D(temp) AS count_7d FROM recent{} GROUP BY origin ORDER BY origin";

/// The same as [`WINDOWED`], where `end` is the instant at which the windows end.
fn spelled_out(clause: &str, end: &str) -> String {
    let filter =
        |window: &str| format!("FILTER (WHERE at > {end} - INTERVAL '{window}' AND at <= {end})");
    format!(
        "SELECT origin, avg(temp) {} AS avg_1h, avg(temp) {} AS avg_24h, avg(temp) {} AS avg_7d,
                count(temp) {} AS count_7d
         FROM recent{clause} GROUP BY origin ORDER BY origin",
        filter("1 hour"),
        filter("24 hours"),
        filter("7 days"),
        filter("7 days"),
    )
}

async fn ask(client: &Client, sql: &str) -> Answer {
    match Answer::simple(client, sql).await {
        Ok(answer) => answer,
        Err(e) => panic!("{sql}: {}", chronos_tests::answer::told(&e)),
    }
}

/// The weather of 2013, moved so that the last hour is now.
async fn load_recent(client: &Client, options: &str) {
    client.batch_execute("SET TIME ZONE 'UTC'").await.expect("the time zone can be set");
    client.batch_execute(&data::schema()).await.expect("the tables can be made");
    data::copy_in(client, "weather", data::csv("weather")).await;
    let make = format!(
        "CREATE TABLE recent (origin text, at timestamptz, temp double precision,
                              PRIMARY KEY (origin, at)) {options}"
    );
    client.batch_execute(&make).await.expect("the table can be made");
    let move_all = "INSERT INTO recent
        SELECT origin, time_hour + (now() - (SELECT max(time_hour) FROM weather)), temp FROM weather";
    assert_eq!(client.execute(move_all, &[]).await.expect("the rows can be moved"), 26_115);
}

#[tokio::test(flavor = "multi_thread")]
async fn windowed_averages_equal_filtered_ones_now_and_as_of_then() {
    let node = TestNode::start();
    let client = node.connect().await;
    load_recent(&client, "WITH (time_column = 'at')").await;
    let recorded = data::queries().into_iter().find(|query| query.name == "weather_windows");
    let recorded = recorded.expect("the windows were recorded").expected("0-loaded");

    let windowed = WINDOWED.replace("{}", "");
    ask(&client, &windowed).await.assert_like(&recorded, "windows up to now");
    // In a transaction now() stands still, so that both speak of the same windows.
    client.batch_execute("BEGIN").await.expect("BEGIN works");
    let answer = ask(&client, &windowed).await;
    answer.assert_like(&ask(&client, &spelled_out("", "now()")).await, "windows up to now()");
    client.batch_execute("COMMIT").await.expect("COMMIT works");

    let before = now(&client).await;
    client
        .batch_execute(
            "UPDATE recent SET temp = temp + 10 WHERE at > now() - INTERVAL '3 days';
             INSERT INTO recent VALUES ('EWR', now(), 500);
             DELETE FROM recent WHERE origin = 'JFK'",
        )
        .await
        .expect("the weather can be changed");
    let clause = format!(" FOR SYSTEM_TIME AS OF '{before}'");
    let then = ask(&client, &WINDOWED.replace("{}", &clause)).await;
    then.assert_like(&recorded, "windows AS OF before the changes");
    let end = format!("'{before}'::timestamptz");
    then.assert_like(&ask(&client, &spelled_out(&clause, &end)).await, "spelled out, AS OF");
    let changed = ask(&client, &windowed).await;
    assert!(changed.difference(&recorded).is_some(), "the changes are seen now:\n{changed}");

    // The window of the past ends in the past: an instant between two hours of weather.
    let yesterday = ask(&client, "SELECT (now() - INTERVAL '1 day')::text").await;
    let earlier = yesterday.value().expect("an instant");
    let clause = format!(" FOR SYSTEM_TIME AS OF '{earlier}'");
    let code = Answer::simple(&client, &WINDOWED.replace("{}", &clause)).await;
    let code = chronos_tests::answer::sqlstate(&code.expect_err("the table did not exist"));
    assert_eq!(code, "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_aggregates_of_the_query_see_rows_outside_the_windows() {
    let node = TestNode::start();
    let client = node.connect().await;
    // The only timestamptz column is the time column.
    load_recent(&client, "").await;
    let mixed =
        "SELECT count(*), COUNT_1H(temp), COUNT_24H(temp), min(at) < now() - INTERVAL '300 days'
                 FROM recent";
    assert_eq!(ask(&client, mixed).await.to_string(), "26115|3|72|t\n");
    let grouped = "SELECT origin, COUNT_1H(temp) FROM recent WHERE temp < -1000 GROUP BY origin";
    assert_eq!(ask(&client, grouped).await.rows.len(), 0);
    let all = "SELECT MIN_7D(temp) = min(temp) FILTER (WHERE at > now() - INTERVAL '7 days'),
                      MAX_7D(temp) = max(temp) FILTER (WHERE at > now() - INTERVAL '7 days'),
                      abs(SUM_24H(temp) - sum(temp) FILTER (WHERE at > now() - INTERVAL '24 hours')) < 1e-6
               FROM recent";
    assert_eq!(ask(&client, all).await.to_string(), "t|t|t\n");
    // A group outside every window is still a group.
    client
        .batch_execute("INSERT INTO recent VALUES ('OLD', '2000-01-01 00:00+00', 1)")
        .await
        .expect("a row of long ago");
    let groups =
        ask(&client, "SELECT origin, AVG_1H(temp) FROM recent GROUP BY 1 ORDER BY 1").await;
    assert_eq!(groups.rows.len(), 4, "{groups}");
    assert_eq!(groups.rows[3], [Some("OLD".to_owned()), None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_shows_the_window_in_the_scan() {
    let node = TestNode::start();
    let client = node.connect().await;
    load_recent(&client, "WITH (time_column = 'at')").await;
    let plan = ask(&client, "EXPLAIN SELECT AVG_1H(temp), AVG_24H(temp) FROM recent").await;
    let scan_line = |line: &&str| {
        line.contains("at") && line.contains('>') && line.to_lowercase().contains("filter")
    };
    let text = plan.to_string();
    assert!(text.lines().any(|line| scan_line(&line)), "no window in the scan:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_column_the_window_is_of_system_time() {
    let node = TestNode::start();
    let client = node.connect().await;
    client
        .batch_execute(
            "CREATE TABLE s (id int PRIMARY KEY, v float8); INSERT INTO s VALUES (1, 2), (2, 4)",
        )
        .await
        .expect("a table without times");
    assert_eq!(ask(&client, "SELECT AVG_1H(v), COUNT_7D(v) FROM s").await.to_string(), "3|2\n");
    let before = now(&client).await;
    client.batch_execute("UPDATE s SET v = 10 WHERE id = 1").await.expect("UPDATE works");
    let then = format!("SELECT SUM_24H(v) FROM s FOR SYSTEM_TIME AS OF '{before}'");
    assert_eq!(ask(&client, &then).await.to_string(), "6\n");
    assert_eq!(ask(&client, "SELECT SUM_24H(v) FROM s").await.to_string(), "14\n");
}
