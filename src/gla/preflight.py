"""What only the environments themselves and Matplotlib can say about a config, asked before any job starts."""

import contextlib
import logging
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
    own = [sha256(p) for p in sorted(ENVIRONMENTS.glob("*.py"))]
    if "envpool" in _backends(entry):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(version("envpool"))
    tasks = [entry.tasks, entry.validation_tasks, entry.test_tasks]
    return fingerprint([entry.id, entry.kwargs, tasks, sorted(_backends(entry)), versions, own])


def _backends(entry: Environment) -> set[str]:
    """What steps the environment, while its sources learn and while its reference does."""
    return {entry.reference.backend, *([entry.backend] if entry.ppo else [])}


def _facts(name: str, entry: Environment) -> dict[str, Any]:
    """An environment's sizes and time limit. Raises ConfigError where it cannot be used."""
    # Slow, and needed for new entries alone.
    from gla.environments import UnsupportedEnvironment, env_spec, make, time_limit

    first: dict[str, Any] = {}
    lists = {"tasks": entry.tasks or [{}], "validation_tasks": entry.validation_tasks, "test_tasks": entry.test_tasks}
    for key, i, task in ((key, i, task) for key, tasks in lists.items() for i, task in enumerate(tasks)):
        kwargs = entry.kwargs | task
        where = f"environments.{name}.{key}[{i}]" if task else f"environments.{name}.kwargs"
        try:
            env = make(entry.id, **kwargs)
        except UnsupportedEnvironment as error:
            if isinstance(error.__context__, TypeError | ValueError):
                raise ConfigError(f"{where}: {error} (expected keyword arguments that it takes)") from None
            raise ConfigError(f"environments.{name}.id: {error}") from None
        except Exception as error:  # an environment's own code may raise anything
            said = f"{entry.id!r} with {kwargs}: {type(error).__name__}: {error} (expected one that can be made)"
            raise ConfigError(f"{where}: {said}") from None
        spec, limit = env_spec(env), time_limit(env)
        env.close()
        if "envpool" in _backends(entry):
            from gla.environments.envpool import settings

            try:
                settings(entry.id, kwargs)
            except UnsupportedEnvironment as error:
                key = "backend" if entry.ppo and entry.backend == "envpool" else "reference.backend"
                raise ConfigError(f"environments.{name}.{key}: 'envpool' for {error}") from None
        facts = {"observation_size": spec.observation_size, "action_size": spec.action_size, "discrete": spec.discrete}
        first = first or facts | {"time_limit": limit}
        if facts.items() - first.items():
            raise ConfigError(f"{where}: {task} has {facts} (expected what tasks[0] has, {first})")
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
