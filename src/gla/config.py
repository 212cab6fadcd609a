"""The configuration: five kinds of entries, read once into frozen models that reject what they do not know.

environment -> dataset -> agent -> evaluation -> figure, each referring to the earlier ones by name.
``normalise`` turns a raw dictionary into one with every default filled in, in a fixed order, of
plain YAML types, so that Snakemake compares the same text whatever the user left out.
"""

import contextlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

ONLINE = ("online_ppo", "online_linear", "online_ars")  # what learns with gradients, or by search, while it acts
CALM = ("random", "zero_action")  # what needs neither learning nor data


# Keys of an environment that decide nothing of its histories.
NOT_OF_HISTORIES = ("lifetimes", "lifetimes_per_block", "validation_tasks", "test_tasks", "reference")


class ConfigError(ValueError):
    """A config that cannot be run; each line names a key, its value and what was expected."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


Entry = TypeVar("Entry", bound=BaseModel)
# Bounds that no run needs to pass: a slip of the finger is then no run of a year, and no number that a library cannot hold.
Count = Annotated[int, Field(ge=1, le=10**6)]  # what is held at once
MOST_STEPS = 10**9
Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]  # what is done, or counted, one after the other
Seed = Annotated[int, Field(ge=0, lt=2**30)]  # those of references and of online learners begin there (gla.reference, gla.evaluate)
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1e3)]
Weight = Annotated[float, Field(ge=0, le=1e9)]
Limit = Annotated[float, Field(gt=0, le=1e9)]
MOST_TASKS, MOST_JOBS, LONGEST_NAME = 10_000, 100_000, 100
Text = Annotated[str, Field(max_length=200)]
Tasks = Annotated[list[dict[str, Any]], Field(max_length=MOST_TASKS)]


def _kinds(folder: str, *shared: str) -> list[str]:
    names = (p.stem for p in (Path(__file__).parent / folder).glob("*.py"))
    return sorted(name for name in names if name not in ("__init__", *shared))


def figure_kinds() -> list[str]:
    """Names of the files in gla.figures that draw one."""
    return _kinds("figures", "panels")


def model_kinds() -> list[str]:
    """Names of the files in gla.models that hold one."""
    return _kinds("models", "attention", "tokens")


class PPO(_Entry):
    """Proximal policy optimisation; the defaults are CleanRL's for continuous control."""

    updates: Steps
    """Updates in a lifetime. Update u is what policy u collected before it was improved."""
    steps: Count = 128
    """Steps of each stream between two updates."""
    epochs: Count = 10
    """Passes over the data of one update."""
    minibatches: Count = 32
    """Minibatches in a pass; divides streams * steps."""
    learning_rate: Rate = 3.0e-4
    """Adam's step size."""
    anneal_learning_rate: bool = True
    """Whether the step size falls linearly to 0 over the lifetime."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 0.95
    """Exponent of generalised advantage estimation."""
    clip: Limit = 0.2
    """Clipping of the probability ratio and of the value's change."""
    value_coefficient: Weight = 0.5
    """Weight of the value loss."""
    entropy_coefficient: Weight = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: Limit = 0.5
    """Gradient norm of one lifetime above which its gradient is scaled down."""
    hidden: Count = 64
    """Width of the two tanh layers of the policy and of the value function."""
    normalize_observations: bool = True
    """Whether PPO sees observations by their running mean and variance (histories hold them raw)."""
    normalize_rewards: bool = True
    """Whether PPO sees rewards divided by the running deviation of the discounted return."""
    snapshot_every: Steps = 1
    """Updates between two snapshots of the policy's weights in the store; the last is always kept."""


class Reference(_Entry):
    """PPO trained for long on the tasks that are evaluated: what a score of 1 stands for."""

    steps: Steps = 1_000_000
    """Environment steps of each run, rounded up to whole updates."""
    runs: Count = 3
    """Independent runs on each task; their spread is part of every score's interval."""
    backend: Literal["gymnasium", "envpool"] = "gymnasium"
    """What steps the environment while it learns; it is always evaluated in Gymnasium's."""
    streams: Count = 16
    """Copies of the environment in each run."""
    seed: Seed = 0
    """Seed of the runs."""


