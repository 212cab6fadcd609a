import inspect
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gla.code import documentation
from gla.figures import drawing, in_context, normalised, scaling, scores, sources, training, training_tasks
from gla.figures.kinds import FIGURES
from gla.files import CorruptFile, fingerprint
from gla.options import ConfigError
from gla.rows import COLUMNS
from gla.statistics import mean_interval


def _figure(kind, **options):
    return FIGURES.options(kind)(kind=kind, **options)


def _panel(*evaluations, **kwargs):
    return _figure("in_context", panels=[{"evaluation": e} for e in evaluations], **kwargs)


def _rollouts(folder, name, agent, condition, returns, length=10, environment="e", network=0):
    """A Parquet file of seeds whose episodes have these returns (seeds, episodes)."""
    rows = [
        (agent, environment, condition, network, s, i, (i + 1) * length, float(r), length, True)
        for s, own in enumerate(returns) for i, r in enumerate(own)
    ]  # fmt: skip
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


@pytest.fixture
def rollouts(tmp_path):
    """One panel's files: an agent, hidden rewards, PPO, random and zero action, of three seeds."""
    rising = np.arange(4.0) + np.array([[0.0], [1.0], [2.0]])
    files = {("x", "agent"): rising, ("x", "rewards_hidden"): np.ones((3, 4)), ("baseline", "online_ppo"): rising / 2,
             ("baseline", "online_ars"): rising / 3,
             ("baseline", "random"): np.ones((3, 4)) * [[1], [2], [3]], ("baseline", "zero_action"): np.zeros((3, 4)),
             ("baseline", "ppo_final"): np.full((3, 4), 6.0)}  # fmt: skip
    return [_rollouts(tmp_path, f"{i}", *key, returns) for i, (key, returns) in enumerate(files.items())]


def _digest(folder, name, source, curves):
    path = folder / f"{name}.json"
    body = {
        "source": source,
        "environment": "anywhere",
        "tasks": 1,
        "mean_return": curves,
        "num_envs": 2,
        "steps_per_update": 10,
    }
    body |= {"updates": len(curves[0]), "format": 2, "files": {}, "arrays": {}, "lifetimes": list(range(len(curves)))}
    body |= {
        "config": {"source": {"kind": "ppo"}, "environment": {"id": "anywhere"}},
        "observation_size": 4,
        "action_size": 2,
        "discrete": False,
    }
    path.write_text(json.dumps(body | {"content": fingerprint(body)}))
    return str(path)


def _by_position(folder, name, losses):
    path = folder / f"{name}.csv"
    frame = pd.DataFrame(
        {"position": range(len(losses)), "train_loss": losses, "validation_loss": losses, "constant_loss": 1.0}
    )
    frame.to_csv(path, index=False)
    return str(path)


@pytest.mark.parametrize("kind", list(FIGURES))
def test_a_kind_of_figure_says_what_it_shows(kind):
    """In its docstring, which is its caption in the report."""
    assert documentation(FIGURES.modules[kind]).strip() == inspect.getdoc(FIGURES[kind]).strip() != ""


# Tables


def test_sources_are_the_mean_over_lifetimes_of_all_blocks(tmp_path):
    digests = [_digest(tmp_path, "a", "e", [[None, 1.0], [None, 3.0]]), _digest(tmp_path, "b", "e", [[None, 5.0]]),
               _digest(tmp_path, "c", "f", [[7.0, None]])]  # fmt: skip
    found = sources.table(_figure("sources", sources=["e", "f"]), digests)
    interval = mean_interval(np.array([1.0, 3.0, 5.0]))
    assert found.to_numpy().tolist() == [["e", 40, *interval, 3], ["f", 20, 7.0, 7.0, 7.0, 1]]
    assert list(found.columns) == ["source", "env_steps", "mean", "low", "high", "lifetimes"]


