# The one entry point, for people and for CI. `make` alone prints what there is.

# Build output and tools live outside the checkout, so that another checkout on this machine builds only what is ours.
# Say CARGO_TARGET_DIR=target to keep the output here.
CACHE                   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aulaflow
export CARGO_TARGET_DIR ?= $(CACHE)/target
export AULAFLOW_CACHE   := $(CACHE)

# The Open University dataset, for the tests that run on it.
export OULAD_DIR        ?= ../shared/oulad

AULAFLOW := $(CARGO_TARGET_DIR)/release/aulaflow

.DEFAULT_GOAL := help
.PHONY: help demo build test test-oulad test-kafka torture lint bench libchdb toolchain

help: ## this list
	@echo 'make TARGET [ARGS="..."]'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## everything in one process with a generated school, such as: make demo ARGS="--duration 20s"
	@$(AULAFLOW) demo $(ARGS)

build: toolchain ## the program, optimised; its path is printed
	@cargo build --release --locked -p aulaflow
	@echo $(AULAFLOW)

test: toolchain ## every test; what could not run is named at the end
	@.ci/test

test-oulad: toolchain ## grades and features of the Open University dataset (OULAD_DIR) against a recomputation
	@.ci/test-oulad $(ARGS)

test-kafka: toolchain ## the log in Kafka against a real broker, started from Maven's jars
	@.ci/test-kafka $(ARGS)

torture: toolchain ## crashes, outages and full disks under traffic, such as: make torture ARGS="--log kafka --seeds 1..200"
	@.ci/torture $(ARGS)

lint: toolchain ## formatting, clippy, documentation, unused dependencies, compose file
	@.ci/lint

bench: build ## measurements, such as: make bench ARGS="--help"
	@cargo run --release --locked -p aulaflow-bench -- $(ARGS)

libchdb: ## the ClickHouse engine for embedded analytics, into the cache (170 MB); its path is printed
	@.ci/libchdb

toolchain:
	@.ci/toolchain