class Environment(_Entry):
    """Where agents act, and where PPO histories come from."""

    id: Text
    """A Gymnasium id, or dm_control/<domain>-<task>-v0."""
    kwargs: dict[str, Any] = {}
    """Keyword arguments of gymnasium.make."""
    tasks: Tasks = []
    """Further keyword arguments that differ between tasks: lifetime (or test seed) k has tasks[k % n].
    {task: [0, 64]} stands for [{task: 0}, ..., {task: 63}]."""
    validation_tasks: Tasks = []
    """Tasks for evaluations of split validation, on which choices are made; those of tasks where empty."""
    test_tasks: Tasks = []
    """Tasks for evaluations of split test, which are reported; those of tasks where empty."""
    lifetimes: Count = 16
    """Independent PPO runs."""
    lifetimes_per_block: Count = 16
    """Lifetimes that one job runs as a population and writes into one store."""
    backend: Literal["gymnasium", "envpool"] = "gymnasium"
    """What steps the environment while PPO learns: gymnasium; or envpool, in C++ and much faster (pip install '.[envpool]')."""
    streams: Count = 8
    """Copies of the environment in each lifetime."""
    seed: Seed = 0
    """Seed of the collection."""
    ppo: PPO | None = None
    """How the source agents learn; needed where histories are collected, and not where agents only act."""
    reference: Reference = Reference()
    """What a score of 1 stands for."""

    def tasks_of(self, split: str) -> list[dict[str, Any]]:
        """Keyword arguments of the tasks of a split, at least one."""
        own = {"training": self.tasks, "validation": self.validation_tasks, "test": self.test_tasks}[split]
        return own or self.tasks or [{}]

    @field_validator("tasks", "validation_tasks", "test_tasks", mode="before")
    @classmethod
    def _range(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            ((key, bounds),) = value.items()
            if isinstance(bounds, list) and len(bounds) == 2 and all(type(x) is int for x in bounds):
                if bounds[0] >= bounds[1]:
                    raise ValueError(f"{value} is an empty range (expected [low, high] with low < high)")
                if bounds[1] - bounds[0] > MOST_TASKS:
                    raise ValueError(f"{shown(value)} are {bounds[1] - bounds[0]} tasks (expected at most {MOST_TASKS})")
                return [{key: i} for i in range(*bounds)]
        return value

    @model_validator(mode="after")
    def _divisible(self):
        if self.ppo is None:
            return self
        if self.ppo.updates * self.ppo.steps >= 2**31:  # windows count the steps of a stream in 32 bits
            raise ValueError(
                f"ppo.updates {self.ppo.updates} of ppo.steps {self.ppo.steps} are {self.ppo.updates * self.ppo.steps} steps "
                f"of a stream (expected less than {2**31})"
            )
        batch = self.streams * self.ppo.steps
        if batch % self.ppo.minibatches:
            raise ValueError(
                f"ppo.minibatches {self.ppo.minibatches} does not divide streams * ppo.steps = {batch} "
                "(expected a divisor)"
            )
        if batch == self.ppo.minibatches:
            raise ValueError(
                f"ppo.minibatches {self.ppo.minibatches} leaves one step in each, whose advantage has no deviation "
                f"(expected at most {batch // 2})"
            )
        return self


class Projections(_Entry):
    """How observations become 64 and actions 16 dimensions."""

    kind: Literal["gaussian", "identity"] = "gaussian"
    """gaussian: random, drawn from a seed; identity: padding with zeros (a single task)."""
    train: Annotated[int, Field(ge=1, le=2**40)] = 16384
    """Projections to train with (GPICL: about 2^14 before learning generalises)."""
    validation: Annotated[int, Field(ge=1, le=2**40)] = 1024
    """Projections for the held-out loss, disjoint from the training ones."""


class Dataset(_Entry):
    """Which histories are trained on, under which projections."""

    environments: Annotated[list[str], Field(min_length=1)]
    """Names of environments."""
    projections: Projections = Projections()
    """Augmentation."""
    held_out_lifetimes: Annotated[float, Field(ge=1e-6, lt=1)] = 0.125
    """Share of each environment's lifetimes kept for validation, rounded up."""


class Model(_Entry):
    """The sequence model."""

    kind: str = "transformer"
    """transformer: decoder-only, causal, pre-norm, rotary positions; equivariant: one whose outputs
    turn with its observations and actions, so that it need not learn to undo projections; or the name of
    another file in src/gla/models."""
    layers: Steps = 3
    """Blocks."""
    width: Steps = 64
    """Dimensions of a token inside the model."""
    heads: Steps = 4
    """Attention heads; width / heads must be even."""
    key_heads: Steps | None = None
    """transformer: heads of keys and values, which queries share (grouped-query attention): rollouts read that much
    less; divides heads. Default: as many as heads."""
    channels: Steps = 4
    """equivariant: observation vectors, and action vectors, that a token carries."""
    window: Steps | None = None
    """Tokens that attention reaches back; 1 leaves no context: behaviour cloning."""

    @model_validator(mode="after")
    def _divisible(self):
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} over heads {self.heads} is not even (expected a multiple of 2)")
        if self.heads % (self.key_heads or 1):
            raise ValueError(f"key_heads {self.key_heads} does not divide heads {self.heads} (expected a divisor)")
        return self


