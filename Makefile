# Set up, train, test. ARGS="model=resnet18 freeze=true" passes settings to train.
.DEFAULT_GOAL := help
.PHONY: help setup train test test-browser docs docs-test lint benchmark results clean

PYTHON ?= python3
VENV := .venv
PEERS := .peers
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(INSTALLED) ## create .venv and install everything that training and tests need

# Written last: an interrupted installation is taken up again.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[elpv,networks,dev]"
	touch $@

train: setup ## fine-tune; ARGS="model=resnet18 freeze=true" changes settings
	$(BIN)/python train.py $(ARGS)

test: setup lint ## run lint, format, type checks and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --ignore tests/browser --ignore tests/docs

test-browser: setup ## open TensorBoard and a report in headless Chromium (installs it with apt-get where it is missing)
	command -v chromedriver >/dev/null || (apt-get update -qq && apt-get install -qq -y chromium chromium-driver)
	$(BIN)/python -m pip install --quiet --editable ".[browser]"
	$(BIN)/python -m pytest tests/browser

docs: setup ## build the site of docs/ into site/; a warning is an error
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	$(BIN)/zensical build --clean --strict

docs-test: setup ## run every command of README, docs/ and the notebook as it is written (5 to 10 minutes)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --maxschedchunk=1 tests/docs

lint: setup ## check style, format and types without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: setup ## measure Graft against other ways, an hour or more; ARGS="sections=steps", BENCHMARK_DATA=FOLDER
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --editable ".[elpv,export]" fastai autotimm
	$(BIN)/python scripts/benchmark.py peers=$(PEERS)/bin/python $(if $(BENCHMARK_DATA),images=$(BENCHMARK_DATA)) $(ARGS)

results: setup ## train what is missing in docs/results.md, hours; ARGS="sections=elpv,waste waste=FOLDER rows=L-BFGS"
	$(BIN)/python scripts/results.py $(ARGS)

clean: ## remove the environment and caches; data and logs stay
	rm -rf $(VENV) $(PEERS) site .mypy_cache .ruff_cache .pytest_cache
