"""A baseline's rollouts in one environment."""

from gla import evaluate
from gla.config import Environment, Evaluation
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    w, environment = snakemake.wildcards, dict(snakemake.params.environment)
    name = environment.pop("name")
    rows = evaluate.run_baseline(
        Environment.model_validate(environment),
        Evaluation.model_validate({"environment": name, **snakemake.params.evaluation}),
        w.condition,
        [(f"{digest.removesuffix('.json')}/history.zarr", digest) for digest in snakemake.input.digests],
        next(iter(snakemake.input.reference), ""),
        name,
        f"evaluate {w.evaluation} {w.condition}",
    )
    evaluate.write_rows(rows, snakemake.output[0])