class Agent(_Entry):
    """A sequence model meta-trained on a dataset."""

    dataset: str
    """Name of a dataset."""
    gap: Steps | Annotated[list[Steps], Field(min_length=2, max_length=2)] | Literal["max"] = 1
    """PPO updates between a piece and the next; [low, high] draws one for each window; max: the last policy."""
    sampling: Literal["recorded", "relabelled"] = "recorded"
    """recorded: pieces of updates i, i+g, ... with the distributions they were sampled from;
    relabelled: pieces of rising quality, labelled by the policy g updates ahead, which needs a snapshot of each such policy."""
    switch: bool = True
    """relabelled: whether from a random piece on the pieces are those of the policy that was the target before it."""
    pieces: Count = 20
    """Pieces strung together in a training window."""
    piece_steps: Count = 10
    """Steps of a piece; the context has pieces * piece_steps tokens."""
    from_start: Fraction = 0.5
    """Share of training windows whose first piece is of the lifetime's first policy; others start anywhere."""
    divergence: Literal["forward", "reverse", "sum"] = "sum"
    """forward: KL from source to model; reverse: from model to source; sum: both added (Equation 1)."""
    eta: Literal["none", "gap", "return", "position"] = "none"
    """What the model is told about the improvement that is expected (Section 2)."""
    normalize: bool = True
    """Whether observations and rewards are standardised by what the context has shown so far."""
    log_std_floor: Annotated[float, Field(ge=-20, le=20)] = -3.0
    """Smallest log standard deviation of a target."""
    fixed_projection: Fraction = 0.0
    """Share of the first step's windows that are under one and the same projection; it falls linearly to 0 halfway
    through training (GPICL's way past the loss plateau)."""
    auxiliary_weight: Weight = 0.0
    """Weight of predicting the next observation and reward; 0 leaves the heads out."""
    model: Model = Model()
    """Sizes."""
    steps: Steps = 1000
    """Optimiser steps."""
    batch: Count = 64
    """Windows in a step."""
    learning_rate: Rate = 3.0e-3
    """AdamW's step size after warm-up; it falls to a tenth along a cosine."""
    warmup: Annotated[int, Field(ge=0, le=10**9)] = 100
    """Steps of linear warm-up."""
    weight_decay: Annotated[float, Field(ge=0, le=1e3)] = 0.01
    """AdamW's weight decay."""
    max_grad_norm: Limit = 1.0
    """Gradient norm above which the gradient is scaled down."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto: bfloat16 where the hardware multiplies matrices in it."""
    evaluate_every: Steps = 200
    """Steps between two held-out losses and checkpoints."""
    seed: Seed = 0
    """Seed of the weights and the data order."""
    seeds: Count = 1
    """Networks that are trained, with seeds seed, seed + 1, ...: NAME, NAME.1, ... One network is one sample."""


