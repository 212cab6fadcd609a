"""Contexts of 8,000 tokens: the gated delta network, whose memory has a fixed size, compared with a Transformer of the same size.

Training is one forward and one backward pass over whole sequences. Acting is one step of 64 streams after 8,000 tokens, for which the
Transformer reads its cache. One thread each. Writes rows of docs/benchmarks.csv.

    python benchmarks/long_contexts.py
"""

import time

import torch
from rollouts import Cached
from table import interleaved, put_ratio

from gla.encoding import projected
from gla.models import gated_delta, transformer

SIZES = projected.Options().sizes
LENGTH, SIZE, ROUNDS = 8000, {"layers": 4, "width": 128, "heads": 4}, 3


def trains(model):
    """Returns a contender that measures tokens per second of a forward and a backward pass."""
    x = torch.randn(1, LENGTH, SIZES.token)

    def measure() -> float:
        start = time.perf_counter()
        model(x)[1].square().mean().backward()
        return LENGTH / (time.perf_counter() - start)

    return measure


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    ours = gated_delta.SequenceModel(gated_delta.Options(**SIZE), SIZES)
    peer = transformer.SequenceModel(transformer.Options(**SIZE), SIZES)
    against = "a Transformer of the same width and depth, one thread each"
    found = interleaved(ROUNDS, ours=trains(ours), peer=trains(peer))
    put_ratio(f"gated delta, training, {LENGTH} tokens", "tokens/s", found["ours"], found["peer"], against, None)
    found = interleaved(ROUNDS, ours=Cached(ours.eval(), LENGTH, LENGTH), peer=Cached(peer.eval(), LENGTH, LENGTH))
    put_ratio(f"gated delta, acting, {LENGTH} tokens", "stream steps/s", found["ours"], found["peer"], against, None)


if __name__ == "__main__":
    main()
