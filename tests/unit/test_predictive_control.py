"""A model that regresses what follows from what, and plans with it: closed forms, invariants, and whether it learns."""

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gla.agent import TrainedAgent
from gla.config.agents import Agent
from gla.config.evaluations import Evaluation
from gla.encoding.making import encoding_of
from gla.encoding.scaled import Encoding, Options
from gla.encoding.tokens import LOG_STD_MIN
from gla.environments.spaces import EnvSpec
from gla.in_context import InContext
from gla.models.building import AgentModel
from gla.models.planning import HOLDS, answers, held_noise, improve
from gla.models.predictive_control import FEWEST, LOOKS, known
from gla.models.regression import NOISES, NONLINEAR, Basis, posterior

SMALL = {"kind": "predictive_control", "width": 32, "candidates": 16, "horizon": 8}


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _basis(width=24, seed=0):
    torch.manual_seed(seed)
    return Basis(width)


def _data(n=2, t=30, f=7, o=2, seed=0):
    generator = _generator(seed)
    features = torch.randn(n, t, f, generator=generator)
    features[..., 0] = 1
    return features, torch.randn(n, t, o, generator=generator), torch.rand(len(NONLINEAR), f, generator=generator) + 0.5


# The regression


def _by_hand(x, y, spread):
    """For one context and target: the evidence of each noise and prior, and the mean and covariance of the weights, by the definition."""
    found = []
    for prior in spread.double():
        for noise in NOISES:
            covariance = x @ torch.diag(prior**2) @ x.T + noise**2 * torch.eye(len(x), dtype=x.dtype)
            evidence = torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)
            gain = torch.diag(prior**2) @ x.T @ torch.linalg.inv(covariance)
            found.append((evidence, gain @ y, torch.diag(prior**2) - gain @ x @ torch.diag(prior**2)))
    return found


