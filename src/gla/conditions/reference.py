"""A baseline: PPO that was trained for long on the tasks that are evaluated (gla.reference). Each of its runs acts in every seed."""

from gla import reference
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.rollout import EpisodeRows, run_policies


def run(entry: Environment, evaluation: Evaluation, label: str, files: list[str]) -> list[EpisodeRows]:
    """See gla.conditions."""
    (path,) = files
    return [
        run_policies(policies, entry, evaluation, f"{label} run {i}") for i, policies in enumerate(reference.read(path))
    ]
