# mtls-lab: `make help` says what there is.
LAB ?= two-host
TOPOLOGY = fixtures/labs/$(LAB).yaml
LABS = $(wildcard fixtures/labs/*.yaml)
PYTHON = .venv/bin/python
MTLS_LAB = $(PYTHON) -m topology
JUNIT ?=
PART ?=
junit = $(if $(JUNIT),--junit-xml="$(JUNIT)/$(1).xml")
CLIENTS_PAGE = snippet all fixtures/labs/two-host.yaml --host server --as bro --published

# Tests are loaded by each of their processes: what one has compiled, the others, and the next run, need not.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install packages lab-up lab-down status check generate generate-check test test-fast screenshots lint bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  LAB=NAME chooses a lab of fixtures/labs (default two-host)"
	@echo "  PART=costs or PART=evidence measures that alone with bench (costs builds the images anew)"
	@echo "  JUNIT=FOLDER writes there what the tests of test and test-fast say, as JUnit"

install: ## everything that the lab needs on this machine
	@.setup/install

packages: ## the Python packages alone
	@.setup/install packages

lab-up: install ## bring the lab up, proven ready, and show it working
	@$(MTLS_LAB) up $(TOPOLOGY)
	@$(MTLS_LAB) check $(TOPOLOGY)

lab-down: packages ## remove all that lab-up started
	@$(MTLS_LAB) down $(TOPOLOGY)

status: packages ## what runs, and where it listens
	@$(MTLS_LAB) status $(TOPOLOGY)

check: packages ## every caller on every route of the running lab
	@$(MTLS_LAB) check $(TOPOLOGY)

generate: packages ## write the stacks that are checked in, and the pages of docs/ that follow from code
	@for lab in $(LABS); do $(MTLS_LAB) generate $$lab || exit $$?; done
	@$(MTLS_LAB) $(CLIENTS_PAGE) > docs/clients.md.new && mv docs/clients.md.new docs/clients.md
	@$(PYTHON) -m topology.report.reference > docs/topology.md.new && mv docs/topology.md.new docs/topology.md
	@$(PYTHON) -m topology.report.linting > docs/lint.md.new && mv docs/lint.md.new docs/lint.md
	@$(MTLS_LAB) schema > docs/topology.schema.json.new && mv docs/topology.schema.json.new docs/topology.schema.json

generate-check: packages ## fail where a checked-in stack or page is not what it follows from
	@for lab in $(LABS); do $(MTLS_LAB) generate --check $$lab || exit $$?; done
	@$(MTLS_LAB) $(CLIENTS_PAGE) | diff docs/clients.md -
	@$(PYTHON) -m topology.report.reference | diff docs/topology.md -
	@$(PYTHON) -m topology.report.linting | diff docs/lint.md -
	@$(MTLS_LAB) schema | diff docs/topology.schema.json -

test: install lint generate-check ## everything: style, fast tests, labs brought up and proven
	@$(PYTHON) -m pytest -q -n auto --dist worksteal --ignore=tests/integration $(call junit,fast)
	@$(PYTHON) -m pytest -v -m integration $(call junit,integration)

test-fast: packages ## the tests that need no engine
	@$(PYTHON) -m pytest -q -n auto --dist worksteal --ignore=tests/integration $(call junit,fast)

bench: install ## what labs cost, and what the proof is worth; writes docs/benchmarks.md and docs/evidence.md
	@$(PYTHON) -m tests.bench $(PART)

screenshots: packages ## take the pictures of docs/images again
	@$(PYTHON) -m tests.integration.screenshots docs/images

lint: packages ## style and types
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m ruff format --quiet --check .
	@$(PYTHON) -m mypy
