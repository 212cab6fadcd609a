"""The verdict by its rule, from rollouts whose returns are known."""

import numpy as np
import pandas as pd
import pytest

from gla import verdicts
from gla.files import CorruptFile, write_json
from gla.rows import COLUMNS
from gla.verdicts import data_efficiency, fifths, normalised, normalised_score, score_above_calm, verdict, verdict_v1

RNG = np.random.default_rng(0)
HIDDEN, SHUFFLED = "rewards_hidden", "rewards_shuffled"


def _frame(agent, condition, returns, network=0, vary=True):
    """Rows of returns (seeds, episodes) in episodes of ten steps; NaN: an episode that did not end."""
    returns = np.asarray(returns, float)
    seed, episode = np.indices(returns.shape)
    frame = pd.DataFrame({
        "agent": agent, "environment": "env", "condition": condition, "training_seed": network, "seed": seed.ravel(),
        "episode": episode.ravel(), "env_steps": 10 * (episode.ravel() + 1), "episode_return": returns.ravel(),
        "episode_length": 10, "rewards_vary": vary,
    })[list(COLUMNS)]  # fmt: skip
    return frame.dropna()


def _curve(low, high, seeds=16, episodes=10, noise=0.1):
    return np.linspace(low, high, episodes) + noise * RNG.standard_normal((seeds, episodes))


def _paths(tmp_path, frames, name="e"):
    paths = []
    for i, frame in enumerate(frames):
        paths.append(tmp_path / f"{name}{i}.parquet")
        frame.to_parquet(paths[-1], index=False)
    return paths


def _judged(frames, networks=1, seeds=16, conditions=("agent", HIDDEN, SHUFFLED), tasks=1, baselines=()):
    """Returns the row of an agent for these conditions, even if the frames hold others."""
    one = {
        "name": "e",
        "tasks": tasks,
        "seeds": seeds,
        "split": "test",
        "set": None,
        "references": [],
        "agents": {"a": networks},
        "conditions": conditions,
        "baselines": baselines,
    }
    return verdicts.judge([(one, pd.concat(frames, ignore_index=True))]).iloc[0]


def _table(tmp_path, frames, tasks=1, references=(), seeds=16, split="test"):
    one = {
        "name": "e",
        "tasks": tasks,
        "seeds": seeds,
        "split": split,
        "set": "examination",
        "references": list(references),
    }
    verdicts.table([one | _run(frames) | {"rollouts": _paths(tmp_path, frames)}], tmp_path / "v.csv")
    return pd.read_csv(tmp_path / "v.csv")


def _run(frames):
    """Returns the entry of a config that asks for exactly the conditions in the frames."""
    own = pd.concat([f for f in frames if (f["agent"] != "baseline").all()])
    baselines = [c for f in frames for c in f.loc[f["agent"] == "baseline", "condition"].unique()]
    return {
        "agents": {"a": int(own["training_seed"].max()) + 1},
        "conditions": list(own["condition"].unique()),
        "baselines": list(dict.fromkeys(baselines)),
    }


def _agent(agent, hidden=(0, 0.1), shuffled=(0, 0.1), **kwargs):
    conditions = {"agent": agent, HIDDEN: hidden, SHUFFLED: shuffled}
    return [_frame("a", c, _curve(*x, **kwargs)) for c, x in conditions.items()]


BASELINES = [_frame("baseline", "random", np.zeros((16, 3))), _frame("baseline", "zero_action", np.full((16, 3), 6.5)),
             _frame("baseline", "online_ppo", _curve(0, 2)), _frame("baseline", "online_ars", _curve(0, 5)),
             *(_frame("baseline", "reference", np.full((16, 3), 9.0 + 2 * run), run) for run in (0, 1))]  # fmt: skip


