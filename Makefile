# `make demo` and `make test` need python3 (3.11 or newer, with venv and pip) and set up the rest themselves.

# The first of the named interpreters that is new enough.
newest = $(shell for p in $(1); do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON = $(call newest,python3 python3.14 python3.13 python3.12 python3.11)
# The oldest releases have no wheels for the newest Python.
PYTHON_LOWEST = $(call newest,python3.11 python3.12 python3)
# Not every peer has a release for the newest Python, and datarax none for 3.11.
PYTHON_BENCH = $(call newest,python3.13 python3.12 python3)

BIN := .venv/bin
LINKS := src/dagrax/pure src/dagrax/nnx_api
BENCHMARKS := delivered training call core_calls minibatches promises compilations gathered out_of_core data_size startup check variants draws flow operators hosts accelerator accelerator_draws accelerator_files summary
PYTEST := -m pytest -n logical --maxprocesses 4 --dist worksteal

# Processes that tests start find compiled what the first of them has compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-lowest check lint pyright mypy stubs bench gallery pictures notebook docs build clean
.DELETE_ON_ERROR:

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: .venv/installed ## train on a small data set, through a pipeline
	$(BIN)/python examples/digits.py

test: .venv/installed ## run the tests
	$(BIN)/python $(PYTEST)

test-lowest: .venv-lowest/installed ## run the tests with the oldest dependencies that pyproject.toml allows
	.venv-lowest/bin/python $(PYTEST)

check: lint pyright mypy stubs ## lint, formatting and types; with -j2, two at a time

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

pyright: .venv/installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

mypy: .venv/installed-dev
	$(BIN)/mypy

stubs: .venv/installed-dev
	$(BIN)/stubtest --concise --ignore-missing-stub flax.nnx.transforms.compilation

bench: .venv-bench/installed ## measure everything, beside peers and hand-written JAX; tables go to benchmarks/results
	for script in $(BENCHMARKS); do \
		.venv-bench/bin/python benchmarks/$$script.py --save benchmarks/results || exit 1; done

gallery: .venv/installed ## draw docs/gallery.md: every operator on a photograph
	$(BIN)/python tools/gallery.py

pictures: .venv/installed ## draw the pictures of the other pages; needs Graphviz
	$(BIN)/python tools/pictures.py

notebook: .venv/installed-docs ## run docs/tour.ipynb and store what it puts out
	$(BIN)/python tools/notebook.py

docs: .venv/installed-docs ## build the pages as a site, in build/site; a warning fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

build: .venv/installed-dev ## make the sdist, the wheel from it, and look into both
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python tools/check_dist.py dist

clean: ## remove environments, builds and caches
	rm -rf .venv .venv-bench .venv-lowest build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml | $(LINKS)
	$(call require,$(PYTHON))
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

.venv-bench/installed: pyproject.toml | $(LINKS)
	$(call require,$(PYTHON_BENCH))
	$(PYTHON_BENCH) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --editable '.[peers]'
	@touch $@

.venv-lowest/installed: pyproject.toml tools/lowest.py | $(LINKS)
	$(call require,$(PYTHON_LOWEST))
	$(PYTHON_LOWEST) -m venv --clear .venv-lowest
	$(PYTHON_LOWEST) tools/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/lowest.txt --editable '.[test]'
	@touch $@

# An unpacked sdist has no links.
$(LINKS): src/dagrax/%:
	mkdir -p src/dagrax
	ln -s ../../$* $@

define require
@test -n '$(1)' || { echo 'dagrax needs Python 3.11 or newer; python3 here is older, or missing. Try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
endef
