# make          the environment, and the default config's figures in results/figures
# make test     the environment, and the fast tests
# make report   the figures as one HTML page, with captions and the config of each: report.html
# make site     the documentation as a site, in site/
# make check    formats, types, spelling and the documentation
# make reliability   faults of every kind, injected; writes docs/reliability.md
# make bench    every stage beside its peer; writes docs/benchmarks.md
# make docs-results  the committed results, docs/results, from finished runs
# make docs-numbers  README.md and docs/results.md, from their templates and the committed results
# make env      the environment alone, in .venv: what the pipeline and the command gla need
# make dev      what tests, checks and documentation need besides, in the same environment

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: all env dev report site check test test-slow test-slurm reliability bench bench-ppo smoke docs-results docs-numbers clean

all: env
	$(BIN)/snakemake --cores all all

env: .venv/pipeline
dev: .venv/development

# Stamps are written last, so that an interrupted installation is taken up again.
.venv/pipeline: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[video,minari]'
	touch $@

.venv/development: .venv/pipeline
	$(INSTALL) --editable '.[dev]'
	touch $@

report: all
	$(BIN)/snakemake --cores all --report report.html all

site: dev
	$(BIN)/mkdocs build --strict

check: dev site
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md Snakefile benchmarks config docs src tests workflow

# By file, since tests of one file share what their fixtures make.
test: dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: dev
	$(INSTALL) --editable '.[s3]' 'moto[s3]' flask flask-cors
	$(BIN)/python -m pytest -m slow

# The cluster profiles on a real SLURM, which it installs and starts on this machine: Debian, as root.
test-slurm: dev
	$(INSTALL) --editable '.[cluster]'
	$(BIN)/python -m pytest -m slurm

# An hour and a half on two cores.
reliability: dev
	$(BIN)/python tests/reliability/injections.py

smoke: env
	$(BIN)/snakemake --configfile config/smoke.yaml --cores all all

# Every stage beside its peer: docs/benchmarks.md, its table and its figure; 20 to 25 minutes on two cores.
bench: dev
	$(INSTALL) --editable '.[bench]'
	for stage in collection stepping training rollouts reading dag report; do $(BIN)/python benchmarks/$$stage.py || exit 1; done

# PPO beside published returns and beside Stable-Baselines3; hours on two cores.
bench-ppo: dev
	$(INSTALL) --editable '.[bench]'
	$(BIN)/python benchmarks/ppo_reference.py
	$(BIN)/python benchmarks/ppo_agreement.py

# What docs/results shows, from those finished runs of the configs that are there.
docs-results: dev
	$(call publish,results,docs/results,config/config.yaml)
	$(call publish,results/results,docs/results/extended,config/results.yaml)
	$(call publish,results/ant,docs/results/ant,config/ant.yaml)
	$(call publish,results/broad,docs/results/broad,config/broad.yaml)
	$(MAKE) docs-numbers

# Every number in README.md and docs/results.md, from the tables below docs.
docs-numbers: dev
	$(BIN)/python docs/render.py

define publish
	if [ -e $(1)/tables/verdicts.csv ]; then $(BIN)/python docs/publish.py $(3) $(2); fi
endef

clean:
	rm -rf results .snakemake
