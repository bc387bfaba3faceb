"""Superset, driven through its own API: a database, a dataset, a chart's data, and SQL Lab with
both spellings of AS OF that its parser lets through.

usage: superset_checks.py HOST PORT

The server needs a superuser "chronos" without a password.
"""

import json
import os
import sys
import tempfile
import time

scratch = tempfile.mkdtemp()
with open(os.path.join(scratch, "superset_config.py"), "w") as config:
    config.write(
        f"""
SECRET_KEY = "of-this-test-alone-0123456789-0123456789"
SQLALCHEMY_DATABASE_URI = "sqlite:///{scratch}/superset.db"
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
PREVENT_UNSAFE_DB_CONNECTIONS = False
FILTER_STATE_CACHE_CONFIG = {{"CACHE_TYPE": "SimpleCache"}}
EXPLORE_FORM_DATA_CACHE_CONFIG = {{"CACHE_TYPE": "SimpleCache"}}
"""
    )
os.environ["SUPERSET_CONFIG_PATH"] = os.path.join(scratch, "superset_config.py")
sys.path.insert(0, scratch)

import logging  # noqa: E402

import psycopg2  # noqa: E402

logging.disable(logging.CRITICAL)


def expect(what, response, status=(200, 201)):
    body = json.loads(response.data) if response.data else {}
    assert response.status_code in status, f"{what}: {response.status_code} {str(body)[:600]}"
    print(f"ok   {what}")
    return body


def main(host, port):
    connection = psycopg2.connect(host=host, port=port, user="chronos", dbname="chronos")
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("drop table if exists superset_sales")
    cursor.execute(
        "create table superset_sales (id int primary key, at timestamp not null, region text, "
        "amount numeric(10, 2), online boolean)"
    )
    cursor.execute(
        "insert into superset_sales select g, timestamp '2026-01-01' + g * interval '1 hour', "
        "case g % 3 when 0 then 'north' when 1 then 'south' else 'west' end, g * 1.5, g % 2 = 0 "
        "from generate_series(1, 300) g"
    )
    cursor.execute("select clock_timestamp()::text")
    before = cursor.fetchone()[0]
    time.sleep(0.01)
    cursor.execute("delete from superset_sales where region = 'west'")

    from superset.app import create_app

    app = create_app()
    with app.app_context():
        from flask_migrate import upgrade

        import superset

        upgrade(directory=os.path.join(os.path.dirname(superset.__file__), "migrations"))
        from superset.extensions import appbuilder, security_manager

        appbuilder.add_permissions(update_perms=True)
        security_manager.sync_role_definitions()
        security_manager.add_user(
            "admin", "A", "B", "a@example.com", security_manager.find_role("Admin"), "admin"
        )
        client = app.test_client()
        login = {"username": "admin", "password": "admin", "provider": "db", "refresh": True}
        token = expect("login", client.post("/api/v1/security/login", json=login))["access_token"]
        headers = {"Authorization": f"Bearer {token}"}

        def post(path, body, what):
            return expect(what, client.post(path, json=body, headers=headers))

        def get(path, what):
            return expect(what, client.get(path, headers=headers))

        uri = f"postgresql+psycopg2://chronos@{host}:{port}/chronos"
        post("/api/v1/database/test_connection/", {"sqlalchemy_uri": uri}, "test of the connection")
        database = post(
            "/api/v1/database/",
            {"database_name": "chronos", "sqlalchemy_uri": uri, "expose_in_sqllab": True},
            "database",
        )["id"]
        schemas = get(f"/api/v1/database/{database}/schemas/", "schemas")["result"]
        assert "public" in schemas, schemas
        tables = get(
            f"/api/v1/database/{database}/tables/?q=(schema_name:public,force:!t)", "tables"
        )["result"]
        assert any(table["value"] == "superset_sales" for table in tables), tables
        columns = get(
            f"/api/v1/database/{database}/table_metadata/?name=superset_sales&schema=public",
            "columns of a table",
        )["columns"]
        assert [c["name"] for c in columns] == ["id", "at", "region", "amount", "online"], columns
        dataset = post(
            "/api/v1/dataset/",
            {"database": database, "schema": "public", "table_name": "superset_sales"},
            "dataset",
        )["id"]
        described = get(f"/api/v1/dataset/{dataset}", "dataset's columns")["result"]
        assert next(c for c in described["columns"] if c["column_name"] == "at")["is_dttm"]

        total = {
            "expressionType": "SIMPLE",
            "column": {"column_name": "amount"},
            "aggregate": "SUM",
            "label": "total",
        }
        for grain in ("PT1H", "P1D", "P1W", "P1M", "P3M", "P1Y"):
            chart = post(
                "/api/v1/chart/data",
                {
                    "datasource": {"id": dataset, "type": "table"},
                    "queries": [
                        {
                            "columns": [
                                {
                                    "timeGrain": grain,
                                    "columnType": "BASE_AXIS",
                                    "sqlExpression": "at",
                                    "label": "at",
                                    "expressionType": "SQL",
                                },
                                "region",
                            ],
                            "metrics": [total],
                            "filters": [
                                {
                                    "col": "at",
                                    "op": "TEMPORAL_RANGE",
                                    "val": "2026-01-01 : 2026-02-01",
                                }
                            ],
                            "orderby": [["total", False]],
                            "row_limit": 1000,
                        }
                    ],
                },
                f"chart by {grain}",
            )["result"][0]
            assert {row["region"] for row in chart["data"]} == {"north", "south"}, chart["data"][:3]
        chart = client.post(
            "/api/v1/chart/",
            json={
                "slice_name": "sales",
                "datasource_id": dataset,
                "datasource_type": "table",
                "viz_type": "echarts_timeseries_line",
                "params": "{}",
            },
            headers=headers,
        )
        expect("saved chart", chart)

        def lab(sql):
            answer = post(
                "/api/v1/sqllab/execute/",
                {
                    "database_id": database,
                    "sql": sql,
                    "schema": "public",
                    "runAsync": False,
                    "client_id": f"c{abs(hash(sql)) % 10**9}",
                },
                f"SQL Lab: {sql[:60]}",
            )
            return [list(row.values()) for row in answer["data"]]

        assert lab("select count(*) from superset_sales") == [[200]]
        at = f"'{before}'"
        count = "select count(*) from superset_sales"
        assert lab(f"{count} for timestamp as of {at}") == [[300]]
        assert lab(f"select count(*) from as_of('superset_sales', {at})") == [[300]]
        sums = lab("select region, sum(amount) as s from superset_sales group by 1 order by 1")
        assert [[region, float(s)] for region, s in sums] == [
            ["north", 15150 * 1.5],
            ["south", 14950 * 1.5],
        ], sums
    print("superset: all went well")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
