"""Fixtures: one small collection of each kind, made once."""

import pytest
import torch

from gla import augment, histories
from gla.config import PPO, Dataset, Environment, Projections

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
