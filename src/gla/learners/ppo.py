"""PPO for a population: K independent lifetimes whose networks are one stack of matrices.

The algorithm is that of CleanRL's ``ppo_continuous_action.py`` (Huang et al., 2022, "The 37
implementation details of PPO"), run K times at once. Notable choices:

- Every weight is (K, in, out) and every layer one ``baddbmm``; losses are summed over lifetimes, so no gradient
  crosses from one to another. Clipping, advantage normalisation, statistics of observations and rewards, and minibatch
  permutations are separate for each lifetime.
- Observation statistics change *between* updates, not within: policy u is one fixed function of the
  raw observation, and a stored snapshot reproduces the stored distribution exactly.
- A truncated episode is bootstrapped with the value of its final observation; a terminated one is not.
- Episodes that end are reset in the same step, so every stored row is a transition.
- An update is hundreds of tiny steps, in which the overhead of a framework outweighs the arithmetic. Therefore all weights are one
  matrix and all gradients another, derivatives are written out, and a batch is permuted once in each epoch.

Shapes: K lifetimes, E copies of the environment, T steps of an update, d observation and a action dimensions.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gla.environments.spaces import EnvSpec
from gla.environments.vector import vector_env
from gla.learners.advantages import advantages
from gla.options import Count, Fraction, Limit, Options, Rate, Steps, Weight
from gla.policies import NumericalError, Policy, sample_action, tanh_

REWARD_CLIP = 10.0
EPSILON = 1e-8


class PPO(Options):
    """Proximal policy optimisation. The defaults are CleanRL's for continuous control, and so are the names."""

    num_updates: Steps
    """Number of updates in a lifetime. Update u consists of the data that policy u collected."""
    num_steps: Count = 128
    """Number of steps that each copy of the environment takes between two updates."""
    update_epochs: Count = 10
    """Number of passes over the data of one update."""
    num_minibatches: Count = 32
    """Number of minibatches in a pass. It must divide num_envs * num_steps."""
    learning_rate: Rate = 3.0e-4
    """Adam's step size."""
    anneal_learning_rate: bool = True
    """Whether the step size falls linearly to 0 over the lifetime."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    clip: Limit = 0.2
    """Bound at which the probability ratio and the change of the value are clipped."""
    value_coefficient: Weight = 0.5
    """Weight of the value loss."""
    entropy_coefficient: Weight = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: Limit = 0.5
    """Largest norm of one lifetime's gradient. A larger gradient is scaled down."""
    hidden: Count = 64
    """Width of the two tanh layers of the policy and of the value function."""
    normalize_observations: bool = True
    """Whether PPO sees observations that are normalised by their running mean and variance (histories hold the raw ones)."""
    normalize_rewards: bool = True
    """Whether PPO sees rewards divided by the running standard deviation of the discounted return."""


class Rollout(NamedTuple):
    """The data of one update: (K, E, T, ...) NumPy arrays, with raw observations and rewards.

    action: float32 (K, E, T, a) before clipping, or int64 (K, E, T). mean: (K, E, T, a), the mean or logits of the policy.
    final_observation: zero except where an episode ended.
    """

    observation: np.ndarray
    action: np.ndarray
    mean: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray


class RunningMoments:
    """Mean and variance of K streams of vectors, merged batch by batch (Chan et al., 1979)."""

    def __init__(self, k: int, d: int):
        self.mean = torch.zeros(k, d, dtype=torch.float64)
        self.variance = torch.ones(k, d, dtype=torch.float64)
        self.count = 0.0

    def update(self, batch: Tensor) -> None:
        """Adds a batch (K, B, d) to the statistics."""
        batch = batch.double()
        n = batch.shape[1]
        mean, variance = batch.mean(1), batch.var(1, correction=0)
        total = self.count + n
        delta = mean - self.mean
        self.variance = (self.variance * self.count + variance * n + delta.square() * self.count * n / total) / total
        self.mean = self.mean + delta * n / total
        self.count = total

    @property
    def std(self) -> Tensor:
        return (self.variance + EPSILON).sqrt()


def _orthogonal(k: int, rows: int, columns: int, gain: float, generator: torch.Generator) -> Tensor:
    weights = torch.empty(k, rows, columns)
    for w in weights:
        torch.nn.init.orthogonal_(w, gain, generator=generator)
    return weights


