"""Algorithm Distillation and its relatives: each method of the documentation, from histories to a rollout."""

import re
from pathlib import Path

import pytest
import yaml

from gla import agent as agents
from gla.checked import checked
from gla.config.reading import load
from gla.in_context import run_agent
from gla.manifests import write_manifest
from gla.storage.collecting import collect
from gla.train import train

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
    assert found["evaluations"]["from_half_way"]["prompt"] == {"source": "room_test", "part": [0.4, 0.5], "steps": 60}


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


def test_all_methods_of_the_page_are_tried():
    assert [name for name, *_ in _methods()][:2] == ["AD", "AD with thinned histories"] and len(list(_methods())) == 8
