# `make demo` and `make test` are all that a fresh Debian machine with cargo needs.

SHELL := /bin/bash
ARGS ?=
RELEASE := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: demo test setup lint bench chaos gen

setup:
	@scripts/setup.sh

demo: setup
	@echo "Building Camshaft (a few minutes the first time) …" >&2
	@cargo build --release --quiet --package camshaft
	@echo "What you see below are the rules of examples/packs/demo at work. In another terminal:" >&2
	@echo "  alias camshaft='$(abspath $(RELEASE))/camshaft --data-dir $(CURDIR)/.camshaft/demo'" >&2
	@echo "  camshaft run demo.greet name=Ada     camshaft execution list     camshaft why EXECUTION" >&2
	@echo >&2
	@$(RELEASE)/camshaft up --packs examples/packs --data-dir .camshaft/demo $(ARGS)

test: setup
	cargo test --workspace

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask check

gen:
	cargo xtask gen

bench: setup
	@cargo build --release --quiet --package camshaft
	@cargo run --release --quiet --package camshaft-benches --bin camshaft-benches -- $(ARGS)

chaos: setup
	@cargo build --release --quiet --package camshaft
	@cargo run --release --quiet --package camshaft-benches --bin chaos -- $(ARGS)
