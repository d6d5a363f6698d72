# Everything sets itself up: `make demo` and `make test` need nothing but Debian 12 (or another
# system with Python 3.11 or newer, make and git).
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := .stamps
PYTEST ?= $(BIN)/python -m pytest
# Tests that compute, which run on all cores.
NO_CLOCK := $(addprefix tests/,core docs feasibility manifests policy sim simulate)
# Real workers and services, measured or at their deadlines: two at a time, or they would measure each other.
WORKERS := $(addprefix tests/,accuracy demo ha service)
# All others have real brokers and the real clock, and mostly wait: more of them than there are cores.
CLOCK := $(filter-out $(NO_CLOCK) $(WORKERS) tests/conftest.py tests/__pycache__,$(wildcard tests/*))
# Environments of policies/examx.yaml: name, namespace, and KEDA's client certificate where it comes with one.
RENDERED := production:examx:celery-scaler uat:examx-uat:celery-scaler staging:examx-staging:celery-scaler \
	development:examx-development:

# Each with a target of its own.
LONG_BENCHES := sizing seeds takeover draining

.PHONY: help demo test test-deep check bench bench-takeover bench-sizing bench-sizing-seeds bench-sizing-random bench-draining seed-claims accuracy lint types render proto proto-check format lock services clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(STAMPS)/venv ## Play an email spike: embedded broker, real workers, a stand-in for KEDA (2 min, no cluster)
	$(BIN)/celery-scaler demo

test: $(STAMPS)/venv services ## Run all tests, on real RabbitMQ and Redis
	$(PYTEST) --numprocesses auto --dist worksteal $(NO_CLOCK)
	$(PYTEST) --numprocesses 4 --dist worksteal $(CLOCK) --durations 10
	$(PYTEST) --numprocesses 2 --dist worksteal $(WORKERS) --durations 5

test-deep: $(STAMPS)/venv ## The core's properties with 10,000 examples each
	HYPOTHESIS_PROFILE=deep $(PYTEST) tests/core --timeout 3600

check: lint types proto-check test ## All that CI runs

bench: $(STAMPS)/venv ## Measure: calls per second, decisions per second (ratios within one run)
	@for file in $(filter-out $(LONG_BENCHES:%=benchmarks/bench_%.py),$(wildcard benchmarks/bench_*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

bench-takeover: $(STAMPS)/venv ## Kill the leader of three services 20 times (6 min): how long until another one decides
	$(BIN)/python benchmarks/bench_takeover.py

bench-sizing: $(STAMPS)/venv ## Play every trace with every controller (2 min), write docs/sizing.md
	$(BIN)/python benchmarks/bench_sizing.py

bench-sizing-seeds: $(STAMPS)/venv ## The same with other seeds, rates, service times, starts (15 min), write docs/sizing-robustness.md
	$(BIN)/python benchmarks/bench_seeds.py

bench-sizing-random: $(STAMPS)/venv ## Random traces that nobody has tuned for (5 min), write docs/sizing-random.md
	$(BIN)/python benchmarks/bench_random.py

bench-draining: $(STAMPS)/venv ## Play a hundred random scale-ins with and without regard for tasks (2 min), write docs/draining.md
	$(BIN)/python benchmarks/bench_draining.py --write

seed-claims: $(STAMPS)/venv ## Certify every claim of the ExamX spike guide, write docs/seed-claims.md
	$(BIN)/python -m loadtest.seed_claims

accuracy: $(STAMPS)/venv services ## Measure the readings on real brokers and workers (10 min), write docs/accuracy.md
	$(BIN)/python -m loadtest.accuracy

lint: $(STAMPS)/venv ## Style, import layers, unused dependencies, module sizes, YAML
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/yamllint --strict policies manifests scaler/demo
	$(BIN)/python scripts/check_module_size.py

types: $(STAMPS)/venv ## mypy --strict
	$(BIN)/mypy

format: $(STAMPS)/venv ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(STAMPS)/venv ## Generate scaler/pb from proto/
	VENV=$(VENV) scripts/generate-proto.sh scaler/pb

proto-check: $(STAMPS)/venv ## Fail if scaler/pb is not what proto/ generates
	VENV=$(VENV) scripts/check-proto.sh

render: $(STAMPS)/venv ## Write what follows from policies/ into manifests/overlays
	@for line in $(RENDERED); do IFS=: read -r environment namespace authentication <<<"$$line"; \
	  $(BIN)/celery-scaler render --policies policies/examx.yaml --environment "$$environment" \
	    --scaler-address "celery-scaler.$$namespace.svc:9090" --trigger-authentication "$$authentication" \
	    --output "manifests/overlays/$$environment/rendered" || exit 1; done

lock: $(STAMPS)/venv ## Resolve the dependencies anew into requirements/
	scripts/lock.sh $(BIN)/uv

services: ## Install RabbitMQ, Redis and promtool where they are missing and we may
	scripts/install-services.sh --promtool

$(STAMPS)/venv: pyproject.toml requirements/dev.lock scripts/make-venv.sh
	scripts/make-venv.sh $(PYTHON) $(VENV)
	@mkdir -p $(STAMPS) && touch $@

clean: ## Remove the environment and all caches
	rm -rf $(VENV) $(STAMPS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
