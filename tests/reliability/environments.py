"""Environments that lie: an item of injections.py's table.

Every lie is told by one task of two, through collections, rollouts and preflight as jobs run them. A lie of a step is
told at step 13, which lies in the second episode.
"""

import contextlib
import datetime
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from injections import EVALUATION, LEARNER, Job, Outcome, Tree, content, half_written

from gla import agent, checked, in_context, rows
from gla.config.environments import Environment
from gla.storage.collecting import collect

SPACE, PARTS = Box(-1, 1, (3,), np.float32), Dict({"place": Box(-1, 1, (1,)), "speed": Box(-1, 1, (2,))})
AT = 13


class Lying(gym.Env):
    """Episodes of nothing, but for one lie: at one step, in one reset, or about itself."""

    def __init__(self, lie: str = "", at: int = AT, parts: bool = False):
        self.when, self.lie = next(((when, lies[lie]) for when, lies in LIES.items() if lie in lies), ("", None))
        self.at, self.parts, self.steps, self.resets = at, parts, -1, -1
        self.observation_space, self.action_space = PARTS if parts else SPACE, Discrete(2)
        if self.when == "made":
            self.lie(self)

    def _observation(self):
        return (
            {"place": np.zeros(1, np.float32), "speed": np.zeros(2, np.float32)}
            if self.parts
            else np.zeros(3, np.float32)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets += 1
        told = self._observation(), {}
        now = {"first reset": 0, "later reset": 1}.get(self.when) == self.resets
        return self.lie(told) if now else told

    def step(self, action):
        self.steps += 1
        told = self._observation(), 0.0, False, False, {}
        return self.lie(told) if self.when in ("step", "parts") and self.steps == self.at else told


def _is(index: int, value: Any) -> Callable[[tuple], tuple]:
    """A lie about one of what is returned."""
    return lambda told: (*told[:index], value, *told[index + 1 :])


def _raises(error: BaseException) -> Callable:
    def lie(_):
        raise error

    return lie


def _divides_by_zero(_):
    return 1 // 0


def _recurs(_):
    return _recurs(_)


def _loops(_):
    while True:
        pass


def _sleeps(_):
    time.sleep(1000)


def _catches_everything(_):
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(1000)


def _heeds_no_interruption(_):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(1000)


def _sets(name: str, value: Any) -> Callable[[Lying], None]:
    return lambda env: setattr(env, name, value)


def _action_bounds(low: float, high: float) -> Callable[[Lying], None]:
    """Bounds that a Box refuses when it is made, written into one that was."""

    def lie(env: Lying) -> None:
        env.action_space = Box(-1, 1, (2,), np.float32)
        env.action_space.low[:], env.action_space.high[:] = low, high

    return lie


def _deletes_its_space(env: Lying) -> None:
    del env.observation_space


REPEATED = np.zeros(1, np.float32)  # NumPy would write it into all three columns
HANGS = {
    "loops": _loops,
    "sleeps": _sleeps,
    "catches everything": _catches_everything,
    "heeds no interruption": _heeds_no_interruption,
}

# By when each is told. A lie of a step gets and returns what a step returns, one of a reset what a reset returns.
LIES: dict[str, dict[str, Callable]] = {
    "step": {
        **{f"observation {name}": _is(0, value) for name, value in {
            "of one column": REPEATED, "a number": 0.5, "an array of no axes": np.float32(0), "of a fourth column": np.zeros(4, np.float32),
            "of a second axis": np.zeros((3, 1), np.float32), "empty": np.zeros(0), "None": None, "a string": "abc", "digits": list("123"),
            "too short a list": [0.0, 0.0], "ragged": [[0.0], [0.0, 1.0], 2.0], "a dictionary": {"place": 0.0},
            "complex": np.zeros(3, complex), "of objects": np.array([0.0, None, 1.0]), "of dates": np.zeros(3, "datetime64[s]"), "NaN": np.array([0, np.nan, 0]),
            "infinite": np.array([0, 0, np.inf], np.float32), "too large": np.array([1e39, 0, 0]),
        }.items()},
        **{f"reward {name}": _is(1, value) for name, value in {
            "a digit": "1", "None": None, "NaN": np.nan, "infinite": -np.inf, "too large": 1e300, "too large an integer": 10**400,
            "complex": 1j, "an array": np.zeros(3), "an array of one": np.zeros(1), "a list": [0.0], "a date": datetime.date(2000, 1, 1),
        }.items()},
        **{f"terminated {name}": _is(2, value) for name, value in {
            "a string": "False", "None": None, "NaN": np.nan, "an integer": 1, "a number": 0.0, "an array": np.zeros(3, bool), "a list": [],
        }.items()},
        **{f"truncated {name}": _is(3, value) for name, value in {"a string": "no", "None": None, "an integer": 0}.items()},
        "no info": lambda told: told[:4],
        "six values": lambda told: (*told, None),
        "nothing": lambda _: None,
        "five letters": lambda _: "abcde",
        "in another order": lambda told: (told[1], told[0], *told[2:]),
        **{f"raises {type(e).__name__}": _raises(e) for e in (
            ValueError("no such action"), KeyError("key"), RuntimeError("two\nlines"), AssertionError(), MemoryError(),
            FileNotFoundError(2, "No such file", "model.xml"), StopIteration(), gym.error.ResetNeeded("reset first"), SystemExit(0),
        )},
        "divides by zero": _divides_by_zero, "recurs": _recurs, **HANGS,
    },
    "parts": {
        "a part missing": _is(0, {"place": np.zeros(1)}), "a part of another shape": _is(0, {"place": np.zeros(2), "speed": np.zeros(1)}),
        "a part a string": _is(0, {"place": ["1"], "speed": np.zeros(2)}), "no parts": _is(0, np.zeros(3)),
        "a part complex": _is(0, {"place": np.zeros(1), "speed": np.zeros(2, complex)}),
    },
    "first reset": {
        "first reset: no info": lambda told: told[0], "first reset: None": lambda _: None, "first reset: one column": _is(0, REPEATED),
        "first reset: a string": _is(0, "abc"), "first reset: NaN": _is(0, np.full(3, np.nan)),
        "first reset: raises": _raises(ValueError("no")), "first reset: exits": _raises(SystemExit(0)), "first reset: hangs": _sleeps,
    },
    "later reset": {
        "later reset: no info": lambda told: told[0], "later reset: three values": lambda told: (*told, None),
        "later reset: one column": _is(0, REPEATED), "later reset: complex": _is(0, np.zeros(3, complex)),
        "later reset: raises": _raises(OSError("gone")), "later reset: hangs": _loops,
    },
    "made": {
        "made: with a fourth column": _sets("observation_space", Box(-1, 1, (4,))),
        "made: with 65 columns": _sets("observation_space", Box(-1, 1, (65,))),
        "made: with an image": _sets("observation_space", Box(0, 255, (4, 4), np.uint8)),
        "made: with a third action": _sets("action_space", Discrete(3)),
        "made: with three actions from 1": _sets("action_space", Discrete(3, start=1)),
        "made: with two kinds of action": _sets("action_space", MultiDiscrete([2, 2])),
        "made: with integers for actions": _sets("action_space", Box(0, 3, (2,), np.int64)),
        "made: with bounds the wrong way round": _action_bounds(1, -1),
        "made: with bounds NaN": _action_bounds(np.nan, np.nan), "made: with bounds beyond all numbers": _action_bounds(np.inf, np.inf),
        "made: without a space": _deletes_its_space, "made: with None for a space": _sets("action_space", None),
        "made: with a word for a space": _sets("observation_space", "three numbers"), "made: raises": _raises(OSError("no simulator")),
        "made: exits": _raises(SystemExit(0)), "made: hangs": _sleeps,
    },
}  # fmt: skip
# Where a lie that is told there is to be found in the error.
WHERE = {
    "step": f"step {AT}", "parts": f"step {AT}", "first reset": "first reset", "later reset": "reset after step 9", "made": "",
}  # fmt: skip
# Numbers that are not finite are found when an update is collected: what a step returns is acted on in the next.
LATER = {
    "observation NaN": "step 14",
    "observation infinite": "step 14",
    "observation too large": "step 14",
    "first reset: NaN": "step 0",
}


class Lie:
    """A stage that meets a lie in its second task."""

    def __init__(self, stage: str, when: str, lie: str):
        self.stage, self.when, self.lie = stage, when, lie

    def __call__(self) -> None:
        os.environ["GLA_STEP_SECONDS"] = "2" if "hangs" in self.lie or self.lie in HANGS else "60"
        gym.register("Lying-v0", Lying, max_episode_steps=10)
        tasks = [{}, {"lie": self.lie, "at": 0 if self.stage == "preflight" else AT}]
        given = {"id": "Lying-v0", "kwargs": {"parts": self.when == "parts"}, "tasks": tasks}
        source = LEARNER.model_copy(update={"environment": "lying", "num_envs": 1})
        if self.stage == "preflight":
            checked.checked(
                {"environments": {"lying": given}, "sources": {"lying": source.model_dump()}}, cache="checked.json"
            )
        elif self.stage == "collect":
            collect(
                source,
                Environment(**given),
                "lying",
                range(4),
                "histories/lying/0-3/history.zarr",
                "histories/lying/0-3.json",
            )
        else:
            found = in_context.run_agent(
                agent.load("agents/agent"), Environment(**given), EVALUATION, "agent", "evaluate lying agent"
            )
            rows.write_rows(found.frame("agent", "lying", "agent"), "rollouts/lying/agent/agent.parquet")

    def named(self) -> list[str]:
        """Returns the texts that the error must contain."""
        if self.stage == "preflight":
            return ["environments.lying.", {"made": "", "first reset": "first "}.get(self.when, "step 0")]
        if self.when == "made":
            return ["ying"]  # by its id, or by its name where it differs from the first
        where = LATER.get(self.lie, WHERE[self.when])
        if self.stage == "evaluate":
            return ["environment 'Lying-v0'", "seed 1,", WHERE["step"] if self.when == "step" else where]
        return ["environment 'lying'", "lifetime 1,", where]


# All in collections, some in rollouts, and in preflight those that are told when an environment is made and some of a first step.
TOLD = [(when, lie) for when, lies in LIES.items() for lie in lies]
STAGES_AND_LIES = [
    *(("collect", *told) for told in TOLD),
    *(("preflight", *told) for told in TOLD if told[0] in ("made", "first reset")),
    *(("preflight", *told) for told in [t for t in TOLD if t[0] in ("step", "parts")][::4]),
    *(("evaluate", *told) for told in TOLD[::6]),
]  # fmt: skip


def lies(tree: Tree, folder: Path, every: int = 1) -> Outcome:
    """Environments that lie. noticed: the job's one line names where; lost: it ended well, or what was finished before changed."""
    injected = noticed = lost = 0
    finished = content(tree.before("draw", folder))
    for stage, when, lie in STAGES_AND_LIES[::every]:
        work = Lie(stage, when, lie)
        running = Job(work, folder)
        status = running.end(60)
        told = status == 1 and all(name in running.error() for name in work.named())
        if not told:
            print(f"not told of, in {stage}, {lie}: status {status}, {running.said[-1500:]}", file=sys.stderr)
        injected, noticed = injected + 1, noticed + told
        lost += status == 0 or half_written(folder, finished) > 0
    return Outcome(injected, noticed, lost)
