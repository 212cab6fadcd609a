"""Rollouts: one step of 64 streams with a window of 4,096 tokens, cached, compared with encoding the whole window again.

The peer takes minutes per step for 64 streams, so it encodes only four; streams are independent, and rates are steps of one
stream per second. Whether later steps cost the same is measured by setting the position of the cache: after four windows it
works as after 16,384 steps. No step allocates a cache: a test in tests/unit/test_models.py asserts that. Writes rows of
docs/benchmarks.csv and docs/benchmarks_growth.csv.

    python benchmarks/rollouts.py
"""

import time

import numpy as np
import torch
from table import interleaved, put_growth, put_ratio

from gla.encoding import projected
from gla.models import transformer

SIZES = projected.Options().sizes
STREAMS, WINDOW, ENCODED = 64, 4096, 4
ROUNDS = 3


def build(**options) -> transformer.SequenceModel:
    """Returns the model that is measured. options: further options of the model."""
    return transformer.SequenceModel(transformer.Options(layers=4, width=128, heads=4, **options), SIZES).eval()


class Cached:
    """Steps with a cache of ``length`` tokens, from position ``position`` on; each call returns stream steps per second."""

    def __init__(self, model, length: int, position: int, steps: int = 5):
        self.model, self.x, self.steps = model, torch.randn(STREAMS, SIZES.token), steps
        self.cache = model.initial_state(STREAMS, length)
        self.cache.memory.normal_()
        self.cache.position = position

    @torch.inference_mode()
    def __call__(self) -> float:
        start = time.perf_counter()
        for _ in range(self.steps):
            self.model.step(self.x, self.cache)
        return STREAMS * self.steps / (time.perf_counter() - start)


@torch.inference_mode()
def whole(model, x: torch.Tensor) -> float:
    start = time.perf_counter()
    model(x)
    return len(x) / (time.perf_counter() - start)


def main() -> None:
    torch.manual_seed(0)
    model = build()
    cached, x = Cached(model, WINDOW, WINDOW), torch.randn(ENCODED, WINDOW, SIZES.token)
    found = interleaved(ROUNDS, ours=cached, peer=lambda: whole(model, x))
    against = f"encoding the whole window again ({ENCODED} of the streams)"
    put_ratio(
        "rollouts, 64 streams, window 4096, d128 L4", "stream steps/s", found["ours"], found["peer"], against, 50.0
    )

    def late() -> float:
        cached.cache.position += 4 * WINDOW
        return cached()

    def early() -> float:
        cached.cache.position = WINDOW
        return cached()

    found = interleaved(5, ours=late, peer=early)
    put_ratio(
        "rollouts, four windows past the fill",
        "stream steps/s",
        found["ours"],
        found["peer"],
        "just past the fill",
        0.9,
    )
    grouped = Cached(build(key_heads=1), WINDOW, WINDOW)
    found = interleaved(ROUNDS, ours=grouped, peer=cached)
    put_ratio(
        "rollouts, one head of keys for four of queries",
        "stream steps/s",
        found["ours"],
        found["peer"],
        "four of each",
        None,
    )
    for length in 2 ** np.arange(8, 14):
        found = interleaved(3, ours=Cached(model, int(length), int(length)))["ours"]
        put_growth(
            "rollout steps by window, 64 streams, d128 L4, CPU", int(length), float(np.median(found)), "stream steps/s"
        )


if __name__ == "__main__":
    main()
