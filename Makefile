# make help says what there is. Needs a POSIX make and Python 3.11 or newer; everything else goes into .venv.
.POSIX:

# Processes that run the tests.
JOBS = 2

# How long `make fuzz` tries, and what its cases are drawn from (empty: a new seed each time).
SECONDS = 600
SEED =

BIN = .venv/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet -c constraints.txt
SAMPLE_LOG = $${WIDEDEEP_DATA:-data}/sample-log

help:
	@echo 'make quickstart   set up .venv, write a sample click log, train on it'
	@echo 'make test         set up .venv with the development tools, lint, check types, run the tests'
	@echo 'make test-engines  run the tests that need Dask and Ray, which it installs'
	@echo 'make test-sweeps  run the tests that kill sweeps and take them up again'
	@echo 'make first-hour   follow docs/first-hour.md word by word, on the data in WIDEDEEP_DATA, and compare what it prints'
	@echo 'make site         write the documentation as a site into site/, links and anchors checked (MkDocs, which it installs)'
	@echo 'make package      build sdist and wheel into dist/, check them, install the wheel into a fresh environment and use it'
	@echo 'make test-trackers  run the tests that need TensorBoard, MLflow and Weights & Biases, which it installs'
	@echo 'make fuzz         draw the property tests anew, then try odd recipes, tables, runs, kills and full disks for SECONDS=600,'
	@echo '                  from SEED= (default: a new one)'
	@echo 'make bench        measure speed: a table, printed and written to tests/benchmarks/results/bench.md (half an hour)'
	@echo 'make bench-gpu    the same for one CUDA device: tests/benchmarks/results/gpu.md'
	@echo 'make clean        remove .venv and what tools left behind; data/, runs/ and stages/ stay'
	@echo 'PYTHON=python3.12 chooses the Python for .venv, WIDEDEEP_DATA=DIR where data sets lie (default: data)'

quickstart: .venv/ready
	@test -f "$(SAMPLE_LOG)/log.csv" || $(BIN)/widedeep synth -o "$(SAMPLE_LOG)" --seed 1
	@echo && $(BIN)/widedeep train quickstart
	@echo
	@echo 'What next?'
	@echo '  measure it again     $(BIN)/widedeep eval runs/quickstart/latest --split test --json'
	@echo "  score any table      head -n 1000 $(SAMPLE_LOG)/log.csv | $(BIN)/widedeep predict runs/quickstart/latest - -o scores.csv"
	@echo '  change a setting     $(BIN)/widedeep train quickstart --set model.kind=wide'
	@echo '  your own data        $(BIN)/widedeep init FILE --label COLUMN -o mine.yaml'
	@echo '                       $(BIN)/widedeep train mine.yaml'

test: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS)
	$(BIN)/python tests/fuzz/fuzz.py --rounds 3 --seed 1 --jobs $(JOBS)

test-engines: .venv/ready-dev
	$(PIP_INSTALL) -e '.[dask,ray]'
	$(BIN)/python -m pytest -m engines tests/workers

test-sweeps: .venv/ready-dev
	$(BIN)/python -m pytest -m sweeps tests/cli/test_sweep.py

first-hour: .venv/ready-dev
	$(BIN)/python -m pytest -m first_hour tests/data_sets/test_first_hour.py -rs

site: .venv/ready
	$(PIP_INSTALL) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

package: .venv/ready-dev
	$(PIP_INSTALL) -e '.[package]'
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m pytest -m package tests/test_wheel.py

test-trackers: .venv/ready-dev
	$(PIP_INSTALL) -e '.[tensorboard,mlflow,wandb]'
	$(BIN)/python -m pytest -m trackers tests/tracking

fuzz: .venv/ready-dev
	$(BIN)/python -m pytest -n $(JOBS) -m hypothesis --hypothesis-profile new_draws
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) $(SEED:%=--seed %) --jobs $(JOBS)

bench: .venv/ready-dev
	$(BIN)/python tests/benchmarks/bench.py

bench-gpu: .venv/ready-dev
	$(BIN)/python tests/benchmarks/bench_gpu.py

clean:
	rm -rf .venv build dist site widedeep.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find cli recipes tests widedeep -name __pycache__ -prune -exec rm -rf {} +

# The stamps are touched last, so that an interrupted set-up is taken up again.
.venv/ready: pyproject.toml constraints.txt
	@$(MAKE) venv
	$(PIP_INSTALL) -e .
	@touch $@

.venv/ready-dev: pyproject.toml constraints.txt
	@$(MAKE) venv
	$(PIP_INSTALL) -e '.[dev]'
	@touch .venv/ready $@

# A half-made .venv has no working pip and is made anew. Names may exist and yet not run (pyenv), so each is tried.
venv:
	@$(BIN)/python -m pip --version >/dev/null 2>&1 && exit 0; \
	for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
		echo "making .venv with $$($$python --version)"; \
		exec $$python -m venv --clear .venv; \
	done; \
	echo 'No Python 3.11 or newer with venv and pip was found (Debian and Ubuntu keep them in python3-venv).' >&2; \
	echo 'Install one, or name it: make PYTHON=/path/to/python3.12 ...' >&2; \
	exit 1

.PHONY: help quickstart test test-engines test-sweeps first-hour site fuzz bench bench-gpu clean venv package test-trackers