@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.05, 1.0]))
@settings(max_examples=20, deadline=None)
def test_a_posterior_is_the_one_of_its_definition(seed, scale):
    features, targets, spread = _data(seed=seed)
    targets = scale * targets + features[..., :2]
    noise = torch.randn(2, 7, 2, generator=_generator(1))
    found = posterior(features, targets, spread, noise)
    for i in range(2):
        for j in range(2):
            expected = _by_hand(features[i].double(), targets[i, :, j].double(), spread)
            evidence, mean, covariance = max(expected, key=lambda x: float(x[0]))
            mixed = torch.logsumexp(torch.stack([x[0] for x in expected]), 0) - math.log(len(expected))
            torch.testing.assert_close(found.evidence[i, j], mixed, rtol=1e-6, atol=1e-5)
            torch.testing.assert_close(found.mean[i, :, j], mean.float(), rtol=1e-3, atol=1e-4)
            assert evidence <= mixed + math.log(len(expected))
            # A draw is a root of the covariance times the noise.
            one = torch.eye(7).unsqueeze(0)
            root = posterior(features[i : i + 1], targets[i : i + 1, :, j : j + 1].expand(-1, -1, 7), spread, one).draw[
                0
            ]
            torch.testing.assert_close(root @ root.T, covariance.float(), rtol=1e-2, atol=1e-4)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_the_evidence_has_the_gradient_of_its_definition(seed):
    features, targets, spread = _data(seed=seed)
    inputs = [x.double().requires_grad_() for x in (features, targets, spread)]
    own = torch.autograd.grad(posterior(*inputs).evidence.sum(), inputs)
    total = 0.0
    for x, y in zip(*inputs[:2], strict=True):
        for j in range(y.shape[1]):
            evidences = []
            for prior in inputs[2]:
                for noise in NOISES:
                    covariance = (x * prior**2) @ x.T + noise**2 * torch.eye(len(x)).to(x)
                    centre = torch.zeros_like(y[:, j])
                    evidences.append(torch.distributions.MultivariateNormal(centre, covariance).log_prob(y[:, j]))
            total = total + torch.logsumexp(torch.stack(evidences), 0)
    for a, b in zip(own, torch.autograd.grad(total, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * float(b.abs().max()))


def test_steps_that_do_not_count_change_nothing():
    features, targets, spread = _data()
    padded = torch.cat([features, torch.zeros(2, 9, 7)], 1), torch.cat([targets, torch.zeros(2, 9, 2)], 1)
    for a, b in zip(posterior(features, targets, spread)[::2], posterior(*padded, spread)[::2], strict=True):
        torch.testing.assert_close(a, b)


def test_the_evidence_is_that_of_predicting_each_step_from_those_before_it():
    """By the chain rule, for one noise and prior. The grid's mixture has the same property, with weights that follow the evidence."""
    features, targets, spread = _data(1, 12)
    total = 0.0
    for t in range(12):
        longer, shorter = (posterior(features[:, :k], targets[:, :k], spread).evidence for k in (t + 1, t))
        total = total + (longer - shorter)
    torch.testing.assert_close(total, posterior(features, targets, spread).evidence)


@given(d=st.integers(1, 90), a=st.integers(1, 20), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_features_are_made_in_environments_of_any_size_and_keep_their_scale(d, a, seed):
    basis = _basis(200)
    weight = basis.turned(3, d, a, _generator(seed))
    assert weight.shape == (3, d + a, 200)
    # A weight is as long as its part of a number of dimensions that is its share of 64 and 16.
    expected = 1.5**2 * (min(d, 64) + min(a, 16) if d <= 64 and a <= 16 else d + a) / (d + a)
    assert weight.detach().square().sum(1).mean().item() == pytest.approx(expected, rel=0.35)


def test_features_turn_with_their_inputs():
    basis, x = _basis(), torch.randn(2, 5, 6, generator=_generator())
    weight = basis.turned(2, 4, 2, _generator())
    turn = torch.block_diag(*(torch.linalg.qr(torch.randn(k, k, generator=_generator(k))).Q for k in (4, 2)))
    there, back = basis.features(x, weight, 2), basis.features(x @ turn, turn.T @ weight, 2)
    torch.testing.assert_close(back[..., 7:], there[..., 7:], rtol=1e-4, atol=1e-5)


def test_a_metric_finds_what_matters():
    """Only the second of five inputs does."""
    x = torch.randn(1, 200, 5, generator=_generator())
    basis = _basis(64)
    weight = basis.turned(1, 4, 1, _generator())
    target = (x[..., 1:2] * 2).tanh()
    found = posterior(basis.features(x, weight, 1), target, basis.deviations(5).detach())
    metric = basis.metric(x, weight, found.mean, 1)[0]
    assert metric.square().diagonal().sum().item() == pytest.approx(5, rel=1e-2)
    assert metric.diagonal().argmax() == 1 and metric[1, 1] > 2 * metric.diagonal()[[0, 2, 3, 4]].max()
    again = posterior(basis.features(x, (metric @ weight[0]).unsqueeze(0), 1), target, basis.deviations(5).detach())
    assert again.evidence > found.evidence + 50


def test_a_metric_is_that_of_the_predictions_gradient():
    basis, x = _basis(), torch.randn(2, 30, 5, generator=_generator())
    weight, mean = basis.turned(2, 3, 2, _generator()).detach(), torch.randn(2, 8 + 24, 3, generator=_generator())
    expected = torch.zeros(2, 5, 5)
    for i in range(2):
        for t in range(30):
            gradient = torch.autograd.functional.jacobian(
                lambda one, i=i: (basis.features(one.view(1, 1, 5), weight[i : i + 1], 2) @ mean[i]).view(3), x[i, t]
            )
            expected[i] += gradient.T @ gradient
    found = basis.metric(x, weight, mean, 2)
    square = found @ found
    # Up to the share of the identity, both are the same.
    apart = square - torch.eye(5) * (square - expected * (square[:, :1, 1:2] / expected[:, :1, 1:2])).diagonal(
        dim1=1, dim2=2
    ).mean(1).view(-1, 1, 1)
    ratio = square[:, 0, 1] / expected[:, 0, 1]
    torch.testing.assert_close(apart, expected * ratio.view(-1, 1, 1), rtol=1e-2, atol=1e-3)


# Transitions


def test_where_an_episode_ended_no_change_is_known_and_the_longest_have_not_fallen():
    before = torch.randn(1, 6, 2, generator=_generator())
    after = before + 1
    ended = torch.tensor([[0.0, 2.0, 0.0, 0.0, 3.0, 0.0]])
    found = known(before, torch.zeros(1, 6, 1), after, torch.arange(6.0).unsqueeze(0), ended, torch.ones(1, 6))
    assert found.goes_on[0, :, 0].tolist() == [1, 0, 1, 1, 0, 1]
    assert found.fell[0, :, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert (found.change[0, [1, 4]] == 0).all()
    torch.testing.assert_close(found.reward[0, :, 0], (torch.arange(6.0) - 2.5) / math.sqrt(35 / 12))
    torch.testing.assert_close(found.usual[0, 0], torch.tensor(2.5 / math.sqrt(35 / 12)))


def test_rewards_that_never_vary_have_a_mean_alone():
    found = known(
        torch.randn(1, 6, 2),
        torch.zeros(1, 6, 1),
        torch.randn(1, 6, 2),
        torch.ones(1, 6),
        torch.zeros(1, 6),
        torch.ones(1, 6),
    )
    assert (found.reward == 0).all() and found.usual.item() == 1


# Plans


def test_noise_is_held():
    noise = held_noise((2, 24, 3, 9), _generator()).permute(0, 3, 1, 2)
    for i, hold in enumerate(HOLDS):
        parts = noise[:, 3 * i : 3 * i + 3].unflatten(2, (24 // hold, hold))
        assert (parts == parts[:, :, :, :1]).all() and parts[:, :, :, 0].std().item() == pytest.approx(1, abs=0.2)


def _toward(goal):
    """The returns of plans of a point that moves by its actions, from 0, and is paid for being near a goal."""

    def imagine(sequences, policy, turns):
        place, total, first = torch.zeros(len(sequences), 1, sequences.shape[3]), 0.0, None
        for h in range(sequences.shape[1]):
            action = (sequences[:, h] + answers(policy, turns)(place)).clamp(-1, 1)
            first = action if first is None else first
            place = place + 0.2 * action
            total = total - (place[:, 0] - goal).square()
        return total, first

    return imagine


@pytest.mark.parametrize("goal", [0.5, -1.0])
def test_a_plan_improves(goal):
    sequence, policy, generator = torch.zeros(3, 12, 1), torch.zeros(3, 1, 2), _generator()
    for _ in range(15):
        sequence, policy, first = improve(sequence, policy, _toward(goal), 2, 48, 0.3, generator)
    at_once = abs(goal) * torch.ones(3, 12, 1)
    best, _ = _toward(goal)(at_once.unsqueeze(-1) * np.sign(goal), torch.zeros(3, 1, 2), torch.zeros(3, 1, 2, 0))
    found, _ = _toward(goal)(sequence.unsqueeze(-1), policy, torch.zeros(3, 1, 2, 0))
    assert (found > best - 0.5).all() and (first * goal > 0).all()


def test_policies_answer_as_linear_functions_of_what_they_see():
    seen, policy, turns = (
        torch.randn(*shape, generator=_generator(i)) for i, shape in enumerate([(2, 3, 5), (2, 4, 4), (2, 4, 4, 2)])
    )
    seen[0, 0, 0] = 100.0
    found, one = answers(policy, turns)(seen), torch.ones(1)
    for n in range(2):
        for k in range(5):
            whole = policy[n] + (turns[n, ..., k] if k < 2 else 0)
            expected = whole @ torch.cat([seen[n, :, k].clamp(-5, 5), one])
            torch.testing.assert_close(found[n, :, k], expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_what_is_imagined_is_what_the_regressions_predict():
    agent = _agent()
    _, _, context = _live(agent, n=2, steps=61)
    model, state = context.model, context.state
    belief, generator = state.belief, _generator()
    sequences, turns = torch.randn(2, 8, 1, 3, generator=generator), torch.randn(2, 1, 2, 1, generator=generator)
    now = torch.randn(2, 1, generator=generator)
    found, first = model._imagine(belief, now, sequences, state.policy, turns)
    moves, pays = (
        torch.cat([belief.outer[0][:, part], rest], 2).transpose(1, 2)
        for part, rest in ((slice(1), belief.outer[1]), (slice(1, 3), belief.outer[2]))
    )
    s, total, alive = now.unsqueeze(1).expand(2, 3, 1), 0.0, 1.0
    for h in range(8):
        a = (sequences[:, h] + answers(state.policy, turns)(s.transpose(1, 2))).clamp(-1, 1)
        if h == 0:
            torch.testing.assert_close(first, a)
        a = a.transpose(1, 2)
        x = torch.cat([s, a], -1)
        reward, fell = (model.basis.features(x, belief.metrics[1], 1) @ pays).unbind(-1)
        total = total + alive * (reward.clamp(-6, 6) + belief.usual)
        alive = alive * agent.config.model.discount * (1 - fell.clamp(0, 1))
        s = (s + model.basis.features(x, belief.metrics[0], 1) @ moves).clamp(belief.low, belief.high)
    torch.testing.assert_close(found, total, rtol=1e-3, atol=1e-3)


# The agent


def _agent(**options):
    config = Agent(dataset="d", model=SMALL | options, training={"kind": "prediction"})
    agent = TrainedAgent(None, config, {"encoding": {"kind": "scaled"}, "sources": {}})
    torch.manual_seed(0)
    model = AgentModel(config, Encoding(Options()).spanned([(1, 1, False)]).sizes)
    return TrainedAgent(model.eval(), config, agent.manifest)


POINT = EnvSpec(1, 1, False, np.array([-2.0], np.float32), np.array([2.0], np.float32))
CHOICES = EnvSpec(1, 3, True, None, None)


def _live(agent, spec=POINT, n=4, steps=150, paid=1.0, seed=0, length=4000, wiped=()):
    """The mean reward in the last third, in a world in which actions move a point that should be at 0.8."""
    evaluation = Evaluation(environment="point", agents=["a"], seeds=n, env_steps=steps, context_length=length)
    context, rng = InContext(agent, spec, evaluation, steps), np.random.default_rng(seed)
    place, rewards, actions = rng.uniform(-1, 1, (n, 1)).astype(np.float32), [], []
    for t in range(steps):
        action = context.act(place)
        actions.append(action)
        moved = 0.3 * action if not spec.discrete else 0.3 * (action[:, None] - 1.0)
        place = np.clip(place + moved, -2, 2).astype(np.float32)
        reward = -np.abs(place[:, 0] - 0.8)
        done = np.full(n, (t + 1) % 15 == 0)
        if done[0]:
            place = rng.uniform(-1, 1, (n, 1)).astype(np.float32)
        context.observe(paid * reward, done)
        if t in wiped:
            context.forget(np.arange(n) < 2)
        rewards.append(reward)
    return np.mean(rewards[-steps // 3 :]), np.array(actions), context


@pytest.mark.parametrize("spec", [POINT, CHOICES], ids=["continuous", "discrete"])
def test_an_agent_that_no_data_have_seen_learns_what_is_paid(spec):
    agent = _agent()
    paid, actions, _ = _live(agent, spec)
    hidden, _, _ = _live(agent, spec, paid=0.0)
    assert paid > -0.35 and paid > hidden + 0.25
    if spec.discrete:
        assert set(np.unique(actions)) <= {0, 1, 2}
    else:
        assert np.abs(actions).max() < 2.1


def test_the_same_twice():
    agent = _agent()
    np.testing.assert_array_equal(_live(agent, steps=60)[1], _live(agent, steps=60)[1])


def test_an_emptied_context_plans_nothing_until_it_has_seen_enough():
    agent, at = _agent(), 79
    _, _, context = _live(agent, steps=at + 1, wiped=(at,))
    state = context.state
    assert state.ready.tolist() == [False, False, True, True] and state.count.tolist() == [0, 0, at, at]
    assert (state.policy[:2] == 0).all() and (state.policy[2:] != 0).any()
    _, _, context = _live(agent, steps=at + 5, wiped=(at,))
    assert context.state.count.tolist() == [3, 3, at + 4, at + 4]  # the first step after it has no transition before it
    assert context.state.ready.tolist() == [False, False, True, True]


def test_a_window_keeps_the_last_transitions():
    _, _, context = _live(_agent(), steps=50, length=30)
    state = context.state
    assert state.steps.shape[1] == 30 and (state.count == 49).all()
    _, _, whole = _live(_agent(), steps=50)
    # The worlds are the same up to the actions; what was written first is overwritten by step 31 and on.
    assert (state.steps != 0).any(-1).all() and whole.state.steps.shape[1] == 50


def test_it_looks_at_its_transitions_as_often_as_it_says(monkeypatch):
    from gla.models.predictive_control import SequenceModel

    seen, own = [], SequenceModel._look
    monkeypatch.setattr(
        SequenceModel, "_look", lambda self, state: seen.append(int(state.count.max())) or own(self, state)
    )
    _live(_agent(candidates=8, horizon=2), steps=130)
    assert seen == [*range(FEWEST, 101, LOOKS[0][1]), 120]


def test_the_state_is_no_larger_than_was_said():
    agent = _agent()
    options, sizes = agent.config.model, encoding_of(agent.manifest, True, POINT).sizes
    _, model = agent.within(POINT)
    state = model.initial_state(8, 100)
    held = sum(x.nbytes for x in vars(state).values() if isinstance(x, torch.Tensor))
    assert held <= 1.2 * options.state_bytes(sizes, 8, 100)


# The encoding


@given(low=st.floats(-5, 0), width=st.floats(0.1, 5), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_actions_come_back_from_units_of_their_bounds(low, width, seed):
    spec = EnvSpec(2, 3, False, np.full(3, low, np.float32), np.full(3, low + width, np.float32))
    encoding = Encoding(Options()).spanned([(2, 3, False), (4, 5, False)])
    frames = encoding.frames(None, 2, spec)
    action = torch.from_numpy(np.random.default_rng(seed).uniform(low, low + width, (2, 4, 3))).float()
    coded = encoding.act(action, frames)
    assert coded.shape == (2, 4, 5) and coded.abs().max() <= 1 + 1e-4
    mean, log_std = encoding.distribution(torch.cat([coded, torch.full_like(coded, LOG_STD_MIN)], -1), frames.a)
    torch.testing.assert_close(mean, action, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        log_std.exp(), torch.full_like(action, 0.5 * width * math.exp(LOG_STD_MIN)), rtol=1e-3, atol=1e-6
    )
    beyond = encoding.act(action + 10 * width, frames)
    assert (beyond[..., :3] == 1).all()


def test_bounds_that_are_not_finite_or_not_known_count_as_one():
    for low, high in ((None, None), (np.array([-np.inf, 0.0], np.float32), np.array([1.0, np.inf], np.float32))):
        frames = Encoding(Options()).spanned([(2, 2, False)]).frames(None, 1, EnvSpec(2, 2, False, low, high))
        assert frames.a[0].tolist() == [[1, 0], [0, 1], [0, 0]]


def test_environments_of_all_sizes_fit():
    encoding = Encoding(Options())
    encoding.check("any", EnvSpec(376, 17, False, None, None))
    assert gym.make("CartPole-v1").action_space.n == encoding.spanned([(4, 2, True)]).sizes.action
