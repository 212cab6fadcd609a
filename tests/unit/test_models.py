from unittest import mock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gla import models
from gla.agent import AgentModel
from gla.config import Agent, ConfigError, Model, model_kinds
from gla.models.attention import rotate
from gla.models.tokens import PARTS, TOKEN, tokens

KINDS = st.sampled_from(model_kinds())


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _model(kind="transformer", layers=2, seed=0, window=None):
    torch.manual_seed(seed)
    model = models.build(Model(kind=kind, layers=layers, width=16, heads=2, window=window))
    torch.nn.init.normal_(model.head.weight)  # zero at first, which would hide everything
    return model


def _tokens(b, t, seed=0):
    return tokens(*_window(b, t, seed))


def _window(b, t, seed=0):
    """observation, action, reward, end and eta of a window."""
    return (_normal(b, t, 64, seed=seed), _normal(b, t, 16, seed=seed + 1), _normal(b, t, seed=seed + 2),
            _normal(b, t, seed=seed + 3) > 1, _normal(b, t, seed=seed + 4))  # fmt: skip


@given(kind=KINDS, t=st.integers(2, 12), cut=st.integers(1, 11), window=st.none() | st.integers(1, 12), layers=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_no_output_depends_on_a_later_token(kind, t, cut, window, layers):
    model, x = _model(kind, layers, window=window), _tokens(2, t)
    changed = x.clone()
    changed[:, cut:] = 5 * _tokens(2, t, seed=9)[:, cut:]
    for found, again in zip(model(x), model(changed), strict=True):
        torch.testing.assert_close(found[:, :cut], again[:, :cut], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", model_kinds())
@torch.no_grad()
def test_an_output_does_depend_on_every_earlier_token_of_its_window(kind):
    model, x = _model(kind, 1, window=4), _tokens(1, 8)
    for j in range(8):
        changed = x.clone()
        changed[:, j] += 1
        moved = ((model(changed)[1] - model(x)[1]).abs() > 1e-6).any(-1)[0]
        assert moved.tolist() == [j <= i < j + 4 for i in range(8)]


@pytest.mark.parametrize("kind", model_kinds())
@pytest.mark.parametrize("field", range(5))
@torch.no_grad()
def test_no_output_depends_on_what_comes_after_its_action(field, kind):
    """Observation and eta of a step decide its output; its action, reward and end are only known later."""
    model, window, step = _model(kind), _window(2, 6), 3
    changed = [x.clone() for x in window]
    changed[field][:, step:] = ~changed[field][:, step:] if field == 3 else changed[field][:, step:] + 1
    same = [torch.allclose(x, y, atol=1e-6) for x, y in zip(
        model(tokens(*window))[1].unbind(1), model(tokens(*changed))[1].unbind(1), strict=True)]  # fmt: skip
    assert all(same[:step]) and same[step] == (field in (1, 2, 3)) and not same[step + 1]


def test_a_token_holds_the_last_transition_and_the_new_observation():
    observation, action, reward, end, eta = _window(2, 5)
    found = tokens(observation, action, reward, end, eta)
    assert found.shape == (2, 5, TOKEN) == (2, 5, 147)
    for i in range(5):
        before, after = found[:, i, :82], found[:, i, 82:]
        torch.testing.assert_close(after, torch.cat([observation[:, i], eta[:, i : i + 1]], 1))
        if i:
            parts = observation[:, i - 1], action[:, i - 1], reward[:, i - 1, None], end[:, i - 1, None].float()
            torch.testing.assert_close(before, torch.cat(parts, 1))
    assert (found[:, 0, :81] == 0).all() and (found[:, 0, 81] == 1).all()


def test_the_last_reward_of_an_episode_is_in_the_next_episodes_first_token():
    observation, action, _, _, eta = _window(1, 4)
    reward, end = torch.tensor([[0.0, 7.0, 0.0, 0.0]]), torch.tensor([[False, True, False, False]])
    found = tokens(observation, action, reward, end, eta)
    assert found[0, :, 80].tolist() == [0, 0, 7, 0] and found[0, :, 81].tolist() == [1, 0, 1, 0]


@given(kind=KINDS, t=st.integers(1, 20), window=st.integers(1, 24), layers=st.integers(1, 3), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_decoding_step_by_step_equals_the_forward_pass(kind, t, window, layers, seed):
    """Also past the window: a ring of W keys is the mask of W tokens in every layer."""
    model, x = _model(kind, layers, seed, window), _tokens(2, t, seed)
    cache = model.cache(2, 100)
    assert cache.length == window
    found = torch.stack([model.step(x[:, i], cache) for i in range(t)], 1)
    features, output = model(x)
    assert features.shape == (2, t, 16) and output.shape == (2, t, 32) and output.dtype == torch.float32
    torch.testing.assert_close(found, output, rtol=1e-3, atol=1e-3)
    if window >= t:
        torch.testing.assert_close(found, _model(kind, layers, seed)(x)[1], rtol=1e-3, atol=1e-3)


@given(key_heads=st.sampled_from([1, 2, 4]), window=st.none() | st.integers(1, 12), cut=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_queries_that_share_keys_are_those_of_a_model_whose_keys_are_repeated(key_heads, window, cut):
    torch.manual_seed(0)
    grouped = models.build(Model(width=16, heads=4, key_heads=key_heads, window=window))
    torch.nn.init.normal_(grouped.head.weight)
    whole = models.build(Model(width=16, heads=4, window=window))
    weights = grouped.state_dict()
    for name in [n for n in weights if n.endswith("qkv.weight")]:
        q, k, v = weights[name].split([16, 4 * key_heads, 4 * key_heads])
        repeated = [w.view(key_heads, 4, 16).repeat_interleave(4 // key_heads, 0).flatten(0, 1) for w in (k, v)]
        weights[name] = torch.cat([q, *repeated])
    whole.load_state_dict(weights)
    x = _tokens(2, 10)
    torch.testing.assert_close(grouped(x), whole(x), rtol=1e-4, atol=1e-4)
    caches = grouped.cache(2, 8), whole.cache(2, 8)
    assert caches[0].memory.numel() * 4 == caches[1].memory.numel() * key_heads
    for i in range(10):
        if i == cut:
            for cache in caches:
                cache.forget(torch.tensor([False, True]))
        found, expected = (m.step(x[:, i], cache) for m, cache in zip((grouped, whole), caches, strict=True))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@given(kind=KINDS, cut=st.integers(1, 11), window=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_a_wiped_stream_goes_on_as_if_it_began_there_and_the_others_as_before(kind, cut, window):
    model, x = _model(kind, window=window), _tokens(2, 12)
    cache, found = model.cache(2, 12), []
    for i in range(12):
        if i == cut:
            cache.forget(torch.tensor([False, True]))
        found.append(model.step(x[:, i], cache))
    found = torch.stack(found, 1)
    torch.testing.assert_close(found[0], model(x[:1])[1][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1, cut:], model(x[1:, cut:])[1][0], rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 100), layers=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_an_equivariant_model_turns_with_its_observations_and_actions(seed, layers):
    """Rotated observations change nothing; rotated actions rotate the mean and leave the deviation."""
    model, (observation, action, *rest) = _model("equivariant", layers, seed), _window(2, 7, seed)
    q, r = (torch.linalg.qr(_normal(n, n, seed=seed))[0] for n in (64, 16))
    _, output = model(tokens(observation, action, *rest))
    _, turned = model(tokens(observation @ q, action @ r, *rest))
    mean, log_std = output.chunk(2, -1)
    torch.testing.assert_close(turned, torch.cat([mean @ r, log_std], -1), rtol=1e-3, atol=1e-3)
    assert (_model("transformer")(tokens(observation @ q, action, *rest))[1] - _model()(
        tokens(observation, action, *rest))[1]).abs().max() > 0.1  # fmt: skip


class _Plain:
    """The equivariant model term by term, as its docstring describes it: vectors (B, T, n, C), every scale on its own."""

    def __init__(self, model):
        self.m, self.c = model, model.config

    @staticmethod
    def unit(x):
        square = x.square().mean((-1, -2), keepdim=True) + 1e-4
        return x / square.sqrt(), 0.5 * square.log().flatten(2)

    @staticmethod
    def gram(x):
        return torch.einsum("btnc,btnd->btcd", x, x).flatten(2) / x.shape[2]

    def attend(self, block, h, o, u):
        b, t, _ = h.shape
        x = block.attention_norm(h)
        q, k, v = block.qkv(x).view(b, t, 3, self.c.heads, -1).permute(2, 0, 3, 1, 4)
        gate = block.gates(x).view(b, t, 2, 1, -1)
        moved = [
            (mix(self.unit(z)[0]) * gate[:, :, i]).view(b, t, -1, 3, self.c.heads).permute(3, 0, 4, 1, 2)
            for i, (z, mix) in enumerate(((o, block.mix_o), (u, block.mix_u)))
        ]
        position = torch.arange(t)
        score = sum(
            a @ c.transpose(-1, -2) / a.shape[-1] ** 0.5
            for a, c in ((rotate(q, position), rotate(k, position)), *((m[0], m[1]) for m in moved))
        )
        seen = torch.ones(t, t).tril().bool()
        if self.c.window:
            seen = seen.triu(1 - self.c.window)
        weights = score.masked_fill(~seen, -torch.inf).softmax(-1)
        return [weights @ value for value in (v, moved[0][2], moved[1][2])]

    def __call__(self, x):
        m, c = self.m, self.c.channels
        before, action, reward, end, observation, eta = x.split(PARTS, -1)
        h = m.embed(torch.cat([reward, end, eta], -1))
        o, u = m.embed_o(torch.stack([before, observation], -1)), m.embed_u(action.unsqueeze(-1))
        for block in m.blocks:
            x, x_o, x_u = self.attend(block, h, o, u)
            h = h + block.out(x.transpose(1, 2).flatten(2))
            o, u = o + block.out_o(x_o.permute(0, 2, 3, 1)), u + block.out_u(x_u.permute(0, 2, 3, 1))
            (unit_o, size_o), (unit_u, size_u) = self.unit(o), self.unit(u)
            x = torch.cat([block.mlp_norm(h), self.gram(unit_o), self.gram(unit_u), size_o, size_u], -1)
            change, *mix = block.down(torch.nn.functional.gelu(block.up(x))).split([h.shape[-1], c * c, c * c], -1)
            h = h + change
            o, u = (z + e @ a.view(*a.shape[:2], c, c) for z, e, a in zip((o, u), (unit_o, unit_u), mix, strict=True))
        weights, log_std = m.head(m.norm(h)).split([c, 1], -1)
        mean = (self.unit(u)[0] @ weights.unsqueeze(-1)).squeeze(-1)
        return torch.cat([mean, log_std.expand_as(mean)], -1)


@given(seed=st.integers(0, 100), t=st.integers(1, 8), window=st.none() | st.integers(1, 8), layers=st.integers(1, 3))
@example(seed=57, t=2, window=1, layers=3)  # in float32 what attention to one token leaves of a gradient of 0 is 0.008
@settings(max_examples=20, deadline=None)
def test_the_equivariant_model_is_what_its_terms_say_and_so_are_its_gradients(seed, t, window, layers):
    model, x = _model("equivariant", layers, seed, window).double(), _tokens(2, t, seed).double()
    for name, p in model.named_parameters():
        if ".gates." in name:  # the same for every token at first, which would hide a confusion of them
            torch.nn.init.normal_(p)
    weight = _normal(2, t, 32, seed=seed).double()
    with mock.patch.object(torch.Tensor, "float", lambda x: x):  # what is kept in float32 under autocast stays in float64
        found, expected = model(x)[1], _Plain(model)(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    gradients = [torch.autograd.grad((y * weight).sum(), list(model.parameters()), allow_unused=True) for y in (found, expected)]
    for (name, _), a, b in zip(model.named_parameters(), *gradients, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a - b).norm() <= 1e-3 * b.norm() + 1e-3, name


@pytest.mark.parametrize("kind", model_kinds())
@torch.no_grad()
def test_under_autocast_outputs_are_nearly_those_of_float32(kind):
    model, x = _model(kind, 3), _tokens(2, 30)
    with torch.autocast("cpu", torch.bfloat16):
        features, found = model(x)
    expected = model(x)[1]
    assert found.dtype == torch.float32 and features.isfinite().all()
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("kind", model_kinds())
@torch.inference_mode()
def test_a_cache_stays_where_it_is_and_grows_by_nothing(kind):
    """Steps write into the memory that the cache began with, before and after it is full."""
    model, x = _model(kind), _tokens(2, 12)
    cache = model.cache(2, 5)
    held = {n: (v.data_ptr(), v.numel()) for n, v in vars(cache).items() if isinstance(v, torch.Tensor)}
    assert held
    for i in range(12):
        before = cache.memory.clone()
        model.step(x[:, i], cache)
        changed = (cache.memory != before).flatten(0, 3).any(-1).any(0)
        assert changed.nonzero().flatten().tolist() == [i % 5]  # one slot, in every layer
    assert held == {n: (v.data_ptr(), v.numel()) for n, v in vars(cache).items() if isinstance(v, torch.Tensor)}


@given(i=st.integers(0, 200), j=st.integers(0, 200), shift=st.integers(0, 2000), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_rotated_products_see_only_the_difference_of_positions(i, j, shift, seed):
    q, k = _normal(2, 1, 8, seed=seed)

    def product(a, b):
        return (rotate(q, torch.tensor([a])) * rotate(k, torch.tensor([b]))).sum()

    torch.testing.assert_close(product(i, j), product(i + shift, j + shift), rtol=0, atol=5e-3)
    torch.testing.assert_close(rotate(q, torch.tensor([i])).norm(), q.norm())


@given(kind=KINDS, offset=st.integers(0, 2000), window=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_a_cache_may_slide_for_ever(kind, offset, window):
    """One layer forgets all but its window: where it starts changes nothing once the ring is full."""
    model, x = _model(kind, 1), _tokens(2, window)
    found = []
    for start in (0, offset):
        cache = model.cache(2, window)
        cache.position = start
        found.append([model.step(x[:, i], cache) for i in range(window)][-1])
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kind", model_kinds())
@torch.no_grad()
def test_streams_do_not_touch_each_other(kind):
    model, x = _model(kind), _tokens(3, 6)
    cache = model.cache(3, 4)
    together = torch.stack([model.step(x[:, i], cache) for i in range(6)], 1)
    cache = model.cache(1, 4)
    alone = torch.stack([model.step(x[1:2, i], cache) for i in range(6)], 1)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", model_kinds())
def test_a_fresh_agent_prefers_nothing_and_auxiliary_heads_are_there_if_asked(kind):
    torch.manual_seed(0)
    config = Agent(dataset="d", model=Model(kind=kind, layers=1, width=16, heads=2))
    assert (AgentModel(config)(_tokens(1, 3))[1] == 0).all()
    assert AgentModel(config).auxiliary is None
    assert AgentModel(config.model_copy(update={"auxiliary_weight": 1.0})).auxiliary is not None


@pytest.mark.parametrize("kind", model_kinds())
def test_depth_does_not_blow_up_the_features(kind):
    for layers in (1, 12):
        assert _model(kind, layers)(_tokens(2, 8))[0].std().item() == pytest.approx(1, abs=0.2)


def test_a_kind_is_a_file_and_an_unknown_one_is_named():
    assert model_kinds() == ["equivariant", "transformer"]
    for kind in ("tokens", "os", "../train"):
        with pytest.raises(ConfigError, match=r"model.kind: .* .expected one of equivariant, transformer"):
            models.build(Model(kind=kind))
