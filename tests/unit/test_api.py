import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import gla
from gla import api, devices
from gla.acting import write_acting
from gla.agent import read_described
from gla.config.agents import Acting
from gla.config.reading import load
from gla.environments.spaces import UnsupportedEnvironment
from gla.files import CorruptFile, fingerprint
from gla.options import ConfigError
from gla.rows import COLUMNS

ROOT = Path(__file__).parents[2]

SHORT = {"max_episode_steps": 20}


@pytest.fixture(scope="module")
def agent(agent_folder):
    return gla.load(agent_folder)


class Corridor(gym.Env):
    """A user's own environment, with observations by name."""

    observation_space = gym.spaces.Dict({"place": gym.spaces.Box(-9, 9, (1,)), "goal": gym.spaces.Box(-9, 9, (2,))})
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length=3):
        self.length = length

    def _seen(self):
        return {"place": np.array([self.place], np.float32), "goal": np.array([0, self.length], np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self._seen(), {}

    def step(self, action):
        self.place += 2 * action - 1
        return self._seen(), float(self.place == self.length), abs(self.place) == self.length, False, {}


def _numbers(frame):
    return frame.drop(columns="environment")


def test_an_agent_learns_in_an_id_and_the_rows_are_tidy(agent):
    frame = agent.learn("InvertedPendulum-v5", episodes=3, seeds=4, kwargs=SHORT, conditions=["agent", "random"])
    assert tuple(frame.columns) == COLUMNS
    assert (frame.groupby(["condition", "seed"]).size() == 3).all() and len(frame) == 24
    assert set(frame["agent"]) == {"tiny", "baseline"} and set(frame["environment"]) == {"InvertedPendulum-v5"}
    again = agent.learn("InvertedPendulum-v5", episodes=3, seeds=4, kwargs=SHORT, conditions=["agent", "random"])
    pd.testing.assert_frame_equal(frame, again)


def test_an_agent_is_shown_next_to_its_controls_unless_something_else_is_asked_for(agent):
    frame = agent.learn("InvertedPendulum-v5", episodes=1, seeds=2, kwargs=SHORT)
    assert set(frame["condition"]) == {"agent", "rewards_hidden", "rewards_shuffled"}


def test_an_environment_and_a_function_are_the_same_as_their_id(agent):
    by_id = agent.learn("InvertedPendulum-v5", episodes=2, seeds=3, kwargs=SHORT)
    made = gym.make("InvertedPendulum-v5", **SHORT)
    by_object = agent.learn(made, episodes=2, seeds=3)
    by_function = agent.learn(
        lambda **kwargs: gym.make("InvertedPendulum-v5", **kwargs), episodes=2, seeds=3, kwargs=SHORT
    )
    pd.testing.assert_frame_equal(_numbers(by_id), _numbers(by_object))
    pd.testing.assert_frame_equal(_numbers(by_id), _numbers(by_function))


class Unrecorded(gym.Wrapper):
    def __init__(self, env, bonus):
        super().__init__(env)
        self.bonus = bonus

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, reward + self.bonus, *rest


def test_a_wrapper_without_a_record_is_to_come_in_a_function_and_a_vector_as_the_id_of_one(agent):
    asked = {"episodes": 1, "seeds": 2, "conditions": ["agent"]}
    with pytest.raises(
        UnsupportedEnvironment, match=r"its wrapper Unrecorded does not .* such as lambda: Unrecorded\(\.\.\.\)\)"
    ):
        agent.learn(Unrecorded(gym.make("CartPole-v1", **SHORT), 1.0), **asked)
    wrapped = agent.learn(lambda: Unrecorded(gym.make("CartPole-v1", **SHORT), 1.0), **asked)
    assert wrapped["episode_return"].equals(wrapped["episode_length"] * 2.0)
    with pytest.raises(UnsupportedEnvironment, match="a vector of them .expected the id of one"):
        agent.learn(gym.make_vec("CartPole-v1", 3), **asked)


def test_rows_have_the_version_of_the_environment(agent):
    made = gym.make("CartPole-v1", **SHORT)
    assert set(agent.learn(made, episodes=1, seeds=2, conditions=["random"])["environment"]) == {"CartPole-v1"}


def test_loading_and_learning_leave_the_process_as_it_was(agent_folder):
    """In a process of its own, since MuJoCo chooses its renderer when it is imported."""
    said = f"""
import os, warnings
import gymnasium as gym
import gla
gla.load({str(agent_folder)!r}).learn("dm_control/cartpole-balance-v0", env_steps=3, seeds=2, conditions=["agent"], kwargs={SHORT})
assert "MUJOCO_GL" not in os.environ, os.environ["MUJOCO_GL"]
assert gym.logger.min_level == gym.logger.WARN
"""
    environment = {k: v for k, v in os.environ.items() if k != "MUJOCO_GL"}
    done = subprocess.run([sys.executable, "-c", said], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "DISPLAY" not in done.stderr, done.stderr


def test_a_dm_control_task_and_a_class_of_the_users_own(agent):
    assert len(agent.learn("dm_control/cartpole-balance-v0", episodes=1, seeds=2, kwargs=SHORT)) == 2 * 3
    ends = agent.learn(Corridor, episodes=2, seeds=2, kwargs={"length": 2}, conditions=["agent", "online_ppo"])
    assert (ends.groupby(["condition", "seed"]).size() == 2).all()  # they end by themselves
    frame = agent.learn(Corridor, env_steps=60, seeds=2, kwargs={"length": 2})
    assert len(frame) > 4 and set(frame["environment"]) == {"Corridor-v0"}


class Crossing(gym.Env):
    """Observations and actions of integers that do not begin with 0."""

    observation_space = gym.spaces.Tuple([gym.spaces.Discrete(7, start=-3), gym.spaces.Discrete(2, start=1)])
    action_space = gym.spaces.MultiDiscrete([3, 2], start=[-1, 4])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(-1, 2))
        return (self.place, 1), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.place = min(max(self.place + int(action[0]), -3), 3)
        return (self.place, 1 + abs(self.place) % 2), self.place + 0.1 * int(action[1]), False, False, {}


@pytest.fixture
def crossing():
    gym.register("gla-test/Crossing-v0", Crossing)
    yield
    del gym.registry["gla-test/Crossing-v0"]


@pytest.mark.usefixtures("crossing")
@pytest.mark.parametrize(
    "name",
    [
        "InvertedPendulum-v5",
        "gla/GridWorld-v0",
        "dm_control/cartpole-balance-v0",
        "FrozenLake-v1",
        "gla-test/Crossing-v0",
    ],
)
def test_stepping_by_hand_is_what_learn_does(agent, name):
    episodes, seed, limit = 3, 7, 20
    rows = agent.learn(name, episodes=episodes, seeds=1, kwargs=SHORT, seed=seed, conditions=["agent"], device="cpu")
    if name.startswith("dm_control"):
        import shimmy

        gym.register_envs(shimmy)
    env = gym.make(name, **SHORT)
    policy = agent.policy(env, seed=seed, env_steps=episodes * limit)
    observation, _ = env.reset(seed=int(np.random.SeedSequence(seed).generate_state(1, np.uint32)[0]))
    returns, done = [0.0], False
    while len(returns) <= episodes:
        action = policy.act(observation)
        assert env.action_space.contains(action)
        observation, reward, terminated, truncated, _ = env.step(action)
        returns[-1] += float(reward)
        done = terminated or truncated
        policy.observe(float(reward), done)
        if done:
            observation, _ = env.reset()
            returns.append(0.0)
    np.testing.assert_allclose(returns[:episodes], rows["episode_return"])


def _where(agent):
    return next(agent.model.parameters()).device


@pytest.mark.parametrize("asked, used", [({}, 1), ({"threads": 2}, 2)])
def test_a_rollout_has_one_thread_unless_asked_and_the_users_number_comes_back(agent, monkeypatch, asked, used):
    seen, original, before = [], api.run_agent, torch.get_num_threads()
    monkeypatch.setattr(api, "run_agent", lambda *x: seen.append(torch.get_num_threads()) or original(*x))
    try:
        torch.set_num_threads(3)
        agent.learn("InvertedPendulum-v5", episodes=1, seeds=2, kwargs=SHORT, conditions=["agent"], **asked)
        assert seen == [used] and torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [0, True, 1.5])
def test_a_number_of_threads_that_makes_no_sense_is_refused(agent, threads):
    with pytest.raises(ConfigError, match=rf"threads: {threads!r} \(expected 1 or more\)"):
        agent.learn("InvertedPendulum-v5", episodes=1, seeds=2, threads=threads)


def test_an_agent_and_the_package_say_what_they_have(agent):
    assert (
        repr(agent)
        == f"<agent {agent.name!r}: transformer, {sum(p.numel() for p in agent.model.parameters()):,} weights>"
    )
    assert "load" in dir(gla) and gla.load is api.load


@pytest.mark.parametrize("named", [{}, {"device": "meta"}, {"device": torch.device("meta")}])
def test_a_rollout_is_on_the_device_that_is_free_or_named(agent, monkeypatch, named):
    """And the agent, whose policies may have begun, stays where it was."""
    used, run_agent = [], api.run_agent
    monkeypatch.setattr(api, "run_agent", lambda there, *rest: used.append(_where(there)) or run_agent(agent, *rest))
    monkeypatch.setattr(devices, "device", lambda: contextlib.nullcontext(torch.device("cpu" if named else "meta")))
    frame = agent.learn("InvertedPendulum-v5", episodes=1, seeds=2, kwargs=SHORT, conditions=["agent"], **named)
    assert used == [torch.device("meta")] and _where(agent) == torch.device("cpu") and len(frame) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_rollout_on_a_gpu_is_that_on_the_cpu(agent):
    frames = [
        agent.learn("dm_control/cartpole-balance-v0", episodes=2, seeds=4, kwargs=SHORT, device=device)
        for device in ("cpu", "cuda")
    ]
    pd.testing.assert_frame_equal(*frames, rtol=1e-3)


def test_the_evaluation_of_stable_baselines3_sees_an_agent_learn():
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    env = gym.make("gla/GridWorld-v0", start=[1, 1], goal=[0, 2])
    policy = gla.load("grid").policy(env, seed=1)
    returns, _ = evaluation.evaluate_policy(
        policy, policy.told_by(env), n_eval_episodes=30, return_episode_rewards=True, warn=False
    )
    assert np.mean(returns[-10:]) > 3 > np.mean(returns[:2])


def test_what_is_predicted_is_what_is_done_by_hand(agent):
    """Of one environment and of a vector of one, whose observations are vectors, integers or dictionaries."""
    for env, cut in ((gym.make("CartPole-v1"), lambda o: o[None]), (gym.make("FrozenLake-v1"), lambda o: np.array([o])),
                     (Corridor(), lambda o: {k: v[None] for k, v in o.items()})):  # fmt: skip
        by_hand, one, several = (agent.policy(env, seed=2) for _ in range(3))
        told = one.told_by(env)
        observation, _ = told.reset(seed=0)
        for _ in range(3):
            action, state = one.predict(observation, episode_start=np.ones(1, bool), deterministic=True)
            batch, _ = several.predict(cut(observation))
            assert state is None and batch.shape == (1, *np.shape(action))
            assert np.array_equal(action, by_hand.act(observation)) and np.array_equal(batch[0], action)
            observation, reward, terminated, truncated, _ = told.step(action)
            for policy in (by_hand, several):
                policy.observe(reward, terminated or truncated)
            if terminated or truncated:
                observation, _ = told.reset()
    with pytest.raises(ValueError, match="observations of 2 environments"):
        agent.policy(gym.make("CartPole-v1")).predict(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="observations of 2 environments"):
        agent.policy(Corridor()).predict({"place": np.zeros((2, 1), np.float32), "goal": np.zeros((2, 2), np.float32)})


SAME = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1", "InvertedPendulum-v5"])
def test_a_vector_of_one_is_acted_in_as_one_environment(agent, env_id):
    one, several = gym.make(env_id), gym.make_vec(env_id, 1, vectorization_mode="sync", vector_kwargs=SAME)
    policy, policies = agent.policy(one, seed=2), agent.policy(several, seed=2)
    observation, _ = one.reset(seed=0)
    observations, _ = several.reset(seed=0)
    for _ in range(40):
        action, actions = policy.act(observation), policies.act(observations)
        np.testing.assert_array_equal(actions[0], action)
        assert several.action_space.contains(actions)
        observation, reward, terminated, truncated, _ = one.step(action)
        observations, rewards, terminations, truncations, _ = several.step(actions)
        policy.observe(reward, terminated or truncated)
        policies.observe(rewards, terminations | truncations)
        if terminated or truncated:
            observation, _ = one.reset()
        np.testing.assert_array_equal(observations[0], observation)


def test_an_agent_learns_in_a_vector_of_environments():
    """In which goals differ, so that contexts must not be mixed up."""
    goals = [[0, 2], [2, 1], [0, 2]]
    envs = gym.vector.SyncVectorEnv(
        [lambda goal=goal: gym.make("gla/GridWorld-v0", start=[1, 1], goal=goal) for goal in goals], **SAME
    )
    policy, total = gla.load("grid").policy(envs, seed=1), np.zeros((300, 3))
    observations, _ = envs.reset(seed=0)
    for t in range(300):
        observations, total[t], terminations, truncations, _ = envs.step(policy.act(observations))
        policy.observe(total[t], terminations | truncations)
    assert (total[-50:].sum(0) > 15).all() and (total[:20].sum(0) < 5).all()
    with pytest.raises(RuntimeError, match="expected act"):
        policy.observe(total[0], terminations)
    with pytest.raises(ValueError, match="expected 3 of finite numbers"):
        policy.act(observations * np.nan)
    policy.act(observations)
    with pytest.raises(RuntimeError, match="expected observe"):
        policy.act(observations)
    for rewards, dones, said in ((total[0, :2], terminations, "rewards"), (total[0], [0, 1, 0], "dones")):
        with pytest.raises(ValueError, match=said):
            policy.observe(rewards, dones)
    with pytest.raises(UnsupportedEnvironment, match="autoreset_mode NextStep \\(expected SameStep"):
        gla.load("grid").policy(gym.make_vec("CartPole-v1", 2))


def test_an_agent_acts_with_its_own_settings_unless_others_are_given(agent_folder, tmp_path):
    folder = shutil.copytree(agent_folder, tmp_path / "cool")
    plain, where = gla.load(folder), {"env": "CartPole-v1", "env_steps": 20, "seeds": 2, "conditions": ["agent"]}
    assert plain.acting == Acting()
    write_acting(folder, Acting(temperature=0.2, cooling={"steps": 5, "temperature": 0.0}, context_length=7))
    cool = gla.load(folder)
    given = {"temperature": 0.2, "cooling": {"steps": 5, "temperature": 0.0}, "context_length": 7}
    pd.testing.assert_frame_equal(cool.learn(**where), plain.learn(**where, **given))
    assert cool.policy(gym.make("CartPole-v1")).evaluation.temperature == 0.2
    warm = {"temperature": 0.9, "context_length": 7}  # and does not fall
    pd.testing.assert_frame_equal(cool.learn(**where, temperature=0.9), plain.learn(**where, **warm))
    (folder / "acting.json").write_text('{"acting": {"temperature": -1}}')
    with pytest.raises(CorruptFile, match="acting.json"):
        gla.load(folder)


def test_the_general_agent_is_what_its_config_makes():
    """Its description holds the entries of the config that decide its weights, and the hash of these, and its sources' hashes are those of
    the manifest."""
    config = load(yaml.safe_load((ROOT / "config/general.yaml").read_text()))
    entry, body = config.agents[gla.GENERAL], read_described(gla.SHIPPED / gla.GENERAL, anywhere=True)
    assert body["config"] == entry.model_copy(update={"dataset": "", "seeds": 1}).model_dump(exclude={"acting"})
    manifest, dataset = body["manifest"], config.datasets[entry.dataset]
    assert manifest["encoding"] == dataset.encoding.model_dump() and list(manifest["sources"]) == dataset.sources
    for name, source in manifest["sources"].items():
        own = config.sources[name]
        assert source["environment"] == own.environment and source["updates"] == own.updates
    assert manifest["content"] == fingerprint({k: v for k, v in manifest.items() if k != "content"})
    assert sum(path.stat().st_size for path in (gla.SHIPPED / gla.GENERAL).iterdir()) < 5e6
    published = json.loads((ROOT / "docs/results/general/provenance.json").read_text())["general-agent"]
    assert published["weights"] == body["weights"] and published["training"] == body["training"]


@pytest.mark.parametrize("name", gla.agents())
def test_an_installed_agent_has_a_card_of_its_weights(name):
    body, card = read_described(gla.SHIPPED / name), (gla.SHIPPED / name / "README.md").read_text()
    assert body["weights"]["sha256"] in card and "license: apache-2.0" in card and f"# {name}\n" in card


def test_the_general_agent_learns_a_pendulum_from_its_rewards():
    frame = gla.load("general").learn(
        "Pendulum-v1", seeds=4, env_steps=500, kwargs={"max_episode_steps": 100}, conditions=("agent", "rewards_hidden")
    )
    last = frame[frame["episode"] == 4].groupby("condition")["episode_return"].mean()
    assert last["agent"] > -450 and last["agent"] > last["rewards_hidden"] + 100


@pytest.mark.parametrize(
    "env, kwargs, length",
    [("gla/GridWorld-v0", {}, (20, None)), ("CartPole-v1", {}, (None, 1000)), ("CartPole-v1", {"max_episode_steps": 200}, (20, None)),
     (Corridor, {}, (None, 1000))],
)  # fmt: skip
def test_a_lifetime_has_twenty_episodes_unless_these_may_be_long(env, kwargs, length):
    _, evaluation = api.asked(env, None, 2, ("agent",), kwargs, {})
    assert (evaluation.episodes, evaluation.env_steps) == length
    _, evaluation = api.asked(env, None, 2, ("agent",), kwargs, {"env_steps": 7})
    assert (evaluation.episodes, evaluation.env_steps) == (None, 7)


def test_an_agent_that_is_installed_learns_a_world_of_gymnasium():
    """From its rewards: with them hidden it does not find the way over the ice. A folder of the same name comes first."""
    assert gla.agents() == ["general", "grid", "omni", "point_mass"]
    frame = gla.load("omni").learn(
        "FrozenLake-v1", episodes=60, seeds=8, conditions=("agent", "rewards_hidden"), kwargs={"is_slippery": False}, temperature=0.3
    )  # fmt: skip
    last = frame[frame["episode"] >= 40].groupby("condition")["episode_return"].mean()
    assert last["agent"] > 0.25 and last["rewards_hidden"] < 0.05


def test_a_folder_comes_before_an_installed_agent_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "omni").mkdir()
    with pytest.raises(CorruptFile, match="omni/agent.json: missing"):
        gla.load("omni")


