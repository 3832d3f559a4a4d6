# posestream: each of these does all the set-up it needs, on a machine with Python 3.11 or newer and make.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
SECONDS_OF_DEMO ?= 30

.PHONY: help demo test test-slow lint format pages bench pin clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

# Ctrl-C is a way to end the demo, not a failure. With job control (set -m) only the demo gets the signal, and its 130
# becomes 0; make would report an error if it got the signal too.
demo: $(VENV)/.run  ## see keypoints arrive for SECONDS_OF_DEMO (30): no camera, no GPU, no networks to download
	@set -m; $(BIN)/posestream demo --seconds $(SECONDS_OF_DEMO) || [ $$? = 130 ]

# Style, types, import contracts, README commands and the wheel are tests too: see tests/test_rules.py,
# tests/test_documents.py and tests/test_wheel.py. So one summary line covers everything.
# One worker runs all tests of a file, so that what a file makes once is made once. (--dist loadgroup of pytest-xdist 3.8
# groups nothing with pytest 9.2.) Four workers at most, since each may hold PyTorch.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev  ## style, strict types, import contracts, tests, doctests, documented commands: a quarter of an hour
	@$(PYTEST)

test-slow: $(VENV)/.dev  ## what CI runs besides: every network in full, every precision, the built wheel alone, long runs
	@$(PYTEST) -m slow

lint: $(VENV)/.dev  ## style, strict types and import contracts only
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.dev  ## format the source
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

pages: $(VENV)/.dev  ## write docs/reference/elements.md from their classes, and the protocol's conformance cases
	@$(BIN)/python -m scripts.elements_page > docs/elements.new && mv docs/elements.new docs/reference/elements.md
	@$(BIN)/python -m scripts.conformance_cases

bench: $(VENV)/.dev  ## measure; benchmarks/README.md holds each figure and the command that gave it
	@$(BIN)/python -m benchmarks

pin: $(VENV)/.dev  ## write constraints.txt again from pyproject.toml
	@$(BIN)/python scripts/pin.py > constraints.new && mv constraints.new constraints.txt

clean:  ## remove what these targets made, caches included
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . \( -name __pycache__ -o -name node_modules \) -type d -prune -exec rm -rf {} +

$(VENV)/.run: pyproject.toml constraints.txt scripts/set_up
	@scripts/set_up $(VENV) '.[openvino]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/set_up
	@scripts/set_up $(VENV) '.[dev]'
	@touch $@ $(VENV)/.run
