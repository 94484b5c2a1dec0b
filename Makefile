# Every target does its own set-up; a newcomer needs Python 3.11+ and make (for e2e also Go and Java 17).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test lint lock e2e e2e-full bench format clean
help:
	@echo "make demo   gangs on an embedded cluster, live in the terminal"
	@echo "make test   unit, property and wire tests"
	@echo "make e2e    real etcd, kube-apiserver, kube-scheduler and spark-submit (needs Go and Java 17)"
	@echo "make e2e-full  the same, and what make e2e leaves out: more failures, both Spark versions, the Kubernetes before"
	@echo "make bench  speed of the webhooks, as table and JSON"
	@echo "make lint   ruff, pyright, import rules"

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: $(STAMP)
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

lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	(echo '# Every package that make installs, pinned; made from pyproject.toml by: make lock'; \
	  .venv-lock/bin/python -m pip freeze --exclude carbon-scheduler) > requirements.lock
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

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
