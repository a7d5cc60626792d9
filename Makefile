# Needs git, make and a Python of at least 3.11; every target does its own set-up in .venv.
# A path is always relative and quoted: the checkout may lie in a folder with a space in its name.

# A test waits for processes a third of its time, so there are more at once than two cores.
JOBS ?= 3
BIN := .venv/bin
# COVERAGE=1 measures the fast tests that the target runs, processes they start included.
# Each process begins with its own part of the tests, so that neighbours share what they build, and
# takes from another's when it is done.
PYTEST = $(BIN)/python -m $(if $(COVERAGE),coverage run -m )pytest -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-all test-agents lint bench coverage dist clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/runtime ## the quick start: a small real repository, a plan of real tasks, run and merged
	@$(BIN)/gitflow-agents demo

test: .venv/dev .venv-node/made ## the tests that run on every change
	$(PYTEST) -m "not slow and not agents"

test-all: .venv/dev .venv-node/made ## those and the slow ones, with more examples of everything that is drawn
	$(PYTEST) --hypothesis-profile=thorough -m "not agents"

# They wait more than they work, so there are more of them at once than there are cores.
test-agents: .venv/dev .venv-node/made ## the real coding agents, installed into .venv-agents, against a model on the loopback
	tests/install-agents .venv-agents
	$(BIN)/python -m pytest -n 4 --dist worksteal -m agents tests/test_real_agents.py tests/test_actions.py

lint: .venv/dev ## format, lint rules and types, checked and not mended
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict gitflow_agents tests

bench: .venv/dev ## our ratios to the floor, to git and to the engines that are installed
	$(BIN)/python -m benchmarks

coverage: .venv/dev ## the fast tests, then the lines that none of them reached
	rm -f .coverage .coverage.*
	$(MAKE) test COVERAGE=1
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# pip alone makes no sdist; the wheel is made from it, and so has what it has.
dist: .venv/runtime ## what is published: an sdist, and the wheel that is built from it
	rm -rf dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2'
	$(BIN)/python -m build

clean: ## remove what these targets made, every .venv* included
	rm -rf .venv .venv-agents .venv-node .coverage .coverage.* htmlcov build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find gitflow_agents tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# These two files stand for what is installed: the package alone, and with the tools of development.

.venv/runtime: pyproject.toml
	@$(call install,.)
	@touch .venv/runtime

.venv/dev: pyproject.toml
	@$(call install,.[dev])
	@touch .venv/runtime .venv/dev

.venv-node/made: tests/forge/install tests/forge/package-lock.json
	@tests/forge/install .venv-node

# Go takes no relative path here.
.venv-node/bin/act:
	GOBIN="$(CURDIR)/.venv-node/bin" go install github.com/nektos/act@v0.2.87

# A virtual environment names its own folder in its scripts: in a checkout that was moved or copied it is made anew.
MOVED := $(shell [ ! -e .venv/made-in ] || [ "$$(cat .venv/made-in)" = "$$(pwd -P)" ] || echo yes)
ifneq ($(MOVED),)
.PHONY: .venv/runtime .venv/dev
endif

# A name on the PATH may be a shim that starts nothing, so each candidate is run rather than looked up.
define install
set -e; \
if [ -n "$(MOVED)" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
  found=; bare=; \
  for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11); do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
    if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then found=$$python; break; fi; \
    bare=$$python; \
  done; \
  if [ -z "$$found" ] && [ -n "$$bare" ]; then \
    echo "error: $$bare has no venv module; on Debian and Ubuntu: apt install python3-venv." >&2; exit 1; \
  elif [ -z "$$found" ]; then \
    echo "error: no Python of at least 3.11 was found; install one, or name it: make PYTHON=/path/to/python3." >&2; exit 1; \
  fi; \
  "$$found" -m venv --clear .venv; \
  pwd -P >.venv/made-in; \
fi; \
echo "Installing $(1) into .venv"; \
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '$(1)'
endef
