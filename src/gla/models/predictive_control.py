"""Model predictive control with a model that is learned in context: the memory is a regression, and actions are planned in imagination.

A context's transitions are kept. From them two Bayesian linear regressions (gla.models.regression) find, in closed form, what follows from
an observation and an action: the change of the observation, and the reward and whether an episode falls. What is learned in training are
the features of these regressions and their priors, by the likelihood of histories. Each episode is planned for with a draw from
the posterior (posterior sampling for reinforcement learning; Osband et al., 2013), so that the agent tries what it does not know, and stops
when it knows. No output depends on how many dimensions an environment has: inputs are projected to the features' 64 and 16 dimensions.

An episode that ended earlier than the longest one of the context has fallen. Those that last longest have reached a limit of time.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gla.encoding.tokens import LOG_STD_MIN, Sizes
from gla.models.options import ModelOptions
from gla.models.planning import answers, chosen, improve
from gla.models.regression import ACTION, LOG_TAU, OBSERVATION, Basis, posterior
from gla.options import Rate, Steps, Weight

FEWEST = 20  # transitions before the first plan; until then actions are random
HOLD = 4  # steps for which a random action is held
# Up to the first number of transitions, what is known is looked at again after the second number of further ones.
LOOKS = ((100, 10), (400, 20), (10**9, 50))
SURE = 1e3  # logit of the action that was planned
ROOM = 0.3  # how far beyond what was seen observations are imagined, in parts of its range
HIGHEST = 6.0  # largest imagined reward, in standard deviations from its mean
TINY = 1e-4


class Options(ModelOptions):
    """Plans with a model of the environment that it regresses in context. It needs the encoding `scaled`, and the training `prediction`."""

    kind: Literal["predictive_control"] = "predictive_control"
    layers: Steps = 2
    """Number of rounds in which a plan is improved."""
    width: Steps = 192
    """Number of features of each regression."""
    horizon: Steps = 20
    """Number of steps that are imagined."""
    candidates: Annotated[int, Field(ge=8, le=10**6)] = 64
    """Number of plans that are compared in each round."""
    discount: Rate = 0.97
    """Factor on imagined rewards with each step."""
    doubt: Weight = 0.2
    """Factor on how far a draw of the changes of observations is from their mean. At 1 it is one from the posterior."""
    curiosity: Weight = 0.6
    """The same of rewards and falls."""
    feedback: Weight = 0.3
    """Deviation of the linear policies that are tried beneath a plan."""

    predicts: ClassVar[bool] = False
    turns: ClassVar[bool] = True
    encodings: ClassVar[frozenset[str]] = frozenset({"scaled"})
    shared: ClassVar[bool] = True
    plans: ClassVar[bool] = True

    def problems_of(self, agent: Any) -> Iterator[str]:
        if agent.training.kind != "prediction":
            yield f"kind: 'predictive_control' with training of kind {agent.training.kind!r} (expected prediction: it learns what follows, and no actions)"
        if agent.eta != "none":
            yield f"kind: 'predictive_control' with eta {agent.eta!r} (expected none: the model does not read it)"

    def state_bytes(self, sizes: Sizes, batch: int, length: int) -> int:
        inputs = sizes.observation + sizes.action
        step = 2 * sizes.observation + sizes.action + 2
        return 4 * batch * (length * step + 3 * inputs * self.width + self.horizon * sizes.action)

    def parameters(self, sizes: Sizes) -> int:
        return self.width * (OBSERVATION + ACTION + 2)

    def activations(self, sizes: Sizes) -> int:
        return 8 * 4 * self.width


class Known(NamedTuple):
    """Transitions of N contexts in units of their moments, zero for steps that do not count. x: (N, T, o + u), observation and action.
    change: (N, T, o), of the observation, zero where an episode ended, since no next observation is known there. goes_on: (N, T, 1), 0
    there and 1 elsewhere. reward, fell, counts: (N, T, 1). middle, scale: (N, 1, o), of observations. speed: (N, 1, o), the scale of
    changes in units of observations'. usual: (N, 1), the mean reward in units of the rewards' deviation.
    """

    x: Tensor
    change: Tensor
    goes_on: Tensor
    reward: Tensor
    fell: Tensor
    counts: Tensor
    middle: Tensor
    scale: Tensor
    speed: Tensor
    usual: Tensor


def _moments(x: Tensor, counts: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Returns the mean and the deviation of x (N, T, any) over the steps that count, (N, T, 1). What hardly varies gets a deviation of 1."""
    total = counts.sum(1, keepdim=True).clamp_min(1)
    mean = (x * counts).sum(1, keepdim=True) / total
    deviation = (((x - mean) * counts).square().sum(1, keepdim=True) / total).sqrt()
    return mean, torch.where(deviation < least, torch.ones_like(deviation), deviation)


