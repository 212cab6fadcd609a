import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gla.environments.returns import ReturnTracker
from gla.environments.spaces import UnsupportedEnvironment
from gla.environments.vector import VectorEnv
from gla.learners.advantages import advantages
from gla.learners.ppo import PPO, Population, RunningMoments
from gla.policies import NumericalError, sample_action, tanh_

NEVER = torch.zeros(1, 5, dtype=torch.bool)


def test_gae_of_constant_reward_and_value_has_a_closed_form():
    # delta = r + (gamma - 1) v at each step, summed with (gamma lambda)^k over the steps that are left.
    gamma, lam, r, v = 0.9, 0.8, 2.0, 3.0
    reward, value = torch.full((1, 5), r), torch.full((1, 5), v)
    found = advantages(reward, value, value, NEVER, NEVER, gamma, lam)
    delta = r + (gamma - 1) * v
    expected = [delta * (1 - (gamma * lam) ** n) / (1 - gamma * lam) for n in (5, 4, 3, 2, 1)]
    torch.testing.assert_close(found[0], torch.tensor(expected))


def test_lambda_one_is_the_return_and_lambda_zero_the_td_error():
    g = torch.Generator().manual_seed(0)
    reward, value, last = (torch.randn(1, n, generator=g) for n in (5, 5, 1))
    next_value = torch.cat([value[:, 1:], last], 1)
    td = advantages(reward, value, next_value, NEVER, NEVER, 0.9, 0.0)
    torch.testing.assert_close(td, reward + 0.9 * next_value - value)
    monte_carlo = advantages(reward, value, next_value, NEVER, NEVER, 0.9, 1.0)
    expected = sum(0.9**t * reward[0, t] for t in range(5)) + 0.9**5 * last[0, 0] - value[0, 0]
    torch.testing.assert_close(monte_carlo[0, 0], expected)


