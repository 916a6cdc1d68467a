# Two commands: `make demo` and `make test`. Each makes its environment in .venv when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUPPLY := .venv-supply
READY := $(VENV)/.ready

# What `make benchmark` runs, on the data in the folder DATA; FRACTIONS of the labels.
TARGETS := lidc-candidates lidc-nodules lidc-malignancy openkbp-organs chestxray14-subset lidc-candidates-2d lidc-nodules-2d
INITS := semantic-genesis-3d-tiny random:semantic-genesis-3d-tiny semantic-genesis-2d-tiny random:semantic-genesis-2d-tiny
DATA := data
TRIALS := 10
FRACTIONS := 1
OUT := runs/benchmark

# Tests at a time, each on one thread.
WORKERS := 2

.PHONY: demo docs test test-lowest reliability speed benchmark licences sbom clean

demo: $(READY)
	$(BIN)/sg-hub demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The lowest versions of timm and huggingface_hub that pyproject.toml allows, laid over the others (see docs/supply-chain.md).
test-lowest: $(READY)
	$(BIN)/python -m tests.lowest

# Damaged inputs, kills and faults by the thousand, of which `make test` takes a small share.
reliability: $(READY)
	$(BIN)/python -m tests.reliability

benchmark: $(READY)
	$(BIN)/sg-hub benchmark --targets $(TARGETS) --inits $(INITS) --trials $(TRIALS) --label-fraction $(FRACTIONS) --data $(DATA) --out $(OUT) --ray
	$(BIN)/sg-hub report $(OUT)

# The pages in docs/ as a site, in site/; what is generated of them is written first.
docs: $(READY)
	$(BIN)/python -m docs.scripts.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What is fast and what is not, beside the alternatives: benchmarks/speed.json and docs/speed.md.
speed: $(READY)
	$(BIN)/python -m benchmarks.speed

# What is installed: its licences, and as a CycloneDX bill of materials. The tools have an environment of their own.
licences: $(READY) $(SUPPLY)/.ready
	$(SUPPLY)/bin/pip-licenses --python=$(BIN)/python --order=license --format=markdown --output-file=licences.md

sbom: $(READY) $(SUPPLY)/.ready
	$(SUPPLY)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o sbom.json

$(SUPPLY)/.ready:
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --quiet pip-licenses==5.5.5 cyclonedx-bom==7.5.0
	touch $@

# pip reads the pinned versions from constraints.txt; .ready is made last, so an interrupted set-up starts again.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[training,test]'
	touch $(READY)

clean:
	rm -rf $(VENV) $(SUPPLY) licences.md sbom.json demo site .mypy_cache .ruff_cache .import_linter_cache .pytest_cache
