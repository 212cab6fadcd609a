from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gla.encoding import projected, tabular
from gla.encoding.kinds import ENCODINGS
from gla.encoding.projected import ACTION, OBSERVATION, identity, projection
from gla.encoding.standardise import CLIP, Standardiser
from gla.encoding.tokens import LOG_STD_MAX, LOG_STD_MIN, Encoded, Sizes, tokens
from gla.environments.making import make
from gla.environments.spaces import EnvSpec, UnsupportedEnvironment, env_spec
from gla.models import equivariant
from gla.options import ConfigError

SEEDS, SIZES = st.integers(0, 2**42), st.integers(1, ACTION)


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _spec(observation=4, action=3, discrete=True):
    return EnvSpec(observation, action, discrete, None, None)


def _projected(**options):
    return projected.Encoding(projected.Options(**options))


# Tokens


def _window(b, t):
    """observation, action, reward, end and eta of a window."""
    return (
        _normal(b, t, 64),
        _normal(b, t, 16, seed=1),
        _normal(b, t, seed=2),
        _normal(b, t, seed=3) > 1,
        _normal(b, t, seed=4),
    )


def test_a_token_holds_the_last_transition_and_the_new_observation():
    observation, action, reward, end, eta = _window(2, 5)
    found = tokens(Encoded(observation, action, reward, end), eta)
    assert found.shape == (2, 5, projected.Options().sizes.token) == (2, 5, 147)
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
    found = tokens(Encoded(observation, action, reward, end), eta)
    assert found[0, :, 80].tolist() == [0, 0, 7, 0] and found[0, :, 81].tolist() == [1, 0, 1, 0]


# Projections


@pytest.mark.parametrize("d", [1, 4, 64])
def test_observation_matrices_keep_unit_variance(d):
    w = np.stack([projection(seed, d, 2)[0] for seed in range(400)])
    assert w.shape == (400, 64, d) and w.dtype == np.float32
    assert w.mean() == pytest.approx(0, abs=5 / np.sqrt(w.size * d))
    assert w.var() == pytest.approx(1 / d, rel=5 * np.sqrt(2 / w.size))
    seen = w @ np.random.default_rng(0).standard_normal((400, d, 1))
    assert seen.var() == pytest.approx(1, rel=0.3 if d == 1 else 0.15)


@given(a=SIZES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_action_matrices_are_orthonormal_and_so_undone_by_their_transpose(a, seed):
    matrix = projection(seed, 3, a)[1]
    assert matrix.shape == (16, a) and matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(a), atol=1e-5)
    action = np.random.default_rng(seed).standard_normal((5, a)).astype(np.float32)
    np.testing.assert_allclose(action @ matrix.T @ matrix, action, atol=1e-5)


