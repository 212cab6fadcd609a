"""How long Snakemake takes to find that there is nothing to do, and to redraw one figure.

Runs the smoke config once in a clone of this repository's last commit, then both commands in turns. Writes rows of
docs/benchmarks.csv.

    python benchmarks/dag.py
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from table import interleaved, put_ratio

ROOT = Path(__file__).parents[1]
ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        config, size = Path(folder, "smoke.yaml"), iter(range(6, 100))
        config.write_text(Path(folder, "config/smoke.yaml").read_text())

        def snakemake() -> tuple[float, str]:
            """Runs Snakemake, and returns the seconds that it took and its output."""
            command = [sys.executable, "-m", "snakemake", "--configfile", config.name, "--cores", "2", "all"]
            start = time.perf_counter()
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": f"{folder}/src"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            return time.perf_counter() - start, done.stdout + done.stderr

        def nothing() -> float:
            seconds, said = snakemake()
            assert "Nothing to be done" in said, said
            return seconds

        def redraw() -> float:
            raw = yaml.safe_load(config.read_text())
            raw["figures"]["figure3"]["style"] = {"font.size": next(size)}
            config.write_text(yaml.safe_dump(raw))
            seconds, said = snakemake()
            assert "rule plot" in said and "rule train" not in said, said
            return seconds

        snakemake()
        found = interleaved(ROUNDS, nothing=nothing, redraw=redraw)
        for name, what, limit in (("nothing", "nothing to do", 5.0), ("redraw", "one figure's style changed", 10.0)):
            put_ratio(
                f"the DAG, smoke config, {what}", "s", found[name], np.full(ROUNDS, limit), "the limit", 1.0, less=True
            )


if __name__ == "__main__":
    main()
