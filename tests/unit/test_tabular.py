"""Worlds that are tables: dark rooms, bandits and random Markov decision processes."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from gla.environments.bandit import FAVOURED, Bandit, TabularMDP
from gla.environments.dark_room import DarkKeyToDoor, DarkRoom, DarkRoomCost, DarkRoomHard
from gla.environments.kinds import ENVIRONMENTS
from gla.environments.making import bounds, make, optimal_return
from gla.environments.spaces import UnsupportedEnvironment
from gla.environments.tabular import Tables, TabularVector
from gla.environments.vector import VectorEnv, stepped

WORLDS = [
    name
    for name, own in ENVIRONMENTS.items()
    if own.module in ("gla.environments.dark_room", "gla.environments.bandit", "gla.environments.anymdp")
]
STAY = 4


@pytest.mark.parametrize("env_id", WORLDS)
@pytest.mark.filterwarnings("ignore")
def test_worlds_pass_gymnasiums_checker(env_id):
    check_env(make(env_id).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("env_id", WORLDS)
def test_tables_are_distributions(env_id):
    for task in range(3):
        t: Tables = gym.make(env_id, task=task).unwrapped.tables
        np.testing.assert_allclose(t.probability.sum(-1), 1)
        assert t.start.sum() == pytest.approx(1) and (t.probability >= 0).all() and (t.start >= 0).all()
        assert ((t.successor >= 0) & (t.successor < t.sizes[0])).all()
        assert ((t.seen >= 0) & (t.seen < t.observations)).all()


# One engine


@pytest.mark.parametrize("env_id", [n for n in WORLDS if "Room" in n])
def test_side_by_side_they_do_what_each_does_alone(env_id):
    """Dark rooms are deterministic, so that arrays and Gymnasium's own interface agree step by step."""
    kwargs = [{"task": t, "start": "centre"} for t in (0, 5, 5, 44)]
    envs, alone = stepped(env_id, kwargs, 0, 1, None), VectorEnv(env_id, kwargs, 0)
    assert isinstance(envs, TabularVector) and envs.spec == alone.spec
    np.testing.assert_array_equal(envs.reset(), alone.reset())
    rng = np.random.default_rng(1)
    for _ in range(230):  # past every time limit
        action = rng.integers(0, envs.spec.action_size, 4)
        for one, other in zip(envs.step(action), alone.step(action), strict=True):
            np.testing.assert_array_equal(one, other)


def test_draws_are_the_tables_own():
    """Frequencies of successors, of noisy rewards and of first states in many copies of one random world."""
    envs = TabularMDP.vector("gla/TabularMDP-v0", [{"task": 3}] * 40_000, 0)
    t, action = envs.tables[0], np.full(40_000, 2)
    assert envs.reset().argmax(1).max() == 0
    step = envs.step(action)
    seen = np.bincount(step.observation.argmax(1), minlength=10) / 40_000
    np.testing.assert_allclose(seen, t.probability[0, 2], atol=0.012)
    assert step.reward.mean() == pytest.approx(t.reward[0, 2, 0], abs=0.03) and step.reward.std() == pytest.approx(
        1, abs=0.02
    )
    first = DarkRoom.vector("gla/DarkRoom-v0", [{"start": "random", "size": 3}] * 40_000, 0).reset().mean(0)
    np.testing.assert_allclose(first, 1 / 9, atol=0.01)
    pulls = Bandit.vector("gla/Bandit-v0", [{"means": [0.2, 0.9], "arms": 2}] * 40_000, 0)
    pulls.reset()
    assert [pulls.step(np.full(40_000, a)).reward.mean() for a in (0, 1)] == pytest.approx([0.2, 0.9], abs=0.01)


def test_a_seed_twice_gives_the_same_steps_and_another_does_not():
    def run(seed):
        envs = TabularMDP.vector("gla/TabularMDP-v0", [{"task": t % 3} for t in range(6)], seed)
        first, rng = envs.reset(), np.random.default_rng(0)
        return [first, *(x for _ in range(25) for x in envs.step(rng.integers(0, 5, 6)))]

    one, same, other = run(1), run(1), run(2)
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("action", [-1, 5])
def test_actions_that_do_not_exist_are_refused(action):
    envs = stepped("gla/DarkRoom-v0", [{}, {}], 0, 1, None)
    envs.reset()
    with pytest.raises(ValueError, match=r"actions from .* \(expected 0 to 4\)"):
        envs.step(np.array([STAY, action]))