class Evaluation(_Entry):
    """Agents and baselines in one environment, from an empty context."""

    environment: str
    """Name of an environment; test seed k has its task k % n."""
    split: Literal["test", "validation", "training"] = "test"
    """Whose tasks, seeds and projections: choices are made on validation, test is reported; training: the tasks that were trained on."""
    agents: list[str] = []
    """Names of agents."""
    conditions: list[Literal["agent", "rewards_hidden", "rewards_shuffled", "context_wiped"]] = [
        "agent", "rewards_hidden", "rewards_shuffled"
    ]
    """What each agent is run under: itself, and the controls that tell whether it learns from reward."""
    projections: Literal["unseen", "seen"] = "unseen"
    """unseen: drawn for tests alone; seen: among those of the agent's own training."""
    baselines: list[Literal["random", "zero_action", "online_ppo", "online_linear", "online_ars", "ppo_final", "reference"]] = [
        "random", "zero_action", "online_ppo", "online_linear", "online_ars", "reference"
    ]
    """What stands beside the agents. online_*: learners from scratch at as many steps, with settings of their own; ppo_final:
    the last policies of the environment's histories; reference: PPO trained for long on the tasks that are evaluated."""
    seeds: Annotated[int, Field(ge=1, le=2**20)] = 64
    """Test seeds, side by side."""
    episodes: Count | None = None
    """Episodes of each seed (either this or steps)."""
    steps: Steps | None = None
    """Environment steps of each seed (either this or episodes)."""
    window: Steps = 4000
    """Transitions that attention reaches back (the paper: the last 4 thousand)."""
    eta: Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """Conditioning at the first and at the last step, linear between; ignored without eta."""
    temperature: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    """Scale of the action noise (of the logits' inverse, for discrete actions)."""
    seed: Annotated[int, Field(ge=0, lt=2**20)] = 0
    """Seed of environments, projections and action noise."""

    @property
    def split_seed(self) -> int:
        """The seed that everything random is drawn from: other ones in validation than in the test."""
        return self.seed + (2**20 if self.split == "validation" else 0)

    @model_validator(mode="after")
    def _others_rewards(self):
        if self.seeds < 2 and "rewards_shuffled" in self.conditions:
            raise ValueError("seeds 1 with rewards_shuffled, which would see its own rewards (expected at least 2 seeds, or no rewards_shuffled)")
        return self

    @model_validator(mode="after")
    def _one_length(self):
        if (self.episodes is None) == (self.steps is None):
            raise ValueError(f"episodes {self.episodes} and steps {self.steps} (expected exactly one of them)")
        return self


class Panel(_Entry):
    """One axes of a figure."""

    evaluation: str
    """Name of an evaluation."""
    title: Text = ""
    """Above the axes."""
    agents: list[str] = []
    """Agents to draw; all of the evaluation's where empty."""
    labels: list[Text] = []
    """Their names in the legend."""


class Figure(_Entry):
    """A PDF and a PNG, with the numbers in a CSV."""

    kind: str
    """sources: PPO's learning curves; in_context: returns by episode; scaling: final return by number of
    training projections; training: loss by position; or the name of another file in src/gla/figures."""
    environments: list[str] = []
    """sources: names of environments."""
    agents: list[str] = []
    """training: names of agents."""
    panels: list[Panel] = []
    """in_context: the axes, left to right; scaling: the curves."""
    x: Literal["episode", "env_steps"] = "episode"
    """in_context: the horizontal axis."""
    style: dict[str, Any] = {}
    """Matplotlib rc parameters on top of the project's style, and nothing else."""


class Config(_Entry):
    """Everything that a run needs."""

    pathvars: dict[str, str] = {"results": "results"}
    """Snakemake's path variables: where results go."""
    environments: dict[str, Environment]
    """By name."""
    datasets: dict[str, Dataset] = {}
    """By name."""
    agents: dict[str, Agent] = {}
    """By name."""
    evaluations: dict[str, Evaluation] = {}
    """By name."""
    figures: dict[str, Figure] = {}
    """By name."""


MOST_VALUES, DEEPEST, MOST_BITS = 200_000, 32, 1024


def _check_values(raw: Any) -> None:
    """Raises ConfigError for a config that is too large or too deep to be one, or holds what no file of results can hold.

    YAML's aliases let a few lines stand for billions of values, so that whoever walks them all never ends.
    """
    left, stack = MOST_VALUES, [("config", raw, 0)]
    while stack:
        where, value, depth = stack.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            found = f"more than {MOST_VALUES} values" if left < 0 else f"nested more than {DEEPEST} deep"
            entry = ".".join(where.partition("[")[0].split(".")[:3])
            raise ConfigError(f"{entry}: {found} (expected fewer; do aliases repeat each other?)")
        if isinstance(value, dict):
            stack += [(f"{where}.{key_shown(key)[:40]}".removeprefix("config."), v, depth + 1) for key, v in value.items()]
            stack += [(where, key, depth) for key in value]
        elif isinstance(value, list):
            stack += [(f"{where}[{i}]", v, depth + 1) for i, v in enumerate(value)]
        elif isinstance(value, float) and value != value:
            raise ConfigError(f"{where}: nan (expected a number)")
        elif isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise ConfigError(f"{where}: an integer of {value.bit_length()} bits (expected at most {MOST_BITS})")
        elif isinstance(value, str) and not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise ConfigError(f"{where}: {shown(value)} (expected text that UTF-8 can hold)")
        elif not isinstance(value, str | int | float | None):
            raise ConfigError(f"{where}: {shown(value)} (expected text, a number, true, false, a list or a mapping)")