@pytest.mark.parametrize(
    "agent, hidden, shuffled, expected, before",
    [
        ((0, 8), (0, 1), (0, 1), "learns from reward", "learns from reward"),
        ((0, 8), (0, 8.2), (0, 1), "improves without reward", "improves without reward"),
        ((0, 8), (0, 1), (0, 8.2), "improves without reward", "improves without reward"),
        ((0, 0), (0, -3), (0, -3), "does not improve", "does not improve"),
        ((8, 0), (8, 0), (8, 0), "does not improve", "does not improve"),
        # It rises by more than its controls, which began higher, and ends below them.
        ((0, 2), (5, 5), (5, 5), "improves without reward", "learns from reward"),
        # Both controls are worse than at their own beginning: strange rewards may harm, and nothing is told of true ones.
        ((0, 2), (0, -4), (0, -4), "controls harmed", "learns from reward"),
        ((0, 2), (0, -4), (0, 0.1), "learns from reward", "learns from reward"),
    ],
)
def test_the_verdict_compares_levels_and_gains_with_every_control(tmp_path, agent, hidden, shuffled, expected, before):
    row = _table(tmp_path, [*_agent(agent, hidden, shuffled), *BASELINES]).iloc[0]
    assert (row["verdict"], row["verdict_v1"]) == (expected, before) and list(row.index) == list(verdicts.COLUMNS)
    assert row["set"] == "examination"
    # The first two and the last two of ten episodes, on a line.
    assert row["gain"] == pytest.approx((agent[1] - agent[0]) * 8 / 9, abs=0.1)
    assert row["gain_low"] < row["gain"] < row["gain_high"] and row["last_low"] < row["last"] < row["last_high"]
    assert row["control_gain"] == pytest.approx(max(h[1] - h[0] for h in (hidden, shuffled)) * 8 / 9, abs=0.1)
    assert row["first_episode"] == pytest.approx(agent[0], abs=0.1)


def test_an_agent_that_is_done_within_the_first_fifth_is_seen(tmp_path):
    """Its gain is nothing, and still it is above its first episode and its controls."""
    done = np.concatenate([np.zeros((16, 1)), np.full((16, 9), 8.0)], 1) + 0.1 * RNG.standard_normal((16, 10))
    done[:, 1] += 8.0  # so that even the first fifth's mean is the last one's
    frames = [_frame("a", "agent", done), *_agent((0, 0))[1:]]
    row = _table(tmp_path, frames).iloc[0]
    assert (row["verdict"], row["verdict_v1"]) == ("learns from reward", "does not improve")


def test_what_stands_beside_an_agent(tmp_path):
    row = _table(tmp_path, [*_agent((0, 8)), *BASELINES]).iloc[0]
    assert row["best_online"] == "online_ars" and row["best_online_last"] == row["online_ars"] == pytest.approx(
        4.7, abs=0.1
    )
    assert row["beats_online"] == pytest.approx(row["last"] - row["online_ars"], abs=1e-4)
    assert row["beats_online_low"] < row["beats_online"] < row["beats_online_high"]
    assert row["normalised_score"] == pytest.approx(row["last"] / 10, abs=0.02) and row["reference"] == 10
    assert row["score_above_calm"] == pytest.approx((row["last"] - 6.5) / 3.5, abs=1e-3)
    assert row["below_zero_action"] == 0 and (row["seeds"], row["training_seeds"]) == (16, 1)


def test_an_ablation_stands_beside_an_agent_and_decides_nothing(tmp_path):
    frames = [*_agent((0, 8)), _frame("a", "context_wiped", _curve(3, 3))]
    row = _table(tmp_path, frames).iloc[0]
    assert row["context_wiped"] == pytest.approx(3, abs=0.1) and row["verdict"] == "learns from reward"
    assert np.isnan(_table(tmp_path, frames[:-1])["context_wiped"].iloc[0])


def test_where_no_reference_was_run_its_sources_end_is_what_a_score_of_one_stands_for(tmp_path):
    end = _frame("baseline", "ppo_final", np.full((16, 3), 20.0))
    without = [f for f in BASELINES if f["condition"].iloc[0] != "reference"]
    row, alone = (_table(tmp_path, [*_agent((0, 8)), *own, end]).iloc[0] for own in (BASELINES, without))
    assert row["ppo_final"] == alone["ppo_final"] == 20 and np.isnan(alone["reference"])
    assert row["normalised_score"] == pytest.approx(row["last"] / 10, abs=0.02)
    assert alone["normalised_score"] == pytest.approx(alone["last"] / 20, abs=0.02)
    assert alone["score_above_calm"] == pytest.approx((alone["last"] - 6.5) / 13.5, abs=1e-3)


def test_the_references_uncertainty_is_in_the_scores_interval():
    """Two runs that end at 9 and 11: the agent's own returns do not vary at all."""
    last, calm, runs = (
        np.full((1, 16), 5.0),
        [np.zeros((1, 16)), np.full((1, 16), -3.0)],
        np.repeat([[9.0], [11.0]], 16, 1),
    )
    score, low, high = score_above_calm(last, calm, runs, 1)
    assert score == 0.5 and (low, high) == (pytest.approx(5 / 11), pytest.approx(5 / 9))
    assert np.isnan(score_above_calm(last, [np.full((1, 16), 20.0)], runs, 1)).all()  # PPO below standing still
    score, low, high = normalised_score(last, calm[0], runs, 1)
    assert score == 0.5 and (low, high) == (pytest.approx(5 / 11), pytest.approx(5 / 9))
    assert np.isnan(normalised_score(last, np.full((1, 16), 20.0), runs, 1)).all()


