# Every target sets up what it needs in .venv inside this folder, and only there. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The interpreter that makes .venv; empty: the first of these that is 3.11 or newer.
PYTHON ?=
PYTHONS = $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)

VENV := .venv
RUN := $(VENV)/bin/python
LOCK := requirements.lock
# The lock constrains the build of the package too; older pips read the first variable for that, newer ones the second.
PIP := PIP_CONSTRAINT=$(LOCK) PIP_BUILD_CONSTRAINT=$(LOCK) PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 \
	$(RUN) -m pip install -qq --no-compile -c $(LOCK)

.PHONY: help demo test lint tiny soak docs site zoo lock bench bench-check papers choices wheel clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(VENV)/.base ## Recognize hand gestures with the built-in model. No torch.
	@$(VENV)/bin/everyframe demo $(ARGS)

# Packages are installed without bytecode; tests start many processes, so they keep it, wherever that is forbidden by default too.
# Models of hundreds of megabytes come and go: glibc keeps their pages, which the kernel would otherwise clear anew each time.
KEEP := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=67108864
test: rules ## Lint, type check and run all tests. ARGS='-k stream' is handed to pytest.
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(KEEP) $(RUN) -m pytest -rs -n auto --maxprocesses 4 --dist worksteal $(ARGS)

tiny: $(VENV)/.dev ## The whole road on a tiny network, in seconds.
	@$(RUN) -m pytest tests/tiny $(ARGS)

soak: $(VENV)/.dev ## Break cameras for an hour, and print how long each loss lasted.
	@OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest -rs -m soak tests/reliability $(ARGS)

lint: rules ## ruff (rules and format) and mypy.
	@$(RUN) -m mypy

.PHONY: rules
rules: $(VENV)/.dev
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check --quiet .

docs: $(VENV)/.dev ## Write docs/cli.md and the import map in CONTRIBUTING.md again.
	@$(RUN) tests/docs/generate.py

site: $(VENV)/.site ## The documentation as pages of a browser, in site/.
	@$(RUN) tests/docs/build_site.py $(ARGS)

zoo: $(VENV)/.dev ## Measure every network of the zoo again (ARGS='x3d_s c3d': only these), and write docs/zoo.md.
	@$(RUN) tests/docs/zoo.py $(ARGS)
	@$(RUN) tests/docs/generate.py

bench: $(VENV)/.bench ## Measure everyframe against its peers on this machine.
	@$(RUN) benchmarks/run.py $(ARGS)

bench-check: $(VENV)/.bench ## Is anything slower here than the last `make bench` stored? Names it, and ends with 1.
	@$(RUN) benchmarks/standard.py --check $(ARGS)

papers: $(VENV)/.bench ## Measure the tables of the papers, for docs/papers: hours (ARGS='co3d --networks x3d_s').
	@$(RUN) benchmarks/papers.py $(ARGS)
	@$(RUN) benchmarks/run.py --tables

choices: $(VENV)/.bench ## Measure how this machine computes the zoo's convolutions best, for the table that ships (ARGS='c3d').
	@$(RUN) benchmarks/choices.py $(ARGS)

wheel: $(VENV)/.dev ## Build the wheel into dist/.
	@$(RUN) -m build --wheel --no-isolation

# torch stays where it is until TORCH says otherwise: make lock TORCH=2.14.0
TORCH = $(shell sed -n 's/^torch==//p' $(LOCK))
lock: $(VENV)/.dev ## Pin the newest versions that pyproject.toml allows, in requirements.lock.
	@$(RUN) tests/packaging/lock.py --keep torch==$(TORCH) > $(LOCK).new
	@mv $(LOCK).new $(LOCK)
	@git --no-pager diff --stat -- $(LOCK) || true

clean: ## Delete .venv and everything that was built.
	@rm -rf $(VENV) dist build site .ruff_cache .mypy_cache .pytest_cache .hypothesis $(LOCK).new
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The environment. A stamp holds the folder it was made in: a copied folder installs itself again.
$(foreach stamp,base dev bench site,$(shell [ ! -f $(VENV)/.$(stamp) ] || [ "$$(cat $(VENV)/.$(stamp))" = "$$PWD" ] || rm -f $(VENV)/.$(stamp)))

$(RUN):
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "error: $$python cannot make a virtual environment (on Debian: apt install python3-venv)" >&2; exit 1; \
	  fi; \
	done; \
	echo "error: everyframe needs Python 3.11 or newer; tried $(PYTHONS)." >&2; \
	echo "  Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1

$(VENV)/.base: pyproject.toml $(LOCK) | $(RUN)
	@echo "installing everyframe and what running models needs (no torch; 300 MB on disk)"
	@$(PIP) -e .
	@echo "$$PWD" > $@

$(VENV)/.dev: pyproject.toml $(LOCK) | $(RUN)
	@echo "installing everyframe with what training and the tests need (torch: minutes the first time)"
	@$(PIP) -e '.[train,cross,openvino,serve,dev]'
	@echo "$$PWD" | tee $(VENV)/.base > $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing the peers that benchmarks compare with"
	@$(PIP) -e '.[train,bench,cross,openvino,serve,dev]'
	@echo "$$PWD" > $@

$(VENV)/.site: pyproject.toml $(LOCK) | $(VENV)/.base
	@echo "installing what makes pages of the documentation"
	@$(PIP) -e '.[site]'
	@echo "$$PWD" > $@
