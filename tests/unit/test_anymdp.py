"""Random worlds of two kinds, and Gymnasium's small ones as tables."""

import gymnasium as gym
import numpy as np
import pytest

from gla.environments.anymdp import AnyMDP, Garnet
from gla.environments.tabular import TabularVector, values
from gla.environments.toy_text import CliffWalking, DiscretePendulum, FrozenLake

TASKS = [AnyMDP(task) for task in range(40)] + [AnyMDP(task, 64, fewest=16) for task in range(10)]


def _line(world):
    """A task's tables, whose states are in the order of the line: probability, expected reward, terminal, start."""
    t = world.tables
    return t.probability, (t.probability * t.reward).sum(-1), t.terminal, t.start


def _iterated(probability, reward, terminal, discount, reduce):
    """Values of states by plain value iteration."""
    v = np.zeros(len(terminal))
    for _ in range(5000):
        v = reduce(reward + discount * probability @ (v * ~terminal))
    return v


def test_rows_are_distributions_and_bands():
    for world in TASKS:
        probability, _, terminal, start = _line(world)
        n = len(terminal)
        np.testing.assert_allclose(probability.sum(-1), 1)
        assert start.sum() == pytest.approx(1) and not start[3:].any() and not terminal[start > 0].any()
        for s in np.flatnonzero(~terminal):
            reached = np.flatnonzero(probability[s].sum(0))
            assert reached.min() >= (0 if s <= 2 else max(0, s - (n // 2 + 1)))
            if s < n - 1:
                assert reached.max() > s, "a state from which no action leads ahead"
        assert probability[n - 1, :, n - 1].sum() == 0 or terminal[-1]  # the last state is left again


def test_a_task_is_worth_learning():
    """The rule of rejection, with values by plain iteration."""
    for world in TASKS[:10]:
        probability, reward, terminal, start = _line(world)
        discount = 2 ** (-1 / len(terminal))
        best = _iterated(probability, reward, terminal, discount, lambda q: q.max(1))
        random = _iterated(probability, reward, terminal, discount, lambda q: q.mean(1))
        gain = (best - random)[start > 0] * (1 - discount) * world.tables.horizon
        assert gain.min() > 2 - 1e-6


@pytest.mark.parametrize("greedy", [True, False])
def test_values_are_those_of_plain_iteration(greedy):
    for world in TASKS[:10]:
        probability, reward, terminal, _ = _line(world)
        reduce = (lambda q: q.max(1)) if greedy else (lambda q: q.mean(1))
        found = reduce(values(probability, reward, terminal, 0.95, greedy))
        np.testing.assert_allclose(found, _iterated(probability, reward, terminal, 0.95, reduce), rtol=1e-6, atol=1e-6)


def test_values_of_many_tasks_are_those_of_each():
    worlds = TASKS[:10]
    probability, reward = (np.stack(x) for x in zip(*(w.tables.dense() for w in worlds), strict=True))
    terminal = np.stack([w.tables.terminal for w in worlds])
    together = values(probability, reward, terminal, 0.9)
    for one, *own in zip(together, probability, reward, terminal, strict=True):
        np.testing.assert_allclose(one, values(*own, 0.9))


def test_far_states_are_exponentially_rare_under_random_actions():
    """The theory that the generator is built on (Wang et al., 2025): the stationary share falls exponentially along the line."""
    shares = []
    for world in (AnyMDP(task, 32) for task in range(60)):
        probability, _, terminal, start = _line(world)
        chain = probability.mean(1)
        chain[terminal] = start
        share = np.linalg.matrix_power(0.5 * chain + 0.5 * np.eye(len(chain)), 2**16)[0]
        shares.append(np.log(np.maximum(share, 1e-12)))
    mean, place = np.mean(shares, 0), np.arange(32)
    slope, _ = np.polyfit(place, mean, 1)
    assert slope < -0.15 and np.corrcoef(place, mean)[0, 1] < -0.97


def test_a_seed_is_one_task_and_another_seed_another():
    for one, two in zip(AnyMDP(3).tables, AnyMDP(3).tables, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(AnyMDP(3).tables.reward, AnyMDP(4).tables.reward)
    for one, two in zip(Garnet(3).tables, Garnet(3).tables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_observations_say_nothing_about_the_line_and_sizes_are_as_asked():
    assert any(not (np.diff(world.place) > 0).all() for world in TASKS)
    sizes = [len(world.tables.start) for world in TASKS[40:]]
    assert min(sizes) >= 16 and max(sizes) <= 64 and len(set(sizes)) > 3
    for world in TASKS:
        seen = world.tables.seen
        assert len(set(seen)) == len(seen) and seen.max() < world.tables.observations


def test_rewards_have_the_noise_of_each_transition():
    """Of one world alone and of many side by side."""
    world = next(w for w in TASKS if np.ptp(w.tables.deviation) > 0.05)
    t, envs = world.tables, TabularVector(AnyMDP, "gla/AnyMDP-v0", [{"task": TASKS.index(world)}] * 4000, 0)
    state = int(t.start.argmax())
    envs.reset()
    envs.state[:] = state
    paid = envs.step(np.zeros(4000, int)).reward
    after = envs.entered
    busiest = np.bincount(after).argmax()
    expected = t.reward[state, 0, busiest], t.deviation[state, 0, busiest]
    assert paid[after == busiest].mean() == pytest.approx(expected[0], abs=0.05)
    assert paid[after == busiest].std() == pytest.approx(expected[1], abs=0.05)
    world.reset(seed=0)
    alone = []
    for _ in range(2000):
        world.state = state
        _, reward, *_ = world.step(0)
        if world.state == busiest:
            alone.append(reward)
    assert np.std(alone) == pytest.approx(expected[1], abs=0.05)


def test_episodes_end_at_each_tasks_own_horizon():
    worlds = [i for i, w in enumerate(TASKS[:40]) if not w.tables.terminal.any()][:3]
    horizons = [TASKS[i].tables.horizon for i in worlds]
    assert len(set(horizons)) > 1 and min(horizons) >= 100 and max(horizons) <= 128
    envs = TabularVector(AnyMDP, "gla/AnyMDP-v0", [{"task": i} for i in worlds], 0)
    envs.reset()
    ended = [envs.step(np.zeros(3, int)).truncated for _ in range(130)]
    assert [int(np.argmax([e[i] for e in ended])) + 1 for i in range(3)] == horizons
    env = gym.make("gla/AnyMDP-v0", task=worlds[0])
    env.reset(seed=0)
    assert next(i for i in range(1, 200) if env.step(0)[3]) == horizons[0]


def test_a_garnet_has_as_many_branches_as_asked():
    world = Garnet(5, states=16, actions=5, branches=4)
    t = world.tables
    assert t.sizes == (16, 5, 4) and not t.terminal.any() and t.start[0] == 1
    np.testing.assert_allclose(t.probability.sum(-1), 1)
    assert all(len(set(row)) == 4 for row in t.successor.reshape(-1, 4))
    assert Garnet(5, deviation=2.0).tables.reward.std() == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: AnyMDP(states=7), "states 7 .expected 8 to 128"),
        (lambda: AnyMDP(task=-1), "task -1 .expected 0 or more"),
        (lambda: AnyMDP(actions=1), "actions 1 .expected 2 to 64"),
        (lambda: AnyMDP(fewest=20), "fewest 20 .expected 8 to 16"),
        (lambda: Garnet(branches=17), "branches 17 .expected 1 to 16"),
        (lambda: Garnet(deviation=-1.0), "deviation -1.0 .expected 0 or more"),
        (lambda: DiscretePendulum(gravity=-1), "gravity -1 .expected 0 to 100"),
    ],
)
def test_what_is_out_of_range_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# Gymnasium's small worlds


@pytest.mark.parametrize(
    "world, env_id, kwargs",
    [
        (CliffWalking(), "CliffWalking-v1", {}),
        (FrozenLake(), "FrozenLake-v1", {"is_slippery": True}),
        (FrozenLake(False), "FrozenLake-v1", {"is_slippery": False}),
    ],
)
def test_tables_are_gymnasiums_own_transition_by_transition(world, env_id, kwargs):
    t, p = world.tables, gym.make(env_id, **kwargs).unwrapped.P
    for s in range(t.sizes[0]):
        for a in range(t.sizes[1]):
            ours = [
                (t.probability[s, a, k], t.successor[s, a, k], t.reward[s, a, k], t.terminal[t.successor[s, a, k]])
                for k in range(t.sizes[2])
                if t.probability[s, a, k] > 0
            ]
            if not t.terminal[s]:  # nobody acts there
                assert sorted(ours) == sorted((x, after, paid, ended) for x, after, paid, ended in p[s][a])


def test_the_best_returns_of_small_worlds_are_known():
    assert CliffWalking().optimal_return(200) == -13
    assert CliffWalking(shaped=True).optimal_return(200) == pytest.approx(1 - 12 * 0.03)
    assert FrozenLake(slippery=False).optimal_return(100) == 1
    assert FrozenLake(slippery=False, shaped=True).optimal_return(100) == pytest.approx(1 - 5 * 0.05)
    assert FrozenLake().optimal_return(100) == pytest.approx(0.744, abs=0.001)
    assert FrozenLake().optimal_return(10_000) == pytest.approx(
        14 / 17, abs=1e-3
    )  # without a time limit, in closed form


def test_a_shaped_fall_ends_the_episode():
    world = CliffWalking(shaped=True)
    world.reset(seed=0)
    assert world.step(1)[1:3] == (-1.0, True)


@pytest.mark.parametrize("gravity", [1.0, 9.8])
def test_a_pendulums_cells_lead_where_gymnasiums_pendulum_goes(gravity):
    world, env = DiscretePendulum(gravity), gym.make("Pendulum-v1", g=gravity).unwrapped
    rng, n = np.random.default_rng(0), 20_000
    for angle, speed, action in ((0, 2, 4), (3, 0, 0), (7, 4, 2), (11, 3, 1)):
        a = (angle + rng.random(n)) * 2 * np.pi / 12
        v = (speed + rng.random(n)) * 16 / 5 - 8
        env.state = np.stack([a, v])
        paid = np.maximum(env.step(np.full((1, n), action - 2.0))[1] / 30 + 0.1, -0.1)
        after = DiscretePendulum.cell(*env.state, 8)
        share = np.bincount(after, minlength=60) / n
        row = 5 * angle + speed, action
        np.testing.assert_allclose(world.tables.probability[row], share, atol=0.03)
        assert (world.tables.probability[row] * world.tables.reward[row]).sum() == pytest.approx(paid.mean(), abs=0.005)


def test_a_pendulum_that_hangs_less_heavily_is_easier():
    best = [DiscretePendulum(g).optimal_return(200) for g in (1.0, 5.0, 9.8)]
    assert best == sorted(best, reverse=True)
