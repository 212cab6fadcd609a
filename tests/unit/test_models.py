import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from gla.agent import AgentModel
from gla.config.agents import Agent
from gla.encoding import projected, tabular
from gla.encoding.tokens import Encoded, tokens
from gla.environments.spaces import EnvSpec
from gla.models.attention import rotate
from gla.models.equivariant import without_zeros
from gla.models.gated_delta import CHUNK, chunked
from gla.models.kinds import MODELS
from gla.options import ConfigError

SIZES = projected.Options().sizes
MODEL_KINDS = [kind for kind in MODELS if not MODELS.options(kind).plans]  # test_predictive_control.py has the other
ATTEND = ["transformer", "equivariant"]  # those with a window of attention, and a cache
CARRYING = ["lstm", "gru", "gated_delta"]  # those that read a sequence in parts
LONG = 2 * CHUNK + 9  # tokens: more than one chunk, and no multiple of it
KINDS, ATTENDING = st.sampled_from(MODEL_KINDS), st.sampled_from(ATTEND)
OPTIONS = {
    kind: {"width": 16} | ({"heads": 2} if "heads" in MODELS.options(kind).model_fields else {}) for kind in MODELS
}


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _fresh(kind="transformer", layers=2, seed=0, sizes=SIZES, **options):
    torch.manual_seed(seed)
    return MODELS[kind].SequenceModel(MODELS.options(kind)(**{"layers": layers} | OPTIONS[kind] | options), sizes)


def _model(kind="transformer", layers=2, seed=0, **options):
    model = _fresh(kind, layers, seed, **options)
    torch.nn.init.normal_(model.head.weight)  # zero at first, which would hide everything
    if kind == "gated_delta":
        with torch.no_grad():  # rates that differ between tokens, and memories that forget within a window
            for block in model.blocks:
                block.slowness += 2
                block.rates.weight *= 5
    return model


def _tokens(b, t, seed=0, kind=None):
    *steps, eta = _window(b, t, seed, kind)
    return tokens(Encoded(*steps), eta)


def _window(b, t, seed=0, kind=None):
    """observation, action, reward, end and eta of a window. The first two are one-hot, of few states, for a model that reads only such."""
    if kind == "value_iteration":
        state, action = _normal(b, t, 2, seed=seed).argmax(-1), _normal(b, t, 16, seed=seed + 1).argmax(-1)
        return (one_hot(state, 64).float(), one_hot(action, 16).float(), *_window(b, t, seed)[2:])
    return (_normal(b, t, 64, seed=seed), _normal(b, t, 16, seed=seed + 1), _normal(b, t, seed=seed + 2),
            _normal(b, t, seed=seed + 3) > 1, _normal(b, t, seed=seed + 4))  # fmt: skip


def _held(state):
    """The tensors of a state, by name."""
    return {name: x for name, x in vars(state).items() if isinstance(x, torch.Tensor)}


# All kinds


@pytest.mark.parametrize("kind", MODEL_KINDS)
@given(t=st.integers(2, LONG), cut=st.integers(1, LONG - 1), layers=st.integers(1, 3))
@example(t=LONG, cut=CHUNK, layers=2)
@example(t=LONG, cut=CHUNK + 5, layers=2)
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_no_output_depends_on_a_later_token(kind, t, cut, layers):
    model, x = _model(kind, layers), _tokens(2, t, kind=kind)
    changed = x.clone()
    changed[:, cut:] = 5 * _tokens(2, t, 9, kind)[:, cut:]
    for found, again in zip(model(x), model(changed), strict=True):
        torch.testing.assert_close(found[:, :cut], again[:, :cut], rtol=0, atol=1e-5)


