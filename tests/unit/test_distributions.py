import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, Normal, kl_divergence
from torch.nn.functional import pad

from gla import augment
from gla.distributions import LOG_STD_MAX, LOG_STD_MIN, categorical_kl, divergence, gaussian_kl, pull_back
from gla.environments.FIXME import MAX_ACTION
from gla.train import policy_loss
from gla.windows import NO_ACTION, Batch

SEEDS, SIZES = st.integers(0, 1000), st.integers(1, MAX_ACTION)


def _normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _frame(a, seed):
    return torch.from_numpy(augment.projection(seed, 3, a)[1])[None]


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
    forward, reverse, both = (divergence(k, mean_p, log_p, mean_q, log_q) for k in ("forward", "reverse", "sum"))
    assert forward.shape == (6,)
    torch.testing.assert_close(both, forward + reverse)
    torch.testing.assert_close(reverse, divergence("forward", mean_q, log_q, mean_p, log_p))
    assert not torch.allclose(forward, reverse) and (forward > 0).all()
    torch.testing.assert_close(divergence("sum", mean_p, log_p, mean_p, log_p), torch.zeros(6), atol=1e-6, rtol=0)


@given(a=SIZES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_pulling_back_undoes_projecting(a, seed):
    frame, mean = _frame(a, seed), _normal(1, 7, a, seed=seed)
    output = torch.cat([mean @ frame.transpose(1, 2), torch.zeros(1, 7, MAX_ACTION)], -1)
    torch.testing.assert_close(pull_back(output, frame)[0], mean, atol=1e-5, rtol=1e-5)


@given(a=SIZES, seed=SEEDS, log_std=st.floats(LOG_STD_MIN + 0.01, LOG_STD_MAX))
@settings(max_examples=40, deadline=None)
def test_an_isotropic_deviation_stays_so_in_any_frame(a, seed, log_std):
    output = torch.cat([_normal(1, 2, MAX_ACTION, seed=seed), torch.full((1, 2, MAX_ACTION), log_std)], -1)
    found = pull_back(output, _frame(a, seed))[1]
    torch.testing.assert_close(found, torch.full((1, 2, a), log_std), atol=1e-4, rtol=0)


@pytest.mark.parametrize("log_std, expected", [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_deviations_keep_to_their_bounds(log_std, expected):
    output = torch.full((1, 1, 2 * MAX_ACTION), log_std)
    torch.testing.assert_close(pull_back(output, _frame(4, 0))[1], torch.full((1, 1, 4), expected), atol=1e-4, rtol=0)


def test_logits_are_inner_products_with_the_actions_embeddings():
    frame, output = _frame(5, 1), _normal(1, 3, 2 * MAX_ACTION, seed=0)
    logits = pull_back(output, frame)[0]
    for i in range(5):
        torch.testing.assert_close(logits[0, :, i], (output[0, :, :MAX_ACTION] * frame[0, :, i]).sum(-1))


def _batch(a, discrete, seed, targets=None):
    """Two windows of three steps, padded to 16 actions as gla.windows does."""
    mean, log_std = targets or _normal(2, 2, 3, a, seed=seed)
    empty = torch.zeros(2, 3)
    return Batch(
        *(empty,) * 5,
        target_mean=pad(mean, (0, MAX_ACTION - a), value=NO_ACTION if discrete else 0.0),
        target_log_std=pad(log_std, (0, MAX_ACTION - a), value=LOG_STD_MIN),
        projection=pad(_frame(a, seed).expand(2, -1, -1), (0, MAX_ACTION - a)),
        discrete=torch.full((2,), discrete),
    )


@given(a=SIZES, seed=SEEDS, discrete=st.booleans(), kind=st.sampled_from(["forward", "reverse", "sum"]))
@settings(max_examples=80, deadline=None)
def test_padding_adds_nothing_to_the_loss_or_its_gradient(a, seed, discrete, kind):
    # In double precision, where sums over 16 and over a columns round alike.
    batch = Batch(*(x.double() if x.is_floating_point() else x for x in _batch(a, discrete, seed)))
    output = _normal(2, 3, 2 * MAX_ACTION, seed=seed + 1).double().requires_grad_()
    padded = policy_loss(output, batch, kind)
    mean, log_std = pull_back(output, batch.projection[..., :a])
    stds = (None, None) if discrete else (batch.target_log_std[..., :a], log_std)
    bare = divergence(kind, batch.target_mean[..., :a], stds[0], mean, stds[1])
    torch.testing.assert_close(padded, bare, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(x.sum(), output)[0] for x in (padded, bare)]
    assert gradients[0].isfinite().all()
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_a_padded_dimension_alone_is_exactly_zero():
    output = _normal(2, 3, 2 * MAX_ACTION, seed=0).requires_grad_()
    mean, log_std = pull_back(output, torch.zeros(2, MAX_ACTION, MAX_ACTION))
    bottom = torch.full_like(log_std, LOG_STD_MIN)
    both = gaussian_kl(torch.zeros_like(mean), bottom, mean, log_std) + gaussian_kl(
        mean, log_std, torch.zeros_like(mean), bottom
    )
    assert (both == 0).all()
    assert (torch.autograd.grad(both.sum(), output)[0] == 0).all()


def test_a_mixed_batch_takes_each_windows_own_divergence():
    output = _normal(2, 3, 2 * MAX_ACTION, seed=1).requires_grad_()
    continuous, discrete = _batch(3, False, 2), _batch(4, True, 3)
    mixed = Batch(*(torch.stack([x[0], y[1]]) for x, y in zip(continuous, discrete, strict=True)))
    loss = policy_loss(output, mixed, "sum")
    torch.testing.assert_close(loss[0], policy_loss(output, continuous, "sum")[0])
    torch.testing.assert_close(loss[1], policy_loss(output, discrete, "sum")[1])
    assert torch.autograd.grad(loss.sum(), output)[0].isfinite().all()
