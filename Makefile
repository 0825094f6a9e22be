# `make help` says what there is. The environment is made on first use, from the exact versions in constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# modules are compiled when they are first imported, unless the environment forbids it: a tenth of twenty thousand
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(COMPILE)
ARGS ?=
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ARGS="key=value …" is handed on:  make demo ARGS="seed=1"   make test ARGS="-k store"'

demo: $(VENV)/.installed ## the whole chain on the embedded playground, then where its report is
	@$(BIN)/python -m pipeline $(ARGS)

test: $(VENV)/.installed-test ## the tests, but for the slow ones
	@$(PYTEST) -m "not slow and not gpu" $(ARGS)

test-all: $(VENV)/.installed-test ## all tests: the labeling server, the whole chain, kill -9 and resumption, real input
	@$(PYTEST) $(ARGS)

lint: $(VENV)/.installed-test ## ruff, mypy, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: $(VENV)/.installed-test ## let ruff mend what it can
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean: ## remove the environment and the caches, but not outputs/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info

# torch comes first and by its exact version, so that nothing else decides which build is fetched
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $(PYTHON) is older. Name another: make PYTHON=python3.12 …"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "No venv module: on Debian and Ubuntu, apt-get install python3-venv"; exit 2; }
	@echo "Installing into $(VENV) (once; a few minutes on a slow line)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) --editable '.[pipeline]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(PIP) --editable '.[pipeline,test]'
	@touch $@
