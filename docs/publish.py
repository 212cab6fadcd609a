"""Copy what a finished run shows into docs/results: figures, their numbers, verdicts, the config, and what they were made from.

Of what the config names, and of nothing else that lies in the folder of results. ``rollouts.parquet`` holds every return that
the verdicts rest on, so that the table can be made again without the run (``tests/unit/test_docs_numbers.py`` does).

    python docs/publish.py config/config.yaml docs/results
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
import yaml

from gla.config import normalise
from gla.evaluate import read_rows
from gla.stages import Stages


def publish(config: Path, folder: Path) -> None:
    """Write a set into ``folder``, in the place of what stood there."""
    stages = Stages(normalise(yaml.safe_load(config.read_text())))
    results, digests = Path(stages.results), folder / "digests"
    shown = [results / f"figures/{name}.{ending}" for name in stages.config["figures"] for ending in ("png", "csv")]
    sourced = [name for name, entry in stages.config["environments"].items() if entry["ppo"]]
    networks = [network for agent in stages.config["agents"] for network in stages.networks(agent)]
    references = {path for one in stages.judged() for path in one["references"]}
    described = [*stages.digests(sourced), *(f"{stages.agent(n)}/agent.json" for n in networks), *sorted(references)]
    frames = [read_rows(path).assign(evaluation=one["name"]) for one in stages.judged() for path in one["rollouts"]]
    table = pd.concat(frames, ignore_index=True)
    missing = [path for path in (*shown, results / "tables/verdicts.csv", *map(Path, described)) if not path.exists()]
    if missing:  # before anything of the old set goes
        raise SystemExit(f"{missing[0]}: missing (expected a finished run of {config})")
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
