"""Copy what a finished run shows into docs/results: figures, their numbers, verdicts, the config, and what they were made from.

Of what the config names, and of nothing else that lies in the folder of results. ``rollouts.parquet`` holds every return that
the verdicts rest on, so that the table can be made again without the run (``tests/unit/test_docs_numbers.py`` does).

    python docs/publish.py config/config.yaml docs/results
"""

import shutil
import sys
from pathlib import Path

import pandas as pd

from gla.config import file
from gla.config.reading import normalise
from gla.paths import Paths
from gla.rows import read_rows


def publish(config: Path, folder: Path) -> None:
    """Write a set into ``folder``, in the place of what stood there."""
    paths = Paths(normalise(file.read(config)))
    results, digests = Path(paths.results), folder / "digests"
    shown = [results / f"figures/{name}.{ending}" for name in paths.config["figures"] for ending in ("png", "csv")]
    networks = [network for agent in paths.config["agents"] for network in paths.networks(agent)]
    references = {path for one in paths.judged() for path in one["references"]}
    described = [*paths.digests(paths.config["sources"]), *(f"{paths.agent(n)}/agent.json" for n in networks), *sorted(references)]
    rollouts = [(one["name"], path) for one in paths.judged() for path in one["rollouts"]]
    needed = (*shown, results / "tables/verdicts.csv", *map(Path, described), *(Path(path) for _, path in rollouts))
    missing = [path for path in needed if not path.exists()]
    if missing:  # before anything of the old set goes
        raise SystemExit(f"{missing[0]}: missing (expected a finished run of {config})")
    table = pd.concat([read_rows(path).assign(evaluation=name) for name, path in rollouts], ignore_index=True)
    for old in [*folder.glob("*.*"), *digests.glob("*")]:
        old.unlink()
    digests.mkdir(parents=True, exist_ok=True)
    for path in (*shown, results / "tables/verdicts.csv", config):
        shutil.copy(path, folder)
    for path in map(Path, described):
        shutil.copy(path, digests / f"{path.parent.name}-{path.name}")
    names = ("agent", "environment", "condition", "evaluation")
    table.astype(dict.fromkeys(names, "category")).to_parquet(folder / "rollouts.parquet", index=False, compression="zstd")


if __name__ == "__main__":
    publish(Path(sys.argv[1]), Path(sys.argv[2]))
