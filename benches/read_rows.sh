#!/usr/bin/env bash
# A result of many rows to one client, from Chronos and PostgreSQL, one after the other on this
# machine: seconds until the client has all of it, the server's own CPU seconds (the client and
# what else runs here share the machine), and the most memory that Chronos had resident. Release
# build. Arguments: the number of rows. PGBIN names PostgreSQL's programs; CHRONOS_BIN a ready
# server program.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rows=${1:-1000000}
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

[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
as_user "$pgbin/initdb" -D "$scratch/pg" -U chronos --auth=trust -E UTF8 --locale=C >/dev/null
as_user "$pgbin/pg_ctl" -D "$scratch/pg" -s -w -l "$scratch/pg.log" \
    -o "-p $pgport -h 127.0.0.1 -k $scratch -c timezone=UTC" start
env -u CHRONOS_BIN "$CHRONOS_BIN" serve --data-dir "$scratch/chronos" --listen 127.0.0.1:0 \
    --http 127.0.0.1:0 2>"$scratch/log" &
server=$!
for _ in $(seq 600); do
    if grep -q '^chronos ready:' "$scratch/log"; then break; fi
    sleep 0.1
done
port=$(sed -nE 's/^chronos ready:.* 127\.0\.0\.1:([0-9]+).*/\1/p' "$scratch/log" | head -1)

awk -v rows="$rows" 'BEGIN {
    srand(1)
    for (i = 1; i <= rows; i++)
        printf "%d,device-%d,2026-01-%02d %02d:%02d:%02d+00,%.3f,%d\n", i, int(rand() * 1000),
            1 + i / 100000 % 28, i / 3600 % 24, i / 60 % 60, i % 60, rand() * 100, rand() * 1000000
}' >"$scratch/rows.csv"
schema='CREATE TABLE readings (id int8 PRIMARY KEY, device text NOT NULL, at timestamptz NOT NULL,
                               temperature float8, counter int4)'

# CPU seconds of a process and its children that have ended, or of all of PostgreSQL's.
cpu() {
    local pid ticks=0
    for pid in "$@"; do
        ticks=$((ticks + $(awk '{ print $14 + $15 }' "/proc/$pid/stat" 2>/dev/null || echo 0)))
    done
    awk -v t="$ticks" -v hz="$(getconf CLK_TCK)" 'BEGIN { print t / hz }'
}

# Reads over that connection; prints wall and server CPU seconds. The session's own process of
# PostgreSQL is found by its connection's name.
read_all() {
    local connection=$1 pid=$2 start end before after
    psql -X -q -v ON_ERROR_STOP=1 "$connection" -c "$schema" \
        -c "\\copy readings from '$scratch/rows.csv' csv"
    # Once for the caches.
    psql -X -q -v ON_ERROR_STOP=1 "$connection" -c 'SELECT sum(counter) FROM readings' >/dev/null
    start=$(date +%s%N)
    if [ -n "$pid" ]; then
        before=$(cpu "$pid")
        psql -X -q -A -t -v ON_ERROR_STOP=1 -v FETCH_COUNT=0 "$connection" \
            -c '\o /dev/null' -c 'SELECT * FROM readings'
        after=$(cpu "$pid")
    else
        before=0
        after=$(psql -X -q -A -t -v ON_ERROR_STOP=1 "$connection" -c '\o /dev/null' \
            -c 'SELECT * FROM readings' -c '\o' \
            -c "SELECT split_part(pg_read_file('/proc/' || pg_backend_pid() || '/stat'), ' ', 14)::int
                     + split_part(pg_read_file('/proc/' || pg_backend_pid() || '/stat'), ' ', 15)::int")
        after=$(awk -v t="$after" -v hz="$(getconf CLK_TCK)" 'BEGIN { print t / hz }')
    fi
    end=$(date +%s%N)
    awk -v ns=$((end - start)) -v a="$after" -v b="$before" \
        'BEGIN { printf "%.2f %.2f\n", ns / 1e9, a - b }'
}

read -r p p_cpu < <(read_all "host=127.0.0.1 port=$pgport user=chronos dbname=postgres" '')
idle=$(awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$server/status")
read -r c c_cpu < <(read_all "host=127.0.0.1 port=$port user=chronos dbname=chronos" "$server")
peak=$(awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$server/status")
awk -v day="$(date +%F)" -v rows="$rows" -v c="$c" -v p="$p" -v cc="$c_cpu" -v pc="$p_cpu" \
    -v idle="$idle" -v peak="$peak" 'BEGIN {
    printf "| %s | %d | %.2f | %.2f | %.2f | %.2f | %.2f | %d to %d |\n", day, rows, c, cc, p, pc,
        p / c, idle, peak
}'
