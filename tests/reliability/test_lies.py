"""A few environments that lie (all of them: ``make test-slow``, ``python tests/reliability/injections.py``)."""

import environments
import pytest
from injections import Tree


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_an_environment_that_lies_is_named_and_harms_nothing(tmp_path, every):
    outcome = environments.lies(Tree(tmp_path / "tree"), tmp_path / "w", every)
    assert outcome.injected == len(environments.STAGES_AND_LIES[::every]) > 0
    assert outcome.noticed == outcome.injected and outcome.lost == 0, outcome