def test_in_context_curves_go_by_episode_and_references_have_one_row(rollouts):
    found = in_context.table(_panel("v"), [rollouts], [5.0], [1])
    agent = found[found["condition"] == "agent"]
    assert agent["x"].tolist() == [1, 2, 3, 4] and agent["mean"].tolist() == [1, 2, 3, 4]
    half = mean_interval(np.array([0.0, 1.0, 2.0])).high - 1
    np.testing.assert_allclose(agent["high"] - agent["mean"], half)
    np.testing.assert_allclose(agent["mean"] - agent["low"], half)
    for condition, mean in (("random", 2.0), ("zero_action", 0.0), ("ppo_final", 6.0), ("optimal", 5.0)):
        (row,) = found[found["condition"] == condition].itertuples()
        assert row.mean == mean and np.isnan(row.x)
    assert set(found.loc[found["condition"] != "optimal", "seeds"]) == {3}
    assert set(found["panel"]) == {0} and set(found["environment"]) == {"e"}


def test_there_is_no_optimum_where_none_is_known(rollouts):
    assert "optimal" not in set(in_context.table(_panel("v"), [rollouts], [None], [1])["condition"])


def test_over_steps_a_point_is_the_mean_of_the_episodes_since_the_last(tmp_path):
    ragged = [[1.0, 3.0], [5.0, 5.0]]
    path = _rollouts(tmp_path, "r", "x", "agent", ragged, length=50)
    found = in_context.table(_panel("v", x="env_steps"), [[path]], [None], [1])
    assert found["x"].max() == 100 and (found["x"].diff().dropna() > 0).all()
    first, last = found[found["x"] <= 96], found[found["x"] == 100]
    assert set(first["mean"]) == {3.0} and first["x"].min() >= 50  # none before an episode has ended
    assert last["mean"].item() == 4.0


def test_every_episode_counts_once_over_steps(tmp_path):
    """An episode may end on a bin's edge, its first step, or the very last."""
    path = _rollouts(tmp_path, "r", "x", "agent", [np.arange(100.0)], length=1)
    found = in_context.table(_panel("v", x="env_steps"), [[path]], [None], [1])
    assert found["mean"].tolist() == pytest.approx([1.5 + 4 * i for i in range(25)])


def test_panels_keep_their_order(tmp_path, rollouts):
    other = _rollouts(tmp_path, "o", "x", "agent", [[9.0]], environment="f")
    found = in_context.table(_panel("v", "w"), [rollouts, [other]], [None, None], [1, 1])
    assert found.groupby("panel")["evaluation"].first().tolist() == ["v", "w"]
    assert found.loc[found["panel"] == 1, "mean"].tolist() == [9.0]


def test_an_evaluation_in_which_no_episode_ended_gives_an_empty_panel(tmp_path):
    """Fewer steps than an episode takes: nothing can be drawn, and the other panels can."""
    empty = _rollouts(tmp_path, "r", "x", "agent", [])
    full = _rollouts(tmp_path, "s", "x", "agent", [[1.0, 2.0]])
    found = in_context.table(_panel("v", "w"), [[empty], [full]], [None, None], [1, 1])
    assert set(found["panel"]) == {1}


def test_training_takes_each_agents_losses(tmp_path):
    paths = [_by_position(tmp_path, "a", [2.0, 1.0]), _by_position(tmp_path, "b", [3.0])]
    found = training.table(_figure("training", agents=["a", "b"]), paths)
    assert found["agent"].tolist() == ["a", "a", "b"] and found["validation_loss"].tolist() == [2, 1, 3]


