"""Random Markov decision processes in which exploration is hard (AnyMDP), and in which it is not (Garnet).

AnyMDP is the second of the two published generators of this name (Wang et al., 2025, OmniRL, https://arxiv.org/abs/2502.02869): states
stand on a line, transitions reach a band around each state, and what pays most lies at the far end. Where the paper and its code differ, the
code is followed. Two points are stated nowhere and chosen here: the last state is never a pitfall, and a Fourier term of the shaping
potential has a sine and a cosine.
"""

from typing import NamedTuple

import numpy as np

from gla.environments.tabular import Tables, TabularEnv, values

FEWEST, MOST = 8, 128  # states
MOST_ACTIONS = 64
ROUNDS = 5  # in which the rewards of terminal states are raised and lowered until they fit
DISCOUNT = 0.99  # of the values that they have to fit to
LEAST_GAIN = 2.0  # of the best policy over random actions, in an episode's share of the discounted return
LEAST_IMPURITY, LEAST_ENTROPY = (
    0.70,
    0.35,
)  # of the states that the best policy visits; the entropy as a share of the largest
ATTEMPTS = 10_000  # draws of a task, of which one in two to one in fifty is accepted


class World(NamedTuple):
    """A task before its states are renumbered: probability, reward and deviation, (n, actions, n), start and terminal, (n,)."""

    probability: np.ndarray
    reward: np.ndarray
    deviation: np.ndarray
    start: np.ndarray
    terminal: np.ndarray


def positive(x):
    return np.maximum(x, 0.0)


