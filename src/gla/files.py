"""Functions that write files so that no half-written file is ever read and no change goes unnoticed.

For every file NAME, ``atomic`` writes its hash next to it into ``.NAME.sha256``, in the format of ``sha256sum``. A comment
above the hash, which ``sha256sum`` skips, says where in a folder of results the file was written (``place``).
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import reprlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    import pandas as pd


# The folders in a folder of results, and how many names below each make up a file's place; the deepest first, since an entry may have
# the name of a folder.
FOLDERS = {
    "rollouts": 3, "agents": 2, "histories": 2, "references": 2, "training": 2, "figures": 1, "manifests": 1, "tables": 1,
    "software.csv": 0,
}  # fmt: skip

LOCKS = ".run.lock", ".jobs.lock"  # file names in a folder of results
LARGEST = 1e100  # largest number in a table
ANEW = "delete it, and Snakemake makes it again"  # by ``snakemake all``


class CorruptFile(ValueError):
    """A file is missing, cut off or altered. The error names the file and what was expected."""


class Busy(OSError):
    """Another process is writing the same output."""


@contextlib.contextmanager
def exclusive(path: str | Path, shared: bool = False) -> Iterator[None]:
    """Locks a folder, or a file, which is made if it does not exist. shared: whether several processes may hold the lock at once.

    Raises Busy where another process holds the lock. The library filelock has no locks of folders, and its ``flock`` is never shared.
    """
    path = Path(path)
    while True:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Busy(
                f"{path}: another process is writing it (expected one at a time; wait for it, or stop it)"
            ) from None
        except OSError as error:
            # The file system has no locks, or (NFS) no locks of folders.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF):
                os.close(descriptor)
                raise
        # If the file was renamed between opening and locking, the lock is on another file.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                break
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(results: str | Path, by: Literal["run", "job"]) -> Iterator[None]:
    """Locks a folder of results while something writes into it.

    A run of Snakemake removes outputs before their jobs begin, and the files of failed jobs, so that it needs the folder for itself.
    Raises Busy if another run, or a job that outlived its run, holds the folder.
    """
    folder, (run, jobs) = Path(results), LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            if by == "run":
                held.enter_context(exclusive(folder / run))
                with exclusive(folder / jobs):
                    pass
            else:
                held.enter_context(exclusive(folder / jobs, shared=True))
        except Busy:
            raise Busy(f"{folder}: another run of Snakemake is writing there (wait for it, or stop it)") from None
        yield


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Adds this path to an OSError that names no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # an error that is a whole sentence needs no name
            error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path next to ``path``. On success the file is flushed, its hash is written, and it is renamed; on
    failure it is removed.

    Raises Busy where another process is writing the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    with exclusive(temporary), named(path):
        try:
            yield temporary
            with open(temporary, "rb+") as f:
                os.fsync(f.fileno())
            new, old = sha256(temporary), hashes(path) if path.exists() else []
            # The new hash is written before the file, and the old one is kept, so that after a kill either file has its hash.
            _write_hashes(path, [new, *old])
            os.replace(temporary, path)
            sync_folder(path.parent)
            if old:
                _write_hashes(path, [new])
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def asked_for(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path, and puts the file that was written there into the place of ``path`` on success. This is for what a user asked
    for, outside of results: no folder is made, and no hash is written."""
    with tempfile.TemporaryDirectory() as folder, named(path):
        temporary = Path(folder) / Path(path).name
        yield temporary
        shutil.copyfile(temporary, path)


def with_stores(digests: Iterable[str]) -> list[tuple[str, str]]:
    """The store of histories that each digest describes, next to which it lies, and the digest."""
    return [(f"{digest.removesuffix('.json')}/history.zarr", digest) for digest in digests]


