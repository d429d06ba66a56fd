# make demo and make test each work alone from a fresh clone; both only need Python 3.11 or later.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# an editable installation compiles the kernels
INSTALLED = pyproject.toml setup.py constraints.txt $(wildcard noisegen/native/src/*)

.PHONY: demo test lint docs bench clean

demo: $(VENV)/.demo
	$(BIN)/noisegen run pipelines/quickstart.yaml

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# written to build/docs; a warning, such as a broken link, is an error
docs: $(VENV)/.dev
	rm -rf build/docs build/doctrees
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d build/doctrees . build/docs

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/synthesis.py

$(VENV)/.demo: $(INSTALLED)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(INSTALLED)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs
