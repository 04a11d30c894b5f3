# Every target makes and fills .venv by itself when it has to. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TSC := $(VENV)/page/node_modules/.bin/tsc

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-browser check fix docs bench throughput wheel-smoke

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## photographs of layouts that the shipped model never saw, then the editor (DEMO_ARGS="...")
	$(BIN)/gesso demo $(DEMO_ARGS)

test: $(INSTALLED) $(TSC)  ## the default test tier, a process per core (TEST_ARGS="...")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(TEST_ARGS)

test-long: $(INSTALLED)  ## tests of some seconds each: trainings killed and gone on with, several processes (TEST_ARGS="...")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "long and not slow" $(TEST_ARGS)

test-browser: $(INSTALLED)  ## pages in Chromium: every tool and panel of the editor, studies, reports (TEST_ARGS="...")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m "browser and not slow" $(TEST_ARGS)

check: $(INSTALLED) $(TSC)  ## lint, formatting and types, of Python and of the editor's page; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(TSC) --project src/gesso/editor/static/jsconfig.json

fix: $(INSTALLED)  ## mend what ruff can mend, and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED)  ## build the documentation into site/, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the documentation is in site/index.html"

bench: $(INSTALLED)  ## how much faster than a straightforward implementation, side by side (BENCH_ARGS="...")
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

throughput: $(INSTALLED)  ## throughput of loader, toy world and training (BENCH_ARGS="...")
	$(BIN)/python benchmarks/throughput.py $(BENCH_ARGS)

# Outside the clone and without its folder on the path, so that a file missing from the wheel shows.
wheel-smoke: $(INSTALLED)  ## build the wheel, install it in a clean environment elsewhere, run its demo
	@set -eu; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; unset PYTHONPATH; \
	echo "building the wheel"; \
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir "$$tmp/dist" .; \
	echo "installing $$(cd "$$tmp/dist" && ls) in a clean environment"; \
	$(BIN)/python -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip install --quiet "$$tmp"/dist/*.whl; \
	cd "$$tmp"; CI=true venv/bin/gesso demo --out "$$tmp/demo"; \
	test -s "$$tmp/demo/index.html" || { echo "gesso demo left no page in its folder" >&2; exit 1; }; \
	echo "the installed wheel runs gesso demo"

# The stamp is written last: an interrupted installation starts again. An environment whose interpreter or pip is gone is made anew.
# On a terminal pip shows its own progress; elsewhere it is silent unless something goes wrong.
$(INSTALLED): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here; gesso needs Python 3.11 or newer. Install it, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1); gesso needs Python 3.11 or newer. Install one and name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making $(VENV)"; "$(PYTHON)" -m venv --clear $(VENV); }
	@echo "installing gesso and its tools into $(VENV) (the first time this fetches PyTorch and takes some minutes)"
	@quiet=--quiet; if [ -t 1 ]; then quiet=; fi; $(BIN)/python -m pip install $$quiet --editable '.[dev]'
	@touch $@

# TypeScript reads the types in the page's comments; node comes with the Python packages.
$(TSC): $(INSTALLED)
	@echo "fetching TypeScript's checker"
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm install --silent --no-fund --no-audit --prefix $(VENV)/page "typescript@7"
	@touch $@
