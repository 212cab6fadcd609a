"""Parts that all models with attention share: rotary positions, attention itself, and a cache for decoding."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Applies rotary embeddings to (..., T, head) at positions (T,)."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position.float().unsqueeze(-1) * frequency  # (T, head / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def window_mask(position: Tensor, window: int | None) -> Tensor | None:
    """Returns which tokens each of T tokens may see, (T, T): itself and the window - 1 tokens before it; None: all tokens
    before it.
    """
    if window is None or window >= len(position):
        return None
    distance = position[:, None] - position
    return (distance >= 0) & (distance < window)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Computes softmax attention of queries (B, H, T, head) to keys and values (B, G, n, head), where G divides H.

    Under autocast it uses the number type of autocast, except on CPUs without bfloat16 matrix units. There PyTorch's kernel
    takes up to 1.7 times as long in bfloat16 as in float32, though a single product takes half as long (docs/experiments.md).
    """
    if (grouped := query.shape[1] != key.shape[1]) and query.shape[2] == 1:
        # The queries of one token are treated like several tokens, so that the keys that they share are read once and never copied.
        groups = query.reshape(len(query), key.shape[1], -1, query.shape[-1])
        return attend(groups, key, value, mask).reshape(query.shape)
    kind = query.device.type
    if kind == "cpu" and not torch.cpu._is_amx_tile_supported():
        with torch.autocast(kind, enabled=False):
            query, key, value = query.float(), key.float(), value.float()
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=grouped
            )
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, enable_gqa=grouped)


class Cache:
    """A ring buffer of keys and values of the last ``length`` tokens: (layers, 2, B, H, length, head).

    All streams take one token at each step, even if episodes end at different times, so that they share one position. Keys
    are stored after rotation, and their order does not matter to attention.
    """

    def __init__(self, layers: int, batch: int, heads: int, length: int, head: int, like: Tensor):
        self.length, self.position = length, 0
        self.memory = like.new_zeros(layers, 2, batch, heads, length, head)
        self.begin = None  # position of the first token of each stream, (B,); None: 0 for all

    def forget(self, streams: Tensor) -> None:
        """Empties the contexts of the streams for which (B,) bool is true."""
        if self.begin is None:
            self.begin = torch.zeros(len(streams), dtype=torch.long, device=self.memory.device)
        self.begin[streams.to(self.begin.device)] = self.position

    def push(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the current token's key and value (B, H, 1, head), and returns all keys and values that may be seen, (B, H,
        n, head).
        """
        keys, values = self.memory[layer]
        slot, filled = self.position % self.length, min(self.position + 1, self.length)
        keys[:, :, slot], values[:, :, slot] = key[:, :, 0], value[:, :, 0]
        return keys[:, :, :filled], values[:, :, :filled]

    def mask(self) -> Tensor | None:
        """Returns which of the n stored tokens each stream may see, (B, 1, 1, n); None: all."""
        if self.begin is None:
            return None
        slot = torch.arange(min(self.position + 1, self.length), device=self.begin.device)
        position = self.position - (self.position - slot) % self.length
        return (position >= self.begin[:, None])[:, None, None]