def test_without_controls_nothing_is_said_of_reward(tmp_path):
    row = _table(tmp_path, [_frame("a", "agent", _curve(0, 8))]).iloc[0]
    assert (
        row["verdict"] == row["verdict_v1"] == "no control"
        and np.isnan(row["normalised_score"])
        and np.isnan(row["random"])
    )


def test_rewards_that_never_differ_have_no_control(tmp_path):
    frames = [frame.assign(rewards_vary=False) for frame in _agent((0, 8))]
    assert _table(tmp_path, frames)["verdict"].iloc[0] == "no control"


def test_gains_are_paired_by_seed(tmp_path):
    """Seeds differ by far more than the agent and its control do, which pairing takes away."""
    offset = 100 * RNG.standard_normal((16, 1)) * np.linspace(0, 1, 10)
    frames = [_frame("a", "agent", 300 + offset + _curve(0, 400)), _frame("a", HIDDEN, offset + 300 + _curve(0, 399))]
    row = _table(tmp_path, frames).iloc[0]
    assert row["verdict"] == row["verdict_v1"] == "learns from reward"


def test_networks_that_disagree_do_not_learn_from_reward(tmp_path):
    """Two of five networks learn, and each of them certainly does, but nothing is known of a further network."""
    frames = [_frame("a", c, _curve(0, end if c == "agent" else 0.1), network)
              for network, end in enumerate((8, 0.1, 0.1, 8, 0.1)) for c in ("agent", HIDDEN)]  # fmt: skip
    row = _table(tmp_path, frames).iloc[0]
    assert row["training_seeds"] == 5 and row["verdict"] == "does not improve" and row["gain_low"] < 0.5
    agreeing = [_frame("a", c, _curve(0, 8 if c == "agent" else 0.1), n) for n in range(5) for c in ("agent", HIDDEN)]
    assert _table(tmp_path, agreeing)["verdict"].iloc[0] == "learns from reward"


def test_probabilities_are_corrected_over_the_rows_of_a_split(tmp_path):
    """An agent that barely passes alone does not among forty, and validation rows count for themselves."""
    noise = np.random.default_rng(4).standard_normal((16, 10))
    weak = [_frame("a", "agent", 1.3 * (np.arange(10) > 0) + noise), _frame("a", HIDDEN, 1e-3 * noise[::-1])]
    one = {"tasks": 1, "seeds": 16, "set": None, "references": [], "rollouts": _paths(tmp_path, weak, "w")} | _run(weak)
    flat = [_frame("a", "agent", noise), _frame("a", HIDDEN, noise[::-1])]
    other = one | {"rollouts": _paths(tmp_path, flat, "f"), "split": "test"}
    for others, expected in ((0, "learns from reward"), (40, "improves without reward")):
        both = [one | {"name": "w", "split": "test"}, one | {"name": "v", "split": "validation"}]
        verdicts.table([*both, *(other | {"name": f"f{i}"} for i in range(others))], tmp_path / "v.csv")
        found = pd.read_csv(tmp_path / "v.csv").set_index("evaluation")
        assert (
            found.loc["v", "p_holm"] == found.loc["v", "p_value"] and found.loc["v", "verdict"] == "learns from reward"
        )
        assert found.loc["w", "verdict"] == expected and 0.025 / 41 < found.loc["w", "p_value"] < 0.025
        assert found.loc["w", "p_holm"] == pytest.approx((others + 1) * found.loc["w", "p_value"], rel=1e-3)


def test_the_rules_at_their_edges():
    assert verdict_v1(0.0, [1.0]) == verdict_v1(np.nan, [1.0]) == "does not improve"
    assert verdict_v1(0.1, [0.0]) == verdict_v1(0.1, [1.0, np.nan]) == "improves without reward"
    assert verdict_v1(0.1, [1.0, 0.1]) == "learns from reward" and verdict_v1(0.1, []) == "no control"
    assert verdict(0.0, np.nan, 0, 2) == verdict(0.0, 0.025, 0, 2) == "does not improve"
    assert verdict(0.025, 0.0, 0, 2) == verdict(np.nan, 0.0, 0, 2) == "improves without reward"
    assert verdict(0.0, 0.0, 1, 2) == "learns from reward" and verdict(0.0, 0.0, 2, 2) == "controls harmed"


