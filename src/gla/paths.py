"""The path of each result of a config, and the inputs that it is made from. Only this module works them out.

Snakemake's rules get their inputs and params here, so that a rule is a few lines. Everything is a function of a normalised config
(``gla.config.reading.normalise``).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gla.conditions.kinds import CONDITIONS
from gla.conditions.roles import that_read
from gla.figures.kinds import NAMING
from gla.networks import network
from gla.sources.kinds import SOURCES
from gla.splits import tasks_in, tasks_key
from gla.trainers.kinds import ACTING


def without(entry: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Returns an entry without some keys, which do not decide a stage's output."""
    return {k: v for k, v in entry.items() if k not in keys}


class Paths:
    """The paths of the results of a normalised config in a folder of results."""

    def __init__(self, config: dict[str, Any], results: str | None = None):
        self.config = config
        self.results = results or config["pathvars"]["results"]

    # Histories

    def blocks(self, source: str) -> list[str]:
        """Returns the names of a source's stores, such as ``0-15``: the first and the last lifetime in each."""
        entry = self.config["sources"][source]
        size, total = entry["lifetimes_per_block"], entry["lifetimes"]
        return [f"{i}-{min(i + size, total) - 1}" for i in range(0, total, size)]

    def stores(self, sources: list[str]) -> list[str]:
        """Returns the folders of the histories, one for each block of lifetimes."""
        return [f"{self.results}/histories/{s}/{b}/history.zarr" for s in sources for b in self.blocks(s)]

    def digests(self, sources: list[str]) -> list[str]:
        """Returns the digest of each store. It lies next to the folder that holds the store."""
        return [f"{Path(store).parent}.json" for store in self.stores(sources)]

    def acted_in(self, source: str) -> dict[str, Any]:
        """Returns the part of an environment's entry that decides the histories of a source in it."""
        return self.acts_in(self.config["sources"][source]["environment"])

    def acts_in(self, environment: str) -> dict[str, Any]:
        """Returns the part of an environment's entry that decides training in it."""
        return {k: self.config["environments"][environment][k] for k in ("id", "kwargs", "tasks")}

    # Agents

    def networks(self, agent: str) -> list[str]:
        """Returns the names of an agent's networks, one for each training seed."""
        return [agent, *(f"{agent}.{k}" for k in range(1, self.config["agents"][agent]["seeds"]))]

    def agent(self, network: str) -> str:
        """Returns the folder of a network."""
        return f"{self.results}/agents/{network}"

    def agent_entry(self, name: str) -> dict[str, Any]:
        """Returns the entry of an agent, given its name or that of one of its networks."""
        return self.config["agents"][network(name)[0]]

    def dataset_of(self, name: str) -> dict[str, Any]:
        """Returns the entry of the dataset that an agent is trained on, given its name or that of one of its networks."""
        return self.config["datasets"][self.agent_entry(name)["dataset"]]

    def training_tasks(self, name: str) -> int:
        """Returns the number of tasks in the histories that an agent is trained on."""
        sources = [self.config["sources"][s] for s in self.dataset_of(name)["sources"]]
        return sum(
            min(s["lifetimes"], len(tasks_in(self.config["environments"][s["environment"]], "training")))
            for s in sources
        )

    def training(self, name: str) -> dict[str, Any]:
        """Returns an agent's settings with the seed of this network. The number of its networks and the settings of those who use it are
        left out, since they decide nothing.
        """
        entry = self.agent_entry(name)
        return without(entry, "dataset", "seeds", "acting") | {"seed": entry["seed"] + network(name)[1]}

    def trained_in(self, name: str) -> list[str]:
        """Returns the names of the environments that an agent acts in during training: those of its dataset's sources, in
        this order.
        """
        if self.agent_entry(name)["training"]["kind"] not in ACTING:
            return []
        return [self.config["sources"][s]["environment"] for s in self.dataset_of(name)["sources"]]

    # Rollouts

    def rollout(self, evaluation: str, agent: str, condition: str) -> str:
        return f"{self.results}/rollouts/{evaluation}/{agent}/{condition}.parquet"

    def rollouts(self, evaluation: str, agents: list[str] | tuple = ()) -> list[str]:
        """Returns the rollouts of some of an evaluation's agents (all, if none is named) and of its baselines."""
        entry = self.config["evaluations"][evaluation]
        pairs = [(n, c) for a in agents or entry["agents"] for n in self.networks(a) for c in entry["conditions"]]
        pairs += [("baseline", c) for c in entry["baselines"]]
        return [self.rollout(evaluation, a, c) for a, c in pairs]

    def conditions(self, evaluations: Iterable[str]) -> list[str]:
        """Returns the conditions of agents, and the baselines, that any of these evaluations runs."""
        entries = [self.config["evaluations"][v] for v in evaluations]
        return sorted({c for entry in entries for c in (*entry["conditions"], *entry["baselines"])})

    def rollouts_of(self, name: str) -> list[str]:
        """Returns an agent's rollouts in all its evaluations, and the rollouts of the baselines there."""
        agent = network(name)[0]
        return [
            path
            for v, entry in self.config["evaluations"].items()
            if agent in entry["agents"]
            for path in self.rollouts(v, [agent])
        ]

    def tasks(self, evaluation: str) -> list[dict[str, Any]]:
        """Returns the tasks of an evaluation's split, at least one."""
        entry = self.config["evaluations"][evaluation]
        environment = self.config["environments"][entry["environment"]]
        return tasks_in(environment, entry["split"])

    def evaluated_in(self, evaluation: str) -> dict[str, Any]:
        """Returns the part of its environment's entry that decides an evaluation's rollouts. Only the tasks of its split are
        included.
        """
        entry = self.config["evaluations"][evaluation]
        environment = self.config["environments"][entry["environment"]]
        keys = "id", "kwargs", "tasks", tasks_key(entry["split"])
        return {"name": entry["environment"]} | {k: environment[k] for k in keys}

    def settings(self, evaluation: str) -> dict[str, Any]:
        """Returns the part of an evaluation's entry that decides each of its rollouts."""
        return without(self.config["evaluations"][evaluation], "environment", "agents", "conditions", "baselines")

    # References, and other inputs of baselines

    def reference(self, environment: str, split: str) -> list[str]:
        """Returns the files of the reference policies on the tasks of a split, which scores are measured against: weights and
        description.
        """
        path = f"{self.results}/references/{environment}/{split}"
        return [f"{path}.safetensors", f"{path}.json"]

    def references(self) -> list[str]:
        """Returns the files of all references."""
        entries = [v for v in self.config["evaluations"].values() if self._measured(v)]
        return [file for v in entries for file in self.reference(v["environment"], v["split"])]

    def _measured(self, evaluation: dict[str, Any]) -> bool:
        """Whether an evaluation has a reference."""
        return bool(set(evaluation["baselines"]) & set(that_read("reference")))

    def referred(self, environment: str, split: str) -> dict[str, Any]:
        """Returns the part of an environment's entry that decides its reference on a split."""
        entry = self.config["environments"][environment]
        return {k: entry[k] for k in ("id", "kwargs", "tasks", "reference", tasks_key(split))}

    def prompted(self, evaluation: str) -> list[str]:
        """Returns the sources that an evaluation's prompt shows: one, or none."""
        prompt = self.config["evaluations"][evaluation]["prompt"]
        return [prompt["source"]] if prompt else []

    def sources_in(self, environment: str, policies: bool) -> list[str]:
        """Returns the sources of an environment, or only those that write policies. If a baseline reads policies there is
        exactly one, since the check of a config demands it."""
        own = {s: entry["kind"] for s, entry in self.config["sources"].items() if entry["environment"] == environment}
        # Importing kinds is slow, and needed only if there is a choice.
        if not policies or len(own) < 2:
            return list(own)
        return [s for s, kind in own.items() if "policies" in SOURCES.options(kind).provides]

    def baseline_inputs(self, evaluation: str, condition: str) -> dict[str, list[str]]:
        """Returns the files that a baseline acts by: stores and digests, or those of a reference."""
        entry, reads = self.config["evaluations"][evaluation], CONDITIONS[condition].reads
        sources = self.prompted(evaluation) if reads == "prompt" else []
        if reads in ("policies", "histories"):
            sources = self.sources_in(entry["environment"], reads == "policies")
        reference = self.reference(entry["environment"], entry["split"]) if reads == "reference" else []
        return {"stores": self.stores(sources), "digests": self.digests(sources), "reference": reference}

    # Tables and figures

    def judged(self) -> list[dict[str, Any]]:
        """Returns the input of the table of verdicts: evaluations that have agents, in the form that ``gla.verdicts.table`` takes.

        An agent's data efficiency is measured against the reference's learning curve, if there is a reference.
        """
        found = []
        for name, entry in self.config["evaluations"].items():
            if entry["agents"]:
                curves = self.reference(entry["environment"], entry["split"])[1:] if self._measured(entry) else []
                facts = {"name": name, "tasks": len(self.tasks(name))}
                facts |= {"agents": {a: len(self.networks(a)) for a in entry["agents"]}}
                facts |= {key: entry[key] for key in ("split", "set", "seeds", "conditions", "baselines")}
                found.append(facts | {"rollouts": self.rollouts(name), "references": curves})
        return found

    def drawn(self, figure: str) -> dict[str, list[str]]:
        """Returns the files that a figure's table is made from, by their role."""
        entry = self.config["figures"][figure]
        panels = entry.get("panels", [])
        return {
            "digests": self.digests(entry.get("sources", [])),
            "by_position": [f"{self.agent(a)}/by_position.csv" for a in entry.get("agents", [])],
            "rollouts": [path for p in panels for path in self.rollouts(p["evaluation"], p["agents"])],
        }

    def tabled(self, figure: str) -> dict[str, Any]:
        """Returns the part of a figure's entry that decides its table: the evaluation and the agents of each panel, and also
        their names if the table holds them."""
        entry = without(self.config["figures"][figure], "style")
        told = ("evaluation", "agents", *(("title", "labels") if entry["kind"] in NAMING else ()))
        if "panels" in entry:
            entry["panels"] = [{key: p[key] for key in told} for p in entry["panels"]]
        return entry

    def panels(self, figure: str) -> list[dict[str, Any]]:
        """Returns, for each panel, the number of its rollouts, the environment, whose best return may be known, and for each
        agent the number of projections and of tasks that it was trained with, the kind of its model, and the evaluation's split."""
        found = []
        for panel in self.config["figures"][figure].get("panels", []):
            evaluation = self.config["evaluations"][panel["evaluation"]]
            environment = self.config["environments"][evaluation["environment"]]
            agents = panel["agents"] or evaluation["agents"]
            found.append({
                "rollouts": len(self.rollouts(panel["evaluation"], panel["agents"])),
                "environment": {"id": environment["id"], "kwargs": environment["kwargs"], "tasks": self.tasks(panel["evaluation"])},
                "agents": {
                    a: {
                        "projections": self.dataset_of(a)["encoding"].get("train", 1), "tasks": self.training_tasks(a),
                        "model": self.agent_entry(a)["model"]["kind"], "split": evaluation["split"],
                    }
                    for a in agents
                },
            })  # fmt: skip
        return found
