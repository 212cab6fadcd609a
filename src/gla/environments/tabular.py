"""Worlds with finitely many states and actions, as tables. One engine steps all of them, one at a time or thousands side by side.

A family of tasks is a subclass of ``TabularEnv`` that fills ``Tables``. Gymnasium's interface is for one task.
``TabularVector`` steps many tasks as arrays, and the pipeline uses it for all environments with tables.
"""

from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np

from gla.environments.spaces import EnvSpec, UnsupportedEnvironment
from gla.environments.vector import VectorStep

OF_GYMNASIUM = (
    "max_episode_steps",
    "render_mode",
    "disable_env_checker",
)  # keyword arguments of gymnasium.make, not of the environment
NEVER = np.iinfo(np.int64).max  # steps until a time limit that does not exist
MOST_ENTRIES = 2**27  # most entries of all tables that are stepped side by side


class Tables(NamedTuple):
    """A Markov decision process with S states and A actions, where at most K states can follow an action.

    successor: (S, A, K) int, the states that can follow. probability: (S, A, K), which sum to 1 over K. reward: (S, A, K),
    the mean rewards. deviation: standard deviation of the normal noise on rewards, one number or (S, A, K). start: (S,),
    probabilities of the first state. terminal: (S,) bool, whether entering the state ends the episode. seen: (S,) int, the
    observation of each state, from 0 to observations - 1. horizon: steps after which an episode of this task ends; None: the
    environment's time limit alone.
    """

    successor: np.ndarray
    probability: np.ndarray
    reward: np.ndarray
    start: np.ndarray
    terminal: np.ndarray
    seen: np.ndarray
    observations: int
    deviation: float | np.ndarray = 0.0
    horizon: int | None = None

    @property
    def sizes(self) -> tuple[int, int, int]:
        """S, A and K."""
        return self.successor.shape

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the probabilities of all successors, (S, A, S), and the expected rewards, (S, A)."""
        found = np.zeros((*self.sizes[:2], self.sizes[0]))
        s, a, _ = np.indices(self.sizes)
        np.add.at(found, (s, a, self.successor), self.probability)
        return found, (self.probability * self.reward).sum(-1)

    def expected(self, value: np.ndarray, discount: float = 1.0) -> np.ndarray:
        """Returns, for each state and action, (S, A), the mean reward plus the discounted value of the next state. value: (S,)."""
        return (self.probability * (self.reward + discount * (value * ~self.terminal)[self.successor])).sum(-1)

    def optimal_values(self, steps: int, discount: float = 1.0) -> np.ndarray:
        """Computes the highest expected returns with 0 to ``steps`` remaining steps, (steps + 1, S), by backward induction."""
        values = np.zeros((steps + 1, len(self.start)))
        for left in range(1, steps + 1):
            values[left] = self.expected(values[left - 1], discount).max(-1)
        return values

    def optimal_return(self, steps: int) -> float:
        """Returns the highest expected return of an episode of at most this many steps."""
        return float(self.start @ self.optimal_values(steps)[-1])

    def random_return(self, steps: int) -> float:
        """Returns the expected return of an episode of at most this many steps under random actions."""
        value = np.zeros(len(self.start))
        for _ in range(steps):
            value = self.expected(value).mean(-1)
        return float(self.start @ value)

    def best_actions(self, steps: int, discount: float = 1.0) -> np.ndarray:
        """Returns which actions are optimal with 1 to ``steps`` remaining steps, (steps, S, A) bool. Row i is for i + 1 remaining steps."""
        values = self.optimal_values(steps - 1, discount)
        expected = np.stack([self.expected(v, discount) for v in values])
        best = expected.max(-1, keepdims=True)
        return expected >= best - 1e-9 * (1 + np.abs(best))

    def optimal_actions(self, steps: int, discount: float = 1.0) -> np.ndarray:
        """Returns the first optimal action with 1 to ``steps`` remaining steps, (steps, S) int. Rows are those of ``best_actions``."""
        return self.best_actions(steps, discount).argmax(-1)


def plans(tables: list[Tables], steps: int, discount: float) -> np.ndarray:
    """Returns the first optimal actions of N tasks with 1 to ``steps`` remaining steps, (N, steps, S) int, where S is the largest number of
    states of one."""
    found = np.zeros((len(tables), steps, max(t.sizes[0] for t in tables)), np.int64)
    for plan, own in zip(found, tables, strict=True):
        plan[:, : own.sizes[0]] = own.optimal_actions(steps, discount)
    return found


def stacked(tables: list[Tables]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the probabilities of all successors, (N, S, A, S), the expected rewards, (N, S, A), and which states are terminal, (N, S), of
    N tasks. S is the largest number of states of one; the others have states that nothing leads to, and that are terminal."""
    s, a = max(t.sizes[0] for t in tables), tables[0].sizes[1]
    probability, reward = np.zeros((len(tables), s, a, s)), np.zeros((len(tables), s, a))
    terminal = np.ones((len(tables), s), bool)
    for i, own in enumerate(tables):
        n = own.sizes[0]
        probability[i, :n, :, :n], reward[i, :n] = own.dense()
        terminal[i, :n] = own.terminal
    return probability, reward, terminal


