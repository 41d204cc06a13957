# Every target but `help` and `clean` first makes .venv from requirements.lock.
PYTHON ?= python3
VENV := .venv
PORT ?= 5000
SHELL := bash
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
READY := $(VENV)/.ready
SCALE := $(VENV)/.scale
# Test files run in parallel; each worker loads its own TensorFlow (1 GB). JAX compiles without optimisation, because a test's compiled code
# runs only briefly. `make test-slow` compiles as for users.
PYTEST := python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help look demo study verify release bench test test-torch test-slow setup-scale test-scale faults audit lint lock ui clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=python3.11")'
	@echo "Making $(VENV) from requirements.lock: 3 GB, from two to ten minutes without a line."
	$(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@

look: $(READY)  ## the published study of digits, without training: its report, and its runs in MLflow
	python -m dvc pull --quiet --remote published --with-deps report@digits
	@MLFLOW_TRACKING_URI=sqlite:///mlflow.db python src/publish.py data=digits
	@echo
	@echo "The report:    reports/digits/index.html (open it in a browser)"
	@$(MAKE) --no-print-directory ui

demo: $(READY)  ## the whole pipeline on the digits that scikit-learn ships, without a download
	@python src/check.py
	python -m dvc repro download@digits
	python src/study.py data=digits  # all activations at once, which is quicker than DVC's stage after stage
	python -m dvc repro report@digits
	@echo
	@echo "The report:    reports/digits/index.html (open it in a browser)"
	@echo "The runs:      make ui, then open the link:"
	@python src/publish.py data=digits --links

study: $(READY)  ## train everything that params.yaml lists, CIFAR-10 included
	@python src/check.py
	python -m dvc repro --keep-going

release: $(READY)  ## check that the committed results come from the committed code and configuration
	python src/release.py

verify: $(READY)  ## train the digits of the last commit again in a copy, and compare every byte (another dataset: make verify DATA=digits_all)
	python src/verify.py data=$(or $(DATA),digits)

bench: $(READY)  ## measure on this machine what a run and a study cost: an hour (another dataset: make bench DATA=digits)
	python benchmarks/training_time.py data=$(or $(DATA),cifar10)
	python benchmarks/activation_time.py data=$(or $(DATA),cifar10)
	python benchmarks/monitor_time.py
	python benchmarks/pipeline_time.py
	python benchmarks/publish_time.py
	python benchmarks/report_time.py data=digits

ui: $(READY)  ## browse the runs in MLflow, at http://127.0.0.1:5000 (another port: make ui PORT=5001)
	@python -c 'import socket; socket.create_server(("127.0.0.1", $(PORT))).close()' 2>/dev/null || \
		(echo "error: port $(PORT) is not free: is make ui running already? Use its page, or name another port, such as make ui PORT=5001" >&2; exit 1)
	@echo "Open one of these links as soon as the server is up, and close MLflow's assistant, so that the charts get its room:"
	@MLFLOW_TRACKING_URI=sqlite:///mlflow.db python src/publish.py --links=http://127.0.0.1:$(PORT)
	MLFLOW_DISABLE_TELEMETRY=true python -m mlflow ui --backend-store-uri sqlite:///mlflow.db --port $(PORT)

MONITOR := $(wildcard tests/test_monitor_*.py) tests/test_examples.py::test_a_loop_of_ones_own

test: $(READY)  ## run the tests, and the monitor's tests on JAX too
	$(PYTEST)
	XLA_FLAGS=--xla_backend_optimization_level=0 MONITOR_BACKEND=jax $(PYTEST) $(MONITOR)

test-torch: $(READY)  ## install PyTorch, and run the monitor's tests on it
	python -m pip install --quiet torch==2.13.0
	MONITOR_BACKEND=torch $(PYTEST) $(MONITOR) -m 'slow or not slow'

test-slow: $(READY)  ## run the slow tests, which `make test` leaves out
	$(PYTEST) -m slow
	MONITOR_BACKEND=jax $(PYTEST) $(MONITOR) -m 'slow or not slow'

$(SCALE): requirements-scale.lock | $(READY)
	python -m pip install --quiet --require-hashes --requirement requirements-scale.lock
	@touch $@

setup-scale: $(SCALE)  ## add what clusters and a team's server need to .venv: Ray, SLURM, S3, PostgreSQL

test-scale: $(SCALE)  ## run the slow tests on TensorFlow, and those that need these packages
	$(PYTEST) -m 'slow or scale'

faults: $(READY)  ## test how faults are handled, and write docs/faults.md (more: make faults KILLS=30 FUZZ=5000)
	KILLS=$(or $(KILLS),12) FUZZ=$(or $(FUZZ),3000) python -m pytest -m 'fault or fuzz' --table=docs/faults.md

audit: $(READY)  ## look for known vulnerabilities of the pinned packages; asks the package index
	uv tool run pip-audit==2.10.1 --strict --disable-pip --require-hashes --requirement requirements.lock

lint: $(READY)  ## check style, formatting, types, and imports between folders
	ruff check .
	ruff format --check .
	PYTHONPATH=src lint-imports
	mypy

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev --output-file requirements.lock pyproject.toml
	cp requirements.lock requirements-scale.lock  # keep these versions where the other packages allow them
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev --extra scale --output-file requirements-scale.lock pyproject.toml

clean:  ## remove the environment
	rm -rf $(VENV)
