"""Meta-training (Kirsch et al., 2023, Algorithm 1 and Equation 1).

The loss is the divergence between the source's action distribution and the model's, averaged over
every token, plus, if asked for, the error of predicting the next observation and reward. Beside the
model a constant predictor is trained on the same batches with the same loss: the best that the
policy head can do without looking at anything. A model that is no better has learned nothing.

A run that is killed goes on from its last checkpoint and ends with the same bytes: the data of a
step depend on (seed, step) alone, and the checkpoint holds everything else. A checkpoint carries a
fingerprint of the config, the manifest and this package's code; one that does not fit is ignored.
Several processes share each batch (gla.processes); each has the whole state, and the first one writes.
"""

import contextlib
import copy
import io
import json
import math
import shutil
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save
from torch import Tensor, nn

from gla.agent import AgentModel, describe
from gla.config.agents import Agent as AgentConfig
from gla.config.agents import Training
from gla.encoding.making import encoding_of
from gla.encoding.tokens import Encoded, tokens
from gla.files import CorruptFile, atomic, check, exclusive, fingerprint, named, remove, write_json
from gla.losses.kinds import LOSSES
from gla.losses.options import prediction
from gla.manifests import read_manifest
from gla.options import ConfigError
from gla.policies import NumericalError
from gla.processes import Processes, processes
from gla.progress import Progress
from gla.windows.batches import Batch, Windows

VALIDATION_BATCHES = 4
BFLOAT16_SPEED, PRODUCTS = 1.5, 20  # times float32's, from which on it is used; how many are timed of each


class Interrupted(RuntimeError):
    """The run was asked to stop (SIGTERM); its checkpoint was saved."""


def bfloat16_speed(device: torch.device) -> float:
    """How many times as fast as in float32 a product of matrices is in bfloat16.

    The best of many short ones on one thread, types in turns: other jobs on the machine change little then.
    """
    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(PRODUCTS):
            for dtype, measured in seconds.items():
                a = torch.ones(512, 512, dtype=dtype, device=device)
                start = time.perf_counter()
                (a @ a)[0, 0].item()  # waits for the device
                measured.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])


def precision_for(config: Training, own: Processes) -> torch.dtype:
    """The type of matrix products: as configured, or bfloat16 where it is measured to be faster.

    By far: with units for it a product takes a half or less, without them it takes longer than in float32. So the
    same machine chooses the same type each time, and a checkpoint stays good.
    """
    if config.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[config.precision]
    speed = own.mean(torch.tensor(bfloat16_speed(own.device), device=own.device))
    return torch.bfloat16 if speed >= BFLOAT16_SPEED else torch.float32


