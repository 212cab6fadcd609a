"""Reports a call that does not return, and gives it up after a time limit.

A thread checks every second which call is running, so that calls that return cost nothing. After the limit
(``GLA_STEP_SECONDS``, 600 by default) the main thread is interrupted, as by Ctrl-C. If the call ignores that, because it runs
C code of a library or catches all exceptions, the process of the job is ended. A call that never releases Python's lock is
not noticed, since no other thread can run.
"""

import faulthandler
import os
import signal
import sys
import threading
import time

EVERY = 1.0  # seconds between two checks
FIRST = 30.0  # seconds after which the call is reported, then again after twice as many, and so on
GRACE = 10.0  # seconds within which an interruption must take effect
MAIN = threading.main_thread().ident

ends = False  # whether a process that ignores an interruption is ended: a job is, a user's notebook is not


def limit() -> float:
    """Returns the seconds that one call may take. Raises ConfigError."""
    from gla.options import ConfigError  # slow to import, and the help of the command imports this module

    value = os.environ.get("GLA_STEP_SECONDS", "600")
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise ConfigError(f"GLA_STEP_SECONDS: {value!r} (expected seconds that a step may take, such as 600, or inf)")
    return seconds


class Wait:
    """Calls that may never return, made inside ``with wait:``. In a subclass, ``str(wait)`` names the current call.

    ``at`` is the number of the call, and is set before each. Only calls in the main thread are watched, since no other thread can be
    interrupted.
    """

    def __init__(self):
        self.limit, self.at, self.entered, self.late = limit(), 0, 0, False
        _start()

    def __enter__(self) -> "Wait":
        global _now
        self.entered += 1
        if threading.get_ident() == MAIN:
            _now = self
        return self

    def __exit__(self, kind, error, traceback) -> None:
        global _now
        _now = None
        if error is not None:
            late, self.late = self.late, False
            self.failed(error, late)

    def failed(self, error: BaseException, late: bool) -> None:
        """Called with the error that a call raised, which is raised again unless this method raises another. late: whether
        the watchdog may have interrupted the call."""

    def overdue(self) -> str:
        return f"{self}: nothing was returned for {self.limit:g} s (expected an answer within GLA_STEP_SECONDS)"


_now: Wait | None = None
_thread: threading.Thread | None = None


def _start() -> None:
    global _thread
    if _thread is None or not _thread.is_alive():  # threads do not survive a fork
        _thread = threading.Thread(target=_watch, name="watchdog", daemon=True)
        _thread.start()


def _watch() -> None:
    last, waited, said = None, 0.0, FIRST
    while True:
        wait = _now
        call = None if wait is None else (wait, wait.entered, wait.at)
        every = EVERY if wait is None else min(EVERY, wait.limit / 4)
        if wait is None or call != last:
            last, waited, said = call, 0.0, FIRST
        else:
            waited += every  # checks are counted, not seconds, since a process that was stopped did not hang
            if waited >= said and not wait.late:
                print(
                    f"{wait}: waited for {said:g} s; given up after {wait.limit:g} s (GLA_STEP_SECONDS)",
                    file=sys.stderr,
                    flush=True,
                )
                said *= 2
            if waited >= wait.limit and not wait.late:
                wait.late = True
                signal.pthread_kill(MAIN, signal.SIGINT)
            elif ends and waited >= wait.limit + min(GRACE, wait.limit):
                print(f"error: {wait.overdue()}", file=sys.stderr, flush=True)
                if os.environ.get("GLA_DEBUG"):
                    faulthandler.dump_traceback()
                os._exit(1)
        time.sleep(every)
