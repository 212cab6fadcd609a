"""Writes an agent's model card from its description and rollouts."""

from pathlib import Path

from gla import card
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    card.write(Path(snakemake.input.agent).parent, list(snakemake.input.rollouts), snakemake.input.verdicts)
