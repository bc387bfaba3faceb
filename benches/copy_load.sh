#!/usr/bin/env bash
# COPY of the same csv file into Chronos and PostgreSQL, one after the other on this machine, and
# the most memory that Chronos had resident. Release build; both durable (fsync on). Arguments:
# the number of rows. PGBIN names PostgreSQL's programs; CHRONOS_BIN a ready server program.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rows=${1:-2000000}
pgbin=${PGBIN:-$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null || dirname "$(command -v initdb)")}
scratch=$(mktemp -d)
pgport=$((20000 + RANDOM % 20000))
server=

as_user() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}
stop() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    as_user "$pgbin/pg_ctl" -D "$scratch/pg" -m immediate -s stop 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop EXIT

if [ -z "${CHRONOS_BIN:-}" ]; then
    cargo build --release -p chronos-server --manifest-path "$root/Cargo.toml"
    CHRONOS_BIN=${CARGO_TARGET_DIR:-$root/target}/release/chronos
fi

awk -v rows="$rows" 'BEGIN {
    srand(1)
    for (i = 1; i <= rows; i++)
        printf "%d,device-%d,2026-01-%02d %02d:%02d:%02d+00,%.3f,%d\n", i, int(rand() * 1000),
            1 + i / 100000 % 28, i / 3600 % 24, i / 60 % 60, i % 60, rand() * 100, rand() * 1000000
}' >"$scratch/rows.csv"
schema='CREATE TABLE readings (id int8 PRIMARY KEY, device text NOT NULL, at timestamptz NOT NULL,
                               temperature float8, counter int4)'
check='SELECT count(*), sum(counter), min(device), max(at) FROM readings'

# Loads over that connection; prints seconds.
load() {
    psql -X -q -v ON_ERROR_STOP=1 "$1" -c "$schema"
    local start end
    start=$(date +%s%N)
    psql -X -q -v ON_ERROR_STOP=1 "$1" -c "\\copy readings from '$scratch/rows.csv' csv"
    end=$(date +%s%N)
    awk -v ns=$((end - start)) 'BEGIN { printf "%.2f", ns / 1e9 }'
}

[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
as_user "$pgbin/initdb" -D "$scratch/pg" -U chronos --auth=trust -E UTF8 --locale=C >/dev/null
as_user "$pgbin/pg_ctl" -D "$scratch/pg" -s -w -l "$scratch/pg.log" \
    -o "-p $pgport -h 127.0.0.1 -k $scratch -c timezone=UTC" start
postgres="host=127.0.0.1 port=$pgport user=chronos dbname=postgres"
postgres_seconds=$(load "$postgres")
postgres_answer=$(psql -X -At "$postgres" -c "$check")
as_user "$pgbin/pg_ctl" -D "$scratch/pg" -s -w stop

env -u CHRONOS_BIN "$CHRONOS_BIN" serve --data-dir "$scratch/chronos" --listen 127.0.0.1:0 \
    --http 127.0.0.1:0 2>"$scratch/log" &
server=$!
for _ in $(seq 600); do
    if grep -q '^chronos ready:' "$scratch/log"; then break; fi
    sleep 0.1
done
port=$(sed -nE 's/^chronos ready:.* 127\.0\.0\.1:([0-9]+).*/\1/p' "$scratch/log" | head -1)
chronos="host=127.0.0.1 port=$port user=chronos dbname=chronos"
idle=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$server/status")
chronos_seconds=$(load "$chronos")
peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$server/status")
chronos_answer=$(PGTZ=UTC psql -X -At "$chronos" -c "$check")
if [ "$chronos_answer" != "$postgres_answer" ]; then
    printf 'answers differ:\n%s\n%s\n' "$chronos_answer" "$postgres_answer" >&2
    exit 1
fi

awk -v rows="$rows" -v c="$chronos_seconds" -v p="$postgres_seconds" -v idle="$idle" -v peak="$peak" \
    -v day="$(date +%F)" \
    -v bytes="$(stat -c %s "$scratch/rows.csv")" 'BEGIN {
    printf "| %s | %d | %.0f | %.1f | %d | %.1f | %d | %.2f | %d to %d |\n", day, rows,
        bytes / 1e6, c, rows / c, p, rows / p, p / c, idle, peak
}'