@given(end=st.integers(0, 4), truncate=st.booleans(), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_an_end_cuts_the_sum_and_only_truncation_keeps_the_value(end, truncate, seed):
    g = torch.Generator().manual_seed(seed)
    reward, value, next_value = (torch.randn(1, 5, generator=g) for _ in range(3))
    flag = NEVER.clone()
    flag[0, end] = True
    ends = (NEVER, flag) if truncate else (flag, NEVER)
    found = advantages(reward, value, next_value, *ends, 0.9, 0.8)
    bootstrap = 0.9 * next_value[0, end] if truncate else 0.0
    torch.testing.assert_close(found[0, end], reward[0, end] + bootstrap - value[0, end])
    # What happens after the end changes nothing before it.
    later = reward.clone()
    later[0, end + 1 :] += 100
    again = advantages(later, value, next_value, *ends, 0.9, 0.8)
    torch.testing.assert_close(found[0, : end + 1], again[0, : end + 1])


@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_running_moments_equal_those_of_all_data(sizes, seed):
    g = torch.Generator().manual_seed(seed)
    batches = [torch.randn(2, n, 3, generator=g) * 5 + 100 for n in sizes]
    moments = RunningMoments(2, 3)
    for batch in batches:
        moments.update(batch)
    everything = torch.cat(batches, 1).double()
    torch.testing.assert_close(moments.mean, everything.mean(1))
    torch.testing.assert_close(moments.variance, everything.var(1, correction=0))


def _population(lifetimes, num_envs, env_id="Reacher-v4", seed=0, name="", **kwargs):
    options = PPO(**{"num_updates": 4, "num_steps": 16, "num_minibatches": 4, "update_epochs": 2, **kwargs})
    return Population(options, env_id, {}, [], lifetimes, num_envs, seed, name)


@pytest.mark.parametrize("env_id", ["Reacher-v4", "gla/GridWorld-v0"])
def test_a_policy_snapshot_reproduces_the_recorded_distribution(env_id):
    population = _population(range(2), 3, env_id)
    for _ in range(3):
        policy = population.policy()
        rollout = population.collect()
        again = policy(torch.from_numpy(rollout.observation).flatten(1, 2)).view(2, 3, 16, -1)
        torch.testing.assert_close(again, torch.from_numpy(rollout.mean), rtol=1e-5, atol=1e-6)
        population.improve(rollout)


def test_lifetimes_do_not_touch_each_other():
    """One update of two lifetimes equals one update of each alone, given the same data and permutations."""
    single = {"update_epochs": 1, "num_minibatches": 1}  # a single minibatch: no permutation matters
    both = _population(range(2), 3, **single)
    rollout = both.collect()
    start = {n: p.detach().clone() for n, p in both.parameters.items()}
    observation = both._observation.reshape(2, 3, -1)
    both.improve(rollout)
    for k in range(2):
        alone = _population(range(1), 3, seed=1, **single)
        for n, p in alone.parameters.items():
            p.copy_(torch.stack([part[k] for part in start[n].split(2)]))
        alone._observation = observation[k].copy()
        alone.improve(type(rollout)(*(x[k : k + 1] for x in rollout)))
        for n, p in alone.parameters.items():
            mine = torch.stack([part[k] for part in both.parameters[n].detach().split(2)])
            torch.testing.assert_close(p.detach(), mine, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_for_each_lifetime_alone():
    population = _population(range(2), 1)
    for p in population.parameters.values():
        p.grad.fill_(1)
        for part in p.grad.split(2):
            part[1] *= 1e-6
    population._clip_gradients()
    norms = [
        sum(part[k].square().sum() for p in population.parameters.values() for part in p.grad.split(2)) for k in (0, 1)
    ]
    assert norms[0].sqrt() == pytest.approx(0.5, rel=1e-3)
    assert 0 < norms[1].sqrt() < 1e-3


def _reference_loss(population, w, obs, action, old_logprob, advantage, returns, old_value):
    """The loss as CleanRL writes it, from weights w (2K, ...), for autograd; (K,)."""
    ppo, k = population.ppo, population.k
    h = torch.tanh(torch.baddbmm(w["b0"], obs.repeat(2, 1, 1), w["w0"]))
    h = torch.tanh(torch.baddbmm(w["b1"], h, w["w1"]))
    output = torch.baddbmm(w["b2"], h, w["w2"])
    mean, value = output[:k], output[k:, :, 0]
    if population.spec.discrete:
        distribution = torch.distributions.Categorical(logits=mean)
        logprob, entropy = distribution.log_prob(action.argmax(-1)), distribution.entropy()
    else:
        distribution = torch.distributions.Normal(mean, w["log_std"][:k].exp().expand_as(mean))
        logprob, entropy = distribution.log_prob(action).sum(-1), distribution.entropy().sum(-1)
    ratio = (logprob - old_logprob).exp()
    std, centre = torch.std_mean(advantage, 1, keepdim=True)
    advantage = (advantage - centre) / (std + 1e-8)
    pg_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - ppo.clip, 1 + ppo.clip)).mean(1)
    clipped = old_value + (value - old_value).clamp(-ppo.clip, ppo.clip)
    v_loss = 0.5 * torch.max((value - returns).square(), (clipped - returns).square()).mean(1)
    return pg_loss - ppo.entropy_coefficient * entropy.mean(1) + ppo.value_coefficient * v_loss


@pytest.mark.parametrize("env_id", ["Reacher-v4", "gla/GridWorld-v0"])
@pytest.mark.parametrize("spread", [0.0, 0.3])  # 0: the first minibatch of an update, whose ratios are all 1
def test_the_written_out_gradient_is_that_of_the_loss(env_id, spread):
    population = _population(range(3), 2, env_id, entropy_coefficient=0.02)
    k, b, d, a = 3, 40, population.spec.observation_size, population.spec.action_size
    g = torch.Generator().manual_seed(1)
    for name in ("w2", "log_std"):  # as it begins, the policy's outputs hardly differ
        population.parameters[name][:k] += 0.3 * torch.randn(population.parameters[name][:k].shape, generator=g)
    x, action = torch.randn(k, b, d, generator=g), torch.randn(k, b, a, generator=g)
    if population.spec.discrete:
        action = torch.nn.functional.one_hot(action.argmax(-1), a).float()
    output = population._forward(x)[-1]
    old_logprob = population._log_prob(output[:k], action)[0] + spread * torch.randn(k, b, 1, generator=g)
    old_value = output[k:, :, :1] + spread * torch.randn(k, b, 1, generator=g)
    advantage, returns = (torch.randn(k, b, 1, generator=g) for _ in range(2))
    population._differentiate(x, action, old_logprob, advantage, returns, old_value)
    weights = {n: p.detach().double().requires_grad_() for n, p in population.parameters.items()}
    columns = (c.double().squeeze(-1) for c in (old_logprob, advantage, returns, old_value))
    loss = _reference_loss(population, weights, x.double(), action.double(), *columns)
    loss.sum().backward()
    for n, p in population.parameters.items():
        expected = weights[n].grad if weights[n].grad is not None else torch.zeros_like(weights[n])
        torch.testing.assert_close(p.grad.double(), expected, rtol=1e-4, atol=2e-6, msg=lambda m, n=n: f"{n}: {m}")
    unused = population.parameters["w2"].grad[k:, :, 1:], population.parameters["log_std"].grad[k:]
    assert not any(u.any() for u in unused)


