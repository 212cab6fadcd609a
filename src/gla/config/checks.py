"""Checks that involve several entries: references between them, and sizes that have to fit each other.

Checks that concern only one kind are in the options of that kind, so that a new kind needs no line here.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gla.conditions.kinds import CONDITIONS
from gla.config.agents import Agent
from gla.config.evaluations import Evaluation
from gla.config.whole import NOUNS, Config
from gla.options import key_shown, shown
from gla.sources.kinds import SOURCES
from gla.splits import tasks_key, tasks_of
from gla.trainers.kinds import ACTING

MOST_JOBS, LONGEST_NAME = 100_000, 100


def problems(c: Config) -> Iterator[str]:
    """Yields one line for each fault: key, value, what was expected."""
    yield from _names(c)
    yield from _too_many_jobs(c)
    for name, e in c.environments.items():
        yield from _splits(name, e)
    for name, s in c.sources.items():
        yield from _known(c, f"sources.{name}.environment", s.environment, "environments")
    for name, d in c.datasets.items():
        yield from _dataset(c, name, d)
    for name, a in c.agents.items():
        yield from _agent(c, name, a)
    for name, v in c.evaluations.items():
        yield from _evaluation(c, name, v)
    for name, f in c.figures.items():
        yield from _figure(c, name, f)


def _known(c: Config, where: str, name: str, noun: str) -> Iterator[str]:
    """Yields a line if no entry has this name."""
    if name not in (table := getattr(c, noun)):
        yield f"{where}: {name!r} is not defined (expected one of {noun}: {', '.join(table) or 'none'})"


def _twice(where: str, names: list[str]) -> Iterator[str]:
    """Yields a line for each name that is listed more than once."""
    for name, count in sorted(Counter(names).items()):
        if count > 1:
            yield f"{where}: {name!r} is listed {count} times (expected once)"


def _frozen(value: Any) -> Any:
    """Returns a form of a value that can be looked up in a set."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(v)) for key, v in value.items())
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _names(c: Config) -> Iterator[str]:
    for noun in NOUNS:
        for name in getattr(c, noun):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or name == "baseline":
                yield f"{noun}.{key_shown(name)}: not a usable name (expected letters, digits, - and _; 'baseline' is taken)"
            elif len(name) > LONGEST_NAME:  # two or more names make up the name of one file
                yield f"{noun}.{key_shown(name)}: a name of {len(name)} characters (expected at most {LONGEST_NAME})"
    results = c.pathvars.get("results", "")
    # Snakemake uses braces and angle brackets.
    longest = max(map(len, results.encode().split(b"/")))
    if not re.fullmatch(r"[^{}<>]+", results) or not results.isprintable() or len(results) > 1000 or longest > 255:
        yield f"pathvars: {shown(c.pathvars)} (expected results, where results go: a path that a file can have, without any of {{}}<>)"


