"""A mixture of learners and oracles, one of which acts while an oracle labels every step: decoupled policy distillation (Wang et al., 2025,
OmniRL, Section 3.2).

The mixture is that of the released code. Its model-based learner is R-max (Brafman and Tennenholtz, 2002) here, since the code's own has
settings that no text explains: an action that was not tried yet counts as if it paid the largest reward so far for ever.
"""

from typing import ClassVar, Literal, NamedTuple

import numpy as np

from gla.environments.tabular import greedy, stacked, values
from gla.environments.vector import VectorStep
from gla.options import Count, Fraction
from gla.sources import acting
from gla.sources.acting import ActingOptions, arrays  # noqa: F401

DISCOUNTS = (0.0, 0.5, 0.93, 0.994)  # of the oracles that act
MODEL_BASED, Q_LEARNING, RANDOM = 4, 5, 6  # tags; those of oracles are their numbers
NOISELESS = 0.5  # share of learners that act without noise


class Behaviour(NamedTuple):
    """A kind of behaviour and how likely it is. oracle: the number of its discount; None: none."""

    kind: Literal["random", "model", "q", "mixed", "falling", "oracle"]
    chance: float
    oracle: int | None = None


BEHAVIOURS = (
    Behaviour("random", 0.1), Behaviour("model", 0.1), Behaviour("q", 0.1),
    *(Behaviour("mixed", 0.1, i) for i in range(4)),
    Behaviour("falling", 0.1, 2), Behaviour("falling", 0.1, 3),
    Behaviour("oracle", 0.02, 1), Behaviour("oracle", 0.03, 2), Behaviour("oracle", 0.05, 3),
)  # fmt: skip


class Options(ActingOptions):
    """A mixture of random actions, learners and oracles. The action of an oracle is written down at every step, whoever acts, and so is who
    acted.
    """

    kind: Literal["behaviours"] = "behaviours"
    num_envs: Count = 1
    """Copies of the environment in each lifetime. Each has its own behaviours."""
    gamma: Fraction = 0.994
    """Discount per step of the oracle whose actions are written down. It plans without a time limit."""
    switch: Fraction = 0.2
    """Probability that another behaviour takes over at the end of an episode."""
    oracles: bool = True
    """Whether oracles are among those who act. If they are, a context shows what they know, which an agent's own context does not."""
    steady: Fraction = 0.15
    """Share of copies in which the same behaviour acts all the time."""

    provides: ClassVar[frozenset[str]] = frozenset({"behaviour", "optimal_action"})
    needs: ClassVar[str] = "tables"


