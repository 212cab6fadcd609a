"""Progress of long jobs: one line that is rewritten on a terminal, and plain lines elsewhere and in a workflow.

Several jobs of a workflow may share a terminal, where only plain lines stay readable. tqdm rewrites its bar there too, and in files.
"""

import io
import shutil
import sys
import time


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def print_anything() -> None:
    """Lets all text be printed. Characters that the terminal's encoding lacks, or that are not valid text, are escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


plain = False  # whether lines are plain even on a terminal


class Progress:
    """Prints ``[label] done/total unit  rate  time left`` every few seconds at most, and at the end."""

    def __init__(self, label: str, total: int, unit: str, done: int = 0, every: float = 10.0):
        self.label, self.total, self.unit = label, total, unit
        self.rewrite = sys.stderr.isatty() and not plain
        self.every = 0.2 if self.rewrite else every
        self.done = self._first = done
        self._start = self._printed = time.monotonic()

    def advance(self, amount: int, note: str = "") -> None:
        """Counts finished work. ``note`` is appended to the line if one is due."""
        self.done += amount
        now = time.monotonic()
        if now - self._printed < self.every and self.done < self.total:
            return
        self._printed = now
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        left = (self.total - self.done) / max(rate, 1e-9)
        line = f"[{self.label}] {self.done:,}/{self.total:,} {self.unit}  {rate:,.0f}/s  {_clock(left)} left"
        line = f"{line}  {note}" if note else line
        if self.rewrite:
            width = shutil.get_terminal_size().columns - 1
            line = f"\r{line[:width]}\x1b[K"
        print(line, file=sys.stderr, flush=True, end="" if self.rewrite and self.done < self.total else "\n")
