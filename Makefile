# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format up down lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## Create .venv with the locked dependencies

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Doorbuster needs Python 3.11 or newer; try: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## A flash sale from an empty machine to an audited report
	$(BIN)/doorbuster demo

test: $(STAMP) ## The test suite: all but kill -9 and the browser
	$(BIN)/python -m pytest -m "not fault and not browser and not shop" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m "shop and not fault and not browser"

test-all: $(STAMP) ## The test suite with the kill -9 and browser tests
	$(BIN)/python -m pytest

lint: $(STAMP) ## ruff, pyright, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports

format: $(STAMP) ## Format and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

up: $(STAMP) ## Run the shop until Ctrl-C
	$(BIN)/doorbuster up

down: $(STAMP) ## Stop a shop that runs in the background
	$(BIN)/doorbuster down

lock: $(STAMP) ## Resolve pyproject.toml into requirements.lock again
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements.lock pyproject.toml

clean: ## Remove the virtual environment and the embedded shop's data
	rm -rf $(VENV) .doorbuster
