# make demo   upscale the bundled clip to out/demo_x2.mp4
# make test   every test that needs no GPU
# make lint   ruff, mypy
# make dist   wheel and sdist in dist/, each tried in a fresh environment
# make bench  speed against other runtimes (needs an idle machine)
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench dist clean
demo: .venv/base
	$(BIN)/vs-smsr upscale tests/data/demo.mp4 -o out/demo_x2.mp4 --overwrite

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/dev
	$(BIN)/python scripts/benchmark.py --precision fp32,bf16

dist: .venv/dev
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python scripts/try_install.py dist/*.whl dist/*.tar.gz

# A stamp per set of extras: the environment is made again when setup.cfg changes.
.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 12) or sys.exit("vs-smsr needs Python 3.12 or newer, but $(PYTHON) is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.12")'
	$(PYTHON) -m venv .venv

.venv/base: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	touch $@

.venv/dev: .venv/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ .venv/base

clean:
	rm -rf .venv out build dist ./*.egg-info
