"""Copy what a finished run shows into docs/results: figures, their numbers, verdicts, the config, and what they were made from.

Of what the config names, and of nothing else that lies in the folder of results. ``rollouts.parquet`` holds every return that
the verdicts rest on, in single precision, so that the table can be made again without the run (``tests/unit/test_docs_numbers.py`` does).
``provenance.json`` says of every store, network and reference what it was made from and the hash of its content; hashes of a
store's single files and its learning curves are left out, since the content's hash covers them.

    python docs/publish.py config/config.yaml docs/results

With ``--add`` it takes from the published set what the run lacks, such as the networks that were trained before others were added:

    python docs/publish.py --add config/ad.yaml docs/results/ad

Without a config it makes what rests on the published returns again, by the code as it is now: verdicts, and figures of returns.

    python docs/publish.py docs/results
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gla.config import file
from gla.config.figures import Figure
from gla.config.reading import normalise
from gla.figures.drawing import plot, tabulate
from gla.figures.gathering import gather
from gla.kinds import made
from gla.paths import Paths
from gla.rows import read_rows, write_rows
from gla.verdicts import judge

NAMES = ("agent", "environment", "condition", "evaluation")  # of rollouts, which are text
# Two columns grow by an episode at a time. The last bytes of returns, which are rounded, are zero.
ENCODED = {"episode": "DELTA_BINARY_PACKED", "env_steps": "DELTA_BINARY_PACKED", "episode_return": "BYTE_STREAM_SPLIT"}
MANY = 1000  # tasks
LONG = ("files", "mean_return", "arrays", "lifetimes")  # of a store's digest, and covered by its content's hash


def provenance(described: list[Path]) -> dict[str, Any]:
    """What is kept of digests, networks and references, by FOLDER-FILE; of references their learning curves too, which verdicts use."""
    bodies = {_named(path): json.loads(path.read_text(), object_hook=_ranged) for path in described}
    return {
        name: {key: value for key, value in body.items() if "files" not in body or key not in LONG}
        for name, body in bodies.items()
    }


def _ranged(found: dict[str, Any]) -> dict[str, Any]:
    """A JSON object whose ``tasks``, if they are many and differ in one consecutive number, are written as configs have them."""
    tasks = found.get("tasks")
    if not isinstance(tasks, list) or len(tasks) < MANY or any(len(task) != 1 for task in tasks):
        return found
    ((key, first),) = tasks[0].items()
    end = first + len(tasks)
    return found | ({"tasks": {key: [first, end]}} if tasks == [{key: i} for i in range(first, end)] else {})


def publish(config: Path, folder: Path, add: bool = False) -> None:
    """Write a set into ``folder``, in the place of what stood there. add: what the run lacks is taken from what stood there."""
    paths = Paths(normalise(file.read(config)))
    results, endings = Path(paths.results), ("png", "csv")
    shown = [results / f"figures/{name}.{ending}" for name in paths.config["figures"] for ending in endings]
    networks = [network for agent in paths.config["agents"] for network in paths.networks(agent)]
    references = {path for one in paths.judged() for path in one["references"]}
    described = [
        Path(path)
        for path in (
            *paths.digests(paths.config["sources"]),
            *(f"{paths.agent(n)}/agent.json" for n in networks),
            *sorted(references),
        )
    ]
    rollouts = [(one["name"], path) for one in paths.judged() for path in one["rollouts"]]
    bodies, returns = _earlier(folder, paths) if add else ({}, {})
    remade = [path for path in shown if add and _of_returns(paths, path.stem)]
    missing = [path for path in described if not path.exists() and _named(path) not in bodies]
    missing += [Path(path) for _, path in rollouts if not Path(path).exists() and path not in returns]
    missing += [
        path
        for path in shown
        if path not in remade and not path.exists() and not (add and (folder / path.name).exists())
    ]
    missing += [path for path in [results / "tables/verdicts.csv"] if not add and not path.exists()]
    if missing:  # before anything of the old set goes
        raise SystemExit(f"{missing[0]}: missing (expected a finished run of {config})")
    table = pd.concat(
        [
            (read_rows(path) if Path(path).exists() else returns[path]).assign(evaluation=name)
            for name, path in rollouts
        ],
        ignore_index=True,
    )
    known = {name: body for name, body in bodies.items() if name in set(map(_named, described))}
    known |= provenance([path for path in described if path.exists()])
    kept = {path.name for path in shown if not path.exists() and path not in remade}
    for old in folder.glob("*.*"):
        if old.name not in kept:
            old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*shown, results / "tables/verdicts.csv", config):
        if path.exists():
            shutil.copy(path, folder)
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(known[name])}" for name in map(_named, described)
    )  # one for each, so that a diff names it
    (folder / "provenance.json").write_text(f"{{\n{lines}\n}}\n")
    table["episode_return"] = table["episode_return"].astype(np.float32).astype(float)
    table.astype(dict.fromkeys(NAMES, "category")).to_parquet(
        folder / "rollouts.parquet",
        index=False,
        compression="zstd",
        compression_level=19,
        use_dictionary=[c for c in table if c not in ENCODED],
        column_encoding=ENCODED,
    )
    if add:
        again(folder)


def _named(path: Path) -> str:
    """The name in ``provenance.json`` of what a file describes."""
    return f"{path.parent.name}-{path.stem}"


def _of_returns(paths: Paths, figure: str) -> bool:
    """Whether a figure's table is made from returns alone."""
    entry = made(Figure, paths.config["figures"][figure])
    return entry.inputs == "rollouts" and not entry.losses


