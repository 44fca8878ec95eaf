# Every target makes its own virtual environment and installs what it needs; the second time both are quick.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

# The pinned stack. torch is asked for by its exact version first: where a CPU build of it is offered, pip takes that
# one instead of several GB of CUDA wheels (see the README).
INSTALLED := $(VENV)/.installed
BROWSER := $(VENV)/.installed-browser

.PHONY: quickstart test test-all test-browser chromium lint clean

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
	$(BIN)/python -m pytest -m "not browser"

# Pages, the steering panel and its notebook in a real, offline browser.
test-browser: $(BROWSER) chromium
	$(BIN)/python -m pytest -m browser

$(BROWSER): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[browser]"
	touch $@

# Debian's own packages, where they are missing and may be installed; else one line that says what to install.
chromium:
	@{ command -v chromium && command -v chromedriver; } >/dev/null || { \
	  as=; test "$$(id -u)" = 0 || as="sudo -n"; \
	  command -v apt-get >/dev/null && $$as true 2>/dev/null && $$as apt-get update -qq \
	  && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; \
	} || { echo "make test-browser needs chromium and chromedriver. On Debian: apt-get install chromium chromium-driver" >&2; exit 1; }

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
