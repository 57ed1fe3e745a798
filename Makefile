# Each target says in one sentence what it is for; `make` prints them.
.POSIX:
.PHONY: help setup demo up down status test powercut lint format bench lock clean
.DEFAULT_GOAL := help

BIN = .venv/bin

help: ## Print what can be made.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv with the locked packages; every other target does so when it is needed.
	@sh deploy/set_up.sh

demo: setup ## Bring the whole exchange up on this machine, tell one request as a story, and take it down.
	@$(BIN)/yitong demo

up: setup ## Start the exchange in the background and leave it running.
	@$(BIN)/yitong up

down: setup ## Stop the exchange that runs in the background.
	@$(BIN)/yitong down

status: setup ## Say which processes run and whether they are ready.
	@$(BIN)/yitong status

test: setup ## Run all tests against real servers on free ports; ARGS goes to pytest.
	@$(BIN)/python -m pytest $(ARGS)

powercut: setup ## Cut the power under the database a hundred times; needs root, libfuse3 and /dev/fuse (docs/powercuts.md).
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-powercut.lock
	@$(BIN)/python -m pytest -m powercut tests/powercut $(ARGS)

lint: setup ## Check style, form, types and the borders between packages.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Put the sources into form and mend what can be mended without thinking.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## Measure how fast it is here and print the figures.
	@$(BIN)/python -m tests.benchmarks

lock: ## Renew requirements.lock from pyproject.toml to the newest releases (needs uv on the PATH).
	@uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  pyproject.toml --group dev --group build --output-file requirements.lock

clean: ## Remove what tests and tools leave behind, and .venv; data of an exchange stays.
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
