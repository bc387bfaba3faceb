use datafusion::sql::sqlparser::ast;

use super::parse;
use crate::statement::{Extension, StatementKind};

/// The statements as the parser prints them again.
fn printed(sql: &str) -> String {
    match parse(sql) {
        Ok(statements) => statements
            .iter()
            .map(|s| match &s.kind {
                StatementKind::Sql(ast) => ast.to_string(),
                StatementKind::Extension(extension) => format!("{extension:?}"),
            })
            .collect::<Vec<_>>()
            .join("; "),
        Err(error) => {
            format!("{} {error} at {:?}", error.sqlstate(), error.position().unwrap_or(0))
        }
    }
}

#[test]
fn every_spelling_of_as_of_marks_its_table() {
    let marked = "SELECT * FROM t(_chronos_time => 'as_of', '2026-01-01') x WHERE x.a = 1";
    for sql in [
        "select * from t for system_time as of '2026-01-01' x where x.a = 1",
        "select * from t x for system_time as of '2026-01-01' where x.a = 1",
        "select * from t as of '2026-01-01' x where x.a = 1",
        "select * from t x as of '2026-01-01' where x.a = 1",
        "select * from t timestamp as of '2026-01-01' x where x.a = 1",
        "select * from t for timestamp as of '2026-01-01' x where x.a = 1",
        "select * from as_of('t', '2026-01-01') x where x.a = 1",
    ] {
        assert_eq!(printed(sql), marked, "{sql}");
    }
    let marked = marked.replace(" x ", " AS x ");
    for sql in [
        "select * from t as x for system_time as of '2026-01-01' where x.a = 1",
        "select * from t for system_time as of '2026-01-01' as x where x.a = 1",
        "select * from t as x as of '2026-01-01' where x.a = 1",
    ] {
        assert_eq!(printed(sql), marked, "{sql}");
    }
}

#[test]
fn periods_mark_their_table() {
    for (sql, marked) in [
        ("from t for system_time all", "FROM t(_chronos_time => 'all')"),
        ("from t for system_time from $1 to $2 x", "FROM t(_chronos_time => 'from_to', $1, $2) x"),
        (
            "from t for system_time between now() - interval '1 hour' and now() where a and b",
            "FROM t(_chronos_time => 'between', now() - INTERVAL '1 hour', now()) WHERE a AND b",
        ),
        (
            "from t for system_time contained in ('2026-01-01', now()) x",
            "FROM t(_chronos_time => 'contained_in', '2026-01-01', now()) x",
        ),
        ("from t for version as of 7", "FROM t(_chronos_time => 'version', 7)"),
        ("from t version as of 7", "FROM t(_chronos_time => 'version', 7)"),
        ("from \"t@2026-11-20\"", "FROM \"t\"(_chronos_time => 'as_of_relative', '2026-11-20')"),
    ] {
        assert_eq!(printed(&format!("select * {sql}")), format!("SELECT * {marked}"), "{sql}");
    }
}

#[test]
fn each_reference_keeps_its_own_instant() {
    assert_eq!(
        printed(
            "select * from t for system_time as of $1 a join public.t for system_time as of $2 b \
             on a.id = b.id, u where a.x in (select x from v as of $3)"
        ),
        "SELECT * FROM t(_chronos_time => 'as_of', $1) a JOIN public.t(_chronos_time => 'as_of', \
         $2) b ON a.id = b.id, u WHERE a.x IN (SELECT x FROM v(_chronos_time => 'as_of', $3))"
    );
}

#[test]
fn derived_table_gives_its_instant_to_the_tables_inside_that_have_none() {
    let expected = "SELECT * FROM (SELECT * FROM t(_chronos_time => 'as_of', $1), \
                    u(_chronos_time => 'as_of', $2)) ";
    for (sql, alias) in [
        ("select * from (select * from t, u as of $2) as of $1 d", "d"),
        ("select * from (select * from t, u as of $2) d as of $1", "d"),
        ("select * from (select * from t, u as of $2) for system_time as of $1 as d", "AS d"),
    ] {
        assert_eq!(printed(sql), format!("{expected}{alias}"), "{sql}");
    }
}

#[test]
fn as_of_system_time_is_for_the_whole_statement() {
    for sql in [
        "select * from a join b using (id) as of system time '-10s' where x > 1",
        "select * from a join b using (id) where x > 1 as of system time '-10s'",
    ] {
        assert_eq!(
            printed(sql),
            "SELECT * FROM a(_chronos_time => 'as_of_relative', '-10s') JOIN b(_chronos_time => \
             'as_of_relative', '-10s') USING(id) WHERE x > 1",
            "{sql}"
        );
    }
}

