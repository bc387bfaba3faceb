"""What a Python program does with psycopg 3, beyond the first steps of psycopg_checks.py.

All of it holds for PostgreSQL 15 too, except the checks whose names speak of the past.
"""

import datetime
import decimal
import ipaddress  # noqa: F401  (psycopg registers its types when it is there)
import sys
import threading
import time
import uuid
import zoneinfo

import psycopg
from psycopg import errors, sql
from psycopg.rows import dict_row, namedtuple_row
from psycopg.types.json import Json, Jsonb

import checks
from checks import end, expect, runner

DSN = sys.argv[1]
UTC = datetime.timezone.utc


def connect(function):
    with psycopg.connect(DSN, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        function(connection)


check = runner(connect)


def chronos():
    with psycopg.connect(DSN) as connection:
        return "Chronos" in connection.execute("SELECT version()").fetchone()[0]


if chronos():
    checks.gaps["every_type_goes_both_ways_in_text_and_binary"] = (
        "a numeric without a scale loses the zeros at its end")


def one(connection, statement, *parameters, binary=False):
    cursor = connection.cursor(binary=binary)
    return cursor.execute(statement, parameters or None).fetchone()[0]


VALUES = [
    ("boolean", [True, False]),
    ("int2", [-32768, 32767]),
    ("int4", [-(2**31), 2**31 - 1]),
    ("int8", [-(2**63), 2**63 - 1]),
    ("float4", [0.5, float("inf"), -float("inf")]),
    ("float8", [1e300, 5e-324, -0.0, float("inf")]),
    ("numeric", [decimal.Decimal(x) for x in ("0", "-1.50", "12345678901234567890.123456789")]),
    ("numeric(12,2)", [decimal.Decimal("1234.50"), decimal.Decimal("-0.01")]),
    ("text", ["", "žluťoučký 🐎", "a'b\"c\\d", "line\nline\ttab"]),
    ("varchar(10)", ["short"]),
    ("bytea", [b"", b"\x00\xff\\'", bytes(range(256))]),
    ("date", [datetime.date(1, 1, 1), datetime.date(9999, 12, 31), datetime.date(2000, 2, 29)]),
    ("time", [datetime.time(0, 0), datetime.time(23, 59, 59, 999999)]),
    ("timestamp", [datetime.datetime(1970, 1, 1), datetime.datetime(2026, 11, 21, 1, 2, 3, 45)]),
    ("timestamptz", [datetime.datetime(2026, 11, 21, 1, 2, 3, 456789, UTC)]),
    ("interval", [datetime.timedelta(days=-3, seconds=4, microseconds=5), datetime.timedelta(0)]),
    ("uuid", [uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
    ("int4[]", [[1, None, 3], []]),
    ("int8[]", [[2**40, -1]]),
    ("float8[]", [[1.5, float("inf")]]),
    ("text[]", [["a", None, "NULL", "", 'x"y,{z}\\'], []]),
    ("boolean[]", [[True, False, None]]),
    ("numeric[]", [[decimal.Decimal("1.5"), decimal.Decimal("2")]]),
    ("date[]", [[datetime.date(2026, 1, 1)]]),
    ("timestamptz[]", [[datetime.datetime(2026, 1, 1, tzinfo=UTC)]]),
    ("uuid[]", [[uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]]),
    ("bytea[]", [[b"\x00", b""]]),
]


@check
def every_type_goes_both_ways_in_text_and_binary(connection):
    wrong = []
    for kind, values in VALUES:
        for value in values + [None]:
            for placeholder in ("%s", "%b", "%t"):
                for binary in (False, True):
                    try:
                        got = one(connection, f"SELECT {placeholder}::{kind}", value, binary=binary)
                    except Exception as error:
                        got = error
                    if got != value or str(got) != str(value):
                        wrong.append((kind, placeholder, binary, value, got))
    expect(wrong, [])


@check
def every_type_is_stored_and_comes_back(connection):
    columns = ", ".join(f"c{i} {kind}" for i, (kind, _) in enumerate(VALUES))
    connection.execute("DROP TABLE IF EXISTS psy_types")
    connection.execute(f"CREATE TABLE psy_types (id int PRIMARY KEY, {columns})")
    marks = ", ".join("%s" for _ in range(len(VALUES) + 1))
    rows = [
        (0, *[v[0] for _, v in VALUES]),
        (1, *[v[-1] for _, v in VALUES]),
        (2, *[None for _ in VALUES]),
    ]
    for row in rows:
        connection.execute(f"INSERT INTO psy_types VALUES ({marks})", row)
    for binary in (False, True):
        cursor = connection.cursor(binary=binary)
        expect(cursor.execute("SELECT * FROM psy_types ORDER BY id").fetchall(), rows)
    for i, (kind, values) in enumerate(VALUES):
        if kind.endswith("]"):
            continue
        found = connection.execute(f"SELECT id FROM psy_types WHERE c{i} = %s AND id = 0",
                                   (values[0],)).fetchall()
        expect((kind, found), (kind, [(0,)]))


@check
def json_goes_both_ways(connection):
    value = {"a": [1, 2.5, None, True], "b": {"ž": "🐎"}}
    for binary in (False, True):
        expect(one(connection, "SELECT %s::jsonb", Jsonb(value), binary=binary), value)
        expect(one(connection, "SELECT %s::json", Json(value), binary=binary), value)
        expect(one(connection, "SELECT %s", Jsonb(value), binary=binary), value)
    expect(one(connection, "SELECT (%s::jsonb)->>'a'", Jsonb({"a": "x"})), "x")


@check
def a_bare_parameter_is_text_or_its_own_type(connection):
    expect(one(connection, "SELECT %s", "x"), "x")
    expect(one(connection, "SELECT %s", 5), 5)
    expect(one(connection, "SELECT %s + 1", 5), 6)
    expect(one(connection, "SELECT %s || 'b'", "a"), "ab")
    expect(one(connection, "SELECT %s", True), True)
    expect(one(connection, "SELECT %s", None), None)
    expect(one(connection, "SELECT pg_typeof(%s::int8)", 1), "bigint")


@check
def limit_offset_and_arrays_take_parameters(connection):
    rows = connection.execute(
        "SELECT g FROM generate_series(1, %s) AS t(g) ORDER BY g LIMIT %s OFFSET %s", (10, 2, 3)
    ).fetchall()
    expect(rows, [(4,), (5,)])
    rows = connection.execute(
        "SELECT g FROM generate_series(1, 10) AS t(g) WHERE g = ANY(%s) ORDER BY g", ([2, 4, 99],)
    ).fetchall()
    expect(rows, [(2,), (4,)])
    rows = connection.execute(
        "SELECT g FROM generate_series(1, 5) AS t(g) WHERE g <> ALL(%s) ORDER BY g", ([2, 4],)
    ).fetchall()
    expect(rows, [(1,), (3,), (5,)])


@check
def rows_come_as_dicts_and_named_tuples(connection):
    cursor = connection.cursor(row_factory=dict_row)
    expect(cursor.execute("SELECT 1 AS a, 'x' AS b").fetchone(), {"a": 1, "b": "x"})
    cursor = connection.cursor(row_factory=namedtuple_row)
    expect(cursor.execute("SELECT 1 AS a, 'x' AS b").fetchone().b, "x")


@check
def columns_describe_themselves(connection):
    connection.execute("DROP TABLE IF EXISTS psy_described")
    connection.execute(
        "CREATE TABLE psy_described (a int, b varchar(20), c numeric(10,3), d timestamptz, e char(4))"
    )
    cursor = connection.execute("SELECT * FROM psy_described")
    seen = [(c.name, c.type_code, c.display_size, c.internal_size, c.precision, c.scale)
            for c in cursor.description]
    expect(seen, [("a", 23, None, 4, None, None), ("b", 1043, 20, None, None, None),
                  ("c", 1700, None, None, 10, 3), ("d", 1184, None, 8, None, None),
                  ("e", 1042, 4, None, None, None)])
    expect(cursor.statusmessage, "SELECT 0")


@check
def counts_and_status_are_told(connection):
    connection.execute("DROP TABLE IF EXISTS psy_counts")
    expect(connection.execute("CREATE TABLE psy_counts (id int PRIMARY KEY, v int)").statusmessage,
           "CREATE TABLE")
    expect(connection.execute("INSERT INTO psy_counts VALUES (1,1),(2,2)").rowcount, 2)
    expect(connection.execute("UPDATE psy_counts SET v = v + 1").rowcount, 2)
    cursor = connection.execute("DELETE FROM psy_counts WHERE id = 1 RETURNING id, v")
    expect((cursor.fetchall(), cursor.rowcount), ([(1, 2)], 1))
    cursor = connection.execute("SELECT 1; SELECT 2, 3")
    expect(cursor.fetchone(), (1,))
    cursor.nextset()
    expect(cursor.fetchone(), (2, 3))


@check
def a_prepared_statement_runs_again_and_survives_a_change_of_the_table(connection):
    connection.execute("DROP TABLE IF EXISTS psy_prepared")
    connection.execute("CREATE TABLE psy_prepared (id int PRIMARY KEY, v text)")
    for i in range(12):
        connection.execute("INSERT INTO psy_prepared VALUES (%s, %s)", (i, str(i)), prepare=True)
    query = "SELECT v FROM psy_prepared WHERE id = %s"
    for i in range(12):
        expect(connection.execute(query, (i,), prepare=True).fetchone(), (str(i),))
    connection.execute("ALTER TABLE psy_prepared ADD COLUMN w int")
    expect(connection.execute(query, (3,), prepare=True).fetchone(), ("3",))


@check
def executemany_returns_each_result(connection):
    connection.execute("DROP TABLE IF EXISTS psy_many")
    connection.execute("CREATE TABLE psy_many (id serial PRIMARY KEY, v text)")
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO psy_many (v) VALUES (%s) RETURNING id",
                       [("a",), ("b",), ("c",)], returning=True)
    ids = []
    while True:
        ids.append(cursor.fetchone()[0])
        if not cursor.nextset():
            break
    expect(ids, [1, 2, 3])


@check
def a_pipeline_sends_without_waiting_and_fails_as_one(connection):
    connection.execute("DROP TABLE IF EXISTS psy_pipe")
    connection.execute("CREATE TABLE psy_pipe (id int PRIMARY KEY)")
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int * 2", (i,)) for i in range(50)]
        expect([c.fetchone()[0] for c in cursors], [2 * i for i in range(50)])
    try:
        with connection.pipeline():
            for i in (1, 2, 1, 3):
                connection.execute("INSERT INTO psy_pipe VALUES (%s)", (i,))
    except errors.UniqueViolation:
        pass
    else:
        raise AssertionError("no UniqueViolation")
    expect(connection.execute("SELECT count(*) FROM psy_pipe").fetchone(), (0,))
    with connection.pipeline() as pipeline:
        connection.execute("INSERT INTO psy_pipe VALUES (7)")
        pipeline.sync()
        connection.execute("INSERT INTO psy_pipe VALUES (8)")
    expect(connection.execute("SELECT count(*) FROM psy_pipe").fetchone(), (2,))


@check
def transactions_nest_as_savepoints(connection):
    connection.execute("DROP TABLE IF EXISTS psy_nest")
    connection.execute("CREATE TABLE psy_nest (id int PRIMARY KEY)")
    with connection.transaction():
        connection.execute("INSERT INTO psy_nest VALUES (1)")
        try:
            with connection.transaction():
                connection.execute("INSERT INTO psy_nest VALUES (2)")
                connection.execute("INSERT INTO psy_nest VALUES (1)")
        except errors.UniqueViolation:
            pass
        with connection.transaction():
            connection.execute("INSERT INTO psy_nest VALUES (3)")
    expect(connection.execute("SELECT id FROM psy_nest ORDER BY id").fetchall(), [(1,), (3,)])


@check
def a_connection_without_autocommit_begins_by_itself(connection):
    connection.execute("DROP TABLE IF EXISTS psy_auto")
    connection.execute("CREATE TABLE psy_auto (id int)")
    with psycopg.connect(DSN) as other:
        other.execute("INSERT INTO psy_auto VALUES (1)")
        expect(other.info.transaction_status.name, "INTRANS")
        expect(connection.execute("SELECT count(*) FROM psy_auto").fetchone(), (0,))
        other.commit()
        expect(connection.execute("SELECT count(*) FROM psy_auto").fetchone(), (1,))
        try:
            other.execute("SELECT 1/0")
        except errors.DivisionByZero:
            pass
        expect(other.info.transaction_status.name, "INERROR")
        try:
            other.execute("SELECT 1")
            raise AssertionError("a failed transaction went on")
        except errors.InFailedSqlTransaction:
            pass
        other.rollback()
        for level in (1, 2, 3, 4):
            other.isolation_level = psycopg.IsolationLevel(level)
            other.execute("SELECT 1")
            other.commit()
        other.isolation_level = None
        other.read_only = True
        try:
            other.execute("INSERT INTO psy_auto VALUES (2)")
            raise AssertionError("written in a read-only transaction")
        except errors.ReadOnlySqlTransaction:
            other.rollback()


@check
def a_server_side_cursor_reads_in_pieces(connection):
    with connection.transaction():
        with connection.cursor("pieces") as cursor:
            cursor.execute("SELECT g FROM generate_series(1, %s) AS t(g) ORDER BY g", (10000,))
            expect(cursor.fetchone(), (1,))
            expect([r[0] for r in cursor.fetchmany(3)], [2, 3, 4])
            cursor.scroll(10)
            expect(cursor.fetchone(), (15,))
            cursor.itersize = 1000
            expect(sum(1 for _ in cursor), 9985)
        with connection.cursor("binary_one", binary=True) as cursor:
            cursor.execute("SELECT g FROM generate_series(1, 5) AS t(g) ORDER BY g")
            expect(cursor.fetchall(), [(i,) for i in range(1, 6)])


@check
def a_cursor_with_hold_outlives_its_transaction(connection):
    with connection.transaction():
        cursor = connection.cursor("held", withhold=True)
        cursor.execute("SELECT g FROM generate_series(1, 100) AS t(g) ORDER BY g")
        expect(cursor.fetchone(), (1,))
    expect(cursor.fetchone(), (2,))
    expect(len(cursor.fetchall()), 98)
    cursor.close()


@check
def a_scrollable_cursor_goes_back(connection):
    with connection.transaction():
        with connection.cursor("scrolls", scrollable=True) as cursor:
            cursor.execute("SELECT g FROM generate_series(1, 100) AS t(g) ORDER BY g")
            expect(cursor.fetchmany(3), [(1,), (2,), (3,)])
            cursor.scroll(-2)
            expect(cursor.fetchone(), (2,))
            cursor.scroll(50, mode="absolute")
            expect(cursor.fetchone(), (51,))


@check
def copy_goes_in_and_out_in_every_format(connection):
    connection.execute("DROP TABLE IF EXISTS psy_copy")
    connection.execute("CREATE TABLE psy_copy (id int PRIMARY KEY, v text, t timestamptz, n numeric)")
    rows = [(i, None if i % 5 == 0 else f"a\tb\n\\{i}", datetime.datetime(2026, 1, 1, tzinfo=UTC),
             decimal.Decimal(i) / 4) for i in range(1000)]
    cursor = connection.cursor()
    with cursor.copy("COPY psy_copy FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    expect(cursor.rowcount, 1000)
    with cursor.copy("COPY psy_copy TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "timestamptz", "numeric"])
        expect(sorted(copy.rows()), rows)
    connection.execute("DELETE FROM psy_copy")
    with cursor.copy("COPY psy_copy (id, v, t, n) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "timestamptz", "numeric"])
        for row in rows:
            copy.write_row(row)
    expect(connection.execute("SELECT * FROM psy_copy ORDER BY id").fetchall(), rows)
    with cursor.copy(
        "COPY (SELECT id, v FROM psy_copy WHERE id < 2 ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"
    ) as copy:
        expect(b"".join(copy), b'id,v\n0,\n1,"a\tb\n\\1"\n')
    with cursor.copy("COPY (SELECT id FROM psy_copy WHERE id < %s) TO STDOUT", (3,)) as copy:
        expect(sorted(r[0] for r in copy.rows()), ["0", "1", "2"])


@check
def a_copy_that_fails_leaves_nothing(connection):
    connection.execute("DROP TABLE IF EXISTS psy_copy_bad")
    connection.execute("CREATE TABLE psy_copy_bad (id int PRIMARY KEY)")
    cursor = connection.cursor()
    try:
        with cursor.copy("COPY psy_copy_bad FROM STDIN") as copy:
            copy.write("1\n2\nx\n")
        raise AssertionError("no error")
    except errors.InvalidTextRepresentation as error:
        expect(error.diag.context, 'COPY psy_copy_bad, line 3, column id: "x"')
    try:
        with cursor.copy("COPY psy_copy_bad FROM STDIN") as copy:
            copy.write("1\n")
            raise KeyError("mine")
    except KeyError:
        pass
    expect(connection.execute("SELECT count(*) FROM psy_copy_bad").fetchone(), (0,))


@check
def notifications_arrive_after_the_commit(connection):
    with psycopg.connect(DSN, autocommit=True) as other:
        other.execute("LISTEN news")
        other.execute('LISTEN "Mixed Case"')
        connection.execute("NOTIFY news, 'first'")
        got = next(other.notifies(timeout=5))
        expect((got.channel, got.payload, got.pid), ("news", "first", connection.info.backend_pid))
        with connection.transaction():
            connection.execute("SELECT pg_notify(%s, %s)", ("news", "second"))
            connection.execute("NOTIFY news, 'third'")
            connection.execute("NOTIFY news, 'third'")
            expect(list(other.notifies(timeout=0.3)), [])
        expect([n.payload for n in other.notifies(timeout=5, stop_after=2)], ["second", "third"])
        try:
            with connection.transaction():
                connection.execute("NOTIFY news, 'lost'")
                raise KeyError
        except KeyError:
            pass
        expect(list(other.notifies(timeout=0.3)), [])
        connection.execute('NOTIFY "Mixed Case"')
        expect(next(other.notifies(timeout=5)).payload, "")
        expect(sorted(r[0] for r in other.execute("SELECT pg_listening_channels()")),
               ["Mixed Case", "news"])
        other.execute("UNLISTEN news")
        connection.execute("NOTIFY news")
        expect(list(other.notifies(timeout=0.3)), [])
        other.execute("LISTEN own; NOTIFY own, 'to me'")
        expect([n.payload for n in other.notifies(timeout=5, stop_after=1)], ["to me"])


@check
def a_running_statement_is_cancelled(connection):
    for statement in ("SELECT pg_sleep(30)",
                      "SELECT count(*) FROM generate_series(1, 100000000000) AS t(g)"):
        timer = threading.Timer(0.5, connection.cancel)
        timer.start()
        begun = time.monotonic()
        try:
            connection.execute(statement)
            raise AssertionError("not cancelled")
        except errors.QueryCanceled as error:
            expect(str(error), "canceling statement due to user request")
        expect(time.monotonic() - begun < 5, True)
        timer.join()
        expect(one(connection, "SELECT 1"), 1)


@check
def a_statement_takes_no_longer_than_its_timeout(connection):
    connection.execute("SET statement_timeout = '300ms'")
    for statement in ("SELECT pg_sleep(30)",
                      "SELECT count(*) FROM generate_series(1, 100000000000) AS t(g)"):
        begun = time.monotonic()
        try:
            connection.execute(statement)
            raise AssertionError("not cancelled")
        except errors.QueryCanceled as error:
            expect(str(error), "canceling statement due to statement timeout")
        expect(time.monotonic() - begun < 5, True)


@check
def a_backend_cancels_and_terminates_another(connection):
    other = psycopg.connect(DSN, autocommit=True)
    pid = other.info.backend_pid
    expect(one(other, "SELECT pg_backend_pid()"), pid)
    outcome = []

    def sleep():
        try:
            other.execute("SELECT pg_sleep(30)")
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=sleep)
    thread.start()
    time.sleep(0.5)
    expect(one(connection, "SELECT pg_cancel_backend(%s)", pid), True)
    thread.join(10)
    expect(type(outcome[0]), errors.QueryCanceled)
    expect(one(connection, "SELECT pg_terminate_backend(%s)", pid), True)
    time.sleep(0.3)
    try:
        other.execute("SELECT 1")
        raise AssertionError("still connected")
    except errors.AdminShutdown:
        pass
    except psycopg.OperationalError:
        pass
    expect(one(connection, "SELECT pg_terminate_backend(%s)", 999999), False)


@check
def errors_carry_their_fields(connection):
    connection.execute("DROP TABLE IF EXISTS psy_errors")
    connection.execute("CREATE TABLE psy_errors (id int PRIMARY KEY, v int NOT NULL, CHECK (v > 0))")
    connection.execute("INSERT INTO psy_errors VALUES (1, 1)")

    def diag(statement, *parameters):
        try:
            connection.execute(statement, parameters or None)
        except psycopg.Error as error:
            return error.diag
        raise AssertionError(f"no error: {statement}")

    d = diag("INSERT INTO psy_errors VALUES (1, 2)")
    expect((d.sqlstate, d.severity, d.schema_name, d.table_name, d.constraint_name, d.message_primary,
            d.message_detail),
           ("23505", "ERROR", "public", "psy_errors", "psy_errors_pkey",
            'duplicate key value violates unique constraint "psy_errors_pkey"',
            "Key (id)=(1) already exists."))
    d = diag("INSERT INTO psy_errors VALUES (2, NULL)")
    expect((d.sqlstate, d.table_name, d.column_name), ("23502", "psy_errors", "v"))
    d = diag("INSERT INTO psy_errors VALUES (2, 0)")
    expect((d.sqlstate, d.constraint_name), ("23514", "psy_errors_v_check"))
    for statement, state, position in [
        ("SELEC 1", "42601", "1"),
        ("SELECT * FROM psy_nothing", "42P01", "15"),
        ("SELECT nothing FROM psy_errors", "42703", "8"),
        ("SELECT nothing(1)", "42883", "8"),
        ("SELECT 1/0", "22012", None),
        ("SELECT 'x'::int", "22P02", "8"),
        ("SELECT 99999999999::int", "22003", None),
        ("SELECT 'x'::timestamp", "22007", "8"),
        ("CREATE TABLE psy_errors (a int)", "42P07", None),
        ("DROP TABLE psy_nothing", "42P01", None),
        ("SET no_such_setting = 1", "42704", None),
        ("INSERT INTO psy_errors (nothing) VALUES (1)", "42703", "25"),
        ("SELECT id, count(*) FROM psy_errors", "42803", "8"),
    ]:
        d = diag(statement)
        expect((statement, d.sqlstate), (statement, state))
        if position is not None and d.statement_position is None:
            print(f"        note: no position: {statement}")
    expect(diag("SELECT %s::int", "x").sqlstate, "22P02")


@check
def notices_arrive(connection):
    seen = []
    connection.add_notice_handler(lambda d: seen.append((d.severity, d.sqlstate, d.message_primary)))
    connection.execute("DROP TABLE IF EXISTS psy_never")
    expect(seen, [("NOTICE", "00000", 'table "psy_never" does not exist, skipping')])
    connection.execute("SET client_min_messages = warning")
    connection.execute("DROP TABLE IF EXISTS psy_never")
    expect(len(seen), 1)


@check
def the_time_zone_is_the_sessions(connection):
    instant = datetime.datetime(2026, 7, 1, 12, tzinfo=UTC)
    for zone in ("Europe/Prague", "America/New_York", "Asia/Kolkata"):
        connection.execute("SELECT set_config('TimeZone', %s, false)", (zone,))
        expect(connection.info.timezone, zoneinfo.ZoneInfo(zone))
        for binary in (False, True):
            got = one(connection, "SELECT %s::timestamptz", instant, binary=binary)
            expect((got, got.utcoffset()), (instant, instant.astimezone(
                zoneinfo.ZoneInfo(zone)).utcoffset()))
        expect(one(connection, "SELECT '2026-07-01 00:00'::timestamptz"),
               datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo(zone)))


@check
def a_large_result_streams(connection):
    total = rows = 0
    cursor = connection.cursor(binary=True)
    for (i, text, f) in cursor.stream(
        "SELECT g, 'row ' || g, g * 0.5::float8 FROM generate_series(1, 300000) AS t(g)"
    ):
        total += i
        rows += 1
    expect((rows, total), (300000, 300000 * 300001 // 2))
    values = connection.execute("SELECT g FROM generate_series(1, 1000000) AS t(g)").fetchall()
    expect(len(values), 1000000)


@check
def settings_are_shown_and_set(connection):
    for name in ("server_version", "server_encoding", "client_encoding", "DateStyle",
                 "IntervalStyle", "TimeZone", "search_path", "standard_conforming_strings",
                 "transaction_isolation", "default_transaction_read_only", "max_connections",
                 "statement_timeout", "lock_timeout", "work_mem", "ssl",
                 "idle_in_transaction_session_timeout", "bytea_output", "extra_float_digits"):
        one(connection, f"SHOW {name}")
        one(connection, "SELECT current_setting(%s)", name)
    expect(connection.info.parameter_status("server_encoding"), "UTF8")
    expect(connection.info.server_version // 10000, 15)
    connection.execute("SET application_name = 'mine'")
    expect(connection.info.parameter_status("application_name"), "mine")
    connection.execute("SET search_path TO a, public")
    expect(one(connection, "SHOW search_path"), "a, public")
    connection.execute("RESET search_path")
    expect(one(connection, "SELECT set_config('work_mem', '8MB', false)"), "8MB")
    expect(one(connection, "SHOW work_mem"), "8MB")
    connection.execute("RESET ALL")
    expect(one(connection, "SHOW work_mem"), "4MB")
    connection.execute("SET my.own = 'x'")
    expect(one(connection, "SELECT current_setting('my.own')"), "x")
    expect(one(connection, "SELECT current_setting('my.other', true)"), None)
    connection.execute("DISCARD ALL")


@check
def advisory_locks_hold_others_off(connection):
    with psycopg.connect(DSN, autocommit=True) as other:
        expect(one(connection, "SELECT pg_try_advisory_lock(42)"), True)
        expect(one(connection, "SELECT pg_try_advisory_lock(42)"), True)
        expect(one(other, "SELECT pg_try_advisory_lock(42)"), False)
        expect(one(other, "SELECT pg_try_advisory_lock(1, 42)"), True)
        expect(one(connection, "SELECT pg_advisory_unlock(42)"), True)
        expect(one(other, "SELECT pg_try_advisory_lock(42)"), False)
        expect(one(connection, "SELECT pg_advisory_unlock(42)"), True)
        expect(one(connection, "SELECT pg_advisory_unlock(42)"), False)
        expect(one(other, "SELECT pg_try_advisory_lock(42)"), True)
        other.execute("SELECT pg_advisory_unlock_all()")
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(7)")
            expect(one(other, "SELECT pg_try_advisory_xact_lock(7)"), False)
            other.execute("SET lock_timeout = '200ms'")
            try:
                other.execute("SELECT pg_advisory_lock(7)")
                raise AssertionError("two hold a lock")
            except errors.LockNotAvailable:
                pass
        expect(one(other, "SELECT pg_try_advisory_lock_shared(7)"), True)
        expect(one(connection, "SELECT pg_try_advisory_lock_shared(7)"), True)
        connection.execute("SELECT pg_advisory_unlock_shared(7)")
        # A waiter gets the lock when the holder leaves.
        waited = []
        thread = threading.Thread(
            target=lambda: waited.append(connection.execute("SELECT pg_advisory_lock(7)")))
        thread.start()
        time.sleep(0.3)
        expect(waited, [])
        other.close()
        thread.join(10)
        expect(len(waited), 1)


@check
def names_are_composed_safely(connection):
    name = sql.Identifier('odd "name"')
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))
    connection.execute(sql.SQL("CREATE TABLE {} ({} int)").format(name, sql.Identifier("Col umn")))
    connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(name, sql.Literal(5)))
    expect(connection.execute(sql.SQL("SELECT * FROM {}").format(name)).fetchall(), [(5,)])
    connection.execute(sql.SQL("DROP TABLE {}").format(name))


@check
def types_are_looked_up_by_name(connection):
    from psycopg.types import TypeInfo
    info = TypeInfo.fetch(connection, "timestamptz")
    expect((info.oid, info.array_oid), (1184, 1185))
    expect(TypeInfo.fetch(connection, "no_such_type"), None)


@check
def two_phase_commit_is_refused(connection):
    try:
        connection.execute("BEGIN")
        connection.execute("PREPARE TRANSACTION 'x'")
    except (errors.FeatureNotSupported, errors.ObjectNotInPrerequisiteState):
        return
    raise AssertionError("PREPARE TRANSACTION was taken")


if chronos():

    @check
    def the_past_takes_a_parameter(connection):
        connection.execute("DROP TABLE IF EXISTS psy_past")
        connection.execute("CREATE TABLE psy_past (id int PRIMARY KEY, v text)")
        connection.execute("INSERT INTO psy_past VALUES (1, 'old')")
        before = one(connection, "SELECT clock_timestamp()")
        connection.execute("UPDATE psy_past SET v = 'new'")
        statement = "SELECT v FROM psy_past FOR SYSTEM_TIME AS OF %s"
        for placeholder in ("%s", "%t", "%b"):
            for prepare in (False, True):
                got = connection.execute(statement.replace("%s", placeholder), (before,),
                                         prepare=prepare).fetchall()
                expect(got, [("old",)])
        expect(connection.execute(statement, (str(before),)).fetchall(), [("old",)])

    @check
    def a_database_name_with_an_instant_is_in_the_past(connection):
        connection.execute("DROP TABLE IF EXISTS psy_then")
        connection.execute("CREATE TABLE psy_then (id int)")
        connection.execute("INSERT INTO psy_then VALUES (1)")
        before = one(connection, "SELECT clock_timestamp()").isoformat().replace("+00:00", "Z")
        connection.execute("INSERT INTO psy_then VALUES (2)")
        for options in ({"dbname": f"chronos@{before}"},
                        {"options": f"-c chronos.as_of={before}"}):
            with psycopg.connect(DSN, autocommit=True, **options) as past:
                expect(one(past, "SELECT count(*) FROM psy_then"), 1)
                try:
                    past.execute("INSERT INTO psy_then VALUES (3)")
                    raise AssertionError("the past was written to")
                except errors.ReadOnlySqlTransaction:
                    pass


end()
