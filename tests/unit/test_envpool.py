"""Is it the same environment under either backend?"""

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from gla.checked import checked
from gla.config.environments import Environment
from gla.environments.making import make
from gla.environments.spaces import UnsupportedEnvironment
from gla.environments.vector import VectorEnv, vector_env
from gla.files import read_json
from gla.learners.ppo import PPO, Population
from gla.options import ConfigError
from gla.sources import ppo
from gla.storage.collecting import collect
from gla.storage.reading import read

pytest.importorskip("envpool")
from gla.environments.envpool import EnvPoolVector, envpool_id, settings

CARTPOLE = "dm_control/cartpole-swingup-v0"
IDS = ["Reacher-v4", "HalfCheetah-v4", "Ant-v4", CARTPOLE]


def _set_state(env, env_id, x):
    """Put a Gymnasium environment where EnvPool's is, from its observation, which leaves out no more than the place."""
    inner = env.unwrapped
    if env_id == "Reacher-v4":
        target = x[4:6]
        inner.set_state(np.concatenate([np.arctan2(x[2:4], x[:2]), target]), np.concatenate([x[6:8], np.zeros(2)]))
    elif env_id == CARTPOLE:
        physics = inner._env.physics
        with physics.reset_context():
            physics.data.qpos[:] = [x[0], np.arctan2(x[2], x[1])]
            physics.data.qvel[:] = x[3:5]
    else:
        hidden = inner.model.nq + inner.model.nv - len(x)
        inner.set_state(np.concatenate([np.zeros(hidden), x[: inner.model.nq - hidden]]), x[inner.model.nq - hidden :])


@pytest.mark.parametrize("env_id", IDS)
def test_the_same_actions_from_the_same_state_have_the_same_consequences(env_id):
    kwargs = {"terminate_when_unhealthy": False} if env_id == "Ant-v4" else {}
    envs, env, rng = EnvPoolVector(env_id, [kwargs], seed=1), make(env_id, **kwargs), np.random.default_rng(0)
    ((_, pool),) = envs._pools  # whole 64-bit observations: a vector keeps 32
    for _ in range(4):
        env.reset(seed=0)
        state = envs._flat(pool.reset()[0])[0]
        _set_state(env, env_id, state)
        for _ in range(10 if env_id == "Ant-v4" else 20):  # contacts amplify rounding: an ant is not followed for long
            action = rng.uniform(-1, 1, envs.spec.action_size)
            seen, reward, *ended, _ = pool.step(action[None])
            observation, own, *own_ended, _ = env.step(action)
            np.testing.assert_allclose(observation, envs._flat(seen)[0], rtol=1e-3, atol=1e-3)
            assert own == pytest.approx(reward[0], rel=1e-3, abs=1e-3)
            assert own_ended == [x[0] for x in ended] == [False, False]


def _episodes(envs, steps):
    """First observations, and returns over ``steps`` steps, under one fixed policy; no two of them alike."""
    d, a = envs.spec.observation_size, envs.spec.action_size
    rng = np.random.default_rng(0)
    weights, observation = rng.standard_normal((d, a)) / d**0.5, envs.reset()
    first, returns, running = [observation], [], np.zeros(len(envs))
    for _ in range(steps):
        step = envs.step(np.tanh(observation @ weights))
        running += step.reward
        ended = step.terminated | step.truncated
        returns.append(running[ended])
        first.append(step.observation[ended])
        running[ended], observation = 0.0, step.observation
    return np.concatenate(first), np.concatenate(returns)


@pytest.mark.parametrize("env_id", IDS)
def test_starts_and_returns_have_the_same_distribution(env_id):
    """Two-sample Kolmogorov-Smirnov at 1 % over all, and the same test does tell other environments apart."""
    kwargs, n = [{"max_episode_steps": 10}] * 64, 31
    first, returns = zip(
        *(_episodes(vector_env(b, env_id, kwargs, seed=0), n) for b in ("gymnasium", "envpool")), strict=True
    )
    assert all(len(r) >= 150 for r in returns)
    moving = [i for i in range(first[0].shape[1]) if first[0][:, i].std() > 1e-9]
    level = 0.01 / (len(moving) + 1)
    assert stats.ks_2samp(*returns).pvalue > level
    for i in moving:
        assert stats.ks_2samp(first[0][:, i], first[1][:, i]).pvalue > level, i
    still = [i for i in range(first[0].shape[1]) if i not in moving]
    np.testing.assert_allclose(first[0][:1, still], first[1][:1, still], atol=1e-6)
    shifted = returns[1] + returns[1].std()  # it would notice
    assert stats.ks_2samp(returns[0], shifted).pvalue < level


