"""A figure's table to its PDF and PNG."""

from gla import figures
from gla.config import Figure
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    entry = Figure.model_validate(snakemake.params.entry)
    figures.plot(entry, snakemake.input.table, [snakemake.output.pdf, snakemake.output.png])
