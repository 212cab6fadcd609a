"""Faults, injected into the real thing, and what came of them.

Every item of ``ITEMS`` injects a number of faults and returns an ``Outcome``. The tests in this folder
assert on a few of each, and

    python tests/reliability/injections.py

injects all of them and writes docs/reliability.csv and the table in docs/reliability.md; words after it choose items
by their names and keep the other rows.

Jobs run in processes of their own, each with the current folder as its folder of results, as
Snakemake's do. They are forked from a server that has imported the package, so that starting one takes no time.
"""

import contextlib
import csv
import ctypes
import gc
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import gymnasium as gym
import numpy as np
import torch
import yaml
import zarr

from gla import agent, files, in_context, manifests, rows, train
from gla.config.agents import Agent
from gla.config.datasets import Dataset
from gla.config.environments import Environment
from gla.config.evaluations import Evaluation
from gla.config.reading import load
from gla.encoding import projected
from gla.figures import drawing
from gla.figures.in_context import Options as Figure
from gla.figures.panels import Panel
from gla.job import job
from gla.models import transformer
from gla.sources import ppo
from gla.storage import collecting, reading
from gla.trainers import distillation
from gla.verify import verify
from gla.windows import across_updates, batches

os.environ["OMP_NUM_THREADS"] = "1"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "gla.train",
        "gla.in_context",
        "gla.figures.drawing",
        "gla.figures.in_context",
        "gla.verify",
        "torch.utils.tensorboard",
    ]
)


class Outcome(NamedTuple):
    """injected: faults. noticed: those that the project reported, by name or by a failed job. lost: results that
    differ from an undisturbed run's, and finished files that were damaged."""

    injected: int
    noticed: int
    lost: int


# The stages, on a grid world. A lifetime's updates and the agent's steps are as many as a kill needs to hit.

GRID = Environment(id="gla/GridWorld-v0")
LEARNER = ppo.Options(
    environment="grid", lifetimes=4, num_envs=2, num_updates=12, num_steps=20, update_epochs=2, num_minibatches=2,
    normalize_observations=False,
)  # fmt: skip
DATASET = Dataset(sources=["grid"], encoding=projected.Options(train=64, validation=8))
AGENT = Agent(
    dataset="grid", windows=across_updates.Options(gap=2, chunks=2, chunk_steps=10), model=transformer.Options(layers=1, width=16, heads=2),
    training=distillation.Options(steps=24, batch_size=8, warmup=5, evaluate_every=4, precision="float32"),
)  # fmt: skip
EVALUATION = Evaluation(environment="grid", agents=["agent"], seeds=8, episodes=10)
FIGURE = Figure(kind="in_context", panels=[Panel(evaluation="grid")])
CODE = {"gla.models.transformer": "the hash of its syntax tree"}  # see gla.code
STORE = "histories/grid/0-3/history.zarr", "histories/grid/0-3.json"
MANIFEST = "manifests/grid.csv", "manifests/grid.json"


def _collect() -> None:
    collecting.collect(LEARNER, GRID, "grid", range(4), *STORE)


def _manifest() -> None:
    manifests.write_manifest(DATASET, [STORE], *MANIFEST)


def _train() -> None:
    train.train(AGENT, "agent", CODE, *MANIFEST, "agents/agent", "training/agent")


def _evaluate() -> None:
    found = in_context.run_agent(agent.load("agents/agent"), GRID, EVALUATION, "agent", "evaluate grid agent")
    rows.write_rows(found.frame("agent", "grid", "agent"), "rollouts/grid/agent/agent.parquet")


def _draw() -> None:
    inputs = {"rollouts": [["rollouts/grid/agent/agent.parquet"]], "optimal": [None], "tasks": [1]}
    drawing.tabulate(FIGURE, inputs, "figures/figure.csv")
    drawing.plot(FIGURE, "figures/figure.csv", ["figures/figure.pdf", "figures/figure.png"])


# Each stage, and the folders that it writes.
STAGES: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "collect": (_collect, ("histories",)),
    "manifest": (_manifest, ("manifests",)),
    "train": (_train, ("agents", "training")),
    "evaluate": (_evaluate, ("rollouts",)),
    "draw": (_draw, ("figures",)),
}
LONG = ("collect", "train", "evaluate")


