"""How a call that does not return is reported, and how it is ended."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from gla import watchdog
from gla.options import ConfigError


class _Call(watchdog.Wait):
    def __str__(self):
        return f"call {self.at}"


@pytest.fixture
def quick(monkeypatch):
    """Makes waits short, in a process that reacts to interruptions and goes on."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(watchdog, "ends", False)
    monkeypatch.setattr(watchdog, "EVERY", 0.02)
    monkeypatch.setattr(watchdog, "FIRST", 0.1)
    monkeypatch.setenv("GLA_STEP_SECONDS", "0.4")
    yield
    signal.signal(signal.SIGINT, previous)


def test_what_is_waited_for_is_said_and_then_interrupted(quick, capsys):
    call = _Call()
    with pytest.raises(KeyboardInterrupt), call:
        call.at = 3
        time.sleep(20)
    said = capsys.readouterr().err
    assert "call 3: waited for 0.1 s; given up after 0.4 s (GLA_STEP_SECONDS)" in said and "waited for 0.2 s" in said


def test_many_calls_that_return_are_no_wait(quick, capsys):
    call, start = _Call(), time.monotonic()
    while time.monotonic() - start < 1:
        with call:
            for call.at in range(3):
                time.sleep(0.01)
    time.sleep(0.6)  # and nothing is waited for between them
    assert capsys.readouterr().err == ""


def _ended(code):
    """What a process whose watchdog ends it writes when interruptions are ignored and a step may take half a second."""
    begin = "import signal\nfrom gla import watchdog\nwatchdog.ends, watchdog.EVERY = True, 0.02\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{begin}signal.signal(signal.SIGINT, signal.SIG_IGN)\n{textwrap.dedent(code)}"],
        env=os.environ | {"GLA_STEP_SECONDS": "0.5"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr


def test_a_job_that_heeds_no_interruption_is_ended_with_one_line():
    said = _ended("""
        import time
        class Call(watchdog.Wait):
            __str__ = lambda self: "the call"
        with Call():
            time.sleep(30)""")
    assert said == "error: the call: nothing was returned for 0.5 s (expected an answer within GLA_STEP_SECONDS)\n"


def test_a_check_that_heeds_no_interruption_names_the_key_of_the_config(tmp_path):
    """As in a script that starts the workflow with ``&``, where the shell has interruptions ignored."""
    said = _ended(f"""
        import time
        import gymnasium as gym
        from gla import preflight
        from gla.config.whole import Config
        class Sleeping(gym.Env):
            observation_space = action_space = gym.spaces.Box(-1, 1, (2,))
            reset = lambda self, **_: time.sleep(30)
        gym.register("Sleeping-v0", Sleeping)
        environments = dict(sleeping=dict(id="Sleeping-v0"))
        preflight.all_facts(Config(environments=environments), {str(tmp_path / "cache.json")!r})""")
    named = "environments.sleeping.id: environment 'Sleeping-v0', first reset"
    assert said == f"error: {named}: nothing was returned for 0.5 s (expected an answer within GLA_STEP_SECONDS)\n"


@pytest.mark.parametrize("value", ["", "soon", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_named(monkeypatch, value):
    monkeypatch.setenv("GLA_STEP_SECONDS", value)
    with pytest.raises(ConfigError, match=f"GLA_STEP_SECONDS: '{value}' .expected seconds"):
        watchdog.limit()
