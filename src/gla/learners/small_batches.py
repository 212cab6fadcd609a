"""PPO for few steps. A batch has only a few steps of one environment, so that a thousand steps make many updates.

Rewards are divided by the running deviation of their discounted sums, since values can change by at most 0.2 in an update and
would lag behind rewards of another size. With the larger default batches of ``PPO``, which are made for whole learning
histories, it would hardly learn in so few steps.
"""

from typing import Any

from gla.learners.ppo import PPO

STEPS = 25  # steps between two updates
LOG_STD = 0.0  # initial log-deviation of continuous actions


def settings(steps: int = STEPS, **changed: Any) -> PPO:
    """Returns PPO's hyper-parameters. changed: those that a search replaces."""
    values: dict[str, Any] = {
        "num_updates": 10**6, "num_steps": steps, "update_epochs": 20, "num_minibatches": 1, "learning_rate": 3.0e-3, "anneal_learning_rate": False,
        "gamma": 0.8, "normalize_observations": False, "normalize_rewards": True,
    }  # fmt: skip
    return PPO.model_validate(values | changed)
