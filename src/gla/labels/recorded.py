"""The distributions that actions were drawn from when they were taken (Kirsch et al., 2023)."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gla.labels.options import DistributionOptions
from gla.windows.chunks import Drawn
from gla.windows.rows import Rows


class Options(DistributionOptions):
    """The source's own action distributions, or actions, as they were recorded."""

    kind: Literal["recorded"] = "recorded"

    needs: ClassVar[Mapping[str, frozenset[str]]] = {"distribution": frozenset({"distribution"}), "action": frozenset()}


def updates(drawn: Drawn, last: int) -> np.ndarray:
    """See gla.labels."""
    return drawn.update


def distribution(options: Options, rows: Rows, drawn: Drawn, raw: Tensor) -> tuple[Tensor, Tensor]:
    """See gla.labels."""
    n, m = drawn.update.shape
    mean = rows.steps["logits" if rows.spec.discrete else "mean"]
    mean = mean[torch.from_numpy(drawn.index).to(mean.device)].to(raw.device)
    if rows.spec.discrete:
        return mean, torch.zeros_like(mean)
    log_std = rows.lifetimes["log_std"]
    k = np.repeat(rows.stream_lifetime[drawn.stream][:, None], m, 1)
    k, u = (torch.from_numpy(x.reshape(-1)).to(log_std.device) for x in (k, drawn.update))
    log_std = log_std[k, u].to(raw.device).clamp_min(options.log_std_floor).view(n, m, -1)
    return mean, log_std.repeat_interleave(raw.shape[1] // m, 1)


def action(options: Options, rows: Rows, drawn: Drawn) -> Tensor:
    """See gla.labels."""
    taken = rows.steps["action"]
    return taken[torch.from_numpy(drawn.index).to(taken.device)]
