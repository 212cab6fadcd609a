"""How the process of a job ends, even if an environment has left threads in it."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, threading, time
from concurrent.futures import ThreadPoolExecutor
import gla.job
from gla.options import ConfigError
gla.job.LEFT = 0.3
with gla.job.job(1):
    print("written")
    {last}
{after}
"""
SIMULATOR = "threading.Thread(target=time.sleep, args=(1000,), name='simulator').start()"
SAID = "warning: the job is over, and threads are left: 'simulator' (expected none, or daemons); its process is ended\n"


def _ended(last, after=""):
    code = SCRIPT.format(last=last, after=after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "last, status, said",
    [
        (SIMULATOR, 0, SAID),
        (
            "ThreadPoolExecutor(thread_name_prefix='simulator').submit(time.sleep, 1000)",
            0,
            SAID.replace("simulator", "simulator_0"),
        ),
        (
            f"{SIMULATOR}; raise ConfigError('x: 1 (expected 2)')",
            1,
            f"error: x: 1 (expected 2) (GLA_DEBUG=1 shows where)\n{SAID}",
        ),
        ("ThreadPoolExecutor().submit(time.sleep, 0).result()", 0, ""),  # idle, as Zarr's is
        ("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()", 0, ""),
    ],
)
def test_threads_that_are_left_keep_no_finished_job_alive(last, status, said):
    assert _ended(last) == (status, "written\n", said)


def test_nothing_is_ended_that_goes_on_after_a_job():
    assert _ended(
        "go_on = threading.Event(); threading.Thread(target=go_on.wait).start()",
        "time.sleep(1); print('more'); go_on.set()",
    ) == (
        0,
        "written\nmore\n",
        "",
    )


def test_a_segmentation_fault_says_something():
    status, _, said = _ended("ctypes.string_at(0)")
    assert status < 0 and said.startswith("Fatal Python error: Segmentation fault")
