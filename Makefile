# SPDX-License-Identifier: Apache-2.0
# Every command of the house. `make` lists them; each one also installs and builds what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# An import that Package.swift does not declare fails the build. The flags are the same everywhere:
# other flags would compile everything again.
SWIFT_FLAGS := --explicit-target-dependency-import-check error
BIN = $(shell swift build $(SWIFT_FLAGS) --show-bin-path)
# Hand-written Swift; generated code keeps its generator's form.
SWIFT_FILES = $(shell find Package.swift Sources Tests -name '*.swift' \
	-not -path '*/Generated/*' -not -path '*/.build*/*' | sort)
# The test targets with locks, event loops and tasks.
THREAD_SANITIZER_TARGETS := NodeSyncTests DatastoreTests GRPCPeerTests NodeAgentTests CAServerTests \
	ReactorTests MTLSProxyTests
ADDRESS_SANITIZER_TARGETS := $(THREAD_SANITIZER_TARGETS) SPIFFETests IssuanceTests AuditLogTests \
	PolicyDocumentsTests HTTPCodecTests DecisionLogTests
SIMULATION_MINUTES := 20
SOAK_MINUTES := 5
FUZZ_SECONDS := 60

# For the tests that talk to Python peers.
export SIGNET_PYTHON := $(CURDIR)/.build/venv/bin/python

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' \
		| column -t -s '|'

.PHONY: setup
setup: ## install what is missing (apt, PyPI) and check the Swift version
	@.ci/stage setup .ci/setup

.PHONY: build
build: setup ## build the executables (debug)
	@.ci/stage build swift build $(SWIFT_FLAGS)

.PHONY: release
release: setup ## build what is installed on machines: optimised, with the Swift runtime inside
	@for product in signet-server signet-agent signet-proxy signet; do \
		.ci/stage "release $$product" swift build $(SWIFT_FLAGS) --configuration release \
			--static-swift-stdlib --scratch-path .build-release --product $$product; \
	done
	@ls -l .build-release/release/signet-server .build-release/release/signet-agent \
		.build-release/release/signet-proxy .build-release/release/signet

.PHONY: build-tests
build-tests: setup
	@.ci/stage build swift build $(SWIFT_FLAGS) --build-tests

.PHONY: demo
demo: setup build ## identities and the data path, shown and proved on this machine
	@.ci/stage demo deploy/demo/identity.sh
	@.ci/stage demo deploy/demo/data-path.sh

# Debian's nginx is in /usr/sbin.
.PHONY: demo-without-nginx
demo-without-nginx: setup build ## the data path of the demo as on a machine without nginx
	@.ci/stage demo-without-nginx env PATH=/usr/bin:/bin bash -euc \
		'if command -v nginx; then exit 1; fi; exec deploy/demo/data-path.sh'

.PHONY: test
test: setup build-tests ## build and run every test
	@.ci/stage test .ci/test "$(BIN)" '--filter ^EndToEndTests\.' '--skip ^EndToEndTests\.'

.PHONY: check
check: setup format-check tables-check build-tests proto-check test ## format, generated parts, tidy, build, tests

.PHONY: tidy
tidy: setup build-tests ## only the house rules: layering, lengths, banned calls, documentation
	@.ci/stage tidy swift test $(SWIFT_FLAGS) --skip-build --filter '^TidyTests\.'

.PHONY: full
full: ## everything without a budget: check, demos, sanitizers, fuzz replay, long simulation
	@.ci/run --full

.PHONY: format
format: ## format the sources in place
	@swift format --in-place --parallel --configuration .swift-format $(SWIFT_FILES)

.PHONY: format-check
format-check: ## strict format lint
	@.ci/stage format swift format lint --strict --parallel --configuration .swift-format \
		$(SWIFT_FILES)

.PHONY: tables-check
tables-check: ## fail when the tables of docs/operations.md are not those of the sources
	@.ci/stage tables .ci/operations-tables --check

.PHONY: proto-plugins
proto-plugins: setup
	@.ci/stage proto-plugins swift build $(SWIFT_FLAGS) --product protoc-gen-swift
	@.ci/stage proto-plugins swift build $(SWIFT_FLAGS) --product protoc-gen-grpc-swift-2

.PHONY: proto
proto: proto-plugins ## generate the protobuf code again
	@.ci/stage proto .ci/proto Sources/ControlAPIProtos/Generated "$(BIN)"

.PHONY: proto-check
proto-check: proto-plugins ## fail when the generated protobuf code is not current
	@.ci/stage proto-check .ci/proto-check "$(BIN)"

.PHONY: thread-sanitizer
thread-sanitizer: setup ## the concurrent test targets under TSan
	@.ci/stage thread-sanitizer .ci/sanitize thread $(THREAD_SANITIZER_TARGETS)

.PHONY: address-sanitizer
address-sanitizer: setup ## the test targets with parsers and C shims under ASan
	@.ci/stage address-sanitizer .ci/sanitize address $(ADDRESS_SANITIZER_TARGETS)

.PHONY: simulation
simulation: setup build-tests ## new simulation seeds for SIMULATION_MINUTES (20)
	@SIGNET_SIMULATION_MINUTES=$(SIMULATION_MINUTES) .ci/stage simulation \
		swift test $(SWIFT_FLAGS) --skip-build --filter '^SimulationTests\.'

.PHONY: soak
soak: setup build-tests ## load on the data path for SOAK_MINUTES (5): memory and descriptors stay
	@SIGNET_SOAK_MINUTES=$(SOAK_MINUTES) .ci/stage soak swift test $(SWIFT_FLAGS) --skip-build \
		--filter '^EndToEndTests\.DataPathSoakTests'

.PHONY: power-cuts
power-cuts: setup build-tests ## every power cut of a server and agent, every kill of a rotation and a restore
	@SIGNET_POWER_CUTS=all .ci/stage power-cuts swift test $(SWIFT_FLAGS) --skip-build \
		--filter '^EndToEndTests\.(DurabilityTests|RestoreKillTests|RotationKillTests)'

.PHONY: fuzz
fuzz: setup ## fuzz every parser for FUZZ_SECONDS (60) each
	@.ci/stage fuzz Tests/Fuzz/run fuzz $(FUZZ_SECONDS)

.PHONY: fuzz-replay
fuzz-replay: setup ## run every kept fuzz input once
	@.ci/stage fuzz-replay Tests/Fuzz/run replay

.PHONY: bench
bench: ## measure, and write bench-results.json and docs/benchmarks.md
	@.ci/stage setup .ci/setup bench
	@.ci/stage bench Tests/Benchmarks/run

.PHONY: clean
clean: ## remove everything built, the Python environment included
	@rm -rf .build .build-* Tests/Fuzz/.build* Tests/Benchmarks/.build*
