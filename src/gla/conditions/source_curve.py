"""A baseline: the environment's learning histories themselves. Seed s has a lifetime with the same task."""

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.prompts import lived
from gla.rollout import EpisodeRows


def run(entry: Environment, evaluation: Evaluation, label: str, files: list[tuple[str, str]]) -> list[EpisodeRows]:
    """See gla.conditions. If histories are shorter than the evaluation, later episodes are missing."""
    whole = lived(files, evaluation.seeds, len(entry.tasks) or 1)
    rows = EpisodeRows(evaluation.seeds, evaluation.episodes)
    for t in range(min(whole.reward.shape[1], evaluation.env_steps or whole.reward.shape[1])):
        rows.add(whole.reward[:, t], whole.done[:, t])
        if rows.finished:
            break
    return [rows]
