"""Online learners: they learn, each seed alone, and PPO's batch is small enough that it learns at all."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from gla.conditions.roles import of_role
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.environments.making import make
from gla.environments.spaces import EnvSpec
from gla.environments.tabular import values
from gla.environments.vector import VectorStep, vector_env
from gla.learners.linear import LinearActorCritic
from gla.learners.posterior_sampling import PosteriorSampling
from gla.learners.ppo import Population
from gla.learners.q_ucb import QWithBounds
from gla.learners.random_search import RandomSearch
from gla.learners.rmax import RMax, RMaxWithMemory
from gla.learners.scale import RunningScale
from gla.learners.search import Search
from gla.learners.tabular import LONGEST, TabularLearner, discounts
from gla.learners.ucb import PosteriorBounds
from gla.rollout import run_baseline
from gla.verdicts import fifths

CONTINUOUS = EnvSpec(3, 2, False, -np.ones(2, np.float32), np.ones(2, np.float32))
DISCRETE = EnvSpec(3, 4, True, None, None)
GRID = Environment(
    id="gla/GridWorld-v0", kwargs={"max_episode_steps": 10, "start": [1, 1]}, tasks=[{"goal": [0, 1]}, {"goal": [2, 1]}]
)
CARTPOLE = Environment(id="CartPole-v1", kwargs={"max_episode_steps": 100})
ONLINE = of_role("online")
LEARNERS = {"online_linear": LinearActorCritic, "online_ars": RandomSearch}
# Those for discrete observations alone.
TABULAR = {
    "online_psrl": PosteriorSampling,
    "online_rmax": RMax,
    "online_rmax_three": RMax,
    "online_rmax_memory": RMaxWithMemory,
    "online_q_ucb": QWithBounds,
    "online_search": Search,
    "online_ucb": PosteriorBounds,
}
MASS = Environment(id="gla/PointMass-v0", tasks=[{"angle": 0.0}, {"angle": 180.0}])


def _rows(entry, condition, steps=1000, seeds=16):
    return run_baseline(entry, Evaluation(environment="e", seeds=seeds, env_steps=steps), condition, [], condition)


def test_a_thousand_steps_are_many_updates_of_ppo(monkeypatch):
    """An update for each 25 steps, so that what is called PPO at equal steps is no untrained network."""
    improved, original = [], Population.improve
    monkeypatch.setattr(
        Population, "improve", lambda self, rollout: (improved.append(rollout.reward.shape), original(self, rollout))
    )
    _rows(MASS, "online_ppo", seeds=4)
    assert len(improved) >= 10 and {shape[:2] for shape in improved} == {(4, 1)}


# Not the linear learner in CartPole: its step for discrete actions was chosen in a grid, and is too large there.
@pytest.mark.parametrize(
    "entry, condition",
    [
        (entry, c)
        for entry in (GRID, CARTPOLE, MASS)
        for c in ONLINE
        if c not in TABULAR and (entry, c) != (CARTPOLE, "online_linear")
    ],
    ids=lambda x: x if isinstance(x, str) else x.id,
)
def test_each_learner_ends_above_where_it_began_and_above_random_actions(entry, condition):
    if entry is MASS and condition == "online_ars":
        entry = entry.model_copy(update={"kwargs": {"max_episode_steps": 10}})  # it learns from whole episodes alone
    frame, random = _rows(entry, condition, 3000), _rows(entry, "random", 3000)
    last, chance = fifths(frame, 16)[1], fifths(random, 16)[1]
    assert last.mean() - chance.mean() > 3 * np.hypot(last.std(), chance.std()) / 4


@pytest.mark.parametrize("spec", [CONTINUOUS, DISCRETE], ids=["continuous", "discrete"])
@pytest.mark.parametrize("kind", LEARNERS)
def test_no_seed_sees_what_another_does(kind, spec):
    """Another reward in one seed changes that seed's actions alone. (What is drawn at random is drawn for all at once.)"""

    def actions(changed):
        rng, learner, taken = np.random.default_rng(0), LEARNERS[kind](spec, 4, 0), []
        for t in range(60):
            observation, reward = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal(4)
            reward[1] += changed * t
            taken.append(learner.act(observation))
            done = np.full(4, t % 10 == 9)
            learner.observe(VectorStep(observation, reward, done & (t % 20 == 19), done, observation))
        return np.stack(taken)

    before, after = actions(0), actions(1)
    assert np.isfinite(before).all() and (before[:, [0, 2, 3]] == after[:, [0, 2, 3]]).all()
    assert (before[:, 1] != after[:, 1]).any()
    assert np.array_equal(before, actions(0))  # a seed twice