def test_fast_tanh_is_tanh():
    x = torch.linspace(-30, 30, 10001)
    torch.testing.assert_close(tanh_(x.clone()), torch.tanh(x), rtol=0, atol=3e-7)
    assert (
        tanh_(torch.tensor([torch.inf, -torch.inf])).tolist() == [1.0, -1.0]
        and tanh_(torch.tensor([torch.nan])).isnan()
    )


def test_it_learns_the_grid_world():
    ppo = PPO(
        num_updates=30,
        num_steps=20,
        update_epochs=4,
        num_minibatches=4,
        learning_rate=3.0e-3,
        normalize_observations=False,
    )
    population = Population(ppo, "gla/GridWorld-v0", {"goal": [0, 2]}, [], range(4), 8, seed=0)
    tracker, returns = ReturnTracker(4, 8), []
    for _ in range(ppo.num_updates):
        rollout = population.collect()
        returns.append(tracker.add(rollout.reward, rollout.terminated | rollout.truncated))
        population.improve(rollout)
    assert all(np.mean(r) < 2 for r in returns[0])
    assert all(np.mean(r) > 4.5 for r in returns[-1])  # the optimum is 5


def test_return_tracker_carries_episodes_across_updates():
    tracker = ReturnTracker(1, 2)
    reward = np.ones((1, 2, 3))
    done = np.zeros((1, 2, 3), bool)
    assert tracker.add(reward, done) == [[]]
    done[0, 0, 1] = True
    assert tracker.add(reward, done) == [[5.0]]
    done[:] = False
    done[0, :, 0] = True
    assert tracker.add(reward, done) == [[2.0, 7.0]]


def test_categorical_samples_follow_their_logits():
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(20000, 3)
    drawn = sample_action(logits, None, torch.Generator().manual_seed(0))
    frequency = torch.bincount(drawn, minlength=3) / len(drawn)
    torch.testing.assert_close(frequency, torch.tensor([0.1, 0.2, 0.7]), atol=0.02, rtol=0)
    assert (sample_action(logits, None, torch.Generator(), temperature=0.0) == 2).all()


def test_a_number_that_goes_wrong_is_named(monkeypatch):
    population = _population(range(5, 7), 1, name="reacher")
    step = VectorEnv.step

    def broken(self, actions):
        result = step(self, actions)
        result.reward[1] = np.nan
        return result

    monkeypatch.setattr(VectorEnv, "step", broken)
    with pytest.raises(
        NumericalError, match="environment 'reacher', lifetime 6, update 0, copy 0, step 0: reward is not finite"
    ):
        population.collect()


def test_what_a_policy_puts_out_is_a_number():
    population = _population(range(5, 7), 1, "gla/GridWorld-v0", name="e")
    population.parameters["b2"][1] = torch.nan
    with pytest.raises(
        NumericalError, match="environment 'e', lifetime 6, update 0, copy 0, step 0: mean is not finite"
    ):
        population.collect()


def test_what_an_environment_raises_is_named():
    population = _population(range(5, 7), 2, name="reacher")
    population.envs.envs[3].unwrapped.step = lambda _: 1 // 0
    with pytest.raises(
        UnsupportedEnvironment, match="^environment 'reacher', lifetime 6, copy 1, step 0: ZeroDivisionError: "
    ):
        population.collect()


def test_lifetimes_go_round_the_tasks():
    tasks = [{"goal": [0, 2]}, {"goal": [2, 2]}]
    for lifetimes, expected in ((range(3), [0, 0, 1, 1, 0, 0]), (range(3, 5), [1, 1, 0, 0])):
        population = Population(PPO(num_updates=1), "gla/GridWorld-v0", {"start": [1, 1]}, tasks, lifetimes, 2, seed=0)
        assert [list(env.unwrapped.goal) for env in population.envs.envs] == [tasks[i]["goal"] for i in expected]
