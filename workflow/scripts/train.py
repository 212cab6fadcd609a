"""Trains an agent on a manifest, and writes its folder."""

from pathlib import Path

from gla import processes, train
from gla.config.agents import Agent
from gla.config.environments import Environment
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    r = snakemake.resources
    processes.launch(r.get("gpu", 1), r.get("nodes", 1), r.get("mpi", ""))
    folder = Path(snakemake.output.agent).parent
    train.train(
        Agent.model_validate({"dataset": "", **snakemake.params.entry}),
        snakemake.wildcards.agent,
        dict(snakemake.params.code),
        snakemake.input.table,
        snakemake.input.summary,
        folder,
        # Not declared as an output, so that a checkpoint outlives a failed job.
        folder.parents[1] / "training" / snakemake.wildcards.agent,
        environments=[Environment.model_validate(dict(e)) for e in snakemake.params.environments],
    )