#[test]
fn ordinary_sql_is_left_alone() {
    for sql in [
        "SELECT a AS of FROM t AS of WHERE of.a = 1",
        "SELECT at.x, before.y FROM t at, u before",
        "SELECT version, system_time FROM version AS system_time",
        "SELECT 'for system_time as of now()' FROM t FOR UPDATE",
        "SELECT extract(EPOCH FROM x), substring(y FROM 1 FOR 2) FROM t",
        "SELECT a IS DISTINCT FROM b AS of FROM t",
        "SELECT * FROM t AS timestamp WHERE timestamp.a = 1",
        "SELECT * FROM \"user@example.org\"",
    ] {
        let normal = |text: &str| text.to_lowercase().replace(' ', "");
        assert_eq!(normal(&printed(sql)), normal(sql));
    }
}

#[test]
fn clause_without_a_table_is_an_error() {
    for sql in [
        "select 1 for system_time as of now()",
        "select * from t where a for system_time as of now()",
        "select * from generate_series(1, 2) for system_time as of now()",
        "select * from t for system_time as of $1 x as of $2",
        "select * from a join b using (id) as of $1",
        "select * from t for system_time since now()",
        "select * from t for system_time",
    ] {
        assert!(parse(sql).is_err(), "{sql}: {}", printed(sql));
    }
}

#[test]
fn writing_into_the_past_is_25006() {
    for sql in [
        "update t for system_time as of now() set a = 1",
        "delete from t for system_time as of now()",
        "delete from t as of system time '-1s'",
    ] {
        assert_eq!(parse(sql).map_err(|e| e.sqlstate()).err(), Some("25006"), "{sql}");
    }
}

#[test]
fn errors_tell_their_position_in_the_query_string() {
    assert_eq!(
        printed("select 1;\n select * from t order 5"),
        "42601 syntax error at or near \"order\" at 28"
    );
    assert_eq!(printed("é; selct"), "42601 syntax error at or near \"é\" at 1");
    assert_eq!(printed("select 1 +"), "42601 syntax error at end of input at 11");
    assert_eq!(
        printed("select * from t as of '2026-01-01' where )"),
        "42601 syntax error at or near \")\" at 42"
    );
}

#[test]
fn statements_are_split_with_their_text_and_offset() {
    let statements = parse("select 1; ; -- x;y\nselect ';' || $2 ;").unwrap();
    let parts: Vec<_> =
        statements.iter().map(|s| (s.text.as_str(), s.offset, s.parameter_count)).collect();
    assert_eq!(parts, [("select 1", 0, 0), ("select ';' || $2", 19, 2)]);
    assert!(parse(" -- nothing\n ;; ").unwrap().is_empty());
}

#[test]
fn nesting_beyond_the_limit_is_54001_and_long_lists_are_fine() {
    let nested = |n: usize| format!("select {}1{}", "(".repeat(n), ")".repeat(n));
    assert_eq!(parse(&nested(10_000)).map_err(|e| e.sqlstate()).err(), Some("54001"));
    assert!(parse(&nested(200)).is_ok());
    let sum = format!("select 1{}", " + 1".repeat(100_000));
    assert_eq!(parse(&sum).map_err(|e| e.sqlstate()).err(), Some("54001"));
    let list = format!("select 1 in ({}1)", "-1, ".repeat(50_000));
    assert!(parse(&list).is_ok());
}

#[test]
fn statements_of_ours_parse() {
    for (sql, expected) in [
        ("vacuum (analyze) t", "Vacuum { analyze: true"),
        ("analyze", "Analyze { tables: [] }"),
        ("reindex table t", "Reorganize { tag: \"REINDEX\""),
        ("begin isolation level serializable, read only, deferrable", "Begin { start: false"),
        ("begin as of system time '-1h'", "Begin { start: false"),
        ("restore table t to timestamp '2026-01-01' as u", "Restore"),
        ("restore table t to timestamp $1", "Restore"),
        ("restore row t where id = 1 to version 3 dry run", "Restore"),
        ("undrop table t as u", "UndropTable"),
        ("revert transaction 7", "Revert"),
        ("alter view if exists v rename to w", "AlterRelation { kind: View, if_exists: true"),
        ("alter table t set schema s", "AlterRelation { kind: Table"),
        ("undrop table t", "UndropTable"),
        ("erase from t where id = 5", "Erase"),
        ("delete history from t before system_time now() - interval '1 year'", "DeleteHistory"),
        ("do $$ begin end $$", "Refused { what: \"DO\" }"),
    ] {
        assert!(printed(sql).starts_with(expected), "{sql}: {}", printed(sql));
    }
    let Some(StatementKind::Extension(Extension::Begin { modes, .. })) =
        parse("begin read only, not deferrable").unwrap().pop().map(|s| s.kind)
    else {
        panic!("not a BEGIN of ours");
    };
    assert_eq!((modes.read_only, modes.deferrable), (Some(true), Some(false)));
}

#[test]
fn marked_statement_prints_and_parses_again() {
    for sql in ["select * from t as of $1 x", "select * from t for system_time from 'a' to 'b'"] {
        let once = printed(sql);
        assert_eq!(printed(&once), once);
        let Ok([statement]) = <[_; 1]>::try_from(parse(&once).unwrap()) else { panic!("{once}") };
        let StatementKind::Sql(statement) = statement.kind else { panic!("{once}") };
        assert!(
            format!("{statement:?}").contains("Named { name: Ident { value: \"_chronos_time\"")
        );
    }
}

