"""The whole config: every entry by its name."""

from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.figures import Figure
from gla.config.sources import Source
from gla.options import Options


class Config(Options):
    """The whole config of a run."""

    pathvars: dict[str, str] = {"results": "results"}
    """Snakemake's path variables. `results` is the folder that results are written to."""
    environments: dict[str, Environment]
    """Environments, each under a name of your choice."""
    sources: dict[str, Source] = {}
    """Sources of learning histories, by name."""
    datasets: dict[str, Dataset] = {}
    """Datasets, by name."""
    agents: dict[str, Agent] = {}
    """Agents, by name."""
    evaluations: dict[str, Evaluation] = {}
    """Evaluations, by name."""
    figures: dict[str, Figure] = {}
    """Figures, by name."""


NOUNS = ("environments", "sources", "datasets", "agents", "evaluations", "figures")