def shown(value: Any) -> str:
    """A value in an error, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python's own limit
        text = "an integer of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def cut(line: str) -> str:
    """An error without its middle, where it is long: it begins with the key and ends with what was expected."""
    return line if len(line) <= 800 else f"{line[:400]} ... {line[-300:]}"


def key_shown(key: Any) -> str:
    """A key in an error: as it is, unless it is long or would break the line."""
    text = str(key)
    return text if text.isprintable() and len(text) <= 100 else shown(text)


def _twice(where: str, names: list[str]):
    """A line for each name that is listed more than once."""
    for name, count in sorted(Counter(names).items()):
        if count > 1:
            yield f"{where}: {name!r} is listed {count} times (expected once)"


def _frozen(value: Any) -> Any:
    """What can be looked up in a set, and equals exactly what an equal value becomes."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(v)) for key, v in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _no_snapshot(agent: str, gap: int, environment: str, ppo: PPO):
    """A line where some update that a relabelled target asks for has no snapshot of its policy."""
    last = ppo.updates - 1
    missing = next((u for u in range(min(gap, last), last) if u % ppo.snapshot_every), None)
    if missing is not None:
        below = missing - missing % ppo.snapshot_every
        yield (
            f"agents.{agent}.gap: relabelled windows ask for the policy of update {missing} of {environment!r}, which has no snapshot "
            f"(nearest: {below} and {min(below + ppo.snapshot_every, last)}; expected environments.{environment}.ppo.snapshot_every 1, "
            "or gap max)"
        )


def _trained_on(c: Config, name: str, evaluation: Evaluation, agent: str):
    """A line where an agent would be tested on a task that it was trained on."""
    dataset = c.agents[agent].dataset if agent in c.agents else None
    entry = c.environments.get(evaluation.environment)
    if entry is None or dataset not in c.datasets or evaluation.split == "training":
        return
    own = [(entry.id, entry.kwargs | task) for task in entry.tasks_of(evaluation.split) if task]
    trained = (c.environments[e] for e in c.datasets[dataset].environments if e in c.environments)
    seen = {(e.id, _frozen(e.kwargs | task)) for e in trained for task in e.tasks_of("training")}
    if both := [(id, kwargs) for id, kwargs in own if (id, _frozen(kwargs)) in seen]:
        yield (
            f"evaluations.{name}.agents: {agent!r} was trained on {len(both)} of the {len(own)} tasks of split {evaluation.split} of "
            f"{evaluation.environment!r}, {both[0][1]} among them (expected other {evaluation.split}_tasks there, or split training)"
        )