# Processes


def _die_at_write(number: int) -> None:
    """Kill this process when it is about to open for writing, rename, remove or make its n-th file."""
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        writes = event in ("os.rename", "os.remove", "os.mkdir", "shutil.rmtree")
        if event == "open" and isinstance(arguments[0], str | Path) and isinstance(arguments[2], int):
            writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR)) and not str(arguments[0]).startswith("/dev")
        seen += writes
        if writes and seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _main(work: Callable[[], None], folder: Path, said: Path, before: Callable[[], None] | None) -> None:
    gc.freeze()  # what was imported before the fork is shared, until it is looked through
    torch.set_num_threads(1)
    os.chdir(folder)
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if before:
        before()
    with job(1):
        work()


class Job:
    """One process that does ``work`` in ``folder``; ``said`` is what it wrote to its standard error."""

    def __init__(self, work: Callable[[], None], folder: Path, before: Callable[[], None] | None = None):
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        self._said = Path(name)
        self.process = CONTEXT.Process(target=_main, args=(work, folder, self._said, before))
        self.process.start()

    def send(self, number: signal.Signals) -> bool:
        """Send a signal, unless the process has ended, which can happen just before this is called."""
        try:
            os.kill(self.process.pid, number)
        except ProcessLookupError:  # the fork server has reaped it already
            return False
        return True

    def end(self, timeout: float = 600) -> int:
        """The exit status; minus a signal's number where one ended it."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            raise TimeoutError(f"a job did not end in {timeout} s: {self._said.read_text()}")
        self.said = self._said.read_text(errors="replace")
        self._said.unlink()
        return self.process.exitcode

    def error(self) -> str:
        """The one line of a job's own error; empty where it had none, or a traceback."""
        lines = [line for line in self.said.splitlines() if line.startswith("error: ")]
        return "" if "Traceback" in self.said or len(lines) != 1 else lines[0]


class DieAtWrite:
    """``_die_at_write`` that can be sent to another process."""

    def __init__(self, number: int):
        self.number = number

    def __call__(self) -> None:
        _die_at_write(self.number)


def _do(work: Callable[[], None], folder: Path) -> float:
    """Run a job that must succeed. Returns its seconds."""
    start, running = time.monotonic(), Job(work, folder)
    if running.end():
        raise RuntimeError(running.said)
    return time.monotonic() - start


def _nothing() -> None:
    pass


# Folders


class Tree:
    """A folder in which every stage is finished, undisturbed, and how long each took."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        _do(_nothing, folder)  # starts the server, which takes seconds
        self.seconds = {name: _do(work, folder) for name, (work, _) in STAGES.items()}
        self.files = content(folder)

    def before(self, stage: str, folder: Path) -> Path:
        """A copy in which all before ``stage`` is finished, and nothing else is there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, (_, written) in STAGES.items():
            if name == stage:
                return folder
            for part in written:
                shutil.copytree(self.folder / part, folder / part)
        raise KeyError(stage)

    def after(self, stage: str) -> dict[str, bytes]:
        """Files, and their content, when all up to ``stage`` is finished."""
        names = list(STAGES)
        parts = [p for name in names[: names.index(stage) + 1] for p in STAGES[name][1]]
        return {path: data for path, data in self.files.items() if path.split("/")[0] in parts}


