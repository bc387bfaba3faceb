#!/usr/bin/env bash
# Runs the tests against object stores of others: moto (PyPI) for S3, Azurite (npm) for Azure.
# CHRONOS_STORES_TOOLS names a folder to install them in, and to find them in the next time.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=${CHRONOS_STORES_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/chronos/stores}
mkdir -p "$tools"
if [ ! -x "$tools/moto/bin/moto_server" ]; then
    python3 -m venv "$tools/moto"
    "$tools/moto/bin/pip" install --quiet 'moto[server]'
fi
if command -v npm >/dev/null && [ ! -x "$tools/azurite/node_modules/.bin/azurite-blob" ]; then
    mkdir -p "$tools/azurite"
    (cd "$tools/azurite" && echo '{"private": true}' >package.json && npm install --silent azurite)
fi
export PATH="$tools/moto/bin:$tools/azurite/node_modules/.bin:$PATH"
cargo build --manifest-path "$root/Cargo.toml" -p chronos-server
cargo test --manifest-path "$root/Cargo.toml" -p chronos-tests -p chronos-server --test node \
    stores -- --nocapture
