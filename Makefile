# The two commands a newcomer needs are `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(abspath $(VENV))/bin
CORES  ?= all

export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: setup demo arena test test-cluster lint format lock benchmark reference restore clean

setup: $(VENV)/.ready ## make the virtual environment from the lock

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Piecemeal needs Python 3.11 to 3.13; try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup ## everything on built-in phantoms; ends with the report
	snakemake --cores $(CORES) --config scale=demo
	@! git rev-parse --git-dir >/dev/null 2>&1 || ! grep -qx 'scale: demo' config/config.yaml || \
	  dvc commit --quiet --force
	@echo "The data, case by case: $(CURDIR)/results/demo/quality"
	@echo "The report: $(CURDIR)/results/demo/report.html"

arena: setup ## the arena beside it: methods of all papers on one patchwork of incomplete labels
	snakemake --cores $(CORES) --config scale=demo papers=all
	@echo "The report: $(CURDIR)/results/demo/report.html"

test: setup ## all tests, in CORES processes; `pytest PATH` runs some of them in one
	pytest --quiet --numprocesses $(CORES:all=auto) --maxprocesses 8 --dist loadfile \
	  --no-loadscope-reorder

# In one process, as there is one SLURM.
test-cluster: setup ## tests on a SLURM of this host, which they start and end (as root)
	pytest --quiet tests/cluster

lint: setup ## what the pre-commit hooks and CI check
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	snakemake --lint

format: setup ## rewrite the code as lint wants it
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

lock: ## write requirements.lock anew from what is installed in $(VENV)
	@{ echo "# Exact versions of everything the project runs with; made by 'make lock'."; \
	   $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

benchmark: setup ## time us beside others: NAME=metrics
	@test -f "benchmarks/$(NAME).py" || { echo "say which: make benchmark NAME=metrics"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .peers \
	  --requirement benchmarks/requirements.txt
	PYTHONPATH=.peers OMP_NUM_THREADS=1 python benchmarks/$(NAME).py

# No weights and no figures: those show images of patients, which may not be ours to pass on.
reference: ## copy the tables, ranks, claims, scores and run records of SCALE to docs/reference/SCALE
	@test -d "results/$(SCALE)/tables" || { echo "say which scale: make reference SCALE=pocket"; exit 1; }
	rm -rf docs/reference/$(SCALE) && mkdir -p docs/reference/$(SCALE)
	cd results/$(SCALE) && cp --parents -r claims.csv tables ranks $(CURDIR)/docs/reference/$(SCALE)
	cd results/$(SCALE) && cp --parents runs/*/*/*/*/run.json runs/*/*/*/*/scores*.csv \
	  runs/*/*/*/*/scores.json runs/*/*/*/*/history.csv $(CURDIR)/docs/reference/$(SCALE)

restore: setup ## bring results from a DVC remote, checked: REMOTE=name, if not the default one
	python workflow/restore.py $(if $(REMOTE),--remote $(REMOTE))

clean: ## delete what the workflow made (data/, results/), not the environment
	rm -rf data results .snakemake