def content(folder: Path) -> dict[str, bytes]:
    """Returns every file below a folder, including hashes and files that were left behind, except TensorBoard's logs."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and "tensorboard" not in p.parts]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def problems(folder: Path) -> list[str]:
    """Returns the lines of ``verify``, without its progress."""
    with contextlib.redirect_stderr(io.StringIO()):
        return verify(folder)


def half_written(folder: Path, finished: dict[str, bytes]) -> int:
    """Files of an interrupted stage that look finished and are not, and files that were finished before and changed."""
    there = content(folder)
    harmed = sum(there.get(name) != data for name, data in finished.items())
    return harmed + sum(": missing (" not in problem for problem in problems(folder))


# Kills


def killed(tree: Tree, folder: Path, stage: str, number: signal.Signals, count: int, seed: int = 0) -> Outcome:
    """Kill a stage at random moments, starting it again each time, and let it finish in the end."""
    work, rng = STAGES[stage][0], random.Random(f"{stage} {number} {seed}")
    finished, wanted = content(tree.before(stage, folder)), tree.after(stage)
    done = noticed = lost = 0
    while done < count:
        running = Job(work, folder)
        running.process.join(rng.uniform(0, 1.1 * tree.seconds[stage]))
        alive = running.process.is_alive() and running.send(number)
        if status := running.end():
            if not alive:
                raise RuntimeError(f"{stage} failed by itself, with status {status}: {running.said}")
            done, noticed = done + 1, noticed + 1
            lost += half_written(folder, finished)
        else:
            lost += content(folder) != wanted
            tree.before(stage, folder)
    _do(work, folder)
    return Outcome(done, noticed, lost + (content(folder) != wanted))


def killed_at_writes(tree: Tree, folder: Path, stage: str, count: int, seed: int = 0) -> Outcome:
    """Kill a stage at every k-th of its writes: before a file is opened, renamed or removed."""
    work, rng = STAGES[stage][0], random.Random(f"{stage} {seed}")
    finished, wanted = content(tree.before(stage, folder)), tree.after(stage)
    outcomes, number = [], 0
    most = {"collect": 260, "manifest": 12, "train": 90, "evaluate": 8, "draw": 30}[stage]
    for number in sorted(rng.sample(range(1, most), min(count, most - 1))):
        tree.before(stage, folder)
        running = Job(work, folder, DieAtWrite(number))
        if running.end() == 0:
            break  # it has fewer writes than that
        lost = half_written(folder, finished)
        _do(work, folder)
        outcomes.append(Outcome(1, running.process.exitcode == -signal.SIGKILL, lost + (content(folder) != wanted)))
    return Outcome(*(sum(x) for x in zip(*outcomes, strict=True)))


# Damage


def _flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def _cut(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def _delete(path: Path, _rng: random.Random) -> None:
    path.unlink()


def stopped(tree: Tree, folder: Path) -> Path:
    """A copy of a finished tree whose agent is trained only half: a checkpoint is there."""
    tree.before("train", folder)
    for _ in range(20):
        running = Job(_train, folder)
        while running.process.is_alive() and not (folder / "training/agent/checkpoint.pt").exists():
            time.sleep(0.005)
        running.send(signal.SIGTERM)
        if running.end():
            break
        shutil.rmtree(folder / "agents")
    for part in ("agents", "rollouts", "figures"):
        shutil.copytree(tree.folder / part, folder / part, dirs_exist_ok=True)
    return folder


def damaged(
    tree: Tree, folder: Path, damage: Callable[[Path, random.Random], None], count: int, seed: int = 0
) -> Outcome:
    """Flip a bit of, cut off or delete a random file, and ask ``verify`` for the one that it is."""
    stopped(tree, folder)
    rng, noticed, lost = random.Random(f"{damage.__name__} {seed}"), 0, 0
    paths = [folder / name for name, data in content(folder).items() if data]
    assert problems(folder) == [] and any(p.name == "checkpoint.pt" for p in paths)
    for _ in range(count):
        path = rng.choice(paths)
        data = path.read_bytes()
        damage(path, rng)
        found = problems(folder)
        # A hash that says another place is as that of a copy: what is named then is the file beside it.
        whose = path.with_name(path.name.removeprefix(".").removesuffix(".sha256"))
        noticed += bool(found) and all(str(path) in line or str(whose) in line for line in found)
        path.write_bytes(data)
    lost += problems(folder) != []
    return Outcome(count, noticed, lost)


# Disks


CLONE_NEWNS = 0x20000


def _mounts(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True)


def can_mount() -> bool:
    """Whether a process may mount a file system that it alone sees."""
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


class OnDisk:
    """Work that a job does on a file system of its own, in which all before a stage is finished.

    ``limit`` is what is asked of the mount before the stage runs (``size=...`` or ``ro``) and taken back after it
    has failed. Prints an error line, then three numbers: half-written files, and whether the end differs.
    """

    def __init__(self, stage: str, source: Path, tree: Tree, limit: str):
        self.stage, self.source, self.limit = stage, source, limit
        self.wanted = tree.after(stage)

    def __call__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        here = Path.cwd()
        _mounts("mount --make-rprivate /", f"mount -t tmpfs -o size=64m tmpfs {here}")
        os.chdir(shutil.copytree(self.source, here / "results"))
        finished = content(Path())
        disk = os.statvfs(here)
        used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        limit = self.limit if self.limit == "ro" else f"size={used + int(self.limit)}"
        _mounts(f"mount -o remount,{limit} {here}")
        message, work = "", STAGES[self.stage][0]
        try:
            with job(1):
                work()
        except SystemExit as error:
            message = str(error.code)
        harmed = half_written(Path(), finished)
        _mounts(f"mount -o remount,rw,size=64m {here}")
        work()
        print(
            "\nOUTCOME",
            message.startswith("error: "),
            harmed,
            content(Path()) != self.wanted,
            repr(message),
            file=sys.stderr,
        )


def _on_disk(tree: Tree, folder: Path, stage: str, limits: list[str], expected: str) -> Outcome:
    source, mount = tree.before(stage, folder / "source"), folder / "mount"
    mount.mkdir(exist_ok=True)
    done = noticed = lost = 0
    for limit in limits:
        running = Job(OnDisk(stage, source, tree, limit), mount)
        if running.end():
            raise RuntimeError(running.said)
        told, harmed, differs, message = running.said.split("\nOUTCOME ")[1].split(" ", 3)
        if message.strip() == "''" and limit != "ro":
            continue  # there was room enough
        done += 1
        noticed += told == "True" and expected in message
        lost += int(harmed) + (differs == "True")
    return Outcome(done, noticed, lost)


def full_disk(tree: Tree, folder: Path, stage: str, count: int, seed: int = 0) -> Outcome:
    """Run a stage where the disk has room for a random part of what it writes, then again with room."""
    size = sum(len(data) for name, data in tree.after(stage).items() if name.split("/")[0] in STAGES[stage][1])
    rng = random.Random(f"{stage} {seed}")
    return _on_disk(tree, folder, stage, [str(rng.randrange(0, size)) for _ in range(count)], "No space left on device")


def read_only(tree: Tree, folder: Path, stage: str) -> Outcome:
    """Run a stage where nothing can be written, then where it can."""
    return _on_disk(tree, folder, stage, ["ro"], "Read-only file system")


def at_once(tree: Tree, folder: Path, stage: str, count: int) -> Outcome:
    """Start a stage twice at the same time, on one output. noticed: pairs of which one was refused."""
    work, noticed, lost = STAGES[stage][0], 0, 0
    for _ in range(count):
        tree.before(stage, folder)
        pair = [Job(work, folder), Job(work, folder)]
        statuses = [p.end() for p in pair]
        noticed += any(
            status and "another process is writing it" in p.error() for p, status in zip(pair, statuses, strict=True)
        )
        lost += 0 not in statuses or content(folder) != tree.after(stage)
    return Outcome(count, noticed, lost)


# Old checkpoints


CHANGES: dict[str, str] = {
    "the agent's learning rate": "agent", "the dataset's projections": "manifest", "a line of the model's code": "code",
}  # fmt: skip


class Changed:
    """Training after something that decides its result was changed, in place of ``_train``."""

    def __init__(self, kind: str):
        self.kind = kind

    def __call__(self) -> None:
        entry = AGENT
        if self.kind == "agent":
            entry = AGENT.model_copy(update={"training": AGENT.training.model_copy(update={"learning_rate": 1.0e-3})})
        if self.kind == "manifest":
            other = DATASET.model_copy(update={"encoding": projected.Options(train=63, validation=8)})
            manifests.write_manifest(other, [STORE], *MANIFEST)
        own = dict.fromkeys(CODE, "another") if self.kind == "code" else CODE
        train.train(entry, "agent", own, *MANIFEST, "agents/agent", "training/agent")


def old_checkpoints(tree: Tree, folder: Path) -> Outcome:
    """Stop training, change what it depends on, and start it again: it must end as if it had never begun before."""
    noticed = lost = 0
    for kind in CHANGES.values():
        stopped(tree, folder)
        shutil.rmtree(folder / "agents")
        assert (folder / "training/agent/checkpoint.pt").exists()
        _do(Changed(kind), folder)
        continued = content(folder / "agents")
        tree.before("train", folder)
        _do(Changed(kind), folder)
        noticed += continued == content(folder / "agents")
        lost += continued != content(folder / "agents")
    return Outcome(len(CHANGES), noticed, lost)


# Numbers


class Faulty(gym.Env):
    """Ten steps of nothing, but for one number in one step of the copies that have ``wrong``."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(2)

    def __init__(self, where: str = "", at: int = 0, value: float = 0.0):
        self.where, self.at, self.value, self.count = where, at, value, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.count += 1
        wrong = self.count == self.at + 1
        observation = np.full(3, self.value if wrong and self.where == "observation" else 0.1, np.float32)
        return observation, self.value if wrong and self.where == "reward" else 0.0, False, False, {}


