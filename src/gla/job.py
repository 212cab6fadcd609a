"""What every script of the workflow does around its one call."""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from gla import files, progress, watchdog
from gla.options import ConfigError

LEFT = 10.0  # seconds that threads have to end in after their job


def errors() -> tuple[type[Exception], ...]:
    """The package's own errors, each of which is a sentence, as far as their modules are loaded."""
    from gla.environments.spaces import UnsupportedEnvironment

    expected: tuple[type[Exception], ...] = (ConfigError, UnsupportedEnvironment, files.CorruptFile, OSError)
    if "torch" in sys.modules:
        from gla.policies import NumericalError
        from gla.train import Interrupted

        expected += (NumericalError, Interrupted)
    return expected


def _left() -> list[threading.Thread]:
    """Threads that Python waits for when a script is over."""
    return [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]


def _waiting() -> bool:
    """Whether Python is waiting for them, which it does nowhere but in ``threading._shutdown``, for ever and without a word."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if (frame.f_code.co_name, frame.f_code.co_filename) == ("_shutdown", threading.__file__):
            return True
        frame = frame.f_back
    return False


def _end(status: int) -> None:
    """End this process where its script is over and threads keep it alive."""
    time.sleep(LEFT)
    while not (_waiting() and (left := _left())):  # without any left it ends by itself
        time.sleep(LEFT)
    names = ", ".join(repr(t.name) for t in left)
    print(
        f"warning: the job is over, and threads are left: {names} (expected none, or daemons); its process is ended",
        file=sys.stderr,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def job(threads: int, results: str | None = None) -> Iterator[None]:
    """Limits PyTorch to the job's threads, and turns the package's own errors into one line and exit status 1.

    results: the folder that the job writes into, which no other run may touch meanwhile; one that is not there is a storage's.
    Anything else keeps its traceback: it is a bug. A script has to end with its job: threads that are left then do not keep it alive.
    """
    progress.plain = watchdog.ends = True
    faulthandler.enable(2)  # or a segmentation fault would say nothing
    status = 1
    if "torch" in sys.modules:
        import torch

        # torchrun says how many processes of this job share its threads.
        torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        with files.writing(results, "job") if results and Path(results).is_dir() else contextlib.nullcontext():
            yield
        status = 0
    except errors() as error:
        if os.environ.get("GLA_DEBUG"):
            raise
        sys.exit(f"error: {error} (GLA_DEBUG=1 shows where)")
    finally:
        if _left():
            threading.Thread(target=_end, args=(status,), name="end of the job", daemon=True).start()
