import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gla import models
from gla.agent import TOKEN, AgentModel, tokens
from gla.config import Agent, Model
from gla.models.transformer import rotate


def _normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _model(layers=2, seed=0):
    torch.manual_seed(seed)
    return models.build(Model(layers=layers, width=16, heads=2))


def _agent(**kwargs):
    torch.manual_seed(0)
    model = AgentModel(Agent(dataset="d", model=Model(layers=2, width=16, heads=2), **kwargs))
    torch.nn.init.normal_(model.head.weight)  # zero at first, which would hide everything
    return model


def _window(b, t, seed=0):
    """observation, action, reward, end and eta of a window."""
    return (_normal(b, t, 64, seed=seed), _normal(b, t, 16, seed=seed + 1), _normal(b, t, seed=seed + 2),
            _normal(b, t, seed=seed + 3) > 1, _normal(b, t, seed=seed + 4))  # fmt: skip


@given(t=st.integers(2, 12), cut=st.integers(1, 11), window=st.none() | st.integers(1, 12), layers=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
@torch.no_grad()
def test_no_feature_depends_on_a_later_token(t, cut, window, layers):
    model, x = _model(layers), _normal(2, t, 16)
    changed = x.clone()
    changed[:, cut:] = 5 * _normal(2, max(0, t - cut), 16, seed=1)
    torch.testing.assert_close(model(x, window)[:, :cut], model(changed, window)[:, :cut], rtol=0, atol=1e-6)


@torch.no_grad()
def test_a_feature_does_depend_on_every_earlier_token_of_its_window():
    model, x = _model(1), _normal(1, 8, 16)
    for j in range(8):
        changed = x.clone()
        changed[:, j] += 1
        moved = ((model(changed, 4) - model(x, 4)).abs() > 1e-6).any(-1)[0]
        assert moved.tolist() == [j <= i < j + 4 for i in range(8)]


@pytest.mark.parametrize("field", range(5))
@torch.no_grad()
def test_no_output_depends_on_what_comes_after_its_action(field):
    """Observation and eta of a step decide its output; its action, reward and end are only known later."""
    model, window, step = _agent(), _window(2, 6), 3
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


@given(t=st.integers(1, 20), window=st.integers(1, 24), layers=st.integers(1, 3), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
@torch.no_grad()
def test_decoding_step_by_step_equals_the_forward_pass(t, window, layers, seed):
    """Also past the window: a ring of W keys is the mask of W tokens in every layer."""
    model, x = _model(layers, seed), _normal(2, t, 16, seed=seed)
    cache = model.cache(2, window)
    found = torch.stack([model.step(x[:, i], cache) for i in range(t)], 1)
    torch.testing.assert_close(found, model(x, window), rtol=1e-4, atol=1e-5)
    if window >= t:
        torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_agents_steps_equal_its_forward_pass():
    model, x = _agent(), tokens(*_window(3, 9))
    cache = model.sequence.cache(3, 9)
    found = torch.stack([model.step(x[:, i], cache) for i in range(9)], 1)
    features, output = model(x)
    assert features.shape == (3, 9, 16) and output.shape == (3, 9, 32) and output.dtype == torch.float32
    torch.testing.assert_close(found, output, rtol=1e-4, atol=1e-4)


@given(i=st.integers(0, 200), j=st.integers(0, 200), shift=st.integers(0, 2000), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_rotated_products_see_only_the_difference_of_positions(i, j, shift, seed):
    q, k = _normal(2, 1, 8, seed=seed)

    def product(a, b):
        return (rotate(q, torch.tensor([a])) * rotate(k, torch.tensor([b]))).sum()

    torch.testing.assert_close(product(i, j), product(i + shift, j + shift), rtol=0, atol=5e-3)
    torch.testing.assert_close(rotate(q, torch.tensor([i])).norm(), q.norm())


@given(offset=st.integers(0, 2000), window=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_a_cache_may_slide_for_ever(offset, window):
    """One layer forgets all but its window: where it starts changes nothing once the ring is full."""
    model, x = _model(1), _normal(2, window, 16)
    found = []
    for start in (0, offset):
        cache = model.cache(2, window)
        cache.position = start
        found.append([model.step(x[:, i], cache) for i in range(window)][-1])
    torch.testing.assert_close(*found, rtol=0, atol=2e-3)


@torch.no_grad()
def test_streams_do_not_touch_each_other():
    model, x = _model(), _normal(3, 6, 16)
    cache = model.cache(3, 4)
    together = torch.stack([model.step(x[:, i], cache) for i in range(6)], 1)
    cache = model.cache(1, 4)
    alone = torch.stack([model.step(x[1:2, i], cache) for i in range(6)], 1)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


def test_a_fresh_agent_prefers_nothing_and_auxiliary_heads_are_there_if_asked():
    torch.manual_seed(0)
    config = Agent(dataset="d", model=Model(layers=1, width=16, heads=2))
    assert (AgentModel(config)(tokens(*_window(1, 3)))[1] == 0).all()
    assert AgentModel(config).auxiliary is None
    assert AgentModel(config.model_copy(update={"auxiliary_weight": 1.0})).auxiliary is not None


def test_depth_does_not_blow_up_the_features():
    x = _normal(2, 8, 16)
    for layers in (1, 12):
        assert _model(layers)(x).std().item() == pytest.approx(1, abs=0.2)
