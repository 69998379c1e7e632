# make run          the demo, end to end; extra options: make run ARGS="--config configs/baby/freedom.yaml"
# make test         lint, types and tests: what CI runs; some of them only: make test ARGS="tests/graph -k knn"
#                   JOBS=4: in so many processes, 2 by default; JOBS=0: in this one, for the debugger
# make check        lint and types only
# make bench        how fast it is, also beside MMRec: make bench ARGS="--mmrec PATH"; needs idle cores and some minutes
# make constraints  resolve the newest versions again and write constraints.txt
# make clean        remove the environment, caches and builds; runs/ stays
#
# Each makes .venv first where it is missing or older than setup.cfg, pyproject.toml or constraints.txt.
# PYTHON names the interpreter that makes it: make run PYTHON=python3.12

.DEFAULT_GOAL := run
.DELETE_ON_ERROR:
.PHONY: run test check bench constraints clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
PYTHON :=
ARGS :=
JOBS := 2
TORCH := $(shell grep -E '^torch==' constraints.txt)

# The first interpreter that is 3.11 or newer and can make environments; never one that lives in an environment itself.
FIND_PYTHON = found=; for name in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
	found=$$("$$name" -c 'import sys, ensurepip; sys.exit(1) if sys.version_info < (3, 11) else print(sys._base_executable)' \
	2>/dev/null) && break; found=; done; \
	if [ -z "$$found" ]; then \
	echo "no Python 3.11 or newer that can make environments was found; name one: make PYTHON=/path/to/python" >&2; exit 1; fi

run: $(VENV)/.installed
	@$(BIN)/python -m mmrec.run $(ARGS)

check: $(VENV)/.installed
	@echo "ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check -q .
	@echo "mypy"; $(BIN)/mypy

bench: $(VENV)/.installed
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(BIN)/python -m experiments.speed $(ARGS)

# One thread: the tests' tensors are small, and two threads on a busy machine wait for each other, three times as long.
test: check $(VENV)/.scatter
	@echo "pytest"; OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) $(ARGS)

# torch goes first and by its pin: a range would take the registry's newest build, and torch-scatter compiles against it.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@set -e; $(FIND_PYTHON); rm -rf $(VENV); \
	echo "making $(VENV) with $$("$$found" --version)"; "$$found" -m venv $(VENV)
	@echo "installing $(TORCH) (some hundred megabytes, with CUDA some thousand)"; $(PIP) install "$(TORCH)"
	@echo "installing everything else"; $(PIP) install -c constraints.txt setuptools wheel
	@$(PIP) install -c constraints.txt --no-build-isolation -e ".[test,dev,bench,faiss,sentence]"
	@touch $@

# torch-scatter has no wheel for every torch. pip keeps the one built here; one that another torch left behind does not
# import and is built again. Two files at a time and no debug symbols: half the time.
SCATTER := CXXFLAGS="-DNDEBUG -g0" $(PIP) install -c constraints.txt --no-build-isolation --no-deps \
	"--config-settings=--build-option=build_ext --parallel=2" torch-scatter
HEADER := import pathlib, sysconfig; print(pathlib.Path(sysconfig.get_paths()["include"], "Python.h"))

$(VENV)/.scatter: $(VENV)/.installed
	@set -e; if command -v c++ >/dev/null && [ -f "$$($(BIN)/python -c '$(HEADER)')" ]; then \
		echo "installing torch-scatter: the first time it is compiled, two to four minutes"; \
		$(SCATTER); \
		$(BIN)/python -c "import torch_scatter" 2>/dev/null || \
		{ $(PIP) cache remove torch_scatter; $(SCATTER) --force-reinstall; }; \
		$(BIN)/python -c "import torch_scatter"; \
		touch $@; \
	elif [ -n "$$CI" ]; then echo "torch-scatter needs a C++ compiler and Python's headers" >&2; exit 1; \
	else echo "no C++ compiler or no Python headers: tests of torch-scatter are skipped"; fi

# The machine's own build of torch (+cpu, or the CUDA libraries it brings) is not part of the pins.
constraints:
	@set -e; $(FIND_PYTHON); new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; "$$found" -m venv "$$new/venv"; \
	pip="$$new/venv/bin/python -m pip --disable-pip-version-check --no-input"; \
	echo "resolving every dependency anew, beside $(TORCH)"; \
	$$pip install -qq "$(TORCH)" setuptools wheel; \
	$$pip install -qq --no-build-isolation -e ".[test,dev,bench,faiss,sentence]" "$(TORCH)"; \
	$$pip list --format freeze --exclude pip --exclude mmrec > "$$new/pins"; \
	grep -E '^torch-scatter==' constraints.txt >> "$$new/pins"; \
	sed -E 's/[+].*//; /^(nvidia|cuda|triton)/d' "$$new/pins" | LC_ALL=C sort -f > "$$new/sorted"; \
	{ echo "# The exact versions CI runs with, what they bring along included."; \
	echo "# Written by: make constraints   (torch and torch-scatter stay as they are here; edit their lines to move them)"; \
	cat "$$new/sorted"; } > constraints.txt

clean:
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage htmlcov
	@find features mmrec tests -name __pycache__ -type d -prune -exec rm -rf {} +
