"""Trains the policies that scores on an environment's tasks are measured against."""

from gla import reference
from gla.config.environments import Environment
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    w = snakemake.wildcards
    entry = Environment.model_validate(snakemake.params.entry)
    reference.train(entry, w.environment, w.split, snakemake.output.policies)