def test_random_search_goes_where_returns_are_higher():
    """Returns fall off on both sides of a weight of 2, which the perturbations climb to."""
    learner = RandomSearch(EnvSpec(1, 1, False, -np.ones(1), np.ones(1)), 1, 0, noise=0.1, step=0.1)
    for _ in range(200):
        weight = learner._acting[0, 0, 1]
        learner.observe(
            VectorStep(
                np.zeros((1, 1)),
                -np.array([(weight - 2.0) ** 2]),
                np.array([True]),
                np.array([False]),
                np.zeros((1, 1)),
            )
        )
    assert learner.weights[0, 0, 1] == pytest.approx(2.0, abs=0.4)


def test_an_episode_that_ends_by_itself_has_no_future_value():
    """A value that only bootstrapping would raise: rewards are 0 and every episode has one step."""
    learner = LEARNERS["online_linear"](CONTINUOUS, 1, 0)
    learner.value[:] = 1.0
    seen = np.ones((1, 3), np.float32)
    learner.act(seen)
    before = (learner.value * learner.x).sum()
    learner.observe(VectorStep(seen, np.zeros(1), np.array([True]), np.array([False]), seen))
    assert (learner.value * learner.x).sum() < before
    assert all((trace == 0).all() for trace in learner.traces)


def test_the_running_scale_is_the_mean_and_deviation_of_all_steps():
    x = np.random.default_rng(0).normal(3.0, [1.0, 2.0, 0.0], (50, 4, 3))
    scale = RunningScale(4, 3)
    for step in x:
        scale.update(step)
    np.testing.assert_allclose(scale.mean, x.mean(0))
    np.testing.assert_allclose(scale.std[:, :2], x.std(0)[:, :2])
    assert (scale.std[:, 2] == 1).all() and np.abs(scale(x[0] + 1e3)).max() == 5


def test_learners_are_the_ones_that_the_config_names():
    assert set(LEARNERS) | {"online_ppo"} | set(TABULAR) == set(ONLINE)  # each of which runs above


# Learners of a table

ROOM = Environment(id="gla/DarkRoom-v0", kwargs={"size": 3, "task": 3, "max_episode_steps": 8})


def test_rmax_finds_the_goal_of_a_room_and_stays_there_and_posterior_sampling_gets_near_it():
    """Posterior sampling takes every reward for a noisy one, and so looks elsewhere for long."""
    best = make(ROOM.id, **ROOM.kwargs).unwrapped.optimal_return(8)
    random = fifths(_rows(ROOM, "random", 800), 16)[1].mean()
    assert fifths(_rows(ROOM, "online_rmax", 800), 16)[1].mean() > 0.95 * best
    assert fifths(_rows(ROOM, "online_psrl", 800), 16)[1].mean() > (random + best) / 2


@pytest.mark.parametrize("kind", [PosteriorSampling, RMax])
def test_they_count_the_steps_that_they_saw(kind):
    spec = EnvSpec(2, 2, True, None, None, 2)
    learner, one_hot = kind(spec, 1, 0, gamma=0.95), np.eye(2, dtype=np.float32)
    for state, after, reward, terminated, truncated in (
        (0, 1, 2.0, False, False), (1, 0, 0.0, False, False), (0, 1, 1.0, False, True), (0, 1, 3.0, True, False),
    ):  # fmt: skip
        learner.act(one_hot[[state]])
        learner.action = np.array([1])
        over = np.array([terminated]), np.array([truncated])
        # After the end the observation is that of a new episode, and counts for nothing.
        seen = one_hot[[0]] if terminated or truncated else one_hot[[after]]
        learner.observe(VectorStep(seen, np.array([reward]), *over, one_hot[[after]]))
    np.testing.assert_array_equal(learner.counts[0, :, 1], [[0, 2, 1], [1, 0, 0]])
    np.testing.assert_array_equal(learner.paid[0, :, 1], [6, 0])
    assert learner.tried[0, :, 1].tolist() == [3, 1] and not learner.tried[0, :, 0].any()


