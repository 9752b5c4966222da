# `make demo` needs nothing but Python 3.11 or newer; `make test` installs what it needs.

PYTHON ?= python3
# Each Python that is named has environments of its own: `make test PYTHON=python3.13` leaves those of python3 alone.
NAMED := $(subst /,-,$(patsubst /%,%,$(filter-out python3,$(PYTHON))))
VENV := $(if $(NAMED),.venvs/$(NAMED),.venv)
PEERS := $(if $(NAMED),$(VENV)-peers,benchmarks/.venv)
export PEERS
BIN := $(VENV)/bin
NODE := tests/browser/node_modules
CORRECTNESS := tests/core tests/stores tests/web tests/django tests/test_*.py tests/live/stores/test_conformance.py \
  tests/live/stores/test_redis.py tests/live/stores/test_memcached.py tests/live/stores/test_batching.py tests/live/stores/test_denial_cache.py \
  tests/live/web/test_responses.py tests/live/cli/test_commands.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-servers test-slow-paths test-versions test-minimum test-nightly faults rollback bench bench-quick soak cost guard-cost claims coverage lint types unit docs servers node clean same-python

help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

demo: $(VENV)/installed ## Serve a page that shows limits at work
	@$(BIN)/python -m ratelimit_kit demo

test: servers lint types unit docs ## Everything: lint, types, all tests with live servers, docs

test-fast: $(VENV)/developed ## Unit tests without servers, in about a minute
	$(BIN)/python -m pytest -q -n auto -m "not live and not slow"

test-servers: $(VENV)/developed ## The guard on every server, however its workers are given, and what they do to fields; writes the tables in the docs
	@sh scripts/install_servers.sh all
	SERVER_TABLE=docs/reference/servers-table.md FIELD_TABLE=docs/how-to/fields-table.md \
	  $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/live/guard/test_servers.py tests/live/guard/test_shared_stores.py tests/live/guard/test_server_fields.py
	$(BIN)/python -m pytest -q -n 2 -m servers tests/live/guard/test_siblings.py tests/live/guard/test_platforms.py

test-slow-paths: $(VENV)/developed servers ## The correctness tests with each fast path switched off
	for path in denials batching memory; do \
	  $(BIN)/python -m pytest -q --without $$path -m "not servers" $(CORRECTNESS) || exit 1; \
	done

test-versions: ## Unit tests on Debian's Pythons up to the newest, live store tests on Redis 8
	@sh scripts/test_versions.sh

test-minimum: servers ## Unit and live store tests with the lowest declared version of every dependency
	@MINIMUM=1 sh scripts/test_world.sh '`make test-minimum`' "$(PYTHON)" .venvs/minimum$(addprefix -,$(NAMED)) unit stores

test-nightly: soak test-slow-paths ## What takes long: soak, fast paths off, Valkey, the next Python, Redis 8 once more
	@sh scripts/test_versions.sh nightly

faults: $(VENV)/developed servers ## What goes wrong with stores, under load; writes the table in the docs
	FAULT_TABLE=docs/explanation/faults-table.md $(BIN)/python -m pytest -q tests/live/stores/test_faults.py

rollback: $(VENV)/developed servers ## The rollback drill on a site of four workers; writes its log in the docs
	ROLLBACK_TABLE=docs/how-to/rollback-table.md $(BIN)/python -m pytest -q tests/live/docs/test_deployment.py

bench: $(PEERS)/installed servers ## Against the peers and the floors, in under 15 minutes; writes benchmarks/results.md
	$(PEERS)/bin/python -m benchmarks --write benchmarks

bench-quick: $(PEERS)/installed servers ## The same in under two minutes, for a first look; writes nothing
	$(PEERS)/bin/python -m benchmarks --quick

claims: $(PEERS)/installed ## What the peers do where it matters, tried out; writes the table in the docs
	$(PEERS)/bin/python -m benchmarks.claims docs/explanation/comparison-table.md

soak: $(PEERS)/installed servers ## A million live keys, five minutes of mixed traffic, processes killed on a host store; writes benchmarks/*soak.md
	$(PEERS)/bin/python -m benchmarks.soak --write benchmarks
	$(PEERS)/bin/python -m benchmarks.host_soak --write benchmarks

cost: $(PEERS)/installed servers ## What a key costs a Redis server; writes benchmarks/cost.md
	$(PEERS)/bin/python -m benchmarks.cost --write benchmarks/cost.md

guard-cost: $(VENV)/developed servers ## What the process guard costs a process; writes the table in the docs
	$(BIN)/python -m benchmarks.guard_cost --write docs/explanation/guard-cost-table.md

$(PEERS)/installed: benchmarks/requirements.txt pyproject.toml
	@$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q -r benchmarks/requirements.txt -e ".[redis,memcached]"
	@touch $@

coverage: $(VENV)/developed ## What the unit tests reach, lines and branches, in the terminal (live tests are not counted)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q -m "not live and not slow"
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developed $(NODE)/.package-lock.json
	$(BIN)/mypy
	$(NODE)/.bin/tsc -p tests/browser

unit: $(VENV)/developed servers $(NODE)/.package-lock.json $(PEERS)/installed
	$(BIN)/python -m pytest -q -n 2 -m "not live and not servers"
	$(BIN)/python -m pytest -q -n 2 -m "live and not servers" tests/live/guard
	$(BIN)/python -m pytest -q -n 2 -m "live and not servers" --ignore tests/live/guard
	@[ -z "$(WRITE)" ] || $(BIN)/python scripts/compatibility.py '`make test`' all
	$(BIN)/python -m pytest -q -n 2 --without denials --without batching --without memory tests/stores tests/test_limiter.py

docs: $(VENV)/developed ## Build the documentation into docs/_build
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build

servers: ## Install redis-server, memcached, chromium, npm and nginx where they are missing
	@sh scripts/install_servers.sh

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no program $(PYTHON) here: make PYTHON=python3 ..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ratelimit-kit needs Python 3.11 or newer, and $(PYTHON) is older: make PYTHON=python3.13 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian, apt-get install python3-venv"; exit 1; }

# An environment that is older than what its name means today is not used silently.
same-python: $(VENV)/bin/python
	@number='import sys; print("%d.%d" % sys.version_info[:2])'; \
	  made=$$($(BIN)/python -c "$$number") && now=$$($(PYTHON) -c "$$number") && [ "$$made" = "$$now" ] || \
	  { echo "$(VENV) was made by Python $$made, and $(PYTHON) is Python $$now here: make clean, or make PYTHON=python$$made ..."; exit 1; }

$(VENV)/installed: pyproject.toml | same-python
	$(BIN)/python -m pip install -q -e .
	@touch $@

# Dependency groups need pip 25.1 or newer.
$(VENV)/developed: pyproject.toml | same-python
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q -e ".[all]" --group dev
	@touch $@ $(VENV)/installed

node: $(NODE)/.package-lock.json ## Install what checks the browser module: TypeScript and axe

$(NODE)/.package-lock.json: tests/browser/package-lock.json
	@command -v npm >/dev/null || \
	  { echo "The browser module is checked by TypeScript and axe, and npm is missing: on Debian, apt-get install npm"; exit 1; }
	npm ci --prefix tests/browser --no-audit --no-fund --loglevel=error
	@touch $@

clean: ## Remove what was built
	rm -rf $(VENV) .venvs .roots benchmarks/.venv $(NODE) docs/_build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