@pytest.mark.parametrize(
    "env_id, kwargs", [("Hopper-v4", {}), ("Reacher-v4", {}), (CARTPOLE, {"max_episode_steps": 30})]
)
def test_no_row_is_the_step_after_an_end(env_id, kwargs):
    """Every row is a transition: the time limit is met to the step, and what follows an end is a start that is acted on."""
    envs = EnvPoolVector(env_id, [kwargs] * 5, seed=2)
    limit = make(env_id, **kwargs).spec.max_episode_steps
    observation, lengths, ends = envs.reset(), np.zeros(5, int), 0
    starts = [observation]
    rng = np.random.default_rng(0)
    for _ in range(120):
        step = envs.step(rng.uniform(-1, 1, (5, envs.spec.action_size)))
        lengths += 1
        ended = step.terminated | step.truncated
        np.testing.assert_array_equal(step.final_observation.any(1), ended)
        np.testing.assert_array_equal(step.truncated, lengths == limit)
        assert not (step.terminated & step.truncated).any()
        assert (step.observation[~ended] != observation[~ended]).any(1).all()  # something moved
        if ended.any():
            starts.append(step.observation[ended])
            assert (np.abs(step.final_observation[ended] - step.observation[ended]).max(1) > 1e-3).all()
        lengths[ended], ends, observation = 0, ends + ended.sum(), step.observation
    assert ends > 5
    if env_id == "Hopper-v4":  # it falls, and stands upright again
        assert np.abs(np.concatenate(starts)[:, 1:]).max() < 0.01


def test_ends_by_falling_are_terminations():
    envs = EnvPoolVector("Hopper-v4", [{}] * 3, seed=0)
    envs.reset()
    steps = [envs.step(np.ones((3, 3))) for _ in range(100)]
    assert any(s.terminated.any() for s in steps) and not any(s.truncated.any() for s in steps)


def test_actions_are_clipped_to_the_bounds():
    def run(scale):
        envs = EnvPoolVector("HalfCheetah-v4", [{}], seed=0)
        envs.reset()
        return [envs.step(np.full((1, 6), scale)) for _ in range(5)]

    for a, b, c in zip(run(1.0), run(7.0), run(0.5), strict=True):
        assert a.reward == b.reward and (a.observation == b.observation).all() and a.reward != c.reward


@pytest.mark.parametrize("env_id", IDS)
def test_a_seed_twice_gives_the_same_bytes_whatever_the_threads(env_id):
    def run(seed, threads):
        envs = EnvPoolVector(env_id, [{"max_episode_steps": 20}] * 6, seed, threads)
        rng, seen = np.random.default_rng(0), [envs.reset()]
        for _ in range(50):
            step = envs.step(rng.standard_normal((6, envs.spec.action_size)))
            seen += [step.observation, step.reward]
        return b"".join(x.tobytes() for x in seen), seen[0]

    (a, first), (b, _), (c, other) = run(3, 1), run(3, 2), run(4, 1)
    assert a == b != c
    assert len(np.unique(np.concatenate([first, other]), axis=0)) == 12  # copies differ, and seeds


def test_tasks_are_mapped_to_their_environments():
    tasks = [{"ctrl_cost_weight": 0.0}, {"ctrl_cost_weight": 5.0}]
    envs = EnvPoolVector("HalfCheetah-v4", [tasks[i % 2] for i in range(4)], seed=0)
    envs.reset()
    reward = envs.step(np.ones((4, 6))).reward
    np.testing.assert_allclose(reward[::2] - reward[1::2], 30.0, atol=2.0)


