# Everything lives in .venv; no step is done by hand. `make demo` and `make test` are the two commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

COMPILED := .venv-compiled

# Pytest rewrites each assertion of the tests as it imports them: kept, that is done once and not in every run.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check check-compiled lint types compiled bench campaign lock clean

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	QUORUM_PURE=1 $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q src
	touch $@

# The package as it is installed from a wheel: its hot modules compiled.
$(COMPILED)/.installed: $(VENV)/.installed setup.py $(shell find src -name '*.py')
	$(PYTHON) -m venv $(COMPILED)
	$(COMPILED)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	rm -rf build
	$(COMPILED)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--force-reinstall .
	$(COMPILED)/bin/python -m compileall -q $(COMPILED)/lib/python*/site-packages/quorum
	touch $@

compiled: $(COMPILED)/.installed
	$(COMPILED)/bin/quorum version

check-compiled: $(COMPILED)/.installed
	QUORUM_PURE_PYTHON=$(CURDIR)/$(BIN)/python $(COMPILED)/bin/python -m pytest -n $(WORKERS) --dist worksteal \
		-m "not cluster" tests/protocols tests/runtime tests/apps tests/sim

demo: $(VENV)/.installed
	$(BIN)/quorum demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: lint types
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --hypothesis-profile commit \
		-m "not slow and not cluster"

lint: $(VENV)/.installed
	$(BIN)/ruff check src tests bench examples setup.py
	$(BIN)/ruff format --check src tests bench examples setup.py

types: $(VENV)/.installed
	$(BIN)/mypy

bench: $(COMPILED)/.installed
	$(COMPILED)/bin/pip install --quiet --disable-pip-version-check --no-deps "pysyncobj>=0.3.14,<0.4"
	$(COMPILED)/bin/python bench/crash.py

campaign: $(VENV)/.installed
	$(BIN)/python -m tests.simulation.campaign

lock:
	$(BIN)/pip-compile --quiet --extra dev --generate-hashes --allow-unsafe --strip-extras \
		--no-emit-index-url --no-emit-find-links --no-header --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) $(COMPILED) build dist .quorum