def known(before: Tensor, action: Tensor, after: Tensor, reward: Tensor, ended: Tensor, counts: Tensor) -> Known:
    """Standardises transitions. before, after: (N, T, o). action: (N, T, u). reward, counts: (N, T). ended: (N, T), the length of the
    episode that ended with a step; 0 if none did."""
    reward, ended, counts = (x.unsqueeze(-1) for x in (reward, ended, counts))
    goes_on = counts * (ended == 0)
    fell = counts * (ended > 0) * (ended < ended.amax(1, keepdim=True))
    middle, scale = _moments(before, counts, TINY)
    now, then = (before - middle) / scale, (after - middle) / scale
    _, speed = _moments(then - now, goes_on, TINY)
    mean, deviation = _moments(reward, counts, TINY**2)
    return Known(
        torch.cat([now, action], -1) * counts, (then - now) / speed * goes_on, goes_on, (reward - mean) / deviation * counts,
        fell, counts, middle, scale, speed, (mean / deviation).squeeze(1),
    )  # fmt: skip


class Belief(NamedTuple):
    """A draw from what a context's transitions leave possible. metrics: the features' weights of both regressions, each in its metric,
    (N, o + u, F). means: the regressions' weights without the draw, in units of their targets. inner: (N, 2 F, f - F), from all features that
    are not rectified to the rectified ones of both. outer: with the draw, from the features that are not rectified to the change of a
    standardised observation, the reward in deviations without its mean, and falling, (N, o + 2, f - F), and from the rectified ones to the
    first, (N, o, F), and to the others, (N, 2, F). low, high: (N, o, 1), the range of imagined observations. middle, scale, usual: as in ``Known``.
    """

    metrics: list[Tensor]
    means: tuple[Tensor, Tensor]
    inner: Tensor
    outer: list[Tensor]
    low: Tensor
    high: Tensor
    middle: Tensor
    scale: Tensor
    usual: Tensor


class State:
    """What N contexts have shown, and their plans.

    steps: (N, L, 2 o + u + 2), the last L transitions: observation, action, next observation (of the next episode, at an end), reward, and
    the length of the episode if it ended, or 0. count: (N,) int, number of transitions so far. fresh: (N,) bool, whether nothing was seen.
    age: (N,) int, steps of the current episode. sequence: (N, H, u) and policy: (N, u, o + 1), the plan. held: (N, u), the last
    action. weights: (N, o + u, F), of the features, in the coordinates of each context. noise: the normal numbers that draws are made
    from, (N, f, o) and (N, f, 2). belief: what was found when the transitions were looked at last. ready: (N,) bool, whether there were
    enough of them. reads: number of tokens.
    """

    def __init__(self, options: Options, sizes: Sizes, basis: Basis, n: int, length: int):
        o, u = sizes.observation, sizes.action
        self.generator, zeros = torch.Generator().manual_seed(0), basis.bias.new_zeros
        self.steps = zeros(n, length, 2 * o + u + 2)
        self.count, self.age = zeros(n, dtype=torch.long), zeros(n, dtype=torch.long)
        self.fresh, self.ready = zeros(n, dtype=torch.bool).logical_not(), zeros(n, dtype=torch.bool)
        self.sequence, self.policy, self.held = zeros(n, options.horizon, u), zeros(n, u, o + 1), zeros(n, u)
        self.weights = basis.turned(n, o, u, self.generator)
        features = 3 + o + u + options.width
        self.noise = [torch.randn(n, features, k, generator=self.generator).to(self.steps) for k in (o, 2)]
        self.belief: Belief | None = None
        self.reads = 0

    def forget(self, rows: Tensor) -> None:
        """Empties the contexts for which (N,) bool is true."""
        rows = rows.to(self.steps.device)
        for x in (self.count, self.age, self.sequence, self.policy, self.held, self.ready):
            x[rows] = 0
        self.fresh[rows] = True

    def begin(self, rows: Tensor) -> None:
        """Begins an episode where (N,) bool is true, with a plan and a draw of its own."""
        self.age[rows], self.sequence[rows] = 0, 0
        for noise in self.noise:
            noise[rows] = torch.randn(int(rows.sum()), *noise.shape[1:], generator=self.generator).to(noise)