def test_scaling_is_the_last_fifth_by_number_of_projections(tmp_path):
    returns = {("a", "agent"): [[0, 1, 2, 3, 4], [0, 1, 2, 3, 6]], ("b", "agent"): [[0, 0, 0, 0, 1], [0, 0, 0, 0, 1]],
               ("a", "rewards_hidden"): np.zeros((2, 5)), ("baseline", "ppo"): np.zeros((2, 5)),
               ("baseline", "ppo_final"): np.full((2, 5), 6.0)}  # fmt: skip
    paths = [_rollouts(tmp_path, f"{i}", *key, own) for i, (key, own) in enumerate(returns.items())]
    entry = _figure("scaling", panels=[{"evaluation": "seen"}])
    found = scaling.table(entry, [paths], [None], [1], [{"a": {"projections": 1}, "b": {"projections": 256}}])
    assert found[["agent", "condition", "x", "mean", "seeds"]].fillna(-1).to_numpy().tolist() == [
        ["a", "agent", 1, 5, 2], ["b", "agent", 256, 1, 2], ["baseline", "ppo_final", -1, 6, 2],
    ]  # fmt: skip
    figure = scaling.draw(entry, found)
    curve, end = figure.axes[0].lines
    assert curve.get_xydata().tolist() == [[1, 5], [256, 1]] and list(end.get_ydata()) == [6, 6]
    plt.close(figure)


def test_scores_tell_each_task_and_how_many_are_lost(tmp_path):
    """Two tasks, in turns; the first network loses the second one. The last two episodes count."""
    first, second = [[9, 1, 1], [9, 0, 0], [9, 1, 1], [9, 0, 0]], [[9, 1, 1], [9, 1, 0], [9, 1, 1], [9, 1, 0]]
    paths = [
        _rollouts(tmp_path, "0", "a", "agent", first), _rollouts(tmp_path, "1", "a", "agent", second, network=1),
        _rollouts(tmp_path, "2", "a", "rewards_hidden", np.zeros((4, 3))), _rollouts(tmp_path, "3", "baseline", "random", np.full((4, 3), 0.5)),
    ]  # fmt: skip
    entry = _figure("scores", panels=[{"evaluation": "room", "labels": ["AD"]}], episodes=2)
    found = scores.table(entry, [paths], [1.0], [2], [{"a": {"model": "lstm"}}])
    whole = found[found["task"].isna()].set_index("condition")
    assert whole.loc["agent", ["method", "model", "mean", "failed_goals", "tasks", "training_seeds", "seeds", "optimum"]].tolist() == [
        "AD", "lstm", 0.625, 0.25, 2, 2, 4, 1,
    ]  # fmt: skip
    assert whole.loc["random", "mean"] == 0.5 and set(whole.index) == {"agent", "random"}
    assert found[found["task"].notna()]["mean"].tolist() == [1.0, 0.25]
    figure = scores.draw(entry, found)
    points, *_ = figure.axes[0].lines
    assert sorted(points.get_ydata()) == [0.25, 1.0]
    plt.close(figure)


def test_scores_lie_between_random_actions_and_the_best_policy_of_each_task(tmp_path):
    """Four seeds in two tasks whose scales differ. Each episode has 100 steps; scores by episode are 0, .5, 1, 1, 1."""
    low, high = np.array([-1.0, 10.0]), np.array([1.0, 30.0])
    curve = np.array([0.0, 0.5, 1.0, 1.0, 1.0])
    returns = [low[s % 2] + curve * (high - low)[s % 2] for s in range(4)]
    paths = [
        _rollouts(tmp_path, "0", "a", "agent", returns, length=100), _rollouts(tmp_path, "1", "a", "rewards_hidden", [[low[s % 2]] * 5 for s in range(4)], length=100),
        _rollouts(tmp_path, "2", "baseline", "online_psrl", [[(low + high)[s % 2] / 2] * 5 for s in range(4)], length=100),
    ]  # fmt: skip
    entry = _figure("normalised", panels=[{"evaluation": "v", "title": "world", "labels": ["ours"]}], points=5, first=2)
    found = normalised.table(entry, [paths], [(low, high)], [2], [{"a": {"model": "lstm"}}]).set_index("condition")
    agent = found.loc["agent"]
    assert (agent["score"], agent["low"], agent["high"], agent["first_episodes"]) == (1.0, 1.0, 1.0, 0.25)
    assert agent["median"] == 1.0 and found.loc["online_psrl", "median"] == 0.5
    assert (agent["steps_to_90_oracle"], agent["episodes_to_90_oracle"], agent["steps_to_99_own"]) == (300, 3, 300)
    assert agent["score_500"] == 1.0 and np.isnan(agent["score_2000"]) and agent["model"] == "lstm"
    assert found["method"].tolist() == ["ours", "ours, rewards hidden", "posterior sampling"]
    assert found.loc["rewards_hidden", "score"] == 0.0 and found.loc["online_psrl", "score"] == 0.5
    assert (
        np.isnan(found.loc["online_psrl", "steps_to_90_oracle"]) and found.loc["online_psrl", "steps_to_99_own"] == 100
    )
    figure = normalised.draw(entry, found.reset_index())
    assert [x.get_label() for x in figure.axes[0].containers] == ["ours", "posterior sampling"]
    plt.close(figure)