#[test]
fn nested_calls_parse_in_linear_time() {
    let sql = format!("select {}1{}", "abs(".repeat(200), ")".repeat(200));
    assert!(parse(&sql).is_ok());
}

#[test]
fn only_and_the_star_of_inheritance_say_nothing() {
    for (sql, expected) in [
        ("SELECT * FROM ONLY t", "SELECT * FROM t"),
        ("SELECT * FROM ONLY (s.t) x", "SELECT * FROM s.t x"),
        ("SELECT * FROM s.t * WHERE a * b = 1", "SELECT * FROM s.t WHERE a * b = 1"),
        ("SELECT * FROM t *", "SELECT * FROM t"),
        ("TABLE s.t ORDER BY 1", "SELECT * FROM s.t ORDER BY 1"),
        ("DELETE FROM ONLY t", "DELETE FROM t"),
        ("SELECT EXTRACT(year FROM a * b) FROM t", "SELECT EXTRACT(YEAR FROM a * b) FROM t"),
    ] {
        assert_eq!(printed(sql), expected, "{sql}");
    }
}

#[test]
fn options_of_copy_are_switched_by_on_and_off() {
    for (options, wanted) in [
        ("FREEZE on", "FREEZE TRUE"),
        ("HEADER off, FORMAT 'csv'", "HEADER FALSE, FORMAT csv"),
        ("HEADER 1", "HEADER TRUE"),
    ] {
        let sql = |options| format!("COPY t FROM STDIN ({options})");
        let text = |sql: String| match &super::parse(&sql).unwrap()[0].kind {
            StatementKind::Sql(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(sql(options)), text(sql(wanted)));
    }
}

#[test]
fn a_query_is_printed_as_a_user_writes_it_and_reads_the_same() {
    for sql in [
        "SELECT * FROM t FOR SYSTEM_TIME AS OF '2026-01-01'",
        "SELECT * FROM s.t AS x FOR SYSTEM_TIME AS OF now() - INTERVAL '1 hour' WHERE x.a = 1",
        "SELECT * FROM t AS x (a, b) FOR SYSTEM_TIME BETWEEN '2026-01-01' AND now() ORDER BY a",
        "SELECT * FROM t FOR SYSTEM_TIME ALL JOIN u AS v FOR VERSION AS OF 7 ON t.a = v.a",
        "SELECT * FROM t FOR SYSTEM_TIME FROM '2026-01-01' TO '2026-01-02', u",
        "SELECT * FROM t FOR SYSTEM_TIME CONTAINED IN ('2026-01-01', '2026-01-02')",
    ] {
        let statement = parse(sql).unwrap().remove(0);
        let StatementKind::Sql(statement) = statement.kind else { panic!("{sql}") };
        let ast::Statement::Query(query) = statement.as_ref() else { panic!("{sql}") };
        let text = crate::query_text(query).unwrap();
        assert_eq!(text, sql);
        assert_eq!(printed(&text), statement.to_string());
    }
}

#[test]
fn fetch_and_move_take_every_direction() {
    use crate::statement::{Extension, FetchCount};
    for (sql, wanted, moves) in [
        ("FETCH c", FetchCount::Rows(1), false),
        ("FETCH 5 FROM c", FetchCount::Rows(5), false),
        ("FETCH FORWARD IN c", FetchCount::Rows(1), false),
        ("MOVE BACKWARD 3 IN c", FetchCount::Rows(-3), true),
        ("MOVE FORWARD ALL FROM c", FetchCount::All { backward: false }, true),
        ("FETCH RELATIVE -2 FROM c", FetchCount::Relative(-2), false),
        ("MOVE ABSOLUTE 7 FROM c", FetchCount::Absolute(7), true),
        ("FETCH LAST FROM c", FetchCount::Absolute(-1), false),
    ] {
        match &super::parse(sql).unwrap()[0].kind {
            StatementKind::Extension(Extension::Fetch { name, count, only_move }) => {
                assert_eq!(
                    (name.value.as_str(), *count, *only_move),
                    ("c", wanted, moves),
                    "{sql}"
                );
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
    assert!(super::parse("FETCH RELATIVE FROM c").is_err());
}

#[test]
fn options_of_a_sequence_may_stand_in_any_order() {
    let pg_dump = "CREATE SEQUENCE app.start AS integer START WITH 5 INCREMENT BY 2 NO MINVALUE \
                   MAXVALUE 9 CACHE 1";
    let ordered = "CREATE SEQUENCE app.start AS integer INCREMENT BY 2 NO MINVALUE MAXVALUE 9 \
                   START WITH 5 CACHE 1";
    assert_eq!(printed(pg_dump), printed(ordered));
    assert!(printed(pg_dump).starts_with("CREATE SEQUENCE"), "{}", printed(pg_dump));
}