def test_action_matrices_point_everywhere():
    """Uniform on the sphere: every coordinate has mean 0 and variance 1/16, for all signs of QR."""
    columns = np.stack([projection(seed, 1, 4)[1] for seed in range(2000)])
    np.testing.assert_allclose(columns.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(columns.var(0), 1 / 16, rtol=0.2)


@given(one=SEEDS, other=SEEDS)
@settings(max_examples=30, deadline=None)
def test_a_seed_decides_its_matrices(one, other):
    for x, y, again in zip(projection(one, 5, 3), projection(other, 5, 3), projection(one, 5, 3), strict=True):
        np.testing.assert_array_equal(x, again)
        assert np.array_equal(x, y) == (one == other)


def test_the_identity_pads_with_zeros():
    w, a = identity(5, 3)
    np.testing.assert_array_equal(w @ np.arange(5.0), [0, 1, 2, 3, 4] + [0] * 59)
    np.testing.assert_array_equal(a @ np.arange(3.0), [0, 1, 2] + [0] * 13)


@pytest.mark.parametrize("seeds", [None, np.array([3, 2**41 + 1])])
def test_many_projections_are_each_ones(seeds):
    encoding = _projected(projections="identity" if seeds is None else "gaussian")
    assert encoding.varies == (seeds is not None)
    w, a = encoding.frames(seeds, 2, _spec(5, 3))
    assert w.shape == (2, 64, 5) and a.shape == (2, 16, 3)
    for i in range(2):
        expected = identity(5, 3) if seeds is None else projection(int(seeds[i]), 5, 3)
        np.testing.assert_array_equal(w[i], expected[0])
        np.testing.assert_array_equal(a[i], expected[1])


# Outputs as distributions


def _frame(a, seed):
    return torch.from_numpy(projection(seed, 3, a)[1])[None]


@given(sizes=st.lists(st.tuples(st.integers(1, OBSERVATION), st.integers(1, ACTION)), min_size=1, max_size=3), seed=SEEDS,
       projections=st.sampled_from(["gaussian", "identity"]))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_coordinates_in_the_span_of_a_frame_have_its_inner_products(sizes, seed, projections):
    whole = _projected(projections=projections)
    narrow, (d, a) = whole.spanned([(*both, False) for both in sizes]), sizes[0]
    (w, own), (rows, basis) = (e.frames(np.array([seed, seed + 1]), 2, _spec(d, a)) for e in (whole, narrow))
    room, most = max(n for n, _ in sizes), max(n for _, n in sizes)
    assert (
        narrow.sizes == (room, most, 2 * most, (OBSERVATION, ACTION), False)
        and rows.shape == (2, room, d)
        and basis.shape == (2, most, a)
    )
    torch.testing.assert_close(rows.mT @ rows, w.mT @ w, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(basis.mT @ basis, torch.eye(a).expand(2, -1, -1), rtol=1e-4, atol=1e-4)
    assert (basis[:, a:] == 0).all() and narrow.pad(torch.ones(2, a)).shape == (2, most)
    if projections == "identity":
        assert torch.equal(basis[:, :a], own[:, :a])
    elif a > 1:  # what is told of an action is in no basis of the environment's own
        assert not torch.allclose(basis[0, :a].abs(), torch.eye(a), atol=1e-2)


@given(a=SIZES, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_distribution_undoes_projecting(a, seed):
    frame, mean = _frame(a, seed), _normal(1, 7, a, seed=seed)
    output = torch.cat([mean @ frame.transpose(1, 2), torch.zeros(1, 7, ACTION)], -1)
    torch.testing.assert_close(_projected().distribution(output, frame)[0], mean, atol=1e-5, rtol=1e-5)


@given(a=SIZES, seed=st.integers(0, 1000), log_std=st.floats(LOG_STD_MIN + 0.01, LOG_STD_MAX))
@settings(max_examples=40, deadline=None)
def test_an_isotropic_deviation_stays_so_in_any_frame(a, seed, log_std):
    output = torch.cat([_normal(1, 2, ACTION, seed=seed), torch.full((1, 2, ACTION), log_std)], -1)
    found = _projected().distribution(output, _frame(a, seed))[1]
    torch.testing.assert_close(found, torch.full((1, 2, a), log_std), atol=1e-4, rtol=0)


@pytest.mark.parametrize("log_std, expected", [(-50.0, LOG_STD_MIN), (50.0, LOG_STD_MAX)])
def test_deviations_keep_to_their_bounds(log_std, expected):
    output = torch.full((1, 1, 2 * ACTION), log_std)
    found = _projected().distribution(output, _frame(4, 0))[1]
    torch.testing.assert_close(found, torch.full((1, 1, 4), expected), atol=1e-4, rtol=0)


def test_logits_are_inner_products_with_the_actions_embeddings():
    frame, output = _frame(5, 1), _normal(1, 3, 2 * ACTION)
    logits = _projected().distribution(output, frame)[0]
    for i in range(5):
        torch.testing.assert_close(logits[0, :, i], (output[0, :, :ACTION] * frame[0, :, i]).sum(-1))


@given(a=SIZES, seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_an_integer_action_is_seen_as_its_column_and_is_the_likeliest_where_that_is_the_output(a, seed):
    encoding, action = _projected(), torch.arange(a).repeat(2, 1)
    frames = encoding.frames(np.array([seed, seed + 1]), 2, _spec(3, a))
    seen = encoding.act(action, frames)
    one_hot = torch.eye(a).expand(2, -1, -1)
    torch.testing.assert_close(seen, encoding.act(one_hot, frames))
    logits = encoding.distribution(torch.cat([seen, torch.zeros_like(seen)], -1), frames.a)[0]
    torch.testing.assert_close(logits, one_hot, atol=1e-5, rtol=0)


# One step at a time


def _integers(b, t, d, seed, low=-50, high=50):
    """Integers, so that differences are 0 or far above the standardiser's epsilon."""
    return torch.from_numpy(np.random.default_rng(seed).integers(low, high, (b, t, d)).astype(np.float32))


ROWS = st.integers(1, 4)
STEPS = st.integers(1, 40)


@given(
    b=ROWS,
    t=STEPS,
    d=st.integers(1, 70),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0, 1e4]),
    scale=st.sampled_from([1, 1e-3, 1e20]),
)
@settings(max_examples=80, deadline=None)
def test_a_window_is_standardised_to_the_same_bits_as_its_steps(b, t, d, seed, offset, scale):
    x, running = (_normal(b, t, d, seed=seed) + offset) * scale, Standardiser()
    found = torch.cat([running(x[:, i : i + 1]) for i in range(t)], 1)
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert torch.equal(Standardiser()(x), found)


@given(b=ROWS, parts=st.lists(st.integers(1, 12), min_size=1, max_size=5), d=st.integers(1, 4), seed=st.integers(0, 1000),
       offset=st.sampled_from([0, 1e4]))  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_a_window_may_be_standardised_in_parts_of_any_length(b, parts, d, seed, offset):
    x, running = _integers(b, sum(parts), d, seed) + offset, Standardiser()
    found = torch.cat([running(part) for part in x.split(parts, 1)], 1)
    torch.testing.assert_close(Standardiser()(x), found, rtol=1e-6, atol=1e-6)


@given(t=st.integers(2, 30), cut=st.integers(1, 29), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_standardising_does_not_look_ahead(t, cut, seed):
    x = _integers(2, t, 3, seed)
    changed = x.clone()
    changed[:, cut:] += 1000
    torch.testing.assert_close(Standardiser()(x)[:, :cut], Standardiser()(changed)[:, :cut], rtol=0, atol=0)


@given(t=st.integers(1, 30), seed=st.integers(0, 1000), shift=st.integers(-1000, 1000), scale=st.integers(1, 1000))
@settings(max_examples=50, deadline=None)
def test_standardising_forgets_shift_and_scale(t, seed, shift, scale):
    x = _integers(2, t, 3, seed)
    torch.testing.assert_close(Standardiser()(x * scale + shift), Standardiser()(x), rtol=1e-3, atol=1e-3)


def test_standardised_steps_have_mean_zero_deviation_one_and_a_bound():
    x = Standardiser()(_integers(1, 2000, 2, 0))
    assert (x[:, 0] == 0).all()
    torch.testing.assert_close(x.mean(1), torch.zeros(1, 2), atol=0.1, rtol=0)
    torch.testing.assert_close(x.std(1), torch.ones(1, 2), atol=0.1, rtol=0)
    spike = torch.zeros(1, 100, 1)
    spike[:, -1] = 1e6
    assert Standardiser()(spike).max() == CLIP
    assert (Standardiser()(torch.full((1, 50, 1), 3e6)) == 0).all()


@given(cuts=st.lists(st.integers(0, 11), max_size=3), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_standardiser_that_forgets_goes_on_as_a_fresh_one_and_the_other_rows_as_before(cuts, seed):
    x, running = _integers(3, 12, 2, seed), Standardiser()
    x[:, min(cuts, default=0) :] += 1e7  # far from where the contexts began, which must not count any more
    found = []
    for i in range(12):
        if i in cuts:
            running.forget(torch.tensor([True, False, True]))
        found.append(running(x[:, i : i + 1]))
    found = torch.cat(found, 1)
    assert torch.equal(found[1], Standardiser()(x)[1])
    for begin, end in pairwise([*sorted({0, *cuts}), 12]):
        assert torch.equal(found[[0, 2], begin:end], Standardiser()(x[[0, 2], begin:end]))


@given(b=ROWS, t=STEPS, d=st.integers(1, OBSERVATION), a=SIZES, seed=st.integers(0, 1000), standardise=st.booleans(),
       discrete=st.booleans(), projections=st.sampled_from(["gaussian", "identity"]))  # fmt: skip
@example(b=3, t=33, d=OBSERVATION, a=ACTION, seed=0, standardise=True, discrete=False, projections="identity")
@settings(max_examples=80, deadline=None)
def test_a_window_is_encoded_as_its_steps(b, t, d, a, seed, standardise, discrete, projections):
    """Tokens in a rollout are those of training: identical bits, except for sums, whose order BLAS decides."""
    encoding = _projected(standardise=standardise, projections=projections)
    frames = encoding.frames(seed + np.arange(b), b, _spec(d, a, discrete))
    observation, reward = _normal(b, t, d, seed=seed) + 10, _normal(b, t, seed=seed + 1)
    action = (
        torch.randint(0, a, (b, t), generator=torch.Generator().manual_seed(seed))
        if discrete
        else _normal(b, t, a, seed=seed + 2)
    )
    whole, running, steps = encoding.seen(), encoding.seen(), [slice(i, i + 1) for i in range(t)]
    sums = {"rtol": 1e-5, "atol": 1e-5} if projections == "gaussian" else {"rtol": 0, "atol": 0}
    found = torch.cat([encoding.observe(observation[:, i], frames, running) for i in steps], 1)
    torch.testing.assert_close(encoding.observe(observation, frames, whole), found, **sums)
    found = torch.cat([encoding.act(action[:, i], frames) for i in steps], 1)
    torch.testing.assert_close(encoding.act(action, frames), found, **({"rtol": 0, "atol": 0} if discrete else sums))
    assert torch.equal(
        encoding.reward(reward, whole), torch.cat([encoding.reward(reward[:, i], running) for i in steps], 1)
    )


# Tabular


def _tabular(states=400, actions=30):
    return tabular.Encoding(tabular.Options(states=states, actions=actions))


@given(
    b=ROWS,
    t=STEPS,
    states=st.integers(1, 400),
    actions=st.integers(1, 40),
    d=st.integers(1, 400),
    a=st.integers(1, 40),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_tabular_token_holds_states_and_actions_one_hot(b, t, states, actions, d, a, seed):
    assume(d <= states and a <= actions)
    encoding, generator = _tabular(states, actions), torch.Generator().manual_seed(seed)
    state, action = (torch.randint(0, n, (b, t), generator=generator) for n in (d, a))
    reward, frames, seen = _normal(b, t, seed=seed), encoding.frames(None, b, _spec(d, a)), encoding.seen()
    observed = encoding.observe(torch.nn.functional.one_hot(state, d).float(), frames, seen)
    acted = encoding.act(action, frames)
    assert observed.shape == (b, t, states) and acted.shape == (b, t, actions)
    for x, expected in ((observed, state), (acted, action)):
        assert x.dtype == torch.float32 and (x.sum(-1) == 1).all() and ((x == 0) | (x == 1)).all()
        assert torch.equal(x.argmax(-1), expected)
    assert torch.equal(encoding.reward(reward, seen), reward)
    token = tokens(Encoded(observed, acted, reward, torch.zeros(b, t, dtype=torch.bool)), reward)
    assert token.shape == (b, t, encoding.sizes.token) and encoding.sizes.token == 2 * states + actions + 3


@given(b=ROWS, t=STEPS, actions=st.integers(1, 40), a=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_tabular_outputs_are_the_logits_of_the_environments_own_actions(b, t, actions, a, seed):
    assume(a <= actions)
    encoding, output = _tabular(actions=actions), _normal(b, t, actions, seed=seed)
    frames = encoding.frames(None, b, _spec(300, a))
    assert encoding.sizes.output == actions
    logits, log_std = encoding.distribution(output, frames.a)
    assert torch.equal(logits, output[..., :a]) and (log_std == 0).all() and log_std.shape == logits.shape
    action = logits.argmax(-1)
    assert (action < a).all()
    # A frame that was padded, as in a batch, has more columns, and they are those that no action has.
    padded, _ = encoding.distribution(output, encoding.pad(frames.a))
    assert torch.equal(padded, output) and encoding.pad(frames.a).shape == (b, actions, actions)
    assert torch.equal(logits, output @ frames.a)


def test_contexts_of_tabular_worlds_are_all_alike():
    """So there is one frame to draw from, in training and for validation, and nothing that contexts have shown."""
    encoding = _tabular()
    assert not encoding.varies and encoding.seen() is None
    assert encoding.options.pool(True) == encoding.options.pool(False) == 1


def _permuted(states=9, actions=5):
    return tabular.Encoding(tabular.Options(states=states, actions=actions, permuted=True))


def test_permuted_contexts_count_states_and_actions_in_orders_of_their_own():
    encoding, n = _permuted(), 200
    frames = encoding.frames(np.arange(n), n, _spec(9, 5))
    one_hot = torch.eye(9).expand(n, -1, -1)
    seen, acted = encoding.observe(one_hot, frames, None), encoding.act(torch.arange(5).expand(n, -1), frames)
    for x, size in ((seen, 9), (acted, 5)):  # each row is one state, or action, and no two are the same
        assert torch.equal(x.sum(1), torch.ones(n, size)) and torch.equal(x.sum(2), torch.ones(n, size))
        np.testing.assert_allclose(x.mean(0), 1 / size, atol=0.12)
    assert encoding.varies and encoding.options.pool(True) == 16384 and encoding.options.pool(False) == 1024
    again = encoding.frames(np.arange(n), n, _spec(9, 5))
    assert torch.equal(frames.w, again.w) and torch.equal(frames.a, again.a)


@given(seed=st.integers(0, 1000), states=st.integers(1, 9), actions=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_logits_of_permuted_actions_are_those_of_the_environments_own(seed, states, actions):
    """Also where the environment has fewer of both than there is room for, and where frames are padded as in a batch."""
    encoding, output = _permuted(), _normal(2, 3, 5, seed=seed)
    frames = encoding.frames(np.array([seed, seed + 1]), 2, _spec(states, actions))
    logits, _ = encoding.distribution(output, frames.a)
    assert logits.shape == (2, 3, actions)
    for b in range(2):
        for action in range(actions):
            (place,) = encoding.act(torch.full((2, 1), action), frames)[b, 0].nonzero()
            assert torch.equal(logits[b, :, action], output[b, :, place.item()])
    padded, _ = encoding.distribution(output, encoding.pad(frames.a))
    assert torch.equal(padded[..., :actions], logits)


def test_models_that_turn_are_the_same_function_of_tabular_contexts_in_every_order():
    """The equivariant model, of a window of a world with seven states and three actions."""
    options = equivariant.Options(layers=2, width=16, heads=2)
    plain = tabular.Encoding(tabular.Options(states=20, actions=6)).spanned([(7, 3, True)])
    permuted = _permuted(20, 6).spanned([(7, 3, True)])
    assert plain.sizes == permuted.sizes == Sizes(7, 3, 6)
    torch.manual_seed(0)
    model = equivariant.SequenceModel(options, plain.sizes)
    torch.nn.init.normal_(model.head.weight)
    state, action, reward = torch.randint(7, (2, 12)), torch.randint(3, (2, 12)), torch.randn(2, 12)
    found = []
    for encoding in (plain, permuted):
        frames = encoding.frames(np.array([3, 4]), 2, _spec(7, 3))
        seen = encoding.observe(torch.nn.functional.one_hot(state, 7).float(), frames, None)
        steps = Encoded(seen, encoding.act(action, frames), reward, torch.zeros(2, 12, dtype=torch.bool))
        output = model(tokens(steps, torch.zeros(2, 12)))[1]
        found.append(encoding.distribution(output, frames.a)[0])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "encoding, spec, said",
    [
        (_projected(), _spec(65, 3), r"65 observation dimensions \(expected at most 64 for the encoding 'projected'\)"),
        (_projected(), _spec(4, 17), r"17 action dimensions \(expected at most 16 for the encoding 'projected'\)"),
        (
            _projected(),
            _spec(4, 17, False),
            r"17 action dimensions \(expected at most 16 for the encoding 'projected'\)",
        ),
        (_tabular(), _spec(4, 3, False), r"continuous actions \(expected discrete ones for the encoding 'tabular'\)"),
        (_tabular(), _spec(401, 3), r"401 observation dimensions \(expected at most 400, the encoding's states\)"),
        (_tabular(), _spec(400, 31), r"31 actions \(expected at most 30, the encoding's actions\)"),
    ],
)
def test_what_an_encoding_cannot_hold_is_refused_by_the_name_of_its_limit(encoding, spec, said):
    with pytest.raises(UnsupportedEnvironment, match=rf"^environment 'E': {said}$"):
        encoding.check("E", spec)


def test_what_an_encoding_can_hold_is_taken():
    for encoding, spec in (
        (_projected(), _spec(64, 16)), (_projected(), _spec(64, 16, False)), (_tabular(), _spec(400, 30)), (_tabular(1, 1), _spec(1, 1)),
    ):  # fmt: skip
        encoding.check("E", spec)


def test_worlds_that_projections_cannot_hold_are_made_all_the_same():
    """An environment has no limit of its own; the encoding's is named."""
    env = make("gla/GridWorld-v0", size=20)
    spec = env_spec(env)
    env.close()
    assert (spec.observation_size, spec.action_size, spec.discrete) == (400, 4, True)
    with pytest.raises(UnsupportedEnvironment, match="400 observation dimensions"):
        _projected().check("gla/GridWorld-v0", spec)
    _tabular().check("gla/GridWorld-v0", spec)


def test_kinds_are_a_list_of_names_and_an_unknown_one_is_named():
    assert list(ENCODINGS) == ["projected", "tabular", "scaled"]
    with pytest.raises(ConfigError, match="encoding.kind: 'raw' .expected one of projected, tabular"):
        ENCODINGS["raw"]