def test_a_policy_sees_what_it_is_handed_and_nothing_else(agent):
    env = gym.make("InvertedPendulum-v5")
    policy = agent.policy(env)
    assert not any(isinstance(value, gym.Env) for value in vars(policy).values())
    first = np.array([0.1, 0.2, 0.3, 0.4])
    action = policy.act(first)
    with pytest.raises(RuntimeError, match="expected observe"):
        policy.act(first)
    policy.observe(1.0, False)
    with pytest.raises(RuntimeError, match="expected act"):
        policy.observe(1.0, False)
    policy.reset()
    np.testing.assert_array_equal(policy.act(first), action)


def test_what_a_policy_cannot_take_is_said(agent):
    policy = agent.policy(gym.make("InvertedPendulum-v5"))
    for bad in ([1.0, 2.0], [np.nan] * 4):
        with pytest.raises(ValueError, match="expected 4 finite numbers"):
            policy.act(np.array(bad))
    for bad in ("abcd", np.zeros((2, 2)), np.zeros(4, complex), list("1234")):
        with pytest.raises(ValueError, match="expected 4 finite numbers"):
            policy.act(bad)
    policy.act(np.zeros(4))
    for reward, done, said in (
        (np.nan, False, "reward nan"),
        ("1", False, "reward '1'"),
        (1.0, "False", "done 'False'"),
    ):
        with pytest.raises(ValueError, match=said):
            policy.observe(reward, done)
    seen = Corridor()
    seen.observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    with pytest.raises(UnsupportedEnvironment, match="look like images"):
        agent.policy(seen)


