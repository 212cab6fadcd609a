"""Writes the numbers that a figure draws into one table."""

from gla.config.figures import Figure
from gla.figures.drawing import tabulate
from gla.figures.gathering import gather
from gla.job import job
from gla.kinds import made

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    entry, panels = made(Figure, snakemake.params.entry), snakemake.params.panels
    if entry.inputs == "rollouts":
        inputs = gather(panels, snakemake.input.rollouts, entry.normalised)
        if entry.losses:
            inputs["by_position"] = list(snakemake.input.by_position)
    else:
        inputs = {entry.inputs: list(snakemake.input[entry.inputs])}
    tabulate(entry, inputs, snakemake.output[0])
