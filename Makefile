# On a machine with only Python 3.11 or newer and make, `make demo` and `make test` install
# what they need into .venv and run. `make` alone lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help

UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
# The stamp holds no time but follows what was installed, so a second run installs nothing.
INSTALLED := $(VENV)/installed
PEERS := .venv-peers/installed
TRACKING := .venv-tracking/installed
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

# Most tests wait for processes to start, so a few more than there are cores keep them busy.
TEST_PROCESSES ?= 3

##@ Use
.PHONY: help demo up
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Run the example application on real workers (INPUT=your.csv of text,category)
	@$(BIN)/python -m examples.support_desk.demo $(if $(INPUT),--input "$(INPUT)")

up: $(INSTALLED) ## Run PostgreSQL, Redis, workers, beat and Flower until Ctrl-C
	@$(BIN)/bespoke up

##@ Develop
.PHONY: install test check lint types imports format chaos bench bench-batches lock
install: $(INSTALLED) $(TRACKING) ## Install everything into .venv

test: $(INSTALLED) $(TRACKING) ## Run the tests, with the short form of the chaos run (TESTS=path for some)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal $(TESTS)

check: lint types imports test ## Everything that CI runs: lint, types, imports, tests

lint: $(INSTALLED) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check types
	$(BIN)/mypy

imports: $(INSTALLED) ## Check which module may import which
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

chaos: $(INSTALLED) ## 10,000 stores while workers and servers are killed (minutes)
	$(BIN)/python -m tests.chaos.run

bench: $(INSTALLED) $(PEERS) ## Measure, print the table and write benchmarks/results.json
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks  # as worker processes have it

bench-batches: $(INSTALLED) ## Measure batches: 50 slow users, 10,000 quick ones (USERS=n; minutes)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.batch_latency
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.batch_calls
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.batch_of_users $(if $(USERS),--users $(USERS))

# Peers that benchmarks compare with; apart, since they pin packages of their own.
$(PEERS): benchmarks/peers.lock $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-peers
	$(BIN)/uv pip sync --quiet --python .venv-peers --require-hashes benchmarks/peers.lock
	@touch $@

# The MLflow server that tests track with; apart, since only its client is what workers install.
$(TRACKING): tests/tracking.lock $(INSTALLED)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-tracking
	$(BIN)/uv pip sync --quiet --python .venv-tracking --require-hashes tests/tracking.lock
	@touch $@

lock: $(INSTALLED) ## Resolve requirements.lock anew
	$(BIN)/uv lock --upgrade
	$(BIN)/uv export --quiet --all-groups --no-emit-workspace --no-header --no-annotate \
		--format requirements-txt --output-file requirements.lock
	grep --only-matching '^mlflow-skinny==[^ ]*' requirements.lock | sed 's/-skinny//' \
		| $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--output-file tests/tracking.lock -

$(INSTALLED): requirements.lock pyproject.toml schemas/pyproject.toml api_client/pyproject.toml \
		workers/pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; none was found" >&2; exit 2; }
	@echo "Installing into $(VENV) (once; a minute or two)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e schemas -e api_client -e workers
	@touch $@
