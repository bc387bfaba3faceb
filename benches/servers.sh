# Sourced by the scripts beside it: a Chronos and a PostgreSQL 15 of the script's own, both durable
# (fsync on), in `$scratch`, which goes at the end with both of them. PGBIN names PostgreSQL's
# programs; CHRONOS_BIN a ready server program, otherwise a release build is made.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pgbin=${PGBIN:-$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null || dirname "$(command -v initdb)")}
scratch=$(mktemp -d)
pgport=$((20000 + RANDOM % 20000))
postgres="host=127.0.0.1 port=$pgport user=chronos dbname=postgres"
server=

as_user() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

stop_servers() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    as_user "$pgbin/pg_ctl" -D "$scratch/pg" -m immediate -s stop 2>/dev/null || true
    rm -rf "$scratch"
}
trap stop_servers EXIT

[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"

# The connection is `$postgres`.
start_postgres() {
    as_user "$pgbin/initdb" -D "$scratch/pg" -U chronos --auth=trust -E UTF8 --locale=C >/dev/null
    as_user "$pgbin/pg_ctl" -D "$scratch/pg" -s -w -l "$scratch/pg.log" \
        -o "-p $pgport -h 127.0.0.1 -k $scratch -c timezone=UTC" start
}

stop_postgres() {
    as_user "$pgbin/pg_ctl" -D "$scratch/pg" -s -w stop
}

# Sets `$server`, its process, `$port` and the connection `$chronos`.
start_chronos() {
    if [ -z "${CHRONOS_BIN:-}" ]; then
        cargo build --release -p chronos-server --manifest-path "$root/Cargo.toml"
        CHRONOS_BIN=${CARGO_TARGET_DIR:-$root/target}/release/chronos
    fi
    env -u CHRONOS_BIN "$CHRONOS_BIN" serve --data-dir "$scratch/chronos" --listen 127.0.0.1:0 \
        --http 127.0.0.1:0 2>"$scratch/log" &
    server=$!
    for _ in $(seq 600); do
        if grep -q '^chronos ready:' "$scratch/log"; then break; fi
        sleep 0.1
    done
    port=$(sed -nE 's/^chronos ready:.* 127\.0\.0\.1:([0-9]+).*/\1/p' "$scratch/log" | head -1)
    chronos="host=127.0.0.1 port=$port user=chronos dbname=chronos"
}

# What Chronos has resident, MB: now, and the most it ever had.
resident() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$server/status"; }
resident_peak() { awk '/^VmHWM/ { print int($2 / 1024) }' "/proc/$server/status"; }

# Readings of a thousand devices: their table, and so many rows in rows.csv.
readings='CREATE TABLE readings (id int8 PRIMARY KEY, device text NOT NULL, at timestamptz NOT NULL,
                                 temperature float8, counter int4)'
write_readings() {
    awk -v rows="$1" 'BEGIN {
        srand(1)
        for (i = 1; i <= rows; i++)
            printf "%d,device-%d,2026-01-%02d %02d:%02d:%02d+00,%.3f,%d\n", i, int(rand() * 1000),
                1 + i / 100000 % 28, i / 3600 % 24, i / 60 % 60, i % 60, rand() * 100,
                rand() * 1000000
    }' >"$scratch/rows.csv"
}
