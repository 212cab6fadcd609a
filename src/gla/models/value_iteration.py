"""A value iteration network (Tamar et al., 2016) over the transitions that a context has shown, for worlds of finitely many states.

The memory of a context is sums of outer products, as in linear attention: how often each action led from each state to each other state,
and what it paid. Its size does not depend on the length of the context. The model is built to plan with such a memory, and learns what
to plan for: a small network gives every pair of state and action C rewards, from what is known of it (how often it was tried, what it paid,
what was earned in this episode). Each is the reward of a value function with a discount of its own, which is found in a fixed number of
rounds of value iteration on the observed transitions. A second network scores the actions of the current state by their C values.

All states share these weights, and so do all actions. The outputs are therefore the same in every order of states and actions, and the
weights fit any number of them. With ``doubt``, a pair that was tried n times leads to the unknown with probability k / (n + k), as under a
Dirichlet prior, where k and what the unknown is worth for each value function are learned: more than anything seen, for ever, if need be.
States that the context has not shown cannot be planned through, so that plans are made with the others
alone, under numbers of their own: a few in a large room, early on. All environments of a dataset should have as many actions, since an
action that does not exist looks like one that was never tried. What was never tried leads nowhere, and is worth what the first network says.
"""

import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gla.encoding.tokens import Sizes
from gla.models.options import ModelOptions
from gla.options import Count, Steps

FACTS = 12  # what is known of a pair of state and action
SHORTEST, LONGEST = 2.0, 160.0  # initial horizons of the value functions, in steps
SMALL = 1e-6


class Options(ModelOptions):
    """Value iteration on the transitions of the context, with learned rewards. It has a memory of fixed size, and needs the encoding
    `tabular`.
    """

    kind: Literal["value_iteration"] = "value_iteration"
    layers: Steps = 32
    """Number of rounds of value iteration."""
    width: Steps = 64
    """Number of hidden units of its two networks."""
    channels: Steps = 8
    """Number of value functions."""
    tries: Count = 12
    """Counts of tries of an action in a state look the same to the model from this number on. Means are over all tries."""
    doubt: bool = False
    """Whether what was tried seldom leads in part to the unknown, whose value is learned."""
    experts: bool = False
    """Whether the model is told which steps of its context an expert took, so that it can imitate them where it has seen one."""

    predicts: ClassVar[bool] = False
    turns: ClassVar[bool] = True
    encodings: ClassVar[frozenset[str]] = frozenset({"tabular"})
    counts_states: ClassVar[bool] = True
    shared: ClassVar[bool] = True
    selective: ClassVar[bool] = True

    def problems_of(self, agent: Any) -> Iterator[str]:
        if agent.eta != "none":
            yield f"kind: 'value_iteration' with eta {agent.eta!r} (expected none: the model does not read it)"

    @property
    def told(self) -> bool:
        return self.experts

    @property
    def facts(self) -> int:
        """Number of facts of a pair of state and action."""
        return FACTS + 2 * self.experts

    @property
    def sums(self) -> int:
        """Number of sums of each pair of state and action."""
        return 3 + self.experts

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        pairs = sizes.observation * sizes.action
        return batch * (4 * (pairs * (sizes.observation + self.sums) + 2 + self.experts) + 8 * sizes.observation)

    def parameters(self, sizes: Sizes) -> int:
        return self.width * (2 * self.facts + (5 if self.doubt else 4) * self.channels)

    def activations(self, sizes: Sizes) -> int:
        pairs = sizes.observation * sizes.action
        return 4 * pairs * (2 * sizes.observation + self.facts + 2 * self.width + self.layers * self.channels)


