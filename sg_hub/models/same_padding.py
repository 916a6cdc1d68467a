"""SAME padding as in TensorFlow, for networks that were published with it: what is missing goes behind first.

For sides that the stride divides, which the networks check of their input, it does not depend on the size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """(N, C, spatial...) with zeros around it, for an operation of that kernel and stride without padding."""
    padding: list[int] = []
    for size, step in reversed(list(zip(kernel, stride, strict=True))):
        missing = max(size - step, 0)
        padding += [missing // 2, missing - missing // 2]
    return F.pad(x, padding) if any(padding) else x


class SameConv3d(nn.Conv3d):
    """A convolution with SAME padding; its kernel and stride are the same along every axis."""

    def __init__(self, in_chans: int, out_chans: int, kernel_size: int, stride: int = 1, bias: bool = False) -> None:
        super().__init__(in_chans, out_chans, kernel_size, stride, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(pad_same(input, self.kernel_size, self.stride))


def max_pool_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The largest of each window of (N, C, X, Y, Z), none of which is below 0."""
    return F.max_pool3d(pad_same(x, kernel, stride), tuple(kernel), tuple(stride))
