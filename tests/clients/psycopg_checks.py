"""What a Python program does with psycopg 3. Leaves the table `kept` for parquet_checks.py."""

import datetime
import decimal
import sys
import uuid

import psycopg
from psycopg import errors

UTC = datetime.timezone.utc
failed = []


def check(function):
    """Runs the check on a connection of its own, and notes how it went."""
    try:
        with psycopg.connect(sys.argv[1], autocommit=True) as connection:
            function(connection)
        print(f"ok      {function.__name__}")
    except Exception as error:  # Every check is told, not only the first that fails.
        failed.append(function.__name__)
        print(f"FAILED  {function.__name__}: {type(error).__name__}: {error}")


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r}, expected {wanted!r}")


@check
def a_value_comes_back(connection):
    expect(connection.execute("SELECT 1").fetchone(), (1,))


@check
def values_of_every_type_come_back(connection):
    values = {
        "boolean": True,
        "int2": -5,
        "int4": 7,
        "int8": 2**62,
        "float8": 2.5,
        "numeric(12,2)": decimal.Decimal("1234.50"),
        "text": "žluťoučký 🐎",
        "bytea": b"\x00\xff",
        "date": datetime.date(2026, 11, 21),
        "time": datetime.time(1, 2, 3, 456789),
        "timestamp": datetime.datetime(2026, 11, 21, 1, 2, 3, 456789),
        "timestamptz": datetime.datetime(2026, 11, 21, 1, 2, 3, 456789, UTC),
        "interval": datetime.timedelta(days=3, seconds=4, microseconds=5),
        "uuid": uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    }
    connection.execute("SET TIME ZONE 'UTC'")
    for binary in (False, True):
        for kind, value in values.items():
            cursor = connection.cursor(binary=binary)
            got = cursor.execute(f"SELECT %s::{kind}", (value,)).fetchone()[0]
            expect((kind, got), (kind, value))
            expect(cursor.execute(f"SELECT %s::{kind}", (None,)).fetchone()[0], None)


@check
def errors_have_their_class(connection):
    connection.execute("CREATE TABLE errors (id int PRIMARY KEY)")
    connection.execute("INSERT INTO errors VALUES (1)")
    for sql, kind in [
        ("INSERT INTO errors VALUES (1)", errors.UniqueViolation),
        ("INSERT INTO errors VALUES (NULL)", errors.NotNullViolation),
        ("SELECT * FROM nothing", errors.UndefinedTable),
        ("SELECT nothing FROM errors", errors.UndefinedColumn),
        ("SELEC", errors.SyntaxError),
        ("SELECT 1/0", errors.DivisionByZero),
    ]:
        try:
            connection.execute(sql)
        except kind:
            continue
        raise AssertionError(f"{sql}: no {kind.__name__}")


@check
def a_transaction_is_rolled_back_by_an_exception(connection):
    connection.execute("CREATE TABLE rolled (id int PRIMARY KEY)")
    try:
        with connection.transaction():
            connection.execute("INSERT INTO rolled VALUES (1)")
            raise KeyError
    except KeyError:
        pass
    expect(connection.execute("SELECT count(*) FROM rolled").fetchone(), (0,))


@check
def many_rows_go_in_by_executemany_and_copy(connection):
    connection.execute("CREATE TABLE many (id int PRIMARY KEY, v text)")
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO many VALUES (%s, %s)", [(i, f"row {i}") for i in range(100)]
        )
        with cursor.copy("COPY many (id, v) FROM STDIN") as copy:
            for i in range(100, 5000):
                copy.write_row((i, None if i % 7 == 0 else f"tab\t and line\n {i}"))
    expect(connection.execute("SELECT count(*), count(v), sum(id) FROM many").fetchone(),
           (5000, 4300, 12497500))
    with connection.cursor() as cursor, cursor.copy("COPY many TO STDOUT") as copy:
        expect(sum(1 for _ in copy.rows()), 5000)


@check
def a_statement_that_is_prepared_stays_right(connection):
    connection.execute("CREATE TABLE prepared (id int PRIMARY KEY, v int)")
    for i in range(20):
        connection.execute("INSERT INTO prepared VALUES (%s, %s)", (i, i), prepare=True)
    for i in range(20):
        row = connection.execute("SELECT v FROM prepared WHERE id = %s", (i,), prepare=True)
        expect(row.fetchone(), (i,))


@check
def the_past_is_asked_for_with_a_parameter(connection):
    connection.execute("CREATE TABLE kept (id int PRIMARY KEY, v text)")
    connection.execute("INSERT INTO kept VALUES (1, 'old'), (2, 'gone')")
    before = connection.execute("SELECT clock_timestamp()").fetchone()[0]
    connection.execute("UPDATE kept SET v = 'new' WHERE id = 1")
    connection.execute("DELETE FROM kept WHERE id = 2")
    past = "SELECT v FROM kept FOR SYSTEM_TIME AS OF %s ORDER BY id"
    expect(connection.execute(past, (before,)).fetchall(), [("old",), ("gone",)])
    expect(connection.execute("SELECT v FROM kept ORDER BY id").fetchall(), [("new",)])
    both = """SELECT was.v, is_now.v FROM kept FOR SYSTEM_TIME AS OF %s was
              LEFT JOIN kept is_now ON is_now.id = was.id ORDER BY was.id"""
    expect(connection.execute(both, (before,)).fetchall(), [("old", "new"), ("gone", None)])


@check
def a_session_can_be_in_the_past(connection):
    before = connection.execute("SELECT min(_system_from) FROM kept FOR SYSTEM_TIME ALL").fetchone()
    connection.execute("SELECT set_config('chronos.as_of', %s, false)", (str(before[0]),))
    expect(connection.execute("SELECT count(*) FROM kept").fetchone(), (2,))
    try:
        connection.execute("DELETE FROM kept")
    except errors.ReadOnlySqlTransaction:
        return
    raise AssertionError("the past was written to")


sys.exit(1 if failed else 0)