def values(
    probability: np.ndarray, reward: np.ndarray, terminal: np.ndarray, discount: float | np.ndarray, greedy: bool = True
) -> np.ndarray:
    """Returns the discounted returns of states and actions, (..., S, A), under the best policy (by policy iteration) or, if not greedy,
    under random actions; of one task or of many at once.

    probability: (..., S, A, S). reward: (..., S, A), expected rewards. terminal: (..., S) bool; nothing follows a terminal state. discount:
    one number, or (...).
    """
    states, actions = reward.shape[-2:]
    follows = np.asarray(discount)[..., None, None, None] * probability * ~terminal[..., None, None, :]
    policy, best, one = np.full(reward.shape, 1 / actions), None, np.eye(actions)
    while True:
        led = np.eye(states) - np.einsum("...sa,...sat->...st", policy, follows)
        v = np.linalg.solve(led, (policy * reward).sum(-1)[..., None])[..., 0]
        q = reward + np.einsum("...sat,...t->...sa", follows, v)
        if not greedy:
            return q
        if best is not None:
            kept = np.take_along_axis(q, best[..., None], -1)[..., 0]
            better = q.max(-1) > kept + 1e-9 * (1 + np.abs(kept))
            if not better.any():
                return q
            best = np.where(better, q.argmax(-1), best)
        else:
            best = q.argmax(-1)
        policy = one[best]


