"""The table of conditions. One line for each; everything that tells conditions apart reads it here."""

from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple


class Condition(NamedTuple):
    """A row of the table of conditions.

    role: agent (as it is), control (its rewards carry no information), ablation (something else is taken from it), calm
    (needs neither learning nor data), online (learns from scratch while it acts), history (a source's own learning, on
    its own schedule), source (the end of learning histories), shown (the episodes of a prompt) or reference (has a score of 1). label: its name in a legend. colour, dashes: those of
    its line; colour None: the colour of the agent. reads: the files that it needs: histories of the environment, only those
    whose source writes policies, the reference, or the prompt's histories; empty if it needs none. usual:
    whether evaluations run it unless their entry says otherwise. fewest_seeds: with fewer seeds it would mean something else. tabular:
    whether it needs an environment whose observations and actions are Discrete.
    """

    role: str
    label: str
    dashes: Any
    colour: str | None = None
    reads: str = ""
    usual: bool = False
    fewest_seeds: int = 1
    tabular: bool = False


CONDITIONS = {
    "agent": Condition("agent", "agent", "-", usual=True),
    "rewards_hidden": Condition("control", "rewards hidden", "--", usual=True),
    # A single seed would be shown its own rewards.
    "rewards_shuffled": Condition("control", "rewards shuffled", ":", usual=True, fewest_seeds=2),
    "context_wiped": Condition("ablation", "context wiped", "-."),
    "random": Condition("calm", "random", (0, (1, 2)), "0.45", usual=True),
    "zero_action": Condition("calm", "zero action", (0, (3, 1, 1, 1)), "0.45", usual=True),
    "online_ppo": Condition("online", "PPO", "-", usual=True),
    "online_linear": Condition("online", "linear", (0, (4, 1)), usual=True),
    "online_ars": Condition("online", "random search", (0, (1, 1)), usual=True),
    "online_psrl": Condition("online", "posterior sampling", (0, (5, 2, 1, 2)), tabular=True),
    "online_rmax": Condition("online", "R-max", (0, (2, 1, 1, 1)), tabular=True),
    "online_rmax_three": Condition("online", "R-max, three tries", (0, (2, 1, 1, 1, 1, 1, 1, 1)), tabular=True),
    "online_rmax_memory": Condition("online", "R-max with memory", (0, (2, 1, 1, 1, 1, 1)), tabular=True),
    "online_q_ucb": Condition("online", "Q-learning with bounds", (0, (3, 1, 3, 1, 1, 1)), tabular=True),
    "online_search": Condition("online", "search", (0, (6, 1)), tabular=True),
    "online_ucb": Condition("online", "confidence bounds", (0, (1, 1, 3, 1)), tabular=True),
    "source_curve": Condition("history", "its source, learning", (0, (2, 1)), "0.3", "histories"),
    "ppo_final": Condition("source", "its source's end", (0, (3, 1)), "0.3", "policies"),
    "prompt": Condition("shown", "what it was shown", (0, (4, 2, 1, 2)), "0.3", "prompt"),
    "reference": Condition("reference", "PPO, trained for long", (0, (5, 2)), "black", "reference", usual=True),
}


def module(condition: str) -> str:
    """Returns the name of the module that holds a condition."""
    return f"gla.conditions.{condition}"


def runner(condition: str) -> ModuleType:
    """Imports the module that holds a condition, and returns it."""
    return import_module(module(condition))
