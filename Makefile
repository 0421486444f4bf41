# Everyday commands; each creates .venv on first use. `make help` lists them.
#
# Packages come from wherever pip is configured to look (pip.conf, PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The interpreter that creates .venv: the first of these that is Python 3.11 or newer.
PYTHONS := $(PYTHON) python3.11 python3

# Test processes: one per core, and each needs about 1 GB.
PARALLEL := --numprocesses auto --maxprocesses 8

export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help install demo browser test test-all check lint types layers lengths docs bench zoo examples lock clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## Create .venv with every solver and tool, at the versions in constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@python=""; \
	for candidate in $(PYTHONS); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer found (tried: $(strip $(PYTHONS))). Install one, or run: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; \
	fi; \
	test -x $(BIN)/python || "$$python" -m venv $(VENV)
	@echo "Installing into $(VENV) (once; some minutes, 2 GB with the CPU build of torch) ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,docs,oracles]'
	@touch $@

demo: $(STAMP)  ## Exact distances of ten handwritten digits on a small trained model
	$(BIN)/verify zoo:digits_conv_standard --dataset digits --index 0:10

browser:  # for the tests of the HTML report; without one they are skipped and say so
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "Installing Chromium for the tests of the HTML report ..."; \
	    { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; } >/dev/null || \
	      echo "Chromium could not be installed; the tests of the HTML report will be skipped." >&2; \
	  else echo "No Chromium found; the tests of the HTML report will be skipped." >&2; fi; }

test: $(STAMP) browser  ## The default tests
	$(BIN)/pytest --quiet $(PARALLEL)

test-all: $(STAMP) browser  ## All tests, the slow ones too, with fresh random examples
	HYPOTHESIS_PROFILE=explore $(BIN)/pytest --quiet $(PARALLEL) -m "slow or not slow"

check: lint types layers lengths  ## Lint and formatting, types, layers, lengths

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports --no-logo

lengths: $(STAMP)
	$(BIN)/python tests/checks/lengths.py

docs: $(STAMP)  ## The documentation site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file .mkdocs.yml

bench: $(STAMP)  ## Measured comparisons that need minutes; the others are listed in docs/explanation/performance.md
	$(BIN)/python tests/benchmarks/backends.py
	$(BIN)/python tests/benchmarks/tightening.py
	$(BIN)/python tests/benchmarks/loading.py
	$(BIN)/python -m tests.benchmarks.agreement --cases 100
	$(BIN)/python -m tests.benchmarks.distances --images 0:5

zoo: $(STAMP)  ## Train the bundled models again
	$(BIN)/python -m onnx_models.zoo.train --page docs/reference/zoo.md

examples: $(STAMP)  ## Run the examples in README and tutorial again and update the outputs shown
	@folder="$$(mktemp -d)"; trap 'rm -rf "$$folder"' EXIT; python="$(CURDIR)/$(BIN)/python"; \
	for page in README.md docs/tutorial/quickstart.md; do \
	  (cd "$$folder" && "$$python" "$(CURDIR)/tests/docs/run_page.py" "$(CURDIR)/$$page" --update); \
	done

lock: $(STAMP)  ## Write constraints.txt from what is installed in .venv
	$(BIN)/python tests/checks/lock.py > constraints.txt.new
	mv constraints.txt.new constraints.txt
	touch $(STAMP)

clean:  ## Remove .venv and everything generated
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
