#!/usr/bin/env bash
# Records what PostgreSQL answers to queries/*.sql before, between and after changes.sql, as
# expected/<stage>/<query>.csv. Needs PostgreSQL's server programs; PGBIN names their folder.
# Run it again after adding a query, and read the difference before committing it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pgbin=${PGBIN:-$(ls -d /usr/lib/postgresql/15/bin 2>/dev/null || dirname "$(command -v initdb)")}
scratch=$(mktemp -d)
port=$((20000 + RANDOM % 20000))

# PostgreSQL refuses to run as root.
as_user() {
    if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}
stop() {
    as_user "$pgbin/pg_ctl" -D "$scratch/data" -m immediate -s stop || true
    rm -rf "$scratch"
}
trap stop EXIT

[ "$(id -u)" != 0 ] || chown postgres "$scratch"
cd "$scratch"
as_user "$pgbin/initdb" -D "$scratch/data" -U chronos --auth=trust -E UTF8 --locale=C >/dev/null
as_user "$pgbin/pg_ctl" -D "$scratch/data" -s -w -l "$scratch/log" \
    -o "-p $port -h 127.0.0.1 -k $scratch -c fsync=off -c timezone=UTC" start

sql() { "$pgbin/psql" -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U chronos -d postgres "$@"; }

record() {
    local stage=$1 file name text
    mkdir -p "$here/expected/$stage"
    for file in "$here"/queries/*.sql; do
        name=$(basename "$file" .sql)
        text=$(sed -E 's/\{([a-z]+)\}/\1/g' "$file")
        sql -c "COPY ($text) TO STDOUT (FORMAT csv, HEADER)" >"$here/expected/$stage/$name.csv"
    done
}

sql -f "$here/schema.sql"
for table in airlines airports planes weather; do
    sql -c "\\copy $table from '$here/nycflights13/$table.csv' csv header null 'NA'"
done
gunzip -c "$here/nycflights13/flights.csv.gz" >"$scratch/flights.csv"
sql -c "\\copy flights from '$scratch/flights.csv' csv header null 'NA'"

rm -rf "$here/expected"
record 0-loaded
sql -c "$(sed -n 1p "$here/changes.sql")"
record 1-updated
sql -c "$(sed -n 2p "$here/changes.sql")"
record 2-deleted
sql -Atc 'SELECT version()' | cut -d' ' -f1-2 >"$here/expected/RECORDED_WITH"
