"""Runs an agent in one environment under one condition, and writes its rollouts."""

from importlib import import_module
from pathlib import Path

from gla import agent, in_context, rows
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.devices import device
from gla.files import with_stores
from gla.job import job
from gla.networks import network

with job(snakemake.threads, snakemake.config["pathvars"]["results"]), device() as where:
    w, environment = snakemake.wildcards, dict(snakemake.params.environment)
    name = environment.pop("name")
    loaded = agent.load(Path(snakemake.input.agent).parent)
    loaded.model.to(where)
    entry = Environment.model_validate(environment)
    evaluation = Evaluation.model_validate({"environment": name, **snakemake.params.evaluation})
    shown = None
    if evaluation.prompt:  # by name, so that the code of prompts decides only what has one
        stores = with_stores(snakemake.input.digests)
        shown = import_module("gla.prompts").prompt(stores, evaluation, len(entry.tasks) or 1)
    label = f"evaluate {w.evaluation} {w.agent} {w.condition}"
    found = in_context.run_agent(loaded, entry, evaluation, w.condition, label, shown)
    trained, training_seed = network(w.agent)
    rows.write_rows(found.frame(trained, name, w.condition, training_seed), snakemake.output[0])
