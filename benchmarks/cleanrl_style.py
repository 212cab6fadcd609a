"""PPO as it is commonly written: one lifetime, a stack of wrappers on every environment, autograd and torch.nn.

It follows CleanRL's ppo_continuous_action.py (Huang et al., 2022), and serves as a peer in benchmarks.
"""

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from torch import nn


def _environment(env_id: str) -> Callable[[], gym.Env]:
    def make() -> gym.Env:
        env = gym.wrappers.RecordEpisodeStatistics(gym.wrappers.FlattenObservation(gym.make(env_id)))
        env = gym.wrappers.NormalizeObservation(gym.wrappers.ClipAction(env))
        space = gym.spaces.Box(-10.0, 10.0, env.observation_space.shape)
        env = gym.wrappers.TransformObservation(env, lambda x: np.clip(x, -10, 10), space)
        env = gym.wrappers.NormalizeReward(env, gamma=0.99)
        return gym.wrappers.TransformReward(env, lambda r: float(np.clip(r, -10, 10)))

    return make


def _network(sizes: tuple[int, ...], gain: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (n, m) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        linear = nn.Linear(n, m)
        nn.init.orthogonal_(linear.weight, gain if i == len(sizes) - 2 else 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class Agent(nn.Module):
    def __init__(self, d: int, a: int):
        super().__init__()
        self.actor, self.critic = _network((d, 64, 64, a), 0.01), _network((d, 64, 64, 1), 1.0)
        self.log_std = nn.Parameter(torch.zeros(1, a))

    def forward(self, x, action=None):
        mean = self.actor(x)
        distribution = torch.distributions.Normal(mean, self.log_std.expand_as(mean).exp())
        action = distribution.sample() if action is None else action
        return action, distribution.log_prob(action).sum(1), distribution.entropy().sum(1), self.critic(x).squeeze(1)


def learner(env_id: str, streams: int, steps: int, epochs: int = 10, minibatches: int = 32) -> Callable[[], int]:
    """Returns a function that collects the data of one update, learns from them, and returns the number of steps."""
    gym.logger.min_level = gym.logger.ERROR
    envs = gym.vector.SyncVectorEnv([_environment(env_id)] * streams, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    agent = Agent(int(np.prod(envs.single_observation_space.shape)), int(np.prod(envs.single_action_space.shape)))
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    first, _ = envs.reset(seed=0)
    state = {"observation": torch.as_tensor(first, dtype=torch.float32), "done": torch.zeros(streams)}
    gamma, lam, clip = 0.99, 0.95, 0.2

    def work() -> int:
        rows: list[tuple[torch.Tensor, ...]] = []
        for _ in range(steps):
            with torch.no_grad():
                action, logprob, _, value = agent(state["observation"])
            following, reward, terminated, truncated, _ = envs.step(action.numpy())
            rows.append(
                (
                    state["observation"],
                    action,
                    logprob,
                    torch.as_tensor(reward, dtype=torch.float32),
                    state["done"],
                    value,
                )
            )
            state["observation"] = torch.as_tensor(following, dtype=torch.float32)
            state["done"] = torch.as_tensor(terminated | truncated, dtype=torch.float32)
        observations, actions, logprobs, rewards, dones, values = (torch.stack(x) for x in zip(*rows, strict=True))
        with torch.no_grad():
            next_value, next_done = agent(state["observation"])[3], state["done"]
            advantages, running = torch.zeros_like(rewards), torch.zeros(streams)
            for t in reversed(range(steps)):
                delta = rewards[t] + gamma * next_value * (1 - next_done) - values[t]
                running = delta + gamma * lam * (1 - next_done) * running
                advantages[t], next_value, next_done = running, values[t], dones[t]
            returns = advantages + values
        data = [x.flatten(0, 1) for x in (observations, actions, logprobs, advantages, returns, values)]
        indices = np.arange(streams * steps)
        for _ in range(epochs):
            np.random.shuffle(indices)
            for part in np.split(indices, minibatches):
                x, action, old_logprob, advantage, target, old_value = (column[part] for column in data)
                _, logprob, entropy, value = agent(x, action)
                ratio = (logprob - old_logprob).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()
                clipped = old_value + (value - old_value).clamp(-clip, clip)
                value_loss = 0.5 * torch.max((value - target) ** 2, (clipped - target) ** 2).mean()
                loss = policy_loss - 0.0 * entropy.mean() + 0.5 * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        return streams * steps

    return work
