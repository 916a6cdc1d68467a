"""The steps of preprocessing, each once, on tensors (N, C, spatial...) in 2D and 3D; everything else combines them."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

_LINEAR = {4: "bilinear", 5: "trilinear"}


def window(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """`low` to 0 and `high` to 1, and what lies outside clipped: float32, a new tensor."""
    return (x.float() - low).div_(high - low).clamp_(0, 1)


def resampled_size(size: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis of `new_spacing` mm that cover `size` voxels of `spacing` mm, edge to edge."""
    return tuple(max(1, round(n * s / new)) for n, s, new in zip(size, spacing, new_spacing, strict=True))


def resize(x: Tensor, size: Sequence[int], *, antialias: bool = False) -> Tensor:
    """Interpolate (N, C, spatial...) linearly to `size` voxels that cover the same extent, edge to edge.

    Args:
        antialias: of images that become smaller; torch has it in 2D only.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode=_LINEAR[x.ndim], align_corners=False, antialias=antialias)


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Whole numbers (N, C, spatial...) on a grid of `size` of the same extent, float32: those of the nearest voxels."""
    if tuple(labels.shape[2:]) == tuple(size):
        return labels.float()
    return F.interpolate(labels.float(), tuple(size), mode="nearest-exact")


def pad_to(x: Tensor, size: Sequence[int], *, mode: str = "constant") -> Tensor:
    """(N, C, spatial...) with each axis at least `size` long: half of what is missing in front, the rest behind."""
    missing = [max(0, side - have) for side, have in zip(size, x.shape[2:], strict=True)]
    padding = [value for short in reversed(missing) for value in (short // 2, short - short // 2)]
    return F.pad(x, padding, mode=mode) if any(padding) else x