def _too_many_jobs(c: Config) -> Iterator[str]:
    """Yields a line if there are more jobs than Snakemake can plan."""
    jobs = {}
    for name, s in c.sources.items():
        blocks = -(-s.lifetimes // s.lifetimes_per_block)
        jobs[f"sources.{name}.lifetimes: {s.lifetimes} in blocks of {s.lifetimes_per_block}"] = blocks
    for name, a in c.agents.items():
        # Jobs of training, of the model card, and of rollouts.
        rollouts = sum(len(v.conditions) for v in c.evaluations.values() if name in v.agents)
        jobs[f"agents.{name}.seeds: {a.seeds}"] = a.seeds * (2 + rollouts)
    if sum(jobs.values()) > MOST_JOBS:
        most = max(jobs, key=lambda where: jobs[where])
        yield f"{most}: {jobs[most]} jobs, of {sum(jobs.values())} in all (expected at most {MOST_JOBS} in all)"


def _splits(name: str, e: Any) -> Iterator[str]:
    """Yields lines for tasks that belong to two splits."""
    for split in ("validation", "test"):
        for other in ("training", "validation"):
            # A split without tasks has those of training, which is checked for each evaluation of an agent.
            if split == other or not getattr(e, tasks_key(split)) or (other != "training" and not e.validation_tasks):
                continue
            others = {_frozen(t) for t in tasks_of(e, other)}
            both = [t for t in tasks_of(e, split) if _frozen(t) in others]
            if both:
                yield f"environments.{name}.{split}_tasks: {both[0]} is a task of {other} too (expected different tasks)"


def _dataset(c: Config, name: str, d: Any) -> Iterator[str]:
    yield from _twice(f"datasets.{name}.sources", d.sources)
    for s in d.sources:
        yield from _known(c, f"datasets.{name}.sources", s, "sources")
        if s not in c.sources:
            continue
        lifetimes = c.sources[s].lifetimes
        if lifetimes < 2:
            yield (
                f"datasets.{name}.sources: {s!r} has {lifetimes} lifetime "
                "(expected at least 2, one to train on and one to hold out)"
            )
        elif d.held_out_lifetimes * lifetimes > lifetimes - 1:
            yield (
                f"datasets.{name}.held_out_lifetimes: {d.held_out_lifetimes} of the {lifetimes} "
                f"lifetimes of {s!r} leaves none to train on (expected less)"
            )


def _agent(c: Config, name: str, a: Agent) -> Iterator[str]:
    yield from _known(c, f"agents.{name}.dataset", a.dataset, "datasets")
    histories = ("windows", a.windows), ("labels", a.labels), ("loss", a.loss)
    for key, noun in (
        *histories[: 0 if a.training.kind in ACTING else 3],
        ("model", a.model),
        ("training", a.training),
    ):
        for problem in noun.problems_of(a):
            yield f"agents.{name}.{key}.{problem}"
    if a.dataset not in c.datasets:
        return
    dataset = c.datasets[a.dataset]
    if a.model.encodings and dataset.encoding.kind not in a.model.encodings:
        yield (
            f"agents.{name}.model.kind: {a.model.kind!r} with the encoding {dataset.encoding.kind!r} of dataset {a.dataset!r} "
            f"(expected one with the encoding {' or '.join(sorted(a.model.encodings))})"
        )
    if a.training.kind in ACTING:
        return
    labelled = a.labels.needs.get(a.loss.wants, frozenset().union(*a.labels.needs.values()))
    nouns = {"windows": a.windows.needs, "labels": labelled, "loss": a.loss.needs}
    for s in dataset.sources:
        if s not in c.sources:
            continue
        source = c.sources[s]
        for key, needs in nouns.items():
            if lacking := sorted(needs - source.provides):
                others = [kind for kind in SOURCES if set(lacking) <= SOURCES.options(kind).provides]
                yield (
                    f"agents.{name}.{key}: {getattr(a, key).kind!r} needs {', '.join(lacking)}, which source {s!r} of kind {source.kind!r} "
                    f"does not write (expected sources of kind {' or '.join(others)})"
                )
                break
        else:
            for key, noun in (("windows", a.windows), ("labels", a.labels)):
                for problem in noun.problems_with(a, s, source):
                    yield f"agents.{name}.{key}.{problem}"


def _trained_on(c: Config, name: str, evaluation: Evaluation, agent: str) -> Iterator[str]:
    """Yields a line if an agent would be tested on a task that it was trained on."""
    dataset = c.agents[agent].dataset if agent in c.agents else None
    entry = c.environments.get(evaluation.environment)
    if entry is None or dataset not in c.datasets or evaluation.split == "training":
        return
    own = [(entry.id, entry.kwargs | task) for task in tasks_of(entry, evaluation.split) if task]
    names = {c.sources[s].environment for s in c.datasets[dataset].sources if s in c.sources}
    trained = [c.environments[e] for e in names if e in c.environments]
    seen = {(e.id, _frozen(e.kwargs | task)) for e in trained for task in tasks_of(e, "training")}
    if both := [(id, kwargs) for id, kwargs in own if (id, _frozen(kwargs)) in seen]:
        yield (
            f"evaluations.{name}.agents: {agent!r} was trained on {len(both)} of the {len(own)} tasks of split {evaluation.split} of "
            f"{evaluation.environment!r}, {both[0][1]} among them (expected other {evaluation.split}_tasks there, or split training)"
        )


def _evaluation(c: Config, name: str, v: Evaluation) -> Iterator[str]:
    yield from _known(c, f"evaluations.{name}.environment", v.environment, "environments")
    for key in ("agents", "conditions", "baselines"):
        yield from _twice(f"evaluations.{name}.{key}", getattr(v, key))
    for a in v.agents:
        yield from _known(c, f"evaluations.{name}.agents", a, "agents")
        yield from _trained_on(c, name, v, a)
    if v.environment not in c.environments:
        return
    for condition in v.baselines:
        reads, where = CONDITIONS[condition].reads, f"evaluations.{name}.baselines: {condition}, but"
        if reads == "prompt" and not v.prompt:
            yield f"{where} prompt is not given (expected a prompt)"
        if reads not in ("policies", "histories"):
            continue
        own = [
            s for s, x in c.sources.items()
            if x.environment == v.environment and (reads == "histories" or "policies" in x.provides)
        ]  # fmt: skip
        instead = ", or the baseline reference" if reads == "policies" else ""
        if len(own) != 1:
            write = "write policies" if reads == "policies" else "act"
            yield f"{where} {len(own)} sources {write} in {v.environment!r} (expected exactly one{instead})"
            continue
        yield from _shows_all_tasks(c, name, own[0], f"{condition}", where, instead)
    if v.prompt:
        where = f"evaluations.{name}.prompt.source"
        yield from _known(c, where, v.prompt.source, "sources")
        if v.prompt.source in c.sources:
            yield from _shown(c, name, v)


def _shows_all_tasks(c: Config, name: str, source: str, what: str, where: str, instead: str) -> Iterator[str]:
    """Yields lines if a source has no histories of some tasks of an evaluation."""
    v, entry = c.evaluations[name], c.sources[source]
    e = c.environments[v.environment]
    if entry.lifetimes < len(e.tasks):
        yield (
            f"sources.{source}.lifetimes: {entry.lifetimes} for {len(e.tasks)} tasks, so that {what} in evaluation "
            f"{name!r} has no history of some of them (expected at least {len(e.tasks)}{instead})"
        )
    if tasks_of(e, v.split) != tasks_of(e, "training"):
        yield (
            f"{where} no history of {v.environment!r} is of a task of split {v.split} "
            f"(expected {'the baseline reference' if instead else 'an environment of its own with only these tasks'})"
        )


def _shown(c: Config, name: str, v: Evaluation) -> Iterator[str]:
    """Yields lines for a prompt that does not have the evaluation's tasks, or is longer than its histories."""
    source, where = c.sources[v.prompt.source], f"evaluations.{name}.prompt"
    if source.environment != v.environment:
        yield f"{where}.source: {v.prompt.source!r} acts in {source.environment!r} (expected a source in {v.environment!r})"
        return
    yield from _shows_all_tasks(c, name, v.prompt.source, "the prompt", f"{where}: {v.prompt.source!r}, but", "")
    if v.prompt.steps > (most := int(v.prompt.part[1] * source.updates * source.steps)):
        yield f"{where}.steps: {v.prompt.steps} (expected at most {most}, up to where part of the history of {v.prompt.source!r} ends)"


def _figure(c: Config, name: str, f: Any) -> Iterator[str]:
    for noun in ("sources", "agents"):
        yield from _twice(f"figures.{name}.{noun}", getattr(f, noun, []))
        for entry in getattr(f, noun, []):
            yield from _known(c, f"figures.{name}.{noun}", entry, noun)
    for i, p in enumerate(getattr(f, "panels", [])):
        where = f"figures.{name}.panels[{i}]"
        yield from _known(c, f"{where}.evaluation", p.evaluation, "evaluations")
        yield from _twice(f"{where}.agents", p.agents)
        if p.evaluation not in c.evaluations:
            continue
        drawn = c.evaluations[p.evaluation].agents
        for a in p.agents:
            if a not in drawn:
                yield f"{where}.agents: {a!r} is not evaluated in {p.evaluation!r} (expected one of {', '.join(drawn) or 'none'})"
        if p.labels and len(p.labels) != len(p.agents or drawn):
            yield f"{where}.labels: {p.labels} (expected {len(p.agents or drawn)} of them, one for each agent)"
        yield from _labels(where, p.labels, p.agents or drawn)


def _labels(where: str, labels: list[str], agents: list[str]) -> Iterator[str]:
    """Yields a line for each agent that would be missing from a panel's legend. Matplotlib leaves out some labels, and merges
    equal ones.
    """
    yield from _twice(f"{where}.labels", [label for label in labels if label.strip()])
    for j, label in enumerate(labels):
        if not label.strip() or label.startswith("_"):
            yield f"{where}.labels[{j}]: {label!r} is left out of legends (expected text that does not begin with '_')"
    for agent in agents if not labels else ():
        if agent.startswith("_"):
            yield f"{where}.labels: [] for {agent!r}, which is left out of legends (expected labels that do not begin with '_')"
