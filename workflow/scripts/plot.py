"""Draws a figure's table as PDF and PNG."""

from gla.config.figures import Figure
from gla.figures.drawing import plot
from gla.job import job
from gla.kinds import made

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    entry = made(Figure, snakemake.params.entry)
    plot(entry, snakemake.input.table, [snakemake.output.pdf, snakemake.output.png])