class WrongNumber:
    """A stage that meets a number that is not finite, at step 13 of the second lifetime or seed."""

    def __init__(self, stage: str, where: str, value: float):
        self.stage, self.where, self.value = stage, where, value

    def __call__(self) -> None:
        gym.register("Faulty-v0", Faulty, max_episode_steps=10)
        tasks = [{}, {"where": self.where, "at": 13, "value": self.value}]
        entry = Environment(id="Faulty-v0", tasks=tasks)
        if self.stage == "collect":
            source = LEARNER.model_copy(update={"environment": "faulty", "num_envs": 1})
            collecting.collect(
                source, entry, "faulty", range(4), "histories/faulty/0-3/history.zarr", "histories/faulty/0-3.json"
            )
        elif self.stage == "evaluate":
            in_context.run_agent(agent.load("agents/agent"), entry, EVALUATION, "agent", "evaluate faulty agent")
        elif self.stage == "weights":
            settings = ppo.Options.ppo  # no config may have a step size at which weights overflow
            ppo.Options.ppo = lambda options: settings(options).model_copy(update={"learning_rate": self.value})
            collecting.collect(LEARNER, GRID, "grid", range(4), "histories/x/0-3/history.zarr", "histories/x/0-3.json")
        else:
            original = batches.Windows.batch

            def batch(windows, index, size, *curriculum):
                """Returns data such as a store from another program may hold."""
                found = original(windows, index, size, *curriculum)
                if index == 9 and windows.split == "train":
                    changed = found.target[0] if self.where == "target" else getattr(found, self.where)
                    changed[0, 3] = self.value
                return found

            batches.Windows.batch = batch
            _train()


