#!/usr/bin/env bash
# How many bytes a row takes in Chronos, in plain Parquet files and in a PostgreSQL of its own.
# Arguments: the number of rows. PGBIN names PostgreSQL's programs; CHRONOS_BIN a ready server
# program, ENGINE_BIN a ready `engine`.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rows=${1:-1000000}
pgbin=${PGBIN:-$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null || dirname "$(command -v initdb)")}
scratch=$(mktemp -d)
pgport=$((20000 + RANDOM % 20000))

as_user() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}
stop() {
    as_user "$pgbin/pg_ctl" -D "$scratch/pg" -m immediate -s stop 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT

[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
as_user "$pgbin/initdb" -D "$scratch/pg" -U chronos --auth=trust -E UTF8 --locale=C >/dev/null
as_user "$pgbin/pg_ctl" -D "$scratch/pg" -s -w -l "$scratch/pg.log" \
    -o "-p $pgport -h 127.0.0.1 -k $scratch -c timezone=UTC" start
cd "$root"
export POSTGRES="host=127.0.0.1 port=$pgport user=chronos dbname=postgres"
if [ -n "${ENGINE_BIN:-}" ]; then
    "$ENGINE_BIN" size "$rows"
else
    cargo run --release -q -p chronos-benches -- size "$rows"
fi
