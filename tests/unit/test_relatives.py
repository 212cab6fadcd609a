"""Algorithm Distillation and its relatives: each method of the documentation, from histories to a rollout."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gla import agent as agents
from gla import card
from gla.checked import checked
from gla.config.reading import load
from gla.encoding.tokens import Encoded, tokens
from gla.in_context import run_agent
from gla.manifests import read_manifest, write_manifest
from gla.storage.collecting import collect
from gla.train import train
from gla.windows.batches import Windows

PAGE = (Path(__file__).parents[2] / "docs/algorithm_distillation.md").read_text()
TINY = {"layers": 1, "width": 16, "heads": 2}
STEPS = {"steps": 3, "batch_size": 8, "warmup": 1, "evaluate_every": 3, "precision": "float32"}


def _shown():
    """The config that the page's blocks make together, made small."""
    raw = {}
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        for noun, entries in yaml.safe_load(block).items():
            raw[noun] = raw.get(noun, {}) | entries
    raw["sources"]["room"] |= {"lifetimes": 4, "num_updates": 8}
    return raw


def _methods():
    """(name, agent's entry, source's options) of each row of the page's table of methods."""
    table = PAGE[PAGE.index("## Methods") :]
    for row in re.findall(r"^\| (.*) \|$", table, re.MULTILINE)[1:]:
        name, windows, labels, loss = row.split(" | ")
        source = {}
        if "noisy_oracle" in windows:
            source = {"kind": "noisy_oracle"} | (
                yaml.safe_load("{epsilon: [1.0, 1.0]}") if "[1.0, 1.0]" in windows else {}
            )
        elif "`random`" in windows:
            source = {"kind": "random"}
        (windows, *_), (labels,), (loss,) = (re.findall("`([^`]*)`", x) for x in (windows, labels, loss))
        yield name, {"windows": yaml.safe_load(windows), "labels": labels, "loss": loss}, source


def _config(own, source):
    raw = _shown()
    windows = own["windows"] if isinstance(own["windows"], dict) else {"kind": own["windows"]}
    windows |= {"chunks": 20} if windows["kind"] == "shuffled" else {"steps": 20}
    raw["agents"] = {"own": {"dataset": "room", **own, "windows": windows, "model": TINY, "training": STEPS}}
    raw["sources"]["room"] |= source
    raw["evaluations"] = {"room": {"environment": "room", "agents": ["own"], "seeds": 3, "episodes": 4}}
    return raw


def test_the_page_shows_a_config(tmp_path):
    raw = _shown()
    for agent in raw["agents"].values():
        agent["seeds"] = 1
    found = checked(raw, cache=tmp_path / "facts.json").config
    assert found["agents"]["icq"]["loss"]["kind"] == "q_values" and found["agents"]["rl2"]["training"]["kind"] == "rl2"
    assert found["evaluations"]["from_half_way"]["prompt"] == {
        "source": "room_test", "part": [0.4, 0.5], "steps": 60, "expert": False,
    }  # fmt: skip


@pytest.mark.parametrize("name, own, source", [pytest.param(*m, id=m[0]) for m in _methods()])
def test_a_method_is_one_entry_and_runs_from_histories_to_a_rollout(tmp_path, name, own, source):
    config = load(_config(own, source))
    entry, made = config.environments["room"], config.sources["room"]
    store, paths = (
        [str(tmp_path / "h.zarr"), str(tmp_path / "d.json")],
        [str(tmp_path / "m.csv"), str(tmp_path / "m.json")],
    )
    collect(made, entry, "room", range(4), *store)
    write_manifest(config.datasets["room"], [store], *paths)
    train(config.agents["own"], "own", {}, *paths, tmp_path / "own", tmp_path / "scratch")
    rows = run_agent(agents.load(tmp_path / "own"), entry, config.evaluations["room"], "agent")
    assert rows.finished and len(rows.rows) == 3 * 4
    assert f"windows of kind {config.agents['own'].windows.kind}" in card.write(tmp_path / "own").read_text()


def test_all_methods_of_the_page_are_tried():
    assert [name for name, *_ in _methods()][:2] == ["AD", "AD with thinned histories"] and len(list(_methods())) == 8


def test_a_decision_pretrained_transformer_learns_the_posterior_of_a_two_armed_bandit(tmp_path):
    """The posterior is computed by enumeration: of two equally likely tasks, arms that pay with 0.9 and 0.1 or with 0.1 and
    0.9, how likely is the first after these pulls? Lee et al. (2023, Section 3) show that the best prediction of the optimal
    action is this posterior."""
    means = [[0.9, 0.1], [0.1, 0.9]]
    raw = {
        "environments": {"b": {"id": "gla/Bandit-v0", "kwargs": {"arms": 2}, "tasks": [{"means": m} for m in means]}},
        "sources": {
            "b": {"environment": "b", "kind": "noisy_oracle", "epsilon": [1.0, 1.0], "lifetimes": 64, "lifetimes_per_block": 64,
                  "num_updates": 4, "num_steps": 32},
        },
        "datasets": {"b": {"sources": ["b"], "encoding": {"kind": "tabular", "states": 1, "actions": 2}, "held_out_lifetimes": 0.25}},
        "agents": {
            "dpt": {"dataset": "b", "windows": {"kind": "shuffled", "chunks": 8}, "labels": "optimal_action", "loss": "action_likelihood",
                    "model": {"kind": "transformer", "layers": 2, "width": 32, "heads": 2},
                    "training": {"steps": 150, "batch_size": 128, "warmup": 20, "evaluate_every": 150, "precision": "float32"}},
        },
    }  # fmt: skip
    config = load(raw)
    store, paths = (
        [str(tmp_path / "h.zarr"), str(tmp_path / "d.json")],
        [str(tmp_path / "m.csv"), str(tmp_path / "m.json")],
    )
    collect(config.sources["b"], config.environments["b"], "b", range(64), *store)
    write_manifest(config.datasets["b"], [store], *paths)
    train(config.agents["dpt"], "dpt", {}, *paths, tmp_path / "dpt", tmp_path / "scratch")
    dpt = agents.load(tmp_path / "dpt")
    batch = Windows(config.agents["dpt"], *read_manifest(*paths), "validation").batch(0, 256)
    with torch.no_grad():
        _, output = dpt.model(tokens(Encoded(*batch[:4]), batch.eta))
    predicted = output.softmax(-1)[..., 0].numpy()
    # Token i has seen the pulls before it: arms (B, T), and whether they paid.
    arm, paid = batch.action.argmax(-1).numpy(), batch.reward.numpy()
    chance = np.array(means)[:, arm]  # (2, B, T)
    log = np.log(np.where(paid > 0.5, chance, 1 - chance)).cumsum(-1)
    log = np.concatenate([np.zeros_like(log[..., :1]), log[..., :-1]], -1)
    posterior = 1 / (1 + np.exp(log[1] - log[0]))
    assert posterior[:, 0].tolist() == [0.5] * 256 and posterior[:, -1].std() > 0.4
    assert np.abs(predicted - posterior).mean() < 0.03
