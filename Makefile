# make demo    set up, render a clip, interpolate it, show how good that is
# make test    set up, run all tests
# make lint    check style
# make bench   measure on this CPU; the results go to benchmarks/results
# make gpu     on a machine with an NVIDIA GPU whose PYTHON has torch with CUDA: build, test, check memory, measure

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BUILD_INPUTS := pyproject.toml setup.py $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

.PHONY: demo test lint bench gpu clean

demo: $(INSTALLED)
	$(BIN)/python benchmarks/demo.py --out out

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/python benchmarks/report.py --check
	$(BIN)/python benchmarks/training.py --check

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py --device cpu --json auto
	$(BIN)/python benchmarks/report.py

gpu:
	$(PYTHON) benchmarks/gpu.py

# pip and not python: a venv that failed half-way has a python already.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)

# torch by its exact version first: that takes a CPU build where one is offered, and the build below uses its headers.
$(INSTALLED): $(BUILD_INPUTS) | $(BIN)/pip
	$(BIN)/python -m pip install --quiet torch==2.13.0 numpy ninja 'setuptools>=77'
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[video,train,test,lint]'
	touch $@

clean:
	rm -rf build dist out *.egg-info vfi_kernels/_C*.so $(INSTALLED)
