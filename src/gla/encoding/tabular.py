"""One-hot states and discrete actions, for tabular worlds, whose states have no geometry to project.

With permutations each context has its own order of states and actions, so that a model cannot know beforehand where a cell is
and what an action does. A model whose outputs rotate with its inputs (``turns``) is the same function in every order.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gla.encoding.tokens import BaseEncoding, Frames, Sizes
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment
from gla.options import Count
from gla.options import Options as Base

Pool = Annotated[int, Field(ge=1, le=2**40)]


class Options(Base):
    """Observations, discrete actions and rewards are kept as they are. The first two are padded with zeros."""

    kind: Literal["tabular"] = "tabular"
    states: Count
    """Largest number of observation dimensions that a token can hold. A discrete observation has one for each of its values."""
    actions: Count
    """Largest number of discrete actions that a token can hold."""
    permuted: bool = False
    """Whether each context has its own random order of states and actions, drawn from a seed."""
    train: Pool = 16384
    """Number of such orders to train with."""
    validation: Pool = 1024
    """Number of such orders for the held-out loss. No model is trained with them."""

    read_with: ClassVar = {"train": ("permuted", True), "validation": ("permuted", True)}

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.states, self.actions, self.actions)

    def spanned(self, environments: Iterable[tuple[int, int, bool]]) -> Sizes:
        """Returns the sizes of tokens for models whose outputs rotate with their inputs. environments: observation and action
        dimensions of each environment that contexts may have, and whether its actions are discrete."""
        observation, action, _ = (max(sizes) for sizes in zip(*environments, strict=True))
        return Sizes(observation, action, 2 * action)

    def pool(self, training: bool) -> int:
        """Returns the number of frames to draw from, in training or for the held-out loss; one if all contexts are alike."""
        return (self.train if training else self.validation) if self.permuted else 1


class Encoding(BaseEncoding):
    """The interface is described in the package."""

    @property
    def varies(self) -> bool:
        """Returns whether contexts have different frames, which are then drawn from seeds."""
        return self.options.permuted

    def check(self, env_id: str, spec: EnvSpec) -> None:
        """Raises UnsupportedEnvironment if the environment does not fit, in one line that names the limit."""
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
        """Returns columns of identity matrices, in orders that are drawn from seeds (n,) if contexts differ: w (n,
        sizes.observation, d), which is empty if they do not, and a (n, sizes.action, a)."""
        sizes = self.sizes
        if not self.varies:
            return Frames(torch.empty(n, 0, 0), torch.eye(sizes.action, spec.action_size).expand(n, -1, -1))
        w, a = np.eye(sizes.observation, dtype=np.float32), np.eye(sizes.action, dtype=np.float32)
        drawn = [np.random.Generator(np.random.Philox(key=int(s))) for s in seeds]
        pairs = [
            (w[:, rng.permutation(sizes.observation)[: spec.observation_size]], a[:, rng.permutation(sizes.action)[: spec.action_size]])
            for rng in drawn
        ]  # fmt: skip
        return Frames(*(torch.from_numpy(np.stack(x)) for x in zip(*pairs, strict=True)))

    def seen(self) -> None:
        return None

    def observe(self, x: Tensor, frames: Frames, seen: None) -> Tensor:
        """Permutes or pads observations (B, T, d) to (B, T, sizes.observation)."""
        if self.varies:
            return x @ frames.w.transpose(1, 2)
        return torch.nn.functional.pad(x, (0, self.sizes.observation - x.shape[-1]))

    def act(self, action: Tensor, frames: Frames) -> Tensor:
        """Maps integer actions (B, T) to (B, T, sizes.action)."""
        if self.varies:
            return frames.a.transpose(1, 2)[torch.arange(len(action), device=action.device)[:, None], action]
        return torch.nn.functional.one_hot(action, self.sizes.action).float()

    def reward(self, reward: Tensor, seen: None) -> Tensor:
        return reward

    def distribution(self, output: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Maps outputs (B, T, sizes.output) to logits of the environment's own actions. Log-deviations are returned only for
        their shape.
        """
        logits = output[..., : self.sizes.action]
        logits = logits @ a if self.varies else logits[..., : a.shape[-1]]
        return logits, torch.zeros_like(logits)
