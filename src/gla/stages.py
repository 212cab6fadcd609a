"""Where each result of a config lies, and each stage by its name in the config, without Snakemake.

Snakemake takes the paths from here too, and its scripts make the same calls, so that either may go on
from what the other made. What a change of the config makes stale is Snakemake's to know; here histories, agents and references
that were made from the same entry are kept, those that were made from another one are not overwritten
unless that is forced, and the rest is made anew.
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gla import files
from gla.config import NOT_OF_HISTORIES, Agent, ConfigError, Dataset, Environment, Evaluation, Figure, normalise

MODELS: dict[str, Any] = {
    "environments": Environment, "datasets": Dataset, "agents": Agent, "evaluations": Evaluation, "figures": Figure,
}  # fmt: skip


def network(name: str) -> tuple[str, int]:
    """The agent that one of its networks belongs to, and its number: the first bears the agent's name, the k-th NAME.k."""
    agent, _, number = name.partition(".")
    return agent, int(number or 0)


def _writing(stage: Callable) -> Callable:
    """A stage that no run of Snakemake may disturb. Raises Busy where one is under way."""

    @functools.wraps(stage)
    def held(self, *arguments: Any, **options: Any) -> None:
        with files.writing(self.results, "command"):
            stage(self, *arguments, **options)

    return held


