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

from gla import augment, histories
from gla.files import CorruptFile, check, hash_file, hashes, read_json, sha256
from gla.progress import Progress

LOGS = {"benchmarks", "tensorboard", ".snakemake", ".snakemake_timestamp"}
OF_AN_AGENT = ("weights.safetensors", "metrics.jsonl", "by_position.csv")


def _is_ours(path: Path) -> bool:
    """Whether a file should have its hash beside it."""
    if LOGS & set(path.parts) or any(part.endswith(".zarr") for part in path.parts):
        return False
    return not (path.name.startswith(".") and (path.suffix == ".sha256" or ".partial" in path.name))


def _file(path: Path) -> str | None:
    if not path.is_file():
        return f"{path}: missing (expected it beside {hash_file(path)}); Snakemake makes it anew"
    if not hashes(path):
        return f"{path}: no hash beside it (expected {hash_file(path)}); delete it to have it made anew"
    try:
        check(path)
    except CorruptFile as error:
        return str(error)
    return None


def _described(path: Path) -> Iterator[tuple[Path, str | None]]:
    """What a digest or a description says of other files: a file, and its problem."""
    try:
        body = read_json(path)
        if not isinstance(body, dict):
            return
        if "files" in body:
            yield from histories.problems(_store(path), path)
        elif "table" in body:
            yield from _belonging(path, path.with_suffix(".csv"))
            if path.with_suffix(".csv").is_file():
                augment.read_manifest(path.with_suffix(".csv"), path)
        elif "weights" in body:
            for name in OF_AN_AGENT:
                yield from _belonging(path, path.with_name(name), body["weights"]["sha256"] if name == OF_AN_AGENT[0] else None)
        elif "sha256" in body:
            yield from _belonging(path, path.with_suffix(".safetensors"), body["sha256"])
    except CorruptFile as error:
        yield path, str(error)


def _belonging(description: Path, path: Path, expected: str | None = None) -> Iterator[tuple[Path, str]]:
    """A file that a description says is there, with this hash if it holds one, where it is not."""
    if not path.is_file():
        yield path, f"{path}: missing (expected it beside {description}); Snakemake makes it anew"
    elif expected and sha256(path) != expected:
        yield path, f"{path}: not what {description} describes; delete it to have it made anew"


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
        problems = [(path, _file(path)), *(_described(path) if path.suffix == ".json" and path.is_file() else ())]
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
