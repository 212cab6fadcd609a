"""The device that a job of one process computes on."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from gla.files import Busy, exclusive


@contextlib.contextmanager
def free_gpu() -> Iterator[int]:
    """Holds a GPU of this machine that no other job of this user uses, and yields its index; that of the first GPU if none is left.

    GPUs that a scheduler hides (CUDA_VISIBLE_DEVICES) are not considered.
    """
    count, index = torch.cuda.device_count(), 0
    visible = [x for x in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if x]
    with contextlib.ExitStack() as stack:
        for i, name in enumerate(visible[:count] if visible else map(str, range(count))):
            with contextlib.suppress(Busy):
                stack.enter_context(exclusive(Path(tempfile.gettempdir()) / f"gla-{os.getuid()}-gpu-{name}.lock"))
                index = i
                break
        yield index


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Lets PyTorch use so many threads for a while. The products of small models take longer with several."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def device() -> Iterator[torch.device]:
    """Yields a GPU that no other job of this user uses, or the CPU if there is no GPU."""
    if not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    with free_gpu() as index:
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)
