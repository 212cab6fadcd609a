"""Training, compared with a plain loop that gets ready-made batches, on the CPU and, if there is one, on a GPU.

Ours is the trainer as `train` runs it: histories on disk, windows drawn and projected for each step, the model, both
predictors, the optimisers and the metrics. The peer works like a nanoGPT-like script: a float32 decoder of the same width,
depth and context (learned positions, LayerNorm), one random batch made before the clock starts, AdamW. The peer of the
equivariant model is the same trainer and model, given all 64 and 16 numbers of a projection instead of coordinates in its
span. The equivariant model is the peer of the one that plans, which learns to predict the same histories. Writes rows of
docs/benchmarks.csv and docs/benchmarks_growth.csv.

    python benchmarks/training.py
"""

import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from table import interleaved, put_growth, put_missing, put_ratio
from torch import nn

from gla import devices
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.encoding import projected
from gla.manifests import read_manifest, write_manifest
from gla.models import equivariant
from gla.processes import processes
from gla.sources import ppo
from gla.storage.collecting import collect
from gla.trainers import prediction
from gla.trainers.distillation import Trainer

SIZES = projected.Options().sizes
CHUNK = 64  # steps of a chunk
CPU = {"d128 L4 T512": (128, 4, 512, 8), "d256 L6 T1024": (256, 6, 1024, 2)}  # width, layers, context, windows a step
GPU = 512, 8, 4096, 8  # 25M parameters
# Dense bfloat16 products, operations per second, from the makers' data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
ROUNDS = 5


class PlainBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.ln_1, self.ln_2 = heads, nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.attn, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.fc, self.out = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.attn(self.ln_1(x)).split(d, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.out(F.gelu(self.fc(self.ln_2(x))))


class Plain:
    """A plain training loop. Each call is one step."""

    def __init__(self, width: int, layers: int, context: int, batch: int):
        self.embed, self.positions = nn.Linear(SIZES.token, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(PlainBlock(width, width // 32) for _ in range(layers)))
        self.ln, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, SIZES.output)
        self.all = nn.ModuleList([self.embed, self.positions, self.blocks, self.ln, self.head])
        self.optimizer = torch.optim.AdamW(self.all.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
        self.x, self.y = torch.randn(batch, context, SIZES.token), torch.randn(batch, context, SIZES.output)

    def __call__(self) -> None:
        output = self.head(self.ln(self.blocks(self.embed(self.x) + self.positions.weight)))
        loss = (output - self.y).square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.all.parameters(), 1.0)
        self.optimizer.step()


def dataset(folder: Path) -> dict[str, tuple[str, str]]:
    """Collects histories of Reacher-v4, and returns table and summary under dense projections, and in units of their moments."""
    source = ppo.Options(
        environment="reacher",
        lifetimes=4,
        num_envs=4,
        num_updates=16,
        num_steps=CHUNK,
        update_epochs=1,
        num_minibatches=4,
    )
    store = str(folder / "h.zarr"), str(folder / "d.json")
    collect(source, Environment(id="Reacher-v4"), "reacher", range(source.lifetimes), *store)
    found = {}
    for encoding in ("projected", "scaled"):
        found[encoding] = str(folder / f"{encoding}.csv"), str(folder / f"{encoding}.json")
        write_manifest(Dataset(sources=["reacher"], encoding={"kind": encoding}), [store], *found[encoding])
    return found


class Ours:
    """The trainer. Each call is one step."""

    def __init__(self, manifest, own, width: int, layers: int, context: int, batch: int, **model):
        self.config = Agent.model_validate({
            "dataset": "",
            "windows": {"chunks": context // CHUNK, "chunk_steps": CHUNK},
            "model": {"layers": layers, "width": width, "heads": width // 32} | model,
            "training": {"steps": 10**6, "batch_size": batch},
        })  # fmt: skip
        self.trainer = Trainer(self.config, *read_manifest(*manifest), [], own, None)
        self.trainer.open()
        self.windows = self.trainer.seen

    def draw(self):
        return self.trainer.batch(self.windows, self.trainer.step)

    def __call__(self) -> None:
        self.trainer.train(self.draw())


def rate(work, tokens: int, times: int = 1):
    """Returns a contender that measures tokens per second."""

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(times):
            work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return times * tokens / (time.perf_counter() - start)

    return measure


def on_cpu(manifest) -> None:
    units = "amx_bf16" in Path("/proc/cpuinfo").read_text()
    with processes("cpu") as own:
        for name, (width, layers, context, batch) in CPU.items():
            ours, peer, tokens = (
                Ours(manifest, own, width, layers, context, batch),
                Plain(width, layers, context, batch),
                batch * context,
            )
            precision = str(ours.trainer.dtype).removeprefix("torch.")
            found = interleaved(
                ROUNDS, ours=rate(ours, tokens), peer=rate(peer, tokens), batches=rate(ours.draw, tokens, 5)
            )
            against = f"a plain loop in float32, batches for free; ours in {precision}, CPU {'with' if units else 'without'} bfloat16 matrix units"
            put_ratio(
                f"training, CPU, {name}", "tokens/s", found["ours"], found["peer"], against, 2.0 if units else 1.0
            )
            against = "whole training steps; below 5 % of a step from a ratio of 20 on"
            put_ratio(f"batch pipeline, CPU, {name}", "tokens/s", found["batches"], found["ours"], against, 20.0)
        for context in 2 ** np.arange(8, 14):
            ours = Ours(manifest, own, 128, 4, int(context), 8192 // int(context))
            found = interleaved(2, ours=rate(ours, 8192))["ours"]
            put_growth("training by context, d128 L4, CPU", int(context), float(np.median(found)), "tokens/s")


def in_span(manifest) -> None:
    """Measures on one thread, like a job of the workflow."""
    context, batch = 320, 32
    with devices.threads(1), processes("cpu") as own:
        ours = Ours(manifest, own, 64, 3, context, batch, kind="equivariant")
        with mock.patch.object(equivariant.Options, "turns", False):
            peer = Ours(manifest, own, 64, 3, context, batch, kind="equivariant")
        found = interleaved(ROUNDS, ours=rate(ours, batch * context), peer=rate(peer, batch * context))
    precision = str(ours.trainer.dtype).removeprefix("torch.")
    against = f"one thread each; the same model told 64 and 16 numbers instead of Reacher-v4's 11 and 2 coordinates; both in {precision}"
    put_ratio("training, CPU, equivariant d64 L3 T320", "tokens/s", found["ours"], found["peer"], against, 1.5)


def of_predictions(manifests) -> None:
    """Measures on one thread, like a job of the workflow, with the windows that the installed agent is trained on."""
    context, batch = 320, 32
    config = Agent.model_validate({
        "dataset": "", "windows": {"kind": "consecutive", "steps": 300}, "model": "predictive_control",
        "training": {"kind": "prediction", "steps": 10**6, "batch_size": 22},
    })  # fmt: skip
    with devices.threads(1), processes("cpu") as own:
        ours = prediction.Trainer(config, *read_manifest(*manifests["scaled"]), [], own, None)
        ours.open()
        peer = Ours(manifests["projected"], own, 64, 3, context, batch, kind="equivariant")
        found = interleaved(ROUNDS, ours=rate(ours.advance, 22 * 300), peer=rate(peer, batch * context))
    precision = str(peer.trainer.dtype).removeprefix("torch.")
    against = f"one thread each; the equivariant model, d64 L3 T320, in {precision}"
    put_ratio("training, CPU, predictive_control", "tokens/s", found["ours"], found["peer"], against, 3.0)


def on_gpu(manifest) -> None:
    row, unit, against, bar = (
        "training, GPU, 25M parameters, T4096, bfloat16",
        "FLOP/s by 6N + 6LdT",
        "the chip's dense bfloat16 peak",
        0.4,
    )
    if not torch.cuda.is_available():
        return put_missing(row, unit, against, bar, "not measured: no GPU")
    name = torch.cuda.get_device_name()
    peak = next((value for chip, value in PEAKS.items() if chip in name), None)
    if peak is None:
        return put_missing(row, unit, against, bar, f"not measured: the peak of {name} is not known")
    width, layers, context, batch = GPU
    with processes("cuda") as own:
        ours = Ours(manifest, own, *GPU)
        parameters = sum(p.numel() for p in ours.trainer.model.parameters())
        tokens = interleaved(ROUNDS, ours=rate(ours, batch * context, 10))["ours"]
    flops = tokens * (6 * parameters + 6 * layers * width * context)
    put_ratio(row, unit, flops, np.full(len(flops), peak), f"{against}, {name}", bar)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifests = dataset(Path(folder))
        on_cpu(manifests["projected"])
        in_span(manifests["projected"])
        of_predictions(manifests)
        on_gpu(manifests["projected"])


if __name__ == "__main__":
    main()
