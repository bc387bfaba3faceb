"""pgAdmin 4, driven through its own web API: what its browser, its properties, its SQL tabs, its
dashboard and its query tool ask of a server.

usage: pgadmin_checks.py HOST PORT [BASELINE_HOST BASELINE_PORT]

With a PostgreSQL 15 as the baseline, every request is made of both servers, and the status and
shape of the answers (the fields of each JSON object) must be the same. Both need a superuser
"chronos" without a password, and a database "chronos".
"""

import json
import logging
import os
import sys
import tempfile

scratch = tempfile.mkdtemp()
import config  # noqa: E402  (pgAdmin's own, on its path)

config.SERVER_MODE = False
config.DATA_DIR = scratch
config.SQLITE_PATH = os.path.join(scratch, "pgadmin.db")
config.SESSION_DB_PATH = os.path.join(scratch, "sessions")
config.STORAGE_DIR = os.path.join(scratch, "storage")
config.LOG_FILE = os.path.join(scratch, "log")
config.AZURE_CREDENTIAL_CACHE_DIR = os.path.join(scratch, "azure")
config.KERBEROS_CCACHE_DIR = os.path.join(scratch, "krb")
config.MASTER_PASSWORD_REQUIRED = False
config.USE_OS_SECRET_STORAGE = False
config.WTF_CSRF_ENABLED = False
config.CONSOLE_LOG_LEVEL = logging.CRITICAL
config.UPGRADE_CHECK_ENABLED = False
from pgadmin import create_app  # noqa: E402

SCHEMA = """
drop schema if exists tour cascade;
create schema tour;
comment on schema tour is 'for pgAdmin';
create table tour.a (id serial primary key, name varchar(20) not null default 'x', t timestamptz);
create table tour.b (id int primary key, a_id int references tour.a (id), n numeric(10,2),
                     constraint positive check (n > 0), unique (a_id, n));
comment on table tour.a is 'a table';
comment on column tour.a.name is 'a name';
create index b_a on tour.b (a_id);
create view tour.v as select id, name from tour.a;
create sequence tour.s increment 3;
insert into tour.a (name) values ('one'), ('two');
"""


