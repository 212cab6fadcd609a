"""Writing files so that nothing half-written is ever read, and nothing altered goes unnoticed.

Beside every file NAME that ``atomic`` writes stands its hash, ``.NAME.sha256``, as ``sha256sum`` writes it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd


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
def writing(results: str | Path, by: Literal["run", "command", "job"]) -> Iterator[None]:
    """Hold a folder of results while something writes into it.

    A run of Snakemake removes outputs before their jobs begin, and what a failed job leaves, so that it takes the folder for
    itself, jobs of an earlier run that was killed included; commands write side by side, each into a place of its own.
    Raises Busy where a run meets anything else, or a command meets a run.
    """
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            if by != "job":
                held.enter_context(exclusive(folder / ".run.lock", shared=by == "command"))
            if by == "run":
                with exclusive(folder / ".jobs.lock"):
                    pass
            else:
                held.enter_context(exclusive(folder / ".jobs.lock", shared=True))
        except Busy:
            raise Busy(f"{folder}: a run of Snakemake or a command of gla is writing there (wait for it, or stop it)") from None
        yield


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; on success flushes it, writes its hash and renames it; on failure removes it.

    Raises Busy where another process is writing the same file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    with exclusive(temporary):
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
        except OSError as error:  # a full disk does not say which file it has no room for
            error.filename = error.filename or str(path)
            raise
        finally:
            temporary.unlink(missing_ok=True)


def hash_file(path: str | Path) -> Path:
    """Where the hash of a file stands."""
    path = Path(path)
    return path.with_name(f".{path.name}.sha256")


def hashes(path: str | Path) -> list[str]:
    """What a file may hash to: one value, or two while it is being replaced; none where no hash stands beside it."""
    try:
        text = hash_file(path).read_text(errors="replace")
    except FileNotFoundError:
        return []
    line = rf"([0-9a-f]{{64}})  {re.escape(Path(path).name)}\n"
    # Anything but the lines that are written here is the hash of no file.
    return re.findall(line, text) if re.fullmatch(f"({line}){{1,2}}", text) else [""]


def _write_hashes(path: Path, values: list[str]) -> None:
    target = hash_file(path)
    temporary = target.with_name(f"{target.name}.partial")
    with open(temporary, "w") as f:
        f.write("".join(f"{value}  {path.name}\n" for value in values))
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, target)


def check(path: str | Path) -> None:
    """Raises CorruptFile where a file is not what was written. A file with no hash beside it, such as a copy, passes."""
    expected = hashes(path)
    if expected and sha256(path) not in expected:
        raise CorruptFile(
            f"{path}: altered or cut off (its SHA-256 is not the one in {hash_file(path)}); delete it to have it made anew"
        )


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


def read_json(path: str | Path) -> Any:
    """Raises CorruptFile where the file is missing, is no JSON, or was altered."""
    try:
        check(path)
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise CorruptFile(f"{path}: missing (expected a JSON file that an earlier stage writes)") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptFile(f"{path}: not readable as JSON ({error}); delete it to have it made anew") from None


def read_csv(path: str | Path, **options: Any) -> "pd.DataFrame":
    """Raises CorruptFile where the file is missing, is no table, or was altered."""
    import pandas as pd  # slow, and whoever starts Snakemake waits for this module

    try:
        check(path)
        return pd.read_csv(path, **options)
    except CorruptFile:
        raise
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{path}: not readable as CSV ({error}); delete it to have it made anew") from None


def sha256(path: str | Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Hash of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
