# The product's commands. Each installs what it needs first (tools/setup.sh) and can be repeated.
PYTHON := .venv/bin/python

.PHONY: run test check bench setup-run setup-test

run: setup-run
	@exec $(PYTHON) -m tools.run

test: setup-test
	@$(PYTHON) -m pytest

check: setup-test
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(PYTHON) -m pytest -q --ignore=tests/scenarios --ignore=tests/fuzz

bench: setup-test
	@$(PYTHON) -m tests.bench

setup-run:
	@tools/setup.sh run

setup-test:
	@tools/setup.sh test
