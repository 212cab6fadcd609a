# make          the environment, and the default config's figures in results/figures
# make test     the environment, and the fast tests
# make report   the figures as one HTML page, with captions and the config of each: report.html
# make site     the documentation as a site, in site/
# make test-site  opens that site in a headless Chromium
# make check    formats, types, spelling and the documentation
# make reliability   injects faults of every kind; writes docs/reliability.md
# make bench    the speed of every stage and of its peer; writes docs/benchmarks.md
# make docs-results  the committed results, docs/results, from finished runs
# make docs-numbers  README.md and the pages with numbers, from their templates and the committed results
# make env      the environment alone, in .venv, for the pipeline and the command gla
# make dev      the same environment, with everything for tests, checks and documentation as well

PYTHON ?= python3
BIN := .venv/bin
# Python compiles a module when it first imports it; most modules of the dependencies are never imported. Those that jobs import are
# compiled here, since where Python may not write bytecode, as in many containers, each job would compile them again, for seconds.
IMPORTED := torch.utils.tensorboard, gymnasium, mujoco, zarr, pyarrow.parquet, safetensors.torch, matplotlib.pyplot, scipy.stats, \
            matplotlib.backends.backend_pdf, fontTools.subset, pandas, pydantic, requests, snakemake.cli, snakemake.script, gla.api, gla.cli
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.PHONY: all env dev report site check test test-site test-slow test-slurm reliability bench bench-ppo smoke docs-results docs-numbers clean

all: env
	$(BIN)/snakemake --cores all all

env: .venv/pipeline
dev: .venv/development

# Stamps are written last, so that an interrupted installation is continued.
.venv/pipeline: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[video,minari]'
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import $(IMPORTED)'
	touch $@

.venv/development: .venv/pipeline
	$(INSTALL) --editable '.[dev]'
	touch $@

report: all
	$(BIN)/snakemake --cores all --report report.html all

site: dev docs/demo/node_modules
	$(BIN)/mkdocs build --strict

# What the page with the demo loads. Needs Node.js, whose npm takes what the lock file names.
docs/demo/node_modules: docs/demo/package-lock.json
	npm ci --prefix docs/demo --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

check: dev site
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md CITATION.cff Makefile Snakefile .ci/run benchmarks config docs profiles src tests workflow

# By file, since tests of one file share the results of their fixtures.
test: dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

# Installs Chromium from Debian's packages if there is none, as root.
test-site: dev docs/demo/node_modules
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || { apt-get -qq update && apt-get -qq install --yes --no-install-recommends chromium chromium-driver; }
	$(BIN)/python -m pytest -m site

test-slow: dev
	$(INSTALL) --editable '.[s3]' 'moto[s3]' flask flask-cors
	$(BIN)/python -m pytest -m slow

# Tests the cluster profiles on a real SLURM, which it installs and starts on this machine. Needs Debian and root.
test-slurm: dev
	$(INSTALL) --editable '.[cluster]'
	$(BIN)/python -m pytest -m slurm

# Takes an hour and a half on two cores.
reliability: dev
	$(BIN)/python tests/reliability/injections.py

smoke: env
	$(BIN)/snakemake --configfile config/smoke.yaml --cores all all

# Compares every stage with its peer and writes docs/benchmarks.md, its table and its figure. Takes 20 to 25 minutes on two cores.
bench: dev
	for stage in collection stepping planning training rollouts long_contexts reading dag report; do $(BIN)/python benchmarks/$$stage.py || exit 1; done

# Compares PPO with published returns and with Stable-Baselines3. Takes hours on two cores.
bench-ppo: dev
	$(BIN)/python benchmarks/ppo_reference.py
	$(BIN)/python benchmarks/ppo_agreement.py

# Writes docs/results from those runs of the configs that are finished.
docs-results: dev
	$(call publish,results,docs/results,config/config.yaml)
	$(call publish,results/one_task,docs/results/one_task,config/one_task.yaml)
	$(call publish,results/results,docs/results/extended,config/results.yaml)
	$(call publish,results/ad,docs/results/ad,config/ad.yaml)
	$(call publish,results/ant,docs/results/ant,config/ant.yaml)
	$(call publish,results/broad,docs/results/broad,config/broad.yaml)
	$(call publish,results/omnirl,docs/results/omnirl,config/omnirl.yaml)
	$(call publish,results/teachers,docs/results/teachers,config/teachers.yaml)
	$(call publish,results/general,docs/results/general,config/general.yaml)
	$(MAKE) docs-numbers

# Writes README.md and the other pages that have a template, with every number from the tables below docs.
docs-numbers: dev
	$(BIN)/python docs/render.py

define publish
	if [ -e $(1)/tables/verdicts.csv ]; then $(BIN)/python docs/publish.py $(3) $(2); fi
endef

clean:
	rm -rf results .snakemake