class Population:
    """K lifetimes of PPO in one environment.

    ``collect`` steps the environments with the current policies, ``improve`` learns from the data, and ``policy`` is the
    current snapshot. Lifetime i has task i % n of the n tasks, and num_envs copies of its environment. The seed decides
    everything random. name: the environment's name in errors and progress lines.
    """

    def __init__(
        self, ppo: PPO, env_id: str, kwargs: dict[str, Any], tasks: list[dict[str, Any]], lifetimes: range, num_envs: int, seed: int,
        name: str = "", backend: str = "gymnasium",
    ):  # fmt: skip
        self.ppo, self.steps, self.name, self.lifetimes = ppo, ppo.num_steps, name or env_id, lifetimes
        tasks = tasks or [{}]
        each = [kwargs | tasks[i % len(tasks)] for i in lifetimes for _ in range(num_envs)]
        names = [f"environment {self.name!r}, lifetime {i}, copy {c}" for i in lifetimes for c in range(num_envs)]
        sequence = np.random.SeedSequence([seed, lifetimes.start])
        env_seed, torch_seed = (int(s) for s in sequence.generate_state(2, np.uint32))
        self.envs = vector_env(backend, env_id, each, env_seed, torch.get_num_threads(), names)
        self.spec: EnvSpec = self.envs.spec
        self.generator = torch.Generator().manual_seed(torch_seed)
        k, d, a, h = len(lifetimes), self.spec.observation_size, self.spec.action_size, self.ppo.hidden
        self.k, self.e = k, num_envs
        root2 = 2**0.5
        # Actor and critic have the same shapes, so that a layer is one product: rows [:K] are actors, rows [K:]
        # critics. Only the first column of a critic's last layer is used, and its log_std is not; the rest stays zero.
        shapes = {"w0": (d, h), "b0": (1, h), "w1": (h, h), "b1": (1, h), "w2": (h, a), "b2": (1, a), "log_std": (1, a)}
        sizes = [rows * columns for rows, columns in shapes.values()]
        width = -(-sum(sizes) // 16) * 16  # padded to whole cache lines
        self._weights, self._gradients = torch.zeros(2, 2 * k, width).unbind()
        self.parameters: dict[str, Tensor] = {}
        for (name, shape), end, size in zip(shapes.items(), np.cumsum(sizes).tolist(), sizes, strict=True):
            p = self.parameters[name] = self._weights[:, end - size : end].view(2 * k, *shape)
            p.grad = self._gradients[:, end - size : end].view(2 * k, *shape)
        self.parameters["w0"].copy_(_orthogonal(2 * k, d, h, root2, self.generator))
        self.parameters["w1"].copy_(_orthogonal(2 * k, h, h, root2, self.generator))
        self.parameters["w2"][:k] = _orthogonal(k, h, a, 0.01, self.generator)
        self.parameters["w2"][k:, :, :1] = _orthogonal(k, h, 1, 1.0, self.generator)
        self._weights.grad = self._gradients
        self.optimizer = torch.optim.Adam([self._weights], lr=self.ppo.learning_rate, eps=1e-5, fused=True)
        self.observation_moments = RunningMoments(k, d)
        self.return_moments = RunningMoments(k, 1)
        self._discounted = torch.zeros(k, num_envs, dtype=torch.float64)
        self._observation = self.envs.reset()
        self.update = 0

    def policy(self) -> Policy:
        """Returns detached copies of the current policies."""
        w0, b0, w1, b1, w2, b2, log_std = (p[: self.k].clone() for p in self.parameters.values())
        return Policy(w0, b0, w1, b1, w2, b2, log_std[:, 0], *self._normaliser())

    def _normaliser(self) -> tuple[Tensor, Tensor]:
        if self.ppo.normalize_observations and self.update:
            return self.observation_moments.mean.float(), self.observation_moments.std.float()
        return torch.zeros(self.k, self.spec.observation_size), torch.ones(self.k, self.spec.observation_size)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the input for both networks, their hidden layers and their outputs, (2K, B, ...), given normalised
        observations (K, B, d).

        Outputs [:K] are means or logits. The first column of outputs [K:] is the value.
        """
        p, x = self.parameters, x.repeat(2, 1, 1)
        h0 = tanh_(torch.baddbmm(p["b0"], x, p["w0"]))
        h1 = tanh_(torch.baddbmm(p["b1"], h0, p["w1"]))
        return x, h0, h1, torch.baddbmm(p["b2"], h1, p["w2"])

    def _value(self, x: Tensor) -> Tensor:
        """Returns the values (K, B) of normalised observations (K, B, d)."""
        return self._forward(x)[-1][self.k :, :, 0]

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Takes T steps in every copy of the environment with the current policies."""
        k, e, t_max, spec = self.k, self.e, self.steps, self.spec
        policy = self.policy()
        log_std = None if spec.discrete else policy.log_std.unsqueeze(1)
        shape = (t_max, k * e)  # the steps are the first axis, so that each is written in one piece
        rollout = Rollout(
            observation=np.empty((*shape, spec.observation_size), np.float32),
            action=np.empty(shape, np.int64) if spec.discrete else np.empty((*shape, spec.action_size), np.float32),
            mean=np.empty((*shape, spec.action_size), np.float32),
            reward=np.empty(shape, np.float64),
            terminated=np.empty(shape, bool),
            truncated=np.empty(shape, bool),
            final_observation=np.empty((*shape, spec.observation_size), np.float32),
        )
        for t in range(t_max):
            mean = policy(torch.from_numpy(self._observation).view(k, e, -1))
            action = sample_action(mean, log_std, self.generator).flatten(0, 1).numpy()
            step = self.envs.step(action)
            rollout.observation[t], rollout.action[t], rollout.mean[t] = self._observation, action, mean.flatten(0, 1)
            rollout.reward[t], rollout.terminated[t], rollout.truncated[t] = (
                step.reward,
                step.terminated,
                step.truncated,
            )
            rollout.final_observation[t] = step.final_observation
            self._observation = step.observation
        rollout = Rollout(*(np.ascontiguousarray(x.swapaxes(0, 1)).reshape(k, e, t_max, *x.shape[2:]) for x in rollout))
        for name in ("observation", "mean", "action", "reward", "final_observation"):
            # Checked in the type that is stored, which may be too small for a reward.
            self._check_finite(name.replace("_", " "), torch.from_numpy(getattr(rollout, name)).float(), steps=True)
        return rollout

    def _check_finite(self, what: str, *values: Tensor, steps: bool = False) -> None:
        """Raises NumericalError if a value is not finite. The first axis of each value is the lifetime, followed, if
        ``steps`` is true, by the copy and the step.
        """
        for value in values:
            bad = ~torch.isfinite(value)
            if bad.any():
                k, *rest = bad.nonzero()[0].tolist()
                where = f", copy {rest[0]}, step {rest[1]}" if steps else ""
                raise NumericalError(
                    f"collect: environment {self.name!r}, lifetime {self.lifetimes[k]}, update {self.update}{where}: "
                    f"{what} is not finite"
                )

    @torch.no_grad()
    def _scaled_rewards(self, reward: Tensor, done: Tensor) -> Tensor:
        """Divides rewards (K, E, T) by the running deviation of their discounted sums (Engstrom et al., 2020)."""
        if not self.ppo.normalize_rewards:
            return reward.float()
        sums = torch.empty_like(reward)
        for t in range(reward.shape[-1]):
            self._discounted = self._discounted * self.ppo.gamma + reward[..., t]
            sums[..., t] = self._discounted
            self._discounted = self._discounted * ~done[..., t]
        self.return_moments.update(sums.reshape(self.k, -1, 1))
        scaled = reward / self.return_moments.std.view(self.k, 1, 1)
        return scaled.clamp(-REWARD_CLIP, REWARD_CLIP).float()

    @torch.no_grad()
    def improve(self, rollout: Rollout) -> None:
        """Makes one PPO update of every lifetime from its own data. Raises NumericalError."""
        ppo, k, e, t_max, d, a = self.ppo, self.k, self.e, self.steps, self.spec.observation_size, self.spec.action_size
        observation = torch.from_numpy(rollout.observation)
        policy = self.policy()
        terminated, truncated = torch.from_numpy(rollout.terminated), torch.from_numpy(rollout.truncated)
        done = terminated | truncated
        reward = self._scaled_rewards(torch.from_numpy(rollout.reward), done)
        n = e * t_max
        x = policy.normalise(observation.view(k, n, d))
        output = self._forward(x)[-1]
        value = output[k:, :, 0].reshape(k, e, t_max)
        last = torch.from_numpy(self._observation).view(k, e, d)
        next_value = torch.cat([value[..., 1:], self._value(policy.normalise(last)).unsqueeze(-1)], -1)
        if truncated.any():
            rows = truncated.any(0)  # only steps at which some lifetime was cut off
            final = torch.from_numpy(rollout.final_observation)[:, rows]
            next_value[:, rows] = torch.where(
                truncated[:, rows], self._value(policy.normalise(final)), next_value[:, rows]
            )
        advantage = advantages(reward, value, next_value, terminated, truncated, ppo.gamma, ppo.gae_lambda)
        action = torch.from_numpy(rollout.action)
        if self.spec.discrete:
            action = torch.nn.functional.one_hot(action, a).float()
        action = action.view(k, n, a)
        columns = (self._log_prob(output[:k], action)[0], advantage, advantage + value, value)
        data = torch.cat([x, action, *(c.reshape(k, n, 1) for c in columns)], -1)  # (K, n, d + a + 4)
        if ppo.anneal_learning_rate:
            for group in self.optimizer.param_groups:
                group["lr"] = ppo.learning_rate * max(0.0, 1 - self.update / ppo.num_updates)
        first = torch.arange(0, k * n, n).unsqueeze(1)  # row of each lifetime
        for _ in range(ppo.update_epochs):
            order = torch.rand(k, n, generator=self.generator).argsort(1) + first
            order = order.view(k, ppo.num_minibatches, -1).transpose(0, 1)
            shuffled = (
                data.view(k * n, -1).index_select(0, order.flatten()).view(*order.shape, -1)
            )  # (M, K, B, d + a + 4)
            for minibatch in shuffled.unbind():
                self._differentiate(*minibatch.split([d, a, 1, 1, 1, 1], -1))
                self._clip_gradients()
                self.optimizer.step()
        self._check_finite("a weight", *self._weights.split(k))
        if ppo.normalize_observations:
            self.observation_moments.update(observation.view(k, n, d))
        self.update += 1

    def _log_prob(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns log-probabilities (K, B, 1) of actions (K, B, a), one-hot if discrete; their derivative by the policy's
        outputs, (K, B, a); and the standardised actions or, if discrete, the logarithms of all probabilities."""
        if self.spec.discrete:
            log_p = torch.log_softmax(output, -1)
            return (log_p * action).sum(-1, keepdim=True), action - log_p.exp(), log_p
        log_std = self.parameters["log_std"][: self.k]
        precision = torch.exp(-log_std)
        z = (action - output) * precision
        constant = (log_std + 0.5 * np.log(2 * np.pi)).sum(-1, keepdim=True)
        return z.square().sum(-1, keepdim=True).mul_(-0.5).sub_(constant), z * precision, z

    def _differentiate(self, x, action, old_logprob, advantage, returns, old_value) -> None:
        """Computes the gradient of one minibatch's loss and writes it to the parameters' gradients. The loss has the clipped
        surrogate, the clipped value loss and the entropy bonus, each a mean over the minibatch and a sum over lifetimes.

        Both maxima have a gradient only where the unclipped term is larger or nothing is clipped.
        """
        ppo, k, p = self.ppo, self.k, self.parameters
        x, h0, h1, output = self._forward(x)
        logprob, by_output, z = self._log_prob(output[:k], action)
        std, centre = torch.std_mean(advantage, 1, keepdim=True)
        advantage = (advantage - centre) / (std + 1e-8)
        ratio = (logprob - old_logprob).exp_()
        unclipped = (ratio - 1) * advantage.sign() <= ppo.clip
        share = 1 / x.shape[1]
        grad_logprob = (advantage * ratio).mul_(unclipped).mul_(-share)
        value = output[k:, :, :1]
        change, error = value - old_value, value - returns
        clipped = change.clamp(-ppo.clip, ppo.clip).add_(old_value).sub_(returns)
        unclipped = (change.abs() <= ppo.clip) | (error.square() > clipped.square())
        by = torch.zeros_like(output)
        torch.mul(by_output, grad_logprob, out=by[:k])
        torch.mul(error.mul_(ppo.value_coefficient * share), unclipped, out=by[k:, :, :1])
        if self.spec.discrete:  # z: the logarithm of all probabilities
            probability = z.exp()
            surplus = z - (probability * z).sum(-1, keepdim=True)
            by[:k].add_(probability.mul_(surplus), alpha=ppo.entropy_coefficient * share)
        else:
            by_log_std = (z.square_().sub_(1)).mul_(grad_logprob).sum(1, keepdim=True)
            p["log_std"].grad[:k] = by_log_std.sub_(ppo.entropy_coefficient)
        for layer, inputs, outputs in ((2, h1, None), (1, h0, h1), (0, x, h0)):
            if outputs is not None:
                by = torch.ops.aten.tanh_backward(by.bmm(p[f"w{layer + 1}"].transpose(1, 2)), outputs)
            torch.bmm(inputs.transpose(1, 2), by, out=p[f"w{layer}"].grad)
            torch.sum(by, 1, keepdim=True, out=p[f"b{layer}"].grad)

    def _clip_gradients(self) -> None:
        """Scales the gradient of each lifetime separately to the maximal norm."""
        norm = torch.linalg.vector_norm(self._gradients, dim=1).view(2, -1)
        scale = (self.ppo.max_grad_norm / (torch.linalg.vector_norm(norm, dim=0) + 1e-6)).clamp_(max=1.0)
        self._gradients.mul_(scale.repeat(2).unsqueeze(1))

    def close(self) -> None:
        self.envs.close()