NUMBERS = [
    *[(s, w, v) for s in ("collect", "evaluate") for w in ("observation", "reward") for v in (np.nan, np.inf, -np.inf)],
    ("collect", "reward", 1e300), ("evaluate", "reward", 1e300), ("weights", "learning_rate", 1e38),
    *[("train", w, v) for w in ("observation", "reward", "target") for v in (np.nan, np.inf)],
]  # fmt: skip
NAMES = {
    "collect": ("collect:", "'faulty'", "lifetime 1,", "step 13"), "weights": ("collect:", "'grid'", "lifetime ", "update "),
    "evaluate": ("evaluate ", "'Faulty-v0'", "seed 1,", "step 13"), "train": ("train:", "'agent'", "step 9:"),
}  # fmt: skip


def wrong_numbers(tree: Tree, folder: Path, count: int = len(NUMBERS)) -> Outcome:
    """Let a number stop being finite. noticed: the job's error names where; lost: other files changed, or no checkpoint stayed."""
    noticed = lost = 0
    for stage, where, value in NUMBERS[:: max(1, len(NUMBERS) // count)]:
        finished = content(tree.before("train" if stage == "train" else "draw", folder))
        running = Job(WrongNumber(stage, where, value), folder)
        status = running.end()
        names = NAMES[stage]
        if (stage, where) == ("collect", "observation"):
            names = (*names[:3], "step 14")  # what step 13 returns is acted on in the next
        told = status == 1 and all(name in running.error() for name in names)
        if not told:
            print(f"not told of {stage} {where} {value}: status {status}, {running.said[-2000:]}", file=sys.stderr)
        noticed += told
        lost += half_written(folder, finished)
        lost += stage == "train" and not (folder / "training/agent/checkpoint.pt").exists()
    return Outcome(len(NUMBERS[:: max(1, len(NUMBERS) // count)]), noticed, lost)


# Hostile files


class Owned:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        return os.system, ("touch owned",)


def _rehash(path: Path) -> None:
    """Writes the hash of a hostile file, as its author could."""
    files.hash_file(path).write_text(f"{files.sha256(path)}  {path.name}\n")


def _describe(**changes) -> None:
    """An agent's description with some of its model's sizes changed, and the hash of the weights that are there."""
    path = Path("agents/agent/agent.json")
    body = json.loads(path.read_text())
    body["config"]["model"] |= changes
    body["weights"]["sha256"] = files.sha256("agents/agent/weights.safetensors")
    path.write_text(json.dumps(body))
    _rehash(path)
    _rehash(path.with_name("weights.safetensors"))


def _digest(**changes) -> None:
    """A store's digest that fits the store as it is."""
    body = files.read_json(STORE[1])
    body["files"] = {
        p.relative_to(STORE[0]).as_posix(): files.sha256(p) for p in Path(STORE[0]).rglob("*") if p.is_file()
    }
    body = {k: v for k, v in (body | changes).items() if k != "content"}
    files.write_json(STORE[1], body | {"content": files.fingerprint(body)})


def _weights(header: bytes, length: int | None = None) -> None:
    Path("agents/agent/weights.safetensors").write_bytes(
        (length or len(header)).to_bytes(8, "little") + header + bytes(64)
    )
    _describe()


def _checkpoint_that_runs_a_command() -> None:
    path = Path("training/agent/checkpoint.pt")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"fingerprint": Owned()}, path)
    _rehash(path)


def _header_of_ten_terabytes() -> None:
    _weights(b"{}", 10**13)


def _tensor_of_ten_terabytes() -> None:
    _weights(
        json.dumps({"head.weight": {"dtype": "F32", "shape": [25 * 10**11], "data_offsets": [0, 10**13]}}).encode()
    )


def _model_of_ten_terabytes() -> None:
    _describe(width=2 * 10**6)


def _model_of_a_billion_layers() -> None:
    _describe(layers=10**9)


def _description_ten_thousand_deep() -> None:
    path = Path("agents/agent/agent.json")
    path.write_text("[" * 10_000 + "]" * 10_000)
    _rehash(path)


def _array_of_ten_terabytes() -> None:
    path = Path(STORE[0]) / "mean_return/zarr.json"
    body = json.loads(path.read_text())
    body["shape"] = [25 * 10**5, 10**6]
    path.write_text(json.dumps(body))
    _digest()


def _chunk_of_ten_terabytes() -> None:
    path = Path(STORE[0]) / "mean_return/zarr.json"
    body = json.loads(path.read_text())
    body["chunk_grid"]["configuration"]["chunk_shape"] = [25 * 10**5, 10**6]
    path.write_text(json.dumps(body))
    _digest()


def _file_list_that_climbs_out() -> None:
    Path("histories/secret").write_text("secret")
    body = files.read_json(STORE[1])
    _digest(files=body["files"] | {"../../../secret": files.sha256("histories/secret")})


def _link_that_climbs_out() -> None:
    path = Path(STORE[0]) / "reward/c/0/0/0"
    path.rename("histories/elsewhere")
    path.symlink_to(Path("histories/elsewhere").absolute())


def _store_of_pickles() -> None:
    """Zarr's format 2 has a codec that unpickles."""
    shutil.rmtree(STORE[0])
    group = zarr.open_group(STORE[0], mode="w", zarr_format=2)
    array = group.create_array("reward", shape=(1,), dtype="float32")
    array[...] = 0
    (Path(STORE[0]) / "reward/0").write_bytes(pickle.dumps(Owned()))
    path = Path(STORE[0]) / "reward/.zarray"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"filters": [{"id": "pickle", "protocol": 5}], "compressor": None})
    )
    _digest()


def _config_ten_thousand_deep() -> None:
    Path("config.yaml").write_text(json.dumps({"environments": {"grid": {"id": "x", "kwargs": {"a": "DEEP"}}}}))


def _bomb() -> None:
    lines = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 11))]
    Path("config.yaml").write_text(
        "environments: {grid: {id: x, kwargs: {a: *a10}}}\n".join(["\n".join(lines) + "\n", ""])
    )