class State:
    """What N contexts have shown, with S states and A actions. moves: (N, S, A, S), how often an action led to the first state from the
    last one, without the end of an episode. sums: (N, 3 or 4, A, S), how often a pair ended an episode, the sums of its rewards and of their
    squares, and how often an expert chose it, if the model is told. expert: (N,), whether one chooses the next action. episode: (N, 2), the
    return and the length of the current episode. numbers: (N, S) int, the place of each state in these, from
    1 on in the order in which they were first seen, and 0 for states that were not seen."""

    def __init__(self, n: int, sizes: Sizes, sums: int, like: Tensor):
        s, a = sizes.observation, sizes.action
        self.moves, self.sums = like.new_zeros(n, s, a, s), like.new_zeros(n, sums, a, s)
        self.expert = like.new_zeros(n * (sums > 3))
        self.episode = like.new_zeros(n, 2)
        self.numbers = torch.zeros(n, s, dtype=torch.long, device=like.device)

    def forget(self, rows: Tensor) -> None:
        """Empties the contexts for which (N,) bool is true."""
        for x in (self.moves, self.sums, self.episode, self.numbers, self.expert):
            if len(x):
                x[rows.to(x.device)] = 0

    def number(self, seen: Tensor, real: Tensor) -> Tensor:
        """Returns the places of states (N,) int, and gives new ones to those that were not seen before. If real (N,) is not above 0 there
        is no state, and the place is 0."""
        one = seen.unsqueeze(1)
        next_one = self.numbers.amax(1, keepdim=True) + 1
        place = self.numbers.gather(1, one)
        place = torch.where((place == 0) & (real.unsqueeze(1) > 0), next_one, place)
        self.numbers.scatter_(1, one, place)
        return (place.squeeze(1) - 1).clamp_min(0)


def signed_log(x: Tensor) -> Tensor:
    return x.sign() * x.abs().log1p()


def numbered(states: Tensor, real: Tensor, size: int) -> tuple[Tensor, int]:
    """Returns places of states (B, T) int below ``size`` in the order in which each row first has them, and the largest number of states in
    a row. real: (B, T), above 0 where there is a state; other places are below that number too, and mean nothing.
    """
    t = states.shape[1]
    when = torch.where(real > 0, torch.arange(t, device=states.device), t)
    first = when.new_full((len(states), size), t).scatter_reduce_(1, states, when, "amin")
    place = first.argsort(1).argsort(1)
    most = max(1, int((first < t).sum(1).max()))
    return place.gather(1, states).clamp_max(most - 1), most


def episodes(reward: Tensor, end: Tensor) -> Tensor:
    """Returns the return and the length of the current episode after each step, (B, T, 2). reward, end: (B, T), of the steps."""
    # In double precision, so that what earlier episodes added can be taken off again.
    total = torch.stack([reward, torch.ones_like(reward)], -1).double().cumsum(1)
    index = torch.arange(reward.shape[1], device=reward.device).expand_as(reward)
    last = torch.where(end > 0, index, -1).cummax(1).values
    before = total.gather(1, last.clamp_min(0).unsqueeze(-1).expand_as(total))
    return (total - before * (last >= 0).unsqueeze(-1)).to(reward.dtype)


