"""What a Python program does with psycopg2. All of it holds for PostgreSQL 15 too."""

import datetime
import decimal
import io
import select
import sys
import threading

import psycopg2
import psycopg2.extras
from psycopg2 import errors, extensions

from checks import end, expect, runner

DSN = sys.argv[1]


def connect(function):
    connection = psycopg2.connect(DSN)
    try:
        function(connection)
    finally:
        connection.close()


check = runner(connect)


@check
def values_come_back(connection):
    cursor = connection.cursor()
    for value in (True, 5, 2**40, 1.5, decimal.Decimal("1.50"), "ž'\\", datetime.date(2026, 1, 1),
                  datetime.datetime(2026, 1, 1, 2, 3, 4, 5), datetime.time(1, 2),
                  datetime.timedelta(days=1, seconds=3), None, [1, 2, None], ["a", 'b"']):
        cursor.execute("SELECT %s", (value,))
        expect(cursor.fetchone()[0], value)
    cursor.execute("SELECT %s", (psycopg2.Binary(b"\x00\xff"),))
    expect(bytes(cursor.fetchone()[0]), b"\x00\xff")
    cursor.execute("SELECT %s::jsonb", (psycopg2.extras.Json({"a": 1}),))
    expect(cursor.fetchone()[0], {"a": 1})


@check
def a_transaction_is_committed_and_rolled_back(connection):
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS pg2_tx")
    cursor.execute("CREATE TABLE pg2_tx (id int PRIMARY KEY, v text)")
    connection.commit()
    with connection, connection.cursor() as c:
        c.execute("INSERT INTO pg2_tx VALUES (1, 'a')")
    try:
        with connection, connection.cursor() as c:
            c.execute("INSERT INTO pg2_tx VALUES (1, 'b')")
    except errors.UniqueViolation as error:
        expect((error.pgcode, error.diag.constraint_name), ("23505", "pg2_tx_pkey"))
    cursor.execute("SELECT count(*) FROM pg2_tx")
    expect(cursor.fetchone(), (1,))
    cursor.execute("INSERT INTO pg2_tx VALUES (2, 'x') RETURNING id")
    expect(cursor.fetchone(), (2,))
    connection.rollback()
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    try:
        cursor.execute("INSERT INTO pg2_tx VALUES (3, 'x')")
        raise AssertionError("written in a read-only transaction")
    except errors.ReadOnlySqlTransaction:
        connection.rollback()


@check
def values_and_batches_go_in(connection):
    cursor = connection.cursor(cursor_factory=psycopg2.extras.DictCursor)
    cursor.execute("DROP TABLE IF EXISTS pg2_many")
    cursor.execute("CREATE TABLE pg2_many (id int PRIMARY KEY, v text)")
    psycopg2.extras.execute_values(cursor, "INSERT INTO pg2_many VALUES %s",
                                   [(i, f"v{i}") for i in range(250)])
    psycopg2.extras.execute_batch(cursor, "UPDATE pg2_many SET v = %s WHERE id = %s",
                                  [("new", i) for i in range(50)])
    cursor.execute("SELECT count(*) AS n FROM pg2_many WHERE v = 'new'")
    expect(cursor.fetchone()["n"], 50)


@check
def named_cursors_read_in_pieces(connection):
    cursor = connection.cursor("pieces")
    cursor.itersize = 100
    cursor.execute("SELECT g FROM generate_series(1, 1000) AS t(g)")
    expect(sum(r[0] for r in cursor), 500500)
    cursor.close()
    cursor = connection.cursor("scroll", scrollable=True)
    cursor.execute("SELECT g FROM generate_series(1, 100) AS t(g) ORDER BY g")
    cursor.scroll(10)
    expect(cursor.fetchone(), (11,))
    cursor.scroll(-5)
    expect(cursor.fetchone(), (7,))
    connection.rollback()
    with connection.cursor("held", withhold=True) as held:
        held.execute("SELECT g FROM generate_series(1, 10) AS t(g)")
        connection.commit()
        expect(len(held.fetchall()), 10)


@check
def copy_goes_in_and_out(connection):
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS pg2_copy")
    cursor.execute("CREATE TABLE pg2_copy (id int, v text)")
    cursor.copy_from(io.StringIO("1\ta\n2\t\\N\n"), "pg2_copy")
    cursor.copy_expert("COPY pg2_copy FROM STDIN WITH CSV HEADER", io.StringIO("id,v\n3,c\n"))
    out = io.StringIO()
    cursor.copy_to(out, "pg2_copy", columns=("id", "v"))
    expect(sorted(out.getvalue().splitlines()), ["1\ta", "2\t\\N", "3\tc"])


@check
def notifications_and_notices_arrive(connection):
    connection.set_isolation_level(extensions.ISOLATION_LEVEL_AUTOCOMMIT)
    cursor = connection.cursor()
    cursor.execute("LISTEN pg2_news")
    other = psycopg2.connect(DSN)
    other.autocommit = True
    other.cursor().execute("NOTIFY pg2_news, 'hello'")
    select.select([connection], [], [], 5)
    connection.poll()
    expect([(n.channel, n.payload) for n in connection.notifies], [("pg2_news", "hello")])
    cursor.execute("DROP TABLE IF EXISTS pg2_never")
    expect('table "pg2_never" does not exist, skipping' in connection.notices[-1], True)
    other.close()


@check
def a_statement_is_cancelled(connection):
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    try:
        connection.cursor().execute("SELECT pg_sleep(30)")
        raise AssertionError("not cancelled")
    except errors.QueryCanceled:
        pass


@check
def the_time_zone_is_the_sessions(connection):
    cursor = connection.cursor()
    cursor.execute("SET TIME ZONE 'Asia/Kolkata'")
    cursor.execute("SELECT '2026-01-01 00:00:00+00'::timestamptz")
    expect(cursor.fetchone()[0].isoformat(), "2026-01-01T05:30:00+05:30")


end()