def _read_store() -> None:
    reading.read(*STORE)


def _load_agent() -> None:
    agent.load("agents/agent")


def _train_a_step() -> None:
    training = AGENT.training.model_copy(update={"steps": 1})
    train.train(
        AGENT.model_copy(update={"training": training}), "agent", CODE, *MANIFEST, "agents/other", "training/agent"
    )


def _load_config() -> None:
    raw = yaml.safe_load(Path("config.yaml").read_text())
    if raw["environments"]["grid"]["kwargs"] == {"a": "DEEP"}:  # PyYAML itself gives up on such a file
        inner: list = []
        for _ in range(10_000):
            inner = [inner]
        raw["environments"]["grid"]["kwargs"] = {"a": inner}
    load(raw)


# Each: what makes the file, who reads it, and what the error must name.
HOSTILE: list[tuple[Callable[[], None], Callable[[], None], str]] = [
    (_checkpoint_that_runs_a_command, _train_a_step, "training/agent/checkpoint.pt: not readable"),
    (_header_of_ten_terabytes, _load_agent, "agents/agent/weights.safetensors"),
    (_tensor_of_ten_terabytes, _load_agent, "agents/agent/weights.safetensors"),
    (_model_of_ten_terabytes, _load_agent, "agents/agent/weights.safetensors"),
    (_model_of_a_billion_layers, _load_agent, "agents/agent/weights.safetensors"),
    (_description_ten_thousand_deep, _load_agent, "agents/agent/agent.json"),
    (_array_of_ten_terabytes, _read_store, "history.zarr/mean_return"),
    (_chunk_of_ten_terabytes, _read_store, "history.zarr/mean_return"),
    (_file_list_that_climbs_out, _read_store, "secret"),
    (_link_that_climbs_out, _read_store, "history.zarr/reward/c/0/0/0"),
    (_store_of_pickles, _read_store, "history.zarr"),
    (_config_ten_thousand_deep, _load_config, "environments.grid.kwargs: nested more than"),
    (_bomb, _load_config, "environments.grid.kwargs: more than"),
]
SECONDS, MEGABYTES = 1.0, 500


