"""The demo: its environments and agents do what Python's do, and a reader sees them learn from rewards, and from nothing else."""

import json
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from browsing import resize
from checkouts import ROOT

import gla
import gla.environments.making  # registers environments

sys.path.insert(0, str(ROOT / "docs"))
import demo

DEMO = ROOT / "docs/demo"
HERE = Path(__file__).parent


def _replay(**asked):
    done = subprocess.run(["node", HERE / "replay.mjs", DEMO], input=json.dumps(asked), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _same(told, env, actions):
    for (observation, reward), action in zip(told, actions, strict=True):
        own, own_reward, *_ = env.step(action)
        np.testing.assert_array_equal(np.float32(observation), own)
        assert reward == pytest.approx(own_reward, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_grid_is_pythons(seed):
    rng = np.random.default_rng(seed)
    start, goal = (list(divmod(int(cell), 3)) for cell in rng.choice(9, 2, replace=False))
    actions = rng.integers(4, size=200).tolist()
    env = gym.make("gla/GridWorld-v0", start=start, goal=goal).unwrapped
    env.reset()
    told = _replay(environment="GridWorld", start=start, goal=goal, actions=[[a] for a in actions])
    _same(told, env, actions)
    assert sum(reward for _, reward in told) > 0


@pytest.mark.parametrize("seed", range(5))
def test_the_plane_is_pythons(seed):
    rng = np.random.default_rng(seed)
    actions = rng.normal(0, 2, (200, 2))  # most are out of bounds, and most positions end at a wall
    env = gym.make("gla/PointMass-v0", angle=float(rng.uniform(0, 360))).unwrapped
    env.reset(seed=seed)
    told = _replay(
        environment="PointMass", goal=env.goal.tolist(), position=env.position.tolist(), actions=actions.tolist()
    )
    _same(told, env, actions)


@pytest.mark.parametrize("name", sorted(demo.AGENTS))
def test_an_agent_in_the_browser_is_pythons(name, site):
    """Given the same steps, its means and deviations are the same in every context, from the first step on."""
    agent, env_id, n = gla.load(name), demo.AGENTS[name], demo.CONTEXTS
    context = demo.context_of(agent, env_id)
    seen, outputs, rng, steps = context._see, [], np.random.default_rng(0), 60

    def see(*args):
        outputs.append(seen(*args))
        return outputs[-1]

    context._see = see
    envs = [gym.make(env_id) for _ in range(n)]
    observation = np.stack([env.reset(seed=i)[0] for i, env in enumerate(envs)])
    told = {"observations": [], "actions": [], "rewards": [], "ends": []}
    for _ in range(steps):
        actions = context.act(observation)
        outcomes = [env.step(action) for env, action in zip(envs, actions, strict=True)]
        rewards, ends = np.array([o[1] for o in outcomes]) + rng.normal(0, 0.1, n), np.array([o[3] for o in outcomes])
        context.observe(rewards, ends)
        for key, value in zip(told, (observation, actions.reshape(n, -1), rewards, ends), strict=True):
            told[key].append(value.tolist())
        observation = np.stack(
            [env.reset()[0] if end else o[0] for env, o, end in zip(envs, outcomes, ends, strict=True)]
        )
    assert any(map(any, told["ends"]))
    answered = _replay(model=str(site / f"demo/{name}.onnx"), **told)
    assert len(answered) == 2 * steps and answered[steps:] == answered[:steps]
    for t, output in enumerate(outputs):
        means, log_stds = (x.squeeze(1).numpy() for x in context.encoding.distribution(output, context.frames.a))
        found = [[one[key] for one in answered[t]] for key in ("mean", "logStd")]
        np.testing.assert_allclose(found[0], means, atol=2e-4)
        np.testing.assert_allclose(found[1], log_stds, atol=2e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_actions_are_drawn_as_pythons(temperature):
    n, mean, log_std = 40_000, [0.3, -0.4, 1.0], [-0.5, 0.0, 0.4]
    told = {"mean": mean, "logStd": log_std, "temperature": temperature, "draws": n}
    drawn = np.array(_replay(**told, discrete=True)).ravel()
    expected = np.exp(np.array(mean) / temperature)
    assert np.bincount(drawn, minlength=3) / n == pytest.approx(expected / expected.sum(), abs=0.01)
    drawn = np.array(_replay(**told, discrete=False))
    assert drawn.mean(0) == pytest.approx(mean, abs=0.03)
    assert drawn.std(0) == pytest.approx(temperature * np.exp(log_std), rel=0.02)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.02


def _finished(browser, episodes):
    """The mean returns by episode of a run, once it is over."""
    from selenium.webdriver.support.ui import WebDriverWait

    def over(page):
        means = json.loads(page.find_element("id", "demo-returns").get_dom_attribute("data-means") or "[]")
        return means if len(means) == episodes else None

    return WebDriverWait(browser, 120).until(over)


def _open(browser, address, task):
    from selenium.webdriver.support.ui import Select

    browser.get(f"{address}demo/?seed=1")
    Select(browser.find_element("id", "demo-pace")).select_by_visible_text("fastest")
    Select(browser.find_element("id", "demo-task")).select_by_value(task)


def _click(browser, x, y):
    """Clicks on the board, of which x and y are parts."""
    from selenium.webdriver import ActionChains

    board = browser.find_element("id", "demo-board")
    width, height = board.size["width"], board.size["height"]
    ActionChains(browser).move_to_element_with_offset(
        board, int((x - 0.5) * width), int((y - 0.5) * height)
    ).click().perform()


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize(
    "task, episodes, place, least", [("grid", 30, (0.83, 0.83), 2.0), ("point_mass", 20, (0.14, 0.5), 8.0)]
)
def test_a_reader_sees_it_learn_from_rewards_alone(task, episodes, place, least, width, browser, address, tmp_path):
    """A goal is set, and the return rises; rewards are hidden, and it does not."""
    resize(browser, width, 900)
    _open(browser, address, task)
    _finished(browser, episodes)
    _click(browser, *place)
    shown = _finished(browser, episodes)
    assert np.mean(shown[-5:]) - shown[0] > least
    browser.find_element("id", "demo-rewards").click()
    hidden = _finished(browser, episodes)
    assert abs(np.mean(hidden[-5:]) - np.mean(hidden[:5])) < least / 2
    assert np.mean(hidden[-5:]) < np.mean(shown[-5:]) - least
    assert "rewards hidden" in browser.find_element("id", "demo-status").text
    browser.execute_script("document.getElementById('demo').scrollIntoView()")
    browser.save_screenshot(str(tmp_path / f"{task}_{width}.png"))


def test_a_goal_on_the_start_is_refused(browser, address):
    _open(browser, address, "grid")
    _finished(browser, 30)
    returns = browser.find_element("id", "demo-returns")
    before = returns.get_dom_attribute("data-run")
    _click(browser, 0.5, 0.5)
    assert returns.get_dom_attribute("data-run") == before
    _click(browser, 0.5, 0.83)
    assert returns.get_dom_attribute("data-run") != before


def test_keys_move_the_goal_and_a_pause_holds_the_agents(browser, address):
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    _open(browser, address, "grid")
    _finished(browser, 30)
    browser.find_element("id", "demo-pause").click()
    board = browser.find_element("id", "demo-board")

    def at(*place):
        goal = board.find_element("css selector", ".goal")
        return [float(goal.get_dom_attribute(key)) for key in ("cx", "cy")] == [*place]

    wait = WebDriverWait(browser, 10, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda _: at(250, 50))
    board.send_keys(Keys.ARROW_DOWN)
    wait.until(lambda _: at(250, 150))
    board.send_keys(Keys.ARROW_LEFT)  # over the start, on which no goal may lie
    wait.until(lambda _: at(50, 150))
    returns = browser.find_element("id", "demo-returns")
    time.sleep(1)
    assert returns.get_dom_attribute("data-means") == "[]"
    browser.find_element("id", "demo-pause").click()
    assert _finished(browser, 30)[-1] > 1


def test_an_agent_that_cannot_be_loaded_is_said_and_another_still_can(browser, address):
    from selenium.webdriver.support.ui import Select

    _open(browser, address, "grid")
    _finished(browser, 30)
    browser.execute_script("window.fetched = fetch; fetch = () => Promise.reject(new Error('no network'))")
    task = Select(browser.find_element("id", "demo-task"))
    task.select_by_value("point_mass")
    assert browser.find_element("id", "demo-status").text == "The demo cannot go on here: no network"
    assert "no network" in browser.get_log("browser")[-1]["message"]
    browser.execute_script("fetch = window.fetched")
    task.select_by_value("grid")  # which is there already
    _finished(browser, 30)