def test_losses_and_scores_stand_by_the_number_of_training_tasks(tmp_path):
    """Two agents, in tasks of training and in others. Each loses half of its loss in training, and a quarter at best elsewhere."""
    low, high = np.zeros(1), np.ones(1)
    paths = [
        [_rollouts(tmp_path, f"{split}_{name}", name, "agent", [[0.0] * 4 + [score]] * 3, length=100) for name, score in found]
        for split, found in (("seen", [("a", 1.0), ("b", 0.8)]), ("unseen", [("a", 0.2), ("b", 0.6)]))
    ]  # fmt: skip
    losses = tmp_path / "by_position.csv"
    pd.DataFrame({"position": [0, 9, 19], "train_loss": [2.0, 1.0, 1.2], "validation_loss": [2.0, 1.8, 1.5], "constant_loss": 2.0}).to_csv(losses, index=False)  # fmt: skip
    known = {name: {"model": "lstm", "tasks": n} for name, n in (("a", 16), ("b", 256))}
    entry = _figure("training_tasks", panels=[{"evaluation": x} for x in ("seen", "unseen")], agents=["a", "b"])
    facts = [{name: one | {"split": split} for name, one in known.items()} for split in ("training", "test")]
    found = training_tasks.table(entry, paths, [(low, high)] * 2, [1, 1], facts, [str(losses)] * 2)
    assert found["training_tasks"].tolist() == [16, 256, 16, 256]
    assert found["loss_ratio"].tolist() == [0.5, 0.5, 0.25, 0.25]
    assert found["score"].tolist() == pytest.approx([1.0, 0.8, 0.2, 0.6])
    assert found["split"].tolist() == ["seen", "seen", "unseen", "unseen"]
    assert (found["seeds"].tolist(), found["training_seeds"].tolist()) == ([3] * 4, [1] * 4)
    figure = training_tasks.draw(entry, found)
    assert [line.get_label() for line in figure.axes[0].lines] == ["lstm, seen", "lstm, unseen"]
    plt.close(figure)
    found.to_csv(tmp_path / "t.csv", index=False)
    drawing.plot(entry, tmp_path / "t.csv", [tmp_path / "f.png"])
    assert (tmp_path / "f.png").exists()


def test_seeds_that_finish_early_do_not_stand_for_all(tmp_path):
    """One of two seeds ends its first episode at once, with the best return; the other at the end, with the worst."""
    path = tmp_path / "r.parquet"
    rows = [("a", "e", "agent", 0, 0, i, 10 * (i + 1), 1.0, 10, True) for i in range(10)]
    rows += [("a", "e", "agent", 0, 1, 0, 100, 0.0, 100, True)]
    pd.DataFrame(rows, columns=COLUMNS).to_parquet(path)
    entry = _figure("normalised", panels=[{"evaluation": "v"}], points=10)
    (own,) = normalised.table(entry, [[path]], [(np.zeros(1), np.ones(1))], [1], [{}]).itertuples()
    assert np.isnan(own.steps_to_90_oracle) and np.isnan(own.episodes_to_90_oracle)
    assert (own.score, own.steps_to_99_own, own.first_episodes) == (0.5, 100, 0.5)


