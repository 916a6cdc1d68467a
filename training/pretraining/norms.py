"""Running statistics of norms where a batch is computed in parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..run.processes.process_group import Process


class RunningStatistics:
    """They move once with each batch, by the mean of what its parts would move them by. So it does not matter which
    process computes which part, or whether one computes them all. Where a batch is one part they are left alone.

    Args:
        parts: of a batch, in all processes.
    """

    def __init__(self, network: nn.Module, parts: int, me: Process) -> None:
        buffers = list(network.buffers()) if parts > 1 else []
        self.means = [buffer for buffer in buffers if buffer.is_floating_point()]
        self.counts = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self.parts, self.me = parts, me

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Around all parts of a batch that this process computes."""
        self.before = [buffer.clone() for buffer in (*self.means, *self.counts)]
        self.sums = [torch.zeros_like(buffer) for buffer in self.means]
        yield
        if self.means:
            flat = torch.cat([total.flatten() for total in self.sums])
            flat = self.me.sum(flat).to(flat.device) / self.parts
            for buffer, mean in zip(self.means, flat.split([b.numel() for b in self.means]), strict=True):
                buffer.copy_(mean.view_as(buffer))

    @contextmanager
    def part(self) -> Iterator[None]:
        """Around one of them."""
        for buffer, value in zip((*self.means, *self.counts), self.before, strict=True):
            buffer.copy_(value)
        yield
        for total, buffer in zip(self.sums, self.means, strict=True):
            total.add_(buffer)
