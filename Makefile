# `make` explains itself. Everything is installed into .venv here; nothing else on the machine is
# touched but the user's cache, where Kafka's jars are kept.

VENV := .venv
BIN := $(VENV)/bin
# What only `make bench-rivals` needs, away from the product's own pins.
RIVALS := .venv-rivals
# The first Python of these that is new enough.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
# Two processes share one broker; more cores allow more.
WORKERS ?= 2
# Options for the program behind a target: make demo ARGS="--seed 7"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo run broker test check fmt bench bench-rivals crash faults simulate fanout kill soak schemas install kafka lock clean

help: ## Show this help
	@echo "Journey orchestrator. Needs Python 3.11+ and make; brings its own Kafka. Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 | \2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1   \2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime ## Play a day in the life of a small shop, with a worker killed in the middle
	@$(BIN)/orchestrator demo $(ARGS)

run: $(VENV)/.runtime ## Keep Kafka, topics, workers and the API up until Ctrl-C
	@$(BIN)/orchestrator run $(ARGS)

broker: $(VENV)/.runtime ## Run only the embedded Kafka until Ctrl-C
	@$(BIN)/orchestrator broker $(ARGS)

test: $(VENV)/.development kafka ## Run all tests, on a real Kafka (what CI runs)
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

check: $(VENV)/.development ## Run the quick part: format, lint, types, imports, tests without Kafka
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/orchestrator schemas --check schemas
	$(BIN)/orchestrator check journeys
	$(BIN)/pytest -q -n $(WORKERS) --dist worksteal -m "not kafka" $(ARGS)

fmt: $(VENV)/.development ## Format the code and fix what the linter can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(VENV)/.development kafka ## Measure latency and throughput beside the floor and stock Faust
	$(BIN)/python -m bench.run $(ARGS)

bench-rivals: $(VENV)/.development $(RIVALS)/.installed kafka ## Measure us beside Kafka Streams, Quix, Faust and bare loops, also under faults
	$(BIN)/python -m bench.rivals $(ARGS)

crash: $(VENV)/.development kafka ## Kill workers and the broker under load, then check every promise
	$(BIN)/python -m bench.crash $(ARGS)

simulate: $(VENV)/.development ## Crash a simulated cluster thousands of times: SEED=7 plays one history again
	@$(BIN)/python -m bench.simulation $(if $(SEED),--seed $(SEED)) $(ARGS)

faults: $(VENV)/.development kafka ## Play every fault that one machine allows, row by row, and write docs/faults.md
	$(BIN)/python -m bench.faults $(ARGS)

fanout: $(VENV)/.development kafka ## Measure order confirmations beside a fan-out of 200,000 promotions
	$(BIN)/python -m bench.senders fanout $(ARGS)

kill: $(VENV)/.development kafka ## Measure how soon `pause --kill` stops promotions that flow
	$(BIN)/python -m bench.senders kill $(ARGS)

soak: $(VENV)/.development $(RIVALS)/.installed kafka ## Let a worker run for an hour: do memory, descriptors, series and p99 stay flat?
	$(BIN)/python -m bench.soak $(ARGS)

schemas: $(VENV)/.development ## Write the schemas, the AsyncAPI and OpenAPI documents and the reference again
	$(BIN)/orchestrator schemas schemas
	$(BIN)/python -m orchestrator.catalog.reference > $(VENV)/journeys.md
	mv $(VENV)/journeys.md docs/journeys.md
	$(BIN)/orchestrator api --document docs/openapi.json
	$(BIN)/python -m tests.scenarios.table

install: $(VENV)/.development ## Install everything into .venv, pinned and with hashes

kafka: $(VENV)/.runtime
	@$(BIN)/python -m orchestrator.broker

lock: $(VENV)/.development ## Pin the newest allowed dependencies, and the jars of Kafka
	$(BIN)/pip install -q uv
	echo 'setuptools>=77' | $(BIN)/uv pip compile pyproject.toml - $(PIN) -o requirements.txt
	echo 'setuptools>=77' | $(BIN)/uv pip compile pyproject.toml - $(PIN) --extra dev --extra registry -c requirements.txt \
		-o requirements-dev.txt
	$(BIN)/python -m orchestrator.broker.lock > $(VENV)/kafka.json
	mv $(VENV)/kafka.json orchestrator/broker/kafka-4.3.1.json
	$(BIN)/uv pip compile bench/rivals/requirements.in $(PIN) -o bench/rivals/requirements.txt

PIN := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-header

clean: ## Remove what was installed and built here
	rm -rf $(VENV) $(RIVALS) bench/rivals/streams/target build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# A stamp says which pins are installed; changed pins install again.
$(VENV)/.runtime: requirements.txt pyproject.toml | $(VENV)/.created
	$(call install,requirements.txt)
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	$(call install,requirements-dev.txt)
	@touch $@

$(RIVALS)/.installed: bench/rivals/requirements.txt | $(VENV)/.created
	@echo "Installing bench/rivals/requirements.txt into $(RIVALS) ..."
	@$(BIN)/python -m venv $(RIVALS)
	@$(RIVALS)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	@touch $@

# The package itself needs no isolation: what builds it is pinned with the rest.
define install
@echo "Installing $(1) into $(VENV) ..."
@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(1)
@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
@$(BIN)/python -m pip check --disable-pip-version-check
endef

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, as python3" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
