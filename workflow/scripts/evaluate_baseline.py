"""Runs a baseline in one environment, and writes its rollouts."""

from gla import rollout, rows
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.files import with_stores
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    w, environment = snakemake.wildcards, dict(snakemake.params.environment)
    name = environment.pop("name")
    frame = rollout.run_baseline(
        Environment.model_validate(environment),
        Evaluation.model_validate({"environment": name, **snakemake.params.evaluation}),
        w.condition,
        with_stores(snakemake.input.digests) or list(snakemake.input.reference)[:1],
        f"evaluate {w.evaluation} {w.condition}",
    )
    rows.write_rows(frame, snakemake.output[0])
