"""The cluster profiles on a real SLURM: two nodes on this machine's loopback. As root, on Debian: `make test-slurm`."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from checkouts import copied

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[2]
CONFIG = Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf")  # the one place where jobs look for it
MARK = "# Written by tests/slurm/test_slurm.py, which removes it.\n"
OUTPUTS = ("weights.safetensors", "metrics.jsonl", "by_position.csv", "agent.json")
AGENT = "results/smoke/agents/grid_gap1"


def _run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _wait(what, seconds=120):
    """The first true value of what(), asked for every half second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.5)
    raise TimeoutError(what.__qualname__)


def _end_leftover(config):
    """End the daemons of a test that was killed."""
    for path in re.findall(r"^Slurmc?t?l?dPidFile=(.+)$", config, re.MULTILINE):
        for pid in (Path(path.replace("%n", node)) for node in ("one", "two")):
            running = Path("/proc") / pid.read_text().strip() / "comm" if pid.exists() else pid
            if running.name == "comm" and running.exists() and running.read_text().startswith("slurm"):
                os.kill(int(running.parent.name), signal.SIGTERM)
                _wait(lambda path=running: not path.exists())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A controller and two nodes, each with a GPU that nothing opens; jobs that end stay in its records for a day."""
    if os.geteuid() != 0:
        pytest.fail("starting a SLURM cluster needs root")
    if not shutil.which("slurmctld"):
        _run("apt-get", "update")
        _run("apt-get", "install", "--yes", "--no-install-recommends", "slurm-wlm", "munge")
    if CONFIG[0].exists():
        if not CONFIG[0].read_text().startswith(MARK):
            pytest.fail(f"{CONFIG[0]} exists: this machine has a cluster, and the test would start another")
        _end_leftover(CONFIG[0].read_text())
    folder, name = tmp_path_factory.mktemp("slurm"), _run("hostname").strip()
    (folder / "state").mkdir()
    CONFIG[0].write_text(f"""\
{MARK}ClusterName=test
SlurmctldHost={name}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n.spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
MinJobAge=86400
JobFileAppend=1
GresTypes=gpu
NodeName=one NodeHostname={name} NodeAddr=127.0.0.1 Port=17001 CPUs=1 RealMemory=32000 Gres=gpu:1
NodeName=two NodeHostname={name} NodeAddr=127.0.0.1 Port=17002 CPUs=1 RealMemory=32000 Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES
PartitionName=gpu Nodes=ALL
""")
    CONFIG[1].write_text("Name=gpu File=/dev/null\n")
    own_munge = subprocess.run(["munge", "--no-input"], capture_output=True, check=False).returncode != 0
    pids = [folder / f"{daemon}.pid" for daemon in ("one", "two", "slurmctld")]
    try:
        if own_munge:
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            _run("runuser", "-u", "munge", "--", "/usr/sbin/munged")
            pids.append(Path("/run/munge/munged.pid"))
        _run("slurmctld")
        _run("slurmd", "-N", "one")
        _run("slurmd", "-N", "two")
        _wait(lambda: _run("sinfo", "--noheader", "--partition=main", "--format=%T %D").strip() == "idle 2")
        yield
    finally:
        for pid in (int(p.read_text()) for p in pids if p.exists()):
            os.kill(pid, signal.SIGTERM)
        for path in CONFIG:
            path.unlink()


def _records():
    """Returns SLURM's records of all jobs, in order: (id, rule, state, partition, GPUs, nodes)."""
    columns = "JobID:|,Comment:|,State:|,Partition:|,tres-per-job:|,NumNodes:"
    lines = _run("squeue", "--states=all", "--noheader", "--sort=i", f"--Format={columns}").splitlines()
    return [[i, re.sub("^rule_|_wildcards.*$", "", k), *rest] for i, k, *rest in (x.split("|") for x in lines)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("checkout"))


def _snakemake(folder, profile, *arguments, config="config/smoke.yaml"):
    """A running Snakemake, its output in a file."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        config,
        "--workflow-profile",
        f"profiles/{profile}",
        *arguments,
    ]
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    with open(folder / "output.txt", "w") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)


def _finish(process, folder):
    status = process.wait(1200)
    output = (folder / "output.txt").read_text()
    assert status == 0, output
    return output


SLURM = [
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--slurm-keep-successful-logs",
]


@pytest.fixture(scope="module")
def smoke(cluster, checkout):
    """The copy after the smoke config has run through the profile, the jobs that it had, and SLURM's records."""
    planned = _finish(_snakemake(checkout, "default", "--cores", "2", "--dry-run", "all"), checkout)
    table = planned[planned.index("Job stats:") :].split("\n\n")[0]
    _finish(_snakemake(checkout, "slurm", *SLURM, "all"), checkout)
    return checkout, {m[1]: int(m[2]) for m in re.finditer(r"^(\w+)\s+(\d+)$", table, re.MULTILINE)}, _records()


