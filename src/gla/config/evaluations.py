"""Evaluations: agents and baselines in one environment, under conditions that tell whether an agent learns."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gla.conditions.kinds import CONDITIONS
from gla.conditions.roles import BASELINES, IN_CONTEXT, usual
from gla.options import Count, Fraction, Options, Steps


class Prompt(Options):
    """What contexts are shown before agents act: steps of recorded histories in the tasks of the evaluation."""

    source: str
    """Name of a source in the evaluation's environment. Test seed k is shown one of its lifetimes that had its task."""
    part: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 1.0]
    """The part of the lifetime that the steps are from: [0.0, 0.1] shows a beginner, [0.9, 1.0] an expert."""
    steps: Count = 60
    """Steps that are shown; with the last one an episode ends."""

    @model_validator(mode="after")
    def _rising(self):
        if self.part[0] >= self.part[1]:
            raise ValueError(f"part: {self.part} (expected [low, high] with low < high)")
        return self


class Evaluation(Options):
    """Agents and baselines in one environment, from an empty context or from a prompt."""

    environment: str
    """Name of an environment. Test seed k has its task k % n."""
    split: Literal["test", "validation", "training"] = "test"
    """Whose tasks, seeds and projections are used: choices are made on validation, test is reported, and training has the
    tasks that were trained on."""
    agents: list[str] = []
    """Names of agents."""
    conditions: list[Literal[*IN_CONTEXT]] = usual(IN_CONTEXT)
    """What each agent is run under: as it is, and under the controls that tell whether it learns from reward."""
    projections: Literal["unseen", "seen"] = "unseen"
    """unseen: drawn for tests alone; seen: among those of the agent's own training."""
    baselines: list[Literal[*BASELINES]] = usual(BASELINES)
    """What is run beside the agents. online_*: learners from scratch with as many steps and with settings of their own;
    source_curve: the environment's histories as they were lived; ppo_final: the last policies of those; prompt: the episodes that
    the prompt shows; reference: PPO that was trained for long on the tasks that are evaluated."""
    seeds: Annotated[int, Field(ge=1, le=2**20)] = 64
    """Test seeds, side by side."""
    episodes: Count | None = None
    """Episodes of each seed (give either this or env_steps)."""
    env_steps: Steps | None = None
    """Environment steps of each seed (give either this or episodes)."""
    context_length: Steps = 4000
    """Most recent transitions that attention reaches back (the paper: the last 4 thousand). A recurrent model keeps of all of
    them what its state has room for."""
    eta: Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """What the agent is told at the first and at the last step, linear in between. Ignored by agents without eta."""
    prompt: Prompt | None = None
    """What contexts are shown before the first step; none: they begin empty."""
    temperature: Annotated[float, Field(ge=0, le=1e3)] = 1.0
    """Factor of the action noise; for discrete actions, divisor of the logits."""
    seed: Annotated[int, Field(ge=0, lt=2**20)] = 0
    """Seed of environments, projections and action noise."""

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
