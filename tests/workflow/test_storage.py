"""Results in an object storage: a server that speaks S3, on the loopback."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
DIGEST, AGENT = "results/smoke/histories/grid/0-1.json", "results/smoke/agents/grid_gap1/agent.json"
ROLLOUTS = "results/smoke/rollouts/pendulum/baseline/ppo_final.parquet"
REFERENCE = "results/smoke/references/grid/test.safetensors"
TARGETS = DIGEST, AGENT, ROLLOUTS, REFERENCE
FURTHER = (
    "results/smoke/rollouts/grid/baseline/reference.parquet",
    "results/smoke/rollouts/grid/grid_gap1/agent.parquet",
)


@pytest.fixture(scope="module")
def server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    for _ in range(120):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait()


def _snakemake(folder, *arguments, targets=TARGETS):
    """Run the smoke config from the checkout, in a folder that has nothing but a link to src."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(ROOT / "config/smoke.yaml"), *arguments, "--cores", "1", *targets]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def arguments(server):
    where = ["--default-storage-provider", "s3", "--default-storage-prefix", "s3://bucket/gla"]
    return [*where, "--storage-s3-endpoint-url", server]


@pytest.fixture(scope="module")
def stored(tmp_path_factory, arguments):
    """A folder whose results went to the storage."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "src").symlink_to(ROOT / "src")
    _snakemake(folder, *arguments)
    return folder


@pytest.fixture(scope="module")
def options(server):
    return {"key": "key", "secret": "secret", "client_kwargs": {"endpoint_url": server}}


def test_results_in_a_storage_are_those_of_a_folder(tmp_path, stored, options):
    import fsspec

    (tmp_path / "src").symlink_to(ROOT / "src")
    _snakemake(tmp_path)
    assert not (stored / "results").exists()
    files = fsspec.filesystem("s3", **options)
    for target in TARGETS:
        assert files.cat(f"bucket/gla/{target}") == (tmp_path / target).read_bytes()


def test_a_storage_is_read_through_its_urls(stored, options):
    import fsspec
    import xarray

    with fsspec.open(f"s3://bucket/gla/{DIGEST}", **options) as f:
        digest = json.load(f)
    store = f"s3://bucket/gla/{DIGEST.removesuffix('.json')}/history.zarr"
    files = fsspec.filesystem("s3", **options)
    assert {n: hashlib.sha256(files.cat(f"{store}/{n}")).hexdigest() for n in digest["files"]} == digest["files"]
    history = xarray.open_zarr(store, consolidated=False, storage_options=options)
    assert history["reward"].shape == (2, 2, 120) and float(history["reward"].sum()) > 0
    frame = pd.read_parquet(f"s3://bucket/gla/{ROLLOUTS}", storage_options=options)
    assert frame["seed"].nunique() == 8


def test_another_machine_goes_on_from_what_is_in_a_storage_alone(tmp_path, stored, arguments, options):
    (tmp_path / "src").symlink_to(ROOT / "src")
    said = _snakemake(tmp_path, *arguments, targets=FURTHER)
    assert (
        "evaluate_baseline" in said
        and "evaluate_agent" in said
        and "rule refer" not in said
        and "rule train" not in said
    )
    for name in FURTHER:
        assert pd.read_parquet(f"s3://bucket/gla/{name}", storage_options=options)["seed"].nunique() == 8


def test_what_is_in_a_storage_is_not_made_again(stored, arguments):
    assert "Nothing to be done" in _snakemake(stored, *arguments)
