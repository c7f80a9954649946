# Two commands for a fresh machine: `make demo` and `make test`. Each sets up .venv first.
# A CPU-only torch, where the default one would bring CUDA:
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
BIN := $(VENV)/bin

.PHONY: demo test test-long bench install clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/bisc_demo $(DEMO_FLAGS)

test: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/check

test-long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m long --timeout 3600

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or later is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) bisc_demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