class SequenceModel(nn.Module):
    """The interface is described in the package."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        self.options, self.sizes, c = options, sizes, options.channels
        self.rewards = nn.Sequential(nn.Linear(options.facts, options.width), nn.GELU(), nn.Linear(options.width, c))
        self.paid = nn.Parameter(torch.ones(c))  # weights of the mean reward in each of the C rewards
        self.horizon = nn.Parameter(torch.empty(c))  # logarithms
        if options.doubt:
            self.unknown = nn.Linear(options.width, c)  # its values
            self.doubt = nn.Parameter(torch.zeros(c))  # logarithms of k
            nn.init.zeros_(self.unknown.weight)
            nn.init.zeros_(self.unknown.bias)
        self.hidden = nn.Linear(options.facts + 3 * c, options.width)
        self.head = nn.Linear(options.width, 1)
        if not self.horizon.is_meta:
            with torch.no_grad():
                self.horizon.copy_(torch.linspace(math.log(SHORTEST), math.log(LONGEST), c))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _facts(self, tried: Tensor, sums: Tensor, episode: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what is known of each pair, (N, A, S, facts), and its mean reward in units of the largest, (N, A, S)."""
        n = tried.clamp_min(1.0)
        ended, paid, square = (sums[:, :3] / n.unsqueeze(1)).unbind(1)
        # Without a bound, numbers would go on to grow in contexts that are longer than those of training.
        tried = tried.clamp(max=self.options.tries)
        scale = paid.abs().amax((1, 2), keepdim=True).clamp_min(SMALL)
        spread = (square - paid.square()).clamp_min(0.0).sqrt()
        visits = tried.sum(1, keepdim=True).expand_as(tried)
        steps = tried.sum((1, 2), keepdim=True).expand_as(tried)
        earned, length = episode.view(-1, 2, 1, 1).unbind(1)
        earned = earned / scale
        facts = [
            (tried > 0).to(n.dtype), tried.log1p(), (1 + tried).rsqrt(), paid / scale, ended, spread / scale,
            (visits > 0).to(n.dtype), 0.2 * visits.log1p(), 0.1 * steps.log1p(),
            signed_log(earned).expand_as(tried), (earned.abs() > SMALL).to(n.dtype).expand_as(tried), length.log1p().expand_as(tried),
        ]  # fmt: skip
        if self.options.experts:
            chosen = sums[:, 3]
            seen = chosen.sum(1, keepdim=True)
            facts += [chosen / seen.clamp_min(1.0), (seen > 0).to(n.dtype).expand_as(tried)]
        return torch.stack(facts, -1), paid / scale

    def _scores(self, moves: Tensor, sums: Tensor, episode: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features (N, width) and scores (N, A) of the actions, given memories and the current states (N,) int."""
        n, states, actions, _ = moves.shape
        tried = moves.sum(1) + sums[:, 0]
        facts, paid = self._facts(tried, sums, episode)
        # 1 - discount. Rewards are multiplied by it, so that values are means instead of sums, and all have one scale.
        slow = (-self.horizon).exp().clamp(max=1.0).view(-1, 1, 1)
        made = self.rewards[:-1](facts)
        reward = slow * (
            self.rewards[-1](made).permute(0, 3, 1, 2) + self.paid.view(-1, 1, 1) * paid.unsqueeze(1)
        )  # (N, C, A, S)
        discount = 1 - slow
        if self.options.doubt:
            sure = tried.unsqueeze(1) / (tried.unsqueeze(1) + self.doubt.exp().view(-1, 1, 1))
            reward = reward + discount * (1 - sure) * self.unknown(made).permute(0, 3, 1, 2)
            discount = discount * sure
        reward = reward.contiguous()  # in this order each round takes a third less time
        led = (moves / tried.clamp_min(1.0).unsqueeze(1)).flatten(2)  # (N, S', A S)
        value = reward.new_zeros(n, self.options.channels, states)
        for _ in range(self.options.layers):
            q = torch.addcmul(reward, discount, (value @ led).unflatten(2, (actions, states)))
            value = q.amax(2)
        # The states that the context has shown, (N, 1, S).
        known = (tried.sum(1) + moves.sum((2, 3)) > 0).to(q.dtype).scatter(1, state.unsqueeze(1), 1.0).unsqueeze(1)
        count = known.sum(2, keepdim=True)

        def over_states(x: Tensor) -> Tensor:
            return (x * known).sum(2, keepdim=True) / count

        loss = q - value.unsqueeze(2)  # of every action, compared with the best
        size = over_states(loss.abs().mean(2))
        middle = over_states(value)
        spread = over_states((value - middle).square()).add(SMALL**2).sqrt()
        here = state.view(n, 1, 1)
        own = [x.gather(-1, here.unsqueeze(1).expand(n, x.shape[1], actions, 1)).squeeze(-1) for x in (loss, q)]
        standing = (
            ((value - middle) / spread.clamp_min(1e-4)).gather(2, here.expand(n, value.shape[1], 1)).expand_as(own[0])
        )
        values = torch.cat([own[0] / size.clamp_min(SMALL), own[1], standing], 1).transpose(1, 2)  # (N, A, 3 C)
        of_pair = facts.gather(2, here.unsqueeze(-1).expand(n, actions, 1, facts.shape[-1])).squeeze(2)
        features = F.gelu(self.hidden(torch.cat([of_pair, values], -1)))
        return features.mean(1), self.head(features).squeeze(-1)

    def _read(self, x: Tensor) -> tuple[Tensor, ...]:
        """Returns, for tokens (..., token), the numbers of the last state, the action and the state, whether a transition precedes the token,
        the reward, whether an episode ended, and whether an expert acts next; each (...)."""
        before, action, reward, end, observation, expert = x.split(self.sizes.parts, -1)
        real, over = (before.sum(-1) > 0).to(x.dtype), (end.squeeze(-1) > 0.5).to(x.dtype)
        return (
            before.argmax(-1),
            action.argmax(-1),
            observation.argmax(-1),
            real,
            reward.squeeze(-1),
            over,
            expert.squeeze(-1),
        )

    def _sums(self, reward: Tensor, end: Tensor, expert: Tensor) -> list[Tensor]:
        """Returns what a step adds to the sums of its pair, given whether an expert took it."""
        return [end, reward, reward.square(), *[expert] * self.options.experts]

    def _output(self, scores: Tensor) -> Tensor:
        return F.pad(scores, (0, self.sizes.output - scores.shape[-1]))

    def forward(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """positions: (P,) int, ascending; if given, features and outputs are only those of these tokens, (B, P, any)."""
        with torch.autocast(x.device.type, enabled=False):
            return self._forward(x.float(), positions)

    def _forward(self, x: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
        b, t, _ = x.shape
        last, action, state, real, reward, end, expert = self._read(x)
        every = torch.arange(t, device=x.device)
        positions = every if positions is None else positions
        both, s = numbered(
            torch.cat([last, state], 1), torch.cat([real, torch.ones_like(real)], 1), self.sizes.observation
        )
        last, state = both.split(t, 1)
        a, p = self.sizes.action, len(positions)
        # Each transition is added up for the first position that is not before it. Tokens after the last position are in a part of their own.
        part = torch.searchsorted(positions, every) + torch.arange(b, device=x.device).unsqueeze(1) * (p + 1)
        pair = action * s + last

        def summed(values: Tensor, index: Tensor, size: int) -> Tensor:
            found = values.new_zeros(b * (p + 1) * size).index_add_(
                0, (part * size + index).flatten(), values.flatten()
            )
            return found.view(b, p + 1, size)[:, :p].cumsum(1)

        moves = summed(real * (1 - end), state * (a * s) + pair, s * a * s).view(b * p, s, a, s)
        added = self._sums(reward, end, F.pad(expert[:, :-1], (1, 0)))
        sums = torch.stack([summed(real * z, pair, a * s) for z in added], 2).view(b * p, len(added), a, s)
        episode = episodes(real * reward, end)[:, positions].flatten(0, 1)
        features, scores = self._scores(moves, sums, episode, state[:, positions].flatten())
        return features.view(b, p, -1), self._output(scores).view(b, p, -1)

    def initial_state(self, batch: int, length: int) -> State:
        return State(batch, self.sizes, self.options.sums, self.head.weight)

    def step(self, x: Tensor, state: State) -> Tensor:
        last, action, now, real, reward, end, expert = self._read(x)
        rows = torch.arange(len(x), device=x.device)
        last, now = state.number(last, real), state.number(now, torch.ones_like(real))
        state.moves[rows, now, action, last] += real * (1 - end)
        state.sums[rows, :, action, last] += real.unsqueeze(-1) * torch.stack(self._sums(reward, end, state.expert), -1)
        state.expert = expert if self.options.experts else state.expert
        state.episode = (state.episode + real.unsqueeze(-1) * torch.stack([reward, torch.ones_like(reward)], -1)) * (
            1 - end
        ).unsqueeze(-1)
        s = int(state.numbers.max())
        return self._output(self._scores(state.moves[:, :s, :, :s], state.sums[..., :s], state.episode, now)[1])
