PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests of the host's knobs lock each other out, namespaces and state folders are each test's own.
# Two workers more than processors: many tests wait, for a deadline or a program that starts.
WORKERS := $(shell echo $$(($$(nproc) + 2)))
PARALLEL := --numprocesses $(WORKERS) --maxprocesses 6 --dist worksteal

# Debian kernels in a guest (software emulation); docs/testing.md.
GUEST := $(BIN)/python -m tests.guest

.PHONY: tune test test-kernel test-full lint compiled-tests clean venv schemas

$(BIN)/ktune: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@# pip compiles what it copies, an editable install is not copied: each start would compile anew
	@# where Python may not write (PYTHONDONTWRITEBYTECODE)
	$(BIN)/python -m compileall -q ktune
	@touch $@

$(VENV)/.test-installed: $(BIN)/ktune
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

venv: $(BIN)/ktune

tune: $(BIN)/ktune
	sh .ci/tune.sh $(BIN)/ktune

test: $(VENV)/.test-installed
	$(MAKE) --jobs 2 lint compiled-tests
	$(BIN)/python -m pytest $(PARALLEL) -m 'not full'

# pytest rewrites every assertion: once, not in each worker, and not in each run where Python may not
# write what it has compiled.
compiled-tests: $(VENV)/.test-installed
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q --collect-only >/dev/null

test-kernel: $(VENV)/.test-installed
	$(GUEST) --series 6.1

test-full: export KTUNE_TEST_WHOLE = 1
test-full: $(VENV)/.test-installed lint compiled-tests
	$(BIN)/python -m pytest $(PARALLEL)
	$(GUEST) --series 6.1 --series 6.12
	$(GUEST) --series 7 -- tests/guest/inside
	$(GUEST) --series 6.1 -- tests/proxy/test_behaviour.py -k "not module and not BPF"

lint: $(VENV)/.test-installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
