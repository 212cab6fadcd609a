"""Files that mean harm, or lie where they do not belong, in addition to those of ``injections.HOSTILE``.

Each case says what makes the file, who reads it, and what the one line of the error must name. Their hashes are forged as
well, and all of them fit.
"""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import zarr
from injections import (
    AGENT,
    DATASET,
    FIGURE,
    MANIFEST,
    SECONDS,
    STORE,
    Job,
    Limited,
    Outcome,
    Tree,
    _describe,
    _digest,
    _load_agent,
    _read_store,
    _rehash,
    _weights,
)  # fmt: skip
from safetensors.torch import save

from gla import card, files, manifests, reference, rows
from gla.agent import AgentModel
from gla.figures import sources, training
from gla.figures.drawing import plot, tabulate
from gla.models import equivariant
from gla.policies import Policy
from gla.storage.layout import read_digest
from gla.windows.batches import Windows

Make = Callable[[], None]
DIGEST, AGENT_JSON, WEIGHTS = STORE[1], "agents/agent/agent.json", "agents/agent/weights.safetensors"
ROLLOUT, REFERENCE = "rollouts/grid/agent/agent.parquet", "references/grid/test.safetensors"
GONE = "gone"  # in the place of a value: its key is left out


# Readers


def _read_manifest() -> None:
    manifests.read_manifest(*MANIFEST)


def _draw_windows() -> None:
    Windows(AGENT, *manifests.read_manifest(*MANIFEST), "train")


def _tabulate() -> None:
    tabulate(FIGURE, {"rollouts": [[ROLLOUT]], "optimal": [None], "tasks": [1]}, "figures/other.csv")


def _tabulate_sources() -> None:
    tabulate(sources.Options(kind="sources", sources=["grid"]), {"digests": [DIGEST]}, "figures/other.csv")


def _tabulate_training() -> None:
    tabulate(
        training.Options(kind="training", agents=["agent"]),
        {"by_position": ["agents/agent/by_position.csv"]},
        "figures/other.csv",
    )


def _plot() -> None:
    plot(FIGURE, "figures/figure.csv", ["figures/figure.png"])


def _write_card() -> None:
    card.write("agents/agent", verdicts="tables/verdicts.csv" if Path("tables").exists() else None)


def _read_reference() -> None:
    reference.read(REFERENCE)


# Forgers


def _put(body: Any, keys: tuple, value: Any) -> None:
    for key in keys[:-1]:
        body = body[key]
    if value == GONE:
        del body[keys[-1]]
    else:
        body[keys[-1]] = value


def _forge(path: str, keys: tuple, value: Any) -> None:
    """Put a value into a JSON file, and make its hashes fit."""
    body = json.loads(Path(path).read_text())
    _put(body, keys, value)
    if "content" in body and keys[0] != "content":
        body["content"] = files.fingerprint({k: v for k, v in body.items() if k != "content"})
    Path(path).write_text(json.dumps(body))
    _rehash(Path(path))


