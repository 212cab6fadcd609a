"""A baseline's rollouts in one environment."""

from gla import rollout, rows
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    w, environment = snakemake.wildcards, dict(snakemake.params.environment)
    name = environment.pop("name")
    stores = [(f"{digest.removesuffix('.json')}/history.zarr", digest) for digest in snakemake.input.digests]
    frame = rollout.run_baseline(
        Environment.model_validate(environment),
        Evaluation.model_validate({"environment": name, **snakemake.params.evaluation}),
        w.condition,
        stores or list(snakemake.input.reference)[:1],
        f"evaluate {w.evaluation} {w.condition}",
    )
    rows.write_rows(frame, snakemake.output[0])
