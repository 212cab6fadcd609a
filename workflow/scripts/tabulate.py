"""What a figure draws, as one table."""

from gla import figures
from gla.config import Figure
from gla.environments import optimal_return
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    entry = Figure.model_validate(snakemake.params.entry)
    if entry.panels:
        paths = iter(snakemake.input.rollouts)
        panels = snakemake.params.panels
        inputs = {
            "rollouts": [[next(paths) for _ in range(p["rollouts"])] for p in panels],
            "optimal": [optimal_return(**p["environment"]) for p in panels],
            "tasks": [len(p["environment"]["tasks"]) for p in panels],
            "projections": [p["projections"] for p in panels],
        }
    else:
        meaning = "digests" if entry.environments else "by_position"
        inputs = {meaning: list(snakemake.input[meaning])}
    figures.tabulate(entry, inputs, snakemake.output[0])