def learning_rate(config: Training, step: int) -> float:
    """Linear warm-up, then a cosine from the full rate to a tenth of it."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


class _Losses(nn.Module):
    """Model and constant predictor, from a batch to their losses."""

    def __init__(self, config: AgentConfig, encoding: Any, dtype: torch.dtype):
        super().__init__()
        self.options, self.encoding, self.dtype, self.policy = (
            config.loss,
            encoding,
            dtype,
            LOSSES[config.loss.kind].policy,
        )
        self.model = AgentModel(config, encoding.sizes)
        self.slow = copy.deepcopy(self.model).requires_grad_(False) if config.loss.slow else None
        self.constant = nn.Parameter(torch.zeros(encoding.sizes.output))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Policy losses (B, T) of the model and of the constant predictor, and the error of predicting what follows, ()."""
        device = batch.reward.device
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            features, output = self.model(tokens(Encoded(*batch[:4]), batch.eta))
        auxiliary = torch.zeros((), device=device)
        if self.model.auxiliary is not None:
            auxiliary = prediction(self.model.auxiliary, features.float(), batch).mean()
        constant = self.policy(self.options, self.encoding, self.constant.expand_as(output), batch)
        slow = [] if self.slow is None else [self._slow(batch)]
        return self.policy(self.options, self.encoding, output, batch, *slow), constant, auxiliary

    @torch.no_grad()
    def _slow(self, batch: Batch) -> Tensor:
        """Outputs of the slow copy, (B, T, sizes.output)."""
        with torch.autocast(batch.reward.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.slow(tokens(Encoded(*batch[:4]), batch.eta))[1]

    @torch.no_grad()
    def follow(self) -> None:
        """The slow copy goes a part of the way to the model."""
        if self.slow is not None:
            for own, other in zip(self.slow.parameters(), self.model.parameters(), strict=True):
                own.lerp_(other, self.options.slow)


class _Trainer:
    """Model, constant predictor and optimisers: all the state that training has."""

    def __init__(self, config: AgentConfig, encoding: Any, own: Processes):
        self.config, self.training, self.own, self.dtype = (
            config,
            config.training,
            own,
            precision_for(config.training, own),
        )
        torch.manual_seed(config.seed)
        losses = _Losses(config, encoding, self.dtype).to(own.device)
        self.model, self.constant, self.losses = losses.model, losses.constant, own.parallel(losses)
        self.whole = losses
        decay = [p for p in self.model.parameters() if p.dim() >= 2]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": config.training.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.training.learning_rate, betas=(0.9, 0.95), fused=True,
        )  # fmt: skip
        self.constant_optimizer = torch.optim.Adam([self.constant], lr=0.02)
        self.step = 0
        self.rows: list[dict] = []  # of each step since the last held-out loss
        self.metrics: list[dict] = []  # of each held-out loss

    def state(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "constant": self.constant.data,
            "slow": self.whole.slow.state_dict() if self.whole.slow else {},
            "optimizer": self.optimizer.state_dict(),
            "constant_optimizer": self.constant_optimizer.state_dict(),
            "step": self.step,
            "rows": self.rows,
            "metrics": self.metrics,
        }

    def restore(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.constant.data.copy_(state["constant"])
        if self.whole.slow:
            self.whole.slow.load_state_dict(state["slow"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.constant_optimizer.load_state_dict(state["constant_optimizer"])
        self.step, self.rows, self.metrics = state["step"], state["rows"], state["metrics"]

    def batch(self, windows: Windows, index: int) -> Batch:
        """This process's share of a batch: every n-th window, so that each has its part of every environment."""
        whole = windows.batch(index, self.training.batch_size)
        return whole.each(lambda x: x[self.own.rank :: self.own.count].to(self.own.device))

    def train(self, batch: Batch) -> None:
        """One optimiser step."""
        rate = learning_rate(self.training, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        policy, constant, auxiliary = self.losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.constant_optimizer.zero_grad(set_to_none=True)
        (policy.mean() + constant.mean() + self.config.loss.prediction_weight * auxiliary).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_grad_norm)
        names = ("train_loss", "constant_loss", "auxiliary_loss", "gradient_norm")
        means = self.own.mean(torch.stack([policy.mean(), constant.mean(), auxiliary, norm]).detach())
        row = dict(zip(names, means.tolist(), strict=True)) | {"learning_rate": rate}
        if not all(math.isfinite(v) for v in row.values()):
            raise NumericalError(f"step {self.step}: {row} holds a number that is not finite")
        self.optimizer.step()
        self.constant_optimizer.step()
        self.whole.follow()
        self.step += 1
        self.rows.append(row)

    @torch.no_grad()
    def evaluate(self, windows: Windows) -> dict[str, Tensor]:
        """Losses by position in the context, each (T,), over the first batches of a split."""
        self.model.eval()
        total: dict[str, Tensor] = {}
        for index in range(VALIDATION_BATCHES):
            policy, constant, auxiliary = self.losses(self.batch(windows, index))
            for name, value in (("loss", policy.mean(0)), ("constant", constant.mean(0)), ("auxiliary", auxiliary)):
                total[name] = total.get(name, 0) + value / VALIDATION_BATCHES
        self.model.train()
        return {name: self.own.mean(value).cpu() for name, value in total.items()}


def _read_checkpoint(path: Path, own: Processes) -> dict[str, Any]:
    """What ``torch.save`` wrote. Raises CorruptFile for an archive that holds more than it is long."""
    with zipfile.ZipFile(path) as archive:
        if any(part.file_size > part.compress_size for part in archive.infolist()):
            raise CorruptFile(f"{path}: a packed archive (expected a checkpoint, which is not)")
    return dict(torch.load(path, weights_only=True, map_location=own.device))


def train(
    config: AgentConfig,
    name: str,
    code: dict[str, str],
    table: str | Path,
    summary: str | Path,
    folder: str | Path,
    scratch: str | Path,
    device: str = "auto",
) -> None:
    """Train an agent and write its folder: weights.safetensors, metrics.jsonl, by_position.csv and,
    last, agent.json.

    name: the agent's key in the config. code: what decides the weights (``gla.code.Code.training``). table, summary: the
    manifest. scratch: a folder for checkpoints and TensorBoard logs; checkpoints are removed at the end. Raises CorruptFile for bad
    inputs, NumericalError where a number stops being finite (the last checkpoint stays), Interrupted
    after SIGTERM, and Busy where another process trains the same agent.
    """
    with processes(device) as own, contextlib.ExitStack() as stack:
        if own.is_main_process:
            Path(folder).mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder))
        stack.enter_context(named(scratch))
        _train(config, name, code, table, summary, Path(folder), Path(scratch), own)


def _train(
    config: AgentConfig,
    name: str,
    code: dict[str, str],
    table: str | Path,
    summary: str | Path,
    folder: Path,
    scratch: Path,
    own: Processes,
) -> None:
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed here alone

    training = config.training
    if training.batch_size % own.count:
        raise ConfigError(
            f"agents.{name}.training.batch_size: {training.batch_size} (expected a multiple of the {own.count} processes that share it)"
        )
    frame, manifest = read_manifest(table, summary)
    encoding = encoding_of(manifest, config.model.turns)
    trainer = _Trainer(config, encoding, own)
    machine = [torch.__version__, str(trainer.dtype), own.device.type, own.count]
    identity = fingerprint([config.model_dump(), manifest["content"], code, *machine])
    checkpoint = scratch / "checkpoint.pt"
    if checkpoint.exists():
        try:
            check(checkpoint)
            state = _read_checkpoint(checkpoint, own)
            if fits := state.get("fingerprint") == identity:
                trainer.restore(state)
        except Exception as error:  # torch raises a dozen kinds for a file that it did not write
            said = error if isinstance(error, CorruptFile) else f"{checkpoint}: not readable ({type(error).__name__})"
            print(f"[train {name}] {said}; starting afresh", file=sys.stderr)
            trainer, fits = _Trainer(config, encoding, own), False
        own.wait()  # until all have read it
        if own.is_main_process and not fits:
            shutil.rmtree(scratch)

    def save_checkpoint() -> None:
        if own.is_main_process:
            buffer = io.BytesIO()  # a full disk is then an OSError
            torch.save(trainer.state() | {"fingerprint": identity}, buffer)
            with atomic(checkpoint) as temporary:
                temporary.write_bytes(buffer.getbuffer())

    seen = Windows(config, frame, manifest, "train", own.device, scratch)
    held_out = Windows(config, frame, manifest, "validation", own.device, scratch)
    tokens_per_step = training.batch_size * config.windows.length
    if own.is_main_process:
        if trainer.step:
            print(f"[train {name}] going on from step {trainer.step} of {training.steps}", file=sys.stderr)
        progress = Progress(f"train {name}", training.steps * tokens_per_step, "tokens", trainer.step * tokens_per_step)
        log = SummaryWriter(str(scratch / "tensorboard"), purge_step=trainer.step)
    stop = []
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere no handler can be set
    previous = signal.signal(signal.SIGTERM, lambda *_: stop.append(True)) if in_main else None
    try:
        while trainer.step < training.steps:
            trainer.train(trainer.batch(seen, trainer.step))
            if trainer.step % training.evaluate_every == 0 or trainer.step == training.steps:
                losses = trainer.evaluate(held_out)
                mean = pd.DataFrame(trainer.rows).mean().to_dict()
                row = {"step": trainer.step, **mean, "validation_loss": losses["loss"].mean().item()}
                row["validation_constant_loss"] = losses["constant"].mean().item()
                if not all(math.isfinite(v) for v in row.values()):
                    raise NumericalError(f"step {trainer.step}: {row} holds a number that is not finite")
                trainer.metrics.append(row)
                if own.is_main_process:
                    for key, value in row.items():
                        log.add_scalar(key, value, trainer.step)
                trainer.rows = []
                save_checkpoint()
            if own.is_main_process:
                last = trainer.metrics[-1] if trainer.metrics else None
                note = (
                    f"held-out loss {last['validation_loss']:.3f} (constant {last['validation_constant_loss']:.3f})"
                    if last
                    else ""
                )
                progress.advance(tokens_per_step, note)
            if own.any(bool(stop)):
                save_checkpoint()
                raise Interrupted(
                    f"train {name}: stopped at step {trainer.step} of {training.steps}; start again to go on"
                )
    except NumericalError as error:
        raise NumericalError(f"train: agent {name!r}, {error}") from None
    finally:
        if own.is_main_process:
            log.close()
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)

    at_end = trainer.evaluate(seen), trainer.evaluate(held_out)
    if own.is_main_process:
        _write(trainer, *at_end, manifest, folder)
        remove(checkpoint)


def _write(
    trainer: _Trainer, seen: dict[str, Tensor], held_out: dict[str, Tensor], manifest: dict, folder: Path
) -> None:
    with atomic(folder / "metrics.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in trainer.metrics))
    by_position = pd.DataFrame(
        {
            "position": range(len(seen["loss"])),
            "train_loss": seen["loss"],
            "validation_loss": held_out["loss"],
            "constant_loss": held_out["constant"],
        }
    )
    with atomic(folder / "by_position.csv") as temporary:
        by_position.to_csv(temporary, index=False)
    weights = folder / "weights.safetensors"
    with atomic(weights) as temporary:
        temporary.write_bytes(save({n: p.detach().cpu().contiguous() for n, p in trainer.model.state_dict().items()}))
    facts = {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "tokens": trainer.training.steps * trainer.training.batch_size * trainer.config.windows.length,
        "precision": str(trainer.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "validation_loss": float(held_out["loss"].mean()),
        "constant_loss": float(held_out["constant"].mean()),
    }
    write_json(folder / "agent.json", describe(trainer.config, manifest, weights, facts))
