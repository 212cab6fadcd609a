"""Agents that others made, behind the interface of this package's own: asked for actions, and told what these have brought.

``gla.judging`` runs them. ``agent_of`` says what an agent may be, and ``learner`` is for those that step their environment themselves.
"""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from gla.environments.spaces import REAL
from gla.environments.vector import VectorStep
from gla.options import ConfigError


def raw(space: gym.Space, observation: np.ndarray) -> Any:
    """Returns the observation of a space that ``gla.environments.spaces.flatten`` made this vector of."""
    return gym.spaces.unflatten(space, observation)


def own_action(space: gym.Space, action: Any) -> Any:
    """Returns an action of a space in the form in which rollouts take it: a number from 0 on, or a float32 vector. Raises ConfigError
    for an action that is not one of the space's; those of a Box may be outside of its bounds, and are clipped to them.
    """
    value = np.asarray(action)
    if isinstance(space, gym.spaces.Box):
        if value.shape == space.shape and value.dtype.kind in REAL:
            return value.astype(np.float32)
    elif value.dtype.kind in "iu" and (
        value.size == 1 if isinstance(space, gym.spaces.Discrete) else value.shape == space.shape
    ):
        number = value.reshape(np.shape(space.start)) - space.start  # an array of one number is one, too
        most = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
        if ((number >= 0) & (number < most)).all():
            return int(np.ravel_multi_index(np.ravel(number), np.ravel(most)))
    raise ConfigError(f"agent: action {action!r} (expected one of {space})")


class Apart:
    """One agent of the caller's in each of N contexts, with the methods of a gla.in_context.InContext. ``step``: the last outcome."""

    step: VectorStep

    def __init__(self, make: Callable, sample: gym.Env, n: int):
        self.space, self.actions = sample.observation_space, sample.action_space
        self.make = lambda seed: agent_of(make(sample, seed), sample)
        self.agents = [self.make(seed) for seed in range(n)]

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps observations (N, d) to actions, integers (N,) or (N, a)."""
        pairs = zip(self.agents, observation, strict=True)
        return np.stack([own_action(self.actions, agent.act(raw(self.space, seen))) for agent, seen in pairs])

    def observe(self, reward: np.ndarray, done: np.ndarray) -> None:
        """Tells agents the rewards (N,) and where an episode ended (N,)."""
        for i, agent in enumerate(self.agents):
            if isinstance(agent, Looped):
                agent.outcome = Outcome(
                    float(reward[i]), bool(self.step.terminated[i]), bool(self.step.truncated[i]),
                    raw(self.space, self.step.final_observation[i]) if done[i] else None,
                )  # fmt: skip
            else:
                agent.observe(float(reward[i]), bool(done[i]))

    def forget(self, streams: np.ndarray) -> None:
        """Makes new agents where streams (N,) is true."""
        for i in np.flatnonzero(streams):
            self._close(self.agents[i])
            self.agents[i] = self.make(int(i))

    def close(self) -> None:
        """Ends the loops of agents that have one."""
        for agent in self.agents:
            self._close(agent)

    def _close(self, agent: Any) -> None:
        if isinstance(agent, Looped):
            agent.close()


class Together:
    """One agent of the caller's for all of N contexts, with the methods of a gla.in_context.InContext. ``step``: the last outcome."""

    step: VectorStep

    def __init__(self, make: Callable, sample: gym.Env, n: int):
        self.space, self.actions, self.n = sample.observation_space, sample.action_space, n
        self.agent = agent_of(make(sample, n), sample)
        if isinstance(self.agent, Looped):
            raise ConfigError(
                "batched: True with a learner that steps its environment (expected False: each run has its own loop)"
            )

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Maps observations (N, d) to actions, integers (N,) or (N, a)."""
        seen = [raw(self.space, row) for row in observation]
        if not isinstance(seen[0], dict | tuple):
            seen = np.stack(seen)
        action = self.agent.act(seen)
        if len(action) != self.n:
            raise ConfigError(f"agent: {len(action)} actions (expected {self.n}, one for each run)")
        return np.stack([own_action(self.actions, one) for one in action])

    def observe(self, reward: np.ndarray, done: np.ndarray) -> None:
        """Tells the agent the rewards (N,) and where an episode ended (N,)."""
        self.agent.observe(reward, done)

    def forget(self, streams: np.ndarray) -> None:
        """Has the agent forget what it saw where streams (N,) is true."""
        if not hasattr(self.agent, "forget"):
            raise ConfigError(
                f"context_wiped: {self.agent!r} has no forget(streams) (expected one, or no context_wiped)"
            )
        self.agent.forget(streams)

    def close(self) -> None:
        """Does nothing: the agent is the caller's."""


class Following:
    """An agent that is a function of observations: it does not see rewards."""

    def __init__(self, act: Callable[[Any], Any]):
        self.act = act

    def observe(self, reward: Any, done: Any) -> None:
        """Does nothing."""


class Predicting:
    """A policy with ``predict(observation, state, episode_start, deterministic)``, as Stable-Baselines3 has it. It samples its actions."""

    def __init__(self, policy: Any):
        self.policy, self.state, self.start = policy, None, np.ones(1, bool)

    def act(self, observation: Any) -> Any:
        action, self.state = self.policy.predict(
            observation, state=self.state, episode_start=self.start, deterministic=False
        )
        return action

    def observe(self, reward: Any, done: Any) -> None:
        self.start = np.atleast_1d(done)