def _transitions(rng: np.random.Generator, n: int, actions: int, terminal: np.ndarray) -> np.ndarray:
    """Draws a band of successors for each state and divides it among the actions, (n, actions, n)."""
    found = np.zeros((n, actions, n))
    leap = ~terminal
    leap[-1] = True  # a goal that ends the episode counts
    for s in range(n):
        first = 0 if s <= 2 else int(rng.integers(max(0, s - (n // 2 + 1)), s - 2, endpoint=True))
        farthest = min(n, s + max(2, n // 4 + 1)) - 1
        end = int(rng.integers(s + 1, farthest, endpoint=True)) if farthest > s else n
        while end < n and leap[s + 1 : end].sum() < 2:
            end += 1
        place = np.arange(first, end)
        weight = np.clip(rng.normal(size=len(place)), 0.1, 1.0)
        weight[s - first] *= 0.0 if s == n - 1 else 0.5
        weight /= weight.sum()
        centre = rng.uniform(first - 1, end, actions)
        reach = np.clip(rng.exponential(1.0), 0.2, 1.6)
        distance = np.abs(centre[:, None] - place)
        share = np.exp(-((distance / reach) ** 2))
        nobody = share.sum(0) < 1e-10
        share[distance.argmin(0)[nobody], np.flatnonzero(nobody)] = 1.0
        own = share / share.sum(0) * weight
        lost = own.sum(1) < 1e-100  # an action that is too far from all: it goes where it is nearest to
        reachable = np.where(weight > 0, distance, np.inf)
        own[lost, reachable.argmin(1)[lost]] = 1.0
        found[s][:, place] = own / own.sum(1, keepdims=True)
    return found


def _potential(rng: np.random.Generator, n: int) -> np.ndarray:
    """Draws the potential of the shaping reward, (n,): a random Fourier series, and zero in about three quarters of all tasks."""
    if rng.random() < 0.5:
        return np.zeros(n)
    base = np.clip(rng.exponential(1.0), 0.2, 5.0)
    box = max(rng.uniform(-base, base), 0.0)
    terms, x = int(rng.integers(1, 3, endpoint=True)), np.arange(n) / (2 * n)
    found = np.full(n, rng.normal() * rng.exponential(box / np.sqrt(terms)))
    for _ in range(terms):
        order = rng.integers(1, 5, endpoint=True) + rng.normal()
        for wave in (np.sin, np.cos):
            found += rng.normal() * rng.exponential(box / np.sqrt(terms)) * wave(2 * np.pi * order * x)
    return found


def _start(rng: np.random.Generator, n: int) -> np.ndarray:
    found = np.zeros(n)
    while not found.any():
        found[:3] = positive(rng.normal(size=3))
    return found / found.sum()


def _pitfalls(rng: np.random.Generator, start: np.ndarray) -> np.ndarray:
    """Draws which states end an episode badly, (n,) bool; none in a third of all tasks."""
    n, chance = len(start), max(rng.uniform(-0.2, 0.4), 0.0)
    while True:
        found = rng.random(n) < chance
        found[start > 0] = found[-1] = False
        if found.sum() < n * chance + 1:
            return found


def _attempt(rng: np.random.Generator, n: int, actions: int) -> World | None:
    """Draws a task. Returns None if its terminal rewards could not be made to fit."""
    start = _start(rng, n)
    pit, goal = _pitfalls(rng, start), bool(rng.random() < 0.3)
    terminal = pit.copy()
    terminal[-1] = goal
    probability = _transitions(rng, n, actions, terminal)
    potential = _potential(rng, n)
    base = rng.exponential(0.2)
    step = positive(rng.normal(size=n)) * base
    step[-1] += 0.2 * base
    along = np.where(terminal, 0.0, np.cumsum(step) - rng.uniform(0.1, 0.9) * step.sum())
    noise = np.where(terminal, 0.0, positive(rng.uniform(-0.3, 0.3, n)) * base)
    small, some = min(rng.exponential(0.05), 0.1), rng.random((n, actions)) < 0.3
    acted = np.where(some, small * rng.normal(size=(n, actions)), 0.0)
    jitter = np.where(some, 0.3 * small * positive(rng.normal(size=(n, actions))), 0.0)
    each = 0.01 * (min(rng.normal(), 0.0) if goal else max(rng.normal(), 0.0) if pit.any() else 0.0)
    own = potential[:, None, None] - potential + along + acted[..., None] + each
    end = np.zeros(n)
    end[-1] = 1.0
    last = np.flatnonzero(~terminal)[-1]
    for _ in range(ROUNDS):
        v = values(probability, (probability * (own + end)).sum(-1), terminal, DISCOUNT).max(1)
        fall = end.min() - v[~terminal].min() + 1
        rise = v[start > 0].max() - v[last] + rng.uniform(2, 5)
        if fall <= 0 and rise <= 0:
            deviation = np.sqrt(noise**2 + jitter[..., None] ** 2)
            return World(probability, own + end, np.broadcast_to(deviation, own.shape), start, terminal)
        if fall > 0:
            end[pit] -= fall + rng.uniform(1, 10)
        if rise > 0:
            end[-1] += max(2 * rise, rng.uniform(1, 10)) * (1.0 if goal else 0.01)
    return None


def worth_learning(drawn: World, horizon: int) -> bool:
    """Whether the best policy gains enough over random actions, and visits enough states."""
    n = len(drawn.start)
    discount, reward = 2 ** (-1 / n), (drawn.probability * drawn.reward).sum(-1)
    best = values(drawn.probability, reward, drawn.terminal, discount)
    random = values(drawn.probability, reward, drawn.terminal, discount, greedy=False)
    first = drawn.start > 0
    if ((best.max(1) - random.max(1))[first] * (1 - discount) * horizon).min() < LEAST_GAIN:
        return False
    visited = drawn.probability[np.arange(n), best.argmax(1)].copy()
    visited[drawn.terminal] = drawn.start
    for _ in range(int(np.log2(horizon)) + 1):
        visited = visited @ visited
    share = visited[first] / visited[first].sum(1, keepdims=True)
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum(1) / np.log(n)
    return bool((1 - (share**2).sum(1)).min() > LEAST_IMPURITY and entropy.min() > LEAST_ENTROPY)


def _check(task: int, states: int, actions: int, fewest: int) -> None:
    if task < 0:
        raise ValueError(f"task {task} (expected 0 or more)")
    if not fewest <= states <= MOST:
        raise ValueError(f"states {states} (expected {fewest} to {MOST})")
    if not 2 <= actions <= MOST_ACTIONS:
        raise ValueError(f"actions {actions} (expected 2 to {MOST_ACTIONS})")


def horizon(rng: np.random.Generator, states: int) -> int:
    """Draws the number of steps of an episode: 100 to 128 with 16 states, 128 to 256 with 32, and so on."""
    low = max(4 * states, 100)
    return int(np.ceil(rng.uniform(low, max(min(8 * states, 500), low + 1))))


class AnyMDP(TabularEnv):
    """A random world in which the rewards that count lie many steps away from the start (Wang et al., 2025).

    Under random actions the share of time in a state falls exponentially with its distance from the start. Everything is drawn from the seed
    ``task``, until a task is worth learning. Observation: a number of the state that says nothing about its place. Action: an integer.

    states: the number of observations. fewest: if given, the task has between this many states and ``states`` (the paper's large
    set: 16 to 128). Raises ValueError for an argument that is out of range.
    """

    def __init__(self, task: int = 0, states: int = 16, actions: int = 5, fewest: int | None = None):
        _check(task, states, actions, FEWEST)
        if fewest is not None and not FEWEST <= fewest <= states:
            raise ValueError(f"fewest {fewest} (expected {FEWEST} to {states}, or none)")
        rng = np.random.default_rng([task, states, actions, fewest or states])
        for _ in range(ATTEMPTS):
            n = int(rng.integers(fewest or states, states, endpoint=True))
            steps, drawn = horizon(rng, states), _attempt(rng, n, actions)
            if drawn is not None and worth_learning(drawn, steps):
                break
        else:
            raise ValueError(
                f"task {task}: none of {ATTEMPTS} draws is worth learning (expected another task, or more states)"
            )
        self.place = rng.permutation(states)[:n]  # the observation of each state along the line
        everywhere = np.broadcast_to(np.arange(n), drawn.probability.shape)
        super().__init__(
            Tables(
                everywhere, drawn.probability, drawn.reward, drawn.start, drawn.terminal, self.place, states, drawn.deviation, steps,
            )
        )  # fmt: skip


class Garnet(TabularEnv):
    """A random world of which every part is as easy to reach as any other (as in Wang et al., 2025; after Archibald et al., 1995).

    Each action leads from each state to one of ``branches`` other states. Rewards of transitions are normal with this ``deviation``, and
    known but for the task. Episodes begin in state 0 and end after as many steps as in AnyMDP. Observation: the state. Raises ValueError for
    an argument that is out of range.
    """

    def __init__(self, task: int = 0, states: int = 16, actions: int = 5, branches: int = 2, deviation: float = 0.1):
        _check(task, states, actions, 1)
        if not 1 <= branches <= states:
            raise ValueError(f"branches {branches} (expected 1 to {states}, the number of states)")
        if not deviation >= 0:
            raise ValueError(f"deviation {deviation} (expected 0 or more)")
        rng = np.random.default_rng([task, states, actions, branches])
        successor = rng.permuted(np.broadcast_to(np.arange(states), (states, actions, states)), axis=-1)[..., :branches]
        cuts = np.sort(rng.random((states, actions, branches - 1)), -1)
        edges = np.concatenate([np.zeros((states, actions, 1)), cuts, np.ones((states, actions, 1))], -1)
        all_states = np.arange(states)
        super().__init__(
            Tables(
                successor, np.diff(edges), deviation * rng.normal(size=successor.shape), (all_states == 0).astype(float),
                np.zeros(states, bool), all_states, states, horizon=horizon(rng, states),
            )
        )  # fmt: skip
