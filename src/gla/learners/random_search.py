"""Augmented random search over linear policies (Mania, Guy and Recht, 2018, Algorithm 2, V2)."""

import numpy as np

from gla.environments.spaces import EnvSpec
from gla.environments.vector import VectorStep
from gla.learners.scale import RunningScale

NOISE = 0.1  # standard deviation of the perturbations
STEP = 0.1  # length of a step along a perturbation
DIRECTIONS = 2  # perturbations of an update, each tried in two episodes


class RandomSearch:
    """N seeds side by side. Each has its own episodes and updates.

    Actions are a linear function of a constant one and of observations, which are standardised by their mean and deviation in
    the seed so far. A discrete action is the index of the largest output. A perturbation is added in one episode and
    subtracted in the next.
    """

    def __init__(
        self, spec: EnvSpec, n: int, seed: int, noise: float = NOISE, step: float = STEP, directions: int = DIRECTIONS
    ):
        self.spec, self.n, self.rng = spec, n, np.random.default_rng(seed)
        self.noise, self.step, self.directions = noise, step, directions
        shape = spec.action_size, spec.observation_size + 1
        self.scale = RunningScale(n, spec.observation_size)
        self.weights = np.zeros((n, *shape))
        self.tried = self.rng.standard_normal((n, directions, *shape))
        self.returns = np.zeros((n, 2 * directions))
        self.episode = np.zeros(n, np.int64)  # number of the episode in its update
        self._acting = self._perturbed(np.arange(n))

    def _perturbed(self, seeds: np.ndarray) -> np.ndarray:
        """Returns the weights for the next episode of some seeds, (len(seeds), a, d + 1)."""
        sign = np.where(self.episode[seeds] % 2 == 0, 1.0, -1.0)[:, None, None]
        return self.weights[seeds] + self.noise * sign * self.tried[seeds, self.episode[seeds] // 2]

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps observations (N, d) to actions (N, a), or integers (N,)."""
        self.scale.update(observation)
        x = np.concatenate([self.scale(observation), np.ones((self.n, 1))], 1)
        output = np.einsum("naf,nf->na", self._acting, x)
        return output.argmax(1) if self.spec.discrete else output.astype(np.float32)

    def observe(self, step: VectorStep) -> None:
        """Adds up rewards. After an episode's end it goes on to the next perturbation, or makes an update."""
        self.returns[np.arange(self.n), self.episode] += step.reward
        ended = np.flatnonzero(step.terminated | step.truncated)
        if not len(ended):
            return
        self.episode[ended] += 1
        for s in ended[self.episode[ended] == 2 * self.directions]:
            pairs = self.returns[s].reshape(-1, 2)
            if (deviation := pairs.std()) > 0:
                gain = (pairs[:, 0] - pairs[:, 1]) / (self.directions * deviation)
                self.weights[s] += self.step * np.einsum("k,kaf->af", gain, self.tried[s])
            self.tried[s] = self.rng.standard_normal(self.tried[s].shape)
            self.returns[s], self.episode[s] = 0.0, 0
        self._acting[ended] = self._perturbed(ended)
