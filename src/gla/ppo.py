"""PPO for a population: K independent lifetimes whose networks are one stack of matrices.

The algorithm is that of CleanRL's ``ppo_continuous_action.py`` (Huang et al., 2022, "The 37
implementation details of PPO"), run K times at once. Notable choices:

- Every weight is (K, in, out) and every layer one ``baddbmm``; losses are summed over lifetimes, so
  no gradient crosses from one to another, and clipping, advantage normalisation, observation and
  reward statistics and minibatch permutations are each lifetime's own.
- Observation statistics change *between* updates, not within: policy u is one fixed function of the
  raw observation, and a stored snapshot reproduces the stored distribution exactly.
- A truncated episode is bootstrapped with the value of its final observation; a terminated one is not.
- Episodes that end are reset in the same step, so every stored row is a transition.

Shapes: K lifetimes, E streams, T steps of an update, d observation and a action dimensions.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gla.config import Environment
from gla.environments import EnvSpec, VectorEnv

OBSERVATION_CLIP = 10.0  # deviations
REWARD_CLIP = 10.0
EPSILON = 1e-8


class NumericalError(RuntimeError):
    """A number that is not finite; names the stage, the environment, the lifetime or seed, and the step."""


class Policy(NamedTuple):
    """K policies as functions of the raw observation; what a snapshot in a store holds.

    w0, w1, w2: (K, d, h), (K, h, h), (K, h, a). b0, b1, b2: (K, 1, h), (K, 1, h), (K, 1, a).
    log_std: (K, a), zero and unused for discrete actions.
    observation_mean, observation_std: (K, d), the normaliser; 0 and 1 where there is none.
    """

    w0: Tensor
    b0: Tensor
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    log_std: Tensor
    observation_mean: Tensor
    observation_std: Tensor

    def normalise(self, observation: Tensor) -> Tensor:
        """Raw (K, B, d) to what the networks see."""
        x = (observation - self.observation_mean.unsqueeze(1)) / self.observation_std.unsqueeze(1)
        return x.clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)

    def __call__(self, observation: Tensor) -> Tensor:
        """Raw observations (K, B, d) to means, or logits for discrete actions, (K, B, a)."""
        h = torch.tanh(torch.baddbmm(self.b0, self.normalise(observation), self.w0))
        h = torch.tanh(torch.baddbmm(self.b1, h, self.w1))
        return torch.baddbmm(self.b2, h, self.w2)


class Rollout(NamedTuple):
    """What one update collected: (K, E, T, ...) NumPy arrays, observations and rewards raw.

    action: float32 (K, E, T, a) before clipping, or int64 (K, E, T). mean: (K, E, T, a), the policy's
    mean or logits. final_observation: zero except where an episode ended.
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
        """batch: (K, B, d)."""
        batch = batch.double()
        n = batch.shape[1]
        mean, variance = batch.mean(1), batch.var(1, correction=0)
        total = self.count + n
        delta = mean - self.mean
        self.variance = (
            self.variance * self.count + variance * n + delta.square() * self.count * n / total
        ) / total
        self.mean = self.mean + delta * n / total
        self.count = total

    @property
    def std(self) -> Tensor:
        return (self.variance + EPSILON).sqrt()


def sample_action(mean: Tensor, log_std: Tensor | None, generator: torch.Generator, temperature: float = 1.0) -> Tensor:
    """Actions (..., a) from means and log-deviations, or integers (...) from logits where log_std is None."""
    if log_std is None:  # Gumbel-max
        uniform = torch.rand(mean.shape, generator=generator).clamp_min(1e-20)
        return (mean - temperature * (-uniform.log()).log()).argmax(-1)
    return mean + temperature * log_std.exp() * torch.randn(mean.shape, generator=generator)


