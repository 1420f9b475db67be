# Two commands for users: make demo, make test. Both work on a machine that has only Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check
# One worker a core; for one after the other: make test PYTEST_OPTIONS=
PYTEST_OPTIONS ?= -n auto --dist worksteal

.PHONY: demo serve test warm lint docs benchmark clean

demo: $(VENV)/installed  ## the whole pipeline on a simulated archive, or on yours: IFCB_DATA_DIR=/path make demo
	$(BIN)/ifcb-flow demo

serve: $(VENV)/installed  ## the Dagster UI, its daemon and the review app, on what is there
	$(BIN)/ifcb-flow serve

warm: $(VENV)/installed  ## compile the kernels, once: whoever runs first would do it, and all workers of a test run would
	$(BIN)/ifcb-flow warm

test: $(VENV)/installed-dev warm  ## all tests
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(VENV)/installed-dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(VENV)/installed-dev  ## the pages of docs/ that are made from the code, then all of them as a site in site/
	$(BIN)/python -m ifcb_flow_pipeline_tests.reference
	$(BIN)/mkdocs build

benchmark: $(VENV)/installed-dev  ## speed, beside a straightforward baseline
	$(BIN)/python -m benchmarks

clean:  ## the environment and the demo's data
	rm -rf $(VENV) demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, not " + sys.version.split()[0] + "; name one: make demo PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
