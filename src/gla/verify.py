"""Is everything in a folder of results what was written there?

Every file has its hash beside it (gla.files), every history store a digest with the hash of each of its files, and every
description (of a manifest, an agent, a reference) says which files belong to it. What a stage never reads again is left out:
TensorBoard's logs and Snakemake's benchmarks and stamps. Each line says what to delete, if anything; running Snakemake for
``all`` then makes it anew.
Run as ``python -m gla.verify results``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from gla import agent, manifests, reference, rows
from gla.files import ANEW, LOCKS, CorruptFile, check, hash_file, hashes, place
from gla.progress import Progress
from gla.storage import reading

LOGS = {"benchmarks", "tensorboard", ".snakemake", ".snakemake_timestamp", *LOCKS}
DESCRIBING = (".json", ".parquet")  # files that say what they are, and what belongs to them
OF_AN_AGENT = ("metrics.jsonl", "by_position.csv")  # beside its weights


def _is_ours(path: Path) -> bool:
    """Whether a file should have its hash beside it."""
    if LOGS & set(path.parts) or any(part.endswith(".zarr") for part in path.parts):
        return False
    return not (path.name.startswith(".") and (path.suffix == ".sha256" or ".partial" in path.name))


def _file(path: Path) -> str | None:
    if not path.is_file():
        return f"{path}: missing (expected it beside {hash_file(path)}); Snakemake makes it anew"
    if not hashes(path):
        return f"{path}: no hash beside it (expected {hash_file(path)}); {ANEW}"
    try:
        check(path)
    except CorruptFile as error:
        return str(error)
    return None


def _described(path: Path) -> Iterator[tuple[Path, str | None]]:
    """What a file says of itself and of others: a file, and its problem."""
    kind = place(path).split("/")[0]
    try:
        if kind == "histories":
            yield from reading.problems(_store(path), path)
        elif kind == "manifests":
            manifests.read_manifest(path.with_suffix(".csv"), path)
        elif kind == "references":
            reference.read_described(path.with_suffix(".safetensors"))
        elif kind == "rollouts":
            rows.read_rows(path)
        elif kind == "agents":
            for name in OF_AN_AGENT:
                if not path.with_name(name).is_file():
                    yield path.with_name(name), f"{path.with_name(name)}: missing (expected it beside {path}); Snakemake makes it anew"
            agent.read_described(path.parent)
    except CorruptFile as error:
        yield path, str(error)


def _store(digest: Path) -> Path:
    return digest.with_suffix("") / "history.zarr"


def verify(folder: str | Path) -> list[str]:
    """One line for every file of a folder of results that is missing, altered or unknown; none where all is well.

    Raises CorruptFile where the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorruptFile(f"{folder}: no such folder (expected a folder of results)")
    everything = sorted(folder.rglob("*"))
    size = {p: p.stat().st_size for p in everything if p.is_file()}
    progress = Progress(f"verify {folder}", sum(size.values()), "bytes")
    ours = {p for p in size if _is_ours(p.relative_to(folder))}
    # What is gone has left its hash or its store behind.
    ours |= {p.with_name(p.name[1 : -len(".sha256")]) for p in size if p.name.startswith(".") and p.suffix == ".sha256"}
    ours |= {p.parent.with_suffix(".json") for p in everything if p.name == "history.zarr"}
    found: dict[str, None] = {}  # in order, each once
    for path in sorted(ours):
        problems = [(path, _file(path))]
        if problems[0][1] is None and path.suffix in DESCRIBING:  # a damaged file is not asked what it says
            problems += _described(path)
        for named, problem in problems:
            if problem:
                found[problem] = None
            progress.advance(size.pop(named, 0) + size.pop(hash_file(named), 0))
    if left := progress.total - progress.done:  # what is left out, and what was added or is gone
        progress.advance(left)
    return list(found)


if __name__ == "__main__":
    try:
        problems = verify(sys.argv[1] if len(sys.argv) == 2 else "results")
    except CorruptFile as error:
        problems = [str(error)]
    print("\n".join(problems) or "everything is as it was written")
    sys.exit(bool(problems))
