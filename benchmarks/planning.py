"""Optimal values of many small worlds: all at once as arrays, compared with one world after another as a textbook has it.

The peer sweeps over the states and actions of a world in place (Sutton and Barto, 2018, Section 4.4) until nothing moves by more than 1e-6
of the largest value, and its values are checked to be ours. One thread each. Writes a row of docs/benchmarks.csv.

    python benchmarks/planning.py
"""

import time

import numpy as np
import torch
from table import interleaved, put_ratio

from gla.environments.anymdp import AnyMDP
from gla.environments.tabular import values

STATES, ACTIONS, TASKS, PEERS, DISCOUNT = 16, 5, 1024, 4, 0.99
ROUNDS, CLOSE = 5, 1e-6


def worlds(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns probabilities (n, S, A, S), rewards (n, S, A), and which states end an episode, (n, S), of AnyMDP's tasks."""
    tables = [AnyMDP(task, STATES, ACTIONS).tables for task in range(n)]
    probability, reward = (np.stack(x) for x in zip(*(t.dense() for t in tables), strict=True))
    return probability, reward, np.stack([t.terminal for t in tables])


def swept(probability: np.ndarray, reward: np.ndarray, terminal: np.ndarray) -> np.ndarray:
    """Returns the values of one world's states and actions, (S, A)."""
    q, value = np.zeros(reward.shape), np.zeros(len(reward))
    while True:
        moved = 0.0
        for s in range(len(reward)):
            for a in range(reward.shape[1]):
                q[s, a] = reward[s, a] + DISCOUNT * probability[s, a] @ (value * ~terminal)
            moved, value[s] = max(moved, abs(q[s].max() - value[s])), q[s].max()
        if moved <= CLOSE * (1 - DISCOUNT) * (1 + np.abs(value).max()):
            return q


def main() -> None:
    torch.set_num_threads(1)
    whole = worlds(TASKS)

    def ours() -> float:
        start = time.perf_counter()
        values(*whole, DISCOUNT)
        return TASKS / (time.perf_counter() - start)

    def peer() -> float:
        start = time.perf_counter()
        found = [swept(*(x[i] for x in whole)) for i in range(PEERS)]
        spent = time.perf_counter() - start
        np.testing.assert_allclose(found, values(*(x[:PEERS] for x in whole), DISCOUNT), rtol=1e-3, atol=1e-3)
        return PEERS / spent

    found = interleaved(ROUNDS, ours=ours, peer=peer)
    against = "in-place sweeps over states and actions, one world after another"
    put_ratio(f"planning, {TASKS} worlds of {STATES} states", "worlds/s", found["ours"], found["peer"], against, 50.0)


if __name__ == "__main__":
    main()
