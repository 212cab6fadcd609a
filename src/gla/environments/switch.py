"""Two players who have to get past each other in a corridor, and each of whom learns alone (Switch2 of ma-gym; rewards after Wang et al.,
2025).

A player sees its own cell and the other's column. What the other does is part of the world to it, and changes as the other learns.
"""

from functools import cache
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np

from gla.environments.spaces import EnvSpec, UnsupportedEnvironment
from gla.environments.tabular import Tables
from gla.environments.vector import VectorStep

ROWS, COLUMNS = 3, 7
CELLS = [(r, c) for r in range(ROWS) for c in range(COLUMNS) if r == 1 or not 2 <= c <= 4]  # two rooms, and a corridor
MOVES = ((1, 0), (0, -1), (-1, 0), (0, 1), (0, 0))  # down, left, up, right, stay
STARTS, GOALS = ((0, 1), (0, 5)), ((0, 6), (0, 0))
ARRIVES, NEARER, FARTHER, STILL = 1.0, 0.08, -0.12, -0.04
STAYS = len(MOVES) - 1


class World(NamedTuple):
    """Both players at once, in J joint states with J' = 25 joint actions (5 times the first player's plus the second's). successor: (J, J').
    reward: (J, J', 2). terminal: (J,) bool. seen: (J, 2), what each player observes. start: the first state."""

    successor: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    seen: np.ndarray
    start: int


def distances(goal: tuple[int, int]) -> np.ndarray:
    """Returns the lengths of the shortest ways from all cells to a goal, (cells,), if nobody is in the way."""
    found, edge = {goal: 0}, [goal]
    for r, c in edge:
        for dr, dc in MOVES[:STAYS]:
            after = r + dr, c + dc
            if after in CELLS and after not in found:
                found[after] = found[r, c] + 1
                edge.append(after)
    return np.array([found[cell] for cell in CELLS])


@cache
def world() -> World:
    n, actions, goals = len(CELLS), len(MOVES), [CELLS.index(g) for g in GOALS]
    away = [distances(g) for g in GOALS]
    successor, reward = np.zeros((n * n, actions**2), int), np.zeros((n * n, actions**2, 2))
    for state in range(n * n):
        for joint in range(actions**2):
            at = list(divmod(state, n))
            for player, action in enumerate(divmod(joint, actions)):  # one after the other
                before = at[player]
                if before == goals[player]:
                    continue  # it has arrived, and stays there
                (r, c), (dr, dc) = CELLS[before], MOVES[action]
                after = (r + dr, c + dc)
                if after in CELLS and CELLS.index(after) != at[1 - player]:
                    at[player] = CELLS.index(after)
                gain = away[player][before] - away[player][at[player]]
                paid = NEARER if gain > 0 else FARTHER if gain < 0 else STILL
                reward[state, joint, player] = ARRIVES if at[player] == goals[player] else paid
            successor[state, joint] = n * at[0] + at[1]
    both = np.stack(np.divmod(np.arange(n * n), n), 1)
    column = np.array([c for _, c in CELLS])
    terminal, seen = (both == goals).all(1), both + n * column[both[:, ::-1]]
    return World(successor, reward, terminal, seen, n * CELLS.index(STARTS[0]) + CELLS.index(STARTS[1]))