class Stages:
    """A normalised config (``gla.config.normalise``) and the folder of its results."""

    def __init__(self, config: dict[str, Any], results: str | None = None):
        self.config = config
        self.results = results or config["pathvars"]["results"]

    def blocks(self, environment: str) -> list[str]:
        """Names of an environment's stores: the first and the last lifetime in each."""
        entry = self.config["environments"][environment]
        size, total = entry["lifetimes_per_block"], entry["lifetimes"]
        return [f"{i}-{min(i + size, total) - 1}" for i in range(0, total, size)]

    def stores(self, environments: list[str]) -> list[str]:
        """Folders of the histories, one for each block of lifetimes."""
        return [f"{self.results}/histories/{e}/{b}/history.zarr" for e in environments for b in self.blocks(e)]

    def digests(self, environments: list[str]) -> list[str]:
        """What describes each store, beside the folder that it lies in."""
        return [f"{Path(store).parent}.json" for store in self.stores(environments)]

    def histories(self, environments: list[str]) -> list[tuple[str, str]]:
        """(store, digest), as the package takes them."""
        return list(zip(self.stores(environments), self.digests(environments), strict=True))

    def manifest(self, dataset: str) -> tuple[str, str]:
        """(table, summary)."""
        return f"{self.results}/manifests/{dataset}.csv", f"{self.results}/manifests/{dataset}.json"

    network = staticmethod(network)

    def networks(self, agent: str) -> list[str]:
        """Names of an agent's networks, one for each training seed."""
        return [agent, *(f"{agent}.{k}" for k in range(1, self.config["agents"][agent]["seeds"]))]

    def agent(self, network: str) -> str:
        """The folder of a network."""
        return f"{self.results}/agents/{network}"

    def reference(self, environment: str, split: str) -> str:
        """The policies that scores on the tasks of a split are measured against; their description lies beside them."""
        return f"{self.results}/references/{environment}/{split}.safetensors"

    def projections(self, agent: str) -> int:
        """How many an agent is trained with."""
        return self.config["datasets"][self.config["agents"][agent]["dataset"]]["projections"]["train"]

    def rollout(self, evaluation: str, agent: str, condition: str) -> str:
        return f"{self.results}/rollouts/{evaluation}/{agent}/{condition}.parquet"

    def rollouts(self, evaluation: str, agents: list[str] | tuple = ()) -> list[str]:
        """Rollouts of some of an evaluation's agents (all, if none is named) and of its baselines."""
        entry = self.config["evaluations"][evaluation]
        pairs = [(n, c) for a in agents or entry["agents"] for n in self.networks(a) for c in entry["conditions"]]
        pairs += [("baseline", c) for c in entry["baselines"]]
        return [self.rollout(evaluation, a, c) for a, c in pairs]

    def tasks(self, evaluation: str) -> list[dict[str, Any]]:
        """Tasks of an evaluation's split, at least one."""
        entry = self.config["evaluations"][evaluation]
        environment = self.config["environments"][entry["environment"]]
        own = environment["tasks" if entry["split"] == "training" else f"{entry['split']}_tasks"]
        return own or environment["tasks"] or [{}]

    def judged(self) -> list[dict[str, Any]]:
        """What the table of verdicts is made from: evaluations that have agents, as ``gla.verdicts.table`` takes them.

        An agent's data efficiency is measured against the reference's learning curve, where it is run.
        """
        found = []
        for name, entry in self.config["evaluations"].items():
            if entry["agents"]:
                policies = self.reference(entry["environment"], entry["split"])
                curves = [policies.replace(".safetensors", ".json")] if "reference" in entry["baselines"] else []
                facts = {"name": name, "split": entry["split"], "seeds": entry["seeds"], "tasks": len(self.tasks(name))}
                facts |= {"agents": {a: len(self.networks(a)) for a in entry["agents"]}, "conditions": entry["conditions"]}
                found.append(facts | {"rollouts": self.rollouts(name), "references": curves})
        return found

    def entry(self, kind: str, name: str) -> Any:
        """An entry as its model. Raises ConfigError for a name that the config does not have."""
        if name not in self.config[kind]:
            raise ConfigError(f"{kind}: no {name!r} (expected one of {', '.join(self.config[kind]) or 'none'})")
        return MODELS[kind].model_validate(self.config[kind][name])

    @_writing
    def collect(self, environment: str, force: bool = False) -> None:
        """All blocks of lifetimes of an environment."""
        from gla import histories

        entry = self.entry("environments", environment)
        if entry.ppo is None:
            raise ConfigError(f"environments.{environment}.ppo: missing (expected how its sources learn)")
        made_from = {"config": entry.model_dump(exclude=set(NOT_OF_HISTORIES))}
        for block, (store, digest) in zip(self.blocks(environment), self.histories([environment]), strict=True):
            if force or not _kept(digest, made_from):
                first, last = map(int, block.split("-"))
                histories.collect(entry, environment, range(first, last + 1), store, digest)

    @_writing
    def train(self, agent: str, force: bool = False) -> None:
        """The manifest of an agent's dataset, and the agent."""
        from gla import augment, train

        entry = self.entry("agents", agent)
        dataset, (table, summary) = self.entry("datasets", entry.dataset), self.manifest(entry.dataset)
        augment.write_manifest(dataset, self.histories(dataset.environments), table, summary)
        for name in self.networks(agent):
            # Neither a name nor the number of networks decides anything.
            one = entry.model_copy(update={"dataset": "", "seed": entry.seed + network(name)[1], "seeds": 1})
            made_from = {"config": one.model_dump(), "manifest": augment.read_manifest(table, summary)[1]}
            folder = self.agent(name)
            if force or not _kept(f"{folder}/agent.json", made_from):
                train.train(one, name, table, summary, folder, f"{self.results}/training/{name}")

    @_writing
    def evaluate(self, evaluation: str, force: bool = False) -> None:
        """Rollouts of an evaluation's agents and baselines, and the reference among these."""
        from gla import agent, evaluate, reference

        settings = self.entry("evaluations", evaluation)
        name = settings.environment
        environment, trained = self.entry("environments", name), self.reference(name, settings.split)
        tasks, own = environment.tasks_of(settings.split), environment.reference.model_dump()
        made_from = {"config": {"id": environment.id, "kwargs": environment.kwargs, "tasks": tasks, **own}}
        described = str(Path(trained).with_suffix(".json"))
        refer = "reference" in settings.baselines and (force or not _kept(described, made_from))
        for n in (n for a in settings.agents for n in self.networks(a)):
            loaded, (a, training_seed) = agent.load(self.agent(n)), network(n)
            for c in settings.conditions:
                rows = evaluate.run_agent(loaded, environment, settings, c, f"evaluate {evaluation} {n} {c}")
                evaluate.write_rows(rows.frame(a, name, c, training_seed), self.rollout(evaluation, n, c))
        for c in settings.baselines:
            stores = self.histories([name]) if c == "ppo_final" else []
            if c == "reference" and refer:
                reference.train(environment, name, settings.split, trained)
            frame = evaluate.run_baseline(environment, settings, c, stores, trained, name, f"evaluate {evaluation} {c}")
            evaluate.write_rows(frame, self.rollout(evaluation, "baseline", c))

    @_writing
    def figure(self, figure: str) -> None:
        """A figure's CSV, PDF and PNG, from the rollouts, histories or agents that it shows."""
        from gla import figures
        from gla.environments import optimal_return

        entry = self.entry("figures", figure)
        inputs: dict[str, list]
        if entry.environments:
            inputs = {"digests": self.digests(entry.environments)}
        elif entry.agents:
            inputs = {"by_position": [f"{self.agent(a)}/by_position.csv" for a in entry.agents]}
        else:
            evaluations = [self.entry("evaluations", p.evaluation) for p in entry.panels]
            environments = [self.entry("environments", v.environment) for v in evaluations]
            tasks = [e.tasks_of(v.split) for e, v in zip(environments, evaluations, strict=True)]
            inputs = {
                "rollouts": [self.rollouts(p.evaluation, p.agents) for p in entry.panels],
                "optimal": [optimal_return(e.id, e.kwargs, t) for e, t in zip(environments, tasks, strict=True)],
                "tasks": [len(t) for t in tasks],
                "projections": [
                    {a: self.projections(a) for a in p.agents or self.config["evaluations"][p.evaluation]["agents"]}
                    for p in entry.panels
                ],
            }
        path = f"{self.results}/figures/{figure}"
        figures.tabulate(entry, inputs, f"{path}.csv")
        figures.plot(entry, f"{path}.csv", [f"{path}.pdf", f"{path}.png"])


def _kept(path: str, made_from: dict[str, Any]) -> bool:
    """Whether a result is there; raises ConfigError where it was made from something else."""
    if not Path(path).exists():
        return False
    body = files.read_json(path)
    if any(body.get(key) != value for key, value in made_from.items()):
        raise ConfigError(f"{path}: made from another config (expected this one's; --force makes it anew)")
    print(f"{path}: there already, and kept (--force makes it anew)", file=sys.stderr)
    return True


def load(path: str | Path) -> Stages:
    """The stages of a config file. Raises ConfigError naming the file or the entry that is wrong."""
    from gla import config_file, preflight

    normalised = normalise(config_file.read(path))
    preflight.check(normalised)
    return Stages(normalised)
