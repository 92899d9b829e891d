# Two commands for people: `make demo` shows the program at work, `make test` proves it. Each sets itself up in .venv.
#
# Versions are pinned in .ci/constraints.txt. torch is installed first and from its pin: where the package index offers
# a CPU build that is all a machine without an NVIDIA GPU needs. PIP_ARGS passes options on to pip, such as the address
# of PyTorch's CPU wheels.

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := .ci/constraints.txt
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -q $(PIP_ARGS) -c $(CONSTRAINTS)

export QT_QPA_PLATFORM ?= offscreen

.PHONY: demo test test-slow lint bench screenshots clean

demo: $(VENV)/ready
	$(BIN)/medsam3 demo --output demo-output

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

# What takes minutes: a full-size SAM 3 with random weights through every format.
test-slow: $(VENV)/ready-for-tests
	$(BIN)/python -m pytest -m slow

# Takes an hour and 10 GB of memory, and writes the tables of docs/performance.md.
bench: $(VENV)/ready-for-tests
	$(BIN)/python benchmarks/write_tables.py
	$(BIN)/python benchmarks/agent_timings.py
	PYTHONPATH=MedSAM3Segment:MedSAM3Agent:Testing $(BIN)/python benchmarks/panel_latency.py

# Pictures of the panel and of results for the README, drawn without a window.
screenshots: $(VENV)/ready-for-tests
	PYTHONPATH=MedSAM3Segment:MedSAM3Agent:Testing $(BIN)/python scripts/make_screenshots.py

lint: $(VENV)/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=MedSAM3Segment:MedSAM3Agent $(BIN)/lint-imports --no-cache

clean:
	rm -rf $(VENV) demo-output

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; call make PYTHON=/path/to/python3.11."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/ready: $(VENV)/python pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/ready-for-tests: $(VENV)/ready
	$(PIP_INSTALL) --editable '.[test]'
	touch $@
