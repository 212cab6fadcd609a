"""The table of conditions. One line for each; everything that tells conditions apart reads it here."""

from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple


class Condition(NamedTuple):
    """What a condition is.

    role: agent (as it is), control (its rewards tell it nothing), ablation (something else is taken from it), calm (needs
    neither learning nor data), online (learns from scratch while it acts), source (the end of learning histories), shown (what a
    prompt holds) or reference (what a score of 1 stands for). label: its name in a legend. colour, dashes: of its line; colour None: the
    agent's own. reads: what its files are: the environment's histories, those whose source writes policies, the reference, or the
    prompt's histories; empty, where it has none.
    """

    role: str
    label: str
    dashes: Any
    colour: str | None = None
    reads: str = ""


CONDITIONS = {
    "agent": Condition("agent", "agent", "-"),
    "rewards_hidden": Condition("control", "rewards hidden", "--"),
    "rewards_shuffled": Condition("control", "rewards shuffled", ":"),
    "context_wiped": Condition("ablation", "context wiped", "-."),
    "random": Condition("calm", "random", (0, (1, 2)), "0.45"),
    "zero_action": Condition("calm", "zero action", (0, (3, 1, 1, 1)), "0.45"),
    "online_ppo": Condition("online", "PPO", "-"),
    "online_linear": Condition("online", "linear", (0, (4, 1))),
    "online_ars": Condition("online", "random search", (0, (1, 1))),
    "source_curve": Condition("online", "its source", (0, (2, 1)), reads="histories"),
    "ppo_final": Condition("source", "its source's end", (0, (3, 1)), "0.3", "policies"),
    "prompt": Condition("shown", "what it was shown", (0, (4, 2, 1, 2)), "0.3", "prompt"),
    "reference": Condition("reference", "PPO, trained for long", (0, (5, 2)), "black", "reference"),
}


def module(condition: str) -> str:
    """The module that holds a condition."""
    return f"gla.conditions.{condition}"


def runner(condition: str) -> ModuleType:
    """The module that holds a condition, imported."""
    return import_module(module(condition))
