# The commands of CI. `.ci/run` runs these recipes as its stages; each also works alone:
# `just clippy`. CONTRIBUTING.md says what each stage proves and how long it takes.
#
# `.ci/run` can run a recipe on a machine without `just`. So recipes are plain shell: no
# variables, parameters or dependencies. A recipe that cannot run here prints the reason
# and exits with 75; `.ci/run` then reports the stage as skipped.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Lists the recipes.
default:
    @just --list --unsorted

# Checks the openings of doc comments and the names of tests.
prose:
    .ci/prose

# Checks the formatting.
fmt:
    cargo fmt --all --check

# Checks bans, licences, sources and double versions of dependencies.
deny:
    cargo deny --version || { echo "cargo-deny is not installed"; exit 75; }
    cargo deny --locked check --hide-inclusion-graph bans licenses sources

# Checks dependencies for known vulnerabilities.
advisories:
    cargo deny --version || { echo "cargo-deny is not installed"; exit 75; }
    timeout 30 git ls-remote -q https://github.com/RustSec/advisory-db HEAD || { echo "the advisory database cannot be reached"; exit 75; }
    cargo deny --locked check advisories

# Lints all crates and their tests.
clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Builds the documentation and checks its links.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

# Builds the fuzz targets without a sanitizer. Shares the dependencies of the demo.
fuzz-build:
    cargo build -p fuzz -p integration --bins --locked

# Runs all tests.
test:
    cargo test --workspace --locked --no-fail-fast

# Runs the demo until its verdict.
demo:
    cargo run -p integration --locked -- demo --once

# Lints, renders and tests the Helm chart, and compares the plain manifests with it.
chart:
    .ci/chart

# Breaks a mesh of real processes in a few ways; needs an idle machine.
chaos-quick:
    cargo run -p integration --locked -- chaos --quick

# Runs a mesh under a small load and kills parts of it; needs an idle machine.
load-quick:
    cargo run -p integration --locked -- load --rate=2000 --duration=20s --interval=5s --kill-every=10s --receivers=2 --exporters=2

# Builds what the long stages run.
release:
    cargo build --release -p integration --locked

# Builds the stripped release binaries of the services, with debug information beside them.
dist:
    .ci/dist

# Makes a release as docs/release.md says, up to the push: images with static binaries, chart, archives.
images:
    command -v helm || { echo "helm is not installed; the stage chart builds it"; exit 75; }
    awk '/^```sh/ {take = 1; next} /^```/ {exit} take' docs/release.md | bash

# Runs the test suites of Prometheus, OpenMetrics and OpenTelemetry.
conformance:
    test -d ../shared/suites || { echo "../shared/suites is not there"; exit 75; }
    cargo run --release -p integration --locked -- conformance ../shared/suites

# Compares what a real Prometheus server and promesh store.
parity:
    test -d ../shared/suites/bodies || { echo "../shared/suites/bodies is not there"; exit 75; }
    cargo run --release -p integration --locked -- parity

# Simulates a thousand seeds.
simulate:
    cargo run --release -p integration --locked -- simulate --log.level=off --seeds=1..1000

# Breaks a mesh of real processes in every way; needs an idle machine.
chaos:
    cargo run --release -p integration --locked -- chaos

# Runs the mesh under load for five minutes and kills parts of it.
load:
    cargo run --release -p integration --locked -- load --duration 5m

# Runs each fuzz target for a minute.
fuzz:
    cargo fuzz --version || { echo "cargo-fuzz is not installed"; exit 75; }
    for target in fuzz/corpus/*; do name=${target#fuzz/corpus/}; mkdir -p "fuzz/found/$name"; cargo fuzz run --sanitizer none "$name" "fuzz/found/$name" "$target" -- -max_total_time=60 -verbosity=0 -print_final_stats=1; done