def _replace(path: str, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    _rehash(Path(path))


def _folder(path: str) -> None:
    Path(path).unlink()
    Path(path).mkdir()
    files.hash_file(path).unlink()


def _metadata(array: str, keys: tuple, value: Any) -> None:
    """Put a value into an array's metadata, or a whole text in their place, and make the digest fit."""
    path = Path(STORE[0]) / array / "zarr.json"
    if keys:
        body = json.loads(path.read_text())
        _put(body, keys, value)
        path.write_text(json.dumps(body))
    else:
        path.write_text(value)
    _digest()


def _chunk(array: str, index: str, offset: int, value: bytes | None) -> None:
    """Overwrite bytes of a chunk, or all of it, and make the digest fit."""
    path = Path(STORE[0]) / array / "c" / index
    data = bytearray(path.read_bytes())
    if value is None:
        data.clear()
    else:
        at = offset % len(data)
        data[at : at + len(value)] = value
    path.write_bytes(data)
    _digest()


def _values(array: str, value: int) -> None:
    zarr.open_group(STORE[0], mode="r+")[array][...] = value
    _digest()


def _group_for_an_array() -> None:
    shutil.rmtree(Path(STORE[0]) / "reward")
    zarr.open_group(STORE[0], mode="r+").create_group("reward")
    _digest()


def _table(column: str, value: Any) -> None:
    """A manifest's table with a column replaced, and a summary that fits it."""
    frame = pd.read_csv(MANIFEST[0], dtype=dict.fromkeys(manifests.COLUMNS[:4], str), keep_default_na=False)
    frame[column] = value
    frame.to_csv(MANIFEST[0], index=False)
    _rehash(Path(MANIFEST[0]))
    _forge(MANIFEST[1], ("table",), files.fingerprint(frame.to_dict("list")))


def _equivariant(**sizes: int) -> None:
    """Weights that are said to be a model of another kind."""
    body = json.loads(Path(AGENT_JSON).read_text())
    body["config"]["model"] = equivariant.Options(layers=1, width=16, heads=2).model_dump()
    Path(AGENT_JSON).write_text(json.dumps(body))
    _describe(**sizes)


def _tensor(name: str, value: torch.Tensor | None) -> None:
    """The agent's weights with one more, other, or missing."""
    state = AgentModel(AGENT, DATASET.encoding.sizes).state_dict()
    state[name] = value
    Path(WEIGHTS).write_bytes(save({n: x for n, x in state.items() if x is not None}))
    _describe()


def _rows(**columns: Any) -> pd.DataFrame:
    base = {"agent": "agent", "environment": "grid", "condition": "agent", "training_seed": 0, "seed": [0, 0, 1, 1], "episode": [0, 1, 0, 1],
            "env_steps": [10, 20, 10, 20], "episode_return": 1.0, "episode_length": 10, "rewards_vary": True}  # fmt: skip
    return pd.DataFrame(base | columns)


def _rollout(compression: str = "snappy", drop: str = "", **columns: Any) -> None:
    _rows(**columns).drop(columns=[drop] if drop else []).to_parquet(ROLLOUT, index=False, compression=compression)
    _rehash(Path(ROLLOUT))


def _many_rows() -> None:
    """Six million rows in less than a hundred kilobytes."""
    one = pa.Table.from_pandas(
        pd.concat([_rows()] * 250_000, ignore_index=True).assign(env_steps=1), preserve_index=False
    )
    with pq.ParquetWriter(ROLLOUT, one.schema) as writer:
        for _ in range(6):
            writer.write_table(one)
    _rehash(Path(ROLLOUT))


def _long_names() -> None:
    """A name of 400 kB that is there once, in half a million rows."""
    frame = pd.concat([_rows()] * 125_000, ignore_index=True).assign(seed=np.arange(500_000))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    name = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(frame), np.int32)), pa.array(["a" * 400_000]))
    pq.write_table(table.set_column(0, "agent", name), ROLLOUT, store_schema=False)
    _rehash(Path(ROLLOUT))


def _deltas() -> None:
    """Long names that each share a prefix with the one before: bytes that are not there."""
    table = pa.Table.from_pandas(_rows(agent="a" * 10**6), preserve_index=False)
    options: dict[str, Any] = {"use_dictionary": False, "column_encoding": {"agent": "DELTA_BYTE_ARRAY"}}
    pq.write_table(table, ROLLOUT, **options)
    _rehash(Path(ROLLOUT))


def _csv(path: str, **columns: Any) -> None:
    """A table with columns replaced, or dropped where None."""
    frame = pd.read_csv(path).assign(**{c: v for c, v in columns.items() if v is not None})
    frame.drop(columns=[c for c, v in columns.items() if v is None]).to_csv(path, index=False)
    _rehash(Path(path))


def _verdicts(text: str) -> None:
    _replace("tables/verdicts.csv", text.encode())


def _make_reference(
    sizes: dict[str, tuple[int, ...]], keys: tuple = (), value: Any = None, dtype: torch.dtype = torch.float32
) -> None:
    """A reference of two policies that is whole but for the sizes of some fields, or for a value of its description."""
    shapes = (
        Policy((2, 9, 8), (2, 1, 8), (2, 8, 8), (2, 1, 8), (2, 8, 4), (2, 1, 4), (2, 4), (2, 9), (2, 9))._asdict()
        | sizes
    )
    _replace(REFERENCE, save({name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}))
    body = {"environment": "grid", "split": "test", "tasks": 1, "num_envs": 2, "steps_per_update": 8, "mean_return": [[0.5, None], [1.0, 2.0]],
            "sha256": files.sha256(REFERENCE)}  # fmt: skip
    if keys:
        _put(body, keys, value)
    files.write_json(Path(REFERENCE).with_suffix(".json"), body | {"content": files.fingerprint(body)})


