"""What every script of the workflow does around its one call."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gla import files, progress, watchdog
from gla.options import ConfigError


def errors() -> tuple[type[Exception], ...]:
    """The package's own errors, each of which is a sentence, as far as their modules are loaded."""
    from gla.environments.spaces import UnsupportedEnvironment

    expected: tuple[type[Exception], ...] = (ConfigError, UnsupportedEnvironment, files.CorruptFile, OSError)
    if "torch" in sys.modules:
        from gla.policies import NumericalError
        from gla.train import Interrupted

        expected += (NumericalError, Interrupted)
    return expected


@contextlib.contextmanager
def job(threads: int, results: str | None = None) -> Iterator[None]:
    """Limits PyTorch to the job's threads, and turns the package's own errors into one line and exit status 1.

    results: the folder that the job writes into, which no other run may touch meanwhile; one that is not there is a storage's.
    Anything else keeps its traceback: it is a bug.
    """
    progress.plain = watchdog.ends = True
    if "torch" in sys.modules:
        import torch

        # torchrun says how many processes of this job share its threads.
        torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        with files.writing(results, "job") if results and Path(results).is_dir() else contextlib.nullcontext():
            yield
    except errors() as error:
        if os.environ.get("GLA_DEBUG"):
            raise
        sys.exit(f"error: {error} (GLA_DEBUG=1 shows where)")
