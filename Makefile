# Everything that people run here; `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
DEMO ?= demo
DEMO_TRACKING := sqlite:///$(abspath $(DEMO))/mlflow.db
LOCK := docker/requirements-dev.lock

.PHONY: help setup demo test test-long check bench ui lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## make .venv with all that jobs and tests need

.venv/ready: $(LOCK)
	if command -v $(PYTHON) >/dev/null; then $(PYTHON) -m venv .venv; else python3 -m venv .venv; fi
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	touch $@

demo: setup  ## the whole way on drawn photos: fetch, preprocess, train, evaluate (about two minutes)
	DEMO=$(DEMO) MLFLOW_TRACKING_URI=$(DEMO_TRACKING) BIN=$(BIN) jobs/demo.sh

test: setup  ## the tests (under five minutes)
	$(BIN)/pytest

test-long: setup  ## the tests that take minutes each
	$(BIN)/pytest -m long

check: setup  ## style, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## ratios: memory of many photos against few, bfloat16 against float32
	$(BIN)/python -m bench.memory
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.precision

ui: setup  ## the runs of MLFLOW_TRACKING_URI, by default the demo's, at http://localhost:5000
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow server --port 5000 \
		--backend-store-uri $(or $(MLFLOW_TRACKING_URI),$(DEMO_TRACKING))

lock: setup  ## renew the lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --group dev --universal --generate-hashes --python-version 3.11 \
		--no-annotate --no-header --quiet -o $(LOCK)

clean:  ## remove .venv, the demo and caches
	rm -rf .venv $(DEMO) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
