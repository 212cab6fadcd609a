"""Snakemake, and the jobs that it starts, without the seconds that each of them takes to import: a process that has imported PyTorch and
whatever else does not belong to this project, and that forks for each call and each job.

It has imported nothing of gla: a call and its jobs see the code of the checkout that they run in. Jobs are started by a program that
stands in the place of Python's, so that Snakemake starts them as ever. What kills jobs has to start Snakemake itself.
"""

import contextlib
import functools
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT = 1200  # seconds, after which a call is killed
LENGTH = 4  # bytes before a job that say how long it is

# What Snakemake starts for a job: it has the job forked, and ends as the job does. Whatever else is to be run, Python runs.
CLIENT = """#!{python} -IS
import os, socket, sys
if "/.snakemake/scripts/" not in sys.argv[1]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    job = repr((os.getcwd(), dict(os.environ), sys.argv[1:])).encode()
    socket.send_fds(server, [len(job).to_bytes({length}, "big")], [0, 1, 2])
    server.sendall(job)
    status = int(server.recv(16) or 1)
if status < 0:
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@functools.cache
def _process() -> subprocess.Popen:
    """The one that forks. It ends when this process does."""
    command, one = [sys.executable, __file__], dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = os.environ | one  # as Snakemake has it for a job of one thread
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def snakemake(folder: Path, *arguments: str) -> tuple[str, int]:
    """Output and exit status of ``python -m snakemake`` in a folder; -SIGALRM after LIMIT. For one thread."""
    output, process = folder / "output.txt", _process()
    process.stdin.write(json.dumps([str(folder), str(output), arguments]) + "\n")
    process.stdin.flush()
    status = int(process.stdout.readline())
    said = output.read_text()
    output.unlink()
    return said, status


def _call(client: str, folder: str, output: str, arguments: list[str]) -> None:
    """Runs in a separate process, and ends it. Modules are found in the folder's src, and in the folder."""
    signal.alarm(LIMIT)
    status = 1
    with contextlib.suppress(BaseException), open(output, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.path[:1] = [f"{folder}/src", folder]  # in the place of this file's folder
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
        sys.argv, sys.executable = ["snakemake", *arguments], client
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _job(connection: socket.socket) -> tuple[str, dict[str, str], list[str]]:
    """A job that is to be done: its folder, its environment and its arguments. Its standard streams take the place of this process's."""
    length, streams, _, _ = socket.recv_fds(connection, LENGTH, 3)
    with connection.makefile("rb") as file:
        job = ast.literal_eval(file.read(int.from_bytes(length, "big")).decode())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return job


def _do(folder: str, environment: dict[str, str], arguments: list[str]) -> None:
    """Runs a script like ``python SCRIPT``, but in the current process, which then ends normally."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [str(Path(arguments[0]).parent), *(path for path in paths if path)]
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


def _serve(folder: str) -> socket.socket | None:
    """Fork for each line of the standard input, which is a call, and for each connection, which is a job. Returns in the process of each
    job its connection, and when the input ends nothing.
    """
    address, client = f"{folder}/jobs", Path(folder) / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=address, length=LENGTH))
    client.chmod(0o700)
    listener, wait = socket.socket(socket.AF_UNIX), selectors.DefaultSelector()
    listener.bind(address)
    listener.listen()
    wait.register(sys.stdin, selectors.EVENT_READ)
    wait.register(listener, selectors.EVENT_READ)

    def forked(connection: socket.socket | None) -> bool:
        """Whether this is the new process. The old one answers when that has ended."""
        if child := os.fork():
            wait.register(os.pidfd_open(child), selectors.EVENT_READ, (child, connection))
            return False
        wait.close()
        listener.close()
        return True

    while True:
        for key, _ in wait.select():
            if key.data:
                child, connection = key.data
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                wait.unregister(key.fd)
                os.close(key.fd)
                if connection is None:
                    print(status, flush=True)
                else:
                    with connection, contextlib.suppress(BrokenPipeError):
                        connection.sendall(str(status).encode())
            elif key.fileobj is listener:
                connection = listener.accept()[0]
                if forked(connection):
                    return connection
            elif line := sys.stdin.readline():
                if forked(None):
                    _call(str(client), *json.loads(line))
            else:
                return None


if __name__ == "__main__":
    import ast
    import runpy
    import traceback

    # What calls and jobs import only when they run.
    import gymnasium  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import mujoco  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import requests  # noqa: F401
    import safetensors.torch  # noqa: F401
    import scipy.stats  # noqa: F401
    import snakemake.api
    import snakemake.persistence
    import snakemake.script  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import zarr  # noqa: F401
    from snakemake.cli import main, parse_args

    parse_args([])  # which imports plugins
    folder = tempfile.mkdtemp()
    if job := _serve(folder):
        _do(*_job(job))
    else:
        shutil.rmtree(folder)
