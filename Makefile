# Every target does its own set-up: a virtual environment in .venv, and the system's packages when root.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYX := $(wildcard proxy/dataplane/*.pyx proxy/dataplane/*.pxd)

.PHONY: demo test test-kube soak kube-soak check bench bench-smoke test-asan image-check kube build format clean help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml setup.py scripts/setup
	@scripts/setup $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.ready $(PYX)
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

build: $(VENV)/.built ## Set up the environment and compile the data plane

demo: build ## Show the problem and the cure on real gRPC traffic (about a minute)
	@$(BIN)/meshctl demo

test: build ## Run the tests (under ten minutes)
	@$(BIN)/python -m pytest

soak: build ## Run the tests of memory and of mutated frames at full size (a few minutes)
	@MESHCTL_MEMORY_CALLS=1000000 MESHCTL_FUZZ_FRAMES=1000000 MESHCTL_ROLLOUT_S=60 MESHCTL_ADMISSION_PODS=2000 $(BIN)/python -m pytest -s tests/memory tests/attack/test_fuzz.py tests/netns/test_mesh_rollout.py tests/unit/controller/test_webhook_pods.py

check: build ## Format check, lint, types, import layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@PATH=$(CURDIR)/$(BIN):$$PATH cython-lint proxy/dataplane
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test-kube: build ## Run the tests on a real Kubernetes API server, with pods as network namespaces (some minutes)
	@$(BIN)/python -m pytest -m kube tests/kube

kube: ## Build the Kubernetes API server that tests/kube runs (once, with Go; a few minutes)
	@scripts/kube

kube-soak: build kube ## The demo on a cluster of network namespaces for longer, and how fast calls follow the API (root; minutes)
	@MESHCTL_KUBE_ROUNDS=10 MESHCTL_KUBE_AWAY_S=60 MESHCTL_KUBE_CHANGES=100 $(BIN)/python -m pytest -m kube -s tests/kube/test_demo.py tests/kube/test_latency.py tests/kube/test_sidecars.py

format: build ## Format the Python code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: build ## Measure the proxy beside its peers (about seventy minutes)
	@$(BIN)/python -m benchmarks

bench-smoke: build ## Run each benchmark for a second; asserts no timing
	@$(BIN)/python -m benchmarks --smoke

test-asan: $(VENV)/.ready ## Run the tests on an AddressSanitizer build of the data plane
	@scripts/test-asan $(VENV)

image-check: build ## Build the images' contents in a bare Debian, run them, show their sizes (root; a few minutes)
	@command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
	@$(BIN)/python -m pytest -m image tests/image

clean: ## Remove what was built
	rm -rf build $(VENV) proxy/dataplane/*.so *.egg-info
