"""Ant-Dir (Finn et al., 2017): Ant-v4 rewarded for moving forward or backward along x."""

from typing import Any

from gymnasium.envs.mujoco.ant_v4 import AntEnv


class AntDir(AntEnv):
    """Ant-v4 with its forward reward multiplied by ``direction`` (+1 forward, -1 backward).

    The direction is not observed. Everything else, including the healthy reward and the control cost, is as in Ant-v4. Raises
    ValueError for another direction.
    """

    def __init__(self, direction: int = 1, **kwargs: Any):
        if direction not in (1, -1):
            raise ValueError(f"direction {direction!r} (expected 1 or -1)")
        self.direction = direction
        super().__init__(**kwargs)
        self._ezpickle_kwargs |= {"direction": direction}  # so that a pickled copy keeps its task

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        reward += (self.direction - 1) * info["x_velocity"]
        info["reward_forward"] = self.direction * info["x_velocity"]
        return observation, reward, terminated, truncated, info
