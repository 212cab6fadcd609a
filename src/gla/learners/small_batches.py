"""PPO for few steps: a batch of one environment's last steps, so that a thousand steps are many updates.

Rewards are divided by the running deviation of their discounted sums: values are clipped to changes of 0.2 an update, and would
lag behind rewards of another size. The larger batches that are ``PPO``'s defaults, made for whole learning histories, would leave
it untrained there.
"""

from typing import Any

from gla.learners.ppo import PPO

STEPS = 25  # between two updates
LOG_STD = 0.0  # of continuous actions, to begin with


def settings(steps: int = STEPS, **changed: Any) -> PPO:
    """PPO's hyper-parameters. changed: for a search over them."""
    values: dict[str, Any] = {
        "num_updates": 10**6, "num_steps": steps, "update_epochs": 20, "num_minibatches": 1, "learning_rate": 3.0e-3, "anneal_learning_rate": False,
        "gamma": 0.8, "normalize_observations": False, "normalize_rewards": True,
    }  # fmt: skip
    return PPO.model_validate(values | changed)
