# The common commands. `just` alone lists them.

# This list.
default:
    @just --list --unsorted

# Train the example network through `cu run`, in attempts of one second.
digits *overrides:
    cargo build --release
    target/release/cu run examples/digits/run.toml {{ overrides }}

# Type-check everything, fast.
check:
    cargo check --workspace --all-targets --all-features

# Run the tests, of one package with `just test -p cu-core`.
test *arguments="--workspace":
    cargo test --all-features {{ arguments }}

# Run all checks that a change must pass, as CI does. Installs missing tools.
ci:
    tests/all

# Format all code.
fmt:
    cargo fmt --all

# Run clippy, with warnings as errors.
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# Build the documentation, with broken links as errors.
doc *arguments:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features {{ arguments }}

# Run the benchmarks, or one of them by its name in benches/README.md.
bench name="":
    cargo bench -p cu-benches {{ if name == "" { "--benches" } else { "--bench " + name } }}

# Kill the main process 200 times in the middle of runs (tests/all does fewer rounds).
crash:
    CU_KILLS=200 cargo test -p cu-tests --test kill_main_process -- --nocapture

# Check the licences and sources of dependencies; `just deny advisories` needs the network.
deny *checks="bans licenses sources":
    cargo deny check {{ checks }}

# Compare the interface of each library with the last tag (cargo install cargo-semver-checks).
semver:
    cargo semver-checks --workspace --baseline-rev "$(git describe --tags --abbrev=0)"

# Bring up real clusters for tests, as root; `just clusters-up bookworm` one Slurm.
clusters-up *suites="bullseye bookworm trixie forky htcondor":
    for suite in {{ suites }}; do \
        if [ $suite = htcondor ]; then tests/clusters/htcondor up; else tests/clusters/slurm up $suite; fi || exit 1; \
    done

# End all clusters and their jobs.
clusters-down:
    tests/clusters/slurm down
    tests/clusters/htcondor down

# Run the tests on real clusters, as root. Brings up the clusters.
test-clusters *arguments:
    cargo test --all-features --package cu-cluster-tests {{ arguments }} -- --test-threads=16

# Run all recipes for well-known programs on a real Slurm, as root. Installs them: 3 GB in a Debian root.
recipes *arguments:
    cargo test --package cu-cluster-tests --test all {{ arguments }} -- --test-threads=4 recipes
    cargo test --package cu-cluster-tests --test large_recipes {{ arguments }} -- --test-threads=4

# Remove all build output, and the runs of the examples.
clean:
    cargo clean
    rm -rf results examples/*/results
