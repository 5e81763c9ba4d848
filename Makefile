# The product's commands. Each installs what it needs first (tools/setup.sh) and can be repeated.
PYTHON := .venv/bin/python
SOAK :=
# Of the tests, which wait more than they work; each file runs in one.
PROCESSES := 4

.PHONY: run test check bench soak setup-run setup-test

run: setup-run
	@exec $(PYTHON) -m tools.run

test: setup-test
	@$(PYTHON) -m pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

check: setup-test
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@$(PYTHON) -m pytest -q --ignore=tests/scenarios --ignore=tests/fuzz

bench: setup-test
	@$(PYTHON) -m tests.bench

# 20,000 random operations between two hosts, with faults (tests/soak/README.md); needs root. SOAK="--operations 2000 --seed 7"
soak: setup-test
	@$(PYTHON) -m tests.soak $(SOAK)

setup-run:
	@tools/setup.sh run

setup-test:
	@tools/setup.sh test
