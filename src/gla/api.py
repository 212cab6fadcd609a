"""The interface for users: ``load`` an agent, let it ``learn`` in an environment, or step the environment yourself with its
``policy``.

    agent = gla.load("grid")
    frame = agent.learn("gla/GridWorld-v0", episodes=20, seeds=16)

``gla learn`` does the same from a shell.
"""

import copy
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import torch

from gla import SHIPPED, agent, agents, devices, hub
from gla.acting import read_acting
from gla.conditions.kinds import runner
from gla.conditions.roles import IN_CONTEXT, of_role, usual
from gla.config.agents import Acting
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.reading import check
from gla.environments.making import adapt
from gla.environments.spaces import (
    EnvSpec,
    UnsupportedEnvironment,
    check_supported,
    counted,
    env_spec,
    flag,
    flatten,
    real_number,
)
from gla.in_context import InContext, run_agent
from gla.options import ConfigError

EnvLike = Any  # an id, a gym.Env, or a function that returns one
EPISODES, LONG, STEPS = (
    20,
    4000,
    1000,
)  # episodes if none are asked for, the steps that these may take at most, and steps instead of them
SIMPLE = of_role("calm", "online")  # conditions that need no agent and no histories


def env_id(env: EnvLike) -> str:
    """Returns an id under which ``gla.environments.making.make`` makes an environment like this one.

    env: an id; an environment that ``gymnasium.make`` made, which is made again from its spec; or a
    function that returns a new one. Raises UnsupportedEnvironment for anything else.
    """
    if isinstance(env, str):
        return env
    if isinstance(env, gym.vector.VectorEnv):
        raise UnsupportedEnvironment(
            f"environment {env}: a vector of them (expected the id of one, since one is made for each seed)"
        )
    if isinstance(env, gym.Env):
        if env.spec is None:
            raise UnsupportedEnvironment(
                f"environment {env}: not made by gymnasium.make, so that it cannot be made again for each seed "
                "(expected an id, or a function that returns a new one)"
            )
        spec = env.spec
        for wrapper in spec.additional_wrappers or ():
            if wrapper.kwargs is None:
                raise UnsupportedEnvironment(
                    f"environment {env}: its wrapper {wrapper.name} does not record how it was made, so that it cannot be made again for "
                    f"each seed (expected a function that returns a new one, such as lambda: {wrapper.name}(...))"
                )
        name = spec.name if spec.version is None else f"{spec.name}-v{spec.version}"
        make, limit = lambda **kwargs: gym.make(spec, **kwargs), spec.max_episode_steps
    elif callable(env):
        name, make, limit = getattr(env, "__name__", type(env).__name__).strip("<>") + "-v0", env, None
    else:
        raise UnsupportedEnvironment(
            f"environment {env!r}: neither an id nor an environment nor a function that makes one"
        )
    own = f"gla-user/{name}"
    gym.registry.pop(own, None)
    gym.register(own, make, max_episode_steps=limit)
    return own


def asked(
    env: EnvLike,
    episodes: int | None,
    seeds: int,
    conditions: Sequence[str],
    kwargs: dict[str, Any] | None,
    settings: dict[str, Any],
) -> tuple[Environment, Evaluation]:
    """Returns the entries of an environment and of an evaluation in it, as a config would have them, given the arguments of
    ``LoadedAgent.learn``. Raises ConfigError and UnsupportedEnvironment."""
    for one in conditions:
        if one not in (known := (*IN_CONTEXT, *SIMPLE)):
            raise ConfigError(f"conditions: {one!r} (expected some of {', '.join(known)})")
    entry = check(Environment, {"id": env_id(env), "kwargs": kwargs or {}})
    steps = settings.get("env_steps")
    if episodes is None and steps is None:
        limit = entry.kwargs.get("max_episode_steps")
        with suppress(gym.error.Error):  # that there is no such environment is said when it is made
            limit = limit or gym.spec(entry.id).max_episode_steps
        episodes, steps = (EPISODES, None) if limit is not None and EPISODES * limit <= LONG else (None, STEPS)
    own = {"conditions": [c for c in conditions if c not in SIMPLE], "episodes": episodes, "seeds": seeds}
    name = entry.id.removeprefix("gla-user/")
    return entry, check(Evaluation, {"environment": name} | own | settings | {"env_steps": steps})


