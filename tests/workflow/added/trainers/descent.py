"""Distillation by plain gradient descent."""

from typing import Literal

import torch

from gla.processes import Processes
from gla.trainers import distillation


class Options(distillation.Options):
    """Plain gradient descent."""

    kind: Literal["descent"] = "descent"


class Trainer(distillation.Trainer):
    """See gla.trainers."""

    def prepare(self, config, own: Processes) -> None:
        super().prepare(config, own)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=self.options.learning_rate)
