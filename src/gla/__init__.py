"""In-context reinforcement learning: learning histories, encodings, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    environments <- sources <- storage <- manifests <- windows <- train <- in_context <- verdicts <- figures

``docs/design.md`` has the order of all modules.
"""

from importlib import import_module

__version__ = "0.1.0"


HERE = {"load": "gla.api", "judge": "gla.judging", "learner": "gla.judging"}  # what is used by name, and where it is


def __dir__() -> list[str]:
    return [*globals(), *HERE]


def __getattr__(name: str):
    """Provides ``gla.load``, ``gla.judge`` and ``gla.learner``, and imports PyTorch only when one of them is used."""
    if name in HERE:
        return getattr(import_module(HERE[name]), name)
    raise AttributeError(f"module 'gla' has no attribute {name!r}")