def test_tasks_of_different_sizes_are_refused():
    with pytest.raises(UnsupportedEnvironment, match="different sizes"):
        DarkRoom.vector("gla/DarkRoom-v0", [{"size": 3}, {"size": 4}], 0)


# Closed forms


def test_the_best_return_of_a_dark_room_counts_the_steps_on_its_goal():
    """min(20 - distance + 1, 20) from the centre, 16.54 on average over all goals."""
    best = [min(20, 21 - abs(r - 4) - abs(c - 4)) for r in range(9) for c in range(9)]
    found = [optimal_return("gla/DarkRoom-v0", {"goal": [r, c]}, []) for r in range(9) for c in range(9)]
    assert found == pytest.approx(best) and np.mean(found) == pytest.approx(16.543, abs=1e-3)
    assert optimal_return("gla/DarkRoom-v0", {}, [{"task": t} for t in range(81)]) == pytest.approx(np.mean(best))


def test_the_best_return_from_the_corner_is_the_pages():
    """100 - distance + 1 steps on the goal of 100, or all of them: 92.0 on average over the 100 goals."""
    best = optimal_return("gla/DarkRoomCorner-v0", {}, [{"task": t} for t in range(100)])
    assert best == pytest.approx(np.mean([min(100, 101 - r - c) for r in range(10) for c in range(10)]))
    assert f"| {best:.1f} on average |" in (Path(__file__).parents[2] / "docs/algorithm_distillation.md").read_text()


@pytest.mark.parametrize("size, goal", [(6, [5, 5]), (10, [9, 9]), (4, [1, 2])])
def test_where_steps_cost_the_best_return_is_that_of_the_way_to_the_goal(size, goal):
    """1 for the goal and -0.01 for each step before the one that reaches it, on average over all other cells."""
    row, column = goal
    ways = [abs(r - row) + abs(c - column) for r in range(size) for c in range(size)]
    best = np.mean([1 - 0.01 * (way - 1) for way in ways if way])
    kwargs = {"size": size, "goal": goal}
    assert optimal_return("gla/DarkRoomCost-v0", kwargs, []) == pytest.approx(best)
    t = DarkRoomCost(**kwargs).tables
    assert t.reward.shape[1] == 4 and t.start[row * size + column] == 0 and t.start.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "env_id, best", [("gla/DarkRoomHard-v0", 1), ("gla/DarkRoomEnds-v0", 1), ("gla/DarkKeyToDoorEnds-v0", 2)]
)
def test_what_pays_once_pays_once(env_id, best):
    assert optimal_return(env_id, {}, [{"task": t} for t in range(8)]) == pytest.approx(best)


def test_a_bandits_best_is_its_best_arm_and_a_random_worlds_is_by_enumeration():
    assert optimal_return("gla/Bandit-v0", {"means": [0.1, 0.7, 0.3], "arms": 3}, []) == pytest.approx(0.7)
    t = TabularMDP(4, states=2, actions=2).tables
    # Two steps: every first action, followed by the best of the second in each state.
    last = t.reward[:, :, 0].max(1)
    two = max(t.reward[0, a, 0] + t.probability[0, a] @ last for a in range(2))
    assert t.optimal_values(2)[-1, 0] == pytest.approx(two)


@settings(max_examples=15, deadline=None)
@given(task=st.integers(0, 80), seed=st.integers(0, 99))
def test_nobody_does_better_than_the_optimum_and_its_actions_reach_it(task, seed):
    env = DarkRoom(task)
    plan, rng = env.tables.optimal_actions(20, 0.99), np.random.default_rng(seed)
    state, _ = env.reset(seed=seed)
    oracle = sum(env.step(int(plan[19 - i, env.state]))[1] for i in range(20))
    assert oracle == env.optimal_return(20)
    env.reset(seed=seed)
    assert sum(env.step(int(rng.integers(5)))[1] for _ in range(20)) <= oracle


# What pays


def test_a_room_pays_on_every_step_on_its_goal_or_once():
    goal = {"goal": [4, 4]}  # the start
    for env, paid in ((DarkRoom(**goal), [1, 1, 0, 1]), (DarkRoomHard(size=9, **goal), [1, 0, 0, 0])):
        env.reset(seed=0)
        assert [env.step(a)[1] for a in (STAY, STAY, 0, 2)] == paid


