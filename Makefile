# Everything a person types. `make help` says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The newest Python that works. It is run rather than only looked up, because a version manager's shim may stand for
# a version that is not there; ensurepip, because some systems ship Python without it. `make setup PYTHON=…` overrides.
PYTHON ?= $(shell for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)

.PHONY: help
help:  ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-9s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(STAMP)  ## Everything into .venv (Python 3.11 or newer), each package checked against its hash

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (on Debian: python3-venv); none was found." >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "Creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing packages (2 GB on disk, a minute after their download)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# Where bytecode is not kept, each command would compile all of ours again.
	@$(BIN)/python -m compileall -q pipeline detectors schemas
	@touch $@

.PHONY: run
run: $(STAMP)  ## Replay real agent sessions and watch alerts appear; FOR=60 stops after 60 seconds and sums up
	@$(BIN)/tacho up $(if $(FOR),--for $(FOR))

# Hundreds of tests start a stage: each would compile all of ours again where bytecode is not kept.
.PHONY: test
test: export PYTHONDONTWRITEBYTECODE :=
test: export TACHO_TEST_EXAMPLES := $(EXAMPLES)
test: $(STAMP)  ## All tests, four at a time; what is skipped is listed with its reason. ARGS="-k name" narrows, SEED=7 reorders, EXAMPLES=all asks more
	@$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder --randomly-seed=$(or $(SEED),1) $(ARGS)

.PHONY: check
check: $(STAMP) .mypy/tachograph  ## Lint, format and types (ruff, mypy --strict); all three run, whatever one finds
	@status=0; \
	$(BIN)/ruff check . || status=1; \
	$(BIN)/ruff format --check . || status=1; \
	$(BIN)/mypy || status=1; \
	exit $$status

# mypy does not read setuptools' package-dir: it gets the same mapping as a folder of links.
.mypy/tachograph:
	@mkdir -p $@
	@for tree in pipeline detectors schemas; do ln -sfn ../../$$tree $@/$$tree; done

.PHONY: kafka
kafka: $(STAMP)  ## One Apache Kafka node (KRaft) on 127.0.0.1:9092, data in .cache/kafka/data; PORT=… moves it
	@exec $(BIN)/python -m infra.kafka.broker $(if $(PORT),--port $(PORT))

.PHONY: collector
collector: $(STAMP)  ## An OpenTelemetry Collector that writes to Kafka, built by Go into .cache/otelcol
	@$(BIN)/python -m infra.collector.build

.PHONY: bench
bench: $(STAMP)  ## Events/s and core-µs an event of every stage, on one real broker; ARGS=--quick is shorter
	@$(BIN)/python -m infra.bench $(ARGS)

.PHONY: quality
quality: $(STAMP)  ## How well sessions are judged, into docs/detection-quality.md; ARGS=--train trains the model first
	@$(BIN)/python -m infra.quality $(ARGS)

.PHONY: quality-behaviour
quality-behaviour: $(STAMP)  ## How well behaviour is judged on composed fleets, into docs/detection-quality.md
	@$(BIN)/python -m infra.quality.behaviour $(or $(ARGS),--seed 41 --intensity 0.5 1 2 0.25 --page)

.PHONY: lock
lock: $(STAMP)  ## Resolve requirements.lock again, for every supported Python and system
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command 'make lock' --extra server --extra dev \
		--output-file requirements.lock $(if $(UPGRADE),--upgrade) pyproject.toml
	@if grep -nE 'https?://|index-url|find-links' requirements.lock; then echo "The lock names a host" >&2; exit 1; fi

.PHONY: clean
clean:  ## Remove .venv, caches and build products; data in .tacho and the broker in .cache stay
	@rm -rf $(VENV) .mypy .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	@find pipeline detectors schemas tests infra -name __pycache__ -type d -prune -exec rm -rf {} +
