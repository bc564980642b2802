# What the tests check, by hand. CI (.ci/run) does what the README says: install, demo, pytest; pytest runs `make lint types` too.
PYTHON ?= python
C := $(shell git ls-files 'csrc/*.[ch]' 'tests/c/*.[ch]' 2>/dev/null)

.PHONY: all build check format lint types test sanitize bits

all: check

build: ## the extension module, beside the package
	$(PYTHON) setup.py -q build_ext --inplace

check: lint types test ## all that CI checks

format: ## write the one layout of Python and C
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .
	clang-format -i $(C)

lint: ## layout and common mistakes
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	clang-format --dry-run -Werror $(C)

types: ## annotations, strict in all modules; the stub of the extension module
	$(PYTHON) -m mypy
	$(PYTHON) scripts/check_stub.py

test: ## everything that a clone can test
	$(PYTHON) -m pytest

sanitize: ## the whole suite with the extension under the sanitizers; long
	$(PYTHON) scripts/sanitize.py

bits: ## does the working tree give the same bits as main?
	$(PYTHON) scripts/same_bits.py main