def test_a_step_that_does_not_return_is_told_and_given_up():
    """The step runs in C++, which ignores interruptions."""
    code = """if True:
        import numpy as np
        from gla import watchdog
        from gla.environments.envpool import EnvPoolVector
        watchdog.ends, watchdog.EVERY, watchdog.FIRST = True, 0.02, 0.1
        envs = EnvPoolVector("InvertedPendulum-v5", [{"frame_skip": 10**8}] * 2, 0, names=["lifetime 3", "lifetime 4"])
        envs.reset()
        envs.step(np.zeros((2, 1)))"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"GLA_STEP_SECONDS": "0.5"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said, *_, last = done.stderr.splitlines()
    where = "lifetime 3, or another of its pool of 2, step 0: "
    assert done.returncode == 1 and said == f"{where}waited for 0.1 s; given up after 0.5 s (GLA_STEP_SECONDS)"
    assert last == f"error: {where}nothing was returned for 0.5 s (expected an answer within GLA_STEP_SECONDS)"


def test_ids_and_sizes_are_gymnasiums():
    assert settings("Ant-v4", {})[0].observation_size == 27
    assert envpool_id("Ant-v4") == "Ant-v4"
    assert envpool_id("dm_control/ball_in_cup-catch-v0") == "BallInCupCatch-v1"
    assert envpool_id("dm_control/humanoid_CMU-run-v0") == "HumanoidCMURun-v1"
    assert settings("dm_control/walker-walk-v0", {})[1] == ["height", "orientations", "velocity"]


@pytest.mark.parametrize(
    "env_id, kwargs, said",
    [
        ("gla/GridWorld-v0", {}, "EnvPool has no 'gla/GridWorld-v0' (expected backend gymnasium)"),
        ("InvertedPendulum-v3", {}, "InvertedPendulum-v3"),
        (
            "Ant-v4",
            {"healthy_z_range": [0.3, 0.9]},
            "EnvPool's takes no healthy_z_range (expected backend gymnasium, or some of",
        ),
        ("HalfCheetah-v4", {"xml_file": "half_cheetah.xml"}, "xml_file"),
        ("Ant-v4", {"healthy_reward": "much"}, "'healthy_reward': 'much'"),
        ("dm_control/finger-spin-v0", {}, "EnvPool's has observations Dict("),
        (CARTPOLE, {"max_episode_steps": -1}, "max_episode_steps -1 (expected 1 or more"),
    ],
)
@pytest.mark.parametrize("where", ["sources.mine.backend", "environments.mine.reference.backend"])
def test_what_envpool_lacks_is_said_when_the_config_is_read(tmp_path, env_id, kwargs, said, where):
    environment, source = (
        {"id": env_id, "kwargs": kwargs},
        {"environment": "mine", "num_updates": 2, "num_steps": 16, "num_minibatches": 2},
    )
    for entry, key in ((source, "sources.mine.backend"), (environment, "environments.mine.reference.backend")):
        (entry if key == "sources.mine.backend" else entry.setdefault("reference", {}))["backend"] = (
            "envpool" if key == where else "gymnasium"
        )
    with pytest.raises(ConfigError) as error:
        checked({"environments": {"mine": environment}, "sources": {"mine": source}}, cache=tmp_path / "cache.json")
    # What Gymnasium refuses too is blamed before any backend is asked.
    gymnasiums = {"InvertedPendulum-v3": "environments.mine.id"} | dict.fromkeys(
        ("xml_file", "healthy_reward"), "environments.mine.kwargs"
    )
    blamed = next((key for named, key in gymnasiums.items() if named in (env_id, *kwargs)), where)
    assert str(error.value).startswith(f"{blamed}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def _raw(env_id, **environment):
    source = {"environment": "mine", "backend": "envpool", "num_updates": 2}
    return {"environments": {"mine": {"id": env_id, **environment}}, "sources": {"mine": source}}


def test_a_task_that_envpool_lacks_is_said(tmp_path):
    with pytest.raises(
        ConfigError, match="sources.mine.backend: 'envpool' for environment 'gla/AntDir-v0': EnvPool has no"
    ):
        checked(_raw("gla/AntDir-v0", tasks=[{"direction": 1}]), cache=tmp_path / "cache.json")


def test_without_envpool_the_config_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(UnsupportedEnvironment, match=r"not installed .*pip install '.\[envpool\]'"):
        EnvPoolVector("Reacher-v4", [{}], 0)
    with pytest.raises(ConfigError, match="sources.mine.backend: .*EnvPool is not installed"):
        checked(_raw("Reacher-v4"), cache=tmp_path / "cache.json")


def test_an_unknown_backend_is_named():
    with pytest.raises(ValueError, match="backend"):
        ppo.Options(environment="mine", backend="isaac", num_updates=2)
    with pytest.raises(ValueError, match="backend"):
        Environment(id="Reacher-v4", reference={"backend": "isaac"})
    with pytest.raises(ConfigError, match=r"backend: 'isaac' \(expected one of gymnasium, envpool\)"):
        vector_env("isaac", "Reacher-v4", [{}], seed=0)


def test_the_store_says_which_backend_made_it(tmp_path):
    source = ppo.Options(
        environment="p",
        backend="envpool",
        lifetimes=2,
        num_envs=2,
        num_updates=2,
        num_steps=64,
        num_minibatches=2,
        update_epochs=1,
    )
    bodies = []
    for i in range(2):
        collect(
            source,
            Environment(id="InvertedPendulum-v4"),
            "p",
            range(2),
            tmp_path / f"{i}/history.zarr",
            tmp_path / f"{i}.json",
        )
        bodies.append(read_json(tmp_path / f"{i}.json"))
    assert bodies[0] == bodies[1]  # hashes of every file among them
    assert bodies[0]["config"]["source"]["backend"] == "envpool" and bodies[0]["versions"]["envpool"]
    h = read(tmp_path / "0/history.zarr", tmp_path / "0.json")
    assert h.terminated.any() and np.abs(h.observation[:, :, 1:][h.terminated[:, :, :-1]]).max() < 0.05


def test_gymnasium_is_the_default():
    population = Population(PPO(num_updates=2), "Reacher-v4", {}, [], range(1), 1, seed=0)
    assert type(population.envs) is VectorEnv
