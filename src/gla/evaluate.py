"""In-context rollouts (Kirsch et al., 2023, Algorithm 2) and the baselines that stand beside them.

Every runner returns the same tidy rows, one for each seed and finished episode::

    agent, environment, condition, training_seed, seed, episode, env_steps, episode_return, episode_length, rewards_vary

env_steps counts the seed's steps up to and including the episode's last. Test seed s has the task
s % n of the environment's tasks of the evaluation's split. training_seed is the number of the network, or of the
reference's run; rewards_vary says whether rewards differed at all, without which no control tells anything. Conditions:

- agent: the agent, from an empty context, under a projection that it never saw.
- rewards_hidden: the same, with every reward in the context replaced by the constant 0.
- rewards_shuffled: the same, each seed seeing the rewards of the seed before it: of the same sizes
  and at the same times, and of no use.
- context_wiped: the same, the context emptied whenever an episode ends.
- random: uniform over the action space. zero_action: always the zero vector, or action 0.
- online_ppo, online_linear, online_ars: learners from scratch at as many steps, with settings of their own (gla.learners).
- ppo_final: the last policies of the environment's histories, at the evaluation's temperature.
- reference: PPO that was trained for long on the same tasks (gla.reference), at the evaluation's temperature.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gla import augment, histories, learners, reference
from gla.agent import Agent
from gla.config import ONLINE, PPO, ConfigError, Environment, Evaluation
from gla.distributions import pull_back
from gla.environments import EnvSpec, VectorEnv, time_limit
from gla.files import ANEW, CorruptFile, atomic, check, place
from gla.learners import ppo
from gla.ppo import NumericalError, Policy, Population, sample_action
from gla.progress import Progress
from gla.windows import RunningStandardiser

COLUMNS = (
    "agent", "environment", "condition", "training_seed", "seed", "episode", "env_steps", "episode_return", "episode_length",
    "rewards_vary",
)  # fmt: skip
NAMES, COUNTS = COLUMNS[:3], (*COLUMNS[3:7], "episode_length")
# What rollouts may claim to hold: three times the rows for a byte that the emptiest ones have.
MOST_ROWS, ROWS_PER_BYTE, NAMES_BYTES, NETWORKS, SEEDS = 5_000_000, 16, 2**28, 2**10, 2**20


class EpisodeRows:
    """Gathers the rows of N seeds whose episodes end at different times."""

    def __init__(self, seeds: int, episodes: int | None):
        self.limit = episodes
        self.running, self.length = np.zeros(seeds), np.zeros(seeds, np.int64)
        self.episode = np.zeros(seeds, np.int64)
        self.env_steps = 0
        self.least, self.most = np.inf, -np.inf  # rewards of any seed
        self.rows: list[tuple] = []

    def add(self, reward: np.ndarray, done: np.ndarray) -> None:
        """One step of every seed; reward and done are (N,)."""
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
        """The rows, by seed and episode."""
        frame = pd.DataFrame(self.rows, columns=("seed", "episode", "env_steps", "episode_return", "episode_length"))
        frame = frame.sort_values(["seed", "episode"], ignore_index=True)
        frame = frame.assign(agent=agent, environment=environment, condition=condition, training_seed=training_seed)
        frame["rewards_vary"] = self.most > self.least
        return frame[list(COLUMNS)]


def _environments(entry: Environment, evaluation: Evaluation) -> VectorEnv:
    tasks, seeds = entry.tasks_of(evaluation.split), range(evaluation.seeds)
    kwargs, names = [entry.kwargs | tasks[s % len(tasks)] for s in seeds], [f"environment {entry.id!r}, seed {s}" for s in seeds]
    return VectorEnv(entry.id, kwargs, evaluation.split_seed, names)


def _most_steps(envs: VectorEnv, evaluation: Evaluation) -> int:
    """Steps of a seed after which a rollout surely ends."""
    if evaluation.steps is not None:
        return evaluation.steps
    limit = time_limit(envs.envs[0])
    if limit is None:
        raise ConfigError(
            f"environment {envs.envs[0].spec.id!r} has no time limit, so {evaluation.episodes} episodes need not end "
            "(expected kwargs.max_episode_steps in its config, or steps instead of episodes in the evaluation)"
        )
    return evaluation.episodes * limit


def _check_finite(where: str, what: str, value: np.ndarray, t: int) -> None:
    """value: (N, ...) of N seeds, at step t. Raises NumericalError."""
    # NaN compares false; rewards are tokens, and of their type.
    bad = ~(np.abs(value.reshape(len(value), -1)) <= np.finfo(np.float32).max).all(1)
    if bad.any():
        raise NumericalError(f"evaluate: {where}, seed {int(np.flatnonzero(bad)[0])}, step {t}: {what} is not finite")


def _run(envs: VectorEnv, evaluation: Evaluation, label: str, act, observe=lambda *_: None) -> EpisodeRows:
    """Step all seeds with ``act(observation, t) -> actions``; ``observe(step, actions, t)`` sees what followed."""
    rows, total = EpisodeRows(evaluation.seeds, evaluation.episodes), _most_steps(envs, evaluation)
    progress = Progress(label, total, "steps of each seed")
    observation, where = envs.reset(), f"{label}, environment {envs.envs[0].spec.id!r}"
    _check_finite(where, "the first observation", observation, 0)
    for t in range(total):
        action = act(observation, t)
        _check_finite(where, "action", action, t)
        step = envs.step(action)
        _check_finite(where, "observation", step.observation, t)
        _check_finite(where, "reward", step.reward, t)
        rows.add(step.reward, step.terminated | step.truncated)
        observe(step, action, t)
        observation = step.observation
        progress.advance(1)
        if rows.finished:
            break
    return rows


def _projection_seeds(agent: Agent, evaluation: Evaluation) -> np.ndarray | None:
    """One for each test seed, (N,); None for the identity."""
    if agent.identity_projection:
        return None
    if evaluation.projections == "seen":
        return augment.TRAIN + np.arange(evaluation.seeds) % agent.manifest["projections"]["train"]
    return augment.TEST + evaluation.split_seed * 2**20 + np.arange(evaluation.seeds)


class InContext:
    """One agent in N contexts that begin empty: ``act`` on what is seen now, then ``observe`` what followed.

    spec: of the environment. evaluation: its seeds say N, and with its seed which projections are drawn.
    steps: those over which eta goes from its first to its last value; it stays there.
    """

    def __init__(self, agent: Agent, spec: EnvSpec, evaluation: Evaluation, steps: int):
        self.agent, self.spec, self.evaluation, self.steps, self.t = agent, spec, evaluation, steps, 0
        n = self.n = evaluation.seeds
        self.model = agent.model.sequence
        self.device = next(self.model.parameters()).device
        self.generator = torch.Generator().manual_seed(evaluation.split_seed)
        seeds = _projection_seeds(agent, evaluation)
        self.w, self.a = augment.projections(seeds, n, spec.observation_size, spec.action_size)
        self.cache = self.model.cache(n, min(evaluation.window, steps))
        self.standardise_observation, self.standardise_reward = RunningStandardiser(), RunningStandardiser()
        # What a token holds of the step before: (observation, action, reward, end), as in tokens().
        self.previous: list[Tensor] = [torch.zeros(n, 64), torch.zeros(n, 16), torch.zeros(n), torch.ones(n)]

    @torch.inference_mode()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """Observations (N, d) to actions, (N, a) or integers (N,)."""
        agent, evaluation, n, previous = self.agent, self.evaluation, self.n, self.previous
        raw = torch.from_numpy(observation)
        scaled = self.standardise_observation(raw) if agent.config.normalize else raw
        projected = torch.einsum("npd,nd->np", self.w, scaled)
        done = min(1.0, self.t / max(1, self.steps - 1))
        eta = evaluation.eta[0] + (evaluation.eta[1] - evaluation.eta[0]) * done
        eta = torch.full((n, 1), eta if agent.config.eta != "none" else 0.0)
        past = [previous[0], previous[1], previous[2].unsqueeze(1), previous[3].unsqueeze(1)]
        token = torch.cat([*past, projected, eta], 1).to(self.device)
        output = self.model.step(token, self.cache).cpu().unsqueeze(1)
        # An integer that was drawn from what is no number would look like any other.
        _check_finite(f"environment {evaluation.environment!r}", "the agent's output", output.numpy(), self.t)
        mean, log_std = (x.squeeze(1) for x in pull_back(output, self.a))
        discrete = self.spec.discrete
        action = sample_action(mean, None if discrete else log_std, self.generator, evaluation.temperature)
        previous[0] = projected
        previous[1] = self.a[torch.arange(n), :, action] if discrete else torch.einsum("npd,nd->np", self.a, action)
        self.t += 1
        return action.numpy()

    @torch.inference_mode()
    def observe(self, reward: np.ndarray, done: np.ndarray) -> None:
        """What the actions earned (N,), and where an episode ended (N,)."""
        value = torch.from_numpy(reward).float()
        if self.agent.config.normalize:
            value = self.standardise_reward(value.unsqueeze(1)).squeeze(1)
        self.previous[2], self.previous[3] = value, torch.from_numpy(done).float()

    @torch.inference_mode()
    def forget(self, streams: np.ndarray) -> None:
        """Empty the contexts (N,) bool that are true, after an episode's end: as before their first step."""
        rows = torch.from_numpy(streams)
        self.cache.forget(rows)
        for x in self.previous[:3]:
            x[rows] = 0.0
        if self.agent.config.normalize:
            self.standardise_observation.forget(rows)
            self.standardise_reward.forget(rows)