@given(
    kind=ATTENDING,
    t=st.integers(2, 12),
    cut=st.integers(1, 11),
    window=st.none() | st.integers(1, 12),
    layers=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_no_output_of_a_window_of_attention_depends_on_a_later_token(kind, t, cut, window, layers):
    model, x = _model(kind, layers, window=window), _tokens(2, t)
    changed = x.clone()
    changed[:, cut:] = 5 * _tokens(2, t, seed=9)[:, cut:]
    for found, again in zip(model(x), model(changed), strict=True):
        torch.testing.assert_close(found[:, :cut], again[:, :cut], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@torch.no_grad()
def test_an_output_does_depend_on_every_earlier_token(kind):
    """If a model has a window of attention, this holds inside of the window."""
    reach = 4 if kind in ATTEND else 8
    model, x = _model(kind, 1, **({"window": 4} if kind in ATTEND else {})), _tokens(1, 8, kind=kind)
    for j in range(8):
        changed = x.clone()
        changed[:, j] += 1
        moved = ((model(changed)[1] - model(x)[1]).abs() > 1e-6).any(-1)[0]
        assert moved.tolist() == [j <= i < j + reach for i in range(8)]


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("field", range(5))
@torch.no_grad()
def test_no_output_depends_on_what_comes_after_its_action(field, kind):
    """Observation and eta of a step decide its output; its action, reward and end are only known later."""
    model, window, step = _model(kind), _window(2, 6, kind=kind), 3
    changed = [x.clone() for x in window]
    own = changed[field][:, step:]
    changed[field][:, step:] = ~own if field == 3 else own.roll(1, -1) if field < 2 else own + 1
    one, other = (model(tokens(Encoded(*steps), eta))[1] for *steps, eta in (window, changed))
    same = [torch.allclose(x, y, atol=1e-6) for x, y in zip(one.unbind(1), other.unbind(1), strict=True)]
    reads = field < 4 or kind != "value_iteration"
    assert all(same[:step]) and same[step] == (field in (1, 2, 3) or not reads) and same[step + 1] == (not reads)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@given(t=st.integers(1, LONG), layers=st.integers(1, 3), seed=st.integers(0, 100))
@example(t=LONG, layers=2, seed=0)
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_decoding_step_by_step_equals_the_forward_pass(kind, t, layers, seed):
    model, x = _model(kind, layers, seed), _tokens(2, t, seed, kind)
    state = model.initial_state(2, t)
    found = torch.stack([model.step(x[:, i], state) for i in range(t)], 1)
    features, output = model(x)
    assert features.shape == (2, t, 16) and output.shape == (2, t, 32) and output.dtype == found.dtype == torch.float32
    torch.testing.assert_close(found, output, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", CARRYING)
@given(cuts=st.lists(st.integers(1, CHUNK + 9), min_size=1, max_size=4), seed=st.integers(0, 100))
@example(cuts=[CHUNK, CHUNK, 3], seed=0)
@settings(max_examples=10, deadline=None)
def test_a_sequence_that_is_read_in_parts_is_one_that_is_read_at_once(kind, cuts, seed):
    """And no gradient reaches from one part into another."""
    model, x = _model(kind, 2, seed), _tokens(2, sum(cuts), seed).requires_grad_()
    state, parts = model.initial_state(2, 1), x.split(cuts, 1)
    found = [model(part, state) for part in parts]
    for own, expected in zip(zip(*found, strict=True), model(x), strict=True):
        torch.testing.assert_close(torch.cat(own, 1), expected, rtol=1e-4, atol=1e-4)
    last = torch.autograd.grad(found[-1][1].sum(), x)[0]
    assert not last[:, : -cuts[-1]].any() and last[:, -cuts[-1] :].any()


@pytest.mark.slow
@pytest.mark.parametrize("kind", CARRYING)
@torch.no_grad()
def test_a_hundred_thousand_tokens_need_no_more_than_one_and_in_parts_they_are_what_they_are_one_by_one(kind):
    model, x = _model(kind, 1), _tokens(1, 100_000)
    one_by_one, carried = model.initial_state(1, 1), model.initial_state(1, 1)
    bytes_before = sum(z.numel() for z in _held(one_by_one).values())
    for part in x.split(1000, 1):
        found = torch.stack([model.step(part[:, i], one_by_one) for i in range(1000)], 1)
        torch.testing.assert_close(model(part, carried)[1], found, rtol=1e-4, atol=1e-4)
    assert sum(z.numel() for z in _held(one_by_one).values()) == bytes_before


@given(
    kind=ATTENDING, t=st.integers(1, 20), window=st.integers(1, 24), layers=st.integers(1, 3), seed=st.integers(0, 100)
)
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_decoding_with_a_ring_of_keys_equals_the_forward_pass_with_a_window(kind, t, window, layers, seed):
    """Also past the window: a ring of W keys is the mask of W tokens in every layer."""
    model, x = _model(kind, layers, seed, window=window), _tokens(2, t, seed)
    cache = model.initial_state(2, 100)
    assert cache.length == window
    found = torch.stack([model.step(x[:, i], cache) for i in range(t)], 1)
    torch.testing.assert_close(found, model(x)[1], rtol=1e-3, atol=1e-3)
    if window >= t:
        torch.testing.assert_close(found, _model(kind, layers, seed)(x)[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@given(cuts=st.lists(st.integers(0, LONG - 1), min_size=1, max_size=3))
@example(cuts=[CHUNK, CHUNK + 1])
@settings(max_examples=5, deadline=None)
@torch.no_grad()
def test_contexts_that_are_emptied_go_on_as_if_they_began_there_and_the_others_as_before(kind, cuts):
    model, x, first = _model(kind), _tokens(3, LONG, kind=kind), max(cuts)
    state, found = model.initial_state(3, LONG), []
    for i in range(LONG):
        if i in cuts:
            state.forget(torch.tensor([False, True, False]))
        found.append(model.step(x[:, i], state))
    found = torch.stack(found, 1)
    torch.testing.assert_close(found[[0, 2]], model(x[[0, 2]])[1], rtol=1e-3, atol=1e-3)
    fresh = model.initial_state(1, LONG)
    expected = torch.stack([model.step(x[1:2, i], fresh) for i in range(first, LONG)], 1)
    torch.testing.assert_close(found[1:2, first:], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1:2, first:], model(x[1:2, first:])[1], rtol=1e-3, atol=1e-3)


@given(kind=ATTENDING, cut=st.integers(1, 11), window=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_a_wiped_stream_of_a_window_goes_on_as_if_it_began_there_and_the_others_as_before(kind, cut, window):
    model, x = _model(kind, window=window), _tokens(2, 12)
    cache, found = model.initial_state(2, 12), []
    for i in range(12):
        if i == cut:
            cache.forget(torch.tensor([False, True]))
        found.append(model.step(x[:, i], cache))
    found = torch.stack(found, 1)
    torch.testing.assert_close(found[0], model(x[:1])[1][0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found[1, cut:], model(x[1:, cut:])[1][0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@torch.no_grad()
def test_streams_do_not_touch_each_other(kind):
    model, x = _model(kind), _tokens(3, 6, kind=kind)
    state = model.initial_state(3, 4)
    together = torch.stack([model.step(x[:, i], state) for i in range(6)], 1)
    state = model.initial_state(1, 4)
    alone = torch.stack([model.step(x[1:2, i], state) for i in range(6)], 1)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@torch.no_grad()
def test_a_fresh_agent_prefers_nothing_and_auxiliary_heads_are_there_if_asked(kind):
    torch.manual_seed(0)
    config = Agent(dataset="d", model={"kind": kind, "layers": 1} | OPTIONS[kind])
    model = AgentModel(config, SIZES)
    assert (model(_tokens(1, LONG))[1] == 0).all() and model.auxiliary is None
    state = model.sequence.initial_state(2, 3)
    for x in _tokens(2, 3).unbind(1):
        assert (model.sequence.step(x, state) == 0).all()
    weighted = config.model_copy(update={"loss": config.loss.model_copy(update={"prediction_weight": 1.0})})
    assert AgentModel(weighted, SIZES).auxiliary is not None


@pytest.mark.parametrize("kind", [k for k in MODEL_KINDS if k != "value_iteration"])
@torch.no_grad()
def test_depth_does_not_blow_up_the_features(kind):
    for layers in (1, 12):
        assert _model(kind, layers)(_tokens(2, 8))[0].std().item() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("kind", MODEL_KINDS)
@torch.no_grad()
def test_under_autocast_outputs_are_nearly_those_of_float32(kind):
    model, x = _model(kind, 3), _tokens(2, LONG, kind=kind)
    with torch.autocast("cpu", torch.bfloat16):
        features, found = model(x)
    expected = model(x)[1]
    assert found.dtype == torch.float32 and features.isfinite().all()
    difference = (found - expected).norm()
    assert (
        difference == 0 if kind in ("lstm", "gru", "value_iteration") else 0 < difference < 0.05 * expected.norm()
    )  # a recurrence adds its rounding up


@given(kind=KINDS, layers=st.integers(1, 3), width=st.sampled_from([8, 16, 24]), heads=st.sampled_from([1, 2, 4]),
       batch=st.integers(1, 4), length=st.integers(1, 50), window=st.none() | st.integers(1, 50), key_heads=st.sampled_from([None, 1]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_the_bytes_of_a_state_are_those_of_the_tensors_that_it_holds(
    kind, layers, width, heads, batch, length, window, key_heads
):
    wanted = {"layers": layers, "width": width, "heads": heads, "window": window, "key_heads": key_heads}
    options = MODELS.options(kind)(**{k: v for k, v in wanted.items() if k in MODELS.options(kind).model_fields})
    with torch.device("meta"):
        state = MODELS[kind].SequenceModel(options, SIZES).initial_state(batch, length)
    assert 0 < options.state_bytes(SIZES, batch, length) == sum(x.nbytes for x in _held(state).values())


@pytest.mark.parametrize("kind", MODEL_KINDS)
@torch.inference_mode()
def test_a_state_grows_by_nothing(kind):
    """This holds for all inputs, and also after contexts are emptied."""
    model, x = _model(kind), _tokens(2, 12)
    state, options = model.initial_state(2, 5), model.options
    for i in range(12):
        model.step(x[:, i], state)
        assert sum(v.nbytes for v in _held(state).values()) == options.state_bytes(SIZES, 2, 5)
    state.forget(torch.tensor([True, False]))
    before = sum(v.nbytes for v in _held(state).values())
    assert before <= options.state_bytes(SIZES, 2, 5) + 2 * 8  # where each context began
    model.step(x[:, 0], state)
    assert sum(v.nbytes for v in _held(state).values()) == before


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("sizes", [SIZES, tabular.Options(states=300, actions=20).sizes])
def test_a_model_of_shapes_alone_has_those_of_one_with_weights(kind, sizes):
    """Nothing is drawn for it, and it takes no memory."""
    model, before = _fresh(kind, 3, sizes=sizes), torch.random.get_rng_state()
    with torch.device("meta"):
        shapes = MODELS[kind].SequenceModel(model.options, sizes)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(x.is_meta for x in shapes.state_dict().values())
    found, expected = ([(n, x.shape, x.dtype) for n, x in m.state_dict().items()] for m in (shapes, model))
    assert found == expected


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_what_a_model_says_of_its_weights_is_most_of_them_and_never_too_much(kind):
    """A job is refused by it, so that it may be too little and not too much."""
    for layers, width in ((1, 64), (4, 128), (3, 256)):
        options = MODELS.options(kind)(layers=layers, width=width)
        with torch.device("meta"):
            model = MODELS[kind].SequenceModel(options, SIZES)
        found = sum(p.numel() for name, p in model.named_parameters() if not name.startswith(("embed", "head")))
        assert 0.5 * found < options.parameters(SIZES) <= sum(p.numel() for p in model.parameters())


def test_kinds_are_a_list_of_names_and_an_unknown_one_is_named():
    names = ["transformer", "equivariant", "lstm", "gru", "gated_delta", "value_iteration", "predictive_control"]
    assert list(MODELS) == names
    for kind in MODELS:
        assert kind in MODELS and MODELS.options(kind)().kind == kind
    for kind in ("attention", "os", "../train"):
        assert kind not in MODELS
        with pytest.raises(
            ConfigError,
            match=r"model.kind: .* .expected one of transformer, equivariant, lstm, gru, gated_delta, value_iteration",
        ):
            MODELS[kind]


# Attention


@given(key_heads=st.sampled_from([1, 2, 4]), window=st.none() | st.integers(1, 12), cut=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_queries_that_share_keys_are_those_of_a_model_whose_keys_are_repeated(key_heads, window, cut):
    grouped = _model(heads=4, key_heads=key_heads, window=window)
    whole = _fresh(heads=4, window=window)
    weights = grouped.state_dict()
    for name in [n for n in weights if n.endswith("qkv.weight")]:
        q, k, v = weights[name].split([16, 4 * key_heads, 4 * key_heads])
        repeated = [w.view(key_heads, 4, 16).repeat_interleave(4 // key_heads, 0).flatten(0, 1) for w in (k, v)]
        weights[name] = torch.cat([q, *repeated])
    whole.load_state_dict(weights)
    x = _tokens(2, 10)
    torch.testing.assert_close(grouped(x), whole(x), rtol=1e-4, atol=1e-4)
    caches = grouped.initial_state(2, 8), whole.initial_state(2, 8)
    assert caches[0].memory.numel() * 4 == caches[1].memory.numel() * key_heads
    for i in range(10):
        if i == cut:
            for cache in caches:
                cache.forget(torch.tensor([False, True]))
        found, expected = (m.step(x[:, i], cache) for m, cache in zip((grouped, whole), caches, strict=True))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ATTEND)
@torch.inference_mode()
def test_a_cache_stays_where_it_is(kind):
    """Steps write into the memory that the cache began with, before and after it is full."""
    model, x = _model(kind), _tokens(2, 12)
    cache = model.initial_state(2, 5)
    held = {n: (v.data_ptr(), v.numel()) for n, v in _held(cache).items()}
    assert held
    for i in range(12):
        before = cache.memory.clone()
        model.step(x[:, i], cache)
        changed = (cache.memory != before).flatten(0, 3).any(-1).any(0)
        assert changed.nonzero().flatten().tolist() == [i % 5]  # one slot, in every layer
    assert held == {n: (v.data_ptr(), v.numel()) for n, v in _held(cache).items()}


@given(i=st.integers(0, 200), j=st.integers(0, 200), shift=st.integers(0, 2000), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_rotated_products_see_only_the_difference_of_positions(i, j, shift, seed):
    q, k = _normal(2, 1, 8, seed=seed)

    def product(a, b):
        return (rotate(q, torch.tensor([a])) * rotate(k, torch.tensor([b]))).sum()

    torch.testing.assert_close(product(i, j), product(i + shift, j + shift), rtol=0, atol=5e-3)
    torch.testing.assert_close(rotate(q, torch.tensor([i])).norm(), q.norm())


@given(kind=ATTENDING, offset=st.integers(0, 2000), window=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_a_cache_may_slide_for_ever(kind, offset, window):
    """One layer forgets all but its window: where it starts changes nothing once the ring is full."""
    model, x = _model(kind, 1), _tokens(2, window)
    found = []
    for start in (0, offset):
        cache = model.initial_state(2, window)
        cache.position = start
        found.append([model.step(x[:, i], cache) for i in range(window)][-1])
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-2)


# The equivariant model


@given(seed=st.integers(0, 100), layers=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_an_equivariant_model_turns_with_its_observations_and_actions(seed, layers):
    """Rotated observations change nothing; rotated actions rotate the mean and leave the deviation."""
    model, (observation, action, *rest, eta) = _model("equivariant", layers, seed), _window(2, 7, seed)
    q, r = (torch.linalg.qr(_normal(n, n, seed=seed))[0] for n in (64, 16))
    plain = tokens(Encoded(observation, action, *rest), eta)
    mean, log_std = model(plain)[1].chunk(2, -1)
    _, turned = model(tokens(Encoded(observation @ q, action @ r, *rest), eta))
    torch.testing.assert_close(turned, torch.cat([mean @ r, log_std], -1), rtol=1e-3, atol=1e-3)
    other = _model("transformer")
    assert (other(tokens(Encoded(observation @ q, action, *rest), eta))[1] - other(plain)[1]).abs().max() > 0.1


@given(b=st.integers(1, 3), t=st.integers(2, 12), seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_states_that_a_context_does_not_show_cost_nothing_and_change_nothing(b, t, seed):
    """A window is read in the coordinates of its own states, and its tokens one by one in those of all."""
    model, x = _model("equivariant", seed=seed), _tokens(b, t, seed, kind="value_iteration")
    before, _, _, _, observation, _ = x.split(model.sizes.parts, -1)
    seen = torch.stack([before, observation], 2)
    short = without_zeros(seen)
    assert short.shape == (*seen.shape[:-1], max(len(set(row.argmax(-1).tolist())) for row in observation))
    gram = [z.flatten(1, 2) @ z.flatten(1, 2).mT for z in (short, seen)]
    assert torch.equal(*gram)
    state = model.initial_state(b, t)
    stepped = torch.stack([model.step(x[:, i], state) for i in range(t)], 1)
    torch.testing.assert_close(model(x)[1], stepped, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("discrete", [True, False])
@given(
    d=st.integers(1, 64),
    a=st.integers(1, 16),
    more=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    seed=st.integers(0, 100),
)
@example(d=64, a=16, more=(0, 0), seed=0)
@example(d=4, a=2, more=(3, 4), seed=1)
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_an_equivariant_model_is_the_same_function_of_coordinates_in_the_span_of_a_frame(discrete, d, a, more, seed):
    """This holds even if other contexts of the same batch have more dimensions."""
    whole = projected.Encoding(projected.Options())
    narrow = whole.spanned([(d, a, discrete), (min(64, d + more[0]), min(16, a + more[1]), discrete)])
    wide = _model("equivariant", seed=seed)
    other = MODELS["equivariant"].SequenceModel(wide.options, narrow.sizes)
    other.load_state_dict(wide.state_dict())
    x, taken = _normal(3, 9, d, seed=seed), _normal(3, 9, a, seed=seed + 1)
    found = []
    for encoding, model in ((whole, wide), (narrow, other)):
        frames, seen = encoding.frames(np.arange(3) + seed, 3, EnvSpec(d, a, discrete, None, None)), encoding.seen()
        action = encoding.act(taken.argmax(-1) if discrete else taken, frames)
        steps = Encoded(
            encoding.observe(x, frames, seen),
            action,
            encoding.reward(_normal(3, 9, seed=seed + 2), seen),
            _normal(3, 9, seed=seed + 3) > 1,
        )
        shown = tokens(steps, torch.zeros(3, 9))
        assert shown.shape[-1] == encoding.sizes.token
        found += [encoding.distribution(model(shown)[1], frames.a)]
    assert narrow.sizes.token <= whole.sizes.token
    for one, same in zip(*found, strict=True):
        torch.testing.assert_close(one, same, rtol=1e-3, atol=1e-3)


class _Plain:
    """The equivariant model term by term, as its docstring describes it: vectors (B, T, n, C), every scale on its own."""

    def __init__(self, model):
        self.m, self.c = model, model.options

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
        before, action, reward, end, observation, eta = x.split(SIZES.parts, -1)
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
    model, x = _model("equivariant", layers, seed, window=window).double(), _tokens(2, t, seed).double()
    for name, p in model.named_parameters():
        if ".gates." in name:  # the same for every token at first, which would hide a confusion of them
            torch.nn.init.normal_(p)
    weight = _normal(2, t, 32, seed=seed).double()
    with mock.patch.object(
        torch.Tensor, "float", lambda x: x
    ):  # what is kept in float32 under autocast stays in float64
        found, expected = model(x)[1], _Plain(model)(x)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    gradients = [
        torch.autograd.grad((y * weight).sum(), list(model.parameters()), allow_unused=True) for y in (found, expected)
    ]
    for (name, _), a, b in zip(model.named_parameters(), *gradients, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            assert (a - b).norm() <= 1e-3 * b.norm() + 1e-3, name


# The gated delta rule


def _recurrence(q, k, v, b, log_a):
    """The recurrence of gla.models.gated_delta as it is written there, token by token."""
    batch, heads, t, head = q.shape
    memory, outputs = q.new_zeros(batch, heads, head, head), []
    for i in range(t):
        decayed = log_a[:, :, i, None, None].exp() * memory
        u = b[:, :, i, None] * (v[:, :, i] - torch.einsum("bhkv,bhk->bhv", decayed, k[:, :, i]))
        memory = decayed + torch.einsum("bhk,bhv->bhkv", k[:, :, i], u)
        outputs.append(torch.einsum("bhkv,bhk->bhv", memory, q[:, :, i]))
    return torch.stack(outputs, 2)


def _inputs(batch, heads, t, head, slowest, quickest, seed):
    """Queries, keys, values, strengths and logarithms of decays between two rates, in float64, that want gradients."""
    q, k, v = (_normal(batch, heads, t, head, seed=seed + i).double() for i in range(3))
    b, mix = (torch.sigmoid(2 * _normal(batch, heads, t, seed=seed + i).double()) for i in (3, 4))
    log_a = -torch.exp(math.log(slowest) + mix * (math.log(quickest) - math.log(slowest)))
    parts = [torch.nn.functional.normalize(q, dim=-1), torch.nn.functional.normalize(k, dim=-1), v, b, log_a]
    return [x.requires_grad_() for x in parts]


@given(batch=st.integers(1, 2), heads=st.integers(1, 3), t=st.integers(1, LONG), head=st.sampled_from([1, 2, 5, 8]),
       rates=st.lists(st.sampled_from([1e-6, 1e-3, 0.1, 1.0, 10.0, 100.0]), min_size=2, max_size=2), seed=st.integers(0, 1000))  # fmt: skip
@example(batch=1, heads=2, t=LONG, head=8, rates=[100.0, 100.0], seed=0)  # all is forgotten, and nothing overflows
@example(batch=1, heads=2, t=2 * CHUNK, head=8, rates=[1e-6, 1e-6], seed=0)
@settings(max_examples=40, deadline=None)
def test_chunks_are_the_recurrence_and_so_are_their_gradients(batch, heads, t, head, rates, seed):
    inputs, weight = (
        _inputs(batch, heads, t, head, *sorted(rates), seed),
        _normal(batch, heads, t, head, seed=seed + 9).double(),
    )
    found, expected = chunked(*inputs)[0], _recurrence(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for a, b in zip(*(torch.autograd.grad((y * weight).sum(), inputs) for y in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


@given(t=st.integers(1, LONG), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_chunks_in_single_precision_are_the_recurrence_in_double(t, seed):
    inputs = _inputs(2, 2, t, 8, 1e-3, 1.0, seed)
    found, _ = chunked(*(x.detach().float() for x in inputs))
    torch.testing.assert_close(found.double(), _recurrence(*inputs).detach(), rtol=1e-4, atol=1e-4)


def test_a_memory_gives_back_what_was_stored_last_under_a_key():
    """With full strength and without decay: a later value replaces an earlier one, and other keys keep theirs."""
    k = torch.eye(3).double()[[0, 1, 0, 2, 1]].view(1, 1, 5, 3)
    v, one = _normal(1, 1, 5, 3).double(), torch.ones(1, 1, 5).double()
    asked = torch.eye(3).double()[[0, 0, 1, 0, 0]].view(1, 1, 5, 3)
    found = chunked(asked, k, v, one, 0 * one)[0][0, 0]
    torch.testing.assert_close(found, v[0, 0, [0, 0, 1, 2, 2]])