def test_a_task_in_which_random_actions_are_best_is_refused(tmp_path):
    paths = [_rollouts(tmp_path, "0", "a", "agent", [[1.0], [1.0]])]
    entry, ends = _figure("normalised", panels=[{"evaluation": "v"}]), (np.array([0.0, 2.0]), np.array([1.0, 2.0]))
    with pytest.raises(
        ConfigError, match=r"panels\[0\].evaluation: 'v': the best return is 2 in task 1, as much as random"
    ):
        normalised.table(entry, [paths], [ends], [2], [{}])


def test_scores_need_a_world_whose_best_policy_is_known(tmp_path):
    paths = [_rollouts(tmp_path, "0", "a", "agent", [[1.0]])]
    with pytest.raises(ConfigError, match=r"panels\[0\].evaluation: 'v' \(expected one in a tabular world of gla"):
        normalised.table(_figure("normalised", panels=[{"evaluation": "v"}]), [paths], [None], [1], [{}])


# Drawings


@pytest.fixture
def drawable(tmp_path, rollouts):
    """Kind to (entry, inputs of its table)."""
    return {
        "sources": (
            _figure("sources", sources=["e", "f"]),
            {"digests": [_digest(tmp_path, n, n, [[1.0, 2.0], [3.0, 5.0]]) for n in "ef"]},
        ),
        "in_context": (
            _panel("v", "w"),
            {"rollouts": [rollouts, rollouts[:2]], "optimal": [5.0, None], "tasks": [1, 1]},
        ),
        "training": (
            _figure("training", agents=["a", "b"]),
            {"by_position": [_by_position(tmp_path, n, [2.0, 1.0, 0.5]) for n in "ab"]},
        ),
        "scores": (
            _figure("scores", panels=[{"evaluation": "v"}, {"evaluation": "w"}]),
            {
                "rollouts": [rollouts, rollouts[:2]],
                "optimal": [5.0, None],
                "tasks": [1, 1],
                "agents": [{"x": {"model": "lstm"}}] * 2,
            },
        ),
    }


@pytest.mark.parametrize("kind", ["sources", "in_context", "training", "scores"])
def test_a_kind_draws_a_panel_for_each_entry(tmp_path, drawable, kind):
    entry, inputs = drawable[kind]
    drawing.tabulate(entry, inputs, tmp_path / "t.csv")
    figure = FIGURES[kind].draw(entry, pd.read_csv(tmp_path / "t.csv"))
    assert sum(ax.axison for ax in figure.axes) == 2 and all(ax.lines for ax in figure.axes)
    plt.close(figure)


@pytest.mark.parametrize("kind", ["in_context", "scores"])
def test_panels_of_one_title_share_their_axes_and_have_each_baseline_once(tmp_path, drawable, kind):
    """Two evaluations of one agent, such as at two temperatures, and a third panel without a title."""
    _, inputs = drawable[kind]
    panels = [{"evaluation": n, "title": t, "labels": [n]} for n, t in (("v", "room"), ("w", "room"), ("v", ""))]
    entry = _figure(kind, panels=panels)
    inputs = {name: [values[0], values[0], values[0]] for name, values in inputs.items()}
    drawing.tabulate(entry, inputs, tmp_path / "t.csv")
    figure = FIGURES[kind].draw(entry, pd.read_csv(tmp_path / "t.csv"))
    both, alone = (ax for ax in figure.axes if ax.axison)
    assert [ax.get_title() for ax in (both, alone)] == ["room", "v"]
    drawn = [[line.get_label() for line in ax.lines] for ax in (both, alone)]
    assert drawn[0].count("random") == drawn[1].count("random") == 1
    if kind == "in_context":
        assert {"v", "w"} <= set(drawn[0]) and "w" not in drawn[1]
    else:
        assert [[label.get_text() for label in ax.get_xticklabels()] for ax in (both, alone)] == [["v", "w"], ["v"]]
    plt.close(figure)


