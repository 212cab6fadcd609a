"""A Transformer whose outputs rotate with its observations and actions.

Under dense random projections to n and m dimensions a plain Transformer has to learn, from examples, to undo n x d and m x a
unknown numbers. This one has little to undo: it never uses the coordinates of an observation or an action, only inner
products between them, and its mean action is a combination of actions in its context. Rotate all observations by Q and all
actions by R, and its attention is the same, and its mean is rotated by R: it is O(n) x O(m) equivariant, and a projection
with orthogonal columns changes nothing at all. It is therefore given vectors as coordinates in the span of all vectors that
its context can show, which has only the environment's few dimensions (gla.encoding.projected). The symmetry is that of the
paper's augmentation made exact, as permutation symmetry was in SymLA (Kirsch et al., 2022); the layers follow vector neurons
(Deng et al., 2021) and E(n)-equivariant networks (Satorras et al., 2021).

A token carries scalars h (D), C observation vectors o and C action vectors u. Attention
adds the products of scalar, observation and action queries and keys, and moves all three by the same
weights, so a head can attend to *similar observations* and fetch *what was done there*. Gates, which
depend on scalars alone, let rewards decide with which sign. After attention the vectors' inner
products join the scalars in an MLP, which mixes the vectors in turn.
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.attention import Cache, attend, rotate, window_mask
from gla.models.options import AttentionOptions
from gla.options import Steps

# The C vectors of a token are the rows of a matrix, (N, C, size) for all N tokens of a batch. All operations on them
# are one small matrix in front: scale, gates and mixing are multiplied into that matrix first, so that the vectors,
# which are most of a token, are read and written once. They stay in float32, where small products are fast.


class Options(AttentionOptions):
    """A Transformer whose outputs rotate with its observations and actions, so that it need not learn to undo projections."""

    kind: Literal["equivariant"] = "equivariant"
    channels: Steps = 4
    """Number of observation vectors that a token carries inside the model, and of action vectors."""

    predicts: ClassVar[bool] = False
    turns: ClassVar[bool] = True

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        numbers = self.heads * head_size(self.width // self.heads, sizes.observation + sizes.action)
        return batch * min(length, self.window or length) * self.layers * 2 * numbers * 4

    def parameters(self, sizes: Sizes) -> int:
        return self.layers * (10 * self.width**2 + 16 * self.channels**2 * self.width)

    def activations(self, sizes: Sizes) -> int:
        return self.layers * (10 * 2 * self.width + 2 * 4 * (sizes.observation + sizes.action) * self.channels)


def head_size(head: int, vectors: int) -> int:
    """Returns the size of a head in attention: its scalars and vectors, padded with zeros to a multiple of 8, since PyTorch's
    attention on CPUs takes up to a third longer for other sizes."""
    return -(-(head + vectors) // 8) * 8


def without_zeros(seen: Tensor) -> Tensor:
    """Returns vectors (B, ..., n) in the coordinates in which some vector of their context is not zero, (B, ..., k): of one-hot vectors, in
    those of the states that the context shows. k is the largest number of such coordinates in a context. Inner products are the same.
    """
    used = (seen != 0).flatten(1, -2).any(1)  # (B, n)
    k = max(1, int(used.sum(1).max()))
    if k == used.shape[1]:
        return seen
    kept = used.int().argsort(dim=1, descending=True, stable=True)[:, :k]
    return seen.gather(-1, kept.view(len(kept), *[1] * (seen.dim() - 2), k).expand(*seen.shape[:-1], k))


def _scale(x: Tensor, n: int) -> Tensor:
    """Returns only the first result of ``_measure``, for cases that need no inner products."""
    return (x.square().sum((1, 2), keepdim=True) / (n * x.shape[1]) + 1e-4).rsqrt()


def _measure(x: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns, for vectors x (N, C, any) in n dimensions with the root mean square r: 1 / r (N, 1, 1), the inner products of
    x / r divided by n (N, C * C), and log r (N, 1)."""
    half = x @ x.detach().transpose(1, 2) / n
    gram = half + half.transpose(1, 2) - half.detach()  # symmetric, so that its gradient is one product instead of two
    square = gram.diagonal(dim1=1, dim2=2).mean(-1).view(-1, 1, 1) + 1e-4
    return square.rsqrt(), (gram / square).flatten(1), 0.5 * square.log().flatten(1)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, channels: int, sizes: Sizes):
        super().__init__()
        self.dimensions = sizes.dimensions
        self.heads, self.head, self.channels = heads, width // heads, channels
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gates = nn.Linear(width, 6 * heads)  # gates of observation and action queries, keys and values
        self.mix_o = nn.Linear(channels, 3 * heads, bias=False)
        self.mix_u = nn.Linear(channels, 3 * heads, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.out_o = nn.Linear(heads, channels, bias=False)
        self.out_u = nn.Linear(heads, channels, bias=False)
        self.up = nn.Linear(width + 2 * channels**2 + 2, 4 * width)
        self.down = nn.Linear(4 * width, width + 2 * channels**2, bias=False)
        nn.init.zeros_(self.gates.weight)
        nn.init.ones_(self.gates.bias)

    def project(self, h: Tensor, o: Tensor, u: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values (B, H, T, head_size). Queries are scaled so that each part has its own scale."""
        b, t, _ = h.shape
        x = self.attention_norm(h)
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, self.head).unbind(2)
        gates = self.gates(x).float().view(b * t, 2, 3 * self.heads, 1).unbind(1)
        vectors = o.shape[2] + u.shape[2]
        size = head_size(self.head, vectors)
        whole = size**0.5
        q, k = (rotate(z.transpose(1, 2), position).transpose(1, 2) for z in (q, k))
        parts = [torch.stack([q * (whole / self.head**0.5), k, v], 2)]
        for z, n, mix, gate in zip((o, u), self.dimensions, (self.mix_o, self.mix_u), gates, strict=True):
            scale = torch.ones_like(mix.weight)
            scale[: self.heads] = whole / n**0.5  # scale of queries only
            with torch.autocast(h.device.type, enabled=False):
                moved = (mix.weight * scale * gate * _scale(z, n)) @ z
            parts.append(moved.view(b, t, 3, self.heads, -1))
        parts.append(h.new_zeros(b, t, 3, self.heads, size - self.head - vectors))
        query, key, value = torch.cat(parts, -1).permute(2, 0, 3, 1, 4)
        return query, key, value

    def finish(self, h: Tensor, o: Tensor, u: Tensor, attended: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the residual streams after attention's output (B, H, T, head_size) and the MLP."""
        b, t, d = h.shape
        c = self.channels
        parts = [self.head, o.shape[2], u.shape[2]]
        x, *moved, _ = attended.transpose(1, 2).split([*parts, attended.shape[-1] - sum(parts)], -1)
        h = h + self.out(x.flatten(2))
        with torch.autocast(h.device.type, enabled=False):
            o, u = (
                torch.baddbmm(z, out.weight.expand(b * t, -1, -1), y.flatten(0, 1).float())
                for z, out, y in zip((o, u), (self.out_o, self.out_u), moved, strict=True)
            )
            (scale_o, gram_o, size_o), (scale_u, gram_u, size_u) = map(_measure, (o, u), self.dimensions)
        invariants = torch.cat([gram_o, gram_u, size_o, size_u], -1).view(b, t, -1)
        x = torch.cat([self.mlp_norm(h), invariants.to(h.dtype)], -1)
        change, *mix = self.down(F.gelu(self.up(x))).split([d, c * c, c * c], -1)
        with torch.autocast(h.device.type, enabled=False):
            o, u = (
                torch.baddbmm(z, m.float().reshape(b * t, c, c).transpose(1, 2) * scale, z)
                for z, m, scale in zip((o, u), mix, (scale_o, scale_u), strict=True)
            )
        return h + change, o, u


class SequenceModel(nn.Module):
    """The interface is described in the package."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        self.options, self.sizes, c = options, sizes, options.channels
        self.embed = nn.Linear(3, options.width)  # reward, end, eta
        self.embed_o = nn.Linear(2, c, bias=False)  # the last observation and this one
        self.embed_u = nn.Linear(1, c, bias=False)
        self.blocks = nn.ModuleList(Block(options.width, options.heads, c, sizes) for _ in range(options.layers))
        self.norm = nn.RMSNorm(options.width)
        for name, p in self.named_parameters():
            if p.dim() == 2 and ".gates." not in name and not p.is_meta:  # on the meta device it is slow and useless
                residual = ".out" in name or ".down" in name  # small, so that depth does not scale the streams
                nn.init.normal_(p, std=p.shape[1] ** -0.5 / ((2 * options.layers) ** 0.5 if residual else 1.0))
        self.head = nn.Linear(options.width, c + 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns scalars (B, T, D), observation vectors (B * T, C, any) and action vectors (B * T, C, u)."""
        before, action, reward, end, observation, eta = x.split(self.sizes.parts, -1)
        h = self.embed(torch.cat([reward, end, eta], -1)).float()  # the residual stream is float32 under autocast too
        seen = torch.stack([before, observation], 2)
        # One token at a time has to have the coordinates of those before it.
        seen = (without_zeros(seen) if x.shape[1] > 1 else seen).flatten(0, 1)
        with torch.autocast(x.device.type, enabled=False):
            return (
                h,
                self.embed_o.weight.expand(len(seen), -1, -1) @ seen,
                self.embed_u.weight * action.reshape(-1, 1, self.sizes.action),
            )

    def _output(self, h: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm(h)
        weights, log_std = self.head(features).float().split([self.options.channels, 1], -1)
        with torch.autocast(h.device.type, enabled=False):
            mean = (weights.reshape(len(u), 1, -1) * _scale(u, self.sizes.dimensions[1]) @ u).view(*h.shape[:2], -1)
        return features, torch.cat([mean, log_std.expand_as(mean)], -1)  # isotropic, hence equivariant

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        position = torch.arange(x.shape[1], device=x.device)
        mask = window_mask(position, self.options.window)
        streams = self._embed(x)
        for block in self.blocks:
            q, k, v = block.project(*streams, position)
            attended = attend(q, k, v, mask, causal=mask is None)
            streams = block.finish(*streams, attended)
        return self._output(streams[0], streams[2])

    def initial_state(self, batch: int, length: int) -> Cache:
        o = self.options
        size = head_size(o.width // o.heads, self.sizes.observation + self.sizes.action)
        return Cache(o.layers, batch, o.heads, min(length, o.window or length), size, self.embed.weight)

    def step(self, x: Tensor, state: Cache) -> Tensor:
        streams = self._embed(x.unsqueeze(1))
        position, mask = torch.as_tensor(state.position, device=x.device).view(1), state.mask()
        for layer, block in enumerate(self.blocks):
            q, k, v = block.project(*streams, position)
            attended = attend(q, *state.push(layer, k, v), mask)
            streams = block.finish(*streams, attended)
        state.position += 1
        return self._output(streams[0], streams[2])[1].squeeze(1)