@dataclass(frozen=True)
class LoadedAgent(agent.TrainedAgent):
    """A trained agent that learns in context. Its weights never change."""

    name: str = "agent"
    acting: Acting = Acting()
    folder: Path = Path()

    def __repr__(self) -> str:
        weights = sum(p.numel() for p in self.model.parameters())
        return f"<agent {self.name!r}: {self.config.model.kind}, {weights:,} weights>"

    def learn(
        self,
        env: EnvLike,
        episodes: int | None = None,
        seeds: int = 16,
        conditions: Sequence[str] = tuple(usual(IN_CONTEXT)),
        kwargs: dict[str, Any] | None = None,
        device: str | torch.device | None = None,
        threads: int = 1,
        **settings: Any,
    ) -> pd.DataFrame:
        """Lets the agent learn, and returns tidy rows, one for each condition, seed and episode (columns: gla.rows.COLUMNS).

        env: an id, an environment, or a function that makes one (see ``env_id``). episodes: number of episodes in
        each seed; 20 if neither they nor ``env_steps`` are given, or 1,000 steps where 20 episodes may take more than 4,000.
        conditions: of an evaluation, calm ones (``random``, ``zero_action``) and learners
        from scratch (``online_ppo`` and others); by default the agent and the two controls that tell whether it learns from rewards.
        kwargs: keyword arguments for ``gymnasium.make``. device: the device of the model, by default a GPU that no other
        job of this user works on, or the CPU if there is none. threads: of PyTorch; small models are slower with several. settings:
        any further key of an evaluation (config/README.md).
        Temperature, cooling and context length are the agent's own (``acting``) unless they are given.
        Raises ConfigError and UnsupportedEnvironment, each in one sentence.
        """
        entry, evaluation = asked(env, episodes, seeds, conditions, kwargs, self._settings(settings))
        label = evaluation.environment
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise ConfigError(f"threads: {threads!r} (expected 1 or more)")
        frames = []
        with devices.threads(threads), nullcontext(torch.device(device)) if device else devices.device() as where:
            # A copy, since policies of this agent keep what they saw where its model is.
            there = replace(self, model=copy.deepcopy(self.model).to(where))
            for condition in conditions:
                progress = f"learn {label} {condition}"
                if condition in SIMPLE:
                    (rows,), name = runner(condition).run(entry, evaluation, progress, []), "baseline"
                else:
                    rows, name = run_agent(there, entry, evaluation, condition, progress), self.name
                frames.append(rows.frame(name, label, condition))
        return pd.concat(frames, ignore_index=True)

    def policy(self, env: gym.Env | gym.vector.VectorEnv, **settings: Any) -> "AgentPolicy | VectorPolicy":
        """Returns the agent's policy in one environment that the caller steps, or in a vector of them, with a context for each. settings:
        keys of an evaluation. Temperature, cooling and context length are the agent's own unless they are given."""
        vector = isinstance(env, gym.vector.VectorEnv)
        own = {
            "environment": "by hand",
            "seeds": env.num_envs if vector else 1,
            "env_steps": 4000,
            "conditions": ["agent"],
        }
        evaluation = check(Evaluation, own | self._settings(settings))
        return (VectorPolicy if vector else AgentPolicy)(self, env, evaluation)

    def push_to_hub(
        self, repository: str, private: bool = False, message: str = "An agent that learns in context"
    ) -> str:
        """Uploads the agent's folder to the Hugging Face Hub, and returns the commit's address. ``gla.load("hf://OWNER/REPOSITORY")`` loads
        it from there. A folder without a model card gets one. Raises ConfigError if the upload fails, or huggingface_hub is not installed.

        repository: ``OWNER/REPOSITORY``, which is made if there is none. message: of the commit.
        """
        return hub.push(self.folder, self.name, repository, private, message)

    def _settings(self, given: dict[str, Any]) -> dict[str, Any]:
        """Returns keys of an evaluation: those that are given, and the agent's own. A temperature that is given does not change."""
        own = self.acting.model_dump()
        if "temperature" in given:
            del own["cooling"]
        return own | given


