"""In-context reinforcement learning: PPO histories, augmentation, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    config <- environments <- ppo <- histories <- augment <- windows <- agent <- train <- evaluate <- figures
"""

__version__ = "0.1.0"


def __getattr__(name: str):
    """``gla.load``, which imports PyTorch when it is used and not before."""
    if name == "load":
        from gla.api import load

        return load
    raise AttributeError(f"module 'gla' has no attribute {name!r}")
