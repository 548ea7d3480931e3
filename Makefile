# Every target sets up what it needs by itself. Needs: Python >= 3.11, git, make; Node >= 20 and npm for the interop tests.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
NODE_DIR := tests/interop/node
CONFORMANCE_DIR := tests/interop/conformance
CONFORMANCE_OLD_DIR := tests/interop/conformance-old
SERVERS := .venv-servers
# One more than there are cores: much of a test is waiting. Above 8 they would share too many ports and descriptors.
JOBS ?= $(shell n=$$(( $$(nproc 2>/dev/null || sysctl -n hw.ncpu) + 1 )); echo $$(( n > 8 ? 8 : n )))
PYTEST := $(BIN)/python -m pytest -q
IN_PARALLEL := -n $(JOBS) --dist worksteal
# Some of what is tested has clocks of its own, official clients and suites for example: what failed beside other tests
# is run once more without them, and is a failure if it fails there.
AGAIN := $(PYTEST) --last-failed --last-failed-no-failures none
# Some machines forbid Python to keep what it has compiled. The tests start hundreds of daemons, each of our 150 modules.
unexport PYTHONDONTWRITEBYTECODE
PIP := pip install -q --disable-pip-version-check

.PHONY: run test unit style types tests interop coverage bench soak format clean

run: $(VENV)/.core
	@$(BIN)/mcp-proxy --demo

test: style types tests

style: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

# The fast ones, which start no process.
unit: $(VENV)/.test
	$(PYTEST) $(IN_PARALLEL) -m "not processes" tests/protocol tests/child tests/sessions tests/edge tests/config tests/test_settings.py tests/test_logs.py

tests: $(VENV)/.test interop-setup
	$(PYTEST) $(IN_PARALLEL) --durations=15 -m "not alone" || $(AGAIN)
	$(PYTEST) -m alone

interop: $(VENV)/.test interop-setup
	$(PYTEST) $(IN_PARALLEL) -m interop

.PHONY: interop-setup
interop-setup: $(NODE_DIR)/.ready $(CONFORMANCE_DIR)/.ready $(CONFORMANCE_OLD_DIR)/.ready $(SERVERS)/.ready

coverage: $(VENV)/.test
	$(BIN)/python -m coverage run -m pytest -q -m "not interop"
	$(BIN)/python -m coverage report --skip-covered
	$(BIN)/python -m coverage report --include='proxy/protocol/*' --fail-under=100

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# Ten minutes; SOAK_MINUTES, SOAK_SEED, SOAK_CLIENTS.
soak: $(VENV)/.test
	$(BIN)/python -m tests.soak

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(SERVERS) $(NODE_DIR)/node_modules $(NODE_DIR)/.ready $(CONFORMANCE_DIR)/node_modules $(CONFORMANCE_DIR)/.ready \
	  $(CONFORMANCE_OLD_DIR)/node_modules $(CONFORMANCE_OLD_DIR)/.ready dist

$(VENV)/.core: pyproject.toml tests/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("mcp-proxy needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing mcp-proxy into $(VENV) ..."
	@$(BIN)/$(PIP) -c tests/constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/$(PIP) -c tests/constraints.txt -e '.[test]'
	@touch $@

# Published servers, apart from what the tests themselves need.
$(SERVERS)/.ready: tests/interop/servers-constraints.txt
	@test -x $(SERVERS)/bin/python || $(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/$(PIP) -c $< mcp-server-fetch mcp-server-git mcp-server-time
	@touch $@

%/.ready: %/package.json %/package-lock.json
	cd $* && npm ci --silent --no-fund --no-audit
	@touch $@