def test_a_label_has_one_colour_in_all_panels(rollouts):
    """The legend shows each label once, so that its colour must not depend on how many agents a panel has."""
    labels = [["AD"], ["ED"], ["RL"], ["RL"], ["ED"]]
    titles = ["room", "room", "room", "bandit", "bandit"]
    panels = [
        {"evaluation": f"v{i}", "title": t, "labels": n} for i, (t, n) in enumerate(zip(titles, labels, strict=True))
    ]
    entry = _figure("in_context", panels=panels)
    figure = in_context.draw(entry, in_context.table(entry, [rollouts] * 5, [None] * 5, [1] * 5))
    colours = [
        {x.get_label(): x.get_color() for x in ax.lines if x.get_label() in ("AD", "ED", "RL")}
        for ax in figure.axes[:2]
    ]
    assert len(set(colours[0].values())) == 3 and colours[1] == {name: colours[0][name] for name in ("RL", "ED")}
    plt.close(figure)


@pytest.mark.parametrize("kind", ["sources", "in_context", "training", "scores"])
def test_plotting_twice_gives_the_same_bytes(tmp_path, drawable, kind):
    entry, inputs = drawable[kind]
    seen = []
    for i in (0, 1):
        paths = [tmp_path / f"{i}/f.{ending}" for ending in ("csv", "pdf", "png")]
        drawing.tabulate(entry, inputs, paths[0])
        drawing.plot(entry, *paths[:1], paths[1:])
        seen.append([p.read_bytes() for p in paths])
    assert seen[0] == seen[1]
    assert seen[0][1].startswith(b"%PDF") and seen[0][2].startswith(b"\x89PNG")
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", ["NA", "1", "True"])
def test_any_usable_name_is_drawn(tmp_path, monkeypatch, name):
    for entry, inputs in (
        (_figure("training", agents=[name]), {"by_position": [_by_position(tmp_path, "a", [2.0, 1.0])]}),
        (_figure("sources", sources=[name]), {"digests": [_digest(tmp_path, "d", name, [[1.0, 2.0]])]}),
        (
            _panel("v"),
            {"rollouts": [[_rollouts(tmp_path, "r", name, "agent", [[1.0, 2.0]])]], "optimal": [None], "tasks": [1]},
        ),
    ):
        drawn, draw = [], FIGURES[entry.kind].draw
        monkeypatch.setattr(FIGURES[entry.kind], "draw", lambda *a, d=draw, s=drawn: s.append(d(*a)) or s[0])
        drawing.tabulate(entry, inputs, tmp_path / "t.csv")
        drawing.plot(entry, tmp_path / "t.csv", [tmp_path / "f.png"])
        lines = drawn[0].axes[0].lines
        assert lines and all(len(line.get_ydata()) == 2 for line in lines), entry.kind


def test_a_panel_in_which_no_episode_ended_is_drawn_empty(tmp_path):
    rollouts = [[_rollouts(tmp_path, n, "x", "agent", r)] for n, r in (("r", []), ("s", [[1.0, 2.0]]))]
    for i, (entry, own) in enumerate([(_panel("v", "w"), rollouts), (_panel("v"), rollouts[:1])]):
        drawing.tabulate(
            entry, {"rollouts": own, "optimal": [None] * len(own), "tasks": [1] * len(own)}, tmp_path / "t.csv"
        )
        drawing.plot(entry, tmp_path / "t.csv", [tmp_path / f"{i}.png"])
        assert (tmp_path / f"{i}.png").exists()


@pytest.mark.parametrize("style", [{"font.sise": 7}, {"font.size": "large-ish"}])
def test_style_that_matplotlib_does_not_know_is_named(tmp_path, drawable, style):
    entry, inputs = drawable["training"]
    drawing.tabulate(entry, inputs, tmp_path / "t.csv")
    with pytest.raises(ConfigError, match=next(iter(style))):
        drawing.plot(entry.model_copy(update={"style": style}), tmp_path / "t.csv", [tmp_path / "f.png"])


