"""Writes the settings with which an agent acts where nothing else is asked for."""

from pathlib import Path

from gla.acting import write_acting
from gla.config.agents import Acting
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    write_acting(Path(snakemake.output[0]).parent, Acting.model_validate(dict(snakemake.params.acting)))
