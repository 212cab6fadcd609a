"""Gymnasium's small worlds as tables, and a pendulum whose angle and speed are told in sixty cells.

``shaped`` gives the rewards and ends of Wang et al. (2025, OmniRL), which are of the size that agents of AnyMDP have seen.
"""

import gymnasium as gym
import numpy as np

from gla.environments.tabular import Tables, TabularEnv

FELL = -100  # Gymnasium's reward for a fall from the cliff


def tables_of(env_id: str, **kwargs) -> Tables:
    """Returns the tables of an environment of Gymnasium that has them (``P`` and ``initial_state_distrib``)."""
    env = gym.make(env_id, **kwargs).unwrapped
    states, actions = int(env.observation_space.n), int(env.action_space.n)
    follow = max(len(env.P[s][a]) for s in range(states) for a in range(actions))
    successor, terminal = np.zeros((states, actions, follow), int), np.zeros(states, bool)
    probability, reward = np.zeros((states, actions, follow)), np.zeros((states, actions, follow))
    for s in range(states):
        for a in range(actions):
            for k, (chance, after, paid, ended) in enumerate(env.P[s][a]):
                successor[s, a, k], probability[s, a, k], reward[s, a, k] = after, chance, paid
                terminal[after] |= ended
    start = np.asarray(env.initial_state_distrib, float)
    env.close()
    return Tables(successor, probability, reward, start / start.sum(), terminal, np.arange(states), states)


class CliffWalking(TabularEnv):
    """Walk along a cliff to a goal (Sutton and Barto, Example 6.6). Every step costs 1, and a fall 100 and the way back to the start.

    Observation: the cell. Action: up, right, down or left. shaped: the goal pays 1, a fall costs 1 and ends the episode, and other steps
    cost 0.03.
    """

    def __init__(self, shaped: bool = False):
        t = tables_of("CliffWalking-v1")
        if shaped:
            fell, cliff = t.reward == FELL, len(t.start) - 2
            terminal = t.terminal.copy()
            terminal[cliff] = True  # a cell that is otherwise never entered
            paid = np.where(fell, -1.0, np.where(t.terminal[t.successor], 1.0, -0.03))
            t = t._replace(successor=np.where(fell, cliff, t.successor), reward=paid, terminal=terminal)
        super().__init__(t)


class FrozenLake(TabularEnv):
    """Walk over a frozen lake of 4 by 4 cells to a goal that pays 1. Holes end the episode.

    Observation: the cell. Action: left, down, right or up. slippery: each action leads aside in two of three cases. shaped: a hole costs
    1, and where the lake is not slippery every other step costs 0.05.
    """

    def __init__(self, slippery: bool = True, shaped: bool = False):
        t = tables_of("FrozenLake-v1", is_slippery=slippery)
        if shaped:
            ends = t.terminal[t.successor]
            other = 0.0 if slippery else -0.05
            t = t._replace(reward=np.where(t.reward > 0, 1.0, np.where(ends, -1.0, other)))
        super().__init__(t)


class DiscretePendulum(TabularEnv):
    """Gymnasium's Pendulum with 12 cells of angle, 5 of speed, and the torques -2, -1, 0, 1 and 2 (Wang et al., 2025: 200 steps).

    Where a cell leads to is the average over ``POINTS`` by ``POINTS`` points of it, so that the cell is all that there is to know, which
    is not so in the pendulum itself. Rewards are Gymnasium's, r, as max(r / 30 + 0.1, -0.1). Observation: 5 times the number of the angle plus
    that of the speed. gravity: in metres per second squared.
    """

    ANGLES, SPEEDS, POINTS = 12, 5, 16
    TORQUES = (-2.0, -1.0, 0.0, 1.0, 2.0)

    def __init__(self, gravity: float = 9.8):
        if not 0 <= gravity <= 100:
            raise ValueError(f"gravity {gravity} (expected 0 to 100)")
        env = gym.make("Pendulum-v1", g=gravity).unwrapped
        top, states, torques = env.max_speed, self.ANGLES * self.SPEEDS, len(self.TORQUES)
        middle = (np.arange(self.POINTS) + 0.5) / self.POINTS
        angles = (np.arange(self.ANGLES)[:, None] + middle).ravel() * 2 * np.pi / self.ANGLES
        speeds = (np.arange(self.SPEEDS)[:, None] + middle).ravel() * 2 * top / self.SPEEDS - top
        points = np.stack(np.meshgrid(angles, speeds)).reshape(2, -1)
        before = self.cell(points[0], points[1], top)
        probability = np.zeros((states, torques, states))
        reward = np.zeros_like(probability)
        for k, torque in enumerate(self.TORQUES):
            env.state = points  # its step is arithmetic, which does all points at once
            paid = env.step(np.full((1, points.shape[1]), torque))[1]
            where = before, k, self.cell(env.state[0], env.state[1], top)
            np.add.at(probability, where, 1.0)
            np.add.at(reward, where, np.maximum(paid / 30 + 0.1, -0.1))
        env.close()
        reward /= np.maximum(probability, 1)
        start = np.zeros((self.ANGLES, self.SPEEDS))
        start[:, self.SPEEDS // 2] = 1 / self.ANGLES  # speeds from -1 to 1 are all in the middle cell
        everywhere = np.broadcast_to(np.arange(states), probability.shape)
        super().__init__(
            Tables(
                everywhere, probability / self.POINTS**2, reward, start.ravel(), np.zeros(states, bool), np.arange(states), states,
            )
        )  # fmt: skip

    @classmethod
    def cell(cls, angle: np.ndarray, speed: np.ndarray, top: float) -> np.ndarray:
        """Returns the observations of angles (radians) and speeds (radians per second, at most ``top``)."""
        a = (angle % (2 * np.pi) / (2 * np.pi) * cls.ANGLES).astype(int) % cls.ANGLES
        return cls.SPEEDS * a + np.minimum(((speed + top) / (2 * top) * cls.SPEEDS).astype(int), cls.SPEEDS - 1)
