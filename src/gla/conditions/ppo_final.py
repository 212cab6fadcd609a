"""A baseline: the last policies of the environment's learning histories. Seed s uses the policy of a lifetime with the same task."""

import torch

from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.files import CorruptFile
from gla.policies import Policy
from gla.rollout import EpisodeRows, run_policies
from gla.storage.reading import read


def run(entry: Environment, evaluation: Evaluation, label: str, files: list[tuple[str, str]]) -> list[EpisodeRows]:
    """See gla.conditions. Raises CorruptFile if the policies of the stores have different sizes, since those of one source
    are alike.
    """
    last = [[field[:, -1] for field in read(*store).policy] for store in files]
    sizes = [[tuple(field.shape[1:]) for field in own] for own in last]
    for (store, _), own in zip(files, sizes, strict=True):
        if own != sizes[0]:
            raise CorruptFile(
                f"{store}: policies of sizes {own} (expected {sizes[0]}, as in {files[0][0]}); delete {store}, and Snakemake makes it again"
            )
    policies = [torch.cat(field) for field in zip(*last, strict=True)]
    lifetimes, tasks = len(policies[0]), len(entry.tasks) or 1
    usable = lifetimes - lifetimes % tasks or lifetimes  # a multiple of the tasks, so that s % usable keeps the task
    return [run_policies(Policy(*(field[:usable] for field in policies)), entry, evaluation, label)]