# What may differ between two configs whose results are put together.
GROWS = {"agents": ("seeds",), "evaluations": ("agents", "conditions", "baselines")}


def _earlier(folder: Path, paths: Paths) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """A published set's provenance, and its returns by the paths that they have in a run of another config, whose entries must be the
    same.
    """
    before, table = _published(folder)
    for noun in ("environments", "sources", "datasets", "agents", "evaluations"):
        for name, entry in before[noun].items():
            now = paths.config[noun].get(name, entry)
            for key in sorted((entry.keys() | now.keys()) - set(GROWS.get(noun, ()))):
                if entry.get(key) != now.get(key):
                    said = (
                        f"{noun}.{name}.{key}: {now.get(key)!r} (expected {entry.get(key)!r}, as published in {folder})"
                    )
                    raise SystemExit(said)
    return json.loads((folder / "provenance.json").read_text()), dict(_by_path(paths, table))


def _published(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The config of a published set, in its normal form, and its returns."""
    (config,) = folder.glob("*.yaml")
    rollouts = pd.read_parquet(folder / "rollouts.parquet")
    return normalise(file.read(config)), rollouts.astype(dict.fromkeys(NAMES, str))


def _described(body: dict[str, Any], path: Path) -> Path:
    """A file that holds a published reference's description; of one that is older than the key num_envs, which was streams, with it."""
    if "streams" in body:
        body["num_envs"] = body.pop("streams")
        del body["content"]  # the hash of what it was
    path.write_text(json.dumps(body))
    return path


def judged(folder: Path) -> pd.DataFrame:
    """The table of verdicts of a published set, from its returns and its references' learning curves."""
    config, rollouts = _published(folder)
    known, evaluations = json.loads((folder / "provenance.json").read_text()), []
    with tempfile.TemporaryDirectory() as scratch:
        for one in Paths(config).judged():
            names = [_named(Path(r)) for r in one["references"]]
            curves = [_described(known[name], Path(scratch) / f"{name}.json") for name in names]
            own = rollouts[rollouts["evaluation"] == one["name"]].drop(columns="evaluation")
            evaluations.append((one | {"references": curves}, own))
        return judge(evaluations)


def _file(paths: Paths, evaluation: str, agent: str, seed: int, condition: str) -> str:
    """Where a row is when it is not published; all runs of a baseline are in one file."""
    return paths.rollout(evaluation, agent if agent == "baseline" else paths.networks(agent)[seed], condition)


def _by_path(paths: Paths, rollouts: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Published returns, by where a run has them."""
    columns = ("evaluation", "agent", "training_seed", "condition")
    names = paths.config["agents"].keys() | {"baseline"}
    rollouts = rollouts[rollouts["agent"].isin(names) & rollouts["evaluation"].isin(paths.config["evaluations"].keys())]
    files = [_file(paths, *row) for row in zip(*map(rollouts.get, columns), strict=True)]
    for path, own in rollouts.groupby(files):
        yield path, own.drop(columns="evaluation").reset_index(drop=True)


def tabled(folder: Path, to: Path) -> list[tuple[Any, Path]]:
    """Write the table of each published figure of returns into ``to``. Returns the figures' entries and the tables."""
    config, rollouts = _published(folder)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        paths = Paths(config, scratch)
        for path, own in _by_path(paths, rollouts):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_rows(own, path)
        for name, entry in paths.config["figures"].items():
            if _of_returns(paths, name):
                figure = made(Figure, entry)
                inputs = gather(paths.panels(name), paths.drawn(name)["rollouts"], figure.normalised)
                tabulate(made(Figure, paths.tabled(name)), inputs, to / f"{name}.csv")
                found.append((figure, to / f"{name}.csv"))
    return found


def again(folder: Path) -> None:
    """Write verdicts and figures of returns again."""
    judged(folder).to_csv(folder / "verdicts.csv", index=False, float_format="%.6g")
    with tempfile.TemporaryDirectory() as scratch:
        for entry, table in tabled(folder, Path(scratch)):
            plot(entry, table, [table.with_suffix(".png")])
            for path in (table, table.with_suffix(".png")):
                shutil.copy(path, folder)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        publish(*map(Path, sys.argv[-2:]), add=sys.argv[1] == "--add")
    else:
        again(Path(sys.argv[1]))