@pytest.mark.parametrize("missing", [0, 7, 15])
def test_a_seed_that_finished_no_episode_leaves_the_others_where_they_are(tmp_path, missing):
    """Two tasks that differ by 100: shifted by a seed, each would be measured against the other."""
    offset = np.where(np.arange(16) % 2, 100.0, 0.0)[:, None]
    agent, hidden, random, best = (offset + _curve(*x) for x in ((0, 8), (0, 0.1), (0, 0), (10, 10)))
    agent[missing] = hidden[missing] = np.nan
    frames = [_frame("a", "agent", agent), _frame("a", HIDDEN, hidden), _frame("baseline", "random", random),
              _frame("baseline", "reference", best)]  # fmt: skip
    row = _table(tmp_path, frames, tasks=2).iloc[0]
    assert row["verdict"] == "learns from reward" and row["fewest_episodes"] == 0
    assert row["seeds_by_condition"] == f"agent 15, {HIDDEN} 15, random 16, reference 16"
    assert row["score_above_calm"] == pytest.approx(0.76, abs=0.1)


def test_where_most_seeds_finished_nothing_there_is_no_verdict(tmp_path):
    curve = _curve(0, 8)
    curve[3:] = np.nan
    assert (
        _table(tmp_path, [_frame("a", "agent", curve), _frame("a", HIDDEN, _curve(0, 0))])["verdict"].iloc[0]
        == "too few episodes"
    )
    assert (
        _table(tmp_path, [_frame("a", "agent", _curve(0, 8)), _frame("a", HIDDEN, curve)])["verdict"].iloc[0]
        == "too few episodes"
    )


def _where(frame, *seeds):
    return frame[frame["seed"].isin(seeds)]


def test_seeds_that_no_two_networks_share_prove_nothing():
    """Each network's control finished in half of the seeds, the other half: no difference is known of both."""
    frames = [_frame("a", "agent", _curve(0, 9, 8), n) for n in (0, 1)]
    frames += [_where(_frame("a", HIDDEN, _curve(100, 110, 8), n), *range(4 * n, 4 * n + 4)) for n in (0, 1)]
    assert _judged(frames, 2, 8, ("agent", HIDDEN))["verdict"] == "too few episodes"


def test_a_control_or_a_network_without_any_episode_does_not_vanish():
    full = [_frame("a", "agent", _curve(0, 8)), _frame("a", SHUFFLED, _curve(0, 0.1))]
    assert _judged(full)["verdict"] == "too few episodes"  # rewards_hidden finished nothing
    assert _judged([f for f in full if f["condition"].iloc[0] != "agent"])["verdict"] == "too few episodes"
    both = [*full, _frame("a", HIDDEN, _curve(0, 0.1))]
    assert (
        _judged(both)["verdict"] == "learns from reward" and _judged(both, networks=3)["verdict"] == "too few episodes"
    )
    lacking = [
        _frame("a", c, _curve(0, 8 if c == "agent" else 0.1), n)
        for n in range(3)
        for c in ("agent", HIDDEN)
        if (n, c) != (2, HIDDEN)
    ]
    assert _judged(lacking, 3, conditions=("agent", HIDDEN))["verdict"] == "too few episodes"


def test_a_baseline_without_any_episode_does_not_vanish():
    frames = [*_agent((0, 8)), *(f for f in BASELINES if f["condition"].iloc[0] not in ("random", "online_ppo"))]
    row = _judged(frames, baselines=("random", "zero_action", "online_ppo", "online_ars", "reference"))
    assert row["seeds_by_condition"].endswith(", online_ars 16, online_ppo 0, random 0, reference 16, zero_action 16")
    assert row["best_online"] == "online_ars" and np.isnan(row["random"]) and row["score_above_calm"] > 0
    alone = _judged(_agent((0, 8)), baselines=("random", "zero_action", "online_ppo", "reference"))
    assert alone["verdict"] == "learns from reward" and alone["seeds_by_condition"].endswith(
        ", reference 0, zero_action 0"
    )


@pytest.mark.parametrize("which", [0, -1])
def test_a_seed_that_the_evaluation_has_not_is_named_with_its_file(tmp_path, which):
    frames = [*_agent((0, 8)), BASELINES[0]]
    frames[which] = frames[which].replace({"seed": {15: 100}})
    with pytest.raises(CorruptFile) as error:
        _table(tmp_path, frames)
    name = f"e{which % len(frames)}.parquet"
    assert (
        str(error.value)
        == f"{tmp_path / name}: seed 100 (expected seeds below 16, as many as the evaluation has); delete it, and Snakemake makes it again"
    )