def run_agent(agent: Agent, entry: Environment, evaluation: Evaluation, condition: str, label: str = "agent") -> EpisodeRows:
    """The agent in its context, all seeds side by side; condition is ``agent`` or one of its controls."""
    envs = _environments(entry, evaluation)
    context = InContext(agent, envs.spec, evaluation, _most_steps(envs, evaluation))

    def observe(step, _action, _t) -> None:
        # A reward that is always 0 is 0 when standardised too.
        reward = np.zeros_like(step.reward) if condition == "rewards_hidden" else step.reward
        if condition == "rewards_shuffled":
            reward = np.roll(reward, 1)
        done = step.terminated | step.truncated
        context.observe(reward, done)
        if condition == "context_wiped" and done.any():
            context.forget(done)

    try:
        return _run(envs, evaluation, label, lambda observation, _t: context.act(observation), observe)
    finally:
        envs.close()


def run_simple(entry: Environment, evaluation: Evaluation, condition: str, label: str = "baseline") -> EpisodeRows:
    """``random`` or ``zero_action``."""
    envs = _environments(entry, evaluation)
    rng, spec, n = np.random.default_rng(evaluation.split_seed), envs.spec, evaluation.seeds

    def act(_observation, _t) -> np.ndarray:
        if condition == "zero_action":
            return np.zeros(n, np.int64) if spec.discrete else np.zeros((n, spec.action_size), np.float32)
        if spec.discrete:
            return rng.integers(0, spec.action_size, n)
        return rng.uniform(np.maximum(spec.low, -1e3), np.minimum(spec.high, 1e3), (n, spec.action_size)).astype(np.float32)

    try:
        return _run(envs, evaluation, label, act)
    finally:
        envs.close()


