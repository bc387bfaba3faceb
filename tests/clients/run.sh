#!/usr/bin/env bash
# Builds and starts a server on free ports and runs the clients' checks against it. Needs Python 3
# with venv, and a package index for psycopg, duckdb and pyarrow. CHRONOS_BIN names a ready server
# program instead of building one.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
scratch=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then kill -KILL "$server" 2>/dev/null || true; fi
    rm -rf "$scratch"
}
trap stop EXIT

if [ -z "${CHRONOS_BIN:-}" ]; then
    cargo build -p chronos-server --manifest-path "$root/Cargo.toml"
    CHRONOS_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/chronos
fi
venv=${CHRONOS_CLIENTS_VENV:-$scratch/venv}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet -r "$here/requirements.txt"
fi

program=$CHRONOS_BIN
env -u CHRONOS_BIN -u CHRONOS_CLIENTS_VENV "$program" serve --data-dir "$scratch/data" \
    --listen 127.0.0.1:0 --http 127.0.0.1:0 2>"$scratch/log" &
server=$!
for _ in $(seq 1200); do
    if grep -q '^chronos ready:' "$scratch/log"; then break; fi
    if ! kill -0 "$server" 2>/dev/null; then cat "$scratch/log" >&2; exit 1; fi
    sleep 0.1
done
port=$(sed -nE 's/^chronos ready:.* 127\.0\.0\.1:([0-9]+).*/\1/p' "$scratch/log" | head -1)

"$venv/bin/python" "$here/psycopg_checks.py" "host=127.0.0.1 port=$port user=chronos dbname=chronos"

# A clean stop flushes; then the files are read without the server.
kill -TERM "$server"
wait "$server"
server=
"$venv/bin/python" "$here/parquet_checks.py" "$scratch/data"

# Once more, encrypted and with passwords.
if ! command -v openssl >/dev/null; then
    echo "SKIPPED access_checks.py: openssl is not on the PATH"
    exit 0
fi
(
    cd "$scratch"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -keyout ca.key -out ca.pem -subj "/CN=test authority" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout server.key -out server.csr -subj "/CN=localhost" 2>/dev/null
    printf 'subjectAltName=DNS:localhost\n' >server.ext
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile server.ext -out server.pem 2>/dev/null
)
env -u CHRONOS_BIN -u CHRONOS_CLIENTS_VENV CHRONOS_PASSWORD=open-sesame \
    "$program" serve --data-dir "$scratch/guarded" --listen 127.0.0.1:0 --http off \
    --tls-cert-file "$scratch/server.pem" --tls-key-file "$scratch/server.key" \
    --hba "hostssl all all all scram-sha-256" 2>"$scratch/guarded.log" &
server=$!
for _ in $(seq 1200); do
    if grep -q '^chronos ready:' "$scratch/guarded.log"; then break; fi
    if ! kill -0 "$server" 2>/dev/null; then cat "$scratch/guarded.log" >&2; exit 1; fi
    sleep 0.1
done
port=$(sed -nE 's/^chronos ready:.* 127\.0\.0\.1:([0-9]+).*/\1/p' "$scratch/guarded.log" | head -1)
"$venv/bin/python" "$here/access_checks.py" "$port" "$scratch/ca.pem" open-sesame
if [ -n "${NODE_MODULES_OF:-}" ]; then
    NODE_EXTRA_CA_CERTS=$scratch/ca.pem node "$here/node_access_checks.mjs" "$port" open-sesame
else
    echo "SKIPPED node_access_checks.mjs: NODE_MODULES_OF names no folder with pg and postgres"
fi
