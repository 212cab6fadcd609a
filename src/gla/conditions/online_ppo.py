"""A baseline: PPO from scratch, in each seed separately, with so few steps in an update that a thousand steps make many updates."""

from typing import Any

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.learners.ppo import Population
from gla.learners.small_batches import LOG_STD, settings
from gla.progress import Progress
from gla.rollout import EpisodeRows, check_ended, most_steps
from gla.splits import seed_of, tasks_of


def run(entry: Environment, evaluation: Evaluation, label: str, files: list, **changed: Any) -> list[EpisodeRows]:
    """See gla.conditions. changed: settings of the learner that replace its defaults, to search for the best ones."""
    log_std = changed.pop("log_std", LOG_STD)
    ppo = settings(**changed)
    seed = 2**31 + seed_of(evaluation)  # no collection has such a seed
    tasks = tasks_of(entry, evaluation.split)
    population = Population(ppo, entry.id, entry.kwargs, tasks, range(evaluation.seeds), 1, seed, label)
    population.parameters["log_std"][: evaluation.seeds] = log_std
    rows, total = EpisodeRows(evaluation.seeds, evaluation.episodes), most_steps(population.envs, evaluation)
    progress = Progress(label, total, "steps of each seed")
    try:
        while rows.env_steps < total and not rows.finished:
            population.steps = take = min(ppo.num_steps, total - rows.env_steps)
            rollout = population.collect()
            done = rollout.terminated | rollout.truncated
            for t in range(take):
                rows.add(rollout.reward[:, 0, t], done[:, 0, t])
            if rows.env_steps < total:
                population.improve(rollout)
            progress.advance(take)
        check_ended(rows, population.envs, evaluation)
    finally:
        population.close()
    return [rows]
