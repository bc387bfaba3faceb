#!/usr/bin/env bash
# COPY of the same csv file into Chronos and PostgreSQL, one after the other on this machine, and
# the most memory that Chronos had resident. Release build; both durable (fsync on). Arguments:
# the number of rows; servers.sh has the rest.
set -euo pipefail
rows=${1:-2000000}
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

write_readings "$rows"
check='SELECT count(*), sum(counter), min(device), max(at) FROM readings'

# Loads over that connection; prints seconds.
load() {
    psql -X -q -v ON_ERROR_STOP=1 "$1" -c "$readings"
    local start end
    start=$(date +%s%N)
    psql -X -q -v ON_ERROR_STOP=1 "$1" -c "\\copy readings from '$scratch/rows.csv' csv"
    end=$(date +%s%N)
    awk -v ns=$((end - start)) 'BEGIN { printf "%.2f", ns / 1e9 }'
}

start_postgres
postgres_seconds=$(load "$postgres")
postgres_answer=$(psql -X -At "$postgres" -c "$check")
stop_postgres

start_chronos
idle=$(resident)
chronos_seconds=$(load "$chronos")
peak=$(resident_peak)
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
