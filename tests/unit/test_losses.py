import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal, kl_divergence
from torch.nn.functional import one_hot

from gla.config.agents import Agent
from gla.encoding import projected, tabular
from gla.encoding.projected import ACTION
from gla.encoding.tokens import LOG_STD_MIN, NO_ACTION
from gla.environments.spaces import EnvSpec
from gla.losses import action_likelihood, q_values
from gla.losses import divergence as divergence_module
from gla.losses.divergence import categorical_kl, divergence, gaussian_kl
from gla.losses.kinds import LOSSES
from gla.losses.options import prediction, prediction_head
from gla.options import ConfigError
from gla.windows.batches import Batch

SEEDS, SIZES, DIRECTIONS = st.integers(0, 1000), st.integers(1, ACTION), ("forward", "reverse", "sum")
ENCODING = projected.Encoding(projected.Options())


def _normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _frame(a, seed):
    return torch.from_numpy(projected.projection(seed, 3, a)[1])[None]


def _policy(direction, output, batch, encoding=ENCODING):
    return divergence_module.policy(divergence_module.Options(direction=direction), encoding, output, batch)


def _likelihood(output, batch, encoding=ENCODING):
    return action_likelihood.policy(action_likelihood.Options(), encoding, output, batch)


# The divergence


@given(a=SIZES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_divergences_are_those_of_torch(a, seed):
    mean_p, log_p, mean_q, log_q = _normal(4, 5, a, seed=seed)
    expected = kl_divergence(Normal(mean_p, log_p.exp()), Normal(mean_q, log_q.exp()))
    torch.testing.assert_close(gaussian_kl(mean_p, log_p, mean_q, log_q), expected, rtol=1e-4, atol=1e-5)
    expected = kl_divergence(Categorical(logits=mean_p), Categorical(logits=mean_q))
    torch.testing.assert_close(categorical_kl(mean_p, mean_q).sum(-1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_the_sum_is_forward_plus_reverse_and_zero_where_both_agree(discrete):
    mean_p, log_p, mean_q, log_q = _normal(4, 6, 3, seed=0)
    if discrete:
        log_p = log_q = None
    forward, reverse, both = (divergence(k, mean_p, log_p, mean_q, log_q) for k in DIRECTIONS)
    assert forward.shape == (6,)
    torch.testing.assert_close(both, forward + reverse)
    torch.testing.assert_close(reverse, divergence("forward", mean_q, log_q, mean_p, log_p))
    assert not torch.allclose(forward, reverse) and (forward > 0).all()
    torch.testing.assert_close(divergence("sum", mean_p, log_p, mean_p, log_p), torch.zeros(6), atol=1e-6, rtol=0)


def _batch(a, discrete, seed, target, encoding=ENCODING, frame=None):
    """Two windows of three steps, padded to all actions of the encoding as gla.windows.batches does."""
    frame, empty = _frame(a, seed).expand(2, -1, -1) if frame is None else frame, torch.zeros(2, 3)
    steps = (empty, empty, empty, empty.bool(), empty)
    return Batch(*steps, target=target, frame=encoding.pad(frame), discrete=torch.full((2,), discrete))


def _labelled(a, discrete, seed):
    """A batch whose labels are distributions."""
    mean, log_std = _normal(2, 2, 3, a, seed=seed)
    return _batch(
        a, discrete, seed, (ENCODING.pad(mean, NO_ACTION if discrete else 0.0), ENCODING.pad(log_std, LOG_STD_MIN))
    )


def _double(batch):
    return batch.each(lambda x: x.double() if x.is_floating_point() else x)


@given(a=SIZES, seed=SEEDS, discrete=st.booleans(), direction=st.sampled_from(DIRECTIONS))
@settings(max_examples=80, deadline=None)
def test_padding_adds_nothing_to_the_loss_or_its_gradient(a, seed, discrete, direction):
    # In double precision, where sums over 16 and over a columns round alike.
    batch = _double(_labelled(a, discrete, seed))
    output = _normal(2, 3, 2 * ACTION, seed=seed + 1).double().requires_grad_()
    padded = _policy(direction, output, batch)
    mean, log_std = ENCODING.distribution(output, batch.frame[..., :a])
    stds = (None, None) if discrete else (batch.target[1][..., :a], log_std)
    bare = divergence(direction, batch.target[0][..., :a], stds[0], mean, stds[1])
    torch.testing.assert_close(padded, bare, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(x.sum(), output)[0] for x in (padded, bare)]
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_a_padded_dimension_alone_is_exactly_zero():
    output = _normal(2, 3, 2 * ACTION, seed=0).requires_grad_()
    mean, log_std = ENCODING.distribution(output, torch.zeros(2, ACTION, ACTION))
    bottom = torch.full_like(log_std, LOG_STD_MIN)
    both = gaussian_kl(torch.zeros_like(mean), bottom, mean, log_std) + gaussian_kl(
        mean, log_std, torch.zeros_like(mean), bottom
    )
    assert (both == 0).all()
    assert (torch.autograd.grad(both.sum(), output)[0] == 0).all()


def _mixed(continuous, discrete):
    """A window of each of two batches."""

    def both(x, y):
        return tuple(map(both, x, y)) if isinstance(x, tuple) else torch.stack([x[0], y[1]])

    return Batch(*map(both, continuous, discrete))


def test_a_mixed_batch_takes_each_windows_own_divergence():
    output = _normal(2, 3, 2 * ACTION, seed=1).requires_grad_()
    continuous, discrete = _labelled(3, False, 2), _labelled(4, True, 3)
    loss = _policy("sum", output, _mixed(continuous, discrete))
    torch.testing.assert_close(loss[0], _policy("sum", output, continuous)[0])
    torch.testing.assert_close(loss[1], _policy("sum", output, discrete)[1])
    assert torch.autograd.grad(loss.sum(), output)[0].isfinite().all()


# The likelihood of actions


def _acted(a, discrete, seed, encoding=ENCODING, frame=None):
    """A batch whose labels are actions, and these actions without what pads them."""
    action = 2 * _normal(2, 3, a, seed=seed)
    action = action.argmax(-1) if discrete else action
    target = one_hot(action, a).float() if discrete else action
    return _batch(a, discrete, seed, (encoding.pad(target, NO_ACTION),), encoding, frame), action


def _log_prob(output, batch, action, a, encoding=ENCODING):
    """PyTorch's, under the distribution over the environment's own actions."""
    mean, log_std = encoding.distribution(output, batch.frame[..., :a])
    if batch.discrete.all():
        return Categorical(logits=mean).log_prob(action)
    return Normal(mean, log_std.exp()).log_prob(action).sum(-1)


@given(a=SIZES, seed=SEEDS, discrete=st.booleans(), scale=st.sampled_from([0.1, 1.0, 10.0]))
@settings(max_examples=80, deadline=None)
def test_the_likelihood_of_an_action_is_that_of_torch_and_so_is_its_gradient(a, seed, discrete, scale):
    """There are up to 16 actions, and the others are padding."""
    batch, action = _acted(a, discrete, seed)
    batch, action = _double(batch), action if discrete else action.double()
    output = (scale * _normal(2, 3, 2 * ACTION, seed=seed + 1)).double().requires_grad_()
    found, expected = _likelihood(output, batch), -_log_prob(output, batch, action, a)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(x.sum(), output)[0] for x in (found, expected)]
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)


@given(a=SIZES, seed=SEEDS, discrete=st.booleans(), scale=st.sampled_from([1.0, 100.0]))
@settings(max_examples=40, deadline=None)
def test_the_likelihood_of_an_action_is_as_good_in_single_precision(a, seed, discrete, scale):
    batch, action = _acted(a, discrete, seed)
    output = (scale * _normal(2, 3, 2 * ACTION, seed=seed + 1)).clamp(-20 * scale, 20 * scale).requires_grad_()
    found = _likelihood(output, batch)
    torch.testing.assert_close(found, -_log_prob(output, batch, action, a), rtol=1e-3, atol=1e-3)
    assert torch.autograd.grad(found.sum(), output)[0].isfinite().all()


def test_a_mixed_batch_takes_each_windows_own_likelihood():
    output = _normal(2, 3, 2 * ACTION, seed=1).requires_grad_()
    (continuous, _), (discrete, _) = _acted(3, False, 2), _acted(4, True, 3)
    loss = _likelihood(output, _mixed(continuous, discrete))
    torch.testing.assert_close(loss[0], _likelihood(output, continuous)[0])
    torch.testing.assert_close(loss[1], _likelihood(output, discrete)[1])
    assert torch.autograd.grad(loss.sum(), output)[0].isfinite().all()


@pytest.mark.parametrize("states, actions, a", [(300, 40, 40), (300, 40, 23), (9, 4, 1)])
def test_tabular_losses_are_those_of_torch_with_any_number_of_actions(states, actions, a):
    encoding = tabular.Encoding(tabular.Options(states=states, actions=actions))
    frame, output = torch.eye(actions, a).expand(2, -1, -1), _normal(2, 3, actions, seed=1)
    batch, action = _acted(a, True, 0, encoding, frame)
    own = output[..., :a]
    torch.testing.assert_close(_likelihood(output, batch, encoding), -Categorical(logits=own).log_prob(action))
    logits = _normal(2, 3, a, seed=2)
    batch = batch._replace(
        target=(encoding.pad(logits, NO_ACTION), encoding.pad(torch.zeros_like(logits), LOG_STD_MIN))
    )
    expected = kl_divergence(Categorical(logits=logits), Categorical(logits=own))
    torch.testing.assert_close(_policy("forward", output, batch, encoding), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("discrete", [False, True])
def test_the_best_constant_output_is_the_actions_own_distribution(discrete):
    """Where the likelihood is largest, its gradient is zero: frequencies, or mean and deviation of the actions taken."""
    frame, generator = torch.eye(ACTION, 3).expand(2, -1, -1), torch.Generator().manual_seed(0)
    action = (
        torch.randint(0, 3, (2, 400), generator=generator)
        if discrete
        else 2 + 3 * torch.randn(2, 400, 3, generator=generator)
    )
    target = one_hot(action, 3).float() if discrete else action
    batch = _batch(3, discrete, 0, (ENCODING.pad(target, NO_ACTION),), frame=frame)
    best = torch.zeros(2 * ACTION)
    flat = target.reshape(-1, 3)
    best[:3] = flat.mean(0).log() if discrete else flat.mean(0)
    if not discrete:
        best[ACTION : ACTION + 3] = flat.std(0, correction=0).log()
    best.requires_grad_()
    (gradient,) = torch.autograd.grad(_likelihood(best.expand(2, 400, -1), batch).mean(), best)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-5, rtol=0)


# Values


@pytest.mark.parametrize("conservative", [0.0, 0.3])
def test_values_are_drawn_to_reward_and_the_best_that_follows(conservative):
    """Written out token by token, of an environment with three of the four actions that the encoding holds."""
    encoding = tabular.Encoding(tabular.Options(states=2, actions=4))
    options = q_values.Options(gamma=0.7, conservative=conservative, temperature=0.5)
    output, slow, reward = _normal(2, 3, 4, seed=0), _normal(2, 3, 4, seed=1), _normal(2, 3, seed=2)
    action = torch.tensor([[0, 2, 1], [1, 1, 2]])
    end = torch.tensor([[False, True, True], [False, False, True]])
    frames = encoding.frames(None, 2, EnvSpec(2, 3, True, None, None))
    target = encoding.pad(one_hot(action, 3).float(), NO_ACTION)
    batch = Batch(
        reward, reward, reward, end, reward, (target,), encoding.pad(frames.a), torch.ones(2, dtype=torch.bool)
    )
    found = q_values.policy(options, encoding, output, batch, slow)
    for b in range(2):
        for t in range(3):
            q = [0.5 * float(x) for x in output[b, t, :3]]
            taken = q[action[b, t]]
            lowered = conservative * (math.log(sum(math.exp(x) for x in q)) - taken)
            if t == 2:
                expected = lowered
            else:
                after = 0.0 if end[b, t] else 0.7 * 0.5 * float(slow[b, t + 1, :3].max())
                expected = (taken - float(reward[b, t]) - after) ** 2 + lowered
            assert float(found[b, t]) == pytest.approx(expected, rel=1e-4)


def test_values_of_one_state_become_those_of_its_arms():
    """Two arms that pay 1 and 0 with no discount: the least loss without the conservative term is the arms' means."""
    encoding = tabular.Encoding(tabular.Options(states=1, actions=2))
    options = q_values.Options(gamma=0.0, conservative=0.0, temperature=1.0)
    action = torch.tensor([[0, 1, 0, 1, 0]])
    reward, end = (action == 0).float(), torch.ones(1, 5, dtype=torch.bool)
    frames = encoding.frames(None, 1, EnvSpec(1, 2, True, None, None))
    batch = Batch(*(reward,) * 3, end, reward, (one_hot(action, 2).float(),), frames.a, torch.ones(1, dtype=torch.bool))
    q = torch.zeros(2, requires_grad=True)
    for _ in range(300):
        loss = q_values.policy(options, encoding, q.expand(1, 5, 2), batch).mean()
        (gradient,) = torch.autograd.grad(loss, q)
        q = (q - 0.5 * gradient).detach().requires_grad_()
    torch.testing.assert_close(q.detach(), torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)


def test_values_want_actions_that_were_taken_and_discrete_ones():
    agent = Agent(dataset="d", loss="q_values", labels="optimal_action")
    assert [p for p in agent.loss.problems_of(agent) if "recorded" in p]
    batch = _acted(3, False, 0)[0]
    with pytest.raises(ConfigError, match="discrete"):
        q_values.policy(q_values.Options(), ENCODING, _normal(2, 3, 2 * ACTION, seed=1), batch)


# All kinds


@pytest.mark.parametrize("kind", list(LOSSES))
@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e6])
def test_losses_of_any_output_are_finite_and_so_are_their_gradients(kind, discrete, size):
    if kind == "q_values" and not discrete:
        return
    batch = _labelled(5, discrete, 0) if LOSSES.options(kind)().wants == "distribution" else _acted(5, discrete, 0)[0]
    output = (size * _normal(2, 3, 2 * ACTION, seed=1)).requires_grad_()
    loss = LOSSES[kind].policy(LOSSES.options(kind)(), ENCODING, output, batch)
    assert loss.shape == (2, 3) and loss.isfinite().all()
    assert torch.autograd.grad(loss.sum(), output)[0].isfinite().all()


# Predicting what follows


def test_prediction_is_of_the_next_step_and_stops_where_a_chunk_ends():
    """The error of a head with known output is compared with the sum that its docstring describes."""
    sizes = projected.Options().sizes
    observation, action, reward = _normal(2, 5, 64, seed=0), _normal(2, 5, 16, seed=1), _normal(2, 5, seed=2)
    end = torch.zeros(2, 5, dtype=torch.bool)
    end[0, 1] = end[1, 4] = True
    batch = Batch(observation, action, reward, end, reward, target=(), frame=reward, discrete=end[:, 0])
    features, head = _normal(2, 5, 8, seed=3), prediction_head(8, sizes)
    found = prediction(head, features, batch)
    assert found.shape == (2, 4)
    predicted = head(torch.cat([features, action], -1))
    assert predicted.shape == (2, 5, 65)
    for b in range(2):
        for i in range(4):
            seen = (predicted[b, i, :64] - observation[b, i + 1]).square().mean() * (not end[b, i])
            torch.testing.assert_close(found[b, i], seen + (predicted[b, i, 64] - reward[b, i]).square())
