"""Writing files so that nothing half-written is ever read, and nothing altered goes unnoticed.

Beside every file NAME that ``atomic`` writes stands its hash, ``.NAME.sha256``, as ``sha256sum`` writes it, and above it,
in a comment that ``sha256sum`` skips, where in a folder of results it was written (``place``).
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    import pandas as pd


# What lies in a folder of results, and how many names below each say what a file is; the deepest first, since an entry may bear
# their names.
FOLDERS = {
    "rollouts": 3, "agents": 2, "histories": 2, "references": 2, "training": 2, "figures": 1, "manifests": 1, "tables": 1,
    "software.csv": 0,
}  # fmt: skip

LOCKS = ".run.lock", ".jobs.lock"  # in a folder of results
LARGEST = 1e100  # number in a table
ANEW = "delete it, and Snakemake makes it again"  # by Snakemake, for ``all``


class CorruptFile(ValueError):
    """A file that is missing, cut off or altered; names the file and what was expected."""


class Busy(OSError):
    """Another process is writing the same output."""


@contextlib.contextmanager
def exclusive(path: str | Path, shared: bool = False) -> Iterator[None]:
    """Lock a folder, or a file, which is made if there is none. shared: beside others who share it.

    Raises Busy where another process holds the lock.
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
            # A file system without locks, or (NFS) without those of folders.
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF):
                os.close(descriptor)
                raise
        # The file may have been renamed away between opening and locking: then the lock is on another one.
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
    """Hold a folder of results while something writes into it.

    A run of Snakemake removes outputs before their jobs begin, and what a failed job leaves, so that it takes the folder for
    itself. Raises Busy where a run meets another one, or a job that outlived the run that started it.
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
    """Give an OSError that has no file's name this one: a full disk does not say which file it has no room for."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # one that is a sentence says what it has to
            error.filename = error.filename or str(path)
        raise


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success flushes it, writes its hash and renames it; on failure removes it.

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
            # Written ahead of the file and beside the old hash: whichever file a kill leaves, its hash is there.
            _write_hashes(path, [new, *old])
            os.replace(temporary, path)
            sync_folder(path.parent)
            if old:
                _write_hashes(path, [new])
        finally:
            temporary.unlink(missing_ok=True)


def hash_file(path: str | Path) -> Path:
    """Where the hash of a file stands."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


def place(path: str | Path) -> str:
    """Where a file lies in a folder of results, as ``rollouts/EVALUATION/AGENT/CONDITION.parquet``; empty where in none."""
    return next(iter(_places(os.path.abspath(path))), "")


def _places(path: str | Path) -> list[str]:
    """What the end of a path may be as a place; several where the folder of results is itself called as one of those in it."""
    parts = Path(path).parts
    return ["/".join(parts[-n - 1 :]) for folder, n in FOLDERS.items() if len(parts) > n and parts[-n - 1] == folder]


def check_place(path: str | Path, what: str, own: str) -> None:
    """Raises CorruptFile where a file that says that it is ``what`` (a copy, a digest) of ``own`` lies in another's place.

    A file outside of any folder of results passes, and so does one that does not say where it belongs. A folder of results that was
    called ``agents`` is moved with ``agents/manifests/x.json`` in it, which is ``manifests/x.json`` as well: one place in common is
    enough.
    """
    here = _places(os.path.abspath(path))
    if here and own and not set(here) & {own, *_places(own)}:
        raise CorruptFile(f"{path}: {what} of {own} (expected what was made for this place); {ANEW}")


def hashes(path: str | Path) -> list[str]:
    """What a file may hash to: one value, or two while it is being replaced; none where no hash stands beside it."""
    return _recorded(path)[1]


def _recorded(path: str | Path) -> tuple[str, list[str]]:
    """The place where a file was written, and its hashes."""
    try:
        text = hash_file(path).read_text(errors="replace")
    except FileNotFoundError:
        return "", []
    except IsADirectoryError:
        raise CorruptFile(
            f"{hash_file(path)}: a folder (expected a file, the hash of {Path(path).name}); delete it"
        ) from None
    line = rf"([0-9a-f]{{64}})  {re.escape(Path(path).name)}\n"
    # Anything but the lines that are written here is the hash of no file.
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
    """Raises CorruptFile where a file is not what was written, or was written elsewhere in a folder of results.

    anywhere: whether it may have another place now. copies: whether it may lack a hash, as a copy of the file alone does.
    """
    written, expected = _recorded(path)
    if not expected and not copies:
        raise CorruptFile(f"{path}: no hash beside it (expected {hash_file(path)}); {ANEW}")
    if expected and sha256(path) not in expected:
        raise CorruptFile(f"{path}: altered or cut off (its SHA-256 is not the one in {hash_file(path)}); {ANEW}")
    if not anywhere:
        check_place(path, "a copy", written)


def remove(path: str | Path) -> None:
    """Remove a file and its hash, where they exist."""
    Path(path).unlink(missing_ok=True)
    hash_file(path).unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: str | Path, value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path, anywhere: bool = False) -> Any:
    """Raises CorruptFile where the file is missing, is no JSON, or as ``check`` does."""
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
    """What a JSON file of results must hold; it may hold more."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


def read_description(path: str | Path, model: type[Description], anywhere: bool = False) -> dict[str, Any]:
    """A JSON file that holds what a model says, and whose ``content``, if it has one, is the hash of everything else.

    Raises CorruptFile, in one line for the first of its faults, where it does not, and as ``read_json`` does.
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
    """Raises CorruptFile where the file is missing, is no table, was altered, or lacks a column.

    names, numbers: columns that it must have; numbers may be missing, and none is beyond 1e100.
    """
    import pandas as pd  # slow, and whoever starts Snakemake waits for this module

    try:
        check(path)
        frame = pd.read_csv(path, **options)
        if missing := [name for name in (*names, *numbers) if name not in frame]:
            raise ValueError(f"no column {missing[0]!r}")
        for name in numbers:
            column = frame[name] if len(frame) else pd.Series(dtype=float)  # of no rows no type is known
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
    """Hash of a JSON-like value, whatever the order of its keys."""
    try:
        text = json.dumps(value, sort_keys=True)
    except TypeError:  # keys of several types have no order but that of their text
        text = json.dumps(_by_text(value))
    return hashlib.sha256(text.encode()).hexdigest()


def _by_text(value: Any) -> Any:
    """A value whose mappings have their keys in the order of their text."""
    if isinstance(value, dict):
        return {key: _by_text(value[key]) for key in sorted(value, key=str)}
    return [_by_text(v) for v in value] if isinstance(value, list | tuple) else value
