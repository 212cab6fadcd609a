"""The steps that contexts are shown before an agent acts, and the histories that they come from."""

import numpy as np
import pytest
import torch

from gla import prompts
from gla.agent import TrainedAgent
from gla.conditions.kinds import runner
from gla.config.agents import Agent
from gla.config.environments import Environment
from gla.config.reading import load
from gla.in_context import InContext, run_agent
from gla.models.building import AgentModel
from gla.options import ConfigError
from gla.storage.collecting import collect
from gla.storage.reading import read

ROOM = Environment(id="gla/DarkRoom-v0", kwargs={"size": 3, "max_episode_steps": 5}, tasks={"task": [0, 3]})
CONFIG = {
    "environments": {"room": ROOM.model_dump()},
    "sources": {"room": {"environment": "room", "kind": "q_learning", "lifetimes": 6, "num_envs": 2, "num_updates": 4, "num_steps": 10}},
    "datasets": {"room": {"sources": ["room"], "encoding": {"kind": "tabular", "states": 9, "actions": 5}}},
    "agents": {"ad": {"dataset": "room", "windows": {"kind": "consecutive", "steps": 20}, "loss": "action_likelihood", "model": "lstm"}},
    "evaluations": {
        "room": {"environment": "room", "split": "training", "agents": ["ad"], "seeds": 7, "episodes": 2, "conditions": ["agent"],
                 "baselines": ["prompt", "source_curve"], "prompt": {"source": "room", "part": [0.0, 0.5], "steps": 10}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompts")
    pair = str(folder / "h.zarr"), str(folder / "d.json")
    collect(load(CONFIG).sources["room"], ROOM, "room", range(6), *pair)
    return [pair]


@pytest.fixture
def evaluation():
    return load(CONFIG).evaluations["room"]


def _agent(model="transformer", **changes):
    """An agent with random weights, whose outputs depend on what it sees."""
    options = {"kind": model, "layers": 2, "width": 16} | ({"heads": 2} if model == "transformer" else {}) | changes
    config = Agent.model_validate(CONFIG["agents"]["ad"] | {"model": options})
    manifest = {
        "encoding": CONFIG["datasets"]["room"]["encoding"] | {"permuted": False},
        "sources": {"room": {"observation_size": 9, "action_size": 5}},
    }
    from gla.encoding.making import encoding_of

    torch.manual_seed(0)
    network = AgentModel(config, encoding_of(manifest).sizes)
    for p in network.parameters():
        torch.nn.init.normal_(p, 0, 0.5)
    return TrainedAgent(network.eval(), config, manifest)


def test_each_seed_is_shown_a_lifetime_of_its_own_task(files, evaluation):
    shown, history = prompts.prompt(files, evaluation, 3), read(*files[0])
    assert shown.reward.shape == (7, 10) and shown.observation.shape == (7, 10, 9) and shown.done[:, -1].all()
    for seed in range(7):  # six lifetimes, and then the second copy of the first one
        lifetime, copy = seed % 6, seed // 6
        np.testing.assert_array_equal(shown.reward[seed], history.reward[lifetime, copy, 10:20])
        np.testing.assert_array_equal(shown.action[seed], history.action[lifetime, copy, 10:20])


def test_a_part_without_an_episodes_end_is_named(files, evaluation):
    short = evaluation.model_copy(
        update={"prompt": evaluation.prompt.model_copy(update={"part": [0.0, 0.1], "steps": 10})}
    )
    with pytest.raises(
        ConfigError, match=r"prompt: seed 0: no episode ends in part \[0.0, 0.1\] of a history of 40 steps of 'room'"
    ):
        prompts.prompt(files, short, 3)


@pytest.mark.parametrize("model", ["transformer", "lstm"])
def test_a_context_that_watched_is_as_one_that_acted(files, evaluation, model):
    """Whether the agent's own actions are fed back or the same ones are shown to it, it then does the same."""
    agent, spec = _agent(model), _spec()
    contexts = [InContext(agent, spec, evaluation, 20) for _ in range(2)]
    rng, observation = np.random.default_rng(0), np.eye(9, dtype=np.float32)[np.zeros(7, int)]
    for _ in range(6):
        action = contexts[0].act(observation)
        contexts[1].watch(observation, action)
        reward, done = rng.random(7), rng.random(7) < 0.3
        for context in contexts:
            context.observe(reward, done)
        observation = np.eye(9, dtype=np.float32)[rng.integers(0, 9, 7)]
    contexts[1].generator.set_state(contexts[0].generator.get_state())
    np.testing.assert_array_equal(contexts[0].act(observation), contexts[1].act(observation))


def _spec():
    from gla.environments.vector import stepped

    return stepped(ROOM.id, [ROOM.kwargs | {"task": 0}], 0, 1, None).spec


def test_an_agent_that_can_be_told_hears_that_an_expert_took_the_steps_of_a_prompt_and_not_its_own(files, evaluation):
    shown = prompts.prompt(files, evaluation, 3)
    for expert in (False, True):
        told = evaluation.model_copy(update={"prompt": evaluation.prompt.model_copy(update={"expert": expert})})
        for experts in (False, True):
            agent = _agent("value_iteration", experts=experts)
            context, heard = InContext(agent, _spec(), told, 20), []
            step = context.model.step
            context.model.step = lambda x, state, step=step, heard=heard: (
                heard.append(x[:, -1].tolist()) or step(x, state)
            )
            for t in range(3):
                context.watch(shown.observation[:, t], shown.action[:, t])
                context.observe(shown.reward[:, t], shown.done[:, t])
            context.act(shown.observation[:, 3])
            assert heard == [[float(expert and experts)] * told.seeds] * 3 + [[0.0] * told.seeds]


def test_a_prompt_changes_what_an_agent_does_and_its_rewards_can_be_hidden(files, evaluation):
    agent, shown = _agent(), prompts.prompt(files, evaluation, 3)
    found = {
        name: run_agent(agent, ROOM, evaluation, condition, "x", prompt).frame("a", "room", "agent")["episode_return"].tolist()
        for name, condition, prompt in (
            ("shown", "agent", shown), ("again", "agent", shown), ("empty", "agent", None), ("hidden", "rewards_hidden", shown),
            ("other", "rewards_hidden", shown._replace(reward=np.ones_like(shown.reward))),
        )
    }  # fmt: skip
    assert found["shown"] == found["again"] and found["hidden"] == found["other"]
    assert found["shown"] != found["empty"]


def test_baselines_are_what_was_shown_and_what_was_lived(files, evaluation):
    history = read(*files[0])
    (shown,), (lived,) = (runner(c).run(ROOM, evaluation, "x", files) for c in ("prompt", "source_curve"))
    frame = shown.frame("baseline", "room", "prompt")
    assert len(frame) == 14 and frame["episode_return"].iloc[0] == history.reward[0, 0, 10:15].sum()
    frame = lived.frame("baseline", "room", "source_curve")
    assert len(frame) == 14 and set(frame["episode"]) == {0, 1}  # no more than the evaluation asks for
    assert frame["episode_return"].tolist()[:2] == [history.reward[0, 0, :5].sum(), history.reward[0, 0, 5:10].sum()]


def _wrong(**changes):
    raw = CONFIG | {"evaluations": {"room": CONFIG["evaluations"]["room"] | changes}}
    with pytest.raises(ConfigError) as caught:
        load(raw)
    return str(caught.value)


def test_prompts_that_cannot_be_shown_are_named():
    assert "evaluations.room.baselines: prompt, but prompt is not given (expected a prompt)" in _wrong(prompt=None)
    assert "evaluations.room.prompt.source: 'nobody' is not defined" in _wrong(prompt={"source": "nobody"})
    assert (
        "evaluations.room.prompt.steps: 60 (expected at most 40, up to where part of the history of 'room' ends)"
        in _wrong(prompt={"source": "room"})
    )
    assert "part: [0.5, 0.5] (expected [low, high] with low < high)" in _wrong(
        prompt={"source": "room", "part": [0.5, 0.5]}
    )
    other = CONFIG | {"environments": CONFIG["environments"] | {"elsewhere": {"id": "gla/DarkRoom-v0"}}}
    other["evaluations"] = {"room": CONFIG["evaluations"]["room"] | {"environment": "elsewhere", "baselines": []}}
    with pytest.raises(ConfigError, match="'room' acts in 'room' .expected a source in 'elsewhere'"):
        load(other)


def test_histories_of_other_tasks_are_no_baseline():
    other = CONFIG | {"environments": {"room": ROOM.model_dump() | {"test_tasks": [{"task": 5}]}}}
    other["evaluations"] = {"room": CONFIG["evaluations"]["room"] | {"split": "test"}}
    with pytest.raises(ConfigError) as caught:
        load(other)
    assert (
        "source_curve, but no history of 'room' is of a task of split test (expected an environment of its own"
        in str(caught.value)
    )
    assert "prompt: 'room', but no history of 'room' is of a task of split test" in str(caught.value)
