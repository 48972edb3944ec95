# Commands for development and operation; `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
BIN := .venv/bin
DEMO ?= demo
DEMO_TRACKING := sqlite:///$(if $(filter /%,$(DEMO)),,$(CURDIR)/)$(DEMO)/mlflow.db
LOCK := docker/requirements-dev.lock
COMPILE := uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header --quiet $(UPGRADE)

.PHONY: help setup demo test test-long faults check docs images e2e bare gpu bench ui lock clean \
	k8s-secrets submit wait logs k8s-check e2e-k8s cluster cluster-load cluster-down

help:  ## list all targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready  ## create .venv with the locked dependencies of jobs and tests

.venv/ready: $(LOCK)
	if command -v $(PYTHON) >/dev/null; then $(PYTHON) -m venv .venv; else python3 -m venv .venv; fi
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(LOCK)
	touch $@

# paths go to the shell as variables: a folder may have any characters in its name
demo ui clean: export DEMO := $(DEMO)
demo: export MLFLOW_TRACKING_URI := $(DEMO_TRACKING)
ui: export MLFLOW_TRACKING_URI := $(or $(MLFLOW_TRACKING_URI),$(DEMO_TRACKING))

demo: setup  ## fetch, preprocess, train and evaluate on a synthetic dataset (about two minutes)
	BIN=$(BIN) jobs/demo.sh

test: setup  ## run the tests (about eight minutes on two cores)
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder  # files with few tests take longest

test-long: setup  ## run the tests that take minutes each; with Chromium and its driver also those of the web pages
	$(BIN)/pytest -m long

faults: setup  ## fault injection: hostile files, kills, concurrent writers, store failures (hours); prints tables
	$(BIN)/python -m tests.support.hostile
	$(BIN)/python -m tests.support.faults.table

check: setup  ## run ruff, mypy, import-linter, hadolint, shellcheck and validate the compose files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy k8s/submit.py
	$(BIN)/mypy k8s/components/backup/backup.py
	$(BIN)/lint-imports
	$(BIN)/hadolint $(shell git ls-files '*Dockerfile')
	$(BIN)/shellcheck $(shell git ls-files '*.sh') .ci/run
	$(BIN)/docker-compose --env-file .env.example config --quiet
	$(BIN)/docker-compose --env-file .env.example -f docker-compose.yml -f docker-compose.gpu.yml config --quiet
	$(BIN)/docker-compose --env-file .env.example -f docker-compose.yml -f docker-compose.s3.yml config --quiet

docs: setup  ## write docs/cli.md from the --help of each job, and update the module tables of docs/architecture.md
	$(BIN)/python -m tests.support.cli_reference
	$(BIN)/python -m tests.support.module_tables

images:  ## build the container images of the jobs and of MLflow (BASE_IMAGE, GPU_BASE_IMAGE, CA_CERT, PIP_CONF: docker/build.sh)
	docker/build.sh

e2e: setup  ## build the images and test the compose stack; needs a container engine (offline: root, mmdebstrap, Go)
	tests/e2e/run.sh

bare:  ## check, test and demo from a fresh clone in a bare Debian 12 (SUITE=trixie: 13); needs root, mmdebstrap
	tests/e2e/bare.sh

k8s-secrets:  ## generate random credentials for the Kubernetes stack in files that git ignores
	k8s/secrets.sh

submit: setup  ## create a Kubernetes Job: JOB=train [ARGS='--recipe …'] [AFTER=preprocess] [WORKERS=4] [PRIORITY=high] [OVERLAY=local] [NAMESPACE=dogbreed] [DRY_RUN=1]
	@$(BIN)/python k8s/submit.py submit

wait: setup  ## wait until the newest Kubernetes Job of a kind, or the named one, has finished: JOB=train
	@$(BIN)/python k8s/submit.py wait

logs: setup  ## follow the logs of its pods: JOB=train
	@$(BIN)/python k8s/submit.py logs

k8s-check: setup .venv-checkov/ready  ## render and validate the Kubernetes manifests (schemas from 1.33 on, tests, checkov)
	$(BIN)/pytest -n auto --dist loadfile tests/k8s
	$(BIN)/python -m tests.support.kubernetes.manifests build/k8s
	.venv-checkov/bin/checkov --config-file k8s/checkov.yaml

.venv-checkov/ready: docker/requirements-checkov.lock
	$(BIN)/python -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	touch $@

e2e-k8s: setup  ## test the Kubernetes Jobs on the cluster of KUBECONFIG, by default that of make cluster, which it starts
	tests/e2e/run_kubernetes.sh

cluster:  ## build and start a Kubernetes with one node, for tests; without a registry, with root, an engine and Go
	tests/e2e/cluster/up.sh

cluster-load:  ## copy the images that k8s/ names from the container engine to this cluster, after make images
	tests/e2e/cluster/load_images.sh

cluster-down:  ## remove this cluster with everything in it; keep what was built
	tests/e2e/cluster/down.sh

gpu: setup  ## the first minutes on a GPU: checks and training speeds, reported in build/gpu; "not run" without one: [MINUTES=10] [DEVICE=cpu] [DATA=…]
	$(BIN)/python -m bench.gpu --minutes $(or $(MINUTES),10) --device $(or $(DEVICE),gpu) $(if $(DATA),--data "$(DATA)")

bench: setup  ## benchmark against other tools: preprocessing, input, store, memory, copies, fit, checkpoints, precision (RAW, PHOTOS: archives)
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.preprocess $(if $(PHOTOS),--raw $(PHOTOS))
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.shared_reads $(if $(RAW),--raw $(RAW))
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.input $(if $(PHOTOS),--raw $(PHOTOS))
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.store $(if $(RAW),--raw $(RAW))
	$(BIN)/python -m bench.memory $(if $(RAW),--raw $(RAW))
	$(BIN)/python -m bench.copies
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.fit $(if $(RAW),--raw $(RAW))
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.checkpoint
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m bench.precision

ui: setup  ## start the MLflow UI for MLFLOW_TRACKING_URI, by default the demo's, at http://localhost:5000
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow server --port 5000 --backend-store-uri "$$MLFLOW_TRACKING_URI"

lock:  ## update the lock files from pyproject.toml (needs uv; UPGRADE=--upgrade for newer versions)
	$(COMPILE) pyproject.toml --group dev --group search -o $(LOCK)
	$(COMPILE) pyproject.toml --constraint $(LOCK) -o docker/requirements-jobs.lock
	$(COMPILE) --group mlflow-server --constraint $(LOCK) -o docker/requirements-mlflow.lock
	$(COMPILE) --group checkov -o docker/requirements-checkov.lock
	$(COMPILE) --group search --constraint $(LOCK) -o docker/requirements-search.lock
	$(COMPILE) --group cuda -o docker/requirements-cuda.lock

clean:  ## remove .venv, demo and caches
	rm -rf .venv .venv-checkov "$$DEMO" build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