class Module:
    """A torch.nn.Module that maps a flat observation to logits of actions, of which the largest is taken, or to a continuous action."""

    def __init__(self, module: torch.nn.Module, env: gym.Env):
        self.module, self.env = module, env

    @torch.no_grad()
    def act(self, observation: Any) -> Any:
        flat = torch.as_tensor(gym.spaces.flatten(self.env.observation_space, observation), dtype=torch.float32)
        out = self.module(flat[None])[0]
        space = self.env.action_space
        return int(out.argmax()) + int(space.start) if isinstance(space, gym.spaces.Discrete) else out.numpy()

    def observe(self, reward: Any, done: Any) -> None:
        """Does nothing: a module sees no rewards."""


def agent_of(made: Any, env: gym.Env) -> Any:
    """Returns an agent with ``act(observation)`` and ``observe(reward, done)``, given what a caller's function made: an object that has
    these methods, or ``act`` alone; what ``learner`` returns; an object with the ``predict`` of Stable-Baselines3; a torch.nn.Module; or
    a function of the observation. Raises ConfigError for anything else.
    """
    if isinstance(made, Looped):
        return made
    if hasattr(made, "act"):
        return made if hasattr(made, "observe") else Following(made.act)
    if hasattr(made, "predict"):
        return Predicting(made)
    if isinstance(made, torch.nn.Module):
        return Module(made.eval(), env)
    if callable(made):
        return Following(made)
    raise ConfigError(
        f"agent: {made!r} (expected an object with act(observation) and observe(reward, done), or with predict(observation, ...), a "
        "torch.nn.Module, or a function of the observation)"
    )


@dataclass
class Outcome:
    """What a learner's own loop is told of its action. last: the observation that ended the episode; None if it goes on."""

    reward: float
    terminated: bool
    truncated: bool
    last: Any


class Over(BaseException):
    """Raised in a learner's loop when nobody asks for its actions any more. No Exception, so that no loop takes it for a fault."""


def learner(run: Callable[[gym.Env, int], Any]) -> Callable[[gym.Env, int], "Looped"]:
    """Returns ``make`` for ``judge``, given a learner that steps an environment itself: ``run(env, seed)`` has to go on until it is stopped::

        def ppo(env, seed):
            PPO("MlpPolicy", env, n_steps=64, seed=seed).learn(10**9)

        gla.judge(gla.learner(ppo), "CartPole-v1", episodes=100)

    Each run has a thread, and only one of them works at a time, so that results do not depend on timing. The rewards of the environment are
    those of the control.
    """

    def make(env: gym.Env, seed: int) -> Looped:
        return Looped(run, env, seed)

    make.__name__ = getattr(run, "__name__", "learner")
    return make


class Looped:
    """A learner with a loop of its own, behind ``act``. ``outcome``: what its last action led to."""

    outcome: Outcome

    def __init__(self, run: Callable, env: gym.Env, seed: int):
        self.observations: queue.SimpleQueue = queue.SimpleQueue()  # to the loop: an observation, or Over
        self.actions: queue.SimpleQueue = queue.SimpleQueue()  # from the loop: an action, or how the loop ended
        self.begun = False
        own = Asking(self, env)

        def work() -> None:
            try:
                run(own, seed)
                self.actions.put(ConfigError(f"{run!r} returned (expected a loop that goes on until it is stopped)"))
            except Over:
                pass
            except BaseException as error:  # raised again where the action was asked for
                self.actions.put(error)

        self.thread = threading.Thread(target=work, daemon=True)

    def act(self, observation: Any) -> Any:
        if not self.begun:
            self.begun = True
            self.thread.start()
        self.observations.put(observation)
        action = self.actions.get()
        if isinstance(action, BaseException):
            raise action
        return action

    def close(self) -> None:
        """Stops the loop and waits for its end."""
        if self.begun:
            self.observations.put(Over)
            self.thread.join()


class Asking(gym.Env):
    """The environment in a learner's own loop. Its steps are taken by whoever asks the learner for actions."""

    def __init__(self, agent: Looped, sample: gym.Env):
        self.agent, self.now, self.ended = agent, None, True
        self.observation_space, self.action_space = sample.observation_space, sample.action_space
        self.metadata, self.spec, self.render_mode = sample.metadata, sample.spec, None

    def _next(self) -> Any:
        observation = self.agent.observations.get()
        if observation is Over:
            raise Over
        return observation

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if not self.ended:
            raise ConfigError(
                "reset in the middle of an episode (expected after its end alone, since a judgement counts whole episodes)"
            )
        if self.now is None:
            self.now = self._next()
        self.ended = False
        return self.now, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.ended:
            raise ConfigError("step after the end of an episode (expected reset first)")
        self.agent.actions.put(action)
        self.now = self._next()
        out = self.agent.outcome
        self.ended = out.terminated or out.truncated
        return out.last if self.ended else self.now, out.reward, out.terminated, out.truncated, {}
