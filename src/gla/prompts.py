"""Prompts: steps of recorded histories that a context is shown before an agent acts (Laskin et al., 2022, Section 4.4)."""

from collections.abc import Sequence

import numpy as np

from gla.config.evaluations import Evaluation
from gla.options import ConfigError
from gla.rollout import RecordedSteps
from gla.storage.reading import read


def lived(files: Sequence[tuple[str, str]], seeds: int, tasks: int) -> RecordedSteps:
    """Returns a whole history for each test seed. Seed s has one with its own task s % tasks: that of lifetime s % n of the n
    lifetimes, where n is a multiple of the number of tasks. Seeds beyond n use the next copy of the environment in each
    round."""
    stores = [read(*pair, ("observation", "action", "reward", "terminated", "truncated")) for pair in files]
    whole = RecordedSteps(*(
        np.concatenate([of(s) for s in stores])
        for of in (lambda s: s.observation, lambda s: s.action, lambda s: s.reward, lambda s: s.terminated | s.truncated)
    ))  # fmt: skip
    n = len(whole.reward) - len(whole.reward) % tasks or len(whole.reward)
    lifetime, stream = np.arange(seeds) % n, np.arange(seeds) // n % whole.reward.shape[1]
    return RecordedSteps(*(x[lifetime, stream] for x in whole))


def prompt(files: Sequence[tuple[str, str]], evaluation: Evaluation, tasks: int) -> RecordedSteps:
    """Returns the steps that each context is shown: those before the last end of an episode in the part of the histories that
    is asked for.

    files: store and digest of each block of the prompt's source. Raises ConfigError if no episode ends there with this many
    steps before its end.
    """
    asked, whole = evaluation.prompt, lived(files, evaluation.seeds, tasks)
    length = whole.reward.shape[1]
    first, last = int(asked.part[0] * length), max(1, round(asked.part[1] * length))
    index = []
    for seed, done in enumerate(whole.done):
        ends = first + np.flatnonzero(done[first:last])
        ends = ends[ends + 1 >= asked.steps]
        if not len(ends):
            raise ConfigError(
                f"prompt: seed {seed}: no episode ends in part {asked.part} of a history of {length} steps of {asked.source!r} with "
                f"{asked.steps} steps before it (expected fewer steps, or another part)"
            )
        index.append(np.arange(ends[-1] + 1 - asked.steps, ends[-1] + 1))
    return RecordedSteps(*(np.stack([own[i] for own, i in zip(x, index, strict=True)]) for x in whole))
