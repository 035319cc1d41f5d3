# The two commands that matter are `make demo` and `make test`; both set up whatever they need first.
.DEFAULT_GOAL := help
.PHONY: help setup apiserver manifest-tools manifests deploy-check sbom demo tools test lint format bench fuzz faults soak docs site licences audit lock clean
SHELL := /bin/sh
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):/usr/sbin:/sbin:$(PATH)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: requirements.lock pyproject.toml deploy/setup/venv.sh
	@deploy/setup/venv.sh
	@touch $@

setup: .venv/.ready ## install everything that the other targets need
	@deploy/setup/debian.sh
	@$(BIN)/python deploy/setup/build_ebpf.py

demo: setup ## the whole path on real traffic: lab, collectors, pipeline, Prometheus, and a check against the truth
	@$(BIN)/flowatlas demo $(or $(ARGS),$(DEMO_ARGS))

apiserver: .cache/kube-apiserver ## build the API server that the watcher is tested against (needs Go)

.cache/kube-apiserver: deploy/setup/apiserver.sh deploy/setup/apiserver/go.mod deploy/setup/apiserver/go.sum
	@deploy/setup/apiserver.sh $@

manifest-tools: .cache/manifest-tools/helm ## build helm and kustomize, which render manifests (needs Go)

.cache/manifest-tools/helm: deploy/setup/manifests.sh deploy/setup/manifests/go.mod deploy/setup/manifests/go.sum
	@deploy/setup/manifests.sh $(@D)

.cache/checkov/bin/checkov: deploy/check/checkov.lock | .venv/.ready
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/checkov
	@VIRTUAL_ENV=.cache/checkov $(BIN)/uv pip install --quiet --require-hashes -r $<
	@touch $@

.cache/sbom/bin/cyclonedx-py: deploy/check/sbom.lock | .venv/.ready
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/sbom
	@VIRTUAL_ENV=.cache/sbom $(BIN)/uv pip install --quiet --require-hashes -r $<
	@touch $@

sbom: .venv/.ready .cache/sbom/bin/cyclonedx-py ## what the images hold, as CycloneDX, into dist/
	@mkdir -p dist
	@for image in collector pipeline; do \
	    rm -rf .cache/images/$$image && deploy/images/install.sh $$image .cache/images/$$image && \
	    .cache/sbom/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file dist/sbom-$$image.cdx.json \
	        .cache/images/$$image/bin/python || exit 1; \
	done

deploy-check: setup apiserver manifest-tools .cache/checkov/bin/checkov ## every way to install against schemas, a real API server and checkov
	@$(BIN)/python -m tests.deploy_check

manifests: .venv/.ready manifest-tools ## render the chart into deploy/kustomize
	$(BIN)/python -m deploy.render

CHECKOV := .cache/checkov/bin/checkov
SBOM := .cache/sbom/bin/cyclonedx-py
# Between them these have every test once. They are apart by what they wait for: a lab, the processor, a fault, a broker.
# Each wants the tools that its tests' markers name, and no more, so that the others need not wait for what Go builds.
PARTS := test-pipeline test-faults test-lab test-kafka test-brokers test-others test-processes
.PHONY: $(PARTS)

tools: setup apiserver manifest-tools $(CHECKOV) $(SBOM) ## install and build everything that any test runs

ifeq ($(CI)$(ARGS),true)
test: $(PARTS)  # as many at a time as --jobs says, the longest first
else
test: tools ## all tests; ARGS='-k name' picks some
	$(BIN)/pytest $(ARGS)
endif

test-pipeline: setup
	$(BIN)/pytest tests/pipeline

test-lab: setup manifest-tools
	$(BIN)/pytest tests/integration -m 'root and not kafka'

test-others: setup manifest-tools $(CHECKOV)
	$(BIN)/pytest --ignore=tests/integration --ignore=tests/faults --ignore=tests/pipeline

test-faults: setup
	$(BIN)/pytest tests/faults -m 'not kafka'

test-brokers: setup
	$(BIN)/pytest tests/faults -m kafka

test-kafka: setup apiserver
	$(BIN)/pytest tests/integration -m kafka

test-processes: setup apiserver manifest-tools $(CHECKOV) $(SBOM)
	$(BIN)/pytest tests/integration -m 'not root and not kafka'

lint: .venv/.ready ## style, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.ready ## put the code into the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## print one JSON line a figure, and the machine it ran on
	@$(BIN)/python -m tests.bench

fuzz: .venv/.ready ## what foreign bytes come to, a minute a target; ARGS='600 capture' is longer and one
	@$(BIN)/python -m tests.fuzz $(ARGS)

faults: setup ## the faults of docs/explanation/faults.md and what came of each; ARGS='2 7' picks rows
	@$(BIN)/python -m tests.faults $(ARGS)

soak: setup ## random faults for half an hour, and whether anything grows; ARGS='SECONDS SEED RATE' says otherwise
	@$(BIN)/python -m tests.faults.soak $(ARGS)

docs: .venv/.ready ## write what is generated: dashboards, rules, reference pages, notebooks
	$(BIN)/flowatlas dashboards build
	$(BIN)/flowatlas rules build
	$(BIN)/python -m docs.generate
	$(BIN)/python -m notebooks.build

site: .venv/.ready ## the docs as a site in build/site; a dead link fails
	$(BIN)/python -m sphinx -W --keep-going -q docs build/site

licences: .venv/.ready ## the licence of everything that is installed with Flowatlas
	@$(BIN)/python -m tests.packaging.licences

audit: .venv/.ready ## known vulnerabilities of what is locked (asks the package index for them)
	@$(BIN)/uv tool run pip-audit --disable-pip --require-hashes -r requirements.lock

lock: .venv/.ready ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 pyproject.toml --group dev --all-extras -o requirements.lock --quiet

clean: ## remove what the targets made here
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-output dist build collector/ebpf/*.bpf.o
