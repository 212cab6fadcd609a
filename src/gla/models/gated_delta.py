"""Gated delta networks (Yang, Kautz and Hatamizadeh, 2025): linear attention whose memory is overwritten and forgotten.

Each head keeps a matrix S (head, head). With a key k of unit length, a value v, a strength b in (0, 1) and a decay a in (0, 1)::

    S_t = a_t S_{t-1} + k_t u_t',   u_t = b_t (v_t - a_t S_{t-1}' k_t),   o_t = S_t' q_t

so that v replaces the value that was stored under k if b is 1. A step costs the same for contexts of any length, and the
state has a fixed size. In training a sequence is cut into chunks. Inside of a chunk, with the cumulated decay G_t = sum of
log a,

    S_t = exp(G_t) S_0 + sum_{j <= t} exp(G_t - G_j) k_j u_j'
    (I + b (K K' . exp(G_t - G_j)) below the diagonal) U = b (V - exp(G) K S_0)

so that the triangular systems of all chunks are solved at once, and only S is passed from one chunk to the next.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.options import ModelOptions
from gla.options import Steps

CHUNK = 32  # tokens
SLOWEST = 0.001  # initial decay per token of the head that forgets most slowly; the fastest forgets a hundred times as quickly


class Options(ModelOptions):
    """Linear attention with the gated delta rule. It is trained in chunks, and has a state of fixed size in rollouts."""

    kind: Literal["gated_delta"] = "gated_delta"
    heads: Steps = 4
    """Number of memories in each block. It must divide width."""

    carries: ClassVar[bool] = True

    @model_validator(mode="after")
    def _divisible(self):
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width} (expected a divisor)")
        return self

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        return batch * self.layers * self.width * (self.width // self.heads) * 4

    def parameters(self, sizes: Sizes) -> int:
        return self.layers * 13 * self.width**2


def chunked(
    q: Tensor, k: Tensor, v: Tensor, b: Tensor, log_a: Tensor, memory: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Computes the outputs of the recurrence above, (B, H, T, head), and the matrix S that it ends with, (B, H, head, head). q, k, v:
    (B, H, T, head); b, log_a: (B, H, T). memory: the matrix that it begins with; none: zeros."""
    batch, heads, t, head = q.shape
    rest = -t % CHUNK
    q, k, v = (F.pad(x, (0, 0, 0, rest)).unflatten(2, (-1, CHUNK)) for x in (q, k, v))  # (B, H, N, C, head)
    b, log_a = (F.pad(x, (0, rest)).unflatten(2, (-1, CHUNK)) for x in (b, log_a))
    total = log_a.cumsum(-1)
    later = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    # Masked before the exponential, which would have positive exponents above the diagonal.
    decay = (total.unsqueeze(-1) - total.unsqueeze(-2)).masked_fill(~later, -torch.inf).exp()
    system = (k @ k.transpose(-1, -2) * decay * b.unsqueeze(-1)).tril(-1)
    grown = total.exp().unsqueeze(-1)
    sides = torch.cat([v, grown * k], -1) * b.unsqueeze(-1)
    from_values, from_state = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True).split(
        head, -1
    )
    scores, asked = (q @ k.transpose(-1, -2)) * decay, grown * q
    kept, stored = total[..., -1, None, None].exp(), k * (total[..., -1:] - total).exp().unsqueeze(-1)
    state, outputs = q.new_zeros(batch, heads, head, head) if memory is None else memory, []
    for n in range(q.shape[2]):
        u = from_values[:, :, n] - from_state[:, :, n] @ state
        outputs.append(asked[:, :, n] @ state + scores[:, :, n] @ u)
        state = kept[:, :, n] * state + stored[:, :, n].transpose(-1, -2) @ u
    return torch.cat(outputs, 2)[:, :, :t], state


