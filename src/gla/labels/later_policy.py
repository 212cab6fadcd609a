"""The action distributions of a policy some updates later, so that the context does not show its own labels."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from gla.labels.options import DistributionOptions
from gla.options import ConfigError
from gla.policies import Policy
from gla.windows.chunks import ChunkOptions, Drawn
from gla.windows.rows import Rows


class Options(DistributionOptions):
    """The action distribution of the policy ``windows.gap`` updates later, or of the last policy if there is no such update."""

    kind: Literal["later_policy"] = "later_policy"

    needs: ClassVar[Mapping[str, frozenset[str]]] = {"distribution": frozenset({"policies"})}

    def problems_of(self, agent: Any) -> Iterator[str]:
        """Yields a line for each reason why these options do not fit the agent's other options."""
        yield from super().problems_of(agent)
        if not isinstance(agent.windows, ChunkOptions):
            yield f"kind: 'later_policy' for windows of kind {agent.windows.kind!r} (expected windows that have a gap)"

    def problems_with(self, agent: Any, name: str, source: Any) -> Iterator[str]:
        """Yields a line if a label needs the policy of an update without a snapshot."""
        if not isinstance(agent.windows, ChunkOptions) or agent.windows.bounds is None:
            return
        last, kept = source.updates - 1, set(source.snapshots())
        missing = next((u for u in range(min(agent.windows.bounds[0], last), last) if u not in kept), None)
        if missing is not None:
            below, above = max(u for u in kept if u < missing), min(u for u in kept if u > missing)
            yield (
                f"kind: 'later_policy' asks for the policy of update {missing} of {name!r}, which has no snapshot (nearest: {below} and "
                f"{above}; expected sources.{name}.snapshot_every 1, or windows.gap max)"
            )


def updates(drawn: Drawn, last: int) -> np.ndarray:
    """See gla.labels."""
    return np.minimum(drawn.update + drawn.gap[:, None], last)


def distribution(options: Options, rows: Rows, drawn: Drawn, raw: Tensor) -> tuple[Tensor, Tensor]:
    """See gla.labels."""
    update = updates(drawn, rows.updates - 1)
    (n, m), snapshot = update.shape, np.searchsorted(rows.snapshot_update, update)
    # The check of the config makes sure of this.
    if (rows.snapshot_update[snapshot] != update).any():
        missing = update[rows.snapshot_update[snapshot] != update][0]
        raise ConfigError(
            f"labels: no snapshot of the policy of update {missing} (expected the source's snapshot_every 1)"
        )
    fields = [rows.lifetimes[f"policy_{field}"] for field in Policy._fields]
    k = np.repeat(rows.stream_lifetime[drawn.stream][:, None], m, 1)
    k, s = (torch.from_numpy(x.reshape(-1)).to(fields[0].device) for x in (k, snapshot))
    policy = Policy(*(x[k, s].to(raw.device) for x in fields))  # n * M policies
    mean = policy(raw.view(n * m, raw.shape[1] // m, -1)).view(n, raw.shape[1], -1)
    log_std = policy.log_std.clamp_min(options.log_std_floor).view(n, m, -1)
    return mean, log_std.repeat_interleave(raw.shape[1] // m, 1)