def advantages(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, truncated: Tensor, gamma: float, lam: float
) -> Tensor:
    """Generalised advantage estimation (Schulman et al., 2016) along the last axis, (..., T).

    next_value: value of the observation that followed, which is the *final* one where an episode
    ended. A terminated step has no future value; a truncated one has, but no later advantage.
    """
    delta = reward + gamma * next_value * (~terminated) - value
    keep = gamma * lam * (~(terminated | truncated)).to(reward.dtype)
    result = torch.empty_like(reward)
    running = torch.zeros_like(reward[..., 0])
    for t in reversed(range(reward.shape[-1])):
        running = delta[..., t] + keep[..., t] * running
        result[..., t] = running
    return result


def _orthogonal(k: int, rows: int, columns: int, gain: float, generator: torch.Generator) -> Tensor:
    weights = torch.empty(k, rows, columns)
    for w in weights:
        torch.nn.init.orthogonal_(w, gain, generator=generator)
    return weights


class Population:
    """K lifetimes of PPO in one environment.

    ``collect`` steps the environments with the current policies, ``improve`` learns from what they
    returned; ``policy`` is the current snapshot. ``entry`` gives the hyper-parameters; ``lifetimes``
    the indices that decide each one's task; the seed decides everything random.
    """

    def __init__(self, entry: Environment, lifetimes: range, streams: int, steps: int, seed: int, name: str = ""):
        self.ppo, self.steps, self.name, self.lifetimes = entry.ppo, steps, name or entry.id, lifetimes
        tasks = entry.tasks or [{}]
        kwargs = [entry.kwargs | tasks[i % len(tasks)] for i in lifetimes for _ in range(streams)]
        sequence = np.random.SeedSequence([seed, lifetimes.start])
        env_seed, torch_seed = (int(s) for s in sequence.generate_state(2, np.uint32))
        self.envs = VectorEnv(entry.id, kwargs, env_seed)
        self.spec: EnvSpec = self.envs.spec
        self.generator = torch.Generator().manual_seed(torch_seed)
        k, d, a, h = len(lifetimes), self.spec.observation_size, self.spec.action_size, self.ppo.hidden
        self.k, self.e = k, streams
        root2 = 2**0.5
        # Actor and critic share the hidden layers' shapes: rows [:K] are actors, rows [K:] critics.
        self.parameters = {
            "w0": _orthogonal(2 * k, d, h, root2, self.generator),
            "b0": torch.zeros(2 * k, 1, h),
            "w1": _orthogonal(2 * k, h, h, root2, self.generator),
            "b1": torch.zeros(2 * k, 1, h),
            "actor_w2": _orthogonal(k, h, a, 0.01, self.generator),
            "actor_b2": torch.zeros(k, 1, a),
            "critic_w2": _orthogonal(k, h, 1, 1.0, self.generator),
            "critic_b2": torch.zeros(k, 1, 1),
            "log_std": torch.zeros(k, 1, a),
        }
        if self.spec.discrete:
            del self.parameters["log_std"]
        for p in self.parameters.values():
            p.requires_grad_(True)
        self.optimizer = torch.optim.Adam(
            self.parameters.values(), lr=self.ppo.learning_rate, eps=1e-5, fused=True
        )
        self.observation_moments = RunningMoments(k, d)
        self.return_moments = RunningMoments(k, 1)
        self._discounted = torch.zeros(k, streams, dtype=torch.float64)
        self._observation = self.envs.reset()
        self.update = 0

    def policy(self) -> Policy:
        """The current policies, detached copies."""
        p, k = {n: v.detach().clone() for n, v in self.parameters.items()}, self.k
        mean, std = self._normaliser()
        log_std = p["log_std"][:, 0] if "log_std" in p else torch.zeros(k, self.spec.action_size)
        return Policy(
            p["w0"][:k], p["b0"][:k], p["w1"][:k], p["b1"][:k], p["actor_w2"], p["actor_b2"], log_std, mean, std
        )

    def _normaliser(self) -> tuple[Tensor, Tensor]:
        if self.ppo.normalize_observations and self.update:
            return self.observation_moments.mean.float(), self.observation_moments.std.float()
        return torch.zeros(self.k, self.spec.observation_size), torch.ones(self.k, self.spec.observation_size)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised (K, B, d) to policy outputs (K, B, a) and values (K, B)."""
        p, k = self.parameters, self.k
        h = torch.tanh(torch.baddbmm(p["b0"], x.repeat(2, 1, 1), p["w0"]))
        h = torch.tanh(torch.baddbmm(p["b1"], h, p["w1"]))
        mean = torch.baddbmm(p["actor_b2"], h[:k], p["actor_w2"])
        return mean, torch.baddbmm(p["critic_b2"], h[k:], p["critic_w2"]).squeeze(-1)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """T steps of every stream with the current policies."""
        k, e, t_max, spec = self.k, self.e, self.steps, self.spec
        policy = self.policy()
        log_std = None if spec.discrete else policy.log_std.unsqueeze(1)
        shape = (k, e, t_max)
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
            action = sample_action(mean, log_std, self.generator)
            step = self.envs.step(action.flatten(0, 1).numpy())
            rollout.observation[:, :, t] = self._observation.reshape(k, e, -1)
            rollout.action[:, :, t] = action.numpy()
            rollout.mean[:, :, t] = mean.numpy()
            for name in ("reward", "terminated", "truncated"):
                getattr(rollout, name)[:, :, t] = getattr(step, name).reshape(k, e)
            rollout.final_observation[:, :, t] = step.final_observation.reshape(k, e, -1)
            self._observation = step.observation
        for name in ("observation", "reward", "final_observation"):
            # In the type that is stored: a reward may be too large for it.
            self._check_finite(name.replace("_", " "), torch.from_numpy(getattr(rollout, name)).float(), steps=True)
        return rollout

    def _check_finite(self, what: str, *values: Tensor, steps: bool = False) -> None:
        """Each value's first axis is the lifetime; where ``steps``, those of the stream and the step follow."""
        for value in values:
            bad = ~torch.isfinite(value)
            if bad.any():
                k, *rest = bad.nonzero()[0].tolist()
                where = f", stream {rest[0]}, step {rest[1]}" if steps else ""
                raise NumericalError(
                    f"collect: environment {self.name!r}, lifetime {self.lifetimes[k]}, update {self.update}{where}: "
                    f"{what} is not finite"
                )

    @torch.no_grad()
    def _scaled_rewards(self, reward: Tensor, done: Tensor) -> Tensor:
        """Rewards (K, E, T) over the running deviation of their discounted sums (Engstrom et al., 2020)."""
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

    def improve(self, rollout: Rollout) -> None:
        """One PPO update of every lifetime from its own data. Raises NumericalError."""
        ppo, k, e, t_max, d = self.ppo, self.k, self.e, self.steps, self.spec.observation_size
        observation = torch.from_numpy(rollout.observation)
        policy = self.policy()
        terminated, truncated = torch.from_numpy(rollout.terminated), torch.from_numpy(rollout.truncated)
        done = terminated | truncated
        reward = self._scaled_rewards(torch.from_numpy(rollout.reward), done)
        n = e * t_max
        with torch.no_grad():
            b_obs = policy.normalise(observation.view(k, n, d))
            b_mean, value = self._forward(b_obs)
            value = value.view(k, e, t_max)
            last = torch.from_numpy(self._observation).view(k, e, d)
            next_value = torch.cat([value[..., 1:], self._forward(policy.normalise(last))[1].unsqueeze(-1)], -1)
            if truncated.any():
                rows = truncated.any(0)  # only steps at which some lifetime was cut off
                final = torch.from_numpy(rollout.final_observation)[:, rows]
                next_value[:, rows] = torch.where(
                    truncated[:, rows], self._forward(policy.normalise(final))[1], next_value[:, rows]
                )
            advantage = advantages(reward, value, next_value, terminated, truncated, ppo.gamma, ppo.gae_lambda)
            b_returns = (advantage + value).view(k, n)
            b_advantages, b_values = advantage.view(k, n), value.view(k, n)
            b_action = torch.from_numpy(rollout.action).view(k, n, *([] if self.spec.discrete else [-1]))
            b_logprob = self._log_prob(b_mean, b_action)[0]
        if ppo.anneal_learning_rate:
            for group in self.optimizer.param_groups:
                group["lr"] = ppo.learning_rate * max(0.0, 1 - self.update / ppo.updates)
        size = n // ppo.minibatches
        row = torch.arange(k).unsqueeze(1)
        for _ in range(ppo.epochs):
            b_inds = torch.rand(k, n, generator=self.generator).argsort(1)
            for start in range(0, n, size):
                mb_inds = b_inds[:, start : start + size]
                loss = self._loss(
                    b_obs[row, mb_inds], b_action[row, mb_inds], b_logprob[row, mb_inds],
                    b_advantages[row, mb_inds], b_returns[row, mb_inds], b_values[row, mb_inds],
                )  # (K,)  # fmt: skip
                self.optimizer.zero_grad(set_to_none=True)
                loss.sum().backward()
                self._clip_gradients()
                self.optimizer.step()
        self._check_finite("a weight", *(p.detach().view(k, -1) for p in self._by_lifetime(self.parameters)))
        if ppo.normalize_observations:
            self.observation_moments.update(observation.view(k, n, d))
        self.update += 1

    def _log_prob(self, mean: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (K, B) of actions and the distributions' entropies."""
        if self.spec.discrete:
            log_p = torch.log_softmax(mean, -1)
            return log_p.gather(-1, action.unsqueeze(-1)).squeeze(-1), -(log_p.exp() * log_p).sum(-1)
        log_std = self.parameters["log_std"]
        z = (action - mean) * torch.exp(-log_std)
        log_prob = (-0.5 * z.square() - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
        return log_prob, (0.5 + 0.5 * np.log(2 * np.pi) + log_std).sum(-1).expand_as(log_prob)

    def _loss(self, obs, action, old_logprob, advantage, returns, old_value) -> Tensor:
        """Clipped surrogate, clipped value loss and entropy of one minibatch, (K,)."""
        ppo = self.ppo
        mean, value = self._forward(obs)
        logprob, entropy = self._log_prob(mean, action)
        logratio = logprob - old_logprob
        ratio = logratio.exp()
        std, centre = torch.std_mean(advantage, 1, keepdim=True)
        advantage = (advantage - centre) / (std + 1e-8)
        pg_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - ppo.clip, 1 + ppo.clip)).mean(1)
        clipped = old_value + (value - old_value).clamp(-ppo.clip, ppo.clip)
        v_loss = 0.5 * torch.max((value - returns).square(), (clipped - returns).square()).mean(1)
        return pg_loss - ppo.entropy_coefficient * entropy.mean(1) + ppo.value_coefficient * v_loss

    def _by_lifetime(self, tensors: dict[str, Tensor]):
        """Views whose first axis is the lifetime."""
        for tensor in tensors.values():
            yield from tensor.split(self.k)

    def _clip_gradients(self) -> None:
        """Scale each lifetime's gradient to the maximal norm, alone."""
        gradients = list(self._by_lifetime({n: p.grad for n, p in self.parameters.items()}))
        norm = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
        scale = (self.ppo.max_grad_norm / (norm + 1e-6)).clamp(max=1.0).view(-1, 1, 1)
        for g in gradients:
            g.mul_(scale)

    def close(self) -> None:
        self.envs.close()


class ReturnTracker:
    """Returns of the episodes that end in a population's streams, (K, E)."""

    def __init__(self, k: int, e: int):
        self.running = np.zeros((k, e))

    def add(self, reward: np.ndarray, done: np.ndarray) -> list[list[float]]:
        """reward, done: (K, E, T). The returns of the episodes that ended, a list for each lifetime."""
        ended: list[list[float]] = [[] for _ in self.running]
        for t in range(reward.shape[-1]):
            self.running += reward[..., t]
            for k, e in zip(*np.nonzero(done[..., t]), strict=True):
                ended[k].append(float(self.running[k, e]))
                self.running[k, e] = 0.0
        return ended
