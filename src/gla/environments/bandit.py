"""Bandits with independent arms. There is one state, and only rewards tell which arms are good."""

from typing import Literal

import numpy as np

from gla.environments.tabular import Tables, TabularEnv

MOST_ARMS = 1000
FAVOURED = 0.95  # share of tasks whose best arm is a favoured one (Laskin et al., 2022, Section 4)


class Bandit(TabularEnv):
    """Pull one of ``arms``. The mean of each is drawn uniformly between 0 and 1, from the seed ``task``.

    Observation: 0. Action: the arm, from 0. Each pull is an episode by default (max_episode_steps).

    rewards: ``bernoulli`` (1 or 0) or ``gaussian`` (normal around the mean with this ``deviation``). favoured: ``odd`` or
    ``even`` arms, one of which is the best in 95 of 100 tasks, or ``none``. The adversarial bandit of Laskin et al. (2022)
    favours odd arms in training and even ones when it is evaluated. means: the means of all arms, instead of a task. Raises
    ValueError for an argument that is out of range.
    """

    def __init__(
        self, task: int = 0, arms: int = 10, rewards: Literal["bernoulli", "gaussian"] = "bernoulli", deviation: float = 0.3,
        favoured: Literal["none", "odd", "even"] = "none", means: list[float] | None = None,
    ):  # fmt: skip
        if not 2 <= arms <= MOST_ARMS:
            raise ValueError(f"arms {arms} (expected 2 to {MOST_ARMS})")
        if rewards not in ("bernoulli", "gaussian"):
            raise ValueError(f"rewards {rewards!r} (expected bernoulli or gaussian)")
        if favoured not in ("none", "odd", "even"):
            raise ValueError(f"favoured {favoured!r} (expected none, odd or even)")
        if task < 0:
            raise ValueError(f"task {task} (expected 0 or more)")
        if means is None:
            self.means = self._drawn(np.random.default_rng([task, arms]), arms, favoured)
        else:
            self.means = np.array(means, float)
            inside = (
                ((self.means >= 0) & (self.means <= 1)).all()
                if rewards == "bernoulli"
                else np.isfinite(self.means).all()
            )
            if self.means.shape != (arms,) or not inside:
                raise ValueError(f"means {means} (expected {arms} numbers{', from 0 to 1' * (rewards == 'bernoulli')})")
        # Bernoulli: one successor pays and one does not. Normal: one successor, with noise on the reward.
        pays = np.array([1.0, 0.0]) if rewards == "bernoulli" else self.means[:, None]
        chance = np.stack([self.means, 1 - self.means], 1) if rewards == "bernoulli" else np.ones((arms, 1))
        one, k = np.zeros(1, int), chance.shape[1]
        super().__init__(
            Tables(
                np.zeros((1, arms, k), int), chance[None], np.broadcast_to(pays, (1, arms, k)), np.ones(1), one.astype(bool), one, 1,
                deviation if rewards == "gaussian" else 0.0,
            )
        )  # fmt: skip

    @staticmethod
    def _drawn(rng: np.random.Generator, arms: int, favoured: str) -> np.ndarray:
        """Draws the means of the arms, (arms,)."""
        means = rng.random(arms)
        if favoured != "none":
            odd = (favoured == "odd") == (rng.random() < FAVOURED)
            place, best = int(rng.choice(np.arange(arms)[1 if odd else 0 :: 2])), int(means.argmax())
            means[[place, best]] = means[[best, place]]
        return means


class TabularMDP(TabularEnv):
    """A random Markov decision process (Duan et al., 2016, RL²: 10 states, 5 actions, episodes of 10 steps from state 0).

    Mean rewards of each state and action are normal around 1 with deviation 1, and so are rewards around them; successors have
    flat Dirichlet distributions. Everything is drawn from the seed ``task``. Observation: the state.
    """

    def __init__(self, task: int = 0, states: int = 10, actions: int = 5):
        if not 1 <= states <= MOST_ARMS or not 1 <= actions <= MOST_ARMS:
            raise ValueError(f"{states} states and {actions} actions (expected 1 to {MOST_ARMS} of each)")
        if task < 0:
            raise ValueError(f"task {task} (expected 0 or more)")
        rng = np.random.default_rng([task, states, actions])
        probability = rng.dirichlet(np.ones(states), (states, actions))
        mean = rng.normal(1.0, 1.0, (states, actions, 1))
        shape, all_states = (states, actions, states), np.arange(states)
        super().__init__(
            Tables(
                np.broadcast_to(all_states, shape), probability, np.broadcast_to(mean, shape), (all_states == 0).astype(float),
                np.zeros(states, bool), all_states, states, 1.0,
            )
        )  # fmt: skip
