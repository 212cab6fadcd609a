"""A linear policy and a linear value function, learned at every step: actor-critic with eligibility traces
(Sutton and Barto, 2018, Section 13.6)."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.vector import VectorStep
from gla.learners.scale import RunningScale

GAMMA, TRACE = 0.8, 0.5  # discount, and decay of the traces
ACTOR, ACTOR_DISCRETE, CRITIC = 0.03, 1.0, 0.3  # step sizes, for features of unit norm
DEVIATION = 0.5  # initial standard deviation of continuous actions


class LinearActorCritic:
    """N seeds side by side, each with its own weights.

    Features are observations, standardised by their mean and deviation in the seed so far, and a constant one, scaled to unit
    norm on average. Rewards are divided by their running deviation. Continuous actions are normal around a linear mean, with
    a learned log-deviation. Discrete ones are drawn from a softmax over linear logits.
    """

    def __init__(
        self,
        spec: EnvSpec,
        n: int,
        seed: int,
        actor: float | None = None,
        critic: float = CRITIC,
        gamma: float = GAMMA,
        trace: float = TRACE,
    ):
        self.spec, self.n, self.rng = spec, n, np.random.default_rng(seed)
        self.actor = actor or (ACTOR_DISCRETE if spec.discrete else ACTOR)
        self.critic, self.gamma, self.trace = critic, gamma, trace
        f, a = spec.observation_size + 1, spec.action_size
        self.scale, self.reward_scale = RunningScale(n, spec.observation_size), RunningScale(n, 1)
        self.weights, self.value = np.zeros((n, a, f)), np.zeros((n, f))
        self.log_std = np.full((n, a), np.log(DEVIATION))
        self.traces = [np.zeros_like(x) for x in (self.weights, self.log_std, self.value)]

    def _features(self, observation: np.ndarray) -> np.ndarray:
        x = np.concatenate([self.scale(observation), np.ones((self.n, 1))], 1)
        return x / np.sqrt(x.shape[1])

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps observations (N, d) to actions (N, a), or integers (N,)."""
        self.scale.update(observation)
        x = self.x = self._features(observation)
        output = np.einsum("naf,nf->na", self.weights, x)
        if self.spec.discrete:
            p = np.exp(output - output.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            action = (p.cumsum(1) < self.rng.random((self.n, 1))).sum(1).clip(max=self.spec.action_size - 1)
            by_output = np.eye(self.spec.action_size)[action] - p
            by_log_std = np.zeros_like(self.log_std)
        else:
            noise, std = self.rng.standard_normal(output.shape), np.exp(self.log_std)
            action = (output + std * noise).astype(np.float32)
            # Both are multiplied by the variance, so that steps do not grow without bound as the deviation falls.
            by_output, by_log_std = noise * std, (noise**2 - 1) * std**2
        decay = self.gamma * self.trace
        for trace, gradient in zip(self.traces, (by_output[..., None] * x[:, None], by_log_std, x), strict=True):
            trace *= decay
            trace += gradient
        return action

    def observe(self, step: VectorStep) -> None:
        """Makes one step of temporal-difference learning. A truncated episode has a future value, a terminated one has none."""
        self.reward_scale.update(step.reward[:, None])
        reward = (step.reward[:, None] / self.reward_scale.std)[:, 0]
        done = step.terminated | step.truncated
        after = self._features(np.where(done[:, None], step.final_observation, step.observation))
        future = (self.value * after).sum(1) * ~step.terminated
        error = np.clip(reward + self.gamma * future - (self.value * self.x).sum(1), -5, 5)
        weights, log_std, value = self.traces
        self.weights += self.actor * error[:, None, None] * weights
        self.log_std = np.clip(self.log_std + self.actor * error[:, None] * log_std, -3, 0.5)
        self.value += self.critic * error[:, None] * value
        for trace in self.traces:
            trace[done] = 0.0
