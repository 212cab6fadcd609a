"""In-context reinforcement learning: PPO histories, augmentation, meta-training, rollouts, figures.

Stages import one way, from the later to the earlier::

    config <- environments <- ppo <- histories <- augment <- windows <- agent <- train <- evaluate <- figures
"""

__version__ = "0.1.0"