class _Contexts:
    """An agent in contexts that begin empty, in which acting and observing take turns. env: has the spaces of each environment."""

    def __init__(self, agent: agent.TrainedAgent, env: gym.Env, name: str, evaluation: Evaluation):
        check_supported(name, env)
        self.space, self.actions = env.observation_space, env.action_space
        self.agent, self.evaluation = agent, evaluation
        self.spec: EnvSpec = env_spec(adapt(env))
        self.reset()

    def reset(self) -> None:
        """Empties the context of each environment, as at the beginning."""
        self.context = InContext(self.agent, self.spec, self.evaluation, self.evaluation.env_steps)
        self.acted = False

    def _may_act(self) -> None:
        if self.acted:
            raise RuntimeError("act: the last action's reward is not known yet (expected observe(reward, done) before)")

    def _may_observe(self) -> None:
        if not self.acted:
            raise RuntimeError("observe: nothing was done yet (expected act(observation) before)")

    def _act(self, flat: np.ndarray) -> list[Any]:
        """Maps flat observations (N, d) to an action of the environment's own for each."""
        actions = self.context.act(flat)
        self.acted = True
        if self.spec.discrete:
            return [counted(self.actions, action) for action in actions]
        return list(np.clip(actions, self.spec.low, self.spec.high))

    def _observe(self, rewards: np.ndarray, dones: np.ndarray) -> None:
        self.context.observe(rewards, dones)
        self.acted = False


class AgentPolicy(_Contexts):
    """One agent in one context. It sees only what the caller passes to it::

    policy = agent.policy(env)
    observation, _ = env.reset()
    for _ in range(1000):
        action = policy.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        policy.observe(reward, terminated or truncated)
        if terminated or truncated:
            observation, _ = env.reset()  # the context goes on; policy.reset() empties it
    """

    def __init__(self, agent: agent.TrainedAgent, env: gym.Env, evaluation: Evaluation):
        super().__init__(agent, env, str(env), evaluation)

    def act(self, observation: Any) -> np.ndarray | int:
        """Maps an observation of the environment to an action in its action space. Raises ValueError for another shape."""
        self._may_act()
        flat = np.asarray(flatten(self.space, observation), dtype=np.float32)
        if not np.isfinite(flat).all():
            raise ValueError(f"act: observation {observation!r} (expected {self.spec.observation_size} finite numbers)")
        return self._act(flat[None])[0]

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, None]:
        """Returns an action, as ``act`` does, and no state, as Stable-Baselines3 asks for them. The environment has to be one of
        ``told_by``, which tells the rewards. observation: of one environment, or of a vector of a single one; the action is of the same kind. state,
        episode_start, deterministic are ignored: the context is the state, and the temperature says how much chance there is. Raises
        ValueError for a vector of several environments, which are several contexts."""
        named = isinstance(self.space, gym.spaces.Dict)
        space = next(iter(self.space.values())) if named else self.space
        part = observation[next(iter(self.space))] if named else observation
        batched = space.shape is not None and np.ndim(part) > len(space.shape)
        if batched and len(part) != 1:
            raise ValueError(
                f"predict: observations of {len(part)} environments (expected one: a policy has one context)"
            )
        if batched:
            observation = {k: v[0] for k, v in observation.items()} if named else observation[0]
        if isinstance(self.space, gym.spaces.Discrete):
            observation = int(observation)
        action = self.act(observation)
        return (np.asarray(action)[None] if batched else action), None

    def told_by(self, env: gym.Env) -> gym.Env:
        """Returns an environment that tells the policy the reward of each of its actions."""
        return Telling(env, self)

    def observe(self, reward: float, done: bool) -> None:
        """Tells the agent the last action's reward, and whether the episode ended."""
        self._may_observe()
        value, ended = real_number(reward), flag("done", done)
        if not np.isfinite(value):
            raise ValueError(f"observe: reward {reward} (expected a finite number)")
        self._observe(np.array([value]), np.array([ended]))