def test_each_job_of_the_smoke_config_was_a_slurm_job(smoke):
    folder, planned, records = smoke
    local = {"all", "total", "tabulate", "plot", "verdicts", "card", "software", "acting"}  # too short to queue for
    assert Counter(rule for _, rule, *_ in records) == {k: v for k, v in planned.items() if k not in local}
    assert {state for _, _, state, *_ in records} == {"COMPLETED"}
    assert len(list((folder / "results/smoke/figures").glob("*.pdf"))) == 4


def test_jobs_ran_where_the_profile_says(smoke):
    for _, rule, _, partition, resources, nodes in smoke[2]:
        assert (partition, resources, nodes) == (
            ("gpu", "gres:gpu:1", "1") if rule == "train" else ("main", "N/A", "1")
        )


def test_training_on_two_machines_as_the_profile_says_in_a_comment(smoke):
    folder, before = smoke[0], {i for i, *_ in _records()}
    one = _losses(folder)
    shutil.rmtree(folder / AGENT)
    lines = (folder / "profiles/slurm/profile.yaml").read_text()
    start, end = lines.index("    # gpu: 16"), lines.index("# A job's threads")
    several = lines[start:end].replace("    # ", "    ").replace("gpu: 16", "gpu: 2")
    (folder / "profiles/several").mkdir()
    (folder / "profiles/several/profile.yaml").write_text(lines[:start] + several + lines[end:])
    _finish(_snakemake(folder, "several", *SLURM, f"{AGENT}/agent.json"), folder)
    assert [job[1:] for job in _records() if job[0] not in before] == [["train", "COMPLETED", "gpu", "gres:gpu:2", "2"]]
    assert _losses(folder) == pytest.approx(one, rel=1e-4)


def _losses(folder):
    return [json.loads(line)["train_loss"] for line in (folder / AGENT / "metrics.jsonl").read_text().splitlines()]


def test_the_generic_profile_submits_too(smoke):
    folder, before = smoke[0], {i for i, *_ in _records()}
    shutil.rmtree(folder / AGENT)
    (folder / "results/smoke/manifests/grid.json").unlink()
    _finish(_snakemake(folder, "generic", f"{AGENT}/agent.json"), folder)
    jobs = [job[1:4] for job in _records() if job[0] not in before]
    assert jobs == [["manifest", "COMPLETED", "main"], ["train", "COMPLETED", "gpu"]]


@pytest.fixture(scope="module")
def longer(smoke):
    """A config with an agent that trains for longer, and that agent's files as one machine makes them."""
    folder = smoke[0]
    raw = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    agent = raw["agents"]["grid_gap1"]
    agent["training"] = agent["training"] | {"steps": 2000, "evaluate_every": 100}
    (folder / "longer.yaml").write_text(yaml.safe_dump(raw))
    target = f"{AGENT}/agent.json"
    _finish(_snakemake(folder, "default", "--cores", "1", target, config="longer.yaml"), folder)
    return target, {name: (folder / AGENT / name).read_bytes() for name in OUTPUTS}


@pytest.mark.parametrize(
    "disturb, states",
    [(("scancel", "--signal=TERM"), ["FAILED", "COMPLETED"]),  # submitted again by Snakemake
     (("scontrol", "requeue"), ["COMPLETED"])],  # queued again by SLURM, as after a preemption
)  # fmt: skip
def test_training_that_is_stopped_goes_on_from_its_checkpoint(smoke, longer, disturb, states):
    folder, (target, expected) = smoke[0], longer
    shutil.rmtree(folder / AGENT)
    before = {i for i, *_ in _records()}
    process = _snakemake(folder, "slurm", *SLURM, target, config="longer.yaml")
    try:
        _wait((folder / "results/smoke/training/grid_gap1/checkpoint.pt").exists)
        (job,) = (i for i, *_ in _records() if i not in before)
        _run(*disturb, job)
        _finish(process, folder)
    finally:
        process.terminate()
    jobs = [(i, state) for i, rule, state, *_ in _records() if i not in before]
    assert [state for _, state in jobs] == states
    logs = "".join((folder / f".snakemake/slurm_logs/rule_train/grid_gap1/{i}.log").read_text() for i, _ in jobs)
    (stopped,) = re.findall(r"stopped at step (\d+) of 2000", logs)
    assert re.findall(r"going on from step (\d+) of 2000", logs) == [stopped] and 0 < int(stopped) < 2000
    assert {name: (folder / AGENT / name).read_bytes() for name in OUTPUTS} == expected
