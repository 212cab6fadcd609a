"""The policies that have a score of 1: PPO that was trained for long on the very tasks that agents are evaluated on.

The end of a source cannot serve as a reference, since its histories are made to rise slowly so that they can be distilled. A
reference is a file of policies (safetensors) and a description (JSON) with its learning curve and the file's hash.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveInt
from safetensors.torch import load, save

from gla.config.environments import Environment
from gla.environments.returns import ReturnTracker
from gla.files import (
    ANEW,
    CorruptFile,
    atomic,
    check,
    check_place,
    fingerprint,
    read_description,
    sha256,
    write_json,
)
from gla.learners.ppo import PPO, Population
from gla.policies import Policy, sizes
from gla.progress import Progress
from gla.references import Curve
from gla.splits import tasks_of

STEPS = 128  # steps of each copy of the environment between two updates


class ReferenceDescription(Curve):
    """The content of the description of a reference's policies."""

    environment: str
    split: Literal["training", "validation", "test"]
    tasks: PositiveInt
    sha256: str
    content: str


def settings(updates: int) -> PPO:
    """Returns the settings of PPO: CleanRL's for continuous control, with fewer and larger minibatches of a larger batch, and
    a larger step size.
    """
    return PPO(num_updates=updates, num_steps=STEPS, update_epochs=10, num_minibatches=8, learning_rate=1.0e-3)


def train(entry: Environment, name: str, split: str, path: str | Path) -> None:
    """Trains all runs on the tasks of a split, writes their last policies to ``path`` and, at the end, the description next to it.

    entry: the environment's config. name: its key in the config. Raises NumericalError if a number stops being finite.
    """
    own, tasks = entry.reference, tasks_of(entry, split)
    updates = -(-own.env_steps // (own.num_envs * STEPS))
    ppo = settings(updates)
    lifetimes = range(len(tasks) * own.runs)  # lifetime i is run i // n of task i % n
    population = Population(
        ppo, entry.id, entry.kwargs, tasks, lifetimes, own.num_envs, 2**30 + own.seed, name, own.backend
    )
    returns, curve = ReturnTracker(len(lifetimes), own.num_envs), []
    progress = Progress(f"refer {name} {split}", len(lifetimes) * updates * own.num_envs * STEPS, "steps")
    try:
        for _ in range(updates):
            rollout = population.collect()
            ended = returns.add(rollout.reward, rollout.terminated | rollout.truncated)
            curve.append([float(np.mean(r)) if r else None for r in ended])
            population.improve(rollout)
            recent = [x for row in curve[-5:] for x in row if x is not None]
            progress.advance(
                len(lifetimes) * own.num_envs * STEPS, f"mean return {np.mean(recent):.4g}" if recent else ""
            )
        policy = population.policy()
    finally:
        population.close()
    with atomic(path) as temporary:
        temporary.write_bytes(save({f: x.contiguous() for f, x in policy._asdict().items()}))
    body = {
        "environment": name,
        "split": split,
        "config": {"id": entry.id, "kwargs": entry.kwargs, "tasks": tasks, **own.model_dump()},
        "ppo": ppo.model_dump(),
        "tasks": len(tasks),
        "num_envs": own.num_envs,
        "steps_per_update": STEPS,
        "mean_return": [list(row) for row in zip(*curve, strict=True)],
        "sha256": sha256(path),
    }
    write_json(Path(path).with_suffix(".json"), body | {"content": fingerprint(body)})


def read_described(path: str | Path) -> dict[str, Any]:
    """Returns the description of policies. Raises CorruptFile if one of the two files is missing, altered, or that of another
    environment or split.
    """
    described = Path(path).with_suffix(".json")
    body = read_description(described, ReferenceDescription)
    check_place(described, "a description", f"references/{body['environment']}/{body['split']}.json")
    if not Path(path).is_file():
        raise CorruptFile(
            f"{path}: missing (expected the policies that {described} describes); Snakemake makes it again"
        )
    check(path)
    if sha256(path) != body["sha256"]:
        raise CorruptFile(f"{path}: not the policies that {described} describes; {ANEW}")
    return body


def read(path: str | Path) -> list[Policy]:
    """Returns the policies of each run, (tasks, ...) each. Raises CorruptFile as ``read_described`` does, and if the file
    holds no policies.
    """
    tasks = read_described(path)["tasks"]
    try:
        fields = load(Path(path).read_bytes())
        policy = Policy(*(fields[f] for f in Policy._fields))
        (n, d, h), a = policy.w0.shape, policy.w2.shape[-1]
        for name, x, size in zip(Policy._fields, policy, sizes(d, h, a), strict=True):
            if x.dtype != torch.float32 or tuple(x.shape) != (n, *size):
                raise ValueError(f"{name} is {x.dtype} of {tuple(x.shape)}; expected {(n, *size)}")
        if not n or n % tasks:
            raise ValueError(f"{n} policies; expected a multiple of {tasks} tasks")
    except Exception as error:  # safetensors raises errors of its own types
        said = " ".join(str(error).split())[:300]
        raise CorruptFile(f"{path}: does not hold policies ({said}); {ANEW}") from None
    return [Policy(*(x[i : i + tasks] for x in policy)) for i in range(0, n, tasks)]