class Limited:
    """Runs ``work`` with at most ``MEGABYTES`` of memory more than the process has, and says how long it computed."""

    def __init__(self, make: Callable[[], None], work: Callable[[], None]):
        self.make, self.work = make, work

    def __call__(self) -> None:
        self.make()
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MEGABYTES * 10**6,) * 2)
        start = time.process_time()  # other work on the machine is no part of it
        try:
            self.work()
        finally:
            print(f"\nSECONDS {time.process_time() - start}", file=sys.stderr)


def hostile(tree: Tree, folder: Path) -> Outcome:
    """Read files that mean harm. noticed: refused by name within a second and 500 MB; lost: a command of theirs ran."""
    noticed = lost = 0
    for make, work, named in HOSTILE:
        tree.before("evaluate", folder)
        running = Job(Limited(make, work), folder)
        status = running.end()
        said = running.said if make is _checkpoint_that_runs_a_command else running.error()
        seconds = float(running.said.split("\nSECONDS ")[-1].split()[0]) if "SECONDS" in running.said else float("inf")
        # A checkpoint is no reason to fail: training starts afresh, which takes its time.
        fine = named in said and (
            status == 1 and seconds < SECONDS or make is _checkpoint_that_runs_a_command and status == 0
        )
        if not fine:
            print(f"{make.__name__}: status {status}, {seconds} s, {running.said[-1500:]}", file=sys.stderr)
        noticed += fine
        lost += (folder / "owned").exists()
    return Outcome(len(HOSTILE), noticed, lost)


# Configs


