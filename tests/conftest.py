"""Fixtures: one small collection of each kind, made once."""

import pytest
import torch
from safetensors.torch import save_file

from gla import augment, histories
from gla.agent import AgentModel, describe
from gla.config import PPO, Agent, Dataset, Environment, Model, Projections
from gla.files import write_json

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def grid_entry() -> Environment:
    tasks = [{"goal": [0, 2]}, {"goal": [2, 2]}]
    ppo = PPO(updates=6, steps=20, epochs=2, minibatches=2, learning_rate=3.0e-3, normalize_observations=False)
    return Environment(id="gla/GridWorld-v0", tasks=tasks, lifetimes=4, streams=2, ppo=ppo)


@pytest.fixture(scope="session")
def pendulum_entry() -> Environment:
    ppo = PPO(updates=5, steps=64, epochs=2, minibatches=2, snapshot_every=2)
    return Environment(id="InvertedPendulum-v5", kwargs={"max_episode_steps": 40}, lifetimes=3, streams=2, ppo=ppo)


def _store(folder, entry, name):
    paths = str(folder / "history.zarr"), str(folder / "digest.json")
    histories.collect(entry, name, range(entry.lifetimes), *paths)
    return paths


@pytest.fixture(scope="session")
def grid_store(tmp_path_factory, grid_entry):
    return _store(tmp_path_factory.mktemp("grid"), grid_entry, "grid")


@pytest.fixture(scope="session")
def pendulum_store(tmp_path_factory, pendulum_entry):
    return _store(tmp_path_factory.mktemp("pendulum"), pendulum_entry, "pendulum")


@pytest.fixture(scope="session")
def manifest(tmp_path_factory, grid_store, pendulum_store):
    """Both environments under random projections: (table, summary)."""
    folder = tmp_path_factory.mktemp("manifest")
    entry = Dataset(environments=["grid", "pendulum"], projections=Projections(train=32, validation=8))
    paths = str(folder / "m.csv"), str(folder / "m.json")
    augment.write_manifest(entry, [grid_store, pendulum_store], *paths)
    return paths


@pytest.fixture(scope="session")
def agent_folder(tmp_path_factory, manifest):
    """An agent's folder as training writes it, but with weights that no data have seen."""
    folder = tmp_path_factory.mktemp("agents") / "tiny"
    folder.mkdir()
    config = Agent(dataset="", model=Model(layers=1, width=16, heads=2))
    torch.manual_seed(0)
    model, weights = AgentModel(config), folder / "weights.safetensors"
    torch.nn.init.normal_(model.sequence.head.weight, std=0.3)
    save_file(model.state_dict(), weights)
    facts = {"parameters": 1, "tokens": 2, "precision": "float32", "torch": "2", "validation_loss": 0.5, "constant_loss": 1.0}
    write_json(folder / "agent.json", describe(config, augment.read_manifest(*manifest)[1], weights, facts))
    return folder
