# One word per chore: study, check, test, bench, faults, fuzz, verify-method, clean. Python: make study PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
# Compiling all of TensorFlow to bytecode takes longer than what is imported of it does at its first use.
PIP := $(VENV)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
# So processes have to be allowed to keep the bytecode of what they import, or each of them compiles it again, for 7 seconds.
export PYTHONDONTWRITEBYTECODE :=
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.installed-test
define LINT
$(VENV)/bin/ruff check .
$(VENV)/bin/ruff format --check .
$(VENV)/bin/mypy
endef
PYTEST := $(VENV)/bin/pytest --numprocesses 2 --dist worksteal --doctest-modules metagd_optuna tests
# Parts of the benchmarks: make bench PARTS="throughput memory"; all by default.
PARTS ?=
# Hostile input: make fuzz FUZZ="--target policy --inputs 100000"; all targets with 1,000 inputs each by default.
FUZZ ?=

.PHONY: study check test bench faults fuzz verify-method clean
.DELETE_ON_ERROR:

study: $(INSTALLED)
	@$(VENV)/bin/metagd run studies/quickstart.toml

# Style, types and the tests that are quick; two and a half minutes on two slow cores.
check: $(TESTABLE)
	$(LINT)
	$(PYTEST) -m "not slow"

# Style, types and all tests.
test: $(TESTABLE)
	$(LINT)
	$(PYTEST)

bench: $(TESTABLE)
	$(VENV)/bin/python tests/benchmarks $(PARTS)

# Studies whose workers, scheduler, coordinator and database are killed: make faults ONLY="scheduler"; by default all.
ONLY ?=
faults: $(TESTABLE)
	$(VENV)/bin/python tests/faults $(ONLY)

# Mutated files and storages for every parser; any exception but the package's own is a finding.
fuzz: $(TESTABLE)
	$(VENV)/bin/python tests/fuzz $(FUZZ)

# Resampled studies of identical and of faster rules; writes docs/method.md.
verify-method: $(TESTABLE)
	$(VENV)/bin/python tests/method

# The stamps make a second call install nothing, until what is to be installed changes.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and f"{sys.executable} is Python {sys.version.split()[0]}; metagd needs 3.11 to 3.13: make study PYTHON=/path/to/python3.11")'
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@echo "installing metagd and what it needs into $(VENV), once; this takes a minute or two"
	@$(PIP) --editable .
	@touch $@

$(TESTABLE): $(INSTALLED)
	@echo "installing what the tests need"
	@$(PIP) --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find metagd_optuna tests -type d -name __pycache__ -prune -exec rm -rf {} +
