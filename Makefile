# Every target does its own set-up; a newcomer needs Python 3.11+ and make (for e2e also Go and Java 17).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNS   := $(VENV)/.runtime
STAMP  := $(VENV)/.installed
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test lint lock e2e e2e-full containers soak bench format clean
help:
	@echo "make demo   gangs on an embedded cluster, live in the terminal"
	@echo "make test   unit, property and wire tests"
	@echo "make e2e    real etcd, kube-apiserver, kube-scheduler and spark-submit (needs Go and Java 17)"
	@echo "make e2e-full  the same, and what make e2e leaves out: more failures, both Spark versions, the Kubernetes before"
	@echo "make containers  the image and docker-compose.yml, built and run (needs podman, and Go for the control plane)"
	@echo "make soak   10,000 runs of a whole cluster in virtual time with faults (SOAK_SEEDS=N)"
	@echo "make bench  speed of the webhooks, as table and JSON"
	@echo "make lint   ruff, pyright, import rules"

# What the program needs to run, and nothing else: this is all that `make demo` and the image install.
$(RUNS): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "Installing the packages that carbon-scheduler runs with into $(VENV): once, about half a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

# The same, and the tools of developers.
$(STAMP): $(RUNS) requirements-dev.lock
	@echo "Installing the tools of developers into $(VENV): once, a minute or two."
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(RUNS)
	$(BIN)/carbon-scheduler demo $(DEMO_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 $(TEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One lock a use, each with the hashes of every file of a version, for Python 3.11 and newer on any system.
# A version that still satisfies pyproject.toml stays; LOCK_ARGS=--upgrade moves all.
UV_VERSION := 0.13.9
COMPILE = .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-emit-index-url --custom-compile-command "make lock" $(LOCK_ARGS)
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(COMPILE) pyproject.toml --extra dev --output-file requirements-dev.lock
	$(COMPILE) pyproject.toml --extra postgres -c requirements-dev.lock --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra postgres --extra parquet --extra plots -c requirements-dev.lock --output-file requirements-full.lock
	$(COMPILE) --group build -c requirements-dev.lock --output-file requirements-build.lock
	rm -rf .venv-lock

E2E = $(BIN)/python -m pytest tests/e2e -p no:randomly -p no:xdist --timeout 900 \
  -o addopts="-ra --strict-markers --import-mode=importlib"

e2e: $(STAMP)
	$(BIN)/python tests/e2e/setup_tools.py
	$(E2E) -m "not full" $(E2E_ARGS)

e2e-full: $(STAMP)
	$(BIN)/python tests/e2e/setup_tools.py 1.37 1.36
	$(E2E) $(E2E_ARGS)
	E2E_KUBERNETES=1.36 $(E2E) -m "not full" $(E2E_ARGS)

containers: $(STAMP)
	$(BIN)/python tests/e2e/setup_tools.py
	$(BIN)/python -m pytest tests/containers -p no:randomly -p no:xdist --timeout 1800 \
	  -o addopts="-ra --strict-markers --import-mode=importlib" $(CONTAINERS_ARGS)

soak: $(STAMP)
	$(BIN)/python -m tests.soak --seeds $(SOAK_SEEDS)

SOAK_SEEDS ?= 10000

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
