"""Makes environments by their Gymnasium ids, in one form: a flat observation vector, and a Box or a Discrete of actions."""

import contextlib
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np

from gla.environments.kinds import ENVIRONMENTS
from gla.environments.spaces import Counted, UnsupportedEnvironment, check_supported, flatten

for _id, _own in ENVIRONMENTS.items():
    gym.register(_id, f"{_own.module}:{_own.name}", max_episode_steps=_own.max_episode_steps)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps Gymnasium quiet for a while: v4 MuJoCo ids warn that v5 exists, at every construction."""
    before, gym.logger.min_level = gym.logger.min_level, gym.logger.ERROR
    try:
        yield
    finally:
        gym.logger.min_level = before


def text(error: BaseException) -> str:
    """Returns the message of an exception in one line. Since an environment's own code raised it, even its text may raise an
    error.
    """
    try:
        said = str(error)
    except BaseException:
        said = ""
    return " ".join(said.split()) or "(no text)"


def make(env_id: str, **kwargs: Any) -> gym.Env:
    """Makes one environment with flat float32 observations.

    Raises UnsupportedEnvironment for an unknown id, wrong keyword arguments, or spaces that do not fit. The error names the
    id and what was expected.
    """
    if env_id.startswith("dm_control/"):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # dm_control looks for a display when it is imported, and nothing is rendered here
            import shimmy  # registers its ids

            gym.register_envs(shimmy)
    try:
        with _without_warnings():
            env = gym.make(env_id, disable_env_checker=True, **kwargs)
    except gym.error.Error as error:
        raise UnsupportedEnvironment(
            f"environment {env_id!r}: {error} "
            "(expected a Gymnasium id such as 'Reacher-v4', or 'dm_control/<domain>-<task>-v0')"
        ) from None
    except (TypeError, ValueError) as error:
        raise UnsupportedEnvironment(f"environment {env_id!r} with {kwargs}: {text(error)}") from error
    except KeyboardInterrupt:  # an interruption by the user or by the watchdog
        raise
    except BaseException as error:  # an environment's own code may raise anything
        said = f"{type(error).__name__}: {text(error)} (expected one that can be made)"
        raise UnsupportedEnvironment(f"environment {env_id!r} with {kwargs}: {said}") from error
    try:
        check_supported(env_id, env)
        if env.spec is None:
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: spec None (expected what gymnasium.make sets, its time limit among it)"
            )
    except UnsupportedEnvironment:
        with contextlib.suppress(Exception):
            env.close()
        raise
    return adapt(env)


def adapt(env: gym.Env) -> gym.Env:
    """Wraps an environment with supported spaces so that it has this form."""
    space, action = env.observation_space, env.action_space
    if not isinstance(space, gym.spaces.Box):
        env = gym.wrappers.FlattenObservation(env)
        env.func = lambda observation: flatten(space, observation)  # like Gymnasium's, but parts are checked
    if isinstance(action, gym.spaces.MultiDiscrete) or (isinstance(action, gym.spaces.Discrete) and action.start != 0):
        env = Counted(env)
    return env


def time_limit(env: gym.Env) -> int | None:
    """Returns the number of steps after which an episode is cut off; None if there is no limit."""
    task = getattr(env.unwrapped, "_env", None)  # dm-control's own limit, which Gymnasium does not know
    limits = [env.spec.max_episode_steps, getattr(task, "_step_limit", None)]
    return min((int(x) for x in limits if x is not None and 0 < x < np.inf), default=None)


def _each(what: str, id: str, kwargs: dict[str, Any], tasks: list[dict[str, Any]]) -> list[float] | None:
    """Calls a method of each task's environment with its time limit, if it is one of this package that has the method; else None."""
    own = ENVIRONMENTS.get(id)
    if own is None or not hasattr(getattr(import_module(own.module), own.name), what):
        return None
    found = []
    for task in tasks or [{}]:
        env = make(id, **(kwargs | task))
        found.append(getattr(env.unwrapped, what)(env.spec.max_episode_steps))
        env.close()
    return found


def optimal_return(id: str, kwargs: dict[str, Any], tasks: list[dict[str, Any]]) -> float | None:
    """Returns the highest expected episode return, averaged over the tasks, for environments of this package that can compute
    it; else None.
    """
    found = _each("optimal_return", id, kwargs, tasks)
    return None if found is None else float(np.mean(found))


def bounds(id: str, kwargs: dict[str, Any], tasks: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the expected episode returns of random actions and of the best policy in each task, (tasks,) each, for tabular worlds of this
    package; else None.
    """
    random, best = (_each(what, id, kwargs, tasks) for what in ("random_return", "optimal_return"))
    return None if random is None or best is None else (np.array(random), np.array(best))