def greedy(q: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the best actions, (...), for values (..., A). Ties are broken at random."""
    best = q >= q.max(-1, keepdims=True) - 1e-9 * (1 + np.abs(q).max(-1, keepdims=True))
    return np.where(best, rng.random(q.shape), -1.0).argmax(-1)


class TabularEnv(gym.Env):
    """One task, given by tables. Observation: an integer. Action: an integer. Episodes end in terminal states, or at the time
    limit.
    """

    metadata: ClassVar = {"render_modes": []}

    def __init__(self, tables: Tables):
        self.tables, self.state, self.steps, self._noisy = tables, 0, 0, bool(np.any(tables.deviation))
        self.observation_space = gym.spaces.Discrete(tables.observations)
        self.action_space = gym.spaces.Discrete(tables.sizes[1])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        self.state, self.steps = int(self.np_random.choice(len(self.tables.start), p=self.tables.start)), 0
        return int(self.tables.seen[self.state]), {}

    def step(self, action: int):
        t, before = self.tables, (self.state, int(action))
        chosen = 0 if t.sizes[2] == 1 else int(self.np_random.choice(t.sizes[2], p=t.probability[before]))
        reward = float(t.reward[before][chosen])
        if self._noisy:
            deviation = t.deviation if isinstance(t.deviation, float) else t.deviation[before][chosen]
            reward += float(deviation * self.np_random.standard_normal())
        self.state, self.steps = int(t.successor[before][chosen]), self.steps + 1
        return int(t.seen[self.state]), reward, bool(t.terminal[self.state]), self.steps == t.horizon, {}

    @classmethod
    def vector(cls, env_id: str, kwargs: list[dict[str, Any]], seed: int) -> "TabularVector":
        """Returns many tasks side by side."""
        return TabularVector(cls, env_id, kwargs, seed)

    def optimal_return(self, steps: int) -> float:
        """Returns the highest expected return of an episode of at most this many steps, for a policy that knows the task."""
        return self.tables.optimal_return(min(steps, self.tables.horizon or steps))

    def random_return(self, steps: int) -> float:
        """Returns the expected return of an episode of at most this many steps under random actions."""
        return self.tables.random_return(min(steps, self.tables.horizon or steps))


class TabularVector:
    """N tasks side by side, as arrays. It is the counterpart of ``gla.environments.vector.VectorEnv`` for tables.

    Observations are one-hot. All random numbers come from one generator, so that the events in one copy depend on the number
    of copies. ``state``: (N,), the current states; ``entered``: (N,), the states after the last step, before any reset;
    ``left``: (N,), remaining steps until the time limit, which is ``limit``, (N,); ``states``: the largest number of states of a task.
    """

    def __init__(self, kind: type[TabularEnv], env_id: str, kwargs: list[dict[str, Any]], seed: int):
        """Raises UnsupportedEnvironment if a task cannot be made, or if tasks have different observations or actions."""
        from gla.environments.making import make, text, time_limit

        def tables(own: dict[str, Any]) -> Tables:
            try:  # Gymnasium's wrappers cost more than the tables
                return kind(**{key: value for key, value in own.items() if key not in OF_GYMNASIUM}).tables
            except (TypeError, ValueError) as error:
                raise UnsupportedEnvironment(f"environment {env_id!r} with {own}: {text(error)}") from error

        names = [repr(sorted(k.items(), key=str)) for k in kwargs]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        self.task = np.array([numbers[name] for name in names])  # (N,), the number of each copy's table
        first = {name: k for name, k in zip(reversed(names), reversed(kwargs), strict=True)}
        self.envs = [make(env_id, **kwargs[0])]
        self.tables: list[Tables] = [tables(first[name]) for name in numbers]
        one = self.tables[0]
        if any((t.sizes[1], t.observations) != (one.sizes[1], one.observations) for t in self.tables):
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: tasks of different sizes (expected as many observations and actions in all)"
            )
        limit = time_limit(self.envs[0]) or NEVER
        self.limit = np.array([min(limit, t.horizon or NEVER) for t in self.tables])[self.task]
        self.spec = EnvSpec(one.observations, one.sizes[1], True, None, None, one.observations)
        self.rng = np.random.default_rng(seed)
        self._stack()

    def _stack(self) -> None:
        """Stacks the tables of all tasks, padded to the largest."""
        s, a, k = (max(sizes) for sizes in zip(*(t.sizes for t in self.tables), strict=True))
        n, self.states = len(self.tables), s
        if n * s * a * k > MOST_ENTRIES:
            raise UnsupportedEnvironment(
                f"{n} tasks of {s} states, {a} actions and {k} successors (expected at most {MOST_ENTRIES} entries)"
            )
        self._successor = np.zeros((n, s, a, k), np.int32)
        cumulative, self._reward = np.ones((n, s, a, k)), np.zeros((n, s, a, k))
        self._start, self._terminal, self._seen = np.ones((n, s)), np.zeros((n, s), bool), np.zeros((n, s), np.int32)
        # Noise is one number for each task, unless a task has one for each transition.
        one = all(np.ndim(t.deviation) == 0 for t in self.tables)
        self._deviation = np.zeros((n, 1, 1, 1) if one else (n, s, a, k))
        self._noisy = any(np.any(t.deviation) for t in self.tables)
        for i, t in enumerate(self.tables):
            rows, _, own = t.sizes
            self._successor[i, :rows, :, :own], self._reward[i, :rows, :, :own] = t.successor, t.reward
            cumulative[i, :rows, :, :own] = np.cumsum(t.probability, -1)
            self._deviation[i, :rows, :, :own] = t.deviation
            self._start[i, :rows], self._terminal[i, :rows], self._seen[i, :rows] = (
                np.cumsum(t.start),
                t.terminal,
                t.seen,
            )
        # If a sum were rounded to less than 1, the last entry, which may be padding, could be drawn.
        cumulative[cumulative > 1 - 1e-9] = 1.0
        self._start[self._start > 1 - 1e-9] = 1.0
        # A row for each successor but the last, with an entry for each pair of a state and an action: entries are found much faster by one
        # number than by an index of each axis.
        self._below = np.ascontiguousarray(np.moveaxis(cumulative, -1, 0)[:-1].reshape(k - 1, n * s * a))
        self._first_entry = (np.arange(n) * s * a)[self.task]  # (N,), of each copy's task
        self._one_hot = np.eye(self.spec.observation_size, dtype=np.float32)

    def __len__(self) -> int:
        return len(self.task)

    @cached_property
    def _always_starts_in(self) -> np.ndarray | None:
        """The first state of each task, if it is always the same; else None."""
        certain = all((t.start == 1).any() for t in self.tables)
        return np.array([t.start.argmax() for t in self.tables]) if certain else None

    def _first(self, task: np.ndarray) -> np.ndarray:
        """Draws the first states of tasks (n,)."""
        if self._always_starts_in is not None:
            return self._always_starts_in[task]
        return (self._start[task] <= self.rng.random((len(task), 1))).sum(1)

    def _observation(self, state: np.ndarray) -> np.ndarray:
        return self._one_hot[self._seen[self.task, state]]

    def reset(self) -> np.ndarray:
        """Returns the first observations, (N, d) float32."""
        self.state = self._first(self.task)
        self.left = self.limit.copy()
        return self._observation(self.state)

    def step(self, actions: np.ndarray) -> VectorStep:
        """Steps each task once. actions: (N,) integers. Raises ValueError if one does not exist."""
        if actions.min() < 0 or actions.max() >= self.spec.action_size:
            raise ValueError(
                f"actions from {actions.min()} to {actions.max()} (expected 0 to {self.spec.action_size - 1})"
            )
        pair = self._first_entry + self.state * self.spec.action_size + actions
        where = pair * (len(self._below) + 1)
        if len(self._below):
            drawn = self.rng.random(len(self))
            for below in self._below:
                where += below[pair] <= drawn
        reward = self._reward.ravel()[where]
        if self._noisy:
            known = self.task if self._deviation[0].size == 1 else where
            reward = reward + self._deviation.ravel()[known] * self.rng.standard_normal(len(self))
        state = self._successor.ravel()[where]
        self.entered, self.left = state.copy(), self.left - 1
        terminated = self._terminal[self.task, state]
        truncated = self.left <= 0
        final = np.zeros((len(self), self.spec.observation_size), np.float32)
        over = np.flatnonzero(terminated | truncated)
        if len(over):
            final[over] = self._one_hot[self._seen[self.task[over], state[over]]]
            state[over] = self._first(self.task[over])
            self.left[over] = self.limit[over]
        self.state = state
        return VectorStep(self._observation(state), reward, terminated, truncated, final)

    def close(self) -> None:
        for env in self.envs:
            env.close()
