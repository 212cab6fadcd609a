"""An agent's folder to its rollouts in one environment under one condition."""

from pathlib import Path

from gla import agent, evaluate, stages
from gla.config import Environment, Evaluation
from gla.job import job

with job(snakemake.threads, snakemake.config["pathvars"]["results"]):
    w, environment = snakemake.wildcards, dict(snakemake.params.environment)
    name = environment.pop("name")
    rows = evaluate.run_agent(
        agent.load(Path(snakemake.input.agent).parent),
        Environment.model_validate(environment),
        Evaluation.model_validate({"environment": name, **snakemake.params.evaluation}),
        w.condition,
        f"evaluate {w.evaluation} {w.agent} {w.condition}",
    )
    trained, training_seed = stages.network(w.agent)
    evaluate.write_rows(rows.frame(trained, name, w.condition, training_seed), snakemake.output[0])