def test_rmax_tries_everything_once_and_then_repeats_what_paid():
    learner = RMax(EnvSpec(2, 2, True, None, None, 2), 1, 0, gamma=0.95)
    one_hot, never, taken = np.eye(2, dtype=np.float32), np.array([False]), []
    for _ in range(6):  # action 1 pays a little, action 0 nothing, and either leads to the other state
        state = len(taken) % 2
        action = learner.act(one_hot[[state]])
        taken.append((state, int(action[0])))
        learner.observe(VectorStep(one_hot[[1 - state]], 0.1 * action, never, never, one_hot[[1 - state]]))
    assert set(taken[:4]) == {(0, 0), (0, 1), (1, 0), (1, 1)} and taken[4:] == [(0, 1), (1, 1)]


def test_rmax_plans_with_visited_states_as_with_all(monkeypatch):
    """Nothing leads to the others in its worlds, so that it takes the same actions."""

    def actions():
        learner, envs, taken, planned = (
            RMax(EnvSpec(9, 5, True, None, None, 9), 4, 0, gamma=0.95),
            make(ROOM.id, **ROOM.kwargs),
            [],
            [],
        )
        envs = type(envs.unwrapped).vector(ROOM.id, [ROOM.kwargs | {"task": i} for i in range(4)], 0)
        observation = envs.reset()
        for _ in range(60):
            taken.append(learner.act(observation))
            step = envs.step(taken[-1])
            learner.observe(step)
            observation = step.observation
            planned.append(learner._planned(np.arange(4)).shape[1])
        return np.stack(taken), planned

    few, planned = actions()
    assert planned[0] < 5 and planned == sorted(planned)
    monkeypatch.setattr(
        TabularLearner, "_planned", lambda self, copies: np.tile(np.arange(self.states), (len(copies), 1))
    )
    np.testing.assert_array_equal(few, actions()[0])


LOCKED = Environment(
    id="gla/DarkKeyToDoor-v0", kwargs={"size": 3, "key": [0, 0], "door": [2, 2], "max_episode_steps": 12}
)


def test_rmax_learns_that_a_door_pays_after_a_key_if_it_remembers_what_was_paid():
    """Without a memory, a step to the key pays once in an episode and never again, whatever it does."""
    with_memory, without = (fifths(_rows(LOCKED, c, 1800), 16)[1].mean() for c in ("online_rmax_memory", "online_rmax"))
    assert with_memory > 1.7 and without < 1.5


def _distance(after, tried, state):
    """Steps on known ways from a state to one with an action that was not tried; None if there is none."""
    reached, distance = {state}, 0
    while reached:
        if any(not tried[s].all() for s in reached):
            return distance
        further = reached | {int(after[s, a]) for s in reached for a in np.flatnonzero(tried[s])}
        if further == reached:
            return None
        reached, distance = further, distance + 1


def test_search_goes_the_shortest_way_to_what_it_has_not_tried_until_something_pays_and_then_stays_there():
    kwargs = ROOM.kwargs | {"max_episode_steps": 200}
    envs = type(make(ROOM.id, **kwargs).unwrapped).vector(ROOM.id, [kwargs], 0)
    learner, observation, paid, before = Search(envs.spec, 1, 0), envs.reset(), [], None
    for _ in range(120):
        state = int(observation.argmax())
        if not any(paid):
            distance = _distance(learner.after[0], learner.tried[0], state)
            assert before in (None, 0) or distance == before - 1
            before = distance
        step = envs.step(learner.act(observation))
        learner.observe(step)
        observation = step.observation
        paid.append(step.reward[0])
    found = paid.index(1.0)
    assert found < 45  # actions of nine states
    # It comes back until it has found the action that stays, which there are five to choose from.
    assert sum(paid[-60:]) == 60


