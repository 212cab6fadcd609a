"""Stepping tabular worlds: thousands side by side as arrays, compared with Gymnasium's vector environment, which steps them
one at a time, and with a plain loop over one environment.

The measure is steps per second of one process with uniform actions, including ends of episodes and resets. The loops are those of
Gymnasium's own small worlds, and of one world of AnyMDP that draws each step by itself, as its authors' code does. Writes rows of
docs/benchmarks.csv.

    python benchmarks/stepping.py
"""

import time

import gymnasium as gym
import numpy as np
from table import interleaved, put_ratio

from gla.environments.making import make
from gla.environments.vector import stepped

ROUNDS, SECONDS = 5, 1.0
COPIES, PEERS = 4096, 64
WORLDS = ("gla/DarkRoom-v0", "gla/DarkKeyToDoor-v0", "gla/Bandit-v0", "gla/TabularMDP-v0")
LOOPS = {
    "FrozenLake": "FrozenLake-v1",
    "CliffWalking": "CliffWalking-v1",
    "AnyMDP": "gla/AnyMDP-v0",
}  # ours, and the peer


def looped(env: gym.Env):
    """Returns a contender that measures the steps per second of a loop over one environment."""
    drawn = np.random.default_rng(0).integers(0, env.action_space.n, 4096)
    env.reset(seed=0)

    def measure() -> float:
        steps, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            *_, terminated, truncated, _ = env.step(int(drawn[steps % len(drawn)]))
            if terminated or truncated:
                env.reset()
            steps += 1
        return steps / spent

    return measure


def rate(envs, copies: int, actions: int):
    """Returns a contender that measures the steps per second of all copies."""
    rng = np.random.default_rng(0)
    envs.reset()
    drawn = rng.integers(0, actions, (64, copies))

    def measure() -> float:
        steps, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            envs.step(drawn[steps % len(drawn)])
            steps += 1
        return steps * copies / spent

    return measure


def main() -> None:
    for world in WORLDS:
        ours = stepped(world, [{"task": i % 64} for i in range(COPIES)], 0, 1, None)
        peer = gym.vector.SyncVectorEnv([lambda i=i, w=world: make(w, task=i) for i in range(PEERS)])
        actions = ours.spec.action_size
        found = interleaved(ROUNDS, ours=rate(ours, COPIES, actions), peer=rate(peer, PEERS, actions))
        put_ratio(
            f"stepping, {world.removeprefix('gla/')}", "steps/s", found["ours"], found["peer"],
            f"Gymnasium's SyncVectorEnv of {PEERS} copies; ours has {COPIES}, both one process", None,
        )  # fmt: skip
    for world, peer_id in LOOPS.items():
        tasks = [{"task": i % 64} for i in range(COPIES)] if world == "AnyMDP" else [{}] * COPIES
        ours, peer = stepped(f"gla/{world}-v0", tasks, 0, 1, None), gym.make(peer_id)
        found = interleaved(ROUNDS, ours=rate(ours, COPIES, ours.spec.action_size), peer=looped(peer))
        against = f"a loop over one {peer_id}; ours has {COPIES} copies, both one process"
        put_ratio(f"stepping, {world}, a loop", "steps/s", found["ours"], found["peer"], against, 100.0)


if __name__ == "__main__":
    main()
