"""A baseline: the last policies of the environment's learning histories. Seed s acts by a lifetime that had its task."""

import torch

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.policies import Policy
from gla.rollout import EpisodeRows, run_policies
from gla.storage.reading import read


def run(entry: Environment, evaluation: Evaluation, label: str, files: list[tuple[str, str]]) -> list[EpisodeRows]:
    """See gla.conditions."""
    last = [[field[:, -1] for field in read(*store).policy] for store in files]
    policies = [torch.cat(field) for field in zip(*last, strict=True)]
    lifetimes, tasks = len(policies[0]), len(entry.tasks) or 1
    usable = lifetimes - lifetimes % tasks or lifetimes  # a multiple of the tasks, so that s % usable keeps s's task
    return [run_policies(Policy(*(field[:usable] for field in policies)), entry, evaluation, label)]
