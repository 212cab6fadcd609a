"""Where the numbers of a training are logged: in TensorBoard's files always, and in Weights & Biases if the user asks for that.

``GLA_WANDB=offline`` writes a run next to TensorBoard's files, without any network; ``wandb sync FOLDER`` uploads it later. With
``GLA_WANDB=online`` it is uploaded at once, to the account that wandb is logged in to.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gla.options import ConfigError

MODES = ("offline", "online")


class Log:
    """The logs of one training, in a folder. config: what a run of Weights & Biases shows as its config. step: the first step; what was
    logged of later steps, before a job was killed, is replaced. Raises ConfigError for another mode, and if wandb is not installed."""

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any], step: int):
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed only here

        mode, self.run = os.environ.get("GLA_WANDB", ""), None
        if mode and mode not in MODES:
            raise ConfigError(f"GLA_WANDB: {mode!r} (expected {' or '.join(MODES)}, or nothing)")
        if mode:
            try:
                import wandb
            except ImportError:
                raise ConfigError(
                    f"GLA_WANDB: {mode!r}, and wandb is not installed (expected pip install wandb)"
                ) from None
            folder.mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(silent=True, console="off")
            self.run = wandb.init(
                project="gla", name=name, dir=folder, mode=mode, config=dict(config), settings=settings, reinit="create_new"
            )  # fmt: skip
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def add(self, row: Mapping[str, float], step: int) -> None:
        """Logs numbers of a step by their names."""
        for key, value in row.items():
            self.writer.add_scalar(key, value, step)
        if self.run is not None:
            self.run.log(dict(row), step=step)

    def close(self) -> None:
        """Writes what was not written yet."""
        self.writer.close()
        if self.run is not None:
            self.run.finish()
