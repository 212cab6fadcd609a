"""Checks of a config that need the environments themselves, made before any job starts."""

import contextlib
import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gla.checked import modules
from gla.conditions.kinds import CONDITIONS
from gla.config.environments import Environment
from gla.config.whole import Config
from gla.encoding.kinds import ENCODINGS
from gla.files import CorruptFile, fingerprint, read_json, sha256, write_json
from gla.options import ConfigError, cut

ENVIRONMENTS = Path(__file__).parent / "environments"
CACHE = ".snakemake/environments.json"
Facts = dict[str, Any]


def _key(entry: Environment, backends: set[str]) -> str:
    """Returns the hash of everything that decides the facts about an environment."""
    versions = [version(p) for p in ("gymnasium", "mujoco", "dm-control", "shimmy")]
    own = [sha256(p) for p in (Path(__file__), *sorted(ENVIRONMENTS.glob("*.py")), *modules(entry.id))]
    if "envpool" in backends:
        with contextlib.suppress(PackageNotFoundError):
            versions.append(version("envpool"))
    tasks = [entry.tasks, entry.validation_tasks, entry.test_tasks]
    return fingerprint([entry.id, entry.kwargs, tasks, sorted(backends), versions, own])


def _backends(config: Config, name: str) -> dict[str, str]:
    """Returns the backends of an environment, by the config key that names each: those of its sources and that of its reference."""
    found = {f"environments.{name}.reference.backend": config.environments[name].reference.backend}
    own = {
        f"sources.{s}.backend": getattr(e, "backend", "gymnasium")
        for s, e in config.sources.items()
        if e.environment == name
    }
    return found | own


def _made(
    entry: Environment, kwargs: dict[str, Any], where: str, name: str, backends: dict[str, str]
) -> tuple[dict[str, Any], Any, Any]:
    """Makes an environment and steps it once. Returns its sizes, its time limit and the bounds of its actions, which are None if these are
    discrete. where: the key of kwargs in the config. Raises ConfigError if the environment cannot be used."""
    # Slow to import, and needed only for new entries.
    import gymnasium as gym
    import numpy as np

    from gla.environments.making import time_limit
    from gla.environments.spaces import UnsupportedEnvironment
    from gla.environments.vector import VectorEnv

    blamed = where if kwargs else f"environments.{name}.id"
    if kwargs.get("render_mode") not in (None, "rgb_array"):
        expected = "none, or rgb_array: jobs have no display, and gla learn --video makes films"
        raise ConfigError(f"{where}: render_mode {kwargs['render_mode']!r} (expected {expected})")
    said = f"environment {entry.id!r} with {kwargs}" if kwargs else f"environment {entry.id!r}"
    named = f"{blamed}: {said}"  # with the key, since a process that has to be ended can say nothing more
    try:
        envs = VectorEnv(entry.id, [kwargs], 0, [named])
    except UnsupportedEnvironment as error:
        raised = error.__context__  # the original error, if Gymnasium or the environment's code raised one
        text = str(error).removeprefix(f"{blamed}: ")
        if isinstance(raised, TypeError | ValueError):
            raise ConfigError(f"{where}: {text} (expected keyword arguments that it takes)") from None
        key = f"environments.{name}.id" if isinstance(raised, gym.error.Error | None) else where
        raise ConfigError(f"{key}: {text}") from None
    spec, limit = envs.spec, time_limit(envs.envs[0])
    try:
        seen = {"first observation": envs.reset()}
        step = envs.step(np.zeros(1, np.int64) if spec.discrete else np.zeros((1, spec.action_size), np.float32))
    except UnsupportedEnvironment as error:
        raise ConfigError(str(error)) from None
    envs.close()
    for what, value in (seen | {"observation of step 0": step.observation, "reward of step 0": step.reward}).items():
        if not np.isfinite(value).all():
            raise ConfigError(f"{named}: {what} {value[0].tolist()} (expected finite numbers)")
    if key := next((key for key, backend in backends.items() if backend == "envpool"), None):
        from gla.environments.envpool import settings

        try:
            settings(entry.id, kwargs)
        except UnsupportedEnvironment as error:
            raise ConfigError(f"{key}: 'envpool' for {error}") from None
        except Exception as error:  # EnvPool may raise errors of any type
            said = f"{entry.id!r} with {kwargs}: {type(error).__name__}: {error} (expected one that EnvPool can make)"
            raise ConfigError(f"{key}: 'envpool' for {said}") from None
    facts = {
        "observation_size": spec.observation_size,
        "action_size": spec.action_size,
        "discrete": spec.discrete,
        "states": spec.states,
        "tables": hasattr(envs.envs[0].unwrapped, "tables"),
        "bounded": hasattr(envs.envs[0].unwrapped, "random_return"),
    }
    return facts, limit, None if spec.discrete else np.stack([spec.low, spec.high]).tolist()


def _facts(name: str, entry: Environment, backends: dict[str, str], made: dict[str, tuple]) -> dict[str, Any]:
    """Returns an environment's sizes and time limit. made: what was found of tasks that other entries have too. Raises ConfigError if it
    cannot be used."""
    first, actions = {}, None
    lists = {"tasks": entry.tasks or [{}], "validation_tasks": entry.validation_tasks, "test_tasks": entry.test_tasks}
    for key, i, task in ((key, i, task) for key, tasks in lists.items() for i, task in enumerate(tasks)):
        kwargs = entry.kwargs | task
        where = f"environments.{name}.{key}[{i}]" if task else f"environments.{name}.kwargs"
        same = fingerprint([entry.id, kwargs, sorted(backends.values())])
        made[same] = made.get(same) or _made(entry, kwargs, where, name, backends)
        facts, limit, bounds = made[same]
        first, actions = first or facts | {"time_limit": limit}, actions or bounds
        if facts.items() - first.items():
            raise ConfigError(f"{where}: {task} has {facts} (expected what tasks[0] has, {first})")
        if actions != bounds:
            raise ConfigError(f"{where}: {task} has actions between {bounds} (expected what tasks[0] has, {actions})")
    return first


