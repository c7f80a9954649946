# Two commands for a fresh machine: `make demo` and `make test`. Each sets up .venv first.
# A CPU-only torch, where the default one would bring CUDA:
#   make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
BIN := $(VENV)/bin

# A model from simulated CT alone: a night on two cores; on a GPU `make model ROUGH_MINUTES=2 FINE_MINUTES=8`.
MODEL ?= bisc_model
MODEL_CASES ?= 400
ROUGH_MINUTES ?= 120
FINE_MINUTES ?= 420

.PHONY: demo model test test-long coverage bench install clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(BIN)/bisc_demo $(DEMO_FLAGS)

model: export BISC_HOME = $(MODEL)
model: $(VENV)/.installed
	$(BIN)/bisc_simulate -o $(MODEL)/raw/Simulated -n $(MODEL_CASES) --variety wide --size 256 256 96 --seed 1
	$(BIN)/bisc_plan_and_preprocess -d Simulated
	$(BIN)/bisc_train rough 0 -d Simulated --preset best --minutes $(ROUGH_MINUTES) --continue
	$(BIN)/bisc_train fine 0 -d Simulated --preset best --decoys 0.15 --minutes $(FINE_MINUTES) --continue
	$(BIN)/bisc_evaluate -d Simulated
	$(BIN)/bisc_model export -d Simulated -o $(MODEL)/model.zip
	@echo "$(MODEL)/model.zip: see docs/reference/model_card.md for what it is and is not tried on"

test: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/check

# Without the viewers' packages, or the servers of scripts/dicom_tools, tests of theirs are skipped and say why.
test-long: $(VENV)/.installed-dev
	-$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[viewers,onnx,mlflow]'
	$(BIN)/python -m pytest -m long --timeout 3600

coverage: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" bash scripts/check --cov --cov-report=
	$(BIN)/coverage report

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks $(BENCH_FLAGS)

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or later is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e .
	-$(BIN)/python -m bisc.report.patient.niivue  # the 3-D view of pages; without a network they have their pictures
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_FLAGS) -c constraints.txt -e '.[dask,dev,dicom,docs,tensorboard]'
	touch $@

clean:
	rm -rf $(VENV) bisc_demo build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
