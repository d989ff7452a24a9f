# `make help` lists the targets. Every target makes .venv itself if there is none; `make demo` and
# `make test` need nothing but this repository and a Python >= 3.11 (PYTHON_FOR_VENV names one).

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-slurm test-browser bench bench-large lint types wheel python clean

VENV := .venv
PYTHON := $(VENV)/bin/python
# One stamp a set of dependencies, kept in .venv: a changed pyproject.toml installs again, and a
# deleted .venv takes its stamps along.
BASE := $(VENV)/.installed
TEST := $(VENV)/.installed-test
BENCH := $(VENV)/.installed-bench
PIP_INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check

# A Python counts when it runs, is new enough and can make a virtual environment with pip in it:
# Debian ships venv without ensurepip unless python3-venv is installed.
FIND_PYTHON = for candidate in $(PYTHON_FOR_VENV) python3.13 python3.12 python3.11 python3; do \
	if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
		2>/dev/null; then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo "clustergrid needs Python 3.11 or newer with the venv module, and none of python3.13," \
			"python3.12, python3.11 and python3 is one. On Debian and Ubuntu: apt install" \
			"python3-venv. Or name one: make PYTHON_FOR_VENV=/path/to/python3 ..." >&2; exit 1; fi

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(BASE) ## cluster a real matrix (28,057 genes x 115 samples) into demo-run/
	$(VENV)/bin/clustergrid demo -o demo-run

test: lint types wheel ## lint, types, the built wheel, and the quick tests
	@# Two processes: most tests wait for compilers, Dask or files. Those of a file stay together.
	$(PYTHON) -m pytest -q -m "not slow and not slurm and not browser" -n 2 --dist loadfile

test-slow: $(TEST) ## the tests that kill processes or take long, and every example of Hypothesis
	$(PYTHON) -m pytest -q -m "(slow or hypothesis) and not slurm and not browser" \
		--hypothesis-profile=thorough

test-slurm: $(TEST) ## jobs on a real Slurm of two nodes (Debian: slurm-wlm, munge; as root)
	$(PYTHON) -m pytest -q -m "slurm and not slow" tests/slurm

test-browser: $(TEST) ## pages in headless Chromium (Debian: chromium, chromium-driver)
	$(PYTHON) -m pytest -q -m browser tests/browser

bench: $(BENCH) ## the tables of the README and the docs: ours and the peers, in turn
	$(PYTHON) benchmarks/run.py
	$(PYTHON) benchmarks/distances.py
	$(PYTHON) benchmarks/linkage.py
	$(PYTHON) benchmarks/large.py peers shipped
	$(PYTHON) benchmarks/picture.py

bench-large: $(BENCH) ## trees of up to a million rows: two hours, and up to 20 GB of memory
	$(PYTHON) benchmarks/large.py
	$(PYTHON) benchmarks/object_store.py
	$(PYTHON) benchmarks/scaling.py efficiency

lint: $(TEST) ## ruff: rules and format; known holes of what is installed
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) scripts/check_advisories.py

types: $(TEST) ## mypy, strict
	@# mypy finds the packages under their installed names through these links.
	mkdir -p .types/clustergrid
	ln -sfn ../../pipeline .types/clustergrid/pipeline
	ln -sfn ../../storage .types/clustergrid/storage
	$(PYTHON) -m mypy

wheel: $(TEST) ## build the wheel, and use it outside the checkout
	.ci/check-wheel $(PYTHON)

python: ## say which Python would make .venv
	@$(FIND_PYTHON); echo "$$python"

clean: ## remove .venv, caches, builds and the demo's run
	rm -rf $(VENV) .types .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist demo-run
	rm -rf *.egg-info
	find pipeline storage tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# The pip and setuptools that a Python brings along are as old as it is, holes and all.
$(PYTHON):
	@$(FIND_PYTHON); echo "making $(VENV) with $$python"; "$$python" -m venv --upgrade-deps $(VENV)

$(BASE): pyproject.toml | $(PYTHON)
	@echo "installing clustergrid and its dependencies into $(VENV) (the first time takes minutes)"
	$(PIP_INSTALL) -e .
	@touch $@

$(TEST): pyproject.toml | $(PYTHON)
	@echo "installing clustergrid and its test tools into $(VENV) (the first time takes minutes)"
	$(PIP_INSTALL) -e '.[test]'
	@touch $(BASE) $@

$(BENCH): pyproject.toml | $(PYTHON)
	@echo "installing clustergrid and what it is measured against into $(VENV)"
	$(PIP_INSTALL) -e '.[bench]'
	@touch $(BASE) $@
