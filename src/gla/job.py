"""The frame around the one call of every script of the workflow."""

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

if sys.platform.startswith("linux"):
    os.environ.setdefault("MUJOCO_GL", "disabled")  # jobs render nothing, and dm-control would look for a display

LEFT = 10.0  # seconds in which threads have to end after their job


def errors() -> tuple[type[Exception], ...]:
    """Returns the package's own errors, whose messages are sentences, as far as their modules are loaded."""
    from gla.environments.spaces import UnsupportedEnvironment

    expected: tuple[type[Exception], ...] = (ConfigError, UnsupportedEnvironment, files.CorruptFile, OSError)
    if "torch" in sys.modules:
        from gla.policies import NumericalError
        from gla.train import Interrupted

        expected += (NumericalError, Interrupted)
    return expected


def _left() -> list[threading.Thread]:
    """Returns the threads that Python waits for after the end of a script."""
    return [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]


def _waiting() -> bool:
    """Whether Python is waiting for them. It does so only in ``threading._shutdown``, for ever and without a message."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if (frame.f_code.co_name, frame.f_code.co_filename) == ("_shutdown", threading.__file__):
            return True
        frame = frame.f_back
    return False


def _end(status: int) -> None:
    """Ends this process if threads keep it alive after the end of its script."""
    time.sleep(LEFT)
    while not (_waiting() and (left := _left())):  # without such threads the process ends by itself
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

    results: the folder that the job writes into, which no other run may touch in the meantime; a folder that does not exist
    is in a remote storage. Other errors are bugs and keep their traceback. A script has to end with its job, and threads that
    are left do not keep it alive.
    """
    progress.plain = watchdog.ends = True
    faulthandler.enable(2)  # otherwise a segmentation fault would leave no message
    status = 1
    if "torch" in sys.modules:
        import torch

        # torchrun sets how many processes of this job share its threads.
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
