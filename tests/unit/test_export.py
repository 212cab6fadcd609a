import os

import numpy as np
import pytest
import zarr

from gla import export
from gla.config.environments import Environment
from gla.environments.spaces import env_spec
from gla.options import ConfigError
from gla.sources import random
from gla.storage.collecting import collect
from gla.storage.reading import read

minari = pytest.importorskip("minari")


@pytest.fixture(scope="module", params=["grid", "pendulum"])
def exported(request, tmp_path_factory):
    """A store and what Minari loads of it."""
    store, digest = request.getfixturevalue(f"{request.param}_store")
    folder, name = tmp_path_factory.mktemp("minari"), f"{request.param}/ppo-v0"
    said = export.minari(store, name, folder)
    assert "MINARI_DATASETS_PATH" not in os.environ
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        dataset = minari.load_dataset(name)
        yield read(store, digest), dataset, said, (store, name, folder)


def test_minari_iterates_every_step_that_has_a_successor(exported):
    h, dataset, said, _ = exported
    episodes = list(dataset.iterate_episodes())
    assert f"{len(episodes):,} episodes, {dataset.total_steps:,} steps" in said
    done = h.terminated | h.truncated
    streams = done.shape[0] * done.shape[1]
    # A stream's last step has a successor only where it ended an episode.
    assert dataset.total_steps == done.size - streams + int(done[..., -1].sum())
    assert sum(e.rewards.sum() for e in episodes) == pytest.approx(
        h.reward.sum() - (h.reward[..., -1] * ~done[..., -1]).sum(), rel=1e-5
    )
    assert sum(e.terminations.sum() for e in episodes) == h.terminated.sum()
    for e in episodes:
        assert len(e.observations) == len(e.actions) + 1 == len(e.infos["update"])
        ends = e.terminations | e.truncations
        assert ends[-1] and not ends[:-1].any()
        assert all(dataset.action_space.contains(a) for a in e.actions[:3])


def test_an_episodes_rows_are_the_stores(exported):
    h, dataset, _, (store, _, _) = exported
    first = next(dataset.iterate_episodes())
    n = len(first.actions)
    np.testing.assert_array_equal(first.observations[:-1], h.observation[0, 0, :n])
    spec = env_spec(dataset.recover_environment())
    expected = h.action[0, 0, :n] if h.discrete else np.clip(h.action[0, 0, :n], spec.low, spec.high)
    np.testing.assert_array_equal(first.actions, expected)
    final = zarr.open_group(store, mode="r")["final_observation"][0, 0, n - 1]
    np.testing.assert_array_equal(first.observations[-1].astype(np.float32), final)
    assert set(first.infos["lifetime"]) == {0} and first.infos["update"][0] == 0


def test_a_dataset_that_exists_and_a_name_that_cannot_be_are_refused(exported):
    _, dataset, _, (store, name, folder) = exported
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"exists \(expected a new name"):
        export.minari(store, name, folder)
    with pytest.raises(ConfigError, match="Malformed dataset ID"):
        export.minari(store, "no version!", folder)
    assert sorted(folder.rglob("*")) == before and dataset.total_episodes


def test_histories_of_uniform_actions_are_exported_too(tmp_path):
    """The observations of this environment are integers, which were made one-hot."""
    source = random.Options(environment="lake", lifetimes=2, num_envs=2, num_steps=40)
    store = str(tmp_path / "history.zarr")
    collect(source, Environment(id="FrozenLake-v1"), "lake", range(2), store, str(tmp_path / "digest.json"))
    export.minari(store, "lake/random-v0", tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
        dataset = minari.load_dataset("lake/random-v0")
        assert dataset.storage.metadata["algorithm_name"] == "random"
        episode = next(dataset.iterate_episodes())
        assert (episode.observations.sum(-1) == 1).all() and dataset.recover_environment().observation_space.shape == (
            16,
        )
