"""Judges any agent, whoever made it, as agents of this package are judged: with the same rollouts, controls and baselines::

    verdict = gla.judge(make, "CartPole-v1", episodes=100)
    print(verdict)

``make(env, seed)`` returns a new agent for one run (``gla.foreign.agent_of`` says what it may be). ``gla judge`` does the same from a
shell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd

from gla import devices, verdicts, watch
from gla.api import SIMPLE, EnvLike, LoadedAgent, asked
from gla.conditions.kinds import CONDITIONS, runner
from gla.conditions.roles import IN_CONTEXT, of_role, usual
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.environments.making import make as make_environment
from gla.environments.spaces import Counted
from gla.environments.vector import VectorStep
from gla.foreign import Apart, Together
from gla.options import ConfigError
from gla.rollout import EpisodeRows, environments_of, run_all

WHOLE = (*usual(IN_CONTEXT), *of_role("calm"), *usual(of_role("online")))  # conditions that a judgement has by default


@dataclass(frozen=True)
class Judgement:
    """Whether an agent learns, and what it was compared with.

    rows: tidy rows, one for each condition, seed and episode (gla.rows.COLUMNS). row: the agent's row of a table of verdicts
    (gla.verdicts.COLUMNS); None if the agent was not run as it is.
    """

    rows: pd.DataFrame
    row: pd.Series | None

    @property
    def verdict(self) -> str | None:
        """The verdict, such as "learns from reward"."""
        return None if self.row is None else str(self.row["verdict"])

    def __str__(self) -> str:
        return watch.summary(self.rows) + ("" if self.row is None else f"\n{sentence(self.row)}")

    def plot(self, path: str) -> None:
        """Draws the return of each episode under each condition into a PNG, PDF or SVG file."""
        watch.plot_returns(self.rows, path)


def judge(
    agent: Any,
    env: EnvLike,
    episodes: int | None = None,
    seeds: int = 16,
    conditions: Sequence[str] = WHOLE,
    kwargs: dict[str, Any] | None = None,
    batched: bool = False,
    name: str | None = None,
    threads: int = 1,
    **settings: Any,
) -> Judgement:
    """Lets an agent act in contexts that begin empty, under controls and beside baselines, and says whether it learns from reward.

    agent: ``make(env, seed)``, which returns a new agent for each run (see ``gla.foreign.agent_of``), or an agent of ``gla.load``. The ``env`` that
    it is given shows spaces, and is not the one that is acted in. batched: whether ``make(env, seeds)`` returns one agent for all runs,
    whose observations, actions, rewards and flags then have a first axis of that length. env, episodes, seeds, kwargs, threads, settings:
    as in ``LoadedAgent.learn``. conditions: the agent, its controls and the baselines that are run. name: of the agent, in the rows.
    Raises ConfigError and UnsupportedEnvironment, each in one sentence, and whatever the agent itself raises.
    """
    if "agent" not in conditions:
        raise ConfigError(f"conditions: {', '.join(conditions)} (expected agent among them, which is judged)")
    if isinstance(agent, LoadedAgent):
        rows = agent.learn(env, episodes, seeds, conditions, kwargs, threads=threads, **settings)
        return judged(rows, seeds)
    if not callable(agent):
        raise ConfigError(
            f"agent: {agent!r} (expected a function make(env, seed) that returns an agent, or an agent of gla.load)"
        )
    entry, evaluation = asked(env, episodes, seeds, conditions, kwargs, settings)
    label, name = evaluation.environment, name or getattr(agent, "__name__", type(agent).__name__)
    frames = []
    with devices.threads(threads):
        for condition in conditions:
            progress = f"judge {label} {condition}"
            if condition in SIMPLE:
                (rows,) = runner(condition).run(entry, evaluation, progress, [])
            else:
                rows = run_agents(agent, entry, evaluation, condition, progress, batched)
            frames.append(rows.frame("baseline" if condition in SIMPLE else name, label, condition))
    return judged(pd.concat(frames, ignore_index=True), seeds)


def judged(rows: pd.DataFrame, seeds: int) -> Judgement:
    """Returns the judgement of one agent's rows in one environment. seeds: the number of its runs."""
    run = list(dict.fromkeys(rows["condition"]))
    if "agent" not in run:
        return Judgement(rows, None)
    one = {
        "name": rows["environment"].iloc[0], "split": "test", "set": None, "seeds": seeds, "tasks": 1, "references": [],
        "agents": {rows.loc[rows["condition"] == "agent", "agent"].iloc[0]: 1},
        "conditions": [c for c in run if c in IN_CONTEXT], "baselines": [c for c in run if c not in IN_CONTEXT],
    }  # fmt: skip
    return Judgement(rows, verdicts.judge([(one, rows)]).iloc[0])


def sentence(row: pd.Series) -> str:
    """Returns in one or two sentences what a row of verdicts says."""
    ends = f"its last fifth of episodes returns {row['last']:.4g} on average"
    if row["seeds"] > 1:
        ends += f" [{row['last_low']:.4g}, {row['last_high']:.4g}]"
    why = "every step pays the same, so that" if np.isfinite(row["control_last"]) else "and"
    controls = f"{row['control_last']:.4g} at most with hidden or shuffled rewards"
    said = {
        "learns from reward": f"{ends}, its first episode {row['first_episode']:.4g}, and the last fifth {controls}",
        "improves without reward": f"{ends}, its first episode {row['first_episode']:.4g}, but the last fifth {controls}",
        "does not improve": f"{ends}, and its first episode {row['first_episode']:.4g}",
        "no control": f"{ends}, its first episode {row['first_episode']:.4g}; {why} no control tells whether rewards are why",
        "controls harmed": f"{ends}, but hidden and shuffled rewards make it worse than it was, and so prove nothing",
        "too few episodes": f"{ends}, and fewer than half of the runs finished an episode under every condition",
    }[row["verdict"]]
    text = [f"{row['agent']}: {row['verdict']} ({said})."]
    calm = {c: row[c] for c in of_role("calm") if np.isfinite(row.get(c, np.nan))}
    if calm and row["last"] < (best := max(calm.values())):
        name = CONDITIONS[max(calm, key=calm.get)].label
        text.append(f"It ends below {name} ({best:.4g}).")
    if isinstance(row["best_online"], str):
        name = CONDITIONS[row["best_online"]].label
        low, high = row["beats_online_low"], row["beats_online_high"]
        side = "ahead of" if low > 0 else "below" if high < 0 else "level with"
        text.append(f"It ends {side} {name} from scratch in as many steps ({row['best_online_last']:.4g}).")
    return " ".join(text)


def _sample(entry: Environment) -> gym.Env:
    """Returns an environment with the spaces that its author gave it, for which agents are made."""
    env = make_environment(entry.id, **entry.kwargs)
    while isinstance(env, gym.wrappers.FlattenObservation | Counted):
        env = env.env
    return env


def run_agents(
    make: Callable, entry: Environment, evaluation: Evaluation, condition: str, label: str, batched: bool = False
) -> EpisodeRows:
    """Runs agents of the caller's, with all seeds side by side, and returns the rows. condition: ``agent``, a control or an ablation."""
    envs, observe = environments_of(entry, evaluation), runner(condition).observe
    sample = _sample(entry)
    kind = Together if batched else Apart
    context = kind(make, sample, evaluation.seeds)

    def tell(step: VectorStep, *_: Any) -> None:
        context.step = step
        observe(context, step.reward, step.terminated | step.truncated)

    try:
        return run_all(envs, evaluation, label, lambda seen, _t: context.act(seen), tell)
    finally:
        context.close()
        sample.close()
        envs.close()