class State:
    """The matrices S of all blocks, (layers, B, H, head, head)."""

    def __init__(self, layers: int, batch: int, heads: int, head: int, like: Tensor):
        self.memory = like.new_zeros(layers, batch, heads, head, head)

    def forget(self, rows: Tensor) -> None:
        """Empties the contexts for which (B,) bool is true."""
        self.memory[:, rows.to(self.memory.device)] = 0.0


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head = heads, width // heads
        self.memory_norm, self.mlp_norm, self.read_norm = (
            nn.RMSNorm(width),
            nn.RMSNorm(width),
            nn.RMSNorm(width // heads),
        )
        self.qkvg = nn.Linear(width, 4 * width, bias=False)  # queries, keys, values and the gate of the output
        self.rates = nn.Linear(width, 2 * heads)  # strengths and decays
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.slowness = nn.Parameter(torch.empty(heads))
        if not self.slowness.is_meta:
            with torch.no_grad():
                self.slowness.copy_(torch.logspace(0, 2, heads).mul(SLOWEST).log())
                nn.init.zeros_(self.rates.bias)

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns queries, keys, values (B, H, T, head), strengths and logarithms of decays (B, H, T), and gates (B, T, D) in
        float32.
        """
        normed = self.memory_norm(x)
        q, k, v, gate = self.qkvg(normed).float().chunk(4, -1)
        q, k, v = (z.unflatten(-1, (self.heads, self.head)).transpose(1, 2) for z in (q, k, v))
        strength, decay = self.rates(normed).float().transpose(1, 2).chunk(2, 1)
        log_a = -self.slowness.exp().view(1, -1, 1) * 2 * torch.sigmoid(decay)
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, torch.sigmoid(strength), log_a, gate

    def finish(self, x: Tensor, read: Tensor, gate: Tensor) -> Tensor:
        """Returns the residual stream (B, T, D) after the values that were read, (B, H, T, head), and the MLP."""
        read = self.read_norm(read).transpose(1, 2).flatten(2) * F.silu(gate)
        x = x + self.out(read)
        return x + self.down(F.gelu(self.up(self.mlp_norm(x))))


class SequenceModel(nn.Module):
    """The interface is described in the package."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        self.options = options
        self.embed = nn.Linear(sizes.token, options.width)
        self.blocks = nn.ModuleList(Block(options.width, options.heads) for _ in range(options.layers))
        self.norm = nn.RMSNorm(options.width)
        for name, p in self.blocks.named_parameters():
            if p.dim() == 2 and not p.is_meta:
                # Residual branches start small, so that the size of the stream does not grow with depth (GPT-2).
                scale = 0.02 if not name.endswith(("out.weight", "down.weight")) else 0.02 / (2 * options.layers) ** 0.5
                nn.init.normal_(p, std=scale * (768 / options.width) ** 0.5)
        self.head = nn.Linear(options.width, sizes.output)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, Tensor]:
        x = self.embed(x).float()  # so that the residual stream is float32 under autocast
        for layer, block in enumerate(self.blocks):
            q, k, v, b, log_a, gate = block.project(x)
            with torch.autocast(x.device.type, enabled=False):
                before = None if state is None else state.memory[layer].clone()
                read, memory = chunked(q, k, v, b, log_a, before)
            if state is not None:
                state.memory[layer] = memory.detach()
            x = block.finish(x, read, gate)
        features = self.norm(x)
        return features, self.head(features).float()

    def initial_state(self, batch: int, length: int) -> State:
        o = self.options
        return State(o.layers, batch, o.heads, o.width // o.heads, self.head.weight)

    def step(self, x: Tensor, state: State) -> Tensor:
        x = self.embed(x).float().unsqueeze(1)
        for layer, block in enumerate(self.blocks):
            q, k, v, b, log_a, gate = block.project(x)
            k = k.transpose(2, 3)  # (B, H, head, 1)
            memory = log_a.exp().unsqueeze(-1) * state.memory[layer]
            u = b.unsqueeze(-1) * (v - k.transpose(2, 3) @ memory)
            state.memory[layer] = memory + k @ u
            x = block.finish(x, q @ state.memory[layer], gate)
        return self.head(self.norm(x)).float().squeeze(1)
