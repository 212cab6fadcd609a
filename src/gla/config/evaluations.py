"""Evaluations: agents and baselines in one environment, under conditions that tell whether an agent learns."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gla.conditions.kinds import CONDITIONS
from gla.conditions.roles import BASELINES, IN_CONTEXT, usual
from gla.options import Count, Fraction, Options, Steps


class Prompt(Options):
    """Steps of recorded histories, in the tasks of the evaluation, that contexts are shown before agents act."""

    source: str
    """Name of a source in the evaluation's environment. Test seed k is shown a lifetime of that source with the same task."""
    part: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 1.0]
    """The part of the lifetime that the steps are taken from: [0.0, 0.1] shows a beginner, [0.9, 1.0] an expert."""
    steps: Count = 60
    """Number of steps that are shown. An episode ends with the last one."""
    expert: bool = False
    """Whether agents that can be told so are told that an expert took these steps."""

    @model_validator(mode="after")
    def _rising(self):
        if self.part[0] >= self.part[1]:
            raise ValueError(f"part: {self.part} (expected [low, high] with low < high)")
        return self


class Cooling(Options):
    """A temperature that falls, so that an agent explores at first and keeps to what it has found later."""

    steps: Steps
    """Number of an agent's first steps in which its temperature falls linearly."""
    temperature: Annotated[float, Field(ge=0, le=1e3)]
    """The temperature from then on."""


class Evaluation(Options):
    """Agents and baselines in one environment, from an empty context or from a prompt."""

    environment: str
    """Name of an environment. Test seed k has task k % n of the n tasks of the split."""
    split: Literal["test", "validation", "training"] = "test"
    """Which tasks, seeds and projections are used. Choices are made on validation, and test is reported; training has the tasks that
    agents were trained on."""
    set: Literal["development", "examination"] | None = None
    """What the environment is for: choices were made on it (development), or none was (examination). A column of the verdicts."""
    agents: list[str] = []
    """Names of agents."""
    conditions: list[Literal[*IN_CONTEXT]] = usual(IN_CONTEXT)
    """Conditions that each agent is run under: as it is (agent), with its rewards hidden or shuffled, which shows whether it learns
    from reward, and with its context emptied after each episode (context_wiped)."""
    projections: Literal["unseen", "seen"] = "unseen"
    """unseen: projections that no agent was trained with; seen: projections that the agent was trained with."""
    baselines: list[Literal[*BASELINES]] = usual(BASELINES)
    """Baselines that agents are compared with. random: uniform actions; zero_action: always the zero vector, or action 0;
    online_*: learners from scratch that take as many steps; source_curve: the environment's learning histories; ppo_final:
    the last policies of these histories; prompt: the episodes that the prompt shows; reference: PPO that was trained for long
    on the tasks that are evaluated."""
    seeds: Annotated[int, Field(ge=1, le=2**20)] = 64
    """Number of test seeds."""
    episodes: Count | None = None
    """Number of episodes in each seed (give either this or env_steps)."""
    env_steps: Steps | None = None
    """Number of environment steps in each seed (give either this or episodes)."""
    context_length: Steps = 4000
    """How many of the last transitions attention can see (4 thousand in the paper). A recurrent model sees all of them, and
    keeps as much as its state can hold."""
    eta: Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """The value of eta that the agent is told at the first step and at the last one; it changes linearly in between. Agents without
    eta ignore it."""
    prompt: Prompt | None = None
    """The steps that contexts are shown before agents act. By default contexts begin empty."""
    temperature: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    """Factor on the action noise. Logits of discrete actions are divided by it."""
    cooling: Cooling | None = None
    """How agents' temperature changes from the first step on. By default it does not change."""
    seed: Annotated[int, Field(ge=0, lt=2**20)] = 0
    """Random seed of environments, projections and action noise."""

    @model_validator(mode="after")
    def _enough_seeds(self):
        for condition in self.conditions:
            if self.seeds < (fewest := CONDITIONS[condition].fewest_seeds):
                raise ValueError(
                    f"seeds {self.seeds} with {condition} (expected at least {fewest} seeds, or no {condition})"
                )
        return self

    @model_validator(mode="after")
    def _one_length(self):
        if (self.episodes is None) == (self.env_steps is None):
            raise ValueError(f"episodes {self.episodes} and env_steps {self.env_steps} (expected exactly one of them)")
        return self