def test_a_test_that_cannot_be_made_is_no_pass():
    """One seed in which both finished, and the control far above the agent there."""
    frames = [_frame("a", "agent", _curve(0, 9, 2)), _where(_frame("a", HIDDEN, _curve(100, 100, 2)), 0)]
    row = _judged(frames, seeds=2, conditions=("agent", HIDDEN))
    assert np.isnan(row["p_value"]) and row["verdict"] != "learns from reward"
    twice = [_frame("a", "agent", [[0, 1.0]] * 2), _frame("a", HIDDEN, [[0, 0.0]] * 2)]  # the same gain in both seeds
    assert _judged(twice, seeds=2, conditions=("agent", HIDDEN))["verdict"] == "does not improve"


def test_standing_still_is_compared_in_the_same_task():
    offset = np.where(np.arange(16) % 2, 100.0, 0.0)[:, None]
    frames = [_frame("a", "agent", offset + _curve(2, 2)), _frame("baseline", "zero_action", offset + _curve(1, 1))]
    assert _judged(frames, tasks=2, conditions=("agent",), baselines=("zero_action",))["below_zero_action"] == 0


def test_a_fifth_has_at_least_one_episode_and_a_seed_without_any_is_missing():
    frame = _frame("a", "agent", [[1, 2, 3, 4, 5], [5, 5, 5, 5, 7], [0, 0, 0, 0, 0]])
    first, last = fifths(frame[(frame["seed"] != 1)], 4)
    np.testing.assert_array_equal(first, [[1, np.nan, 0, np.nan]])
    np.testing.assert_array_equal(last, [[5, np.nan, 0, np.nan]])


def test_scores_are_normalised_by_task():
    random, best = np.array([[0.0, 10.0, 0.0, 10.0]]), np.array([[1.0, 30.0]])
    np.testing.assert_allclose(normalised(np.array([[0.5, 20.0, 1.0, 10.0]]), random, best, 2), [[0.5, 0.5, 1.0, 0.0]])
    assert np.isnan(normalised(np.array([[1.0]]), np.array([[1.0]]), np.array([[1.0]]), 1)).all()


def test_data_efficiency_is_the_ratio_of_steps_to_the_same_return(tmp_path):
    path = tmp_path / "d.json"
    write_json(path, {"mean_return": [[None, 1, 2, 3, 4], [None, 1, 2, 3, 6]], "num_envs": 5, "steps_per_update": 8})
    frame = _frame("a", "agent", [[0, 3, 3, 3, 3]])  # at 3 after 20 steps; the sources after 4 updates of 40 steps
    assert data_efficiency(frame, 3.0, [path]) == 160 / 20
    assert np.isnan(data_efficiency(frame, 6.0, [path])) and np.isnan(data_efficiency(frame, 3.0, []))


def test_an_agent_that_is_not_shown_to_learn_has_no_data_efficiency(tmp_path):
    """However early it is where it ends: it began there."""
    path = tmp_path / "d.json"
    write_json(path, {"mean_return": [[None, 1, 9]], "num_envs": 5, "steps_per_update": 8})
    calm = [f for f in BASELINES if f["condition"].iloc[0] in ("random", "reference")]
    learned = _table(tmp_path, [*_agent((0, 8)), *calm], references=[path]).iloc[0]
    assert learned["verdict"] == "learns from reward" and learned["data_efficiency"] > 0
    replayed = [_frame("a", c, _curve(0, 8)) for c in ("agent", HIDDEN, SHUFFLED)]
    row = _table(tmp_path, [*replayed, *calm], references=[path]).iloc[0]
    assert row["verdict"] == "improves without reward" and np.isnan(row["data_efficiency"])


def test_an_agent_that_ends_below_doing_nothing_has_no_data_efficiency(tmp_path):
    path = tmp_path / "d.json"
    write_json(path, {"mean_return": [[1, 4, 9]], "num_envs": 5, "steps_per_update": 8})
    assert np.isnan(_table(tmp_path, [*_agent((0, 5)), *BASELINES], references=[path])["data_efficiency"].iloc[0])
    assert _table(tmp_path, [*_agent((0, 8)), *BASELINES], references=[path])["data_efficiency"].iloc[0] > 0
