"""The memory that a process may still fill."""

import contextlib
from pathlib import Path

import psutil


def memory_limit() -> int:
    """Returns how many bytes this process may still fill: those that the machine, or its control group if that is less, has left."""
    left, groups = psutil.virtual_memory().available, []
    with contextlib.suppress(OSError):  # only Linux has them
        groups = [line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for controllers, path in groups:
        if controllers not in ("", "memory"):  # of version 2 or 1
            continue
        root, name = Path("/sys/fs/cgroup", controllers), "memory.limit_in_bytes" if controllers else "memory.max"
        for group in (root / path.lstrip("/"), *(root / path.lstrip("/")).parents):
            with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
                left = min(left, int((group / name).read_text()))
    return left