class _One(gym.Env):
    """Stands for one environment of a vector, of which only the spaces are known."""

    def __init__(self, envs: gym.vector.VectorEnv):
        self.observation_space, self.action_space = envs.single_observation_space, envs.single_action_space


class VectorPolicy(_Contexts):
    """One agent in N contexts, one for each environment of a vector. It sees only what the caller passes to it::

    envs = gym.make_vec("CartPole-v1", 8, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
    policy = agent.policy(envs)
    observations, _ = envs.reset()
    for _ in range(1000):
        actions = policy.act(observations)
        observations, rewards, terminations, truncations, _ = envs.step(actions)
        policy.observe(rewards, terminations | truncations)  # contexts go on; policy.reset() empties them
    """

    def __init__(self, agent: agent.TrainedAgent, envs: gym.vector.VectorEnv, evaluation: Evaluation):
        mode = envs.metadata.get("autoreset_mode")
        if mode is not None and mode != gym.vector.AutoresetMode.SAME_STEP:
            raise UnsupportedEnvironment(
                f"environment {envs}: autoreset_mode {mode.value} (expected SameStep, so that each step's action is taken)"
            )
        self.n, self.several = envs.num_envs, envs.observation_space
        super().__init__(agent, _One(envs), str(envs), evaluation)

    def act(self, observations: Any) -> np.ndarray:
        """Maps the vector's observations to actions in its action space. Raises ValueError for another shape."""
        self._may_act()
        each = [flatten(self.space, one) for one in gym.vector.utils.iterate(self.several, observations)]
        flat = np.array(each, dtype=np.float32)
        if len(flat) != self.n or not np.isfinite(flat).all():
            raise ValueError(f"act: observations {observations!r} (expected {self.n} of finite numbers)")
        return np.array(self._act(flat))

    def observe(self, rewards: np.ndarray, dones: np.ndarray) -> None:
        """Tells the agent the rewards of the last actions (N,), and which episodes ended (N,) bool."""
        self._may_observe()
        rewards, dones, n = np.asarray(rewards), np.asarray(dones), self.n
        if rewards.shape != (n,) or not np.isfinite(rewards).all():
            raise ValueError(f"observe: rewards {rewards} (expected {n} finite numbers)")
        if dones.shape != (n,) or dones.dtype != bool:
            raise ValueError(f"observe: dones {dones} (expected {n} of True and False)")
        self._observe(rewards.astype(float), dones)


class Telling(gym.Wrapper):
    """An environment that tells a policy what its actions have brought."""

    def __init__(self, env: gym.Env, policy: AgentPolicy):
        super().__init__(env)
        self.policy = policy

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        outcome = self.env.step(action)
        self.policy.observe(outcome[1], outcome[2] or outcome[3])
        return outcome


def load(folder: str | Path) -> LoadedAgent:
    """Loads an agent from its folder, which may have any name; or an agent of ``agents`` by its name, unless there is a folder of that name;
    or one of the Hugging Face Hub, ``hf://OWNER/REPOSITORY``, or ``hf://OWNER/REPOSITORY@REVISION``.
    Raises CorruptFile, which names the file that is missing or altered, and ConfigError if the Hub has no such agent.
    """
    name = Path(folder).resolve().name
    if str(folder).startswith(hub.PREFIX):
        name, folder = name.partition("@")[0], hub.fetched(str(folder))
    elif not Path(folder).exists() and str(folder) in agents():
        folder = SHIPPED / str(folder)
    folder = Path(folder)
    loaded, acting = agent.load(folder, anywhere=True), read_acting(folder, anywhere=True)
    return LoadedAgent(**vars(loaded), name=name, acting=acting, folder=folder)
