"""Writing files so that nothing half-written is ever read."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd


class CorruptFile(ValueError):
    """A file that is missing, cut off or altered; names the file and what was expected."""


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``; flushes and renames it on success, removes it on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Raises CorruptFile where the file is missing or is no JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise CorruptFile(f"{path}: missing (expected a JSON file that an earlier stage writes)") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptFile(f"{path}: not readable as JSON ({error}); delete it to have it made anew") from None


def read_csv(path: str | Path, **options: Any) -> pd.DataFrame:
    """Raises CorruptFile where the file is missing or is no table."""
    try:
        return pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{path}: not readable as CSV ({error}); delete it to have it made anew") from None


def sha256(path: str | Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Hash of a JSON-like value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