class Tour:
    def __init__(self, app, host, port):
        import psycopg

        with psycopg.connect(
            f"host={host} port={port} user=chronos dbname=chronos", autocommit=True
        ) as c:
            for statement in SCHEMA.split(";"):
                if statement.strip():
                    c.execute(statement)
        self.client = app.test_client()
        self.answers = {}
        self.host, self.port = host, port

    def ask(self, name, method, path, **kwargs):
        response = getattr(self.client, method)(path, **kwargs)
        try:
            body = json.loads(response.data)
        except ValueError:
            body = {"text": len(response.data) > 0}
        self.answers[name] = (response.status_code, body)
        return body

    def nodes(self, kind, path):
        """The children of a kind, by label."""
        body = self.ask(f"{kind} nodes", "get", f"/browser/{kind}/nodes/{path}")
        data = body.get("data") if isinstance(body, dict) else None
        return {node["label"]: node["_id"] for node in data or [] if isinstance(node, dict)}

    def object(self, kind, path, oid):
        for what in ("obj", "sql", "dependency", "dependent"):
            self.ask(f"{kind} {what}", "get", f"/browser/{kind}/{what}/{path}{oid}")
        self.ask(f"{kind} stats", "get", f"/browser/{kind}/stats/{path}{oid}")
        self.ask(f"{kind} properties", "get", f"/browser/{kind}/obj/{path}")

    def run(self):
        server = {
            "name": f"{self.host}:{self.port}",
            "host": self.host,
            "port": self.port,
            "db": "chronos",
            "username": "chronos",
            "sslmode": "prefer",
            "connection_params": [
                {"name": "sslmode", "keyword": "sslmode", "value": "prefer"},
                {"name": "connect_timeout", "keyword": "connect_timeout", "value": 10},
            ],
        }
        made = self.ask("server create", "post", "/browser/server/obj/1/", data=json.dumps(server),
                        content_type="application/json")
        sid = made["node"]["_id"]
        self.ask("server connect", "post", f"/browser/server/connect/1/{sid}",
                 data=json.dumps({"password": ""}), content_type="application/json")
        at = f"1/{sid}/"
        self.ask("server obj", "get", f"/browser/server/obj/{at[:-1]}")
        self.ask("server stats", "get", f"/browser/server/stats/{at[:-1]}")
        databases = self.nodes("database", at)
        did = databases.get("chronos")
        assert did, f"no database: {self.answers['database nodes']}"
        self.ask("database connect", "post", f"/browser/database/connect/{at}{did}")
        for kind in ("database", "role", "tablespace"):
            names = self.nodes(kind, at)
            if names:
                first = names.get("chronos") or sorted(names.values())[0]
                self.object(kind, at, first)
        at += f"{did}/"
        for kind in ("extension", "language", "cast", "event_trigger", "foreign_data_wrapper",
                     "publication", "subscription"):
            names = self.nodes(kind, at)
            if names and kind == "language":
                self.object(kind, at, sorted(names.values())[0])
        self.nodes("catalog", at)
        schemas = self.nodes("schema", at)
        scid = schemas.get("tour")
        assert scid, f"no schema: {self.answers['schema nodes']}"
        self.object("schema", at, scid)
        at += f"{scid}/"
        for kind in ("aggregate", "collation", "domain", "foreign_table", "fts_configuration",
                     "fts_dictionary", "fts_parser", "fts_template", "function", "operator",
                     "procedure", "trigger_function", "type", "mview"):
            self.nodes(kind, at)
        for kind, name in (("view", "v"), ("sequence", "s"), ("table", "b")):
            oid = self.nodes(kind, at).get(name)
            assert oid, f"no {kind}: {self.answers[kind + ' nodes']}"
            self.object(kind, at, oid)
        table = self.nodes("table", at)["b"]
        for statement in ("select_sql", "insert_sql", "update_sql", "delete_sql", "count_rows"):
            self.ask(f"table {statement}", "get", f"/browser/table/{statement}/{at}{table}")
        inner = f"{at}{table}/"
        for kind in ("column", "index", "check_constraint", "foreign_key", "primary_key",
                     "unique_constraint", "exclusion_constraint", "rule", "trigger",
                     "row_security_policy", "partition"):
            names = self.nodes(kind, inner)
            if names:
                self.object(kind, inner, sorted(names.items())[0][1])
        for name in ("dashboard_stats", "activity", "locks", "prepared", "config"):
            path = f"/dashboard/{name}/{sid}"
            path += "" if name == "config" else f"/{did}"
            charts = "?chart_names=session_stats,tps_stats,ti_stats,to_stats,bio_stats"
            self.ask(f"dashboard {name}", "get", path + (charts if "stats" in name else ""))
        self.ask("search", "get",
                 f"/search_objects/types/{sid}/{did}")
        self.ask("search for a name", "get",
                 f"/search_objects/search/{sid}/{did}?text=a&type=all&show_system_objects=false")
        self.query_tool(sid, did)
        return self.answers

    def query_tool(self, sid, did):
        trans = 1234567
        self.ask("query tool", "post", f"/sqleditor/initialize/sqleditor/{trans}/1/{sid}/{did}",
                 data=json.dumps({"dbname": "chronos", "user": "chronos"}),
                 content_type="application/json")
        for name, sql in (("select", "select * from tour.a order by id"),
                          ("explain", "explain select * from tour.a"),
                          ("error", "select no_such_column from tour.a")):
            self.ask(f"start {name}", "post", f"/sqleditor/query_tool/start/{trans}",
                     data=json.dumps({"sql": sql, "explain_plan": None}),
                     content_type="application/json")
            for _ in range(100):
                body = self.ask(f"poll {name}", "get", f"/sqleditor/poll/{trans}")
                if body.get("data", {}).get("status") != "Busy":
                    break
        self.ask("autocomplete", "post", f"/sqleditor/autocomplete/{trans}",
                 data=json.dumps(["select * from tour.", "select * from tour."]),
                 content_type="application/json")
        self.ask("close", "delete", f"/sqleditor/close/{trans}")


def shape(value, depth=0):
    if isinstance(value, dict):
        return {k: shape(v, depth + 1) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0], depth + 1)] if value else []
    return "value"


def errors(answer):
    status, body = answer
    if isinstance(body, dict) and (body.get("success") == 0 or body.get("errormsg")):
        return str(body.get("errormsg"))[:300]
    return f"status {status}: {str(body)[:300]}" if status >= 400 else None


def differences(ours, theirs, where=""):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(set(ours) | set(theirs)):
            if key not in ours or key not in theirs:
                yield f"{where}.{key} only {'there' if key in theirs else 'here'}"
            else:
                yield from differences(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if ours and theirs:
            yield from differences(ours[0], theirs[0], f"{where}[]")
    elif type(ours) is not type(theirs):
        yield f"{where}: {str(ours)[:80]} for {str(theirs)[:80]}"


def main():
    app = create_app("pgAdmin 4")
    app.PGADMIN_RUNTIME = True
    app.config["WTF_CSRF_ENABLED"] = False
    app.PGADMIN_INT_KEY = ""
    app.run_before_app_start()
    with app.app_context():
        ours = Tour(app, sys.argv[1], int(sys.argv[2])).run()
        base = Tour(app, sys.argv[3], int(sys.argv[4])).run() if len(sys.argv) > 3 else None
    wrong = 0
    for name, answer in ours.items():
        error = errors(answer)
        expected = errors(base[name]) if base and name in base else None
        if error and not expected and not (base is None and name == "poll error"):
            wrong += 1
            print(f"WRONG {name}: {error}")
        elif base and name in base and not error and not expected:
            found = list(differences(shape(answer[1]), shape(base[name][1])))
            if found:
                wrong += 1
                print(f"DIFFERS {name}: {'; '.join(found[:5])}")
    for name in sorted(set(base or {}) - set(ours)):
        wrong += 1
        print(f"MISSING {name}")
    print(f"pgAdmin: {len(ours)} requests, {wrong} wrong or different")
    return wrong != 0


if __name__ == "__main__":
    sys.exit(main())
