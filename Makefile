# make demo   train on the embedded birds, score beside the baselines, draw the parts (runs/demo/parts.png)
# make test   lint, types, unit tests and notebooks
# make lab    JupyterLab on the notebooks
# make bench  speed and memory against the formulas written out -> figures/benchmarks.json and .png, the table of docs/SPEED.md
# make fuzz   ten minutes of damaged files and odd words for the command line
# make student / make teacher   the course to hand out, without or with outputs, answers and solutions (build/)
# make site   the course as a site (build/site), with its slides and the page that finds parts in the browser
# make slides   a deck of slides of every lesson, to open in a browser (build/slides/index.html)
# make oldest   the unit tests with the oldest versions that pyproject.toml allows (build/oldest, Python 3.10)
# make publish GITHUB=owner/name   badges and installation on Colab, in every notebook
# make clean  remove .venv, caches and runs
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1

.PHONY: bench fuzz oldest publish site slides student teacher demo test lint types unit notebooks-check lab clean install notebooks

install: $(VENV)/.installed

# --upgrade pip first: the pip of an old Python cannot read some current wheels' metadata. Warnings of an editable
# installation, which setuptools frames with stars, tell a user nothing.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 10) else f'Python {sys.version.split()[0]} found, 3.10 or newer needed: make PYTHON=python3.12 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable ".[notebooks,export,site,test]"
	touch $@

demo: install
	$(BIN)/partlib demo --out runs/demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy partlib

unit: install
	$(BIN)/pytest tests

# Notebooks at their smallest size, unless PARTLIB_PRESET names another; without progress bars, as no saved notebook
# has any. Two processes with a thread each take half the time of one with two.
test: install lint
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 PARTLIB_PRESET=$${PARTLIB_PRESET:-ci} $(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-sanitize-with tests/repository/nbval_sanitize.cfg --nbval-cell-timeout=600 tests notebooks

bench: install
	$(BIN)/python -m benchmarks --readme docs/SPEED.md

fuzz: install
	TQDM_DISABLE=1 $(BIN)/python -m tests.faults.fuzz --seconds 600

# Linters, notebooks and what needs newer packages are left out: they check the code, and that is the same.
oldest:
	$(PYTHON) -m venv build/oldest
	build/oldest/bin/pip install --quiet --upgrade pip
	$(PYTHON) tests/repository/oldest.py > build/oldest/pins.txt
	build/oldest/bin/pip install --quiet --constraint build/oldest/pins.txt --editable ".[notebooks,test]"
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 build/oldest/bin/pytest -n 2 --dist loadfile tests -m "not slow" --ignore tests/repository

lab: install
	$(BIN)/jupyter lab --notebook-dir notebooks

# make notebooks re-executes and saves them all, make notebook N=03 one of them
notebooks: install
	$(BIN)/python notebooks/execute.py

notebook: install
	$(BIN)/python notebooks/execute.py $(N)

student teacher: install
	$(BIN)/python notebooks/editions.py $@

slides: install
	$(BIN)/python -m docs.make_slides

site: install
	$(BIN)/python -m docs.make_site

publish: install
	$(BIN)/python notebooks/execute.py --publish "$(GITHUB)"

clean:
	rm -rf $(VENV) runs data/cache build *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
