# posestream: each of these does all the set-up it needs, on a machine with Python 3.11 or newer and make.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
SECONDS_OF_DEMO ?=

.PHONY: help demo test lint format pages bench pin clean

help:  ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

demo: $(VENV)/.run  ## see keypoints arriving: no camera, no GPU, no download of networks
	@$(BIN)/posestream demo $(if $(SECONDS_OF_DEMO),--seconds $(SECONDS_OF_DEMO))

# Style, types, import contracts, README commands and the wheel are tests too: see tests/test_rules.py,
# tests/test_documents.py and tests/test_wheel.py. So one summary line tells everything.
# Which tests share a worker, tests/conftest.py says; four workers at most, since each may hold PyTorch.
test: $(VENV)/.dev  ## style, strict types, import contracts, tests, doctests, README commands, the built wheel
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadgroup

lint: $(VENV)/.dev  ## style, strict types and import contracts alone
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev  ## put the source in its usual form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

pages: $(VENV)/.dev  ## write docs/reference/elements.md from what the elements say of themselves
	@$(BIN)/python -m scripts.elements_page > docs/elements.new && mv docs/elements.new docs/reference/elements.md

bench: $(VENV)/.dev  ## measure; benchmarks/README.md holds each figure and the command that gave it
	@$(BIN)/python -m benchmarks

pin: $(VENV)/.dev  ## write constraints.txt anew from pyproject.toml
	@$(BIN)/python scripts/pin.py > constraints.new && mv constraints.new constraints.txt

clean:  ## remove what the above made, every cache included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . \( -name __pycache__ -o -name node_modules \) -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml constraints.txt scripts/set_up
	@scripts/set_up $(VENV) .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/set_up
	@scripts/set_up $(VENV) '.[dev]'
	@touch $@ $(VENV)/.run
