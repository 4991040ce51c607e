# kfarm: `make demo` shows the whole path, `make test` passes the tests; both set themselves up.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
UV_VERSION := 0.13.8
UV := .tools/uv/bin/uv
RUN := .venv/bin
SOURCES := crds/src twin/src operator/src tests/controlplane/src
LINTED := $(SOURCES) tests scripts bench
# Processes that run tests; each starts a control plane of its own, about 1 GB with Kueue.
JOBS ?= 2
PARALLEL := -n $(JOBS) --dist loadfile

export UV_PROJECT_ENVIRONMENT := .venv
export KFARM_UV := $(CURDIR)/$(UV)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@echo "==> setting up uv $(UV_VERSION)"
	@$(PYTHON) scripts/bootstrap.py $(UV_VERSION) .tools/uv

.venv/.synced: $(UV) uv.lock pyproject.toml crds/pyproject.toml twin/pyproject.toml operator/pyproject.toml tests/controlplane/pyproject.toml
	@echo "==> installing the locked dependencies into .venv"
	@$(UV) sync --locked --all-groups --python $(PYTHON) --no-progress -q
	@touch $@

.PHONY: sync
sync: .venv/.synced ## Install uv and the locked dependencies

.PHONY: fmt
fmt: sync ## Format and fix what can be fixed
	$(RUN)/ruff format $(LINTED)
	$(RUN)/ruff check --fix $(LINTED)

.PHONY: lint
lint: sync ## Check formatting, lint and import layers
	$(RUN)/ruff format --check $(LINTED)
	$(RUN)/ruff check $(LINTED)
	$(RUN)/lint-imports

.PHONY: types
types: sync ## Check types
	$(RUN)/mypy $(SOURCES) scripts bench

.PHONY: generate
generate: sync ## Write the CRDs, the chart's copies and the generated docs
	$(RUN)/python -m kfarm_api.crd --output crds
	$(RUN)/python scripts/chart_sync.py
	$(RUN)/python scripts/docs_sync.py
	$(RUN)/python scripts/requirements_sync.py
	$(RUN)/python scripts/reliability.py --render

.PHONY: generated
generated: sync ## Fail when a generated file is stale
	$(RUN)/python -m kfarm_api.crd --check --output crds
	$(RUN)/python scripts/chart_sync.py --check
	$(RUN)/python scripts/docs_sync.py --check
	$(RUN)/python scripts/requirements_sync.py --check
	$(RUN)/python scripts/reliability.py --check
	$(UV) lock --check -q

.PHONY: policies
policies: sync ## Hold the rendered chart and the Dockerfile against checkov's rules
	@$(RUN)/python scripts/policy_checks.py

.PHONY: verify
verify: lint types generated policies ## Everything that CI checks before the tests
	@echo "==> verified: formatting, lint, layers, types, generated files, policies"

.PHONY: controlplane
controlplane: sync ## Build the control plane binaries that are missing (once; about ten minutes)
	@$(RUN)/python scripts/controlplane.py

.PHONY: prometheus
prometheus: sync ## Unpack Debian's Prometheus into the cache unless there is one (once; 19 MB)
	@$(RUN)/python scripts/prometheus.py

.PHONY: test
test: sync controlplane prometheus ## Run the tests, against real control planes, in JOBS processes
	$(RUN)/pytest $(PARALLEL)
	@echo
	@echo "==> next: make demo shows the whole path; docs/architecture.md explains it"

.PHONY: test-slow
test-slow: sync controlplane prometheus ## Run the long campaigns as well
	$(RUN)/pytest $(PARALLEL) -m "slow or not slow"

.PHONY: test-nojit
test-nojit: sync ## Run the kernels' tests as plain Python
	NUMBA_DISABLE_JIT=1 $(RUN)/pytest tests/unit/twin tests/property -m "not slow and not jit"

.PHONY: validation
validation: sync ## Hold the twin against published results; writes docs/validation.md
	$(RUN)/python scripts/validation.py

.PHONY: bench
bench: sync controlplane ## Measure; figures relative to a baseline of the same run
	$(RUN)/python bench/twin.py
	$(RUN)/python bench/traces.py
	$(RUN)/python bench/fill.py
	$(RUN)/python bench/kube.py
	$(RUN)/python bench/replay.py
	$(RUN)/python bench/heat_week.py
	$(RUN)/python bench/quotas.py
	$(RUN)/python bench/failures.py
	$(RUN)/python bench/energy.py
	$(RUN)/python bench/heat.py
	$(RUN)/python bench/assumptions.py
	$(RUN)/python bench/sweep.py
	$(RUN)/python bench/cluster.py
	$(RUN)/python bench/admission.py
	$(RUN)/python bench/operations.py
	$(RUN)/python bench/restart.py

.PHONY: bench-short
bench-short: sync ## The part of bench that needs no cluster
	$(RUN)/python bench/twin.py
	$(RUN)/python bench/traces.py --jobs 200000
	$(RUN)/python bench/failures.py --short
	$(RUN)/python bench/energy.py

.PHONY: reliability
reliability: sync controlplane ## Run the long campaigns and write their figures to docs/reliability.md
	$(RUN)/python scripts/reliability.py

.PHONY: wheels
wheels: sync ## Build the wheels into dist/; the same source gives the same bytes
	$(RUN)/python scripts/wheels.py dist

.PHONY: sbom
sbom: sync ## Write the bill of materials, CycloneDX, to dist/
	$(RUN)/python scripts/sbom.py dist/kfarm.cdx.json

.PHONY: advisories
advisories: sync ## Ask the public database for known vulnerabilities; fails when it cannot be asked
	$(UV) audit --locked --preview-features audit-command

.PHONY: image
image: sync controlplane ## Build the image with buildah and check it (root; IMAGE_BASE=--debootstrap without a registry)
	scripts/image_tools.sh
	$(RUN)/python scripts/image.py build $(IMAGE_BASE)
	$(RUN)/python scripts/image.py check --pods

.PHONY: demo
demo: sync controlplane ## Validate and release a 2,040-GPU training on a local control plane
	@$(RUN)/python scripts/demo.py

.PHONY: demo-keep
demo-keep: sync controlplane ## As demo, but leave the cluster and the operator running
	@$(RUN)/python scripts/demo.py --keep

.PHONY: drill
drill: sync controlplane ## Run the first failure drill on a local control plane of 566 nodes
	@$(RUN)/python scripts/drills.py first

.PHONY: drills
drills: sync controlplane ## Run the library of drills; records its figures in docs/drills.json and docs/validation.md
	@$(RUN)/python scripts/drills.py all --record docs/drills.json
	@$(RUN)/python scripts/drill_figures.py

.PHONY: drill-kind
drill-kind: sync ## Run the library on a kind cluster: made here with Docker, or that of KUBECONFIG
	@$(RUN)/python scripts/drill_kind.py

.PHONY: cluster
cluster: sync controlplane ## Start a local control plane and leave it running
	@$(RUN)/python -m kfarm_controlplane up

.PHONY: cluster-down
cluster-down: sync ## Stop what make cluster or make demo-keep started
	@$(RUN)/python scripts/demo.py --down
	@$(RUN)/python -m kfarm_controlplane down

.PHONY: crds
crds: generate ## Alias of generate

.PHONY: clean
clean: ## Remove the virtual environment and caches inside the tree
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
