"""What only the environments themselves and Matplotlib can say about a config, asked before any job starts."""

import contextlib
import importlib.util
import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gla.config import ConfigError, Environment, load
from gla.files import CorruptFile, fingerprint, read_json, sha256, write_json

ENVIRONMENTS = Path(__file__).parent / "environments"
CACHE = ".snakemake/environments.json"
PLENTY = 4000  # megabytes of a decoding cache that are worth a warning


def _key(entry: Environment) -> str:
    """Of everything that decides what an environment is like."""
    versions = [version(p) for p in ("gymnasium", "mujoco", "dm-control", "shimmy")]
    own = [sha256(p) for p in (Path(__file__), *sorted(ENVIRONMENTS.glob("*.py")), *sources(entry.id))]
    if "envpool" in _backends(entry):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(version("envpool"))
    tasks = [entry.tasks, entry.validation_tasks, entry.test_tasks]
    return fingerprint([entry.id, entry.kwargs, tasks, sorted(_backends(entry)), versions, own])


def sources(env_id: str) -> list[str]:
    """Files of the module that an id names, ``module:Name-v0``, or of the whole package that holds it; none for another id.

    Below the current folder they are relative to it. The module is found and not imported, and what it imports
    from elsewhere is not followed.
    """
    module, colon, _ = env_id.partition(":")
    try:
        spec = importlib.util.find_spec(module.partition(".")[0]) if colon else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:  # making the environment will say so
        return []
    folders = spec.submodule_search_locations
    found = [spec.origin] if folders is None else [p for folder in folders for p in Path(folder).rglob("*.py")]
    files, here = sorted({Path(p).absolute() for p in found if p and Path(p).is_file()}), Path.cwd()
    return [os.fspath(p.relative_to(here) if p.is_relative_to(here) else p) for p in files]


def _backends(entry: Environment) -> set[str]:
    """What steps the environment, while its sources learn and while its reference does."""
    return {entry.reference.backend, *([entry.backend] if entry.ppo else [])}


def _facts(name: str, entry: Environment) -> dict[str, Any]:
    """An environment's sizes and time limit. Raises ConfigError where it cannot be used."""
    # Slow, and needed for new entries alone.
    import gymnasium as gym
    import numpy as np

    from gla.environments import UnsupportedEnvironment, VectorEnv, time_limit

    first, actions = {}, None
    lists = {"tasks": entry.tasks or [{}], "validation_tasks": entry.validation_tasks, "test_tasks": entry.test_tasks}
    for key, i, task in ((key, i, task) for key, tasks in lists.items() for i, task in enumerate(tasks)):
        kwargs = entry.kwargs | task
        where = f"environments.{name}.{key}[{i}]" if task else f"environments.{name}.kwargs"
        blamed = where if kwargs else f"environments.{name}.id"
        if kwargs.get("render_mode") not in (None, "rgb_array"):
            expected = "none, or rgb_array: jobs have no display, and gla learn --video makes films"
            raise ConfigError(f"{where}: render_mode {kwargs['render_mode']!r} (expected {expected})")
        said = f"environment {entry.id!r} with {kwargs}" if kwargs else f"environment {entry.id!r}"
        try:
            envs = VectorEnv(entry.id, [kwargs], 0, [said])
        except UnsupportedEnvironment as error:
            raised = error.__context__  # by Gymnasium, by the environment's own code, or by nobody
            if isinstance(raised, TypeError | ValueError):
                raise ConfigError(f"{where}: {error} (expected keyword arguments that it takes)") from None
            key = f"environments.{name}.id" if isinstance(raised, gym.error.Error | None) else where
            raise ConfigError(f"{key}: {error}") from None
        spec, limit = envs.spec, time_limit(envs.envs[0])
        try:
            seen = {"first observation": envs.reset()}
            step = envs.step(np.zeros(1, np.int64) if spec.discrete else np.zeros((1, spec.action_size), np.float32))
        except UnsupportedEnvironment as error:
            raise ConfigError(f"{blamed}: {error}") from None
        envs.close()
        for what, value in (seen | {"observation of step 0": step.observation, "reward of step 0": step.reward}).items():
            if not np.isfinite(value).all():
                raise ConfigError(f"{blamed}: {said}: {what} {value[0].tolist()} (expected finite numbers)")
        if "envpool" in _backends(entry):
            from gla.environments.envpool import settings

            try:
                settings(entry.id, kwargs)
            except UnsupportedEnvironment as error:
                key = "backend" if entry.ppo and entry.backend == "envpool" else "reference.backend"
                raise ConfigError(f"environments.{name}.{key}: 'envpool' for {error}") from None
        facts = {"observation_size": spec.observation_size, "action_size": spec.action_size, "discrete": spec.discrete}
        first, bounds = first or facts | {"time_limit": limit}, None if spec.discrete else np.stack([spec.low, spec.high]).tolist()
        if facts.items() - first.items():
            raise ConfigError(f"{where}: {task} has {facts} (expected what tasks[0] has, {first})")
        actions = actions or bounds
        if actions != bounds:
            raise ConfigError(f"{where}: {task} has actions between {bounds} (expected what tasks[0] has, {actions})")
    return first