def _too_many_jobs(c: Config):
    """A line where Snakemake would have to plan for more jobs than it can."""
    jobs = {}
    for name, e in c.environments.items():
        if e.ppo:
            blocks = -(-e.lifetimes // e.lifetimes_per_block)
            jobs[f"environments.{name}.lifetimes: {e.lifetimes} in blocks of {e.lifetimes_per_block}"] = blocks
    for name, a in c.agents.items():
        # Training, a card, and rollouts.
        jobs[f"agents.{name}.seeds: {a.seeds}"] = a.seeds * (2 + sum(len(v.conditions) for v in c.evaluations.values() if name in v.agents))
    if sum(jobs.values()) > MOST_JOBS:
        most = max(jobs, key=lambda where: jobs[where])
        yield f"{most}: {jobs[most]} jobs, of {sum(jobs.values())} in all (expected at most {MOST_JOBS} in all)"


def _problems(c: Config):
    """References and sizes that no single entry can check. Yields one line for each fault."""

    def known(where: str, name: str, kind: str):
        table = getattr(c, kind)
        if name not in table:
            yield f"{where}: {name!r} is not defined (expected one of {kind}: {', '.join(table) or 'none'})"

    for kind in ("environments", "datasets", "agents", "evaluations", "figures"):
        for name in getattr(c, kind):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name == "baseline":
                yield f"{kind}.{key_shown(name)}: not a usable name (expected letters, digits, - and _; 'baseline' is taken)"
            elif len(name) > LONGEST_NAME:  # two of them, and more, are the name of one file
                yield f"{kind}.{key_shown(name)}: a name of {len(name)} characters (expected at most {LONGEST_NAME})"
    results = c.pathvars.get("results", "")
    # Braces and angle brackets are Snakemake's.
    longest = max(map(len, results.encode().split(b"/")))
    if not re.fullmatch(r"[^{}<>]+", results) or not results.isprintable() or len(results) > 1000 or longest > 255:
        yield f"pathvars: {shown(c.pathvars)} (expected results, where results go: a path that a file can have, without any of {{}}<>)"
    yield from _too_many_jobs(c)
    for name, e in c.environments.items():
        for split in ("validation", "test"):
            for other in ("training", "validation"):
                # None of its own: those of training, which is checked where agents are evaluated.
                if split == other or not getattr(e, f"{split}_tasks") or (other != "training" and not e.validation_tasks):
                    continue
                others = {_frozen(t) for t in e.tasks_of(other)}
                both = [t for t in e.tasks_of(split) if _frozen(t) in others]
                if both:
                    yield f"environments.{name}.{split}_tasks: {both[0]} is a task of {other} too (expected none that is)"
    for name, d in c.datasets.items():
        yield from _twice(f"datasets.{name}.environments", d.environments)
        for e in d.environments:
            yield from known(f"datasets.{name}.environments", e, "environments")
            if e in c.environments and c.environments[e].ppo is None:
                yield f"environments.{e}.ppo: missing (expected how its sources learn, since dataset {name!r} has it)"
            if e in c.environments and c.environments[e].lifetimes < 2:
                yield (
                    f"datasets.{name}.environments: {e!r} has {c.environments[e].lifetimes} lifetime "
                    "(expected at least 2, one to train on and one to hold out)"
                )
            elif e in c.environments and d.held_out_lifetimes * c.environments[e].lifetimes > c.environments[e].lifetimes - 1:
                yield (
                    f"datasets.{name}.held_out_lifetimes: {d.held_out_lifetimes} of the {c.environments[e].lifetimes} "
                    f"lifetimes of {e!r} leaves none to train on (expected less)"
                )
    for name, a in c.agents.items():
        yield from known(f"agents.{name}.dataset", a.dataset, "datasets")
        gap = a.gap if isinstance(a.gap, list) else [a.gap, a.gap]
        if a.gap != "max" and gap[0] > gap[1]:
            yield f"agents.{name}.gap: {a.gap} (expected [low, high] with low <= high)"
        if a.model.kind not in model_kinds():
            yield f"agents.{name}.model.kind: {a.model.kind!r} (expected one of {', '.join(model_kinds())})"
        if a.fixed_projection and a.dataset in c.datasets and c.datasets[a.dataset].projections.kind == "identity":
            yield f"agents.{name}.fixed_projection: {a.fixed_projection} (expected 0 where the only projection is the identity)"
        if a.model.key_heads and a.model.kind == "equivariant":
            yield f"agents.{name}.model.key_heads: {a.model.key_heads} (expected none for an equivariant model)"
        if a.auxiliary_weight and a.model.kind == "equivariant":
            yield f"agents.{name}.auxiliary_weight: {a.auxiliary_weight} (expected 0 for an equivariant model)"
        for e in c.datasets[a.dataset].environments if a.dataset in c.datasets else []:
            if e not in c.environments:
                continue
            env = c.environments[e]
            if env.ppo is None:
                continue
            if a.sampling == "relabelled" and a.gap != "max":
                yield from _no_snapshot(name, gap[0], e, env.ppo)
            if a.gap != "max" and gap[1] >= env.ppo.updates:
                yield (
                    f"agents.{name}.gap: {a.gap} is longer than the history of {e!r}, {env.ppo.updates} updates "
                    f"(expected at most {env.ppo.updates - 1}, or max)"
                )
            if a.piece_steps > env.ppo.steps:
                yield (
                    f"agents.{name}.piece_steps: {a.piece_steps} is longer than an update of {e!r}, "
                    f"{env.ppo.steps} steps (expected at most that)"
                )
    for name, v in c.evaluations.items():
        yield from known(f"evaluations.{name}.environment", v.environment, "environments")
        for key in ("agents", "conditions", "baselines"):
            yield from _twice(f"evaluations.{name}.{key}", getattr(v, key))
        for a in v.agents:
            yield from known(f"evaluations.{name}.agents", a, "agents")
            yield from _trained_on(c, name, v, a)
        if v.environment in c.environments and c.environments[v.environment].ppo is None and "ppo_final" in v.baselines:
            yield f"evaluations.{name}.baselines: ppo_final, but {v.environment!r} has no ppo, and so no histories (expected reference)"
        if v.environment in c.environments and "ppo_final" in v.baselines:
            e = c.environments[v.environment]
            if e.lifetimes < len(e.tasks):
                yield (
                    f"environments.{v.environment}.lifetimes: {e.lifetimes} for {len(e.tasks)} tasks, so that ppo_final in evaluation "
                    f"{name!r} has no policy of some of them (expected at least {len(e.tasks)}, or reference)"
                )
            if e.tasks_of(v.split) != e.tasks_of("training"):
                yield (
                    f"evaluations.{name}.baselines: ppo_final, but no history of {v.environment!r} is of a task of split {v.split} "
                    "(expected reference)"
                )
        if not v.baselines and not (v.agents and v.conditions):
            yield f"evaluations.{name}: agents {v.agents}, conditions {v.conditions}, no baselines (expected something to run)"
    for name, f in c.figures.items():
        if f.kind not in figure_kinds():
            yield f"figures.{name}.kind: {f.kind!r} (expected one of {', '.join(figure_kinds())})"
        needed = {"sources": "environments", "training": "agents", "in_context": "panels", "scaling": "panels"}
        fields = sorted(set(needed.values()))
        own = needed.get(f.kind)
        for field in fields if own else []:
            if bool(getattr(f, field)) != (field == own):
                expected = "at least one" if field == own else f"none for a figure of kind {f.kind}"
                yield f"figures.{name}.{field}: {getattr(f, field)} (expected {expected})"
        drawn_fields = [field for field in fields if getattr(f, field)]
        if not own and len(drawn_fields) != 1:
            yield f"figures.{name}: {' and '.join(drawn_fields) or 'nothing to draw'} (expected one of {', '.join(fields)})"
        for key in ("environments", "agents"):
            yield from _twice(f"figures.{name}.{key}", getattr(f, key))
        for e in f.environments:
            yield from known(f"figures.{name}.environments", e, "environments")
            if e in c.environments and c.environments[e].ppo is None:
                yield f"figures.{name}.environments: {e!r} has no ppo, and so no histories (expected one that has)"
        for a in f.agents:
            yield from known(f"figures.{name}.agents", a, "agents")
        for i, p in enumerate(f.panels):
            yield from known(f"figures.{name}.panels[{i}].evaluation", p.evaluation, "evaluations")
            yield from _twice(f"figures.{name}.panels[{i}].agents", p.agents)
            if p.evaluation in c.evaluations:
                drawn = c.evaluations[p.evaluation].agents
                for a in p.agents:
                    if a not in drawn:
                        yield (
                            f"figures.{name}.panels[{i}].agents: {a!r} is not evaluated in {p.evaluation!r} "
                            f"(expected one of {', '.join(drawn) or 'none'})"
                        )
                if p.labels and len(p.labels) != len(p.agents or drawn):
                    yield (
                        f"figures.{name}.panels[{i}].labels: {p.labels} "
                        f"(expected {len(p.agents or drawn)} of them, one for each agent)"
                    )


def _sentence(error: Any) -> str:
    """One line for one of pydantic's errors."""
    # Branches of a union carry the branch's type in their path, which is no key of the config.
    path = [p for p in error["loc"] if not (isinstance(p, str) and re.search(r"[\[(]|^(int|str|float)$|constrained", p))]
    where = ".".join(map(key_shown, path)) or "config"
    value, kind = error["input"], error["type"]
    if kind == "extra_forbidden":
        return f"{where}: unknown key (value {shown(value)}; expected one of those in config/README.md)"
    if kind == "missing":
        return f"{where}: missing (expected a value)"
    message = re.sub(r"^(Value error, |(Input|String|List|Dictionary) should (be|have) )", "", error["msg"])
    if kind == "value_error":
        return f"{where}: {message}"
    hint = ""
    if isinstance(value, str) and kind in ("float_type", "int_type"):
        with contextlib.suppress(ValueError):
            hint = f"; YAML reads {value} as text, write {_yaml_number(float(value), kind)}"
    return f"{where}: {shown(value)} (expected {message}{hint})"


def _yaml_number(number: float, kind: str) -> str:
    """A number as YAML reads it: an exponent needs a point before it."""
    if kind == "int_type" and number.is_integer():
        return str(int(number))
    mantissa, exponent, power = repr(number).partition("e")
    return mantissa if not exponent else f"{mantissa if '.' in mantissa else mantissa + '.0'}e{power}"


def check(model: type[Entry], raw: dict[str, Any]) -> Entry:
    """One entry alone, as YAML gives it. Raises ConfigError with one line for each fault."""
    try:
        return model.model_validate(raw)
    except pydantic.ValidationError as error:
        # A value that fits no branch of a union has an error for each branch: one line for all of them.
        sentences: dict[str, str] = {}
        for line in (_sentence(e) for e in error.errors()):
            where, _, rest = line.partition(" (expected ")
            first = sentences.setdefault(where, line)
            if rest and rest not in first:
                sentences[where] = f"{first[:-1]}, or {rest}"
        raise ConfigError("\n".join(sentences.values())) from None


def load(raw: dict[str, Any]) -> Config:
    """Check a raw dictionary, as YAML gives it.

    Raises ConfigError with one line for each fault: key, value, what was expected.
    """
    _check_values(raw)
    config = check(Config, raw)
    if problems := list(_problems(config)):
        raise ConfigError("\n".join(map(cut, problems)))
    return config


def normalise(raw: dict[str, Any]) -> dict[str, Any]:
    """The same config with every default filled in, keys in a fixed order, plain YAML types only.

    Raises ConfigError as ``load`` does.
    """

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: ordered(value[key]) for key in sorted(value, key=str)}
        return [ordered(v) for v in value] if isinstance(value, list) else value

    return ordered(load(raw).model_dump())


