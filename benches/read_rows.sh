#!/usr/bin/env bash
# A result of many rows to one client, from Chronos and PostgreSQL, one after the other on this
# machine: seconds until the client has all of it, the server's own CPU seconds (the client and
# what else runs here share the machine), and the most memory that Chronos had resident. Release
# build. Arguments: the number of rows; servers.sh has the rest.
set -euo pipefail
rows=${1:-1000000}
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"

write_readings "$rows"
start_postgres
start_chronos

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
    psql -X -q -v ON_ERROR_STOP=1 "$connection" -c "$readings" \
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

read -r p p_cpu < <(read_all "$postgres" '')
idle=$(resident)
read -r c c_cpu < <(read_all "$chronos" "$server")
peak=$(resident_peak)
awk -v day="$(date +%F)" -v rows="$rows" -v c="$c" -v p="$p" -v cc="$c_cpu" -v pc="$p_cpu" \
    -v idle="$idle" -v peak="$peak" 'BEGIN {
    printf "| %s | %d | %.2f | %.2f | %.2f | %.2f | %.2f | %d to %d |\n", day, rows, c, cc, p, pc,
        p / c, idle, peak
}'