def run_online(entry: Environment, evaluation: Evaluation, condition: str, label: str = "online", **settings: Any) -> EpisodeRows:
    """A learner of ``gla.learners`` from scratch, each seed alone. settings: in the place of its own, to choose among."""
    if condition == "online_ppo":
        log_std = settings.pop("log_std", ppo.LOG_STD)
        return _run_online_ppo(entry, evaluation, label, ppo.settings(**settings), log_std)
    envs = _environments(entry, evaluation)
    learner = learners.KINDS[condition](envs.spec, evaluation.seeds, evaluation.split_seed, **settings)
    try:
        return _run(envs, evaluation, label, lambda observation, _t: learner.act(observation), lambda step, *_: learner.observe(step))
    finally:
        envs.close()


def _run_online_ppo(entry: Environment, evaluation: Evaluation, label: str, settings: PPO, log_std: float) -> EpisodeRows:
    alone = entry.model_copy(update={"ppo": settings, "tasks": entry.tasks_of(evaluation.split), "backend": "gymnasium"})
    seed = 2**31 + evaluation.split_seed  # apart from every collection's
    population = Population(alone, range(evaluation.seeds), 1, settings.steps, seed, label)
    population.parameters["log_std"][: evaluation.seeds] = log_std
    rows, total = EpisodeRows(evaluation.seeds, evaluation.episodes), _most_steps(population.envs, evaluation)
    progress = Progress(label, total, "steps of each seed")
    try:
        while rows.env_steps < total and not rows.finished:
            take = min(settings.steps, total - rows.env_steps)
            population.steps = take
            rollout = population.collect()
            done = rollout.terminated | rollout.truncated
            for t in range(take):
                rows.add(rollout.reward[:, 0, t], done[:, 0, t])
            if rows.env_steps < total:
                population.improve(rollout)
            progress.advance(take)
    finally:
        population.close()
    return rows