def json_schema() -> str:
    """JSON Schema of the config, for editors; the text of workflow/schemas/config.schema.json."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


_INTRODUCTION = """# The configuration

`config.yaml` is the default, `smoke.yaml` runs every rule once, `paper.yaml` has the paper's scale.
Run another one with `snakemake --configfile config/smoke.yaml --cores all all`; it stands instead of
the default, not on top of it. Paths of results follow the names: `results/histories/{environment}/`,
`results/manifests/{dataset}.json`, `results/agents/{agent}/`, `results/rollouts/{evaluation}/{agent}/`,
`results/figures/{figure}.pdf`.

Five kinds of entries refer to each other by name: an **environment** (with the PPO settings of its sources), a
**dataset** (environments + projections + split), an **agent** (dataset + gap + conditioning + model +
training), an **evaluation** (agents and baselines in an environment) and a **figure** (evaluations +
style). A new study is a new entry. A changed entry rebuilds what depends on it and nothing else.

Numbers such as `3.0e-4` need their point: YAML reads `3e-4` as text, and the config is refused. So are keys that
are there twice, dates, and whatever else YAML makes of text that has no quotes. Merged keys (`<<: *other`) may be overridden.
This file and `workflow/schemas/config.schema.json` are written by `python -m gla.config`.
"""


def reference() -> str:
    """The text of config/README.md: every key, its type, its default and what it means."""

    def type_of(schema: dict) -> str:
        """A JSON Schema type in words."""
        if "anyOf" in schema:
            return " or ".join(type_of(s) for s in schema["anyOf"])
        if "enum" in schema or "const" in schema:
            return ", ".join(f"`{v}`" for v in schema.get("enum", [schema.get("const")]))
        if "$ref" in schema:
            return "see below"
        if schema.get("type") == "array":
            return f"list of {type_of(schema['items'])}"
        if schema.get("type") == "object":
            return "mapping"
        signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
        limits = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
        return " ".join([schema.get("type", "anything"), ", ".join(limits)]).strip()

    parts = [_INTRODUCTION]
    sections = (
        ("The whole", Config), ("environments", Environment), ("environments: ppo", PPO),
        ("environments: reference", Reference), ("datasets", Dataset),
        ("datasets: projections", Projections), ("agents", Agent), ("agents: model", Model),
        ("evaluations", Evaluation), ("figures", Figure), ("figures: panels", Panel),
    )  # fmt: skip
    for title, model in sections:
        parts.append(f"\n## {title}\n\n{model.__doc__}\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
        properties = model.model_json_schema()["properties"]
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else f"`{field.default!r}`"
            if isinstance(field.default, BaseModel):
                default = "its own defaults"
            kind, meaning = type_of(properties[name]), " ".join((field.description or "").split())
            parts.append(f"| `{name}` | {kind} | {default} | {meaning} |\n")
    return "".join(parts)


if __name__ == "__main__":
    Path("workflow/schemas/config.schema.json").write_text(json_schema())
    Path("config/README.md").write_text(reference())
