"""One process, or one of several that torchrun started: the set-up, in one place.

On the CPU, on one GPU, and under `torchrun` (several GPUs, several machines; gloo on the CPU, nccl on GPUs) the same
command does the same work.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sg_hub.devices import device_of
from sg_hub.errors import SgHubError

from . import sharding

T = TypeVar("T")


class LostProcessError(SgHubError):
    """Another process of the same run ended before its time."""


@dataclass(frozen=True)
class Process:
    """This process among all of the run."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wrap(self, module: nn.Module, unused: bool = False) -> nn.Module:
        """The module with gradients averaged over all processes; one that is sharded does that itself."""
        if self.world == 1 or sharding.is_sharded(module):
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=unused)

    def averaging(self, module: nn.Module, now: bool) -> AbstractContextManager[Any]:
        """In which `wrap`ped modules compute: gradients are averaged `now`, or added to those that will be."""
        if sharding.is_sharded(module):
            module.set_requires_gradient_sync(now)  # type: ignore[operator]
        elif isinstance(module, DistributedDataParallel) and not now:
            return module.no_sync()
        return nullcontext()

    def sum(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all processes."""
        if self.world > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def any(self, flag: bool) -> bool:
        """Whether a flag is up in any process, so that all go on alike. Asked on the CPU: no GPU is waited for."""
        if self.world == 1:
            return flag
        flags = torch.tensor(int(flag))
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags)

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()

    def told(self, value: T) -> T:
        """The value of the first process, in all of them."""
        values = [value]
        if self.world > 1:
            dist.broadcast_object_list(values, device=torch.device("cpu"))
        return values[0]

    def gathered(self, values: Sequence[T]) -> list[T]:
        """The values of all processes, process by process."""
        if self.world == 1:
            return list(values)
        lists: list[Any] = [None] * self.world
        dist.all_gather_object(lists, list(values))
        return [value for each in lists for value in each]


def training_device(name: str = "auto") -> torch.device:
    """Where a network is trained or measured: `auto` is CUDA or the CPU, on which all of it was tried.

    Raises:
        InvalidInputError: not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return device_of(name)


@contextmanager
def process(device: str = "auto") -> Iterator[Process]:
    """Join the run that torchrun's environment describes; alone where there is none.

    Args:
        device: `auto`, `cpu`, `cuda` or `mps`, of every process; each has a GPU of its own.

    Raises:
        InvalidInputError: not on this machine.
        LostProcessError: another process of the run ended before its time.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    place = training_device(device)
    if place.type == "cuda":
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    if world > 1:
        _join()
    try:
        yield Process(rank, world, place)
    except RuntimeError as error:
        if world > 1 and _is_of_the_group(error):
            raise LostProcessError(
                f"process {rank + 1} of {world} stopped, for another one of this run ended (its own message says why): "
                "start the same command again, with as many processes or fewer, and it goes on where it was"
            ) from error
        raise


def _join() -> None:
    """Once, for as long as this process lives: the addresses of a second group would be mixed up with the first one's,
    which torchrun keeps."""
    if dist.is_initialized():
        return
    # The others wait while the first process prepares or discovers, which may take hours.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=timedelta(days=2))
    atexit.register(dist.destroy_process_group)


def _is_of_the_group(error: RuntimeError) -> bool:
    """Whether it is about the connection to other processes: gloo's errors are known by their words alone."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Gloo", "NCCL"))
