"""In which precision networks are trained and figures are summed: one guard for every loop."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

import torch

from sg_hub.models.input_checks import Stride, per_axis

BROKEN_BELOW = 3
"""On the CPU, oneDNN's bfloat16 gradient of a 3D convolution's weights is garbage, and another one at every call, where
the map has 2 voxels along its first axis (torch 2.13; seen for every other size of the other axes, in both layouts)."""


def autocast(device: torch.device, precision: str, patch: Sequence[int], stride: Stride) -> torch.autocast:
    """The context in which a network of that largest stride sees patches: mixed precision, where that can be trusted
    and the device has it.

    Args:
        precision: `float32` or `bfloat16`.
        patch: (x, y, z) or (rows, columns), as the network gets them.
        stride: of the encoder's deepest feature map.
    """
    broken = device.type == "cpu" and len(patch) == 3 and patch[0] // per_axis(stride, len(patch))[0] < BROKEN_BELOW
    return bfloat16(device, wanted=precision == "bfloat16" and not broken)


def bfloat16(device: torch.device, *, wanted: bool = True) -> torch.autocast:
    """The context in which a network computes in bfloat16, where the device has it: float32 where not, which is said
    once."""
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and _has_or_says(device.type))


@functools.cache
def has_bfloat16(device: str) -> bool:
    """Whether a device of that type has instructions for bfloat16. Without them torch's convolutions take fifty times
    as long as in float32 (a pre-training step on a CPU without AVX-512; `python -m benchmarks.pretraining_step`)."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":  # no public function says what oneDNN makes of it
        asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
        return asked is not None and bool(asked())
    return True


@functools.cache
def _has_or_says(device: str) -> bool:
    if not has_bfloat16(device):
        print(f"note: this {device.upper()} has no bfloat16: float32 is used instead", file=sys.stderr, flush=True)
    return has_bfloat16(device)


def sum_type(device: torch.device) -> torch.dtype:
    """That figures are summed in: 64 bits, where the device has them (Apple's has not)."""
    return torch.float32 if device.type == "mps" else torch.float64
