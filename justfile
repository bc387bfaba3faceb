# The one interface for developers: `just` lists what there is.
# The two commands of README.md need none of it.

default:
    @just --list

# The quick suites: unit tests and the tests against a running node.
test *args:
    cargo test --workspace {{args}}

# What CI runs.
check:
    .ci/run

# Tests that take minutes: crashes, clients.
slow: crash bank clients

# Kills the server 200 times under load and looks for lost or half-visible commits.
crash runs="200":
    CHRONOS_CRASH_RUNS={{runs}} cargo test -p chronos-tests -p chronos-server --test node crash -- --nocapture

# Moves money with sixteen clients; its sum must be right now and as of the commits.
bank seconds="300":
    CHRONOS_BANK_SECONDS={{seconds}} cargo test -p chronos-tests -p chronos-server --test node the_sum_of_all -- --nocapture

# Flips bytes of a small database's files, one at a time: no read may be wrong.
flips count="2000" seed="1":
    CHRONOS_FLIPS={{count}} CHRONOS_SEED={{seed}} cargo test -p chronos-server --lib flipped_byte -- --nocapture

# Random histories against a plain list of versions.
model seeds="10000" first="0":
    CHRONOS_SEEDS={{seeds}} CHRONOS_SEED={{first}} cargo test -p chronos-storage -p chronos-server --lib random_histories -- --nocapture

# Random faults of the object store.
faults seeds="100" first="1":
    CHRONOS_SEEDS={{seeds}} CHRONOS_SEED={{first}} cargo test -p chronos-server --lib random_faults -- --nocapture

# The object store is out of order for that long, under load: commits go on, nothing is lost.
outage seconds="60":
    CHRONOS_OUTAGE_SECONDS={{seconds}} cargo test -p chronos-server --lib outage_under_load -- --nocapture

# Object stores of others: moto and Azurite (needs Python 3, npm and their package indexes).
stores:
    tests/clients/stores.sh

# The same statements through other people's drivers (needs Python 3 and a package index).
clients:
    tests/clients/run.sh

# pgAdmin 4 and Superset on a server that is running; a PostgreSQL to compare with may follow.
tools host port *baseline:
    tests/clients/tools.sh {{host}} {{port}} {{baseline}}

# A file of statements on a PostgreSQL and a Chronos that are running: where do they differ?
compare postgres chronos +files:
    python3 tests/compare/differ.py {{postgres}} {{chronos}} {{files}}

# DataFusion's own sqllogictest files on both (needs a package index for `cargo info`).
slt postgres chronos:
    cargo info -q datafusion-sqllogictest@55.2.0 > /dev/null
    python3 tests/compare/sqllogictest.py {{postgres}} {{chronos}} \
        ~/.cargo/registry/src/*/datafusion-sqllogictest-55.2.0/test_files

# Records the expected answers of tests/data with a PostgreSQL of its own.
bless:
    tests/data/record_expected.sh

# COPY of two million rows into Chronos and PostgreSQL, in one run.
bench rows="2000000":
    benches/copy_load.sh {{rows}}

# Licences and advisories of the dependencies (needs cargo-deny).
deny:
    cargo deny check
