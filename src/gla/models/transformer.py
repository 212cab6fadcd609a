"""Decoder-only Transformer: pre-norm (RMSNorm), rotary positions, no biases, no dropout.

Rotary positions (Su et al., 2021) see only differences, so a cache may slide for ever: absolute
ones would end at the training length.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gla.config import Model
from gla.environments import MAX_ACTION
from gla.models.tokens import TOKEN


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Rotary embedding of (..., T, head) at positions (T,)."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position.float().unsqueeze(-1) * frequency  # (T, head / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def window_mask(position: Tensor, window: int | None) -> Tensor | None:
    """Which tokens each of (T,) may see, (T, T): itself and the window - 1 before it; None: all before it."""
    if window is None or window >= len(position):
        return None
    distance = position[:, None] - position
    return (distance >= 0) & (distance < window)


class Cache:
    """Keys and values of the last ``length`` tokens, as a ring: (layers, 2, B, H, length, head).

    All streams take one token at each step, whatever their episodes do, so one position serves all.
    Keys are stored rotated; attention does not care in which order they lie.
    """

    def __init__(self, layers: int, batch: int, heads: int, length: int, head: int, like: Tensor):
        self.length, self.position = length, 0
        self.memory = like.new_zeros(layers, 2, batch, heads, length, head)
        self.begin = None  # position of each stream's first token, (B,); None: 0 for all

    def forget(self, streams: Tensor) -> None:
        """Wipe the context of the streams (B,) bool that are true."""
        if self.begin is None:
            self.begin = torch.zeros(len(streams), dtype=torch.long, device=self.memory.device)
        self.begin[streams.to(self.begin.device)] = self.position

    def push(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store the current token's key and value (B, H, 1, head); all that may be seen, (B, H, n, head)."""
        keys, values = self.memory[layer]
        slot, filled = self.position % self.length, min(self.position + 1, self.length)
        keys[:, :, slot], values[:, :, slot] = key[:, :, 0], value[:, :, 0]
        return keys[:, :, :filled], values[:, :, :filled]

    def mask(self) -> Tensor | None:
        """Which of the n stored tokens each stream may see, (B, 1, 1, n); None: all."""
        if self.begin is None:
            return None
        slot = torch.arange(min(self.position + 1, self.length), device=self.begin.device)
        position = self.position - (self.position - slot) % self.length
        return (position >= self.begin[:, None])[:, None, None]


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, (B, H, T, head)."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return rotate(q, position), rotate(k, position), v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Residual stream (B, T, D) after attention's output (B, H, T, head) and the MLP."""
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class Transformer(nn.Module):
    """See the package for the interface."""

    def __init__(self, config: Model):
        super().__init__()
        width, layers = config.width, config.layers
        self.config = config
        self.embed = nn.Linear(TOKEN, width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        for name, p in self.blocks.named_parameters():
            if p.dim() == 2:
                # Residual branches start small, so that depth does not scale the stream (GPT-2).
                scale = 0.02 if not name.endswith(("out.weight", "down.weight")) else 0.02 / (2 * layers) ** 0.5
                nn.init.normal_(p, std=scale * (768 / width) ** 0.5)
        self.head = nn.Linear(width, 2 * MAX_ACTION)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t = x.shape[1]
        position = torch.arange(t, device=x.device)
        mask = window_mask(position, self.config.window)
        x = self.embed(x)
        for block in self.blocks:
            q, k, v = block.project(x, position)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            x = block.finish(x, attended)
        features = self.norm(x)
        return features, self.head(features).float()

    def cache(self, batch: int, length: int) -> Cache:
        like, heads = self.blocks[0].qkv.weight, self.config.heads
        return Cache(len(self.blocks), batch, heads, min(length, self.config.window or length), self.config.width // heads, like)

    def step(self, x: Tensor, cache: Cache) -> Tensor:
        x = self.embed(x).unsqueeze(1)
        position, mask = torch.tensor([cache.position], device=x.device), cache.mask()
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(x, position)
            x = block.finish(x, F.scaled_dot_product_attention(q, *cache.push(layer, k, v), attn_mask=mask))
        cache.position += 1
        return self.head(self.norm(x)).float().squeeze(1)
