"""A baseline: the episodes of the prompt that agents are shown, so that it can be seen whether they do better."""

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.prompts import prompt
from gla.rollout import EpisodeRows


def run(entry: Environment, evaluation: Evaluation, label: str, files: list[tuple[str, str]]) -> list[EpisodeRows]:
    """See gla.conditions. An episode that the prompt begins inside of counts with what is shown of it."""
    shown = prompt(files, evaluation, len(entry.tasks) or 1)
    rows = EpisodeRows(evaluation.seeds, None)
    for t in range(shown.reward.shape[1]):
        rows.add(shown.reward[:, t], shown.done[:, t])
    return [rows]
