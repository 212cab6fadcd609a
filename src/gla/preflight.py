"""What only the environments themselves and Matplotlib can say about a config, asked before any job starts."""

import contextlib
import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from gla.config import MOST_STEPS, Agent, Config, ConfigError, Environment, Evaluation, Figure, cut, load, shown
from gla.files import CorruptFile, fingerprint, read_json, sha256, write_json

ENVIRONMENTS = Path(__file__).parent / "environments"
FIGURE_STYLE = Path(__file__).parent / "figures/gla.mplstyle"
CACHE = ".snakemake/environments.json"
PLENTY = 4000  # megabytes of a decoding cache that are worth a warning
MOST_MEMORY = 4 * 10**12  # bytes; of machines that jobs are submitted to nothing else is known
LARGEST = {"figure.figsize": 50, "savefig.pad_inches": 50, "agg.path.chunksize": 10**9}  # inches; of all other numbers in a style 1000
SMALLEST_DPI = 10
Facts = dict[str, Any]


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

            key = "backend" if entry.ppo and entry.backend == "envpool" else "reference.backend"
            try:
                settings(entry.id, kwargs)
            except UnsupportedEnvironment as error:
                raise ConfigError(f"environments.{name}.{key}: 'envpool' for {error}") from None
            except Exception as error:  # and so may EnvPool's
                said = f"{entry.id!r} with {kwargs}: {type(error).__name__}: {error} (expected one that EnvPool can make)"
                raise ConfigError(f"environments.{name}.{key}: 'envpool' for {said}") from None
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
            faults.append(cut(" ".join(str(error).split())))  # one line, whatever Gymnasium said
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


# Estimates of memory, in bytes, count what is surely held at the same time and nothing else: what they say is too much is.


def _population(k: int, streams: int, steps: int, hidden: int, facts: Facts) -> int:
    """What k lifetimes of PPO hold: environments, a rollout, the batch made of it, shuffled too, and weights with their moments."""
    d, a = facts["observation_size"], facts["action_size"]
    rollout = 4 * (2 * d + a + (2 if facts["discrete"] else a)) + 10
    batch = 2 * 4 * (d + a + 4)
    weights = 2 * 4 * 4 * hidden * (d + hidden + a)  # actor and critic; values, gradients and Adam's two moments
    return k * (streams * (steps * (rollout + batch) + 1000) + weights)


