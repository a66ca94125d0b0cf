# lofid: `make play` plays, `make test` tests. Each installs what it needs; the second time is quick.

PYTHON ?= python3
VENV ?= .venv
# Of its own: the tests' environment has a torch without CUDA.
GPU_VENV ?= .venv-gpu
BIN := $(VENV)/bin
# Handed on: make play ARGS="--preset rain --output file:rain.wav", make soak ARGS="--real-time"
ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := torch==2.13.0
# Needs nothing of the system but what playing needs, and less than a minute of two cores.
QUICK := $(addprefix tests/,compose music outputs tokens) --ignore tests/compose/test_lockstep.py
INPUTS := pyproject.toml constraints.txt lofid/system.py

.DEFAULT_GOAL := help
.PHONY: help play quick test gpu-test gpu-bench bench soak chaos fuzz record-report music-report mutation docs clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

play: $(VENV)/.play ## Install what playing needs, then play
	@$(BIN)/lofid play $(ARGS)

quick: $(VENV)/.quick ## Run linter, type checker and the tests of music and notes, in a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m 'not live' --numprocesses auto --dist loadfile $(QUICK)

test: $(VENV)/.test ## Run linter, type checker and every test, in 13 minutes on two cores
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m 'not live' --numprocesses auto --dist loadfile
	$(BIN)/pytest -m live

gpu-test: $(GPU_VENV)/.gpu ## Compare every kernel with float64 on this machine's GPU
	$(GPU_VENV)/bin/python -m bench.gpu_check --checks $(ARGS)

gpu-bench: $(GPU_VENV)/.gpu ## The same, then measure it and fill docs/performance.md, in nine minutes
	$(GPU_VENV)/bin/python -m bench.gpu_check --docs docs/performance.md $(ARGS)

bench: $(VENV)/.test ## Measure speed, memory and start-up on this machine
	$(BIN)/lofid bench all
	$(BIN)/python -m bench.run.processes $(ARGS)

soak: $(VENV)/.test ## Play 24 hours as fast as possible: bars, memory, descriptors
	$(BIN)/python -m bench.run.soak $(ARGS)

chaos: $(VENV)/.test ## Kill, steer and attack a daemon, and measure what is heard
	$(BIN)/python -m bench.run.chaos $(ARGS)

fuzz: $(VENV)/.test ## Read damaged files and messages by the thousand
	nice $(BIN)/python -m bench.run.fuzz $(or $(ARGS),all)

mutation: $(VENV)/.test ## Make small faults in a copy of the code: which do the tests not see?
	nice $(BIN)/python -m bench.run.mutation $(ARGS)

record-report: $(VENV)/.test ## Measure whether what is played sounds like a record
	$(BIN)/python -m bench.run.record_report $(ARGS)

music-report: $(VENV)/.test ## Measure the music beside human playing
	$(BIN)/python -m bench.run.music_report $(ARGS)

docs: $(VENV)/.test ## Build the pages as a site in build/site
	$(BIN)/python scripts/build_site.py build/site

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) $(GPU_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps below say what the environment holds; they go stale when what they install changes.

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || \
	  { echo "Python is not installed; install python3 (3.11 or newer)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m lofid.system play
	$(PYTHON) -m venv $(VENV)

$(VENV)/.play: $(INPUTS) | $(VENV)/bin/python
	@$(PYTHON) -m lofid.system play
	$(PIP) install -c constraints.txt -e .
	@touch $@

# On Linux the default torch brings gigabytes of CUDA. Where pip's own index has no CPU build,
# take it from PyTorch's index of CPU builds.
$(VENV)/.quick: $(INPUTS) | $(VENV)/bin/python
	@$(PYTHON) -m lofid.system play
	@if [ "$$(uname -s)" != Linux ] || $(PIP) index versions torch 2>/dev/null | grep -q '2\.13\.0+cpu'; \
	  then extra=; else extra="--extra-index-url https://download.pytorch.org/whl/cpu"; fi; \
	set -x; $(PIP) install -c constraints.txt $(TORCH) $$extra
	$(PIP) install -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.play

$(VENV)/.test: $(VENV)/.quick
	@$(PYTHON) -m lofid.system test
	@touch $@

$(GPU_VENV)/.gpu: $(INPUTS)
	@$(PYTHON) -m lofid.system gpu
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip --disable-pip-version-check install -c constraints.txt -e '.[gpu,report]'
	@touch $@