def _all_facts(environments: dict[str, Environment], cache: str | Path) -> dict[str, dict[str, Any]]:
    keys, before, faults = {name: _key(entry) for name, entry in environments.items()}, None, []
    with contextlib.suppress(CorruptFile):
        before = read_json(cache)
    known = dict(before) if isinstance(before, dict) else {}
    handlers = list(logging.root.handlers)
    for name, key in keys.items():
        try:
            known[key] = known.get(key) or _facts(name, environments[name])
        except ConfigError as error:
            faults.append(" ".join(str(error).split()))  # one line, whatever Gymnasium said
    logging.root.handlers[:] = handlers  # dm-control adds one, which would print every line of Snakemake's again
    if known != before:
        with contextlib.suppress(OSError):  # a folder that cannot be written costs time alone
            write_json(cache, known)
    if faults:
        raise ConfigError("\n".join(faults))
    return {name: known[key] for name, key in keys.items()}


def decoding_mb(evaluation: dict[str, Any], model: dict[str, Any], time_limit: int | None) -> int:
    """Megabytes of keys and values that a model keeps in a rollout.

    evaluation, model: entries of a normalised config. time_limit: of the evaluation's environment.
    """
    steps = evaluation["steps"] or evaluation["episodes"] * (time_limit or evaluation["window"])
    tokens = evaluation["seeds"] * min(evaluation["window"], steps, model["window"] or steps)
    vectors = (64 + 16) * model["heads"] if model["kind"] == "equivariant" else 0  # observations and actions
    width = model["width"] * (model["key_heads"] or model["heads"]) // model["heads"]
    return tokens * model["layers"] * 2 * (width + vectors) * 4 // 10**6


def check(raw: dict[str, Any], cache: str | Path = CACHE) -> dict[str, dict[str, Any]]:
    """Each environment's observation_size, action_size, discrete and time_limit (None where it has none).

    cache: a JSON file of what was found before: making environments takes seconds. Raises ConfigError
    as ``gla.config.load`` does; warns of rollouts that need much memory.
    """
    config, problems = load(raw), []
    facts = _all_facts(config.environments, cache)
    for name, v in config.evaluations.items():
        limit = facts[v.environment]["time_limit"]
        if v.episodes and not limit:
            problems.append(
                f"evaluations.{name}.episodes: {v.episodes}, but {v.environment!r} has no time limit, so they need not end "
                f"(expected environments.{v.environment}.kwargs.max_episode_steps, or steps instead of episodes)"
            )
        most = max(
            (decoding_mb(v.model_dump(), config.agents[a].model.model_dump(), limit) for a in v.agents), default=0
        )
        if most > PLENTY:
            print(
                f"warning: evaluations.{name}: {v.seeds} seeds with a window of {v.window} keep {most} MB",
                file=sys.stderr,
            )
    for name, f in config.figures.items():
        if f.style:
            problems += [f"figures.{name}.style.{line}" for line in _style_problems(f.style)]
    if problems:
        raise ConfigError("\n".join(problems))
    return facts


def _style_problems(style: dict[str, Any]) -> list[str]:
    from matplotlib import RcParams  # slow, and needed for figures with a style of their own alone

    found = []
    for key, value in style.items():
        try:
            RcParams({key: value})
        except KeyError:
            found.append(f"{key}: {value!r} is for no key of Matplotlib's (expected one of its rc parameters)")
        except ValueError as error:
            found.append(f"{key}: {value!r} (expected a value that Matplotlib takes: {' '.join(str(error).split())})")
    return found
