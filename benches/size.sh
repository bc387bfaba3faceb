#!/usr/bin/env bash
# How many bytes a row takes in Chronos, in plain Parquet files and in a PostgreSQL of its own.
# Arguments: the number of rows. PGBIN names PostgreSQL's programs; CHRONOS_BIN a ready server
# program, ENGINE_BIN a ready `engine`.
set -euo pipefail
rows=${1:-1000000}
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"
start_postgres
cd "$root"
export POSTGRES=$postgres
if [ -n "${ENGINE_BIN:-}" ]; then
    "$ENGINE_BIN" size "$rows"
else
    cargo run --release -q -p chronos-benches -- size "$rows"
fi
