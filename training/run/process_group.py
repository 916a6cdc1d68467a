"""One process, or one of several that torchrun started: the set-up, in one place.

On the CPU, on one GPU, and under `torchrun` (several GPUs, several machines; gloo on the CPU, nccl on GPUs) the same
command does the same work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sg_hub.devices import device_of


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
        """The module with gradients averaged over all processes."""
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=unused)

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
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    place = training_device(device)
    if place.type == "cuda":
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    if world > 1:
        # The others wait while the first process prepares or discovers, which may take hours.
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(days=2))
    try:
        yield Process(rank, world, place)
    finally:
        if world > 1:
            dist.destroy_process_group()
