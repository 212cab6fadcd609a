"""The table of conditions, and everything that is made from it."""

import inspect
from pathlib import Path
from typing import get_args

import pytest

from gla import conditions, verdicts
from gla.conditions.kinds import CONDITIONS, module, runner
from gla.conditions.roles import BASELINES, IN_CONTEXT, of_role
from gla.config.evaluations import Evaluation
from gla.figures import in_context
from gla.figures.panels import STEADY

OF_AGENTS, OF_BASELINES = (
    ("agent", "control", "ablation"),
    ("calm", "online", "history", "source", "shown", "reference"),
)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_has_a_module_with_the_function_that_its_role_needs(condition):
    role, found = CONDITIONS[condition].role, runner(condition)
    assert role in (*OF_AGENTS, *OF_BASELINES) and found.__name__ == module(condition) and found.__doc__
    needed, other, parameters = (
        ("observe", "run", ("context", "reward", "done"))
        if role in OF_AGENTS
        else ("run", "observe", ("entry", "evaluation", "label", "files"))
    )
    assert not hasattr(found, other)
    taken = inspect.signature(getattr(found, needed)).parameters.values()
    assert tuple(p.name for p in taken if p.kind is not p.VAR_KEYWORD) == parameters


def test_the_folder_has_the_conditions_of_the_table_and_nothing_else():
    files = {p.name for p in Path(conditions.__file__).parent.iterdir() if p.name != "__pycache__"}
    assert files == {"__init__.py", "kinds.py", "roles.py", *(f"{name}.py" for name in CONDITIONS)}


def test_roles_divide_the_table_in_its_order():
    assert of_role(*OF_AGENTS, *OF_BASELINES) == tuple(CONDITIONS)
    assert (*IN_CONTEXT, *BASELINES) == (*of_role(*OF_AGENTS), *of_role(*OF_BASELINES)) and of_role("agent") == (
        "agent",
    )
    assert of_role("control") == ("rewards_hidden", "rewards_shuffled") and of_role("ablation") == ("context_wiped",)
    assert of_role("calm", "online") == (
        "random",
        "zero_action",
        "online_ppo",
        "online_linear",
        "online_ars",
        "online_psrl",
        "online_rmax",
        "online_rmax_three",
        "online_rmax_memory",
        "online_q_ucb",
        "online_search",
        "online_ucb",
    )
    assert of_role("history") == ("source_curve",)
    assert of_role() == of_role("no such role") == ()


def test_an_evaluation_takes_each_where_it_belongs():
    taken = {key: get_args(get_args(Evaluation.model_fields[key].annotation)[0]) for key in ("conditions", "baselines")}
    assert taken == {"conditions": IN_CONTEXT, "baselines": BASELINES}
    Evaluation(environment="e", env_steps=1, conditions=list(IN_CONTEXT), baselines=list(BASELINES))
    for key, other in (("conditions", BASELINES[0]), ("baselines", IN_CONTEXT[0])):
        with pytest.raises(ValueError, match=f"{key}.0"):
            Evaluation(environment="e", env_steps=1, **{key: [other]})


def test_verdicts_have_a_column_for_each_baseline_and_ablation():
    assert set(verdicts.COLUMNS) >= {*of_role("calm", "online", "history", "source", "reference"), *of_role("ablation")}
    assert of_role("control") == verdicts.CONTROLS and set(verdicts.ENDS) == {*of_role("source"), *of_role("reference")}
    assert verdicts.ENDS[0] == "reference" and len(set(verdicts.COLUMNS)) == len(verdicts.COLUMNS)


def test_figures_have_a_line_for_each():
    assert {*in_context.CURVES, *STEADY} == {*CONDITIONS, "optimal"} and not set(in_context.CURVES) & set(STEADY)
    assert len({c.label for c in CONDITIONS.values()}) == len(CONDITIONS)
    together = [STEADY[name][1:] for name in STEADY]  # colour and dashes
    assert len(set(together)) == len(together)
    assert len({CONDITIONS[name].dashes for name in IN_CONTEXT}) == len(IN_CONTEXT)
