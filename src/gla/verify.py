"""Is everything in a folder of results what was written there?

Every file has its hash beside it (gla.files), and every history store a digest with the hash of each of
its files. What a stage never reads again is left out: TensorBoard's logs and Snakemake's benchmarks and stamps.
Run as ``python -m gla.verify results``.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from gla import augment, histories
from gla.files import CorruptFile, check, hash_file, hashes, read_json, sha256
from gla.progress import Progress

LOGS = {"benchmarks", "tensorboard", ".snakemake", ".snakemake_timestamp"}


def _is_ours(path: Path) -> bool:
    """Whether a file should have its hash beside it."""
    return not (
        LOGS & set(path.parts) or any(p.endswith(".zarr") for p in path.parts)
        or path.name.startswith(".") and (path.suffix in (".sha256", ".partial") or ".partial" in path.name)
    )  # fmt: skip


def _file(path: Path) -> str | None:
    if not path.is_file():
        return f"{path}: missing (its hash is in {hash_file(path)}); it has to be made anew"
    if not hashes(path):
        return f"{path}: no hash beside it (expected {hash_file(path)}); delete it to have it made anew"
    try:
        check(path)
    except CorruptFile as error:
        return str(error)
    return None


def _stores(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Every store and its digest, of which one may be missing."""
    blocks = {p.with_suffix("") for p in folder.glob("histories/*/[!.]*.json")}
    for block in sorted(blocks | {p.parent for p in folder.glob("histories/*/*/history.zarr")}):
        yield block / "history.zarr", block.with_suffix(".json")


def _together(folder: Path) -> Iterator[str]:
    """Files that are whole but do not belong together."""
    for summary in sorted(folder.glob("manifests/[!.]*.json")):
        try:
            augment.read_manifest(summary.with_suffix(".csv"), summary)
        except CorruptFile as error:
            yield str(error)
    for description in sorted(folder.glob("agents/*/agent.json")):
        weights = description.with_name("weights.safetensors")
        try:
            expected = read_json(description)["weights"]["sha256"]
        except (CorruptFile, KeyError, TypeError):
            continue  # told already, file by file
        if weights.is_file() and sha256(weights) != expected:
            yield f"{weights}: not the weights that {description} describes; delete the folder to have it made anew"


def verify(folder: str | Path) -> list[str]:
    """One line for every file of a folder of results that is missing, altered or unknown; none where all is well.

    Raises CorruptFile where the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorruptFile(f"{folder}: no such folder (expected a folder of results)")
    found: dict[str, None] = {}  # in order, each once
    everything = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    ours = {p for p in everything if _is_ours(p.relative_to(folder))}
    # A file that is gone has left its hash behind.
    ours |= {p.with_name(p.name[1 : -len(".sha256")]) for p in everything if p.name.startswith(".") and p.suffix == ".sha256"}
    size = {p: p.stat().st_size for p in everything}
    progress = Progress(f"verify {folder}", sum(size.values()), "bytes")
    for path in sorted(ours):
        if problem := _file(path):
            found[problem] = None
        progress.advance(size.get(path, 0) + size.get(hash_file(path), 0))
    for store, digest in _stores(folder):
        try:
            for path, problem in histories.problems(store, digest):
                if problem:
                    found[problem] = None
                progress.advance(size.get(path, 0))
        except CorruptFile as error:
            found[str(error)] = None
    found |= dict.fromkeys(_together(folder))
    progress.advance(progress.total - progress.done)  # what is left out
    return list(found)


if __name__ == "__main__":
    try:
        problems = verify(sys.argv[1] if len(sys.argv) == 2 else "results")
    except CorruptFile as error:
        problems = [str(error)]
    print("\n".join(problems) or "everything is as it was written")
    sys.exit(bool(problems))