def test_an_environment_that_fails_is_named_with_the_seed_and_the_step(agent):
    class Fails(Corridor):
        def step(self, action):
            if self.length == 3 and self.np_random.random() < 0.2:
                raise ZeroDivisionError("no ground")
            return super().step(action)

    with pytest.raises(
        UnsupportedEnvironment, match=r"'gla-user/Fails-v0', seed \d, step \d+: ZeroDivisionError: no ground"
    ) as error:
        agent.learn(Fails, env_steps=60, seeds=3)
    assert isinstance(error.value.__cause__, ZeroDivisionError)  # with its traceback


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"episodes": 0}, "episodes: 0 \\(expected greater than or equal to 1\\)"),
        ({"episodes": 2, "env_steps": 2}, "episodes 2 and env_steps 2"),
        ({"conditions": ["ppo"]}, r"conditions: 'ppo' \(expected some of agent, rewards_hidden"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_settings_that_cannot_be_are_said(agent, settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        agent.learn("InvertedPendulum-v5", **settings)


def test_environments_that_cannot_be_are_said(agent):
    with pytest.raises(UnsupportedEnvironment, match="'NoSuchThing-v1'"):
        agent.learn("NoSuchThing-v1")
    with pytest.raises(UnsupportedEnvironment, match="not made by gymnasium.make"):
        agent.learn(Corridor())
    with pytest.raises(UnsupportedEnvironment, match="neither an id"):
        agent.learn(3)
    with pytest.raises(CorruptFile, match="agent.json: missing"):
        gla.load("nowhere")
