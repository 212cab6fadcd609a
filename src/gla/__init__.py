"""In-context reinforcement learning: learning histories, encodings, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    environments <- sources <- storage <- manifests <- windows <- train <- in_context <- verdicts <- figures

``docs/design.md`` has the order of all modules.
"""

__version__ = "0.1.0"


def __dir__() -> list[str]:
    return [*globals(), "agents", "judge", "learner", "load"]


def __getattr__(name: str):
    """Provides ``gla.load``, ``gla.agents``, ``gla.judge`` and ``gla.learner``, and imports PyTorch only when one of them is used."""
    if name == "agents":
        from gla.api import agents

        return agents
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