def test_confidence_bounds_are_those_of_a_beta_posterior():
    rng, learner = np.random.default_rng(0), PosteriorBounds(EnvSpec(1, 5, True, None, None, 1), 3, 0)
    one, never = np.ones((3, 1), np.float32), np.zeros(3, bool)
    for _ in range(60):
        posterior = stats.beta(1 + learner.paid[:, 0], 1 + learner.tried[:, 0] - learner.paid[:, 0])
        bound = posterior.mean() + 1.5 * posterior.std()
        action = learner.act(one)
        np.testing.assert_allclose(bound[np.arange(3), action], bound.max(1))
        learner.observe(VectorStep(one, (rng.random(3) < 0.5).astype(float), never, never, one))
    assert learner.tried.sum() == 180


def test_q_learning_with_bounds_takes_the_largest_bound_and_steps_towards_its_target():
    """One of two actions pays 1 and leads back; worked out by hand, step by step."""
    learner, one_hot = QWithBounds(EnvSpec(1, 2, True, None, None, 1), 1, 0, rate=0.5), np.ones((1, 1), np.float32)
    rng, q, tried, never = np.random.default_rng(0), np.zeros(2), np.ones(2), np.array([False])
    for step in range(40):
        noise = np.maximum(rng.standard_normal((1, 2))[0], 0)
        bound = q + 5.0 * max(np.std(q), 0.1) * np.sqrt(np.log(4001) / tried) * noise
        action, ends = int(learner.act(one_hot)[0]), step % 8 == 7
        assert action == bound.argmax()
        paid = float(action == 1)
        learner.observe(VectorStep(one_hot, np.array([paid]), np.array([ends]), never, one_hot))
        q[action] += 0.5 * (paid + (0.0 if ends else 0.99 * q.max()) - q[action])
        tried[action] += 1
        np.testing.assert_allclose(learner.q[0, 0], q)


def test_search_tells_ends_that_pay_from_others():
    """A lake without slipping, with holes that end the episode like the goal does."""
    lake = Environment(id="gla/FrozenLake-v0", kwargs={"slippery": False, "shaped": True, "max_episode_steps": 30})
    best = make(lake.id, **lake.kwargs).unwrapped.optimal_return(30)
    assert fifths(_rows(lake, "online_search", 1500, 8), 8)[1].mean() == pytest.approx(best)


@pytest.mark.parametrize("kind", list(dict.fromkeys(TABULAR.values())), ids=lambda kind: kind.__name__)
def test_they_refuse_what_is_not_discrete(kind):
    settings = {"gamma": 0.95} if kind in (RMax, RMaxWithMemory, PosteriorSampling) else {}
    for spec in (CONTINUOUS, DISCRETE):
        with pytest.raises(ValueError, match="without discrete observations and actions"):
            kind(spec, 1, 0, **settings)


def test_plans_look_as_far_ahead_as_an_episode_is_long():
    """In episodes of 20 steps with a discount of 0.95, in each task of AnyMDP with its own; without a limit far, but not for ever."""
    assert discounts(vector_env("gymnasium", "gla/FrozenLake-v0", [{"max_episode_steps": 20}], 0)) == 0.95
    anymdp = Environment(id="gla/AnyMDP-v0", kwargs={"states": 16, "actions": 5}, tasks=[{"task": i} for i in range(4)])
    envs = vector_env("gymnasium", anymdp.id, [anymdp.kwargs | task for task in anymdp.tasks], 0)
    np.testing.assert_allclose(discounts(envs), 1 - 1 / envs.limit)
    assert len(set(discounts(envs))) > 1
    lake = gym.make("FrozenLake-v1", max_episode_steps=-1)
    assert discounts(SimpleNamespace(envs=[lake])) == 1 - 1 / LONGEST


def test_copies_plan_with_their_own_discounts():
    """A reward of 1 at once, or one of 3 two steps later and then nothing: which is better depends on the discount."""
    after, paid = np.eye(4)[[[3, 1], [2, 2], [3, 3]]], np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 3.0]])
    probability, reward = np.zeros((2, 4, 2, 4)), np.zeros((2, 4, 2))
    probability[:, :3], reward[:, :3] = after, paid
    probability[:, 3, :, 3] = 1
    q = values(probability, reward, np.tile(np.arange(4) == 3, (2, 1)), np.array([0.5, 0.9]))
    np.testing.assert_allclose(q[:, 0], [[1, 0.75], [1, 2.43]])
