"""Snakemake without the seconds that it takes to import: a process that has imported it, and PyTorch, and forks for each call.

It has imported nothing of gla: a call sees the code of the checkout that it runs in.
"""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

LIMIT = 600  # seconds, after which a call is killed


@functools.cache
def _process() -> subprocess.Popen:
    """The one that forks. It ends when this process does."""
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def snakemake(folder: Path, *arguments: str) -> tuple[str, int]:
    """Output and exit status of ``python -m snakemake`` in a folder; -SIGALRM after LIMIT. For one thread."""
    output, process = folder / "output.txt", _process()
    process.stdin.write(json.dumps([str(folder), str(output), arguments]) + "\n")
    process.stdin.flush()
    status = int(process.stdout.readline())
    said = output.read_text()
    output.unlink()
    return said, status


def _call(folder: str, output: str, arguments: list[str]) -> None:
    """In a process of its own, which it ends. Modules are found in the folder's src, and in the folder."""
    signal.alarm(LIMIT)
    status = 1
    with contextlib.suppress(BaseException), open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.path[:1] = [f"{folder}/src", folder]  # in the place of this file's folder
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
        sys.argv = ["snakemake", *arguments]
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    import traceback

    # What it, and the check of a config, import only when they run.
    import gymnasium  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import mujoco  # noqa: F401
    import requests  # noqa: F401
    import snakemake.api
    import snakemake.persistence  # noqa: F401
    import torch  # noqa: F401
    from snakemake.cli import main, parse_args

    parse_args([])  # which imports plugins

    for line in sys.stdin:
        if (child := os.fork()) == 0:
            _call(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
