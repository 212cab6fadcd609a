"""EnvPool: the same MuJoCo and dm-control tasks, stepped in C++ (Weng et al., 2022). An extra: ``pip install '.[envpool]'``.

It has its own MuJoCo and random generator, so that the episodes of a seed differ from Gymnasium's but have the same distribution.
Gymnasium still defines each environment: one whose arguments, sizes or bounds are different in EnvPool is refused.
"""

import json
import re
from typing import Any

import numpy as np

from gla.environments.making import make
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment, env_spec
from gla.environments.vector import Guard, VectorStep


def envpool_id(env_id: str) -> str:
    """Returns EnvPool's name for an id: dm_control/ball_in_cup-catch-v0 is called BallInCupCatch-v1; others keep their names."""
    task = re.fullmatch(r"dm_control/(.+)-v0", env_id)
    return "".join(w[:1].upper() + w[1:] for w in re.split("[-_]", task[1])) + "-v1" if task else env_id


def settings(env_id: str, kwargs: dict[str, Any]) -> tuple[EnvSpec, list[str], dict[str, Any]]:
    """Returns facts that Gymnasium knows of an environment: its shapes, the order of its observation's parts, and EnvPool's
    arguments.

    Raises UnsupportedEnvironment if EnvPool is missing, lacks the environment or an argument, or has another environment
    under this name.
    """
    where = f"environment {env_id!r}"
    try:
        import envpool
    except ImportError:
        raise UnsupportedEnvironment(
            f"{where}: EnvPool is not installed (expected it after pip install '.[envpool]')"
        ) from None
    name = envpool_id(env_id)
    if name not in envpool.list_all_envs():
        raise UnsupportedEnvironment(f"{where}: EnvPool has no {name!r} (expected backend gymnasium)")
    env = make(env_id, **kwargs)
    expected, limit, space = env_spec(env), env.spec.max_episode_steps, env.unwrapped.observation_space
    env.close()
    known = envpool.make_spec(name).config._asdict().keys() - {"xml_file"}  # a file of Gymnasium or of the user
    if unknown := sorted(kwargs.keys() - known):
        raise UnsupportedEnvironment(
            f"{where}: EnvPool's takes no {', '.join(unknown)} (expected backend gymnasium, or some of {', '.join(sorted(known))})"
        )
    arguments = kwargs | ({} if limit is None else {"max_episode_steps": limit})
    if (limit := arguments.get("max_episode_steps", 1)) < 1:
        raise UnsupportedEnvironment(f"{where}: max_episode_steps {limit} (expected 1 or more with EnvPool)")
    try:
        spec = envpool.make_spec(name, **arguments)
    except TypeError:
        raise UnsupportedEnvironment(
            f"{where}: EnvPool's refuses {arguments} (expected values of other types)"
        ) from None
    keys = list(getattr(space, "spaces", {}))
    parts, action = spec.gymnasium_observation_space, spec.gymnasium_action_space
    size = sum(int(np.prod(p.shape)) for p in (parts.spaces.values() if keys else [parts]))
    bounds = [] if expected.discrete else [(action.low, expected.low), (action.high, expected.high)]
    same = size == expected.observation_size and sorted(getattr(parts, "spaces", {})) == sorted(keys)
    if not same or any(not np.array_equal(a, b) for a, b in bounds):
        raise UnsupportedEnvironment(
            f"{where}: EnvPool's has observations {parts} and actions {action} (expected Gymnasium's, {space} and "
            f"{env.action_space}; use backend gymnasium)"
        )
    return expected, keys, arguments


class EnvPoolVector:
    """The counterpart of ``VectorEnv`` for EnvPool. Environments with the same arguments share a pool.

    EnvPool resets in the step *after* an episode's end, and the row of that step is no transition. Environments that ended
    are therefore reset explicitly here, in the same step. An episode that terminates exactly at the time limit counts only as
    truncated.
    """

    def __init__(
        self, env_id: str, kwargs: list[dict[str, Any]], seed: int, threads: int = 1, names: list[str] | None = None
    ):
        """names: names of the environments in errors, for steps of a pool that fail or do not return."""
        groups: dict[str, list[int]] = {}
        for i, k in enumerate(kwargs):
            groups.setdefault(json.dumps(k, sort_keys=True), []).append(i)
        self._size, names = len(kwargs), names or [f"environment {env_id!r}, copy {i}" for i in range(len(kwargs))]
        # A pool steps all of its environments at once, and does not say which one it waits for.
        self._guard = Guard(
            [names[i] + (f", or another of its pool of {len(own) + 1}" if own else "") for i, *own in groups.values()]
        )
        seeds = np.random.SeedSequence(seed).generate_state(self._size, np.uint32) >> 1  # EnvPool's seeds have 31 bits
        self._pools = []
        for rows in groups.values():
            self.spec, self._keys, arguments = settings(env_id, kwargs[rows[0]])
            import envpool

            pool = envpool.make_gymnasium(
                envpool_id(env_id),
                num_envs=len(rows),
                num_threads=min(threads, len(rows)),
                env_seed=seeds[rows].tolist(),
                **arguments,
            )
            self._pools.append((np.array(rows), pool))

    def __len__(self) -> int:
        return self._size

    def _flat(self, observation: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
        if isinstance(observation, np.ndarray):
            return observation
        return np.concatenate([observation[key].reshape(len(observation[key]), -1) for key in self._keys], 1)

    def reset(self) -> np.ndarray:
        """Returns the first observations, (N, d) float32. Later calls go on with the same streams of random numbers."""
        observation, guard = np.empty((self._size, self.spec.observation_size), np.float32), self._guard
        guard.during, guard.step = "reset", -1
        with guard:
            for guard.at, (rows, pool) in enumerate(self._pools):
                observation[rows] = self._flat(pool.reset()[0])
        return observation

    def step(self, actions: np.ndarray) -> VectorStep:
        """Steps each environment once. actions: (N,) integers, or (N, action_size) floats, which are clipped to the bounds."""
        n, d = self._size, self.spec.observation_size
        observation, final = np.empty((n, d), np.float32), np.zeros((n, d), np.float32)
        reward, terminated, truncated = np.empty(n), np.empty(n, bool), np.empty(n, bool)
        if not self.spec.discrete:
            actions = np.clip(actions, self.spec.low, self.spec.high)
        guard = self._guard
        guard.during, guard.step = "", guard.step + 1
        with guard:
            for guard.at, (rows, pool) in enumerate(self._pools):
                seen, reward[rows], terminated[rows], truncated[rows], _ = pool.step(
                    actions[rows].astype(pool.action_space.dtype)
                )
                observation[rows] = self._flat(seen)
                ended = np.flatnonzero(terminated[rows] | truncated[rows]).astype(np.int32)
                if len(ended):
                    final[rows[ended]] = observation[rows[ended]]
                    observation[rows[ended]] = self._flat(pool.reset(ended)[0])
        return VectorStep(observation, reward, terminated, truncated, final)

    def close(self) -> None:
        for _, pool in self._pools:
            pool.close()


def stepped(
    env_id: str, kwargs: list[dict[str, Any]], seed: int, threads: int, names: list[str] | None
) -> EnvPoolVector:
    """Makes environments of the backend "envpool", which always returns the shapes and types that it announces."""
    return EnvPoolVector(env_id, kwargs, seed, threads, names)
