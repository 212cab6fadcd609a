"""How fast are histories collected, compared with the alternatives that a user has?

All have the same hyper-parameters (CleanRL's: 10 epochs of 32 minibatches, 8 streams of 128 steps, 64-64 tanh networks) and
all cores. Ours runs one block of lifetimes per core, like jobs of the workflow; the others run one lifetime per core. The
measure is environment steps per second over all lifetimes, including learning. Writes rows of docs/benchmarks.csv, and how
rates grow with lifetimes and streams into docs/benchmarks_growth.csv.

    python benchmarks/collection.py [--rows reacher cheetah ant cartpole growth] [--rounds 3] [--seconds 5]
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable

import cleanrl_style
import numpy as np
import torch
from table import interleaved, put_growth, put_ratio

from gla.environments.vector import vector_env
from gla.learners.ppo import PPO, Population

STREAMS, STEPS, LIFETIMES = 8, 128, 32  # lifetimes: of ours, on each core
FOREVER = 1_000_000  # updates: how many are made is decided by the clock
CORES = len(os.sched_getaffinity(0))


def ours(env_id: str, backend: str, lifetimes: int = LIFETIMES, streams: int = STREAMS) -> Callable[[], int]:
    """Returns a function that collects the data of one update, learns from them, and returns the number of steps."""
    ppo = PPO(num_updates=FOREVER, num_steps=STEPS)
    population = Population(ppo, env_id, {}, [], range(lifetimes), streams, seed=0, backend=backend)

    def work() -> int:
        population.improve(population.collect())
        return lifetimes * streams * STEPS

    return work


def simulator(env_id: str, backend: str) -> Callable[[], int]:
    """The environments of ``ours`` alone, under random actions."""
    envs = vector_env(backend, env_id, [{}] * (LIFETIMES * STREAMS), seed=0)
    envs.reset()
    actions = np.random.default_rng(0).uniform(-1, 1, (16, len(envs), envs.spec.action_size)).astype(np.float32)

    def work() -> int:
        for action in actions:
            envs.step(action)
        return len(actions) * len(envs)

    return work


def cleanrl(env_id: str) -> Callable[[], int]:
    return cleanrl_style.learner(env_id, STREAMS, STEPS)


def stable_baselines3(env_id: str, processes: bool) -> Callable[[], int]:
    """The PPO of Stable-Baselines3 with the same settings. ``processes``: whether each environment has its own process."""
    from stable_baselines3 import PPO as SB3
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

    from gla.environments.making import make

    kind = SubprocVecEnv if processes else DummyVecEnv
    envs = VecNormalize(kind([lambda: make(env_id)] * STREAMS), gamma=0.99)
    model = SB3(
        "MlpPolicy", envs, learning_rate=3e-4, n_steps=STEPS, batch_size=STREAMS * STEPS // 32, n_epochs=10, gamma=0.99,
        gae_lambda=0.95, clip_range=0.2, clip_range_vf=0.2, ent_coef=0.0, vf_coef=0.25, max_grad_norm=0.5, seed=0, device="cpu",
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "activation_fn": torch.nn.Tanh},
    )  # vf_coef: its value loss has no factor 1/2  # fmt: skip

    def work() -> int:
        model.learn(STREAMS * STEPS, reset_num_timesteps=False)
        return STREAMS * STEPS

    return work


def _serve(pipe, factory: Callable[..., Callable[[], int]], arguments: tuple) -> None:
    torch.set_num_threads(1)
    work = factory(*arguments)
    work()
    pipe.send(None)
    while (seconds := pipe.recv()) is not None:
        start, done = time.monotonic(), 0
        while time.monotonic() - start < seconds:
            done += work()
        pipe.send(done / (time.monotonic() - start))


class Contender:
    """One warm process per core that waits for its turn. A call measures the rates of all of them together."""

    def __init__(self, seconds: float, factory: Callable[..., Callable[[], int]], *arguments, cores: int = CORES):
        self.seconds, context = seconds, multiprocessing.get_context("spawn")
        self.pipes, self.processes = [], []
        for _ in range(cores):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, factory, arguments))
            process.start()
            there.close()  # so that a process that fails is noticed here
            self.pipes.append(here)
            self.processes.append(process)
        for pipe in self.pipes:
            pipe.recv()

    def __call__(self) -> float:
        for pipe in self.pipes:
            pipe.send(self.seconds)
        return sum(pipe.recv() for pipe in self.pipes)

    def close(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join()


def compare(rounds: int, **contenders: Contender) -> dict[str, np.ndarray]:
    try:
        return interleaved(rounds, **contenders)
    finally:
        for contender in contenders.values():
            contender.close()


def peers(name: str, env_id: str, rounds: int, seconds: float) -> None:
    found = compare(
        rounds,
        ours=Contender(seconds, ours, env_id, "envpool"),
        gymnasium=Contender(seconds, ours, env_id, "gymnasium"),
        dummy=Contender(seconds, stable_baselines3, env_id, False),
        subproc=Contender(seconds, stable_baselines3, env_id, True),
        cleanrl=Contender(seconds, cleanrl, env_id),
    )
    best = max(("dummy", "subproc"), key=lambda n: np.median(found[n]))
    kind = {"dummy": "DummyVecEnv", "subproc": "SubprocVecEnv"}[best]
    for label, key, bar in (("", "ours", 5.0), (", Gymnasium backend", "gymnasium", None)):
        row = f"collection, {name}{label}"
        put_ratio(
            f"{row} (SB3)",
            "steps/s",
            found[key],
            found[best],
            f"Stable-Baselines3 PPO, {kind}, one process per core",
            bar,
        )
        put_ratio(
            f"{row} (CleanRL)",
            "steps/s",
            found[key],
            found["cleanrl"],
            "a plain CleanRL-style loop, one process per core",
            bar,
        )


def ant(rounds: int, seconds: float) -> None:
    for backend, label, bar in (("envpool", "", 0.8), ("gymnasium", ", Gymnasium backend", None)):
        found = compare(
            rounds,
            ours=Contender(seconds, ours, "Ant-v4", backend),
            peer=Contender(seconds, simulator, "Ant-v4", backend),
        )
        against = f"the simulator alone ({backend}), as many environments on all cores"
        put_ratio(f"collection, Ant-v4{label}", "steps/s", found["ours"], found["peer"], against, bar)


def cartpole(rounds: int, seconds: float) -> None:
    env_id = "dm_control/cartpole-swingup-v0"
    found = compare(
        rounds, ours=Contender(seconds, ours, env_id, "envpool"), peer=Contender(seconds, ours, env_id, "gymnasium")
    )
    put_ratio(
        "collection, dm-control cartpole",
        "steps/s",
        found["ours"],
        found["peer"],
        "the same population through dm-control",
        2.5,
    )


def growth(rounds: int, seconds: float) -> None:
    """Measures rates on one core, which all lifetimes and streams share."""
    sizes = {("lifetimes", n): (n, STREAMS) for n in (1, 2, 4, 8, 16, 32)} | {
        ("streams", n): (8, n) for n in (1, 2, 4, 8, 16)
    }
    contenders = {
        f"{what} {n}": Contender(seconds, ours, "Reacher-v4", "envpool", *size, cores=1)
        for (what, n), size in sizes.items()
    }
    found = compare(rounds, **contenders)
    for what, n in sizes:
        others = f"{STREAMS} streams" if what == "lifetimes" else "8 lifetimes"
        put_growth(
            f"collection by {what}, {others}, Reacher-v4, one core", n, np.median(found[f"{what} {n}"]), "steps/s"
        )


ROWS: dict[str, Callable[[int, float], None]] = {
    "reacher": lambda *a: peers("Reacher-v4", "Reacher-v4", *a),
    "cheetah": lambda *a: peers("HalfCheetah-v4", "HalfCheetah-v4", *a),
    "ant": ant,
    "cartpole": cartpole,
    "growth": growth,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="some of the rows (default: all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each contender in a round")
    options = parser.parse_args()
    for name in options.rows:
        ROWS[name](options.rounds, options.seconds)


if __name__ == "__main__":
    main()
