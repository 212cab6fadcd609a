"""Dark rooms, in which an agent sees where it is but not where it should go (Laskin et al., 2022, Section 4).

Published versions differ in size, in the start, in when the goal pays and in whether it ends the episode. The classes below are named
accordingly.
"""

from typing import Literal

import numpy as np

from gla.environments.tabular import Tables, TabularEnv

MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1], [0, 0]])  # up, right, down, left, stay
LARGEST = 50  # cells along each side
ORDER = 2022  # seed of the order of tasks
Cell = tuple[int, int] | list[int]


def walk(size: int) -> np.ndarray:
    """Returns the cell that each move leads to from each cell of a room, (size * size, 5). Walls stop a move."""
    cells = np.stack(np.divmod(np.arange(size * size), size), 1)
    after = np.clip(cells[:, None] + MOVES, 0, size - 1)
    return after[..., 0] * size + after[..., 1]


def cell(name: str, value: Cell, size: int) -> int:
    """Returns the number of a cell, counted row by row. Raises ValueError for a cell outside of the room."""
    whole = isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(x, int) for x in value)
    if not whole or not all(0 <= x < size for x in value):
        raise ValueError(f"{name} {value!r} is no cell of a room of {size} by {size} (expected [row, column])")
    return value[0] * size + value[1]


def check_size(size: int) -> None:
    """Raises ValueError for a size that is out of range."""
    if not 2 <= size <= LARGEST:
        raise ValueError(f"size {size} (expected 2 to {LARGEST})")


