# Few verbs to run everything. `make help` lists them.
# PYTHON names the interpreter that makes the environment; TUNEYARD_VENV puts the environment elsewhere.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TUNEYARD_VENV ?= .venv
BIN := $(TUNEYARD_VENV)/bin
export TUNEYARD_VENV
# Tests run in so many processes; a file's tests stay together, since many share what a fixture started.
TEST_PROCESSES ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
# This checkout's code, whatever the shell's own path would bring.
export PYTHONPATH := $(CURDIR):$(CURDIR)/platform

.DEFAULT_GOAL := help
.PHONY: help run setup setup-dev test test-all lint format types docs bench-training bench-serving fuzz messages lock clean

help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## Set up what is missing, then start Tuneyard (Ctrl-C stops it)
	@exec $(BIN)/python -m tuneyard.supervisor

setup:
	@$(PYTHON) scripts/setup.py run

setup-dev:
	@$(PYTHON) scripts/setup.py dev

test: setup-dev ## Run the default tests: CPU, no network, under 15 minutes
	$(PYTEST) $(ARGS)

test-all: setup-dev ## Run every test that this machine can: slow, services and gpu too
	$(PYTEST) -m '' $(ARGS)

lint: setup-dev ## Check style, formatting and the rules of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: setup-dev ## Mend style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: setup-dev ## Check types with mypy, strictly
	$(BIN)/mypy

bench-training: setup-dev ## Measure training on Banking77 (20 minutes; the last line is JSON)
	@$(BIN)/python -m benchmarks.training

bench-serving: setup-dev ## Measure serving beside its peers (needs wrk; 20 minutes; the last line is JSON)
	@$(BIN)/python -m benchmarks.serving

fuzz: setup-dev ## Fuzz the serving port's parsers, a minute each (SECONDS=600 for longer)
	@$(BIN)/python -m pip install --quiet "atheris>=3"
	@for target in http infer frames gzip; do $(BIN)/python scripts/fuzz.py $$target --seconds $(or $(SECONDS),60) || exit 1; done

docs: setup-dev ## Write the generated pages of docs/reference anew
	$(BIN)/python scripts/reference.py

messages: setup-dev ## Compile the translations
	@$(BIN)/python scripts/messages.py

lock: setup-dev ## Resolve requirements/*.lock and package-lock.json anew
	$(BIN)/python scripts/lock.py
	npm install --package-lock-only --ignore-scripts

clean: ## Remove what was built, but never your data
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache static/vendor