def hash_file(path: str | Path) -> Path:
    """Returns the path of a file's hash."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


def place(path: str | Path) -> str:
    """Returns a file's path in a folder of results, such as ``rollouts/EVALUATION/AGENT/CONDITION.parquet``; empty if it is
    in none.
    """
    return next(iter(_places(os.path.abspath(path))), "")


def _places(path: str | Path) -> list[str]:
    """Returns the ends of a path that may be its place. There are several if the folder of results has the name of a folder
    inside it.
    """
    parts = Path(path).parts
    return ["/".join(parts[-n - 1 :]) for folder, n in FOLDERS.items() if len(parts) > n and parts[-n - 1] == folder]


def check_place(path: str | Path, what: str, own: str) -> None:
    """Raises CorruptFile if a file that claims to be ``what`` (a copy, a digest) of ``own`` lies in the place of another file.

    A file outside of any folder of results passes, and so does one that does not say where it belongs. One place in common is
    enough: if a folder of results was called ``agents``, its file ``agents/manifests/x.json`` is also ``manifests/x.json``
    after the folder was moved.
    """
    here = _places(os.path.abspath(path))
    if here and own and not set(here) & {own, *_places(own)}:
        raise CorruptFile(f"{path}: {what} of {own} (expected the file that was made for this place); {ANEW}")


def hashes(path: str | Path) -> list[str]:
    """Returns the valid hashes of a file: one, or two while it is being replaced; none if it has no hash next to it."""
    return _recorded(path)[1]


def _recorded(path: str | Path) -> tuple[str, list[str]]:
    """Returns the place where a file was written, and its hashes."""
    try:
        text = hash_file(path).read_text(errors="replace")
    except FileNotFoundError:
        return "", []
    except IsADirectoryError:
        raise CorruptFile(
            f"{hash_file(path)}: a folder (expected a file, the hash of {Path(path).name}); delete it"
        ) from None
    line = rf"([0-9a-f]{{64}})  {re.escape(Path(path).name)}\n"
    # Other lines than those that are written here are no hash.
    whole = re.fullmatch(rf"(?:# (.+)\n)?(?:{line}){{1,2}}", text)
    return (whole[1] or "", re.findall(line, text)) if whole else ("", [""])


def _write_hashes(path: Path, values: list[str]) -> None:
    target = hash_file(path)
    temporary = target.with_name(f"{target.name}.partial")
    where = place(path)
    with open(temporary, "w") as f:
        f.write(f"# {where}\n" if where else "")
        f.write("".join(f"{value}  {path.name}\n" for value in values))
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, target)


def check(path: str | Path, anywhere: bool = False, copies: bool = True) -> None:
    """Raises CorruptFile if a file was altered, or was written for another place in a folder of results.

    anywhere: whether it may be in another place now. copies: whether it may lack a hash, like a copy of the file alone.
    """
    written, expected = _recorded(path)
    if not expected and not copies:
        raise CorruptFile(f"{path}: no hash next to it (expected {hash_file(path)}); {ANEW}")
    if expected and sha256(path) not in expected:
        raise CorruptFile(f"{path}: altered or cut off (its SHA-256 is not the one in {hash_file(path)}); {ANEW}")
    if not anywhere:
        check_place(path, "a copy", written)


def remove(path: str | Path) -> None:
    """Removes a file and its hash, if they exist."""
    Path(path).unlink(missing_ok=True)
    hash_file(path).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path, anywhere: bool = False) -> Any:
    """Returns the content of a JSON file. Raises CorruptFile if the file is missing or is not JSON, and as ``check`` does."""
    try:
        check(path, anywhere)
        return json.loads(Path(path).read_text())
    except CorruptFile:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise CorruptFile(
            f"{path}: missing (expected a JSON file that an earlier stage writes); Snakemake makes it again"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{path}: not readable as JSON ({error}); {ANEW}") from None


class Description(BaseModel):
    """The keys that a JSON file of results must have. It may have more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def read_description(path: str | Path, model: type[Description], anywhere: bool = False) -> dict[str, Any]:
    """Returns the content of a JSON file that must fit a pydantic model, and whose key ``content``, if it has one, must be
    the hash of everything else.

    Raises CorruptFile, in one line for the first fault, if it does not, and as ``read_json`` does.
    """
    body = read_json(path, anywhere)
    try:
        model.model_validate(body)
        whole = "content" not in body or body["content"] == fingerprint(
            {k: v for k, v in body.items() if k != "content"}
        )
    except ValidationError as error:
        fault = error.errors()[0]
        where, expected = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "missing":
            found = f"{where} is missing"
        elif where:
            found = f"{where} is {reprlib.repr(fault['input'])}"
        else:
            found = "its parts do not agree"
        raise CorruptFile(f"{path}: {found} (expected: {expected}); {ANEW}") from None
    except RecursionError:
        raise CorruptFile(f"{path}: nested too deep (expected what this package writes); {ANEW}") from None
    if not whole:
        raise CorruptFile(f"{path}: altered (its content is not what its own hash says); {ANEW}")
    return body


def read_csv(
    path: str | Path, names: Sequence[str] = (), numbers: Sequence[str] = (), **options: Any
) -> "pd.DataFrame":
    """Returns the table in a CSV file. Raises CorruptFile if the file is missing, is not a table, was altered, or lacks a column.

    names, numbers: columns of text and of numbers that it must have. Numbers may be missing, and must be below 1e100 in size.
    """
    import pandas as pd  # slow to import, and every start of Snakemake imports this module

    try:
        check(path)
        frame = pd.read_csv(path, **options)
        if missing := [name for name in (*names, *numbers) if name not in frame]:
            raise ValueError(f"no column {missing[0]!r}")
        for name in numbers:
            column = frame[name] if len(frame) else pd.Series(dtype=float)  # without rows no type is known
            if column.dtype.kind not in "iuf" or (column.abs() > LARGEST).any():
                raise ValueError(f"column {name!r} holds something else than numbers up to {LARGEST}")
    except CorruptFile:
        raise
    except FileNotFoundError:
        raise CorruptFile(
            f"{path}: missing (expected a table that an earlier stage writes); Snakemake makes it again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())
        raise CorruptFile(f"{path}: not readable as CSV ({said}); {ANEW}") from None
    return frame


def sha256(path: str | Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Returns the hash of a JSON-like value, which does not depend on the order of keys."""
    try:
        text = json.dumps(value, sort_keys=True)
    except TypeError:  # keys of several types can only be sorted by their text
        text = json.dumps(_by_text(value))
    return hashlib.sha256(text.encode()).hexdigest()


def _by_text(value: Any) -> Any:
    """Returns the value with the keys of its mappings sorted by their text."""
    if isinstance(value, dict):
        return {key: _by_text(value[key]) for key in sorted(value, key=str)}
    return [_by_text(v) for v in value] if isinstance(value, list | tuple) else value