class SequenceModel(nn.Module):
    """The interface is described in the package. It has no ``forward``: nothing but the likelihood of histories is learned."""

    def __init__(self, options: Options, sizes: Sizes):
        super().__init__()
        self.options, self.sizes, self.basis = options, sizes, Basis(options.width)

    def initial_state(self, batch: int, length: int) -> State:
        return State(self.options, self.sizes, self.basis, batch, length)

    def losses(self, found: Known, weights: Tensor, actions: int) -> tuple[Tensor, Tensor]:
        """Returns the mean negative log-likelihood of what follows each of T steps, given all steps before it, and that of independent normal
        numbers with the deviations of the targets, (N,) each. weights: (N, o + u, F), of the features. actions: u, since histories
        of other environments than that of the sizes may be read.
        """
        counts = found.counts
        features = self.basis.features(found.x, weights, actions)
        deviations = self.basis.deviations(found.x.shape[-1])
        total, alone = 0.0, 0.0
        for target, own in ((found.change, found.goes_on), (found.reward, counts)):
            steps = own.sum((1, 2)).clamp_min(1)
            evidence = posterior(features * own, target, deviations).evidence
            total = total - evidence.mean(1) / steps
            alone = alone + 0.5 * (target.square().sum(1).mean(1) / steps + LOG_TAU)
        return total, alone

    @torch.no_grad()
    def _look(self, state: State) -> Belief:
        """Finds what the transitions of each context leave possible, and draws from it."""
        o, u, most = self.sizes.observation, self.sizes.action, min(int(state.count.max()), state.steps.shape[1])
        before, action, after, reward, ended = state.steps[:, :most].split((o, u, o, 1, 1), -1)
        counts = (torch.arange(most, device=state.count.device) < state.count.unsqueeze(1)).to(before)
        found = known(before, action, after, reward.squeeze(-1), ended.squeeze(-1), counts)
        metrics = [state.weights, state.weights]
        if state.belief is not None:
            old = state.belief
            means = old.means[0], old.means[1][..., :1]
            metrics = [
                self.basis.metric(found.x, weight, mean, u) @ state.weights
                for weight, mean in zip(old.metrics, means, strict=True)
            ]
        deviations = self.basis.deviations(o + u)
        drawn = []
        for weight, target, own, noise in zip(
            metrics, (found.change, torch.cat([found.reward, found.fell], -1)), (found.goes_on, counts.unsqueeze(-1)), state.noise, strict=True
        ):  # fmt: skip
            drawn.append(posterior(self.basis.features(found.x, weight, u) * own, target, deviations, noise))
        moves, pays = drawn
        seen = found.x[..., :o].transpose(1, 2)
        low, high = seen.amin(2, keepdim=True), seen.amax(2, keepdim=True)
        room = ROOM * (high - low)
        # Falls are rare, and a draw of them as wide as of rewards would be mostly noise.
        wide = self.options.curiosity * pays.mean.new_tensor([1.0, ROOM])
        to_move, to_pay = (moves.mean + self.options.doubt * moves.draw) * found.speed, pays.mean + wide * pays.draw
        others = 3 + o + u
        outer = torch.cat([to_move[:, :others], to_pay[:, :others]], -1), to_move[:, others:], to_pay[:, others:]
        # The rectified features of both see 1, the observation and the action, and no square.
        bias = self.basis.bias.repeat(2).expand(len(found.x), 1, -1)
        inner = torch.cat([bias, torch.cat(metrics, -1), torch.zeros_like(bias), torch.zeros_like(bias)], 1)
        means, units = (moves.mean, pays.mean), (found.middle, found.scale, found.usual)
        inner, *outer = (x.transpose(1, 2).contiguous() for x in (inner, *outer))
        return Belief(metrics, means, inner, outer, low - room, high + room, *units)

    def _imagine(
        self, belief: Belief, now: Tensor, sequences: Tensor, policy: Tensor, turns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the returns (N, K) and the first actions (N, u, K) of plans, from standardised observations (N, o)."""
        n, k, o, f = len(now), sequences.shape[3], self.sizes.observation, self.options.width
        others, to_move, to_pay = belief.outer
        (others_move, others_pay), answer = others.split((o, 2), 1), answers(policy, turns)
        s, one, first, paid = now.unsqueeze(2).expand(n, o, k), now.new_ones(n, 1, k), None, []
        for own in sequences.unbind(1):
            a = chosen(own + answer(s), self.sizes.discrete)
            first = a if first is None else first
            # The features of both regressions (gla.models.regression.Basis.features), without a copy of all of them.
            x = torch.cat([one, s, a, a.square().sum(1, keepdim=True), s.square().mean(1, keepdim=True)], 1)
            moving, paying = (belief.inner @ x).relu_().split(f, 1)
            paid.append(torch.baddbmm(others_pay @ x, to_pay, paying))
            moved = torch.baddbmm(others_move @ x, to_move, moving)
            s = (s + moved).clamp(belief.low, belief.high)
        reward, fell = torch.stack(paid).unbind(2)  # (H, N, K) each
        reward = reward.clamp(-HIGHEST, HIGHEST) + belief.usual
        alive = (self.options.discount * (1 - fell.clamp(0, 1))).cumprod(0)
        return reward[0] + (alive[:-1] * reward[1:]).sum(0), first

    def _read(self, x: Tensor, state: State) -> Tensor:
        """Adds the transitions of tokens, and returns their observations (N, o)."""
        before, action, reward, end, observation, _ = x.split(self.sizes.parts, -1)
        over = end.squeeze(-1) > 0.5
        real = ~state.fresh
        state.fresh[:] = False
        state.age += real
        length = torch.where(over, state.age, 0).float().unsqueeze(1)
        rows = real.nonzero().squeeze(1)
        transition = torch.cat([before, action, observation, reward, length], -1)
        state.steps[rows, state.count[rows] % state.steps.shape[1]] = transition[rows]
        state.count += real
        state.begin(over)
        return observation

    @torch.no_grad()
    def step(self, x: Tensor, state: State) -> Tensor:
        options, u, n = self.options, self.sizes.action, len(x)
        observation = self._read(x, state)
        most = int(state.count.max())
        every = next(steps for limit, steps in LOOKS if most <= limit)
        if most >= FEWEST and most % every == 0:
            state.belief, state.ready = self._look(state), state.count >= FEWEST
        if state.reads % HOLD == 0:
            state.held = chosen(2 * torch.rand(n, u, generator=state.generator).to(x) - 1, self.sizes.discrete)
        state.reads += 1
        action = state.held
        if (belief := state.belief) is not None:
            now = (observation - belief.middle.squeeze(1)) / belief.scale.squeeze(1)
            state.sequence, state.policy, first = improve(
                state.sequence, state.policy, lambda *plans: self._imagine(belief, now, *plans),
                options.layers, options.candidates, options.feedback, state.generator,
            )  # fmt: skip
            state.sequence = torch.cat([state.sequence[:, 1:], x.new_zeros(n, 1, u)], 1)
            action = torch.where(state.ready.unsqueeze(1), first, action)
        action = chosen(action, self.sizes.discrete) * (SURE if self.sizes.discrete else 1.0)
        return torch.cat([action, torch.full_like(action, LOG_STD_MIN)], -1)
