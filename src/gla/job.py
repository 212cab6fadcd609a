"""What every script of the workflow does around its one call."""

import contextlib
import os
import sys
from collections.abc import Iterator

from gla import progress, watchdog
from gla.config import ConfigError


def errors() -> tuple[type[Exception], ...]:
    """The package's own errors, each of which is a sentence, as far as their modules are loaded."""
    from gla.environments import UnsupportedEnvironment
    from gla.files import CorruptFile

    expected: tuple[type[Exception], ...] = (ConfigError, UnsupportedEnvironment, CorruptFile, OSError)
    if "torch" in sys.modules:
        from gla.ppo import NumericalError
        from gla.train import Interrupted

        expected += (NumericalError, Interrupted)
    return expected


@contextlib.contextmanager
def job(threads: int) -> Iterator[None]:
    """Limits PyTorch to the job's threads, and turns the package's own errors into one line and exit status 1.

    Anything else keeps its traceback: it is a bug.
    """
    progress.plain = watchdog.ends = True
    if "torch" in sys.modules:
        import torch

        # torchrun says how many processes of this job share its threads.
        torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    try:
        yield
    except errors() as error:
        if os.environ.get("GLA_DEBUG"):
            raise
        sys.exit(f"error: {error} (GLA_DEBUG=1 shows where)")