def test_the_door_pays_after_the_key_alone():
    env = DarkKeyToDoor(key=[0, 1], door=[0, 0], size=3, start=[0, 0])
    env.reset(seed=0)
    assert [env.step(a)[1] for a in (STAY, 1, STAY, 3, STAY)] == [0, 1, 0, 1, 0]


def test_a_reward_of_nothing_has_no_sign():
    """Minus zero is equal to zero, and has other bytes in a store."""
    assert not any(np.signbit(DarkRoom(size=3, ends=ends).tables.reward).any() for ends in (False, True))


def test_walls_stop_and_goals_are_not_seen():
    rooms = [DarkRoom(goal=[r, 0], size=3, start="corner") for r in (1, 2)]
    for env in rooms:
        assert env.reset(seed=0)[0] == 0 and env.step(0)[0] == 0 and env.step(3)[0] == 0
    assert [env.step(1)[0] for env in rooms] == [1, 1]


# Tasks


def test_every_goal_and_pair_is_one_task():
    assert sorted(DarkRoom(t).goal for t in range(81)) == list(range(81))
    pairs = {(int(e.key), int(e.door)) for e in (DarkKeyToDoor(t, size=3) for t in range(81))}
    assert len(pairs) == 81
    with pytest.raises(ValueError, match="task 81"):
        DarkRoom(81)


def test_favoured_arms_are_the_best_in_most_tasks():
    best = np.array([Bandit(t, favoured="odd").means.argmax() % 2 for t in range(2000)])
    assert best.mean() == pytest.approx(FAVOURED, abs=0.02)
    best = np.array([Bandit(t, favoured="even").means.argmax() % 2 for t in range(2000)])
    assert best.mean() == pytest.approx(1 - FAVOURED, abs=0.02)
    # Which of them it is, and how much it pays, is not told by its being favoured.
    means = np.array([Bandit(t, favoured="odd").means for t in range(2000)])
    assert np.sort(means, 1).mean(0) == pytest.approx(np.arange(1, 11) / 11, abs=0.02)
    assert np.bincount(means.argmax(1)[means.argmax(1) % 2 == 1], minlength=10)[1::2].min() > 300


@pytest.mark.parametrize(
    "make_it, said",
    [
        (lambda: DarkRoom(goal=[9, 0]), "goal"),
        (lambda: DarkRoom(size=1), "size 1"),
        (lambda: DarkRoom(pays="twice"), "pays"),
        (lambda: DarkRoom(start="door"), "start"),
        (lambda: DarkKeyToDoor(key=[0, 0]), "both"),
        (lambda: Bandit(arms=1), "arms 1"),
        (lambda: Bandit(means=[0.5, 2.0], arms=2), "0 to 1"),
        (lambda: Bandit(task=-1), "task -1"),
        (lambda: Bandit(favoured="prime"), "favoured"),
        (lambda: TabularMDP(states=0), "0 states"),
    ],
)
def test_what_is_out_of_range_is_named(make_it, said):
    with pytest.raises(ValueError, match=said):
        make_it()


@pytest.mark.parametrize("env_id", ["gla/AnyMDP-v0", "gla/DarkRoomCost-v0", "gla/FrozenLake-v0"])
def test_random_actions_earn_on_average_what_is_computed(env_id):
    (low,), (high,) = bounds(env_id, {}, [{"task": 3}] if "Lake" not in env_id else [{}])
    kwargs = [{"task": 3} if "Lake" not in env_id else {}] * 2000
    envs = type(make(env_id).unwrapped).vector(env_id, kwargs, 0)
    rng, running, returns = np.random.default_rng(0), np.zeros(2000), [[] for _ in kwargs]
    envs.reset()
    for _ in range(300):
        step = envs.step(rng.integers(0, envs.spec.action_size, 2000))
        running += step.reward
        for i in np.flatnonzero(step.terminated | step.truncated):
            returns[i].append(running[i])
            running[i] = 0.0
    first = np.array([own[0] for own in returns if own])  # the first episodes, all of which have ended
    assert len(first) == 2000
    assert abs(first.mean() - low) < 4 * first.std() / np.sqrt(2000)
    assert high > low


def test_there_are_no_bounds_without_tables():
    assert bounds("CartPole-v1", {}, []) is None and bounds("gla/PointMass-v0", {}, []) is None
