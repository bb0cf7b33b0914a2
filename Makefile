# `make help` lists what there is. Everything runs in .venv, which scripts/setup.sh makes from requirements.lock.
# Two processes, since the tests wait for subprocesses as often as they compute; a file's tests stay together.
PYTEST := python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
export PATH := $(CURDIR)/.venv/bin:$(PATH)
MAKEFLAGS += --no-print-directory
.PHONY: help setup run test test-slow check ui bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | sort
	@echo 'TORCH_INDEX=<address>	with any of them: takes torch from an index with the CPU build'

setup:  ## make or mend .venv; costs a moment when it is there
	@sh scripts/setup.sh

run: setup  ## the whole pipeline for every task in params.yaml
	@python -m flows.train

test: setup  ## the tests, with a reduced run from end to end
	@$(PYTEST)

test-slow: setup  ## faults, kills, a schedule, serving: at most 30 minutes
	@$(PYTEST) -m slow

check: setup  ## linter, formatting, types
	@ruff check
	@ruff format --check
	@mypy

ui: setup  ## the MLflow and Prefect pages on this machine
	@python -m flows.ui

bench: setup  ## measured figures beside their goals
	@for script in benchmarks/[a-z]*.py; do echo "$$script"; python "$$script" || exit 1; done

clean:  ## removes .venv and caches; never data/, params.yaml, mlflow.db or the DVC cache
	@rm -rf .venv .pytest_cache .ruff_cache .mypy_cache *.egg-info
	@find pipeline flows tests benchmarks scripts -name __pycache__ -prune -exec rm -rf {} +
