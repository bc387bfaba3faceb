"""Reads the segments of the table `kept` with DuckDB and pyarrow, without a server."""

import pathlib
import sys

import duckdb
import pyarrow.parquet

wanted = [(1, "new"), (1, "old"), (2, "gone")]
paths = []
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.parquet")):
    if pyarrow.parquet.read_schema(path).names[:2] == ["id", "v"]:
        table = pyarrow.parquet.read_table(path)
        if set(table.column("v").to_pylist()) <= {"new", "old", "gone"}:
            paths.append(str(path))

rows = []
for path in paths:
    table = pyarrow.parquet.read_table(path)
    assert "_system_from" in table.column_names, table.column_names
    rows += zip(table.column("id").to_pylist(), table.column("v").to_pylist())
assert sorted(rows) == wanted, f"pyarrow: {sorted(rows)}"

rows = duckdb.sql(f"SELECT id, v FROM read_parquet({paths!r}) ORDER BY ALL").fetchall()
assert rows == wanted, f"duckdb: {rows}"
print(f"ok      {len(paths)} segments read by pyarrow {pyarrow.__version__} and duckdb {duckdb.__version__}")
