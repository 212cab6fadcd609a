"""Fixtures: one small collection of each kind, made once."""

import pytest
import torch
from safetensors.torch import save_file

from gla.agent import AgentModel, describe
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.encoding import projected
from gla.encoding.making import encoding_of
from gla.files import write_json
from gla.manifests import read_manifest, write_manifest
from gla.models import transformer
from gla.sources import ppo
from gla.storage.collecting import collect

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def grid_entry() -> Environment:
    return Environment(id="gla/GridWorld-v0", tasks=[{"goal": [0, 2]}, {"goal": [2, 2]}])


@pytest.fixture(scope="session")
def grid_source() -> ppo.Options:
    return ppo.Options(
        environment="grid", lifetimes=4, num_envs=2, num_updates=6, num_steps=20, update_epochs=2, num_minibatches=2,
        learning_rate=3.0e-3, normalize_observations=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def pendulum_entry() -> Environment:
    return Environment(id="InvertedPendulum-v5", kwargs={"max_episode_steps": 40})


@pytest.fixture(scope="session")
def pendulum_source() -> ppo.Options:
    return ppo.Options(
        environment="pendulum", lifetimes=3, num_envs=2, num_updates=5, num_steps=64, update_epochs=2, num_minibatches=2,
        snapshot_every=2,
    )  # fmt: skip


def _store(folder, source, entry):
    paths = str(folder / "history.zarr"), str(folder / "digest.json")
    collect(source, entry, source.environment, range(source.lifetimes), *paths)
    return paths


@pytest.fixture(scope="session")
def grid_store(tmp_path_factory, grid_source, grid_entry):
    return _store(tmp_path_factory.mktemp("grid"), grid_source, grid_entry)


@pytest.fixture(scope="session")
def pendulum_store(tmp_path_factory, pendulum_source, pendulum_entry):
    return _store(tmp_path_factory.mktemp("pendulum"), pendulum_source, pendulum_entry)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory, grid_store, pendulum_store):
    """Both sources under random projections: (table, summary)."""
    folder = tmp_path_factory.mktemp("manifest")
    entry = Dataset(sources=["grid", "pendulum"], encoding=projected.Options(train=32, validation=8))
    paths = str(folder / "m.csv"), str(folder / "m.json")
    write_manifest(entry, [grid_store, pendulum_store], *paths)
    return paths


@pytest.fixture(scope="session")
def agent_folder(tmp_path_factory, manifest):
    """An agent's folder as training writes it, but with weights that no data have seen."""
    folder = tmp_path_factory.mktemp("agents") / "tiny"
    folder.mkdir()
    config, summary = (
        Agent(dataset="", model=transformer.Options(layers=1, width=16, heads=2)),
        read_manifest(*manifest)[1],
    )
    torch.manual_seed(0)
    model, weights = AgentModel(config, encoding_of(summary).sizes), folder / "weights.safetensors"
    torch.nn.init.normal_(model.sequence.head.weight, std=0.3)
    save_file(model.state_dict(), weights)
    facts = {
        "parameters": 1,
        "tokens": 2,
        "precision": "float32",
        "torch": "2",
        "validation_loss": 0.5,
        "constant_loss": 1.0,
    }
    write_json(folder / "agent.json", describe(config, summary, weights, facts))
    return folder
