#!/usr/bin/env bash
# pgbench's three built-in scripts against Chronos and PostgreSQL, one after the other on this
# machine, in each of its protocols. Release build; both durable (fsync on). Afterwards the
# balances must add up. Arguments: seconds of each run, the scale, the numbers of clients, the
# scripts, the protocols; servers.sh has the rest.
set -euo pipefail
seconds=${1:-10}
scale=${2:-1}
clients=${3:-1 8 16}
scripts=${4:-select-only simple-update tpcb-like}
protocols=${5:-simple extended prepared}
source "$(dirname "${BASH_SOURCE[0]}")/servers.sh"
start_postgres
start_chronos

# Several clients of the third script change the one branch of scale 1: under the snapshots that
# are Chronos's default they are told so (40001), and pgbench tries again.
export PGOPTIONS='-c default_transaction_isolation=read\ committed'
check='SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
   AND (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches)'

# On that port, that script, with so many clients, in that protocol: transactions a second.
tps() {
    local out
    out=$(pgbench -h 127.0.0.1 -p "$1" -U chronos -n -b "$2" -c "$3" -j 1 -M "$4" -T "$seconds" \
        --max-tries=100 "$5" 2>&1) || { echo "$out" >&2; return 1; }
    if ! grep -q 'number of failed transactions: 0 ' <<<"$out"; then echo "$out" >&2; fi
    sed -nE 's/^tps = ([0-9]+).*/\1/p' <<<"$out"
}

pgbench -h 127.0.0.1 -p "$pgport" -U chronos -q -i -s "$scale" postgres >/dev/null 2>&1
pgbench -h 127.0.0.1 -p "$port" -U chronos -q -i -s "$scale" chronos >/dev/null 2>&1
for script in $scripts; do
    for protocol in $protocols; do
        for n in $clients; do
            postgres=$(tps "$pgport" "$script" "$n" "$protocol" postgres)
            chronos=$(tps "$port" "$script" "$n" "$protocol" chronos)
            awk -v day="$(date +%F)" -v what="$script, $protocol, $n" -v c="$chronos" \
                -v p="$postgres" \
                'BEGIN { printf "| %s | %s | %d | %d | %.2f |\n", day, what, c, p, c / p }'
        done
    done
done
sums=$(psql -X -At -h 127.0.0.1 -p "$port" -U chronos chronos -c "$check")
[ "$sums" = t ] || { echo "the balances do not add up" >&2; exit 1; }
