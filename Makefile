PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DIR    ?= examples/trip
ASK    ?= Who has the train tickets?

.PHONY: run chat test test-all test-fresh check format lock docs bench soak eval clean help

# Tests start hundreds of interpreters, which would compile each module again.
unexport PYTHONDONTWRITEBYTECODE

help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: $(READY)   ## set up, fetch the local model once, and ask an agent about a folder: make run DIR=. ASK="..."
	@$(BIN)/roost run --workspace "$(DIR)" "$(ASK)"

chat: $(READY)  ## set up and talk to an agent
	@$(BIN)/roost chat

WORKERS ?= 4
# Tests wait more than half of their time, for processes and disks: four keep two processors busy. A file stays in one.
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -o tmp_path_retention_policy=failed

test: $(READY)  ## set up and pass the tests that a contributor needs, in minutes; skips are listed with reasons
	$(PYTEST) --quick

test-all: $(READY) ## all tests: PostgreSQL, crashes, clusters, the local model, every sandbox that this machine has
	$(PYTEST) -m "not soak"

test-fresh:     ## the tests on a bare Debian made by debootstrap; needs root
	.ci/fresh

check: $(READY) ## format, lint, types, layers, dependencies
	$(BIN)/ruff format --check src tests bench tools
	$(BIN)/ruff check src tests bench tools
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry src
	$(BIN)/python -m tools.sync_client --check
	$(BIN)/python -m tools.agent_reference --check

format: $(READY) ## put the code into shape
	$(BIN)/ruff format src tests bench tools
	$(BIN)/ruff check --fix src tests bench tools

docs: $(READY)  ## build the site of the docs into build/site; a broken link fails
	$(BIN)/mkdocs build

bench: $(READY) ## measure beside the peers; writes bench/RESULTS.md
	$(BIN)/python -m bench

soak: $(READY)  ## kills of a daemon, faults in a cluster, hostile programs in sandboxes, long sessions; hours if you like
	$(BIN)/python -m tests.harness.crash --kills $(or $(KILLS),300)
	$(BIN)/python -m tests.harness.cluster --seconds $(or $(FAULTS),300)
	$(BIN)/python -m tests.harness.cluster --seconds $(or $(FAULTS),300) --doors
	$(BIN)/python -m roost.testing.isolation
	$(BIN)/python -m tests.harness.chaos --rounds $(or $(ROUNDS),1000)
	$(BIN)/pytest -m soak
	ROOST_LONG_TURNS=$(or $(TURNS),10000) $(BIN)/pytest tests/kernel/test_long_session.py

eval: $(READY)  ## the assistant's tasks on a model, judged by code; the local one under several settings (QUICK=1: a few)
	$(BIN)/python -m bench.evals --model $(or $(MODEL),local) --set $(or $(SET),all) $(if $(QUICK),--quick) $(if $(KEEP),--keep "$(KEEP)")

PINS := -q --no-emit-project --no-header --no-annotate --format requirements.txt
lock: $(READY)  ## pin every dependency by hash
	$(BIN)/uv lock -q --upgrade
	$(BIN)/uv export $(PINS) --all-extras --all-groups -o requirements.lock
	$(BIN)/uv export $(PINS) --no-dev --extra postgres --extra objects --extra fast -o deploy/requirements.txt
	echo 'hatchling>=1.27' | $(BIN)/uv pip compile -q --generate-hashes --universal --no-header --no-annotate --python-version 3.11 - -o deploy/requirements-build.txt

clean:          ## remove what `make` made
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Roost needs Python 3.11 or newer: make PYTHON=python3.13")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check "uv>=0.9"
	$(BIN)/uv pip install -q --python $(VENV) --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(VENV) --no-deps -e .
	@touch $@
