"""How the Python drivers connect encrypted and prove a password. Run it with the server's port, the
file of its authority's certificate, and the password of the role chronos. All of it holds for
PostgreSQL 15 too. A driver that is not installed is skipped aloud."""

import asyncio
import importlib
import ssl
import sys

import checks
from checks import end, expect, runner

PORT, AUTHORITY, PASSWORD = int(sys.argv[1]), sys.argv[2], sys.argv[3]
BASE = f"host=localhost port={PORT} user=chronos dbname=chronos"

# The further arguments name no checks here.
checks.only = []
check = runner(lambda function: function())


def driver(name):
    """A decorator: the check runs where the driver is installed."""

    def decorate(function):
        try:
            module = importlib.import_module(name)
        except ImportError:
            print(f"SKIPPED {function.__name__}: {name} is not installed")
            return

        def run():
            function(module)

        run.__name__ = function.__name__
        check(run)

    return decorate


def refused(connect, kinds, word):
    try:
        connect()
    except kinds as error:
        if word not in str(error):
            raise
        return
    raise AssertionError("the connection was not refused")


@driver("psycopg")
def psycopg_with_every_sslmode(psycopg):
    for mode in ["require", "verify-ca", "verify-full"]:
        dsn = f"{BASE} password={PASSWORD} sslmode={mode} sslrootcert={AUTHORITY}"
        with psycopg.connect(dsn) as connection:
            expect(connection.pgconn.ssl_in_use, True)
            expect(connection.execute("SELECT current_user").fetchone(), ("chronos",))


@driver("psycopg")
def psycopg_with_channel_binding(psycopg):
    dsn = f"{BASE} password={PASSWORD} sslmode=require channel_binding=require"
    with psycopg.connect(dsn) as connection:
        expect(connection.execute("SELECT 1").fetchone(), (1,))


@driver("psycopg")
def psycopg_with_a_wrong_password(psycopg):
    refused(
        lambda: psycopg.connect(f"{BASE} password=wrong sslmode=require"),
        psycopg.OperationalError,
        "password authentication failed",
    )


@driver("psycopg")
def psycopg_changes_a_password(psycopg):
    dsn = f"{BASE} password={PASSWORD} sslmode=require"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE USER ann")
        verifier = connection.pgconn.encrypt_password(b"hush", b"ann", b"scram-sha-256")
        connection.execute(f"ALTER USER ann PASSWORD '{verifier.decode()}'")
    own = f"host=localhost port={PORT} user=ann dbname=chronos password=hush sslmode=require"
    with psycopg.connect(own) as connection:
        expect(connection.execute("SELECT current_user").fetchone(), ("ann",))


@driver("psycopg2")
def psycopg2_verifies_the_server(psycopg2):
    dsn = f"{BASE} password={PASSWORD} sslmode=verify-full sslrootcert={AUTHORITY}"
    connection = psycopg2.connect(dsn)
    expect(connection.info.ssl_in_use, True)
    connection.close()


@driver("asyncpg")
def asyncpg_verifies_the_server(asyncpg):
    async def run():
        context = ssl.create_default_context(cafile=AUTHORITY)
        where = {"host": "localhost", "port": PORT, "user": "chronos", "database": "chronos"}
        connection = await asyncpg.connect(password=PASSWORD, ssl=context, **where)
        expect(await connection.fetchval("SELECT 41 + 1"), 42)
        await connection.close()
        # And with the handshake at once, which has to name the protocol.
        context.set_alpn_protocols(["postgresql"])
        connection = await asyncpg.connect(
            password=PASSWORD, ssl=context, direct_tls=True, **where
        )
        expect(await connection.fetchval("SELECT 1"), 1)
        await connection.close()
        try:
            await asyncpg.connect(password="wrong", ssl=context, **where)
        except asyncpg.InvalidPasswordError:
            return
        raise AssertionError("the connection was not refused")

    asyncio.run(run())


@driver("pg8000.native")
def pg8000_binds_the_channel(native):
    context = ssl.create_default_context(cafile=AUTHORITY)
    connection = native.Connection(
        "chronos",
        host="localhost",
        port=PORT,
        database="chronos",
        password=PASSWORD,
        ssl_context=context,
    )
    expect(connection.run("SELECT 1"), [[1]])
    connection.close()


end()
