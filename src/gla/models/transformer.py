"""Decoder-only Transformer: pre-norm (RMSNorm), rotary positions, no biases, no dropout.

Rotary positions (Su et al., 2021) depend only on differences, so that a cache may slide for ever. Absolute positions would end at the
training length.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.attention import Cache, attend, rotate, window_mask
from gla.models.options import AttentionOptions
from gla.options import Steps


class Options(AttentionOptions):
    """A decoder-only Transformer: causal, pre-norm, with rotary positions."""

    kind: Literal["transformer"] = "transformer"
    key_heads: Steps | None = None
    """Number of heads of keys and values, each shared by several heads of queries (grouped-query attention), so that rollouts read
    less memory. It must divide heads. By default it equals heads."""

    @model_validator(mode="after")
    def _divisible(self):
        if self.heads % (self.key_heads or 1):
            raise ValueError(f"key_heads {self.key_heads} does not divide heads {self.heads} (expected a divisor)")
        return self

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        kept = self.width * (self.key_heads or self.heads) // self.heads
        return batch * min(length, self.window or length) * self.layers * 2 * kept * 4

    def parameters(self, sizes: Sizes) -> int:
        return self.layers * 10 * self.width**2


class Block(nn.Module):
    def __init__(self, width: int, heads: int, key_heads: int):
        super().__init__()
        self.head = width // heads
        self.sizes = [width, key_heads * self.head, key_heads * self.head]
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, sum(self.sizes), bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns rotated queries (B, H, T, head), and rotated keys and values (B, G, T, head)."""
        parts = self.qkv(self.attention_norm(x)).split(self.sizes, -1)
        q, k, v = (part.unflatten(-1, (-1, self.head)).transpose(1, 2) for part in parts)
        return rotate(q, position), rotate(k, position), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Returns the residual stream (B, T, D) after attention's output (B, H, T, head) and the MLP."""
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class SequenceModel(nn.Module):
    """The interface is described in the package."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        width, layers = options.width, options.layers
        self.options = options
        self.embed = nn.Linear(sizes.token, width)
        self.blocks = nn.ModuleList(
            Block(width, options.heads, options.key_heads or options.heads) for _ in range(layers)
        )
        self.norm = nn.RMSNorm(width)
        for name, p in self.blocks.named_parameters():
            if p.dim() == 2 and not p.is_meta:  # on the meta device it would take seconds, for nothing
                # Residual branches start small, so that the size of the stream does not grow with depth (GPT-2).
                scale = 0.02 if not name.endswith(("out.weight", "down.weight")) else 0.02 / (2 * layers) ** 0.5
                nn.init.normal_(p, std=scale * (768 / width) ** 0.5)
        self.head = nn.Linear(width, sizes.output)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = x.shape[1]
        position = torch.arange(t, device=x.device)
        mask = window_mask(position, self.options.window)
        x = self.embed(x).float()  # so that the residual stream is float32 under autocast
        for block in self.blocks:
            q, k, v = block.project(x, position)
            attended = attend(q, k, v, mask, causal=mask is None)
            x = block.finish(x, attended)
        features = self.norm(x)
        return features, self.head(features).float()

    def initial_state(self, batch: int, length: int) -> Cache:
        heads, length = self.options.key_heads or self.options.heads, min(length, self.options.window or length)
        return Cache(len(self.blocks), batch, heads, length, self.blocks[0].head, self.blocks[0].qkv.weight)

    def step(self, x: Tensor, state: Cache) -> Tensor:
        x = self.embed(x).float().unsqueeze(1)
        position, mask = torch.tensor([state.position], device=x.device), state.mask()
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(x, position)
            x = block.finish(x, attend(q, *state.push(layer, k, v), mask))
        state.position += 1
        return self.head(self.norm(x)).float().squeeze(1)
