"""Collects one block of lifetimes, and writes its store and digest."""

from gla.config.environments import Environment
from gla.config.sources import Source
from gla.job import job
from gla.kinds import made
from gla.storage.collecting import collect

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    first, last = map(int, snakemake.wildcards.lifetimes.split("-"))
    collect(
        made(Source, snakemake.params.source),
        Environment.model_validate(snakemake.params.environment),
        snakemake.wildcards.source,
        range(first, last + 1),
        snakemake.output.store,
        snakemake.output.digest,
    )