class Switch2(gym.Env):
    """One of two players who start in two rooms and want to get to each other's, through a corridor in which they cannot pass.

    Observation: the own cell plus 15 times the other's column. Action: down, left, up, right or stay. The first player moves first. Arriving
    pays 1, other moves 0.08 if they shorten the way to the goal (as if nobody stood there), -0.12 if they lengthen it, and -0.04 if they do
    neither. Who has arrived stays, and is paid 0. The episode ends when both have arrived. player: 0 or 1.

    Side by side, copies 2k and 2k + 1 are the two players of one world. An environment by itself has a partner who stands still.
    """

    metadata: ClassVar = {"render_modes": []}

    def __init__(self, player: int = 0):
        if player not in (0, 1):
            raise ValueError(f"player {player} (expected 0 or 1)")
        self.player, self.world, self.state = player, world(), world().start
        self.observation_space = gym.spaces.Discrete(len(CELLS) * COLUMNS)
        self.action_space = gym.spaces.Discrete(len(MOVES))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.state = self.world.start
        return int(self.world.seen[self.state, self.player]), {}

    def step(self, action: int):
        chosen = [STAYS, STAYS]
        chosen[self.player] = int(action)
        where = self.state, len(MOVES) * chosen[0] + chosen[1]
        self.state = int(self.world.successor[where])
        over = bool(self.world.terminal[self.state])
        return (
            int(self.world.seen[self.state, self.player]),
            float(self.world.reward[where][self.player]),
            over,
            False,
            {},
        )

    @classmethod
    def vector(cls, env_id: str, kwargs: list[dict[str, Any]], seed: int) -> "Players":
        """Returns pairs of players side by side."""
        return Players(env_id, kwargs)

    def _together(self) -> Tables:
        """Returns the world of somebody who moves both players, and is paid the mean of their rewards."""
        w = self.world
        start = np.eye(len(w.terminal))[w.start]
        everything = np.arange(len(w.terminal))
        return Tables(
            w.successor[..., None], np.ones((*w.successor.shape, 1)), w.reward.mean(-1)[..., None], start, w.terminal,
            everything, len(everything),
        )  # fmt: skip

    def optimal_return(self, steps: int) -> float:
        """Returns the highest mean return of both players in an episode of at most this many steps, if one mind moves both."""
        return self._together().optimal_return(steps)

    def random_return(self, steps: int) -> float:
        """Returns the expected mean return of both players under random actions."""
        return self._together().random_return(steps)


class Players:
    """N players in N / 2 worlds, side by side. See gla.environments.vector.VectorEnv for the interface."""

    def __init__(self, env_id: str, kwargs: list[dict[str, Any]]):
        """Raises UnsupportedEnvironment if copies are not players 0 and 1 in turn."""
        from gla.environments.making import make, time_limit

        players = [own.get("player", 0) for own in kwargs]
        if players != [0, 1] * (len(kwargs) // 2):
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: players {players[:4]}{'...' if len(players) > 4 else ''} (expected 0 and 1 in turn: "
                "tasks {player: [0, 2]}, and an even number of seeds)"
            )
        self.envs, self.world = [make(env_id, **kwargs[0])], world()
        self.limit = np.full(len(kwargs), time_limit(self.envs[0]) or np.iinfo(np.int64).max)
        size = int(self.envs[0].unwrapped.observation_space.n)
        self.spec = EnvSpec(size, len(MOVES), True, None, None, size)
        self._one_hot = np.eye(size, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.limit)

    def _observed(self) -> np.ndarray:
        return self._one_hot[self.world.seen[self.state].reshape(-1)]

    def reset(self) -> np.ndarray:
        """Returns the first observations, (N, d) float32."""
        self.state = np.full(len(self) // 2, self.world.start)
        self.left = self.limit[::2].copy()
        return self._observed()

    def step(self, actions: np.ndarray) -> VectorStep:
        """Steps each world once. actions: (N,) integers."""
        where = self.state, len(MOVES) * actions[::2] + actions[1::2]
        reward = self.world.reward[where].reshape(-1)
        self.state, self.left = self.world.successor[where], self.left - 1
        terminated, truncated = self.world.terminal[self.state], self.left <= 0
        over = terminated | truncated
        final = self._observed() * over.repeat(2)[:, None].astype(np.float32)
        self.state = np.where(over, self.world.start, self.state)
        self.left = np.where(over, self.limit[::2], self.left)
        return VectorStep(self._observed(), reward, terminated.repeat(2), truncated.repeat(2), final)

    def close(self) -> None:
        for env in self.envs:
            env.close()