def all_facts(config: Config, cache: str | Path = CACHE) -> dict[str, Facts]:
    """Returns each environment's observation_size, action_size, discrete, states, tables (whether it is given by tables), bounded (whether
    the returns of random actions and of the best policy can be computed) and time_limit (None if it has none).

    cache: a JSON file of earlier findings, since making environments takes seconds. Raises ConfigError with a line for each
    environment that cannot be used.
    """
    backends = {name: _backends(config, name) for name in config.environments}
    keys = {name: _key(entry, set(backends[name].values())) for name, entry in config.environments.items()}
    before, faults = None, []
    with contextlib.suppress(CorruptFile):
        before = read_json(cache)
    known = dict(before) if isinstance(before, dict) else {}
    handlers = list(logging.root.handlers)
    made: dict[str, tuple] = {}
    for name, key in keys.items():
        try:
            known[key] = known.get(key) or _facts(name, config.environments[name], backends[name], made)
        except ConfigError as error:
            faults.append(cut(" ".join(str(error).split())))  # one line, even if Gymnasium's message has more
    logging.root.handlers[:] = handlers  # dm-control adds one, which would print Snakemake's lines twice
    if known != before:
        with contextlib.suppress(OSError):  # without a cache only time is lost
            write_json(cache, known)
    if faults:
        raise ConfigError("\n".join(faults))
    return {name: known[key] for name, key in keys.items()}


def sources(config: Config, facts: dict[str, Facts]) -> list[str]:
    """Returns a line for each source that cannot act in its environment."""
    return [
        f"sources.{name}.{problem}"
        for name, source in config.sources.items()
        for problem in source.problems_in(source.environment, facts[source.environment])
    ]


def trainers(config: Config, facts: dict[str, Facts]) -> list[str]:
    """Returns a line for each environment that an agent is trained in and cannot be."""
    return [
        f"agents.{name}.training.{problem}"
        for name, agent in config.agents.items()
        for environment in dict.fromkeys(config.sources[s].environment for s in config.datasets[agent.dataset].sources)
        for problem in agent.training.problems_in(environment, facts[environment])
    ]


def figures(config: Config, facts: dict[str, Facts]) -> list[str]:
    """Returns a line for each panel of normalised scores whose evaluation has none."""
    found = []
    for name, figure in config.figures.items():
        for i, panel in enumerate(figure.panels if figure.normalised else []):
            evaluation = config.evaluations[panel.evaluation]
            where = f"figures.{name}.panels[{i}].evaluation: {panel.evaluation!r}"
            if not facts[evaluation.environment]["bounded"]:
                found.append(
                    f"{where} in {evaluation.environment!r} (expected one in a tabular world of gla, whose best policy can be computed)"
                )
            if evaluation.env_steps is None:
                found.append(
                    f"{where} of {evaluation.episodes} episodes (expected one with env_steps, so that all methods take as many steps)"
                )
    return found


def conditions(config: Config, facts: dict[str, Facts]) -> list[str]:
    """Returns a line for each baseline that cannot act in its evaluation's environment."""
    return [
        f"evaluations.{name}.baselines: {baseline!r} in {evaluation.environment!r} (expected an environment whose observations and actions are Discrete)"
        for name, evaluation in config.evaluations.items()
        for baseline in evaluation.baselines
        if CONDITIONS[baseline].tabular
        and not (facts[evaluation.environment]["states"] and facts[evaluation.environment]["discrete"])
    ]


def models(config: Config, facts: dict[str, Facts]) -> list[str]:
    """Returns a line for each agent whose model counts states, and for each environment without states that it is trained or evaluated in."""
    return [
        f"agents.{name}.model.kind: {agent.model.kind!r} in environment {environment!r} (expected one whose observations are Discrete)"
        for name, agent in config.agents.items()
        if agent.model.counts_states
        for environment in dict.fromkeys([
            *(config.sources[s].environment for s in config.datasets[agent.dataset].sources),
            *(v.environment for v in config.evaluations.values() if name in v.agents),
        ])
        if not facts[environment]["states"]
    ]  # fmt: skip


def encodings(config: Config, facts: dict[str, Facts]) -> list[str]:
    """Returns a line for each environment that an agent is trained or evaluated in and that its encoding cannot hold."""
    from gla.environments.spaces import EnvSpec, UnsupportedEnvironment

    used = [
        (f"datasets.{n}.sources: {s!r}", n, config.sources[s].environment)
        for n, d in config.datasets.items()
        for s in d.sources
    ]
    used += [
        (f"evaluations.{n}.agents: {a!r}", config.agents[a].dataset, v.environment)
        for n, v in config.evaluations.items()
        for a in v.agents
    ]
    found: dict[tuple[str, str], str] = {}
    for where, dataset, environment in used:
        known, options = facts[environment], config.datasets[dataset].encoding
        spec = EnvSpec(known["observation_size"], known["action_size"], known["discrete"], None, None, known["states"])
        try:
            ENCODINGS[options.kind].Encoding(options).check(config.environments[environment].id, spec)
        except UnsupportedEnvironment as error:
            found.setdefault((dataset, environment), f"{where}: {error}")  # only the first of equal errors is kept
    return list(found.values())