class Run(acting.Run):
    """See gla.sources.acting. For N copies, S states and A actions: ``oracles`` (4, tasks, S, A) and ``reference`` (tasks, S, A), values of
    oracles; ``q`` (N, S, A), values of Q-learning; ``counts`` (N, S, A, S), ``paid`` (N, S, A) and ``value`` (N, S), what the model-based
    learner has seen and thinks, and ``ends`` (N, S), the states that ended an episode."""

    def begin(self) -> None:
        envs, spec = self.envs, self.spec
        n, s, a = len(envs), envs.states, spec.action_size
        probability, reward, terminal = stacked(envs.tables)
        self.oracles = np.stack([values(probability, reward, terminal, g) for g in DISCOUNTS])
        self.reference = values(probability, reward, terminal, self.options.gamma)
        self.copies, self.steady = np.arange(n), self.rng.random(n) < self.options.steady
        self.q, self.counts = np.zeros((n, s, a)), np.zeros((n, s, a, s), np.float32)
        self.paid, self.value, self.most = np.zeros((n, s, a)), np.zeros((n, s)), np.zeros(n)
        self.ends = np.zeros((n, s), bool)
        self.kind, self.oracle = np.full(n, "", "<U7"), np.zeros(n, int)
        self.noise, self.floor, self.decay = np.zeros(n), np.zeros(n), np.zeros(n)
        self.expert, self.rising, self.top = np.zeros(n), np.zeros(n), np.zeros(n)
        self.rate, self.gamma = np.zeros(n), np.zeros(n)
        self.preference = np.zeros((n, s, a))
        self.draw(self.copies)

    def draw(self, copies: np.ndarray) -> None:
        """Gives copies (n,) new behaviours."""
        rng, n, (_, s, a) = self.rng, len(copies), self.q.shape
        chances = np.array([b.chance if self.options.oracles or b.oracle is None else 0.0 for b in BEHAVIOURS])
        drawn = rng.choice(len(BEHAVIOURS), n, p=chances / chances.sum())
        kinds = np.array([b.kind for b in BEHAVIOURS])[drawn]
        self.kind[copies] = kinds
        self.oracle[copies] = np.array([b.oracle or 0 for b in BEHAVIOURS])[drawn]
        slow = rng.random(n) / (s * a)
        learner, still = np.isin(kinds, ("model", "q")), rng.random(n) < NOISELESS
        mixed, falling = kinds == "mixed", kinds == "falling"
        self.noise[copies] = np.select(
            [falling, mixed, learner & ~still], [1.0, rng.random(n), rng.uniform(0.1, 0.5, n)], 0.0
        )
        self.floor[copies] = np.where(mixed, rng.uniform(-0.5, 0.5, n), 0.0)
        self.decay[copies] = np.where(learner, 0.1 * slow, slow)
        self.expert[copies] = np.where(mixed, rng.uniform(-2, -0.5, n), 0.0)
        self.rising[copies], self.top[copies] = np.where(mixed, slow, 0.0), rng.uniform(0, 0.2, n)
        self.rate[copies] = np.where(still, 0.01, 0.01 * rng.exponential(1.0, n)).clip(max=1.0)
        self.gamma[copies] = np.where(still, rng.uniform(0.9, 0.99, n), 0.99)
        scale = rng.exponential(2.0, n)
        self.preference[copies] = rng.normal(size=(n, s, a)) * scale[:, None, None]

    def act(self, observation: np.ndarray) -> np.ndarray:
        rng, n, envs = self.rng, len(self.copies), self.envs
        self.state = envs.state.copy()
        here = (self.copies, self.state)
        kinds = self.kind
        self.best = greedy(self.reference[envs.task, self.state], rng)
        oracle = greedy(self.oracles[self.oracle, envs.task, self.state], rng)
        uniform = rng.integers(0, self.spec.action_size, n)
        # A softmax of the preferences, by the largest of them with Gumbel noise.
        preferred = (self.preference[here] + rng.gumbel(size=(n, self.spec.action_size))).argmax(-1)
        model, learned = greedy(self._model(here), rng), greedy(self.q[here], rng)
        expert = (kinds == "oracle") | (kinds == "falling") | (kinds == "mixed") & (rng.random(n) < self.expert)
        action = np.select([kinds == "random", expert, kinds == "q"], [preferred, oracle, learned], model)
        tag = np.select([kinds == "random", expert, kinds == "q"], [RANDOM, self.oracle, Q_LEARNING], MODEL_BASED)
        explores = rng.random(n) < np.maximum(self.noise, self.floor)
        self.noise, self.expert = (
            np.maximum(self.noise - self.decay, 0.0),
            np.minimum(self.expert + self.rising, self.top),
        )
        self.tag = np.where(explores, RANDOM, tag)
        return np.where(explores, uniform, action)

    def _model(self, where: tuple) -> np.ndarray:
        """Returns the model-based learner's values of the actions in some states, (..., A)."""
        counts = self.counts[where]
        tried = counts.sum(-1)
        gamma, value = self.gamma[where[0]][..., None], np.where(self.ends, 0.0, self.value)[where[0]]
        known = (self.paid[where] + gamma * (counts @ value[..., None])[..., 0]) / np.maximum(tried, 1)
        return np.where(tried > 0, known, self.most[where[0]][..., None] / (1 - gamma))

    def learn(self, observation: np.ndarray, action: np.ndarray, step: VectorStep) -> None:
        where, after = (self.copies, self.state, action), self.envs.entered
        target = step.reward + self.gamma * np.where(step.terminated, 0.0, self.q[self.copies, after].max(1))
        self.q[where] += self.rate * (target - self.q[where])
        self.paid[where] += step.reward
        self.counts[(*where, after)] += 1
        self.most = np.maximum(self.most, step.reward)
        self.ends[self.copies[step.terminated], after[step.terminated]] = True
        # Each copy plans for the state that it left, and every tenth for all states.
        self.value[self.copies, self.state] = self._model((self.copies, self.state)).max(-1)
        some = self.copies[self.step % 10 :: 10, None]
        self.value[some[:, 0]] = self._model((some, np.arange(self.q.shape[1])[None])).max(-1)
        over = (step.terminated | step.truncated) & ~self.steady
        over &= self.rng.random(len(self.copies)) < self.options.switch
        if over.any():
            self.draw(np.flatnonzero(over))

    def labels(self) -> tuple[np.ndarray, ...]:
        return self.tag, self.best
