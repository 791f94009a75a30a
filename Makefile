# make quickstart   the main job on the bundled table: three kinds of model, a table and report.html
# make test         everything that must hold: export is a no-op, ruff, pytest, the browser suite, nbdev-test
# make browser      only the browser suite: clicks through the views in a real JupyterLab (skipped without Chromium)
# make lab          JupyterLab on the start page: the tutorials, and the dashboard in one cell
# make benchmark    speed and memory against Chemprop as one table of ratios: DATA=folder CHEMPROP=its python
# make benchmark-analysis   times and memory of leverage and CUR, connections, widgets
# make evidence    every accuracy table of benchmarks/results/evidence.md anew, into RESULTS, and how it differs from the stored ones: DATA, CHEMPROP
# Each makes .venv first if there is none; make env makes only that.

PYTHON ?= python3
CHEMPROP ?= # python of an environment with chemprop 2.3.1, for the ratios of make benchmark
DATA ?= $(firstword $(wildcard data ../shared/data))# folder with qm9_complete.csv.gz, zinc250k.csv.gz, sparse_experimental.csv.gz
RESULTS ?= evidence_again
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: env quickstart test browser lab benchmark benchmark-analysis evidence readme clean

env: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[lab,app,dev,xtb,cluster]"
	touch $(READY)

quickstart: $(READY)
	$(BIN)/fusionbook quickstart --out quickstart

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check tests benchmarks .ci
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/browser
	OMP_NUM_THREADS=1 PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/nbdev-test --n-workers 2

browser: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/browser

lab: $(READY)
	$(BIN)/fusionbook lab

benchmark: $(READY)
	test -n "$(DATA)" || { echo "make benchmark DATA=folder [CHEMPROP=python of its environment]; see benchmarks/README.md"; exit 1; }
	$(BIN)/python benchmarks/speed_featurisation.py --data $(DATA) --chemprop-python "$(CHEMPROP)"
	$(BIN)/python benchmarks/speed_training.py --data $(DATA) --chemprop-python "$(CHEMPROP)"
	$(BIN)/python benchmarks/speed_gpu.py --data $(DATA) --chemprop-python "$(CHEMPROP)"
	$(BIN)/python benchmarks/speed_embedding.py --data $(DATA) --chemprop-python "$(CHEMPROP)"
	$(BIN)/python benchmarks/speed_scaling.py --data $(DATA)
	$(BIN)/python benchmarks/speed_accuracy.py --data $(DATA) --chemprop-python "$(CHEMPROP)"
	$(BIN)/python benchmarks/speed_profile.py --data $(DATA)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed_widgets.py
	$(BIN)/python benchmarks/speed_table.py

benchmark-analysis: $(READY)
	$(BIN)/python benchmarks/speed_cur.py
	$(BIN)/python benchmarks/speed_connections.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/speed_widgets.py

EVIDENCE = $(BIN)/python benchmarks/evidence.py --results $(RESULTS) --models $(RESULTS)/models

evidence: $(READY)
	test -n "$(DATA)" || { echo "make evidence DATA=folder [CHEMPROP=python of its environment]; see benchmarks/README.md"; exit 1; }
	$(EVIDENCE) bundled --chemprop-python "$(CHEMPROP)"
	$(EVIDENCE) bundled --seeds 0 --controls --extend
	$(EVIDENCE) qm9 --data $(DATA)/qm9_complete.csv.gz --chemprop-python "$(CHEMPROP)"
	for name in rate2 rate5 rate30 uneven complete; do $(EVIDENCE) $$name --data $(DATA)/qm9_complete.csv.gz || exit 1; done
	for name in experimental experimental_random development; do \
		$(EVIDENCE) $$name --data $(DATA)/sparse_experimental.csv.gz --chemprop-python "$(CHEMPROP)" || exit 1; done
	for name in melting computed; do $(EVIDENCE) $$name --data $(DATA)/sparse_experimental.csv.gz || exit 1; done
	$(BIN)/python benchmarks/evidence.py --compare $(RESULTS)

readme: $(READY)
	$(BIN)/python .ci/readme.py

clean:
	rm -rf $(VENV) quickstart build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
