"""Meta-training: makes an agent's folder from a manifest, with any kind of trainer (gla.trainers).

A run that is killed goes on from its last checkpoint and ends with the same bytes: the data of a step depend only on (seed,
step) and the weights, and the checkpoint holds everything else. A checkpoint carries a fingerprint of the config, the
manifest and this package's code; one that does not fit is ignored. Several processes share each batch (gla.processes); each
has the whole state, and the first one writes.
"""

import contextlib
import io
import json
import shutil
import signal
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save

from gla.agent import describe
from gla.config.agents import Agent
from gla.config.environments import Environment
from gla.files import CorruptFile, atomic, check, exclusive, fingerprint, named, remove, write_json
from gla.manifests import read_manifest
from gla.options import ConfigError
from gla.policies import NumericalError
from gla.processes import Processes, processes
from gla.progress import Progress
from gla.tracking import Log
from gla.trainers.base import BaseTrainer
from gla.trainers.kinds import TRAINERS


class Interrupted(RuntimeError):
    """The run was asked to stop (SIGTERM), and has saved its checkpoint."""


def _read_checkpoint(path: Path, own: Processes) -> dict[str, Any]:
    """Reads a file that ``torch.save`` wrote. Raises CorruptFile for a compressed archive, which could fill memory."""
    with zipfile.ZipFile(path) as archive:
        if any(part.file_size > part.compress_size for part in archive.infolist()):
            raise CorruptFile(f"{path}: a packed archive (expected a checkpoint, which is not)")
    return dict(torch.load(path, weights_only=True, map_location=own.device))


def train(
    config: Agent,
    name: str,
    code: dict[str, str],
    table: str | Path,
    summary: str | Path,
    folder: str | Path,
    scratch: str | Path,
    device: str = "auto",
    environments: list[Environment] | None = None,
) -> None:
    """Trains an agent and writes its folder: weights.safetensors, metrics.jsonl, by_position.csv and, at the end, agent.json.

    name: the agent's key in the config. code: hashes of the code that decides the weights (``gla.code.Code.training``).
    table, summary: the manifest. scratch: a folder for checkpoints and TensorBoard logs; checkpoints are removed at the end.
    environments: those of the dataset's sources, in the same order, for trainers that act in them. Raises CorruptFile for bad
    inputs, NumericalError if a number stops being finite (the last checkpoint stays), Interrupted after SIGTERM, and Busy if
    another process trains the same agent.
    """
    with processes(device) as own, contextlib.ExitStack() as stack:
        if own.is_main_process:
            Path(folder).mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive(folder))
        stack.enter_context(named(scratch))
        _train(config, name, code, table, summary, Path(folder), Path(scratch), own, environments or [])


def _train(
    config: Agent,
    name: str,
    code: dict[str, str],
    table: str | Path,
    summary: str | Path,
    folder: Path,
    scratch: Path,
    own: Processes,
    environments: list[Environment],
) -> None:
    options = config.training
    if options.batch_size % own.count:
        raise ConfigError(
            f"agents.{name}.training.batch_size: {options.batch_size} (expected a multiple of the {own.count} processes that share it)"
        )
    frame, manifest = read_manifest(table, summary)

    def fresh() -> BaseTrainer:
        return TRAINERS[options.kind].Trainer(config, frame, manifest, environments, own, scratch)

    trainer = fresh()
    machine = [torch.__version__, str(trainer.dtype), own.device.type, own.count]
    identity = fingerprint([config.model_dump(), manifest["content"], code, *machine])
    checkpoint = scratch / "checkpoint.pt"
    if checkpoint.exists():
        try:
            check(checkpoint)
            state = _read_checkpoint(checkpoint, own)
            if fits := state.get("fingerprint") == identity:
                trainer.restore(state)
        except Exception as error:  # torch raises errors of many types for a file that it did not write
            said = error if isinstance(error, CorruptFile) else f"{checkpoint}: not readable ({type(error).__name__})"
            print(f"[train {name}] {said}; starting afresh", file=sys.stderr)
            trainer, fits = fresh(), False
        own.wait()  # until all processes have read the checkpoint
        if own.is_main_process and not fits:
            shutil.rmtree(scratch)

    def save_checkpoint() -> None:
        if own.is_main_process:
            buffer = io.BytesIO()  # so that a full disk raises an OSError
            torch.save(trainer.state() | {"fingerprint": identity}, buffer)
            with atomic(checkpoint) as temporary:
                temporary.write_bytes(buffer.getbuffer())

    trainer.open()
    if own.is_main_process:
        if trainer.step:
            print(f"[train {name}] going on from step {trainer.step} of {options.steps}", file=sys.stderr)
        work = options.steps * trainer.count, trainer.unit, trainer.step * trainer.count
        progress = Progress(f"train {name}", *work)
        log = Log(scratch, name, config.model_dump(), trainer.step)
    stop = []
    in_main = threading.current_thread() is threading.main_thread()  # only the main thread can set a handler
    previous = signal.signal(signal.SIGTERM, lambda *_: stop.append(True)) if in_main else None
    try:
        while trainer.step < options.steps:
            trainer.advance()
            if trainer.step % options.evaluate_every == 0 or trainer.step == options.steps:
                row = trainer.evaluate()
                if own.is_main_process:
                    log.add(row, trainer.step)
                save_checkpoint()
            if own.is_main_process:
                last = trainer.metrics[-1] if trainer.metrics else None
                note = (
                    f"held-out loss {last['validation_loss']:.3f} (constant {last['validation_constant_loss']:.3f})"
                    if last
                    else ""
                )
                progress.advance(trainer.count, note)
            if own.any(bool(stop)):
                save_checkpoint()
                raise Interrupted(
                    f"train {name}: stopped at step {trainer.step} of {options.steps}; start again to go on"
                )
    except NumericalError as error:
        raise NumericalError(f"train: agent {name!r}, {error}") from None
    finally:
        if own.is_main_process:
            log.close()
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)

    by_position = trainer.by_position()
    if own.is_main_process:
        _write(trainer, by_position, manifest, folder)
        remove(checkpoint)


def _write(trainer: BaseTrainer, by_position: pd.DataFrame, manifest: dict, folder: Path) -> None:
    with atomic(folder / "metrics.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in trainer.metrics))
    with atomic(folder / "by_position.csv") as temporary:
        by_position.to_csv(temporary, index_label="position")
    weights = folder / "weights.safetensors"
    with atomic(weights) as temporary:
        temporary.write_bytes(save({n: p.detach().cpu().contiguous() for n, p in trainer.model.state_dict().items()}))
    means = by_position.mean()
    facts = {
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "tokens": trainer.options.steps * trainer.count,
        "precision": str(trainer.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "validation_loss": float(means["validation_loss"]),
        "constant_loss": float(means["constant_loss"]),
    }
    write_json(folder / "agent.json", describe(trainer.config, manifest, weights, facts))
