"""In-context reinforcement learning: learning histories, encodings, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    environments <- sources <- storage <- manifests <- windows <- train <- in_context <- verdicts <- figures

``docs/design.md`` has the order of all modules.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    """``gla.load``, which imports PyTorch when it is used and not before."""
    if name == "load":
        from gla.api import load

        return load
    raise AttributeError(f"module 'gla' has no attribute {name!r}")