def bad_configs() -> Outcome:
    """Every mistake that the tests of the config list. noticed: refused in one line."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
    import test_config
    import test_preflight

    injected = noticed = 0
    for module in (test_config, test_preflight):
        test = module.test_a_fault_is_one_line_with_key_value_and_what_was_expected
        for arguments in test.pytestmark[0].args[1]:
            injected += 1
            with tempfile.TemporaryDirectory() as folder, contextlib.suppress(AssertionError):
                test(*([Path(folder) / "cache.json"] if module is test_preflight else []), *arguments)
                noticed += 1
    return Outcome(injected, noticed, 0)


# Repairs


def repairs(folder: Path) -> Outcome:
    """Damage and delete a file of each kind in a finished run, and obey what is said of it, as the workflow's tests do.

    noticed: the message was right, and `snakemake all` then ended well; lost: not with the same bytes.
    """
    found, tests = folder.with_suffix(".xml"), Path(__file__).parents[1] / "workflow/test_workflow.py"
    names = "test_a_repair_that_a_message_orders or test_what_is_deleted_is_made_anew"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "slow or not slow",
        "-k",
        names,
        f"--junitxml={found}",
        str(tests),
    ]
    subprocess.run(command, cwd=tests.parents[2], check=False)
    (suite,) = ElementTree.parse(found).getroot()
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    return Outcome(int(suite.get("tests")), int(suite.get("tests")) - failed, failed)


# The table


def _items(tree: Tree, folder: Path) -> dict[str, Callable[[], Outcome]]:
    import configs  # these import this module
    import environments
    import hostile as forged

    items: dict[str, Callable[[], Outcome]] = {
        "a bit flipped": lambda: damaged(tree, folder, _flip, 200),
        "a file cut off": lambda: damaged(tree, folder, _cut, 200),
        "a file deleted": lambda: damaged(tree, folder, _delete, 200),
    }
    for stage in LONG:
        for number in (signal.SIGKILL, signal.SIGTERM):
            items[f"{stage}: {number.name} at a random moment"] = lambda s=stage, n=number: killed(
                tree, folder, s, n, 25
            )
    for stage in STAGES:
        items[f"{stage}: SIGKILL at a write"] = lambda s=stage: killed_at_writes(tree, folder, s, 12)
    for stage in STAGES:
        items[f"{stage}: the disk full"] = lambda s=stage: full_disk(tree, folder, s, 5)
    for stage in STAGES:
        items[f"{stage}: the folder read-only"] = lambda s=stage: read_only(tree, folder, s)
    for stage in ("collect", "train"):
        items[f"{stage}: two processes on one output"] = lambda s=stage: at_once(tree, folder, s, 5)
    items["a checkpoint of another config, manifest or code"] = lambda: old_checkpoints(tree, folder)
    items["a number that is not finite"] = lambda: wrong_numbers(tree, folder)
    items["a hostile file"] = lambda: hostile(tree, folder)
    items["a message obeyed to the letter, for each kind of file"] = lambda: repairs(folder)
    items["a forged or misplaced file"] = lambda: forged.refused(tree, folder)
    items["an environment that lies"] = lambda: environments.lies(tree, folder)
    items["a mistake in a config"] = bad_configs
    items["a wrong config, as users write it"] = lambda: configs.wrong_configs(folder)
    return items


def _write(rows: dict[str, Outcome]) -> None:
    docs = Path(__file__).parents[2] / "docs"
    lines = [("item", *Outcome._fields), *((item, *outcome) for item, outcome in rows.items())]
    with open(docs / "reliability.csv", "w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows(lines)
    lines.insert(1, ("---",) * 4)
    table = "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)
    text = (docs / "reliability.md").read_text()
    before, rest = text.split("<!-- table -->\n")
    after = rest.split("<!-- end -->\n")[1]
    (docs / "reliability.md").write_text(f"{before}<!-- table -->\n{table}<!-- end -->\n{after}")


def main(words: list[str]) -> None:
    """words: inject only what has one of them in its name, and keep the other rows as they are."""
    path, rows = Path(__file__).parents[2] / "docs/reliability.csv", {}
    if words and path.exists():
        with open(path) as f:
            rows = {line["item"]: Outcome(*(int(line[k]) for k in Outcome._fields)) for line in csv.DictReader(f)}
    with tempfile.TemporaryDirectory() as name:
        tree, folder = Tree(Path(name) / "tree"), Path(name) / "work"
        items = _items(tree, folder)
        for item, inject in items.items():
            if not words or any(word in item for word in words):
                rows[item] = inject()
                print(item, *rows[item], sep=", ", flush=True)
                _write({i: rows[i] for i in items if i in rows})
    if any(o.noticed < o.injected or o.lost for o in rows.values()):
        sys.exit("some faults were not noticed, or something was lost")


if __name__ == "__main__":
    main(sys.argv[1:])
