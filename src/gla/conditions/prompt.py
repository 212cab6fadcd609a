"""A baseline: the episodes of the prompt, to see whether agents do better than what they are shown."""

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.prompts import prompt
from gla.rollout import EpisodeRows


def run(entry: Environment, evaluation: Evaluation, label: str, files: list[tuple[str, str]]) -> list[EpisodeRows]:
    """See gla.conditions. If the prompt begins inside of an episode, only the part that is shown counts."""
    shown = prompt(files, evaluation, len(entry.tasks) or 1)
    rows = EpisodeRows(evaluation.seeds, None)
    for t in range(shown.reward.shape[1]):
        rows.add(shown.reward[:, t], shown.done[:, t])
    return [rows]
