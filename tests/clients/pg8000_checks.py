"""What a Python program does with pg8000, which speaks the protocol by itself."""

import datetime
import decimal
import sys
import uuid
from urllib.parse import urlparse

import pg8000.native
import pg8000.dbapi

from checks import end, expect, runner

AT = urlparse(sys.argv[1])
WHERE = {"user": AT.username, "host": AT.hostname, "port": AT.port, "database": AT.path[1:]}


def connect(function):
    connection = pg8000.native.Connection(**WHERE)
    try:
        function(connection)
    finally:
        connection.close()


check = runner(connect)


@check
def values_go_both_ways(connection):
    utc = datetime.timezone.utc
    for kind, value in [
        ("boolean", True), ("int4", 5), ("int8", 2**62), ("float8", 1.5),
        ("numeric(5,2)", decimal.Decimal("1.25")), ("text", "ž"), ("bytea", b"\x00\xff"),
        ("date", datetime.date(2026, 1, 1)), ("timestamp", datetime.datetime(2026, 1, 1, 2)),
        ("timestamptz", datetime.datetime(2026, 1, 1, 2, tzinfo=utc)),
        ("uuid", uuid.uuid4()), ("int4[]", [1, 2]), ("text[]", ["a", "b,"]),
        ("jsonb", {"a": 1}), ("time", datetime.time(1, 2, 3)),
    ]:
        expect(connection.run(f"SELECT CAST(:v AS {kind})", v=value)[0][0], value)
        expect(connection.run(f"SELECT CAST(:v AS {kind})", v=None)[0][0], None)


@check
def rows_are_written_and_read(connection):
    connection.run("DROP TABLE IF EXISTS pg8_rows")
    connection.run("CREATE TABLE pg8_rows (id serial PRIMARY KEY, v text, t timestamptz)")
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    for i in range(10):
        connection.run("INSERT INTO pg8_rows (v, t) VALUES (:v, :t)", v=f"v{i}", t=now)
    expect(connection.run("SELECT v FROM pg8_rows WHERE id = :i", i=3), [["v2"]])
    expect(connection.run("SELECT count(*) FROM pg8_rows WHERE t >= :t", t=now), [[10]])
    prepared = connection.prepare("SELECT v FROM pg8_rows WHERE id = :i")
    for i in range(1, 11):
        expect(prepared.run(i=i), [[f"v{i - 1}"]])
    connection.run("SELECT v, id FROM pg8_rows")
    expect([c["name"] for c in connection.columns], ["v", "id"])


@check
def the_dbapi_commits_and_rolls_back(connection):
    other = pg8000.dbapi.connect(**WHERE)
    cursor = other.cursor()
    cursor.execute("DROP TABLE IF EXISTS pg8_tx")
    cursor.execute("CREATE TABLE pg8_tx (id int PRIMARY KEY)")
    other.commit()
    cursor.executemany("INSERT INTO pg8_tx VALUES (%s)", [(1,), (2,)])
    other.rollback()
    cursor.execute("SELECT count(*) FROM pg8_tx")
    expect(cursor.fetchone()[0], 0)
    try:
        cursor.execute("SELECT * FROM pg8_nothing")
        raise AssertionError("no error")
    except pg8000.dbapi.DatabaseError as error:
        expect(error.args[0]["C"], "42P01")
    other.rollback()
    other.close()


@check
def copy_goes_in_and_out(connection):
    import io
    connection.run("DROP TABLE IF EXISTS pg8_copy")
    connection.run("CREATE TABLE pg8_copy (id int, v text)")
    connection.run("COPY pg8_copy FROM STDIN WITH (FORMAT csv)", stream=io.BytesIO(b"1,a\n2,b\n"))
    out = io.BytesIO()
    connection.run("COPY pg8_copy TO STDOUT", stream=out)
    expect(sorted(out.getvalue().splitlines()), [b"1\ta", b"2\tb"])


@check
def notifications_arrive(connection):
    connection.run("LISTEN pg8_news")
    connection.run("NOTIFY pg8_news, 'x'")
    connection.run("SELECT 1")
    expect([n[1:] for n in connection.notifications], [("pg8_news", "x")])


end()
