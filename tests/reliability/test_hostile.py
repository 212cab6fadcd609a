"""Files that mean harm: some of each kind, all of them with ``make test-slow``."""

import hostile
import pytest
from injections import Tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("hostile") / "tree")


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_files_that_mean_harm_are_refused_in_a_second_and_500_megabytes(tree, tmp_path, every):
    outcome = hostile.refused(tree, tmp_path / "w", hostile.CASES[::every])
    assert outcome == (len(hostile.CASES[::every]),) * 2 + (0,)
