"""Agents that this package did not make are judged by the same rollouts, controls and rules as its own."""

import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gla
from gla import cli, foreign, judging
from gla.environments.spaces import flatten
from gla.options import ConfigError
from gla.rows import COLUMNS

CONTROLLED = ["agent", "rewards_hidden", "rewards_shuffled", "random"]


class Arms(gym.Env):
    """One of five arms pays. The observation is the number of pulls since the first one of all."""

    observation_space = gym.spaces.Box(0, 1e6, (1,))
    action_space = gym.spaces.Discrete(5)

    def __init__(self, best=3):
        self.best, self.pulls = best, 0

    def _seen(self):
        return np.array([self.pulls], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action):
        self.pulls += 1
        return self._seen(), float(action == self.best), False, self.pulls % 20 == 0, {}


class Greedy:
    """Takes the arm with the best mean reward, and any other one time in ten."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.paid, self.tried = np.zeros(5), np.zeros(5)

    def act(self, observation):
        explores = self.rng.random() < 0.1 or not self.paid.any()
        self.arm = int(self.rng.integers(5)) if explores else int((self.paid / np.maximum(self.tried, 1)).argmax())
        return self.arm

    def observe(self, reward, done):
        self.paid[self.arm] += reward
        self.tried[self.arm] += 1


def _looped(env, seed):
    """The same learner with a loop of its own."""
    agent = Greedy(seed)
    observation, _ = env.reset(seed=seed)
    while True:
        observation, reward, terminated, truncated, _ = env.step(agent.act(observation))
        agent.observe(reward, terminated or truncated)
        if terminated or truncated:
            observation, _ = env.reset()


class Several:
    """The same learners, all in one object."""

    def __init__(self, seeds):
        self.agents = [Greedy(seed) for seed in range(seeds)]

    def act(self, observation):
        assert observation.shape == (len(self.agents), 1)
        return np.array([agent.act(one) for agent, one in zip(self.agents, observation, strict=True)])

    def observe(self, reward, done):
        for agent, paid, ended in zip(self.agents, reward, done, strict=True):
            agent.observe(paid, ended)

    def forget(self, streams):
        for seed in np.flatnonzero(streams):
            self.agents[seed] = Greedy(seed)


def _judged(make, conditions=CONTROLLED, **settings):
    return gla.judge(make, Arms, **{"env_steps": 200, "seeds": 8, "conditions": conditions, "name": "it"} | settings)


def test_a_learner_learns_from_reward_and_a_fixed_policy_does_not_improve():
    learns = _judged(lambda env, seed: Greedy(seed), [*CONTROLLED, "online_linear"])
    assert learns.verdict == "learns from reward"
    assert tuple(learns.rows.columns) == COLUMNS and set(learns.rows["agent"]) == {"it", "baseline"}
    text = str(learns)
    assert "it: learns from reward (its last fifth of episodes returns" in text and "linear from scratch" in text
    assert "below random" not in text
    stays = _judged(lambda env, seed: lambda observation: 0)
    assert stays.verdict == "does not improve" and "It ends below random" in str(stays)


def test_who_is_told_the_answer_by_the_clock_improves_without_reward():
    judged = _judged(lambda env, seed: lambda observation: 3 if observation[0] > 100 else 0)
    assert judged.verdict == "improves without reward"
    assert "but the last fifth 20 at most with hidden or shuffled rewards" in str(judged)


def test_where_all_steps_pay_the_same_no_control_tells_anything():
    judged = gla.judge(
        lambda env, seed: lambda observation: int(observation[2] > 0), "CartPole-v1", episodes=2, seeds=4
    )
    assert judged.verdict in ("no control", "does not improve")
    row = judged.row.copy()
    row["verdict"] = "no control"
    assert "every step pays the same, so that no control tells" in judging.sentence(row)
    row["control_last"] = np.nan
    assert "and no control tells" in judging.sentence(row)


def test_a_learner_of_steps_of_a_loop_and_of_all_runs_at_once_is_the_same():
    apart = _judged(lambda env, seed: Greedy(seed), [*CONTROLLED, "context_wiped"])
    looped = _judged(gla.learner(_looped), [*CONTROLLED, "context_wiped"])
    together = _judged(lambda env, seeds: Several(seeds), [*CONTROLLED, "context_wiped"], batched=True)
    pd.testing.assert_frame_equal(apart.rows, looped.rows)
    pd.testing.assert_frame_equal(apart.rows, together.rows)
    ends = apart.rows.groupby("condition")["episode_return"].mean()
    assert ends["context_wiped"] < ends["agent"] - 1  # a new agent for each episode


def test_controls_change_the_rewards_of_a_loop_and_not_the_rows():
    heard = []

    def listens(env, seed):
        env.reset()
        while True:
            _, reward, _, truncated, _ = env.step(seed % 5)  # seed 3 and seed 8 earn all there is
            heard.append((seed, reward))
            if truncated:
                env.reset()

    settings = {"env_steps": 20, "seeds": 5}
    _judged(gla.learner(listens), ["agent"], **settings)
    assert {seed for seed, reward in heard if reward} == {3}
    heard.clear()
    rows = gla.judge(
        gla.learner(listens), Arms, conditions=["agent", "rewards_hidden", "rewards_shuffled"], **settings
    ).rows
    steps = len(heard) // 3
    assert not any(reward for _, reward in heard[steps : 2 * steps])
    assert {seed for seed, reward in heard[2 * steps :] if reward} == {4}
    assert (rows[rows["seed"] == 3]["episode_return"] == 20).all() and (
        rows[rows["seed"] == 4]["episode_return"] == 0
    ).all()


def test_a_loop_sees_what_gymnasium_shows_and_is_stopped_at_the_end():
    seen, over = [], []

    def watches(env, seed):
        try:
            observation, _ = env.reset(seed=seed)
            while True:
                after, *rest = env.step(0)
                seen.append((observation, after, *rest))
                observation = after
                if rest[1] or rest[2]:
                    observation, _ = env.reset()
        finally:
            over.append(seed)

    gla.judge(
        gla.learner(watches),
        "MountainCar-v0",
        env_steps=30,
        seeds=2,
        conditions=["agent"],
        kwargs={"max_episode_steps": 9},
    )
    assert sorted(over) == [0, 1] and len(seen) == 2 * 29  # nobody is told what the last action led to
    plain = gym.make("MountainCar-v0", max_episode_steps=9)
    ends = 0
    for observation, after, reward, terminated, truncated, _ in seen[::2]:
        plain.reset()
        plain.unwrapped.state = observation
        expected = plain.step(0)
        np.testing.assert_allclose(after, expected[0], atol=1e-6)  # the last one of an episode as well
        assert (reward, terminated) == (expected[1], False)
        ends += truncated
    assert ends == 3


@given(start=st.integers(-3, 3), numbers=st.lists(st.integers(2, 4), min_size=1, max_size=3), data=st.data())
def test_agents_see_and_act_in_the_spaces_of_the_author(start, numbers, data):
    spaces = [
        gym.spaces.Discrete(4, start=start), gym.spaces.MultiDiscrete(numbers), gym.spaces.Box(-1, 1, (2, 2)),
        gym.spaces.Dict({"a": gym.spaces.Discrete(3), "b": gym.spaces.Box(-1, 1, (2,))}),
    ]  # fmt: skip
    for space in spaces:
        space.seed(data.draw(st.integers(0, 100)))
        value = space.sample()
        again = foreign.raw(space, np.asarray(flatten(space, value), np.float32))
        assert space.contains(again)
        np.testing.assert_equal(again, value)
    from gla.environments.spaces import counted

    for space in spaces[:2]:
        value = space.sample()
        assert np.array_equal(counted(space, foreign.own_action(space, value)), value)
    box = gym.spaces.Box(-1, 1, (2,))
    assert foreign.own_action(box, [3, 0.5]).tolist() == [3, 0.5]  # a rollout clips it


@pytest.mark.parametrize(
    ("space", "action"),
    [
        (gym.spaces.Discrete(2), 2), (gym.spaces.Discrete(2, start=1), 0), (gym.spaces.Discrete(2), 0.5), (gym.spaces.Discrete(2), None),
        (gym.spaces.MultiDiscrete([2, 2]), [0, 2]), (gym.spaces.MultiDiscrete([2, 2]), 1), (gym.spaces.Box(-1, 1, (2,)), [0.0]),
    ],
)  # fmt: skip
def test_an_action_of_another_space_is_refused(space, action):
    with pytest.raises(ConfigError, match=r"agent: action .* \(expected one of"):
        foreign.own_action(space, action)


def test_modules_and_policies_of_other_libraries_act():
    class Always(torch.nn.Module):
        def forward(self, x):
            return torch.eye(5)[[3] * len(x)]

    assert _judged(lambda env, seed: Always()).rows.query("condition == 'agent'")["episode_return"].eq(20).all()

    class Recurrent:
        """Takes one arm after another, and begins anew where an episode does."""

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            state = 0 if state is None or episode_start.all() else state + 1
            return np.int64(state % 5), state

    rows = _judged(lambda env, seed: Recurrent(), ["agent"]).rows
    assert rows["episode_return"].eq(4).all()


def test_a_learner_of_stable_baselines3_is_judged():
    sb3 = pytest.importorskip("stable_baselines3")

    def a2c(env, seed):
        sb3.A2C(
            "MlpPolicy", env, n_steps=5, learning_rate=5e-3, ent_coef=0.0, gamma=0.0, seed=seed, device="cpu"
        ).learn(10**9)

    first, again = (_judged(gla.learner(a2c), env_steps=60, seeds=2) for _ in range(2))
    pd.testing.assert_frame_equal(first.rows, again.rows)
    trained = sb3.A2C("MlpPolicy", Arms(), seed=0, device="cpu")
    assert len(_judged(lambda env, seed: trained, ["agent"], env_steps=40, seeds=2).rows) == 4


def test_an_agent_of_this_package_is_judged_as_it_learns(agent_folder):
    agent = gla.load(agent_folder)
    settings = {
        "episodes": 3,
        "seeds": 3,
        "kwargs": {"max_episode_steps": 20},
        "conditions": ["agent", "rewards_hidden"],
    }
    judged = gla.judge(agent, "InvertedPendulum-v5", **settings)
    pd.testing.assert_frame_equal(judged.rows, agent.learn("InvertedPendulum-v5", **settings))
    assert judged.row["agent"] == agent.name


def _returns(env, seed):
    env.reset()


def _resets(env, seed):
    env.reset()
    env.step(0)
    env.reset()


def _steps_on(env, seed):
    env.reset()
    while True:
        env.step(0)


def _fails(env, seed):
    raise ZeroDivisionError("of its own")


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (lambda env, seed: None, {}, r"agent: None \(expected an object with act"),
        (7, {}, r"agent: 7 \(expected a function make"),
        (lambda env, seed: lambda o: 7, {}, r"agent: action 7 \(expected one of Discrete\(5\)\)"),
        (lambda env, seed: lambda o: 0, {"conditions": ["random"]}, "expected agent among them"),
        (gla.learner(_returns), {}, r"returned \(expected a loop that goes on"),
        (gla.learner(_resets), {}, "reset in the middle of an episode"),
        (gla.learner(_steps_on), {}, "step after the end of an episode"),
        (gla.learner(_returns), {"batched": True}, "each run has its own loop"),
        (lambda env, seeds: lambda o: [0], {"batched": True}, r"1 actions \(expected 8"),
        (
            lambda env, seeds: lambda o: [0] * 8,
            {"batched": True, "conditions": ["agent", "context_wiped"]},
            "has no forget",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_sentence(make, settings, message):
    with pytest.raises(ConfigError, match=message):
        _judged(make, **settings)


def test_an_error_of_a_loop_is_raised_where_the_judgement_was_asked_for():
    with pytest.raises(ZeroDivisionError, match="of its own"):
        _judged(gla.learner(_fails))


def test_the_command_judges_a_function_of_a_module(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("def lean(env, seed):\n    return lambda observation: int(observation[2] > 0)\n")
    monkeypatch.chdir(tmp_path)
    asked = ["judge", "--env", "CartPole-v1", "--episodes", "2", "--seeds", "2", "--conditions", "agent", "random"]
    assert cli.main([*asked, "--policy", "mine:lean", "--rows", "rows.csv", "--plot", "out.png"]) == 0
    assert "\nlean: " in capsys.readouterr().out
    assert len(pd.read_csv("rows.csv")) == 8 and (tmp_path / "out.png").stat().st_size > 1000
    for policy, said in (("mine", "MODULE:FUNCTION"), ("mine:fat", "which has no fat"), ("nothing:lean", "nothing")):
        assert cli.main([*asked, "--policy", policy]) == 2
        assert said in capsys.readouterr().err