def _move(source: str, target: str) -> None:
    """Copy files with their hashes to where others should lie."""
    if Path(source).is_dir():
        shutil.copytree(source, target)
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    text = files.hash_file(source).read_text().replace(f"  {Path(source).name}\n", f"  {Path(target).name}\n")
    files.hash_file(target).write_text(text)


def _of_another_environment() -> None:
    """A baseline of the grid where one of an evaluation in the pendulum should lie: what the path cannot say, its neighbours do."""
    for agent, condition, environment in (("agent", "agent", "pendulum"), ("baseline", "random", "grid")):
        path = f"rollouts/pendulum/{agent}/{condition}.parquet"
        Path(path).parent.mkdir(parents=True)
        _rows(agent=agent, condition=condition, environment=environment).to_parquet(path, index=False)


def _read_pendulum() -> None:
    rows.read_evaluation(["rollouts/pendulum/agent/agent.parquet", "rollouts/pendulum/baseline/random.parquet"])


def _rows_of(path: str) -> None:
    rows.read_rows(path)


def _load_other() -> None:
    from gla import agent

    agent.load("agents/other")


def _other_digest() -> None:
    read_digest("histories/other/0-3.json")


def _other_manifest() -> None:
    manifests.read_manifest("manifests/other.csv", "manifests/other.json")


def _other_table() -> None:
    plot(FIGURE, "figures/other.csv", ["figures/other.png"])


def _move_manifest() -> None:
    for name in MANIFEST:
        _move(name, name.replace("grid", "other"))


def _move_reference() -> None:
    _make_reference({})
    for name in (REFERENCE, REFERENCE.replace(".safetensors", ".json")):
        _move(name, name.replace("grid", "other"))


def _other_reference() -> None:
    reference.read(REFERENCE.replace("grid", "other"))


def _digits(path: str) -> None:
    _replace(path, b'{"a": ' + b"1" * 10_000 + b"}")


def _deep(depth: int) -> None:
    """A digest that nests as deep as Python's JSON reader goes."""
    body = json.loads(Path(DIGEST).read_text())
    body["config"]["environment"]["tasks"] = "here"
    _replace(DIGEST, json.dumps(body).replace('"here"', "[" * depth + "]" * depth).encode())


