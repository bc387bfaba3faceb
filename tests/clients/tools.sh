#!/usr/bin/env bash
# Whole tools on a running server: pgAdmin 4 and Superset, driven through their own APIs. They take
# minutes to install and some gigabytes, so they are not among what run.sh runs.
#
# usage: tools.sh HOST PORT [BASELINE_HOST BASELINE_PORT]
#
# Both servers need a superuser "chronos" without a password, and a database "chronos". With a
# PostgreSQL 15 as the baseline, pgAdmin's requests must be answered alike by both. TOOLS_VENVS
# names a folder that keeps what is installed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venvs=${TOOLS_VENVS:-$(mktemp -d)}
mkdir -p "$venvs"
install() {
    if [ ! -x "$venvs/$1/bin/python" ]; then
        python3 -m venv "$venvs/$1"
        "$venvs/$1/bin/pip" install --quiet "${@:2}"
    fi
}
failed=0

install pgadmin pgadmin4
package=$("$venvs/pgadmin/bin/python" -c \
    'import importlib.util; print(importlib.util.find_spec("pgadmin4").submodule_search_locations[0])')
PYTHONPATH=$package "$venvs/pgadmin/bin/python" "$here/pgadmin_checks.py" "$@" || failed=1

# Superset's own requirements leave out or let in too new what it needs.
install superset apache-superset psycopg2-binary cachetools 'flask-caching<2.4'
"$venvs/superset/bin/python" "$here/superset_checks.py" "$1" "$2" || failed=1
exit $failed
