# One environment in .venv for everything. Stamps make the second run of a target fast.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.PHONY: demo test check format docs clean

demo: $(RUN_STAMP)  ## speak a Chinese and an English sentence with the bundled model
	$(BIN)/glmtts say "你好，世界。很高兴认识你。" -o demo_zh.wav
	$(BIN)/glmtts say "Hello, world. It is nice to meet you." -o demo_en.wav
	@printf '%s\n' "$(CURDIR)/demo_zh.wav" "$(CURDIR)/demo_en.wav"

test: $(DEV_STAMP)  ## the tests, offline, on the CPU
	$(BIN)/python -m pytest -q

check: $(DEV_STAMP)  ## style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(DEV_STAMP)  ## what `check` can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV_STAMP)  ## write docs/cli.md from the commands' --help
	$(BIN)/python docs/cli_reference.py > docs/cli.tmp
	mv docs/cli.tmp docs/cli.md

clean:  ## remove the environment
	rm -rf $(VENV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	touch $@ $(RUN_STAMP)
