# Every target makes its own virtual environment and installs what it needs; the second time both are quick.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

# The pinned stack. torch is asked for by its exact version first: where a CPU build of it is offered, pip takes that
# one instead of several GB of CUDA wheels (see the README).
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test test-all lint clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,gguf,notebook]"
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/elicit run experiments/quickstart.yaml --out runs/quickstart

test: lint
	$(BIN)/python -m pytest

test-all: lint
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