def _run_policies(policies: Policy, entry: Environment, evaluation: Evaluation, label: str) -> EpisodeRows:
    """Fixed policies, seed s acting by the s-th modulo their number."""
    envs = _environments(entry, evaluation)
    chosen = torch.arange(evaluation.seeds) % len(policies.w0)
    policy = Policy(*(field[chosen] for field in policies))
    generator = torch.Generator().manual_seed(evaluation.split_seed)

    def act(observation: np.ndarray, t: int) -> np.ndarray:
        mean = policy(torch.from_numpy(observation).unsqueeze(1)).squeeze(1)
        _check_finite(f"{label}, environment {entry.id!r}", "the policy's output", mean.numpy(), t)
        return sample_action(mean, None if envs.spec.discrete else policy.log_std, generator, evaluation.temperature).numpy()

    try:
        return _run(envs, evaluation, label, act)
    finally:
        envs.close()


def run_ppo_final(entry: Environment, evaluation: Evaluation, stores: list[tuple[str, str]], label: str = "ppo_final") -> EpisodeRows:
    """The last policies of the histories; seed s acts by a lifetime that had its task."""
    last = [[field[:, -1] for field in histories.read(*store).policy] for store in stores]
    policies = [torch.cat(field) for field in zip(*last, strict=True)]
    lifetimes, tasks = len(policies[0]), len(entry.tasks) or 1
    usable = lifetimes - lifetimes % tasks or lifetimes  # a multiple of the tasks, so that s % usable keeps s's task
    return _run_policies(Policy(*(field[:usable] for field in policies)), entry, evaluation, label)


def run_reference(entry: Environment, evaluation: Evaluation, path: str | Path, label: str = "reference") -> list[EpisodeRows]:
    """Each run of the reference in ``path`` (gla.reference), in every seed."""
    runs = reference.read(path)
    return [_run_policies(policies, entry, evaluation, f"{label} run {i}") for i, policies in enumerate(runs)]


def run_baseline(
    entry: Environment, evaluation: Evaluation, condition: str, stores: list[tuple[str, str]], trained: str | Path, name: str, label: str
) -> pd.DataFrame:
    """Rows of any baseline by its condition. stores: of ``ppo_final``; trained: the policies of ``reference``; name: the
    environment's."""
    if condition == "reference":
        runs = run_reference(entry, evaluation, trained, label)
    elif condition == "ppo_final":
        runs = [run_ppo_final(entry, evaluation, stores, label)]
    else:
        runs = [(run_online if condition in ONLINE else run_simple)(entry, evaluation, condition, label)]
    return pd.concat([rows.frame("baseline", name, condition, i) for i, rows in enumerate(runs)], ignore_index=True)