def test_style_reaches_the_figure_and_stays_there(tmp_path, drawable):
    entry, inputs = drawable["training"]
    before = dict(plt.rcParams)
    drawing.tabulate(entry, inputs, tmp_path / "t.csv")
    for name, style in (("a", {}), ("b", {"lines.linewidth": 5})):
        drawing.plot(entry.model_copy(update={"style": style}), tmp_path / "t.csv", [tmp_path / f"{name}.png"])
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    assert dict(plt.rcParams) == before


def test_a_users_own_matplotlibrc_changes_nothing(tmp_path, drawable, monkeypatch):
    entry, inputs = drawable["training"]
    drawing.tabulate(entry, inputs, tmp_path / "t.csv")
    for name in "ab":
        drawing.plot(entry, tmp_path / "t.csv", [tmp_path / f"{name}.pdf", tmp_path / f"{name}.png"])
        for key, value in {
            "lines.linestyle": "--",
            "axes.facecolor": "red",
            "savefig.facecolor": "blue",
            "pdf.compression": 0,
        }.items():
            monkeypatch.setitem(plt.rcParams, key, value)
    for ending in ("pdf", "png"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert plt.rcParams["axes.facecolor"] == "red"  # theirs again


def test_labels_stand_in_the_legend_and_titles_above(tmp_path, rollouts):
    entry = _figure("in_context", panels=[{"evaluation": "v", "title": "Grid", "agents": ["x"], "labels": ["ours"]}])
    figure = in_context.draw(entry, in_context.table(entry, [rollouts], [5.0], [1]))
    said = {t.get_text() for t in figure.legends[0].get_texts()}
    assert {"ours", "rewards hidden", "best from scratch: PPO", "random", "zero action", "optimum"} <= said
    assert figure.axes[0].get_title() == "Grid"
    plt.close(figure)


def test_of_the_online_learners_the_best_is_drawn(rollouts):
    found = in_context.table(_panel("v"), [rollouts], [None], [1])
    assert set(found["condition"]) & {"online_ppo", "online_ars"} == {"online_ppo"}


def test_networks_are_part_of_the_interval(tmp_path):
    """Two networks whose seeds all agree, and that do not agree with each other."""
    paths = [_rollouts(tmp_path, f"n{k}", "x", "agent", np.full((8, 2), 4.0 * k), network=k) for k in (0, 1)]
    found = in_context.table(_panel("v"), [paths], [None], [1])
    interval = mean_interval(np.array([0.0, 4.0]))  # that of two values, however many seeds each network has
    np.testing.assert_allclose(found[["mean", "low", "high"]].to_numpy(), [interval] * 2)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", None], ids=["empty", "binary", "missing"])
def test_a_table_that_cannot_be_read_is_named(tmp_path, drawable, content):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(CorruptFile, match="t.csv"):
        drawing.plot(drawable["training"][0], tmp_path / "t.csv", [tmp_path / "f.png"])
    assert not (tmp_path / "f.png").exists()


@pytest.mark.parametrize("kind, key", [("sources", "digests"), ("in_context", "rollouts"), ("training", "by_position")])
def test_an_input_that_cannot_be_read_is_named(tmp_path, drawable, kind, key):
    entry, inputs = drawable[kind]
    path = inputs[key][0] if kind != "in_context" else inputs[key][0][0]
    open(path, "w").close()
    with pytest.raises(CorruptFile) as error:
        drawing.tabulate(entry, inputs, tmp_path / "t.csv")
    assert path in str(error.value) and not (tmp_path / "t.csv").exists()


def test_more_than_four_panels_go_on_in_a_second_row(rollouts):
    entry = _panel(*"abcde")
    figure = in_context.draw(entry, in_context.table(entry, [rollouts] * 5, [None] * 5, [1] * 5))
    titled = [ax.get_title() for ax in figure.axes]
    assert (
        titled == ["a", "b", "c", "d", "e", "", "", ""]
        and [ax.axison for ax in figure.axes] == [True] * 5 + [False] * 3
    )
    assert [bool(ax.get_xlabel()) for ax in figure.axes[:5]] == [False, True, True, True, True]
    plt.close(figure)
