"""Training in several processes, on one machine or on many.

torchrun starts them and sets WORLD_SIZE. Without it there is one process, and every method here does nothing. All shares of a
batch are equal in size, so that the mean of their means is that of the whole batch. The first process writes files.
"""

import contextlib
import os
import shlex
import socket
import sys
import uuid
from collections.abc import Iterator

import torch
from torch import Tensor, distributed, nn

from gla.devices import free_gpu
from gla.options import ConfigError


def launch(count: int, machines: int = 1, command: str = "") -> None:
    """Replaces this process by torchrun, which starts the running script ``count`` times. Returns if one process is enough,
    or in a process that torchrun started.

    command: a command that runs torchrun once on each of several machines, such as ``srun`` or ``mpirun``. This machine must
    be one of them.
    """
    if count <= 1 or "WORLD_SIZE" in os.environ:
        return
    if count % machines:
        raise ConfigError(f"{count} processes on {machines} machines (expected a multiple of {machines})")
    options = [f"--nnodes={machines}", f"--nproc-per-node={count // machines}"]
    if machines == 1:
        options.append("--standalone")
    else:
        with socket.socket() as free:
            free.bind(("", 0))
            endpoint = f"{socket.gethostname()}:{free.getsockname()[1]}"
        options += ["--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}", f"--rdzv-id={uuid.uuid4()}"]
    torchrun = [*shlex.split(command), sys.executable, "-m", "torch.distributed.run", *options, sys.argv[0]]
    os.execvp(torchrun[0], torchrun)


class Processes:
    """This process among ``count`` processes: its rank, its device, and their joint operations."""

    def __init__(self, device: str):
        """device: cpu, cuda, or auto. Raises ConfigError if a machine has fewer GPUs than processes."""
        self.count, self.rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self.device = torch.device(kind)
        if kind == "cuda" and self.count > 1:
            here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
            if here > gpus:
                raise ConfigError(f"{here} processes on a machine with {gpus} GPUs (expected one GPU for each)")
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)

    @property
    def is_main_process(self) -> bool:
        return self.rank == 0

    def parallel(self, module: nn.Module) -> nn.Module:
        """Returns the module with gradients that are means over all processes."""
        return nn.parallel.DistributedDataParallel(module) if self.count > 1 else module

    def mean(self, x: Tensor) -> Tensor:
        if self.count > 1:
            distributed.all_reduce(x)
            x /= self.count
        return x

    def any(self, value: bool) -> bool:
        return value if self.count == 1 else bool(self.mean(torch.tensor(float(value), device=self.device)) > 0)

    def wait(self) -> None:
        """Waits until every process is here."""
        self.any(False)


@contextlib.contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Yields this process, connected with the others."""
    own = Processes(device)
    with contextlib.ExitStack() as stack:
        if own.count > 1:
            distributed.init_process_group("nccl" if own.device.type == "cuda" else "gloo")
            stack.callback(distributed.destroy_process_group)
        elif own.device.type == "cuda":  # otherwise several jobs of one machine would all take the first GPU
            own.device = torch.device("cuda", stack.enter_context(free_gpu()))
            torch.cuda.set_device(own.device)
        yield own
