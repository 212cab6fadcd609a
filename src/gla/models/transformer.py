"""Decoder-only Transformer: pre-norm (RMSNorm), rotary positions, no biases, no dropout.

Rotary positions (Su et al., 2021) see only differences, so a cache may slide for ever: absolute
ones would end at the training length.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Rotary embedding of (..., T, head) at positions (T,)."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position.float().unsqueeze(-1) * frequency  # (T, head / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Cache:
    """Keys and values of the last ``length`` tokens, as a ring: (layers, 2, B, H, length, head).

    All streams take one token at each step, whatever their episodes do, so one position serves all.
    Keys are stored rotated; attention does not care in which order they lie.
    """

    def __init__(self, layers: int, batch: int, heads: int, length: int, head: int, like: Tensor):
        self.length, self.position = length, 0
        self.memory = like.new_zeros(layers, 2, batch, heads, length, head)


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

    def __init__(self, layers: int, width: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, width
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                # Residual branches start small, so that depth does not scale the stream (GPT-2).
                scale = 0.02 if not name.endswith(("out.weight", "down.weight")) else 0.02 / (2 * layers) ** 0.5
                nn.init.normal_(p, std=scale * (768 / width) ** 0.5)

    def forward(self, x: Tensor, window: int | None = None) -> Tensor:
        """Tokens (B, T, D) to features (B, T, D); each sees at most the last ``window`` tokens, itself included."""
        t = x.shape[1]
        position = torch.arange(t, device=x.device)
        mask = None
        if window is not None and window < t:
            distance = position[:, None] - position
            mask = (distance >= 0) & (distance < window)
        for block in self.blocks:
            q, k, v = block.project(x, position)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            x = block.finish(x, attended)
        return self.norm(x)

    def cache(self, batch: int, length: int) -> Cache:
        like = self.blocks[0].qkv.weight
        return Cache(len(self.blocks), batch, self.heads, length, self.width // self.heads, like)

    def step(self, x: Tensor, cache: Cache) -> Tensor:
        """The next token of each stream, (B, D), to its feature (B, D)."""
        x = x.unsqueeze(1)
        position = torch.tensor([cache.position], device=x.device)
        slot, filled = cache.position % cache.length, min(cache.position + 1, cache.length)
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(x, position)
            keys, values = cache.memory[layer]
            keys[:, :, slot], values[:, :, slot] = k[:, :, 0], v[:, :, 0]
            x = block.finish(x, F.scaled_dot_product_attention(q, keys[:, :, :filled], values[:, :, :filled]))
        cache.position += 1
        return self.norm(x).squeeze(1)
