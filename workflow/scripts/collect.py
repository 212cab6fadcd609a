"""One block of lifetimes to its store and digest."""

from gla import histories
from gla.config import Environment
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    first, last = map(int, snakemake.wildcards.lifetimes.split("-"))
    histories.collect(
        Environment.model_validate(snakemake.params.entry),
        snakemake.wildcards.environment,
        range(first, last + 1),
        snakemake.output.store,
        snakemake.output.digest,
    )
