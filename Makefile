# Every command of the project. They need bash, Python 3.11+ and `make`; what else they use is installed by uv, which is
# taken from PATH, or installed into .uv at the version pinned here.
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast compose-test scenarios check lock-check lint types fix docs docs-site dashboards rules \
  stack dist test-dist test-lowest test-pythons bench bench-servers clean
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

UV_VERSION := 0.13.9
UV := $(shell command -v uv || echo .uv/bin/uv)
OWN_UV := $(filter .uv/bin/uv,$(UV))
PYTHON := python3
RUN := $(UV) run --frozen --no-sync
SIDE_BY_SIDE := -n auto --dist loadfile
# Images for containers like to forbid bytecode; here each of many processes would compile all libraries for itself.
export PYTHONDONTWRITEBYTECODE :=
PYTHON_FOLDERS := service telemetry grafana prometheus tests benchmarks docs

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "%-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.synced  ## train, serve, replay flights; ARGS="--duration 20" ends by itself
	@$(RUN) sightline demo $(ARGS)

# Tests run on all cores side by side, so the threads of one operation would only wait for each other.
test test-fast: export OMP_NUM_THREADS := 1

# Measuring branches makes Python slower, so only the tests of the two packages are measured, and only all of them.
MEASURED := tests/service tests/stack tests/telemetry service telemetry

test: stack .venv/.synced  ## every test, those on the real collector too, with branch coverage; ARGS="-k WORD" for some
ifdef ARGS
	$(RUN) pytest $(SIDE_BY_SIDE) $(ARGS)
else
	$(RUN) pytest $(SIDE_BY_SIDE) -o testpaths="tests grafana prometheus" $(patsubst %,--ignore=%,$(filter tests/%,$(MEASURED)))
	@$(RUN) coverage erase
	$(RUN) coverage run -m pytest $(SIDE_BY_SIDE) $(MEASURED)
	@$(RUN) coverage combine --quiet
	$(RUN) coverage report
endif

test-fast: .venv/.synced  ## tests that need no stack, in under a minute
	$(RUN) pytest $(SIDE_BY_SIDE) -m "not stack and not slow" $(ARGS)

compose-test: .venv/.synced  ## the stack of docker-compose.yaml, once through; needs Docker
	tests/compose/run.sh

scenarios: .venv/.synced  ## simulate each scenario on the stack: which alerts fire, when, and the way to a trace
	$(RUN) python -m tests.stack.scenarios $(ARGS)

check: lock-check lint types  ## formatting, lint, types, lock file

lock-check: | $(OWN_UV)
	$(UV) lock --check

lint: .venv/.synced
	$(RUN) ruff format --check $(PYTHON_FOLDERS)
	$(RUN) ruff check $(PYTHON_FOLDERS)

types: .venv/.synced
	$(RUN) mypy $(PYTHON_FOLDERS)

fix: .venv/.synced  ## format, and mend what the linter can mend
	$(RUN) ruff format $(PYTHON_FOLDERS)
	$(RUN) ruff check --fix $(PYTHON_FOLDERS)

dashboards: .venv/.synced  ## write grafana/dashboards/*.json from the Python beside it
	$(RUN) python -W "ignore:Prefer using dashboardv2" -m grafana.write

rules: .venv/.synced  ## write prometheus/rules/*.yaml from the Python beside it; WINDOW=24h
	$(RUN) python -m prometheus.write $(if $(WINDOW),--window $(WINDOW))

docs: .venv/.synced  ## the pages that are made from code
	$(RUN) python docs/metrics.py
	$(RUN) python docs/settings.py
	$(RUN) python docs/otel.py
	$(RUN) python docs/alerts.py

docs-site: export UV_PROJECT_ENVIRONMENT := .site/venv
docs-site:  ## the documents as a site in .site/html; a dead link fails
	@$(UV) sync --frozen --quiet --only-group docs
	.site/venv/bin/python docs/site.py

stack: | $(OWN_UV)  ## build collector, Prometheus, Jaeger and VictoriaMetrics into a cache, once
	@UV=$(abspath $(UV)) tests/stack/build.sh >/dev/null

dist: | $(OWN_UV)  ## build the wheel and the source distribution of both packages into dist/
	rm -rf dist
	$(UV) build --quiet --all-packages --out-dir dist
	@ls dist

test-dist: dist .venv/.synced  ## install the wheels beside a project of a user's, and use them as its users do
	$(RUN) pytest -m dist tests/packaging $(ARGS)

LOWEST := .environments/lowest
test-lowest: | $(OWN_UV)  ## the library and the pipelines on the lowest versions that pyproject.toml claims
	@$(UV) venv --quiet --clear --python 3.11 $(LOWEST)
	@$(UV) pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --group dev \
	  --editable telemetry --editable 'service[contrib,demo,grpc,parquet,postgresql]'
	$(LOWEST)/bin/python -m pytest $(SIDE_BY_SIDE) -m "not stack and not dist" $(LOWEST_TESTS) $(ARGS)
LOWEST_TESTS := tests/telemetry tests/service/test_any_pipeline.py tests/service/prediction tests/service/bundles \
  tests/service/feedback

test-pythons: | $(OWN_UV)  ## the library's tests on every Python from 3.11 on that the machine has
	@UV=$(abspath $(UV)) ONLY=$(ONLY) $(PYTHON) tests/packaging/pythons.py $(SIDE_BY_SIDE) $(ARGS)

bench: .venv/.synced  ## what is claimed in figures, measured here; ARGS="parts" for a chapter, ARGS=--quick to try
	$(RUN) python -m benchmarks.bench $(ARGS)

BENCH_CACHE ?= $(HOME)/.cache/sightline-bench
bench-servers:  ## the servers of others to compare with, and the profiler, each in an environment of its own
	@for name in litserve bentoml mlserver tools; do \
	  $(UV) venv --quiet --allow-existing --python 3.11 $(BENCH_CACHE)/$$name; \
	  $(UV) pip install --quiet --python $(BENCH_CACHE)/$$name/bin/python \
	    --requirement benchmarks/apps/$$name.txt; \
	done
	@cargo install oha@1.16.0 --quiet --locked --root $(BENCH_CACHE)/tools  # open loop, with corrected latencies

clean:  ## forget the environment and the demo's bundle
	rm -rf .venv .uv .environments .site .sightline .mypy_cache .ruff_cache .pytest_cache .coverage dist

.venv/.synced: uv.lock pyproject.toml service/pyproject.toml telemetry/pyproject.toml | $(OWN_UV)
	@$(UV) sync --frozen --quiet
	@touch $@

# Newer than this file, or made again: UV_VERSION may have changed.
.uv/bin/uv: Makefile
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --no-input --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@
