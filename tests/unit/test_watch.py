import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pandas as pd
import pytest

import gla
from gla import card, verdicts, watch
from gla.agent import load
from gla.environments.making import make
from gla.environments.spaces import UnsupportedEnvironment
from gla.files import CorruptFile, read_json
from gla.options import ConfigError
from gla.rows import COLUMNS
from gla.storage.reading import read


def _rows(returns, condition="agent", agent="tiny"):
    rows = [
        (agent, "e", condition, 0, s, i, i + 1, r, 1, True) for s, own in enumerate(returns) for i, r in enumerate(own)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_a_summary_has_first_last_and_gain_of_each_condition():
    frame = pd.concat([_rows([[1.0, 5, 3], [2.0, 9, 6]]), _rows([[0.0, 0], [0.0, 0]], "random")])
    text = watch.summary(frame).splitlines()
    assert "1.5 [" in text[1] and "4.5 [" in text[1] and "3 [" in text[1]  # (3-1 + 6-2) / 2
    assert text[2].split()[:3] == ["random", "2", "0"]
    with pytest.raises(ConfigError, match="no episode ended"):
        watch.summary(frame[:0])


def test_rows_of_ragged_episodes_are_drawn_by_steps(tmp_path):
    for name, rows in (("even", [[1.0, 2], [3.0, 4]]), ("ragged", [[1.0, 2], [3.0]])):
        watch.plot_returns(_rows(rows), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("env", ["gla/GridWorld-v0", "Hopper-v5", "dm_control/cartpole-swingup-v0"])
def test_a_video_has_the_first_and_the_last_episode_side_by_side(agent_folder, tmp_path, env):
    """This runs in a separate process, since MuJoCo chooses its renderer when it is imported."""
    imageio = pytest.importorskip("imageio.v3")
    path = tmp_path / "out.mp4"
    command = ["learn", "--agent", agent_folder, "--env", env, "--kwargs", "{max_episode_steps: 6}", "--episodes", "2"]
    command += ["--seeds", "1", "--conditions", "agent", "--video", path]
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    done = subprocess.run(
        [sys.executable, "-m", "gla.cli", *map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2 and "cannot be rendered" in done.stderr and not env.startswith("gla/"):
        pytest.skip(done.stderr.splitlines()[-1])  # no OpenGL on this machine
    assert done.returncode == 0, done.stderr
    frames = list(imageio.imiter(path))
    assert len(frames) == 7  # the first observation and six steps
    height, width, _ = frames[0].shape
    assert height == watch.HEIGHT + 24 and width >= 2 * watch.HEIGHT
    assert np.std(frames[0]) > 5 and (frames[0] != frames[-1]).any()


def test_what_cannot_be_filmed_is_said(agent_folder, tmp_path, monkeypatch):
    agent, path = gla.load(agent_folder), tmp_path / "out.mp4"
    with pytest.raises(ConfigError, match="expected episodes"):
        watch.video(agent, "gla/GridWorld-v0", path, env_steps=30)
    monkeypatch.setattr("gla.environments.grid_world.GridWorld.render", lambda _: 1 / 0)
    with pytest.raises(UnsupportedEnvironment, match="cannot be rendered: division by zero .*libegl1"):
        watch.video(agent, "gla/GridWorld-v0", path, episodes=2)
    assert not path.exists()


def test_the_grid_world_shows_agent_and_goal():
    env = make("gla/GridWorld-v0", render_mode="rgb_array", size=4, goal=(0, 3), start=(3, 0))
    env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (160, 160, 3)
    assert tuple(picture[20, 140]) == (0, 158, 115) and tuple(picture[140, 20]) == (0, 114, 178)
    env.step(0)  # up
    assert tuple(env.render()[100, 20]) == (0, 114, 178)


@pytest.mark.parametrize("name", ["grid", "pendulum"])
def test_a_collection_logs_for_tensorboard_beside_its_store(request, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store, digest = request.getfixturevalue(f"{name}_store")
    log = EventAccumulator(str(Path(store).parent / "tensorboard")).Reload()
    h = read(store, digest)  # what is beside the store does not disturb it
    tags = log.Tags()["scalars"]
    assert ("action_deviation" in tags) == (name == "pendulum")
    logged = [e.value for e in log.Scalars("mean_return/0")]
    np.testing.assert_allclose(logged, h.mean_return[0][np.isfinite(h.mean_return[0])], rtol=1e-6)


def test_a_card_says_what_an_agent_was_trained_on_and_how_it_scores(agent_folder, tmp_path):
    rollout = tmp_path / "agent.parquet"
    _rows([[1.0, 5], [2.0, 7]]).to_parquet(rollout)
    other = tmp_path / "other.parquet"
    _rows([[9.0], [9.0]], agent="another").to_parquet(other)
    text = card.write(agent_folder, [str(rollout), str(other)]).read_text()
    body = read_json(agent_folder / "agent.json")
    for name, facts in body["manifest"]["sources"].items():
        assert f"| {name} | {facts['environment']} | {facts['observation_size']} | {facts['action_size']} " in text
    assert "32 random projections" in text and body["weights"]["sha256"] in text
    assert "| e | agent | 1.5 [" in text and "another" not in text and "memorised" not in text
    load(agent_folder)  # a card beside the weights does not disturb them
    worse = body | {"training": body["training"] | {"validation_loss": 1.0}}
    assert "memorised" in card.render("x", worse) and "None are known." in card.render("x", worse)
    with pytest.raises(CorruptFile, match="not an agent's description"):
        card.render("x", {"config": {}})


def test_a_cards_verdicts_are_the_tables(agent_folder, tmp_path):
    """Those of the agent in tests alone, and of a further network the agent's, with the network's own scores."""
    row = dict.fromkeys(verdicts.COLUMNS, np.nan) | {
        "agent": "tiny", "evaluation": "swim", "split": "test", "verdict": "improves without reward", "first_episode": 1.0, "last": 23.4,
        "control_last": 20.0, "beats_online": -2.0, "beats_online_low": -3.0, "beats_online_high": -1.0, "training_seeds": 2, "seeds": 32,
    }  # fmt: skip
    table = tmp_path / "v.csv"
    others = [row | {"agent": "other", "evaluation": "walk"}, row | {"split": "validation", "evaluation": "chosen"}]
    pd.DataFrame([row, *others]).to_csv(table, index=False)
    text = card.write(agent_folder, verdicts=table).read_text()
    assert "| swim | improves without reward | 1 to 23.4 | 20 | -2 [-3, -1] |  | 2 x 32 |" in text
    assert "walk" not in text and "chosen" not in text
    (found,) = huggingface_hub.ModelCard(text).data.eval_results  # as the Hub reads them
    assert (found.dataset_name, found.task_name, found.metric_value) == ("swim", "improves without reward", 23.4)
    frames = [_rows([[1.0], [2.0]], agent="tiny"), _rows([[8.0], [9.0]], agent="tiny").assign(training_seed=1)]
    second = card.render("tiny.1", read_json(agent_folder / "agent.json"), frames, pd.read_csv(table))
    assert "| e | agent | 8.5 [" in second and "| swim |" in second and "| e | agent | 1.5 [" not in second
