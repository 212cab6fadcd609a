"""Writes the table that says which agents learn from reward, from all rollouts."""

from gla import verdicts
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    paths = {kind: iter(snakemake.input[kind]) for kind in ("rollouts", "references")}
    evaluations = [
        one | {kind: [next(paths[kind]) for _ in range(one[kind])] for kind in paths}
        for one in snakemake.params.evaluations
    ]
    verdicts.table(evaluations, snakemake.output[0])
