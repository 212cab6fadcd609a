"""Rollouts: environments that are stepped side by side, one for each test seed, and the rows that they leave behind.

The actor is a function. The conditions of an evaluation (gla.conditions) provide the actors.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from gla.conditions.kinds import runner
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.environments.making import time_limit
from gla.environments.spaces import EnvSpec
from gla.environments.vector import vector_env
from gla.files import CorruptFile
from gla.options import ConfigError
from gla.policies import NumericalError, Policy, sample_action
from gla.progress import Progress
from gla.rows import COLUMNS
from gla.splits import seed_of, tasks_of

LONGEST = 10_000  # steps that an episode may take on average where there is no time limit


class RecordedSteps(NamedTuple):
    """Steps of S contexts: observation (S, T, d) float32, action (S, T) integers or (S, T, a), reward (S, T), done (S, T) bool."""

    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    done: np.ndarray


class EpisodeRows:
    """Gathers the rows of N seeds whose episodes end at different times."""

    def __init__(self, seeds: int, episodes: int | None):
        self.limit = episodes
        self.running, self.length = np.zeros(seeds), np.zeros(seeds, np.int64)
        self.episode = np.zeros(seeds, np.int64)
        self.env_steps = 0
        self.least, self.most = np.inf, -np.inf  # smallest and largest reward of all seeds
        self.rows: list[tuple] = []

    def add(self, reward: np.ndarray, done: np.ndarray) -> None:
        """Adds one step of every seed. reward and done are (N,)."""
        self.env_steps += 1
        self.running += reward
        self.length += 1
        self.least, self.most = min(self.least, float(reward.min())), max(self.most, float(reward.max()))
        for s in np.flatnonzero(done):
            if self.limit is None or self.episode[s] < self.limit:
                self.rows.append((s, self.episode[s], self.env_steps, self.running[s], self.length[s]))
            self.episode[s] += 1
            self.running[s], self.length[s] = 0.0, 0

    @property
    def finished(self) -> bool:
        """Whether every seed has had all its episodes."""
        return self.limit is not None and bool((self.episode >= self.limit).all())

    def frame(self, agent: str, environment: str, condition: str, training_seed: int = 0) -> pd.DataFrame:
        """Returns the rows, sorted by seed and episode."""
        frame = pd.DataFrame(self.rows, columns=("seed", "episode", "env_steps", "episode_return", "episode_length"))
        frame = frame.sort_values(["seed", "episode"], ignore_index=True)
        frame = frame.assign(agent=agent, environment=environment, condition=condition, training_seed=training_seed)
        frame["rewards_vary"] = self.most > self.least
        return frame[list(COLUMNS)]


def environments_of(entry: Environment, evaluation: Evaluation) -> Any:
    """Returns one environment for each seed, side by side."""
    tasks, seeds = tasks_of(entry, evaluation.split), range(evaluation.seeds)
    kwargs, names = (
        [entry.kwargs | tasks[s % len(tasks)] for s in seeds],
        [f"environment {entry.id!r}, seed {s}" for s in seeds],
    )
    return vector_env("gymnasium", entry.id, kwargs, seed_of(evaluation), names=names)


def most_steps(envs: Any, evaluation: Evaluation) -> int:
    """Returns the number of steps of a seed after which a rollout has ended, or is ended."""
    if evaluation.env_steps is not None:
        return evaluation.env_steps
    return evaluation.episodes * (time_limit(envs.envs[0]) or LONGEST)


def check_ended(rows: EpisodeRows, envs: Any, evaluation: Evaluation) -> None:
    """Raises ConfigError if a rollout of some episodes is over before they are, which needs an environment without a time limit."""
    if evaluation.episodes is not None and not rows.finished:
        raise ConfigError(
            f"environment {envs.envs[0].spec.id!r} has no time limit, and {evaluation.episodes} episodes took more than {rows.env_steps} "
            "steps (expected kwargs.max_episode_steps in its config, or env_steps instead of episodes in the evaluation)"
        )


def check_finite(where: str, what: str, value: np.ndarray, t: int) -> None:
    """Raises NumericalError if a value is not finite. value: (N, ...) of N seeds, at step t."""
    # Comparisons with NaN are false. Rewards become tokens, and must be finite in their type.
    bad = ~(np.abs(value.reshape(len(value), -1)) <= np.finfo(np.float32).max).all(1)
    if bad.any():
        raise NumericalError(f"evaluate: {where}, seed {int(np.flatnonzero(bad)[0])}, step {t}: {what} is not finite")


def run_all(envs: Any, evaluation: Evaluation, label: str, act, observe=lambda *_: None) -> EpisodeRows:
    """Steps all seeds with ``act(observation, t) -> actions``. ``observe(step, actions, t)`` is called with the outcome."""
    rows, total = EpisodeRows(evaluation.seeds, evaluation.episodes), most_steps(envs, evaluation)
    progress = Progress(label, total, "steps of each seed")
    observation, where = envs.reset(), f"{label}, environment {envs.envs[0].spec.id!r}"
    check_finite(where, "the first observation", observation, 0)
    for t in range(total):
        action = act(observation, t)
        check_finite(where, "action", action, t)
        step = envs.step(action)
        check_finite(where, "observation", step.observation, t)
        check_finite(where, "reward", step.reward, t)
        rows.add(step.reward, step.terminated | step.truncated)
        observe(step, action, t)
        observation = step.observation
        progress.advance(1)
        if rows.finished:
            break
    check_ended(rows, envs, evaluation)
    return rows


def run_in(
    entry: Environment, evaluation: Evaluation, label: str, act: Callable[[EnvSpec, np.ndarray, int], np.ndarray]
) -> EpisodeRows:
    """Runs all seeds in new environments. ``act(spec, observation, t)`` returns actions, and sees no outcomes."""
    envs = environments_of(entry, evaluation)
    try:
        return run_all(envs, evaluation, label, lambda observation, t: act(envs.spec, observation, t))
    finally:
        envs.close()


def run_learner(make: Callable, entry: Environment, evaluation: Evaluation, label: str, **settings: Any) -> EpisodeRows:
    """Runs a learner from scratch in each seed separately. ``make(spec, seeds, seed, **settings)`` returns an object with
    ``act(observation)``, which returns actions, and ``observe(step)``. A setting that is a function is called with the environments."""
    envs = environments_of(entry, evaluation)
    try:
        own = {name: value(envs) if callable(value) else value for name, value in settings.items()}
        learner = make(envs.spec, evaluation.seeds, seed_of(evaluation), **own)
        return run_all(
            envs, evaluation, label, lambda seen, _t: learner.act(seen), lambda step, *_: learner.observe(step)
        )
    finally:
        envs.close()


def run_policies(policies: Policy, entry: Environment, evaluation: Evaluation, label: str) -> EpisodeRows:
    """Runs n fixed policies at the evaluation's temperature. Seed s acts by policy s % n.

    Raises CorruptFile if they belong to an environment of other sizes.
    """
    chosen = torch.arange(evaluation.seeds) % len(policies.w0)
    policy = Policy(*(field[chosen] for field in policies))
    generator = torch.Generator().manual_seed(seed_of(evaluation))

    def act(spec: EnvSpec, observation: np.ndarray, t: int) -> np.ndarray:
        if (found := (policy.w0.shape[1], policy.w2.shape[2])) != (sizes := (spec.observation_size, spec.action_size)):
            raise CorruptFile(
                f"{label}, environment {entry.id!r}: policies of observation and action sizes {found} (expected {sizes}; are they another environment's?)"
            )
        mean = policy(torch.from_numpy(observation).unsqueeze(1)).squeeze(1)
        check_finite(f"{label}, environment {entry.id!r}", "the policy's output", mean.numpy(), t)
        return sample_action(mean, None if spec.discrete else policy.log_std, generator, evaluation.temperature).numpy()

    return run_in(entry, evaluation, label, act)


def run_baseline(entry: Environment, evaluation: Evaluation, condition: str, files: list, label: str) -> pd.DataFrame:
    """Runs a baseline, given its condition, and returns its rows. files: those that it acts by (gla.conditions)."""
    runs = runner(condition).run(entry, evaluation, label, files)
    return pd.concat(
        [rows.frame("baseline", evaluation.environment, condition, i) for i, rows in enumerate(runs)], ignore_index=True
    )
