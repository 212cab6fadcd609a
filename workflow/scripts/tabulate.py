"""What a figure draws, as one table."""

from gla.config.figures import Figure
from gla.environments.making import optimal_return
from gla.figures.drawing import tabulate
from gla.job import job
from gla.kinds import made

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    entry, panels = made(Figure, snakemake.params.entry), snakemake.params.panels
    if entry.inputs == "rollouts":
        paths = iter(snakemake.input.rollouts)
        inputs = {
            "rollouts": [[next(paths) for _ in range(p["rollouts"])] for p in panels],
            "optimal": [optimal_return(**p["environment"]) for p in panels],
            "tasks": [len(p["environment"]["tasks"]) for p in panels],
            "agents": [p["agents"] for p in panels],
        }
    else:
        inputs = {entry.inputs: list(snakemake.input[entry.inputs])}
    tabulate(entry, inputs, snakemake.output[0])
