"""The whole config: every entry by its name."""

from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.figures import Figure
from gla.config.sources import Source
from gla.options import Options


class Config(Options):
    """Everything that a run needs."""

    pathvars: dict[str, str] = {"results": "results"}
    """Snakemake's path variables: where results go."""
    environments: dict[str, Environment]
    """By name."""
    sources: dict[str, Source] = {}
    """By name."""
    datasets: dict[str, Dataset] = {}
    """By name."""
    agents: dict[str, Agent] = {}
    """By name."""
    evaluations: dict[str, Evaluation] = {}
    """By name."""
    figures: dict[str, Figure] = {}
    """By name."""


NOUNS = ("environments", "sources", "datasets", "agents", "evaluations", "figures")
