"""In-context reinforcement learning: learning histories, encodings, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    environments <- sources <- storage <- manifests <- windows <- train <- in_context <- verdicts <- figures

``docs/design.md`` has the order of all modules.
"""

from pathlib import Path

__version__ = "0.1.0"
SHIPPED = Path(__file__).parent / "shipped"
GENERAL = "general"  # the installed agent for environments of all kinds


def agents() -> list[str]:
    """Returns the names of the agents that are installed with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/agent.json"))


def __dir__() -> list[str]:
    return [*globals(), "judge", "learner", "load"]


def __getattr__(name: str):
    """Provides ``gla.load``, ``gla.judge`` and ``gla.learner``, and imports PyTorch only when one of them is used."""
    if name == "load":
        from gla.api import load

        return load
    if name == "judge":
        from gla.judging import judge

        return judge
    if name == "learner":
        from gla.foreign import learner

        return learner
    raise AttributeError(f"module 'gla' has no attribute {name!r}")