def collection_bytes(entry: Environment, facts: Facts) -> int:
    """Of one block of lifetimes: a population, rows that fill a chunk, and snapshots."""
    ppo, k = entry.ppo, min(entry.lifetimes, entry.lifetimes_per_block)
    d, a = facts["observation_size"], facts["action_size"]
    row = 4 * (2 * d + a + (2 if facts["discrete"] else a) + 1) + 2
    rows = k * entry.streams * min(ppo.updates * ppo.steps, 1024) * row
    snapshots = k * -(-ppo.updates // ppo.snapshot_every) * 4 * ppo.hidden * (d + ppo.hidden + a)
    return _population(k, entry.streams, ppo.steps, ppo.hidden, facts) + rows + snapshots + 4 * k * ppo.updates


def parameters(agent: Agent) -> int:
    """Of a model's blocks, which are most of it: queries, outputs and an MLP, which an equivariant model gives products of its vectors."""
    model = agent.model
    products = 16 * model.channels**2 * model.width if model.kind == "equivariant" else 0
    return model.layers * (10 * model.width**2 + products)


def training_bytes(agent: Agent) -> int:
    """Of one step: weights, gradients, Adam's moments; of each token its numbers, and ten times the width that the backward pass
    needs of each block, in bfloat16 (an equivariant model: its vectors too)."""
    model, tokens = agent.model, agent.batch * agent.pieces * agent.piece_steps
    vectors = 2 * 4 * (64 + 16) * model.channels if model.kind == "equivariant" else 0
    return 16 * parameters(agent) + tokens * (1000 + model.layers * (10 * 2 * model.width + vectors))


def rollout_bytes(evaluation: Evaluation, agent: Agent | None, limit: int | None) -> int:
    """Of an agent, or of a baseline: environments, a row for each episode that it surely has, and the agent's weights and cache.

    limit: the environment's time limit.
    """
    episodes = evaluation.episodes or (evaluation.steps // limit if limit else 0)
    size = evaluation.seeds * (1000 + 100 * episodes)
    if agent is None:
        return size
    return size + 4 * parameters(agent) + 10**6 * decoding_mb(evaluation.model_dump(), agent.model.model_dump(), limit)


def _demands(config: Config, facts: dict[str, Facts]) -> Iterator[tuple[str, str, int, str]]:
    """What each kind of job takes: the entry, what takes it, how many bytes, and what would take less."""
    for name, e in config.environments.items():
        if e.ppo:
            block = f"a block of {min(e.lifetimes, e.lifetimes_per_block)} lifetimes with {e.streams} streams of {e.ppo.steps} steps"
            less = "fewer lifetimes_per_block, streams or ppo.steps, or a smaller ppo.hidden"
            yield f"environments.{name}", f"{block} and {e.ppo.hidden} hidden units", collection_bytes(e, facts[name]), less
    for name, d in config.datasets.items():
        rows = sum(config.environments[e].lifetimes * config.environments[e].streams for e in d.environments)
        yield f"datasets.{name}", f"a manifest of {rows} streams", 400 * rows, "fewer lifetimes or streams of its environments"
    for name, a in config.agents.items():
        window = f"a step of {a.batch} windows of {a.pieces} times {a.piece_steps} tokens"
        yield (
            f"agents.{name}", f"{window} through {a.model.layers} layers of width {a.model.width}", training_bytes(a),
            "a smaller batch, pieces, piece_steps or model",
        )  # fmt: skip
    for name, v in config.evaluations.items():
        known = facts[v.environment]
        what, less = f"a rollout of {v.seeds} seeds with a window of {v.window}", "fewer seeds or episodes, or a smaller window or model"
        agents = [config.agents[a] for a in v.agents] if v.conditions else []
        yield f"evaluations.{name}", what, max(rollout_bytes(v, a, known["time_limit"]) for a in (None, *agents)), less
        if "online_ppo" in v.baselines:
            yield f"evaluations.{name}", f"online_ppo in {v.seeds} seeds", _population(v.seeds, 1, 1, 64, known), "fewer seeds"
        if "reference" in v.baselines:
            e = config.environments[v.environment]
            runs, streams = len(e.tasks_of(v.split)) * e.reference.runs, e.reference.streams
            what = f"{runs} runs of {streams} streams on the tasks of split {v.split}"
            yield f"environments.{v.environment}.reference", what, _population(runs, streams, 128, 64, known), "fewer runs or streams"


def _machine(where: str) -> int:
    """Bytes of this machine that a job may fill: memory, swap and, for training, GPUs."""
    size = psutil.virtual_memory().total + psutil.swap_memory().total
    if where.startswith("agents."):
        import torch  # slow, and needed where memory does not suffice alone

        size += sum(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count()))
    return size


def _too_large(config: Config, facts: dict[str, Facts], memory: int | None) -> Iterator[str]:
    """A line for each entry whose jobs cannot fit into memory."""
    have = psutil.virtual_memory().total if memory is None else memory
    for where, what, size, less in _demands(config, facts):
        if size > have and size > (most := _machine(where) if memory is None else memory):
            yield f"{where}: {what} takes at least {size / 1e9:.0f} GB (expected at most the {most / 1e9:.0f} GB there are: {less})"


def facts_of(raw: dict[str, Any], cache: str | Path = CACHE) -> dict[str, Facts]:
    """Each environment's observation_size, action_size, discrete and time_limit (None where it has none).

    cache: a JSON file of what was found before: making environments takes seconds. Raises ConfigError as ``gla.config.load`` does.
    """
    return _all_facts(load(raw).environments, cache)


def check(raw: dict[str, Any], cache: str | Path = CACHE, memory: int | None = None) -> dict[str, Facts]:
    """``facts_of``, after asking whether all that a config stands for can be done.

    memory: bytes that a job may fill; None: this machine's. Raises ConfigError as ``gla.config.load`` does; warns of rollouts that
    need much memory, and of those that may end before an episode does.
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
        if v.episodes and limit and v.episodes * limit > MOST_STEPS:
            problems.append(
                f"evaluations.{name}.episodes: {v.episodes} of up to {limit} steps in {v.environment!r} "
                f"(expected at most {MOST_STEPS} steps in all)"
            )
        if v.steps and limit and v.steps < limit:
            print(
                f"warning: evaluations.{name}.steps: {v.steps}, but an episode of {v.environment!r} may last {limit}; those that are not "
                f"finished count for nothing (expected at least {limit})",
                file=sys.stderr,
            )
        most = max(
            (decoding_mb(v.model_dump(), config.agents[a].model.model_dump(), limit) for a in v.agents), default=0
        )
        if most > PLENTY:
            print(
                f"warning: evaluations.{name}: {v.seeds} seeds with a window of {v.window} keep {most} MB",
                file=sys.stderr,
            )
    problems += _too_large(config, facts, memory)
    for name, f in config.figures.items():
        problems += _figure_problems(f"figures.{name}", f)
    if problems:
        raise ConfigError("\n".join(problems))
    return facts


def _figure_problems(where: str, f: Figure) -> list[str]:
    """A line for each key of a figure that Matplotlib cannot draw with."""
    if f.style:
        if found := _style_problems(f.style):
            return [f"{where}.style.{line}" for line in found]
        if said := _not_drawn(f.style, "x"):
            return [f"{where}.style: {shown(f.style)} (expected a style that Matplotlib can draw with: {said})"]
    texts = {f"{where}.panels[{i}].title": p.title for i, p in enumerate(f.panels)}
    texts |= {f"{where}.panels[{i}].labels[{j}]": label for i, p in enumerate(f.panels) for j, label in enumerate(p.labels)}
    # Other text is drawn as it is.
    tried = {text: _not_drawn(f.style, text) for text in {text for text in texts.values() if "$" in text}}
    return [f"{key}: {text!r} (expected text that Matplotlib can draw: {said})" for key, text in texts.items() if (said := tried.get(text))]


def _style_problems(style: dict[str, Any]) -> list[str]:
    from matplotlib import RcParams  # slow, and needed for figures with a style of their own alone

    found = []
    for key, value in style.items():
        try:
            RcParams({key: value})
        except KeyError:
            found.append(f"{key}: {shown(value)} is for no key of Matplotlib's (expected one of its rc parameters)")
        except (ValueError, TypeError, OverflowError) as error:
            found.append(f"{key}: {shown(value)} (expected a value that Matplotlib takes: {' '.join(str(error).split())})")
        else:
            numbers = [x for x in (value if isinstance(value, list) else [value]) if isinstance(x, int | float)]
            most = LARGEST.get(key, 1000)
            if not all(abs(x) <= most for x in numbers):
                found.append(f"{key}: {shown(value)} (expected at most {most})")
            elif key.endswith(".dpi") and any(x < SMALLEST_DPI for x in numbers):
                found.append(f"{key}: {shown(value)} (expected at least {SMALLEST_DPI})")
    return found


def _not_drawn(style: dict[str, Any], text: str) -> str:
    """What Matplotlib says where a figure of this style, with this text in it, cannot be drawn; empty where it can."""
    from matplotlib import RcParams
    from matplotlib import style as styles
    from matplotlib.figure import Figure as Drawing

    logging.disable(logging.WARNING)  # of fonts that are not there
    try:
        with warnings.catch_warnings(action="ignore"), styles.context([FIGURE_STYLE, dict(RcParams(style))]):
            drawing = Drawing(layout="constrained")
            axes = drawing.subplots()
            axes.plot([0, 1], label="x")
            axes.set_title(text)
            drawing.legend(loc="outside lower center")
            for kind in ("png", "pdf"):
                drawing.savefig(io.BytesIO(), format=kind, dpi=72)
    except Exception as error:  # LaTeX, FreeType and Matplotlib have kinds of their own
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    finally:
        logging.disable(logging.NOTSET)
    return ""