def write_rows(frame: pd.DataFrame, path: str | Path) -> None:
    """One Parquet file of tidy rows."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def _check_claims(path: str | Path) -> None:
    """Raises CorruptFile where a Parquet file says of itself what ``write_rows`` would not, before any of it is unpacked."""
    claimed = pq.read_metadata(path)
    types = {f.name: f.type for f in claimed.schema.to_arrow_schema()}
    rows, groups = claimed.num_rows, [claimed.row_group(i) for i in range(claimed.num_row_groups)]
    for name in COLUMNS:
        if name not in types:
            raise CorruptFile(f"{path}: no column {name!r} (expected {', '.join(COLUMNS)}); {ANEW}")
        kinds = {pa.float64()} if name == "episode_return" else {pa.bool_()} if name == "rewards_vary" else {pa.int64()}
        kinds = {pa.string(), pa.large_string()} if name in NAMES else kinds
        if types[name] not in kinds and (rows or types[name] != pa.null()):  # of no rows no type is known
            raise CorruptFile(f"{path}: column {name!r} is of type {types[name]} (expected {' or '.join(sorted(map(str, kinds)))}); {ANEW}")
    most = min(MOST_ROWS, ROWS_PER_BYTE * os.path.getsize(path))
    if rows > most or rows != sum(g.num_rows for g in groups):
        raise CorruptFile(f"{path}: {rows} rows in {os.path.getsize(path)} bytes (expected at most {most}); {ANEW}")
    for column in (g.column(i) for g in groups for i in range(g.num_columns)):
        size = 1000 + rows * (1 if column.path_in_schema in NAMES else 32)
        if column.compression != "SNAPPY" or not {"PLAIN", "RLE", "RLE_DICTIONARY"}.issuperset(column.encodings):
            raise CorruptFile(f"{path}: column {column.path_in_schema!r} is packed by {column.compression} of {column.encodings} (expected SNAPPY); {ANEW}")
        if column.total_uncompressed_size > size:
            raise CorruptFile(f"{path}: column {column.path_in_schema!r} has {column.total_uncompressed_size} bytes (expected at most {size}); {ANEW}")
    # A name of a megabyte is there once, and then in every row.
    names = pq.read_table(path, columns=list(NAMES), read_dictionary=list(NAMES)) if rows else pa.table({})
    parts = [part for column in names.columns for part in column.chunks]
    letters = sum(len(part) * max(map(len, part.dictionary.to_pylist()), default=0) for part in parts)
    if letters > NAMES_BYTES:
        raise CorruptFile(f"{path}: names of {letters} letters in all (expected at most {NAMES_BYTES}); {ANEW}")


def _check_rows(frame: pd.DataFrame, path: str | Path) -> None:
    """Raises CorruptFile where rows are none of a runner's, or not of the agent and the condition that the path says."""
    counts = frame[list(COUNTS)]
    if frame.isna().any(axis=None) or not np.isfinite(frame["episode_return"].astype(float)).all():
        raise CorruptFile(f"{path}: a value is missing or not finite (expected one in every column); {ANEW}")
    if (counts < 0).any(axis=None) or (frame["seed"] >= SEEDS).any() or (frame["training_seed"] >= NETWORKS).any():
        raise CorruptFile(f"{path}: a count is out of its range (expected seeds below {SEEDS} and training seeds below {NETWORKS}); {ANEW}")
    if frame.duplicated([*NAMES, "training_seed", "seed", "episode"]).any():
        raise CorruptFile(f"{path}: an episode is there twice (expected one row for each); {ANEW}")
    where = place(path).split("/")
    if where[0] == "rollouts":
        networks = frame[["agent", "training_seed", "condition"]].drop_duplicates().itertuples(index=False)
        found = {(a if a == "baseline" or not k else f"{a}.{k}", c) for a, k, c in networks}
        if found - {(where[2], Path(where[3]).stem)}:
            raise CorruptFile(f"{path}: rollouts of {' '.join(min(found))} (expected those of {where[2]} {Path(where[3]).stem}); {ANEW}")
    if frame["environment"].nunique() > 1:
        raise CorruptFile(f"{path}: rollouts in several environments (expected one); {ANEW}")


def read_rows(path: str | Path) -> pd.DataFrame:
    """Raises CorruptFile naming a file that holds no rollouts, those of something else than its place says, or was altered."""
    try:
        check(path)
        _check_claims(path)
        frame = pd.read_parquet(path, columns=list(COLUMNS))
        _check_rows(frame, path)
    except CorruptFile:
        raise
    except Exception as error:  # Arrow and pandas raise a dozen kinds for a file that they did not write
        said = " ".join(str(error).split())[:300]
        raise CorruptFile(f"{path}: not readable as rollouts in Parquet ({said}); {ANEW}") from None
    return frame


def read_evaluation(paths: Iterable[str | Path]) -> pd.DataFrame:
    """All rollouts of one evaluation. Raises CorruptFile as ``read_rows`` does, and naming one of another environment than the first."""
    frames = {path: read_rows(path) for path in paths}
    environments = {path: frame["environment"].iloc[0] for path, frame in frames.items() if len(frame)}
    for path, environment in environments.items():
        if environment != (expected := next(iter(environments.values()))):
            raise CorruptFile(f"{path}: rollouts in {environment!r} (expected {expected!r}, as in the evaluation's other rollouts); {ANEW}")
    return pd.concat(frames.values(), ignore_index=True)