def _gzip() -> list[dict[str, Any]]:
    return [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip", "configuration": {"level": 9}}]


HUGE = 10**18
READ_DIGEST = {"files": [[], 3, {"a": 1}], "lifetimes": ["x", [], [-1], ["0"], {}], "mean_return": [[[1.0]], "x", [[float("nan")] * 12] * 4, [[1e300] * 5000]],
               "num_envs": [-1, 0.5, None], "updates": [HUGE, "12"], "steps_per_update": [0, GONE], "observation_size": [10**9, 0],
               "action_size": [10**9, True], "discrete": ["yes"], "environment": [3, None], "source": [3, None, "other"], "tasks": [0, "1"],
               "arrays": [[], {"reward": {}}, {"reward": {"dtype": "object", "axes": {"step": 1}}}, {"reward": {"dtype": "bool", "axes": {"step": -1}}}],
               "config": [[], {"source": {}, "environment": {"id": 3}}, {}], "content": [[], "0" * 64], "format": [1, "2"]}  # fmt: skip
SUMMARY = {"encoding": [{}, None, {"kind": "projected", "train": -1}, {"kind": "none"}, {"kind": "projected", "projections": "none"}],
           "sources": [[], {}, {"grid": {}}, {"grid": "x"}], "rows": [[]], "content": [3], "table": [None, "0" * 64]}  # fmt: skip
METADATA: list[tuple[tuple, Any]] = [
    (("codecs",), _gzip()), (("codecs",), "x"), (("codecs",), [{"name": "numcodecs.pickle", "configuration": {}}]), (("codecs",), []),
    (("shape",), [-1, 2]), (("shape",), ["a", "b"]), (("shape",), [4]), (("shape",), [HUGE, HUGE]), (("data_type",), "float64"),
    (("data_type",), {"name": "null_terminated_bytes", "configuration": {"length_bytes": 10**9}}), (("fill_value",), 1.0), (("fill_value",), "x"),
    (("dimension_names",), ["a", "b"]), (("chunk_grid", "configuration", "chunk_shape"), [HUGE, HUGE]), (("storage_transformers",), [{"name": "x"}]),
    (("node_type",), "group"), (("zarr_format",), 2), ((), "[]"), ((), ""), ((), "[" * 100_000), (("attributes",), 3), (("codecs",), GONE),
]  # fmt: skip
DESCRIPTION: list[tuple[tuple, Any, Make]] = [
    *[(("weights", *k), v, _load_agent) for k, v in (((), "x"), (("file",), "../../etc/passwd"), (("sha256",), 3))],
    *[(("manifest",), v, _load_agent) for v in ({}, [], None)],
    *[(("config", *k), v, _load_agent) for k, v in (((), None), (("model",), {"heads": 0}), (("model", "width"), 10**30), (("model", "layers"), -1),
      (("model", "kind"), "../../os"), (("model", "kind"), "attention"), (("training", "learning_rate"), float("inf")), (("unknown",), 1))],
    *[(("training", *k), v, _write_card) for k, v in (((), GONE), ((), "x"), (("validation_loss",), float("nan")), (("parameters",), "many"))],
    (("manifest", "sources", "grid", "return_last"), "x", _write_card),
]  # fmt: skip

# Each: what makes the file, who reads it, and what the error must name.
CASES: list[tuple[Make, Make, str]] = [
    *[(partial(_forge, DIGEST, (key,), v), _tabulate_sources, DIGEST) for key, values in READ_DIGEST.items() for v in values],
    *[(partial(_forge, DIGEST, (key,), HUGE), _read_store, "history.zarr/") for key in ("num_envs", "steps_per_update")],
    *[(partial(_deep, depth), _tabulate_sources, DIGEST) for depth in (300, 900, 990)],
    *[(partial(_replace, DIGEST, content), _read_store, DIGEST) for content in (b"null", b"", b"\xff\xfe{", b'{"a": NaN}', b"3", b"[" * 100_000)],
    (partial(_digits, DIGEST), _read_store, DIGEST), (partial(_folder, DIGEST), _read_store, DIGEST),
    *[(partial(_metadata, "mean_return", keys, v), _read_store, "history.zarr/mean_return") for keys, v in METADATA],
    (_group_for_an_array, _read_store, "history.zarr/reward"),
    (partial(_chunk, "mean_return", "0/0", 4, (2**31 - 1).to_bytes(4, "little")), _read_store, "mean_return/c/0/0"),
    (partial(_chunk, "mean_return", "0/0", 12, (2**31 - 1).to_bytes(4, "little")), _read_store, "mean_return/c/0/0"),
    (partial(_chunk, "mean_return", "0/0", 16, b"\x00" * 8), _read_store, "history.zarr/mean_return"),
    (partial(_chunk, "mean_return", "0/0", 0, None), _read_store, "mean_return/c/0/0"),
    (partial(_chunk, "mean_return", "0/0", -1, b"\x01"), _read_store, "history.zarr/mean_return"),
    (partial(_chunk, "reward", "0/0/0", -20, HUGE.to_bytes(8, "little")), _read_store, "reward/c/0/0/0"),
    (partial(_chunk, "reward", "0/0/0", -36, bytes(32)), _read_store, "reward/c/0/0/0"),
    (partial(_chunk, "reward", "0/0/0", 4, (2**31 - 1).to_bytes(4, "little")), _read_store, "reward/c/0/0/0"),
    (partial(_values, "snapshot_update", 10**9), _read_store, "history.zarr/snapshot_update"),
    (partial(_values, "action", 10**9), _read_store, "history.zarr/action"), (partial(_values, "action", -1), _read_store, "history.zarr/action"),
    *[(partial(_forge, MANIFEST[1], (key,), v), _read_manifest, "manifests/grid") for key, values in SUMMARY.items() for v in values],
    *[(partial(_table, column, v), _read_manifest, MANIFEST[0]) for column, v in
      (("lifetime", -1), ("lifetime", "x"), ("stream", 10**30), ("projection_low", 2**41), ("source", "other"), ("split", "train"))],
    *[(partial(_table, column, v), _draw_windows, DIGEST) for column, v in (("lifetime", 10**6), ("stream", 10**6))],
    (partial(_table, "store", "/etc"), _draw_windows, "/etc"), (partial(_table, "digest", "/etc/passwd"), _draw_windows, "/etc/passwd"),
    *[(partial(_forge, AGENT_JSON, keys, v), work, "agents/agent/") for keys, v, work in DESCRIPTION],
    *[(partial(_equivariant, **sizes), _load_agent, WEIGHTS) for sizes in ({"channels": 10**9}, {"channels": 10**5}, {"layers": 1000}, {"width": 2**20})],
    *[(partial(_weights, header), _load_agent, WEIGHTS) for header in (b"x", b"[]", b"{" * 50_000)],
    (partial(_tensor, "sequence.head.weight", None), _load_agent, WEIGHTS), (partial(_tensor, "more", torch.zeros(1)), _load_agent, WEIGHTS),
    (partial(_tensor, "sequence.head.weight", torch.zeros(3)), _load_agent, WEIGHTS),
    (_many_rows, _tabulate, ROLLOUT), (_long_names, _tabulate, ROLLOUT), (_deltas, _tabulate, ROLLOUT), (partial(_rollout, "zstd"), _tabulate, ROLLOUT),
    *[(partial(_rollout, drop=column), _tabulate, ROLLOUT) for column in ("seed", "episode_return")],
    *[(partial(_rollout, **{column: v}), _tabulate, ROLLOUT) for column, v in
      (("agent", "other"), ("agent", "a" * 10**6), ("agent", None), ("condition", "rewards_hidden"), ("training_seed", 3), ("training_seed", 10**9),
       ("seed", 10**12), ("seed", -1), ("seed", "x"), ("episode", 0), ("env_steps", 0.5), ("episode_return", float("nan")),
       ("episode_return", float("inf")), ("episode_return", 1), ("rewards_vary", 2), ("environment", ["a", "b", "a", "b"]))],
    *[(partial(_replace, ROLLOUT, content), _tabulate, ROLLOUT) for content in (b"", b"PAR1PAR1", b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1")],
    *[(partial(_csv, "agents/agent/by_position.csv", **columns), _tabulate_training, "by_position.csv") for columns in
      ({"train_loss": "x"}, {"train_loss": None}, {"constant_loss": 1e200}, {"position": True})],
    *[(partial(_csv, "figures/figure.csv", **columns), _plot, "figures/figure.csv") for columns in
      ({"mean": "x"}, {"x": None}, {"agent": None}, {"low": float("inf")})],
    *[(partial(_verdicts, text), _write_card, "verdicts.csv") for text in ("", "agent\nagent\n", "\x00\x01", "agent,evaluation,split,verdict\na,b,test,c\n")],
    *[(partial(_make_reference, {}, (key,), v), _read_reference, "references/grid/test") for key, v in
      (("tasks", 0), ("tasks", "1"), ("tasks", 3), ("split", "x"), ("split", "validation"), ("environment", "other"), ("sha256", "0" * 64),
       ("num_envs", HUGE * 1.5), ("mean_return", [[1], [1, 2]]), ("mean_return", []), ("mean_return", [["x"]]))],
    *[(partial(_make_reference, sizes), _read_reference, REFERENCE) for sizes in ({"w1": (2, 8, 7)}, {"w0": (2,)}, {"b2": (1, 1, 4)}, {"w0": (0, 9, 8)})],
    (partial(_make_reference, {}, (), None, torch.float16), _read_reference, REFERENCE),
    # What is whole, and lies where something else belongs.
    (partial(_move, ROLLOUT, "rollouts/other/agent/agent.parquet"), partial(_rows_of, "rollouts/other/agent/agent.parquet"), "rollouts/other/agent"),
    (_of_another_environment, _read_pendulum, "rollouts/pendulum/baseline/random.parquet"),
    (partial(_move, "agents/agent", "agents/other"), _load_other, "agents/other/agent.json"),
    (partial(_move, DIGEST, "histories/other/0-3.json"), _other_digest, "histories/other/0-3.json"),
    (_move_manifest, _other_manifest, "manifests/other.json"), (_move_reference, _other_reference, "references/other/test.json"),
    (partial(_move, "figures/figure.csv", "figures/other.csv"), _other_table, "figures/other.csv"),
]  # fmt: skip


def refused(tree: Tree, folder: Path, cases: list[tuple[Make, Make, str]] = CASES) -> Outcome:
    """Read files that mean harm. noticed: refused in one line that names them, within a second and 500 MB; lost: a command of theirs ran."""
    noticed = lost = 0
    for make, work, named in cases:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tree.folder, folder)
        running = Job(Limited(make, work), folder)
        status = running.end()
        seconds = float(running.said.split("\nSECONDS ")[-1].split()[0]) if "SECONDS" in running.said else float("inf")
        fine = status == 1 and named in running.error() and seconds < SECONDS
        if not fine:
            print(f"{make}: status {status}, {seconds} s, expected {named!r}: {running.said[-1500:]}", file=sys.stderr)
        noticed += fine
        lost += (folder / "owned").exists()
    return Outcome(len(cases), noticed, lost)
