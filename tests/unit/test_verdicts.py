"""The verdict by its rule, from rollouts whose returns are known."""

import numpy as np
import pandas as pd
import pytest

from gla import verdicts
from gla.files import write_json
from gla.verdicts import data_efficiency, fifths, normalised, verdict

RNG = np.random.default_rng(0)


def _frame(agent, condition, returns):
    """Rows of returns (seeds, episodes) in episodes of ten steps."""
    returns = np.asarray(returns, float)
    seed, episode = np.indices(returns.shape)
    return pd.DataFrame({
        "agent": agent, "environment": "env", "condition": condition, "seed": seed.ravel(), "episode": episode.ravel(),
        "env_steps": 10 * (episode.ravel() + 1), "episode_return": returns.ravel(), "episode_length": 10,
    })  # fmt: skip


def _curve(low, high, seeds=16, episodes=10, noise=0.1):
    return np.linspace(low, high, episodes) + noise * RNG.standard_normal((seeds, episodes))


def _table(tmp_path, frames, tasks=1, digests=()):
    paths = []
    for i, frame in enumerate(frames):
        paths.append(tmp_path / f"{i}.parquet")
        frame.to_parquet(paths[-1], index=False)
    verdicts.table([{"name": "e", "tasks": tasks, "rollouts": paths, "digests": list(digests)}], tmp_path / "v.csv")
    return pd.read_csv(tmp_path / "v.csv")


BASELINES = [_frame("baseline", "random", np.zeros((16, 3))), _frame("baseline", "zero_action", np.full((16, 3), 6.5)),
             _frame("baseline", "ppo", _curve(0, 2)), _frame("baseline", "ppo_final", np.full((16, 3), 10.0))]  # fmt: skip


@pytest.mark.parametrize(
    "agent, hidden, shuffled, expected",
    [
        ((0, 8), (0, 1), (0, 1), "learns from reward"),
        ((0, 8), (0, 8.2), (0, 1), "improves without reward"),
        ((0, 8), (0, 1), (0, 8.2), "improves without reward"),
        ((0, 0), (0, -3), (0, -3), "does not improve"),
        ((8, 0), (8, 0), (8, 0), "does not improve"),
    ],
)
def test_the_verdict_compares_the_gain_with_zero_and_with_every_control(tmp_path, agent, hidden, shuffled, expected):
    frames = [_frame("a", c, _curve(*x)) for c, x in
              (("agent", agent), ("rewards_hidden", hidden), ("rewards_shuffled", shuffled))]  # fmt: skip
    row = _table(tmp_path, [*frames, *BASELINES]).iloc[0]
    assert row["verdict"] == expected and list(row.index) == list(verdicts.COLUMNS)
    # The first two and the last two of ten episodes, on a line.
    assert row["gain"] == pytest.approx((agent[1] - agent[0]) * 8 / 9, abs=0.1)
    assert row["gain_low"] < row["gain"] < row["gain_high"]
    assert row["control_gain"] == pytest.approx(max(h[1] - h[0] for h in (hidden, shuffled)) * 8 / 9, abs=0.1)
    assert row["normalised_score"] == pytest.approx(row["last"] / 10, abs=0.02)
    assert row["below_zero_action"] == (0 if row["last"] > 6.5 else 16) and row["seeds"] == 16


def test_without_controls_nothing_is_said_of_reward(tmp_path):
    row = _table(tmp_path, [_frame("a", "agent", _curve(0, 8))]).iloc[0]
    assert row["verdict"] == "no control" and np.isnan(row["normalised_score"]) and np.isnan(row["random"])


def test_gains_are_paired_by_seed(tmp_path):
    """Seeds differ by far more than the agent and its control do, which pairing takes away."""
    offset = 100 * RNG.standard_normal((16, 1)) * np.linspace(0, 1, 10)
    frames = [_frame("a", "agent", 300 + offset + _curve(0, 400)), _frame("a", "rewards_hidden", offset + _curve(0, 399))]
    assert _table(tmp_path, frames)["verdict"].iloc[0] == "learns from reward"


def test_the_rule_at_its_edges():
    assert verdict(0.0, [1.0]) == verdict(np.nan, [1.0]) == "does not improve"
    assert verdict(0.1, [0.0]) == verdict(0.1, [1.0, np.nan]) == "improves without reward"
    assert verdict(0.1, [1.0, 0.1]) == "learns from reward" and verdict(0.1, []) == "no control"


def test_a_fifth_has_at_least_one_episode_and_a_seed_without_any_is_missing():
    frame = _frame("a", "agent", [[1, 2, 3, 4, 5], [5, 5, 5, 5, 7], [0, 0, 0, 0, 0]])
    first, last = fifths(frame[(frame["seed"] != 1)])
    np.testing.assert_array_equal(first, [1, np.nan, 0])
    np.testing.assert_array_equal(last, [5, np.nan, 0])


def test_scores_are_normalised_by_task():
    random, best = np.array([0.0, 10.0, 0.0, 10.0]), np.array([1.0, 30.0])
    np.testing.assert_allclose(normalised(np.array([0.5, 20.0, 1.0, 10.0]), random, best, 2), [0.5, 0.5, 1.0, 0.0])
    assert np.isnan(normalised(np.array([1.0]), np.array([1.0]), np.array([1.0]), 1)).all()


def test_data_efficiency_is_the_ratio_of_steps_to_the_same_return(tmp_path):
    path = tmp_path / "d.json"
    write_json(path, {"mean_return": [[None, 1, 2, 3, 4], [None, 1, 2, 3, 6]], "streams": 5, "steps_per_update": 8})
    frame = _frame("a", "agent", [[0, 3, 3, 3, 3]])  # at 3 after 20 steps; the sources after 4 updates of 40 steps
    assert data_efficiency(frame, 3.0, [path]) == 160 / 20
    assert np.isnan(data_efficiency(frame, 6.0, [path])) and np.isnan(data_efficiency(frame, 3.0, []))
