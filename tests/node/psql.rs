//! psql as a newcomer uses it: `\copy`, `\dt`, `\d`, `\gset`.

use chronos_tests::tools::{find, psql, skipped};
use chronos_tests::{TestNode, data};

/// The output of a script that must succeed; `None`, said aloud, where there is no psql.
fn run(test: &str, node: &TestNode, script: &str) -> Option<String> {
    if find("psql").is_none() {
        skipped(test, "psql is not on the PATH");
        return None;
    }
    let output = psql(node, script);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert_eq!(stderr, "", "psql complained");
    Some(stdout)
}

#[test]
fn psql_loads_changes_and_looks_back() {
    let node = TestNode::start();
    let folder = data::folder();
    let mut script = data::schema();
    for table in ["airlines", "airports", "planes", "weather"] {
        let file = folder.join(format!("nycflights13/{table}.csv"));
        script += &format!("\\copy {table} from '{}' csv header null 'NA'\n", file.display());
    }
    script += "
SELECT count(*) FROM airports;
SELECT now() AS before \\gset
UPDATE airports SET alt = 0 WHERE tzone = 'America/New_York';
DELETE FROM airports WHERE faa = 'JFK';
SELECT count(*), sum(alt) > 0 FROM airports;
SELECT count(*), sum(alt) FROM airports FOR SYSTEM_TIME AS OF :'before';
SELECT name FROM airports FOR SYSTEM_TIME AS OF :'before' WHERE faa = 'JFK';
";
    let Some(output) = run("psql_loads_changes_and_looks_back", &node, &script) else { return };
    let lines: Vec<&str> = output.lines().collect();
    let altitudes: i64 = String::from_utf8(data::csv("airports"))
        .expect("the file is text")
        .lines()
        .skip(1)
        .map(|line| {
            // The only quoted column is the name, and nothing after it holds a comma.
            let column = line.rsplit(',').nth(3).expect("eight columns");
            column.parse::<i64>().expect("a whole number of feet")
        })
        .sum();
    assert_eq!(
        lines,
        ["1458", "1457|t", &format!("1458|{altitudes}"), "John F Kennedy Intl"],
        "{output}"
    );
}

#[test]
fn psql_describes_tables() {
    let node = TestNode::start();
    let script = "
CREATE TABLE orders (id int PRIMARY KEY, customer varchar(40) NOT NULL, total numeric(10,2) DEFAULT 0);
\\dt
\\d
\\pset tuples_only off
\\d orders
";
    let Some(output) = run("psql_describes_tables", &node, script) else { return };
    assert!(output.contains("public|orders|table|chronos"), "{output}");
    for part in
        ["id|integer||not null|", "customer|character varying(40)||not null|", "numeric(10,2)"]
    {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }
    assert!(output.contains("\"orders_pkey\" PRIMARY KEY"), "{output}");
}

#[test]
fn psql_shows_where_an_error_is() {
    let node = TestNode::start();
    if find("psql").is_none() {
        skipped("psql_shows_where_an_error_is", "psql is not on the PATH");
        return;
    }
    let output = psql(&node, "SELECT no_such_column;\n");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("no_such_column"), "{stderr}");
    let output = psql(&node, "SELECT * FORM t;\n");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("LINE 1:") && stderr.contains('^'), "no position:\n{stderr}");
}
