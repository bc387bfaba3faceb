"""What a Python program does with asyncpg. All of it holds for PostgreSQL 15 too, except the past."""

import asyncio
import datetime
import decimal
import io
import json
import sys
import uuid

import asyncpg

import checks
from checks import end, expect, runner

DSN = sys.argv[1]
UTC = datetime.timezone.utc


async def connect(function):
    connection = await asyncpg.connect(DSN)
    try:
        await function(connection)
    finally:
        await connection.close(timeout=5)


async def version():
    connection = await asyncpg.connect(DSN)
    try:
        return await connection.fetchval("SELECT version()")
    finally:
        await connection.close()


CHRONOS = "Chronos" in asyncio.run(version())
if CHRONOS:
    checks.gaps["records_and_rows"] = "ROW(…) as a result"
    checks.gaps["the_type_char_is_bytes"] = 'the type "char" is text'

check = runner(connect)

VALUES = [
    ("boolean", [True, False]),
    ("int2", [-32768, 32767]),
    ("int4", [-(2**31), 2**31 - 1]),
    ("int8", [-(2**63), 2**63 - 1]),
    ("float4", [0.5]),
    ("float8", [1e300, 5e-324, float("inf")]),
    ("numeric", [decimal.Decimal("-1.50"), decimal.Decimal("12345678901234567890.123456789")]),
    ("text", ["", "žluťoučký 🐎"]),
    ("varchar", ["short"]),
    ("bytea", [b"\x00\xff"]),
    ("date", [datetime.date(2000, 2, 29)]),
    ("time", [datetime.time(23, 59, 59, 999999)]),
    ("timestamp", [datetime.datetime(2026, 11, 21, 1, 2, 3, 45)]),
    ("timestamptz", [datetime.datetime(2026, 11, 21, 1, 2, 3, 456789, UTC)]),
    ("interval", [datetime.timedelta(days=3, seconds=4, microseconds=5)]),
    ("uuid", [uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")]),
    ("json", ['{"a": 1}']),
    ("jsonb", ['{"a": 1}']),
    ("int4[]", [[1, None, 3], []]),
    ("text[]", [["a", None, "NULL", ""]]),
    ("timestamptz[]", [[datetime.datetime(2026, 1, 1, tzinfo=UTC)]]),
    ("oid", [4294967295]),
    ("name", ["a_name"]),
]


@check
async def every_type_goes_both_ways(connection):
    wrong = []
    for kind, values in VALUES:
        for value in values + [None]:
            try:
                got = await connection.fetchval(f"SELECT $1::{kind}", value)
            except Exception as error:
                got = error
            if got != value:
                wrong.append((kind, value, got))
    expect(wrong, [])


@check
async def codecs_are_looked_up_and_set(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads,
                                    schema="pg_catalog")
    expect(await connection.fetchval("SELECT $1::jsonb", {"a": [1, None]}), {"a": [1, None]})
    await connection.set_type_codec("numeric", encoder=str, decoder=float,
                                    schema="pg_catalog", format="text")
    expect(await connection.fetchval("SELECT 1.5::numeric"), 1.5)


@check
async def parameters_have_the_types_that_postgresql_infers(connection):
    await connection.execute("DROP TABLE IF EXISTS apg_infer")
    await connection.execute(
        "CREATE TABLE apg_infer (id int PRIMARY KEY, v text, t timestamptz, n numeric(10,2), "
        "s smallint, b bigint, f float8, d date, u uuid, a int[], j jsonb, y bytea)"
    )
    for statement, types in [
        ("SELECT * FROM apg_infer LIMIT $1 OFFSET $2", ["int8", "int8"]),
        ("SELECT * FROM apg_infer WHERE t < $1", ["timestamptz"]),
        ("SELECT * FROM apg_infer WHERE t BETWEEN $1 AND $2", ["timestamptz", "timestamptz"]),
        ("SELECT $1::int", ["int4"]),
        ("SELECT id + $1 FROM apg_infer", ["int4"]),
        ("SELECT b + $1 FROM apg_infer", ["int8"]),
        ("SELECT $1 || 'x'", ["text"]),
        ("SELECT * FROM apg_infer WHERE id = ANY($1)", ["int4[]"]),
        ("SELECT * FROM apg_infer WHERE v = ANY($1::text[])", ["text[]"]),
        ("SELECT * FROM apg_infer WHERE id IN ($1, $2)", ["int4", "int4"]),
        ("SELECT * FROM apg_infer WHERE v LIKE $1", ["text"]),
        ("SELECT * FROM apg_infer WHERE n > $1 AND s = $2 AND f < $3",
         ["numeric", "int2", "float8"]),
        ("SELECT * FROM apg_infer WHERE d = $1 AND u = $2", ["date", "uuid"]),
        ("SELECT coalesce(v, $1) FROM apg_infer", ["text"]),
        ("SELECT CASE WHEN id = $1 THEN $2 ELSE v END FROM apg_infer", ["int4", "text"]),
        ("INSERT INTO apg_infer VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
         ["int4", "text", "timestamptz", "numeric", "int2", "int8", "float8", "date", "uuid",
          "int4[]", "jsonb", "bytea"]),
        ("UPDATE apg_infer SET v = $1, n = $2 WHERE id = $3", ["text", "numeric", "int4"]),
        ("DELETE FROM apg_infer WHERE t >= $1", ["timestamptz"]),
        ("SELECT $1", ["text"]),
    ]:
        try:
            prepared = await connection.prepare(statement)
            got = [t.name for t in prepared.get_parameters()]
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        expect((statement, got), (statement, types))


@check
async def rows_know_their_columns(connection):
    prepared = await connection.prepare("SELECT 1::int4 AS a, 'x'::text AS b, now() AS c")
    expect([(a.name, a.type.name) for a in prepared.get_attributes()],
           [("a", "int4"), ("b", "text"), ("c", "timestamptz")])
    row = await prepared.fetchrow()
    expect((row["a"], row["b"], dict(row)["a"]), (1, "x", 1))


@check
async def a_statement_is_prepared_once_and_runs_again(connection):
    await connection.execute("DROP TABLE IF EXISTS apg_prepared")
    await connection.execute("CREATE TABLE apg_prepared (id int PRIMARY KEY, v text)")
    insert = await connection.prepare("INSERT INTO apg_prepared VALUES ($1, $2)")
    for i in range(20):
        await insert.fetch(i, f"v{i}")
    select = await connection.prepare("SELECT v FROM apg_prepared WHERE id = $1")
    for i in range(20):
        expect(await select.fetchval(i), f"v{i}")
    await connection.execute("ALTER TABLE apg_prepared ADD COLUMN w int DEFAULT 5")
    expect(tuple(await connection.fetchrow("SELECT * FROM apg_prepared WHERE id = 3")),
           (3, "v3", 5))


@check
async def many_rows_go_in_at_once(connection):
    await connection.execute("DROP TABLE IF EXISTS apg_many")
    await connection.execute("CREATE TABLE apg_many (id int PRIMARY KEY, v text)")
    await connection.executemany("INSERT INTO apg_many VALUES ($1, $2)",
                                 [(i, str(i)) for i in range(500)])
    expect(await connection.fetchval("SELECT count(*) FROM apg_many"), 500)
    try:
        await connection.executemany("INSERT INTO apg_many VALUES ($1, $2)",
                                     [(1000, "a"), (1, "twice")])
        raise AssertionError("no error")
    except asyncpg.UniqueViolationError as error:
        expect((error.constraint_name, error.table_name, error.detail),
               ("apg_many_pkey", "apg_many", "Key (id)=(1) already exists."))
    expect(await connection.fetchval("SELECT count(*) FROM apg_many"), 500)
    rows = await connection.fetch("SELECT id FROM apg_many WHERE id = ANY($1) ORDER BY 1", [3, 5])
    expect([r[0] for r in rows], [3, 5])
    rows = await connection.fetch(
        "INSERT INTO apg_many SELECT * FROM unnest($1::int[], $2::text[]) RETURNING id",
        [2001, 2002], ["x", "y"])
    expect(sorted(r[0] for r in rows), [2001, 2002])


@check
async def transactions_nest(connection):
    await connection.execute("DROP TABLE IF EXISTS apg_nest")
    await connection.execute("CREATE TABLE apg_nest (id int PRIMARY KEY)")
    async with connection.transaction(isolation="serializable"):
        await connection.execute("INSERT INTO apg_nest VALUES (1)")
        try:
            async with connection.transaction():
                await connection.execute("INSERT INTO apg_nest VALUES (2)")
                raise KeyError
        except KeyError:
            pass
    expect(await connection.fetchval("SELECT count(*) FROM apg_nest"), 1)
    async with connection.transaction(isolation="repeatable_read", readonly=True, deferrable=True):
        expect(await connection.fetchval("SELECT count(*) FROM apg_nest"), 1)
    expect(connection.is_in_transaction(), False)


@check
async def a_cursor_reads_in_pieces(connection):
    async with connection.transaction():
        seen = 0
        async for row in connection.cursor("SELECT g FROM generate_series(1, $1) AS t(g)", 1000,
                                           prefetch=100):
            seen += row[0]
        expect(seen, 500500)
        cursor = await connection.cursor("SELECT g FROM generate_series(1, 100) AS t(g) ORDER BY g")
        expect([r[0] for r in await cursor.fetch(3)], [1, 2, 3])
        expect(await cursor.forward(10), 10)
        expect((await cursor.fetchrow())[0], 14)


@check
async def copy_goes_in_and_out(connection):
    await connection.execute("DROP TABLE IF EXISTS apg_copy")
    await connection.execute("CREATE TABLE apg_copy (id int PRIMARY KEY, v text, t timestamptz)")
    now = datetime.datetime(2026, 1, 1, tzinfo=UTC)
    records = [(i, None if i % 3 else f"t\t{i}", now) for i in range(1000)]
    expect(await connection.copy_records_to_table("apg_copy", records=records), "COPY 1000")
    out = io.BytesIO()
    expect(await connection.copy_from_table("apg_copy", output=out, format="csv", header=True),
           "COPY 1000")
    expect(len(out.getvalue().splitlines()), 1001)
    out = io.BytesIO()
    await connection.copy_from_query("SELECT id FROM apg_copy WHERE id < $1 ORDER BY id", 3,
                                     output=out)
    expect(out.getvalue(), b"0\n1\n2\n")
    await connection.execute("TRUNCATE apg_copy")
    await connection.copy_to_table("apg_copy", source=io.BytesIO(b"7,x,2026-01-01\n"), format="csv")
    expect(await connection.fetchval("SELECT v FROM apg_copy WHERE id = 7"), "x")


@check
async def notifications_arrive(connection):
    other = await asyncpg.connect(DSN)
    got = asyncio.Queue()
    await other.add_listener("apg_news", lambda c, pid, channel, payload: got.put_nowait(
        (channel, payload, pid)))
    await connection.execute("SELECT pg_notify('apg_news', $1)", "hello")
    expect(await asyncio.wait_for(got.get(), 5), ("apg_news", "hello", connection.get_server_pid()))
    await connection.execute("NOTIFY apg_news")
    expect((await asyncio.wait_for(got.get(), 5))[1], "")
    await other.reset()
    await other.close()


@check
async def a_timeout_cancels(connection):
    try:
        await connection.execute("SELECT pg_sleep(30)", timeout=0.5)
        raise AssertionError("no timeout")
    except asyncio.TimeoutError:
        pass
    expect(await connection.fetchval("SELECT 1"), 1)


@check
async def a_pool_resets_its_connections(connection):
    async with asyncpg.create_pool(DSN, min_size=2, max_size=4) as pool:
        async def work(i):
            async with pool.acquire() as c:
                await c.execute("SET application_name = 'worker'")
                return await c.fetchval("SELECT $1::int + 1", i)
        expect(await asyncio.gather(*(work(i) for i in range(20))), list(range(1, 21)))
        async with pool.acquire() as c:
            expect(await c.fetchval("SHOW application_name"), "")


@check
async def errors_have_their_class(connection):
    for statement, kind in [
        ("SELECT * FROM nothing", asyncpg.UndefinedTableError),
        ("SELEC", asyncpg.PostgresSyntaxError),
        ("SELECT 1/0", asyncpg.DivisionByZeroError),
        ("SELECT nothing", asyncpg.UndefinedColumnError),
    ]:
        try:
            await connection.fetch(statement)
            raise AssertionError(f"no error: {statement}")
        except kind:
            pass


@check
async def settings_and_types_are_introspected(connection):
    settings = connection.get_settings()
    expect((settings.client_encoding.upper(), settings.server_encoding), ("UTF8", "UTF8"))
    expect(connection.get_server_version().major, 15)
    await connection.execute("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;")
    expect(await connection.fetchval("SELECT 'pg_class'::regclass"), "pg_class")
    expect(await connection.fetchval("SELECT 'int4'::regtype"), "integer")
    await connection.reload_schema_state()


@check
async def the_type_char_is_bytes(connection):
    expect(await connection.fetchval("SELECT relkind FROM pg_class WHERE relname = 'pg_class'"),
           b"r")


@check
async def a_large_result_comes(connection):
    rows = await connection.fetch("SELECT g, 'row ' || g AS t FROM generate_series(1, 1000000) AS x(g)")
    expect((len(rows), max(r[0] for r in rows)), (1000000, 1000000))


@check
async def records_and_rows(connection):
    expect(await connection.fetchval("SELECT ARRAY[1, 2] || 3"), [1, 2, 3])
    expect(tuple(await connection.fetchval("SELECT ROW(1, 'x'::text)")), (1, "x"))


if CHRONOS:

    @check
    async def the_past_takes_a_parameter(connection):
        await connection.execute("DROP TABLE IF EXISTS apg_past")
        await connection.execute("CREATE TABLE apg_past (id int PRIMARY KEY, v text)")
        await connection.execute("INSERT INTO apg_past VALUES (1, 'old')")
        before = await connection.fetchval("SELECT clock_timestamp()")
        await connection.execute("UPDATE apg_past SET v = 'new'")
        statement = "SELECT v FROM apg_past FOR SYSTEM_TIME AS OF $1"
        expect(await connection.fetchval(statement, before), "old")
        past = await asyncpg.connect(DSN, server_settings={"chronos.as_of": before.isoformat()})
        expect(await past.fetchval("SELECT v FROM apg_past"), "old")
        await past.close()


end()