def starts(
    start: Literal["centre", "corner", "random", "elsewhere"] | Cell, size: int, goal: int | None = None
) -> np.ndarray:
    """Returns the probabilities of the first cells, (size * size,). goal: the cell that "elsewhere" leaves out; None: there is no such
    start. Raises ValueError for an unknown start."""
    probability = np.zeros(size * size)
    if start == "random" or (start == "elsewhere" and goal is not None):
        probability[:] = 1.0
        if start == "elsewhere":
            probability[goal] = 0.0
        probability /= probability.sum()
    elif start in ("centre", "corner"):
        probability[0 if start == "corner" else (size // 2) * (size + 1)] = 1.0
    else:
        probability[cell("start", start, size)] = 1.0
    return probability


def drawn(task: int, count: int, of: str) -> int:
    """Returns task number ``task`` in a fixed random order of all ``count`` tasks, so that every range of tasks is spread
    over all of them.
    """
    if not 0 <= task < count:
        raise ValueError(f"task {task} (expected 0 to {count - 1}, one of the {count} {of})")
    return int(np.random.default_rng(ORDER).permutation(count)[task])


class DarkRoom(TabularEnv):
    """Find the goal of a square room of 9 by 9 cells, where every step on the goal pays 1 (Laskin et al., 2022: 20 steps).

    Observation: the cell, counted row by row. Action: up, right, down, left or stay; walls stop it. The goal is not observed.

    task: number of the goal in a fixed random order of all cells. goal: [row, column] of the goal instead. start: centre,
    corner, random, elsewhere (random, but not on the goal), or a cell. pays: ``every_step`` on the goal, or ``once`` in an episode. ends:
    whether the goal ends the episode. cost: what a step costs that the goal does not pay for. stay: whether there is an action that
    stays. Raises ValueError for an argument that is out of range.
    """

    def __init__(
        self, task: int = 0, goal: Cell | None = None, size: int = 9, start: str | Cell = "centre",
        pays: Literal["every_step", "once"] = "every_step", ends: bool = False, cost: float = 0.0, stay: bool = True,
    ):  # fmt: skip
        check_size(size)
        if pays not in ("every_step", "once"):
            raise ValueError(f"pays {pays!r} (expected every_step or once)")
        n, after = size * size, walk(size) if stay else walk(size)[:, :-1]
        self.size, self.goal = size, drawn(task, n, "goals") if goal is None else cell("goal", goal, size)
        first, terminal, seen = starts(start, size, self.goal), np.zeros(n, bool), np.arange(n)
        reward = (after == self.goal).astype(float)
        if ends:
            terminal[self.goal] = True
        elif pays == "once":  # in states n and above the goal has paid
            after = np.concatenate([np.where(after == self.goal, after + n, after), after + n])
            reward = np.concatenate([reward, np.zeros_like(reward)])
            first, terminal, seen = np.pad(first, (0, n)), np.zeros(2 * n, bool), np.tile(seen, 2)
        reward = np.where(reward > 0, reward, 0.0 - cost)  # no -0.0 if steps cost nothing
        super().__init__(
            Tables(after[..., None], np.ones((*after.shape, 1)), reward[..., None], first, terminal, seen, n)
        )


class DarkRoomHard(DarkRoom):
    """A room of 17 by 17 cells whose goal pays once (Laskin et al., 2022, "Hard": 20 steps)."""

    def __init__(self, task: int = 0, size: int = 17, pays: Literal["every_step", "once"] = "once", **kwargs):
        super().__init__(task, size=size, pays=pays, **kwargs)


class DarkRoomEnds(DarkRoom):
    """A room of 9 by 9 cells whose goal ends the episode (Tarasov et al., 2025, in-context Q-learning: 20 steps)."""

    def __init__(self, task: int = 0, ends: bool = True, **kwargs):
        super().__init__(task, ends=ends, **kwargs)


class DarkRoomCorner(DarkRoom):
    """A room of 10 by 10 cells with the start in a corner (Lee et al., 2023, decision-pretrained transformers: 100 steps)."""

    def __init__(self, task: int = 0, size: int = 10, start: str | Cell = "corner", **kwargs):
        super().__init__(task, size=size, start=start, **kwargs)


class DarkRoomCost(DarkRoom):
    """A room in which every step costs 0.01, and the goal pays 1 and ends the episode (Wang et al., 2025, OmniRL: sizes 6, 8 and 10, with
    the goal in the last corner; 100 steps). Episodes begin in any other cell, and there is no action that stays."""

    def __init__(
        self, task: int = 0, size: int = 10, start: str | Cell = "elsewhere", ends: bool = True, cost: float = 0.01, stay: bool = False,
        **kwargs,
    ):  # fmt: skip
        super().__init__(task, size=size, start=start, ends=ends, cost=cost, stay=stay, **kwargs)


class DarkKeyToDoor(TabularEnv):
    """Find a key in a square room, and then a door. Each pays 1, once (Laskin et al., 2022: 9 by 9, 50 steps, random starts).

    Observation: the cell, counted row by row. It does not show whether the key is held. Actions are those of DarkRoom.

    task: number of the key and the door in a fixed random order of all pairs of cells. key, door: their cells instead. start:
    as in DarkRoom. ends: whether the door ends the episode. Raises ValueError for an argument that is out of range.
    """

    def __init__(
        self, task: int = 0, key: Cell | None = None, door: Cell | None = None, size: int = 9, start: str | Cell = "random",
        ends: bool = False,
    ):  # fmt: skip
        check_size(size)
        if (key is None) != (door is None):
            raise ValueError(f"key {key} and door {door} (expected both, or neither)")
        n, after = size * size, walk(size)
        pair = np.divmod(drawn(task, n * n, "pairs of key and door"), n)
        self.size = size
        self.key, self.door = pair if key is None else (cell("key", key, size), cell("door", door, size))
        # States are the cells without the key, with the key, and after the door was opened.
        at_key, at_door = after == self.key, after == self.door
        successor = np.concatenate([after + n * at_key, after + n + n * at_door, after + 2 * n])
        reward = np.concatenate([at_key, at_door, np.zeros_like(at_key)]).astype(float)
        terminal = np.repeat([False, False, ends], n)
        first = np.pad(starts(start, size), (0, 2 * n))
        probability = np.ones((*successor.shape, 1))
        super().__init__(
            Tables(successor[..., None], probability, reward[..., None], first, terminal, np.tile(np.arange(n), 3), n)
        )


class DarkKeyToDoorEnds(DarkKeyToDoor):
    """Dark Key-to-Door in which the door ends the episode (Tarasov et al., 2025, in-context Q-learning)."""

    def __init__(self, task: int = 0, ends: bool = True, **kwargs):
        super().__init__(task, ends=ends, **kwargs)
