"""In which precision networks are trained and figures are summed: one guard for every loop."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sg_hub.models.input_checks import Stride, per_axis

BROKEN_BELOW = 3
"""On the CPU, oneDNN's bfloat16 gradient of a 3D convolution's weights is garbage, and another one at every call, where
the map has 2 voxels along its first axis (torch 2.13; seen for every other size of the other axes, in both layouts)."""


def autocast(device: torch.device, precision: str, patch: Sequence[int], stride: Stride) -> torch.autocast:
    """The context in which a network of that largest stride sees patches: mixed precision, where that can be trusted.

    Args:
        precision: `float32` or `bfloat16`.
        patch: (x, y, z) or (rows, columns), as the network gets them.
        stride: of the encoder's deepest feature map.
    """
    broken = device.type == "cpu" and len(patch) == 3 and patch[0] // per_axis(stride, len(patch))[0] < BROKEN_BELOW
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16" and not broken)


def sum_type(device: torch.device) -> torch.dtype:
    """That figures are summed in: 64 bits, where the device has them (Apple's has not)."""
    return torch.float32 if device.type == "mps" else torch.float64
