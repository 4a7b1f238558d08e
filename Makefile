# Khala Studio. Two commands matter:  make run   (sets up, sings the demo)      make test   (sets up, tests)

PY     ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
LYRICS ?= resources/lyrics/demo.txt
OUT    ?= out/demo

# ONNX Runtime for an NVIDIA GPU where one answers, else for the CPU; never both.
RUNTIME := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
OTHER   := $(if $(filter gpu,$(RUNTIME)),onnxruntime,onnxruntime-gpu)

# The stamps are named for a hash of what they install from: a change installs anew, a broken install never counts.
INPUTS := pyproject.toml packaging/constraints.txt packaging/system-packages.txt packaging/system-packages.sh Makefile
HASH   := $(RUNTIME)-$(shell cat $(INPUTS) | (sha256sum 2>/dev/null || shasum -a 256) | cut -c1-12)
STAMP  := $(VENV)/.ok-$(HASH)
TRAIN  := $(VENV)/.ok-train-$(HASH)
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
LIMITS := -c packaging/constraints.txt

.PHONY: run studio test test-train check setup setup-train starter clean

run: $(STAMP)  ## the demo's lyrics become a song in out/demo
	$(BIN)/khala-studio generate $(LYRICS) -o $(OUT) --force

studio: $(STAMP)  ## the window
	$(BIN)/khala-studio

test: check  ## everything that needs no torch
	$(BIN)/python -m pytest -m "not train"

test-train: $(TRAIN)  ## the rest: training, export, parity
	$(BIN)/python -m pytest -m train

check: $(STAMP)  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(STAMP)

setup-train: $(TRAIN)

$(STAMP):
	sh packaging/system-packages.sh
	$(PY) -m venv $(VENV)
	rm -f $(VENV)/.ok-*
	$(PIP) uninstall -y $(OTHER) 2>/dev/null || true
	$(PIP) install $(LIMITS) -e ".[$(RUNTIME),test]"
	touch $@

# torch first and alone, so that the wheel for this machine is the one taken. tinysoundfont without its
# dependencies: it asks for pyaudio, which needs a compiler and plays sound that nobody here hears.
# faster-whisper pulls in the CPU runtime, so the chosen one is put back last.
$(TRAIN): $(STAMP)
	$(PIP) install torch==2.13.0
	$(PIP) install $(LIMITS) -e ".[$(RUNTIME),test,train]"
	$(PIP) install --no-deps tinysoundfont==0.3.7
ifeq ($(RUNTIME),gpu)
	$(PIP) uninstall -y onnxruntime onnxruntime-gpu
	$(PIP) install $(LIMITS) -e ".[gpu]"
endif
	touch $@

# Makes the starter pack anew, in about three hours on two cores; steps that are done are not done again.
# The corpus needs npm and the Debian package fluid-soundfont-gm.
STEP := $(BIN)/khala-studio train
starter: $(TRAIN)  ## songs, codec, both models, pack, table
	$(STEP) tokenizer
	$(STEP) corpus --hours 1.9
	$(STEP) codec --minutes 58
	$(STEP) tokens
	$(STEP) backbone --layers 6 --tokens 2048 --dropout 0.05 --minutes 64
	$(STEP) superres --tokens 2048 --dropout 0 --causal-share 0.15 --warmup 30 --minutes 20
	$(STEP) export -o train/starter --replace --superres-precision int8-int4 --superres-sampling 0.5 10 --obeys genre voice mood instrument kind
	$(STEP) evaluate --pack train/starter --out train/evaluation

clean:
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
