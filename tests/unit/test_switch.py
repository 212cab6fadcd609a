"""Two players of one corridor, against a plain simulation of ma-gym's rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gla.environments.making import bounds, make
from gla.environments.spaces import UnsupportedEnvironment
from gla.environments.switch import CELLS, GOALS, MOVES, STARTS
from gla.environments.vector import vector_env
from gla.learners.tabular import discounts

ID = "gla/Switch2-v0"
BOTH = [{"player": 0}, {"player": 1}]
MAP = [
    [0, 0, 1, 1, 1, 0, 0],
    [0, 0, 0, 0, 0, 0, 0],
    [0, 0, 1, 1, 1, 0, 0],
]  # 1: wall


def _plain(actions):
    """Observations, rewards and ends of one episode of given pairs of actions."""
    at, done, found = [list(x) for x in STARTS], [False, False], []

    def way(cell, goal):  # of the corridor's middle row: rooms are left by it
        straight = abs(cell[0] - goal[0]) + abs(cell[1] - goal[1])
        apart = (cell[1] <= 1) != (goal[1] <= 1) and not 2 <= cell[1] <= 4
        return abs(cell[0] - 1) + abs(goal[0] - 1) + abs(cell[1] - goal[1]) if apart else straight

    for t, pair in enumerate(actions):
        reward = [0.0, 0.0]
        for i in (0, 1):
            if done[i]:
                continue
            before = list(at[i])
            r, c = before[0] + MOVES[pair[i]][0], before[1] + MOVES[pair[i]][1]
            if 0 <= r < 3 and 0 <= c < 7 and not MAP[r][c] and [r, c] != at[1 - i]:
                at[i] = [r, c]
            change = way(at[i], GOALS[i]) - way(before, GOALS[i])
            reward[i] = 0.08 if change < 0 else -0.12 if change > 0 else -0.04
            if tuple(at[i]) == GOALS[i]:
                done[i], reward[i] = True, 1.0
        seen = [CELLS.index(tuple(at[i])) + 15 * at[1 - i][1] for i in (0, 1)]
        found.append((seen, reward, all(done), t == 49))
        if all(done) or t == 49:
            break
    return found


@given(seed=st.integers(0, 999), right=st.floats(0.2, 0.9))
@settings(max_examples=60, deadline=None)
def test_pairs_of_players_play_by_the_rules(seed, right):
    """Some actions are random, and others lead towards the goals, so that some players arrive."""
    rng = np.random.default_rng(seed)
    actions = np.where(rng.random((50, 2)) < right, [3, 1], rng.integers(0, 5, (50, 2)))
    envs = vector_env("gymnasium", ID, BOTH * 3, 0)
    start = [1 + 15 * 5, CELLS.index((0, 5)) + 15 * 1] * 3
    assert envs.reset().argmax(1).tolist() == start
    for (seen, reward, over, cut), pair in zip(_plain(actions), actions, strict=False):
        step = envs.step(np.tile(pair, 3))
        shown = step.final_observation if over or cut else step.observation
        assert shown.argmax(1).tolist() == seen * 3
        np.testing.assert_allclose(step.reward, reward * 3)
        assert step.terminated.tolist() == [over] * 6 and step.truncated.tolist() == [cut] * 6
    assert step.observation.argmax(1).tolist() == start  # of a new episode


def test_the_best_return_is_that_of_two_who_make_room_for_each_other():
    """One waits below its start until the other has come through: one step without a gain each at most."""
    envs = vector_env("gymnasium", ID, BOTH, 0)
    envs.reset()
    down, left, up, right, stay = range(5)
    first = [down, right, right, right, right, right, up]  # through the corridor and up
    second = [down, stay, stay, stay, stay, stay, left, left, left, left, left, up]
    (low, _), (best, _) = bounds(ID, {}, BOTH)
    total = 0.0
    for t in range(12):
        total += envs.step(np.array([first[t] if t < len(first) else stay, second[t]])).reward.mean()
    assert low < total < best < (1 + 6 * 0.08 + 1 + 6 * 0.08) / 2


def test_random_actions_earn_what_is_computed():
    envs, rng = vector_env("gymnasium", ID, BOTH * 1000, 0), np.random.default_rng(0)
    envs.reset()
    earned = np.zeros(2000)
    over = np.zeros(2000, bool)
    for _ in range(50):
        step = envs.step(rng.integers(0, 5, 2000))
        earned += np.where(over, 0, step.reward)
        over |= step.terminated
    team = earned.reshape(-1, 2).mean(1)
    assert abs(team.mean() - bounds(ID, {}, BOTH)[0][0]) < 4 * team.std() / np.sqrt(len(team))


def test_players_come_in_pairs_and_have_no_partner_alone():
    for players in ([0], [0, 0], [1, 0], [0, 1, 0]):
        with pytest.raises(UnsupportedEnvironment, match="players .* \\(expected 0 and 1 in turn"):
            vector_env("gymnasium", ID, [{"player": p} for p in players], 0)
    with pytest.raises(UnsupportedEnvironment, match="player 2 \\(expected 0 or 1\\)"):
        make(ID, player=2)
    alone = make(ID, player=1)
    start = alone.reset(seed=0)[0]
    assert alone.step(4)[0].tolist() == start.tolist() and discounts(vector_env("gymnasium", ID, BOTH, 0))[0] == 0.98
