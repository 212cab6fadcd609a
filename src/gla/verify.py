"""Checks that all files in a folder of results are as they were written.

Every file has its hash next to it (gla.files), and every history store has a digest with the hash of each of its files. The
files of one job lie together, so that a file shows which others are missing. Files that no stage reads again are left out:
TensorBoard's logs, and Snakemake's benchmarks and stamps. Each line says what to delete, if anything. ``snakemake all`` then
makes it again, unless no config names it any more.

Run as ``python -m gla.verify results``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from gla import agent, manifests, reference, rows
from gla.files import LOCKS, CorruptFile, check, hash_file, place
from gla.progress import Progress, print_anything
from gla.storage import reading

LOGS = {"benchmarks", "tensorboard", "wandb", ".snakemake", ".snakemake_timestamp", *LOCKS}
DESCRIBING = (".json", ".parquet")  # files that describe themselves, and others that belong to them
AGENT = ("weights.safetensors", "agent.json", "metrics.jsonl", "by_position.csv")
# The endings of the files that must be next to a file, by its folder and ending. A table may exist before its drawing.
ENDINGS = {
    "manifests": {".csv": [".json"], ".json": [".csv"]},
    "references": {".safetensors": [".json"], ".json": [".safetensors"]},
    "figures": {".png": [".csv", ".pdf"], ".pdf": [".csv", ".png"]},
}


def _is_ours(path: Path) -> bool:
    """Returns whether a file should have its hash next to it."""
    if LOGS & set(path.parts) or any(part.endswith(".zarr") for part in path.parts):
        return False
    return not (path.name.startswith(".") and (path.suffix == ".sha256" or ".partial" in path.name))


def _beside(path: Path) -> Iterator[Path]:
    """Yields the files that must be next to a file. The card in an agent's folder and the settings with which it acts are written later
    than the rest, and may be missing.
    """
    kind = place(path).split("/")[0]
    if kind == "histories" and path.suffix == ".json":
        yield path.with_suffix("") / "history.zarr"
    elif kind == "agents" and path.name in (*AGENT, "README.md", "acting.json"):
        yield from (path.with_name(name) for name in AGENT if name != path.name)
    else:
        yield from (path.with_suffix(ending) for ending in ENDINGS.get(kind, {}).get(path.suffix, []))


def _there(path: Path) -> bool:
    return path.is_dir() if path.name == "history.zarr" else path.is_file()


def _missing(path: Path, beside: Path) -> str:
    """Returns the line for a missing file. beside: the file that shows that it is missing, to be deleted if no config names
    either.
    """
    orphan = path.parent if path.name in AGENT and place(path).startswith("agents/") else beside
    return f"{path}: missing (expected it next to {beside}); Snakemake makes it again, or delete {orphan} if no config names it any more"


def _file(path: Path) -> str | None:
    try:
        check(path, copies=False)
    except CorruptFile as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or path}: {error.strerror} (expected a file that can be read)"
    return None


def _described(path: Path) -> Iterator[tuple[Path, str | None]]:
    """Checks what a file says about itself and about others, all of which exist. Yields files, each with its problem or None."""
    kind = place(path).split("/")[0]
    try:
        if kind == "histories":
            yield from reading.problems(next(_beside(path)), path)
        elif kind == "manifests":
            manifests.read_manifest(path.with_suffix(".csv"), path)
        elif kind == "references":
            reference.read_described(path.with_suffix(".safetensors"))
        elif kind == "rollouts":
            rows.read_rows(path)
        elif kind == "agents":
            agent.read_described(path.parent)
    except CorruptFile as error:
        yield path, str(error)
    except OSError as error:
        yield path, f"{error.filename or path}: {error.strerror} (expected a file that can be read)"


def verify(folder: str | Path) -> list[str]:
    """Returns one line for every file of a folder of results that is missing, altered or unknown.

    Raises CorruptFile if the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorruptFile(f"{folder}: no such folder (expected a folder of results)")
    everything = sorted(folder.rglob("*"))
    size = {p: p.stat().st_size for p in everything if p.is_file()}
    progress = Progress(f"verify {folder}", sum(size.values()), "bytes")
    ours = {p for p in size if _is_ours(p.relative_to(folder))}
    # A missing file is noticed by its hash, its store, or the files that lie next to it.
    told = {
        p.with_name(p.name[1 : -len(".sha256")]): p
        for p in everything
        if p.name.startswith(".") and p.suffix == ".sha256"
    }
    told |= {p.parent.with_suffix(".json"): p for p in everything if p.name == "history.zarr"}
    told |= {other: p for p in sorted(ours) for other in _beside(p)}
    gone = {path: beside for path, beside in told.items() if not _there(path)}
    found: dict[str, None] = {}  # each line once, in order
    for path in sorted(ours | gone.keys()):
        problems = [(path, _missing(path, gone[path]) if path in gone else _file(path))]
        # The content of a file is not checked if it is damaged, or if a file that belongs to it is missing.
        if problems[0][1] is None and path.suffix in DESCRIBING and not gone.keys() & {*_beside(path)}:
            problems += _described(path)
        for named, problem in problems:
            if problem:
                found[problem] = None
            progress.advance(size.pop(named, 0) + size.pop(hash_file(named), 0))
    if left := progress.total - progress.done:  # bytes of files that are left out, or that were added or removed
        progress.advance(left)
    return list(found)


if __name__ == "__main__":
    print_anything()
    try:
        problems = verify(sys.argv[1] if len(sys.argv) == 2 else "results")
    except CorruptFile as error:
        problems = [str(error)]
    print("\n".join(problems) or "everything is as it was written")
    sys.exit(bool(problems))
