# Two commands: `make run` starts the server, `make test` proves it.
# Settings come from the environment or as make variables: `make run PORT=9000 WORKERS=2`.

SHELL := /bin/sh
PYTHON_BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help run test lint format docs bench soak faults lock clean venv venv-dev

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: venv ## Install, migrate and serve; HOST PORT DATABASE_URL REDIS_URL WORKERS HTTPS choose how
	@exec $(PYTHON_BIN)/python manage.py serve

test: venv-dev ## Lint, and every test on SQLite + in-memory and on PostgreSQL + Redis; ARGS goes to pytest
	@exec $(PYTHON_BIN)/python -m tests --lint $(ARGS)

lint: venv-dev ## Style, import contracts and types
	@$(PYTHON_BIN)/ruff check .
	@$(PYTHON_BIN)/ruff format --check .
	@$(PYTHON_BIN)/lint-imports
	@$(PYTHON_BIN)/mypy .

format: venv-dev ## Bring every file into the style that lint checks
	@$(PYTHON_BIN)/ruff check --fix .
	@$(PYTHON_BIN)/ruff format .

docs: venv-dev ## Build the documents as a site into site/
	@NO_MKDOCS_2_WARNING=1 exec $(PYTHON_BIN)/python -m mkdocs build --quiet

bench: venv-dev ## Measure speed and memory; ARGS goes to bench/run.py
	@exec $(PYTHON_BIN)/python bench/run.py $(ARGS)

soak: venv-dev ## The long tests, and 10,000 examples for each property
	@HYPOTHESIS_PROFILE=soak exec $(PYTHON_BIN)/python -m tests --timeout=3600 -m "soak or hypothesis" $(ARGS)

faults: venv-dev ## Attack a cluster for 30 minutes, half of them with Redis failing over; ARGS goes to faults/run.py
	@$(PYTHON_BIN)/python -m faults.run --minutes 12 $(ARGS)
	@$(PYTHON_BIN)/python -m faults.run --minutes 12 --first 1001 --sentinels $(ARGS)
	@exec $(PYTHON_BIN)/python -m faults.run --minutes 6 --first 2001 --sqlite $(ARGS)

lock: venv ## Write the locks again after a change of requirements.txt or requirements-dev.txt
	@scripts/lock.sh

clean: ## Remove .venv and caches; var/, with the database, stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name node_modules -type d -prune -exec rm -rf {} +

venv:
	@scripts/venv.sh requirements.lock

venv-dev:
	@scripts/venv.sh requirements-dev.lock
