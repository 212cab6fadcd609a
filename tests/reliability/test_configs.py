"""A few wrong configs of every kind (all of them: ``make test-slow``)."""

import pytest
from configs import texts, wrong_configs


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_configs_are_refused_in_one_line_quickly_and_in_little_memory(tmp_path, every):
    outcome = wrong_configs(tmp_path / "w", every)
    assert outcome.injected == len(texts()[::every]) > 150 // every
    assert outcome.noticed == outcome.injected and outcome.lost == 0, outcome
