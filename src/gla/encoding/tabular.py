"""States and discrete actions as they are, one-hot: for tabular worlds, whose states have no geometry to project."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gla.encoding.tokens import Frames, Sizes
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment
from gla.options import Count
from gla.options import Options as Base


class Options(Base):
    """Observations and discrete actions are taken as they are, padded with zeros; rewards too."""

    kind: Literal["tabular"] = "tabular"
    states: Count
    """Observation dimensions that a token has room for; an integer observation counts its values."""
    actions: Count
    """Discrete actions that a token has room for."""

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.states, self.actions, self.actions)

    def pool(self, training: bool) -> int:
        """How many frames there are to draw from: all contexts are alike."""
        return 1


class Encoding:
    """See the package for the interface."""

    varies = False  # all contexts are alike

    def __init__(self, options: Options):
        self.options, self.sizes = options, options.sizes

    def check(self, env_id: str, spec: EnvSpec) -> None:
        """Raises UnsupportedEnvironment, in one line that names the limit."""
        o = self.options
        if not spec.discrete:
            raise UnsupportedEnvironment(
                f"environment {env_id!r}: continuous actions (expected discrete ones for the encoding 'tabular')"
            )
        for what, size, most, key in (
            ("observation dimensions", spec.observation_size, o.states, "states"), ("actions", spec.action_size, o.actions, "actions"),
        ):  # fmt: skip
            if size > most:
                raise UnsupportedEnvironment(
                    f"environment {env_id!r}: {size} {what} (expected at most {most}, the encoding's {key})"
                )

    def frames(self, seeds: np.ndarray | None, n: int, spec: EnvSpec) -> Frames:
        """Identities, which need no memory: the first columns of A are the actions that the environment has."""
        own = torch.eye(self.options.actions, spec.action_size)
        return Frames(torch.empty(n, 0, 0), own.expand(n, -1, -1))

    def seen(self) -> None:
        return None

    def observe(self, x: Tensor, frames: Frames, seen: None) -> Tensor:
        """(B, T, d) to (B, T, states)."""
        return torch.nn.functional.pad(x, (0, self.options.states - x.shape[-1]))

    def act(self, action: Tensor, frames: Frames) -> Tensor:
        """Integers (B, T) to (B, T, actions)."""
        return torch.nn.functional.one_hot(action, self.options.actions).float()

    def reward(self, reward: Tensor, seen: None) -> Tensor:
        return reward

    def distribution(self, output: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (B, T, actions) to logits of the environment's own actions; log-deviations are there for the shape alone."""
        logits = output[..., : a.shape[-1]]
        return logits, torch.zeros_like(logits)

    def pad(self, x: Tensor, value: float = 0.0) -> Tensor:
        return torch.nn.functional.pad(x, (0, self.options.actions - x.shape[-1]), value=value)
