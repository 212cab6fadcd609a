"""In-context reinforcement learning: learning histories, encodings, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    environments <- sources <- storage <- manifests <- windows <- train <- in_context <- verdicts <- figures

``docs/design.md`` has the order of all modules.
"""

__version__ = "0.1.0"


def __dir__() -> list[str]:
    return [*globals(), "load"]


def __getattr__(name: str):
    """Provides ``gla.load``, and imports PyTorch only when it is used."""
    if name == "load":
        from gla.api import load

        return load
    raise AttributeError(f"module 'gla' has no attribute {name!r}")
