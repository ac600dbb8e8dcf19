# make run         set up .venv, then all steps on generated data: ratings -> windows -> training on
#                  two workers -> baselines -> report
# make test        set up .venv, then the test suite
# make test-fast   without the integration tests     make test-slow  only what make test skips
# make lint        ruff, check only                  make types      mypy, strict
# make sql-lint    sqlfluff                          make wheel      build the wheel into dist/
# make docs        build the site into site/, with warnings as errors
#                  (`.venv/bin/mkdocs serve` shows it while you write)
# make clean       remove everything that these made
#
# PYTHON is the interpreter for a new .venv: make run PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
ITREC := $(BIN)/itrec
RUN := runs/quickstart
READY := .venv/.ready

.PHONY: run test test-fast test-slow lint types sql-lint wheel docs clean setup
.DELETE_ON_ERROR:

run: $(READY)
	rm -rf $(RUN)
	$(ITREC) data make --out $(RUN)/data
	$(ITREC) window --source ml-1m --input $(RUN)/data --out $(RUN)/shards --test-fraction 0.1
	$(ITREC) train --config jobs/recipes/quickstart.yaml --shards $(RUN)/shards --out $(RUN)/ite
	$(ITREC) baselines --shards $(RUN)/shards --out $(RUN)/baselines
	$(ITREC) report $(RUN)/ite $(RUN)/baselines --out $(RUN)/report.html

# One thread per torch process: on the small matrices of tests, more would only wait for each
# other. Two pytest processes on any machine: all tests that need Ray share one of them. Bytecode is
# kept even where an image turns that off: dozens of processes are started, each imports the package.
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= \
	python -m pytest --timeout 600 -n 2

RANDOM_INPUT := tests/unit/data/test_file_doors.py tests/unit/tasks/test_protocols.py

test: $(READY)
	$(PYTEST)

test-fast: $(READY)
	$(PYTEST) --ignore tests/integration

test-slow: $(READY)
	$(PYTEST) -m slow
	$(PYTEST) --hypothesis-profile thorough $(RANDOM_INPUT)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

sql-lint: $(READY)
	$(BIN)/sqlfluff lint --disable-progress-bar sql

wheel: $(READY)
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@ls dist/*.whl

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

clean:
	rm -rf $(RUN) dist build site .pytest_cache .mypy_cache .ruff_cache .venv

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@found=$$(command -v "$(PYTHON)" >/dev/null && "$(PYTHON)" --version 2>&1 || echo "not there"); \
	case "$$found" in *" 3.11."*|*" 3.12."*|*" 3.13."*) ;; *) \
	  echo "itrec-dist needs Python 3.11, 3.12 or 3.13 and $(PYTHON) is $$found: name another, as in \`make run PYTHON=python3.12\`" >&2; \
	  exit 1;; esac
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
