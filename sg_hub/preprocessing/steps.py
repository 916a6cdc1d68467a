"""The steps of preprocessing, each once, in 2D and 3D; everything else combines them.

Limits of intensities are found in arrays (C, spatial...); what changes values and grids works on tensors
(N, C, spatial...).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.io.formats.limits import SCAN_BYTES, most_bytes

_FLOAT = 4
"""Bytes."""
_DIGITS = 3
"""Of a number of voxels that mean something: the single precision of a NIfTI header decides no half of one."""
_SAMPLES = 1 << 22
"""Voxels that percentiles are of, at most."""
_LINEAR = {4: "bilinear", 5: "trilinear"}


def tensor_of(array: np.ndarray) -> Tensor:
    """An array as a tensor of the same memory; a copy where its axes were flipped, which torch does not take."""
    return torch.from_numpy(array if min(array.strides) >= 0 else np.ascontiguousarray(array))


def window(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """`low` to 0 and `high` to 1, and what lies outside clipped: float32, a new tensor."""
    return (x.float() - low).div_(high - low).clamp_(0, 1)


def percentiles(array: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Two percentiles of each channel of (C, spatial...), (C,) each; of a sample where there are many voxels."""
    flat = array.reshape(array.shape[0], -1)
    step = max(1, math.ceil(flat.shape[1] / _SAMPLES))
    while math.gcd(step, flat.shape[1]) > 1:  # it would keep to a few slices, or to a few columns of them
        step += 1
    first, second = np.percentile(flat[:, ::step], [low, high], axis=1)
    return first, second


def mean_and_deviation(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel of (C, spatial...), (C,) each, over the voxels above its smallest value.

    The smallest value is the background of what was cut out, or of what lies outside of the scanner's field.
    """
    means, deviations = np.zeros(len(array)), np.zeros(len(array))
    for index, channel in enumerate(array):
        lowest, count, total, squares = channel.min(), 0, 0.0, 0.0
        for part in channel:  # a whole scan in double precision would be a lot
            values = part[part > lowest].astype(np.float64) - lowest
            count, total, squares = count + len(values), total + values.sum(), squares + (values**2).sum()
        if count:
            mean = total / count
            means[index], deviations[index] = lowest + mean, math.sqrt(max(0.0, squares / count - mean**2))
    return means, deviations


def resampled_size(size: Sequence[int], spacing: Sequence[float], new_spacing: Sequence[float]) -> tuple[int, ...]:
    """Voxels along each axis of `new_spacing` mm that cover `size` voxels of `spacing` mm, edge to edge.

    Raises:
        InvalidInputError: more of them than can be computed on.
    """
    sides = [n * s / new for n, s, new in zip(size, spacing, new_spacing, strict=True)]
    needed, most = math.prod(max(1.0, side) for side in sides) * _FLOAT, most_bytes(SCAN_BYTES)
    if not needed <= most:
        raise InvalidInputError(
            f"at a spacing of {' x '.join(f'{new:g}' for new in new_spacing)} mm the scan of "
            f"{' x '.join(f'{n * s:g}' for n, s in zip(size, spacing, strict=True))} mm takes {needed / 2**30:.3g} "
            f"GiB; {most / 2**30:.3g} GiB are the most: give a larger spacing"
        )
    return tuple(max(1, round(round(side, _DIGITS))) for side in sides)


def resize(x: Tensor, size: Sequence[int], *, antialias: bool = False, mode: str | None = None) -> Tensor:
    """Interpolate (N, C, spatial...) to `size` voxels that cover the same extent, edge to edge; linearly if no
    `mode` is given.

    Args:
        antialias: of images that become smaller; torch has it in 2D only.
        mode: `bicubic` (2D) may go beyond the values that there are.
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode=mode or _LINEAR[x.ndim], align_corners=False, antialias=antialias)


def resize_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Whole numbers (N, C, spatial...) on a grid of `size` of the same extent, float32: those of the nearest voxels."""
    if tuple(labels.shape[2:]) == tuple(size):
        return labels.float()
    return F.interpolate(labels.float(), tuple(size), mode="nearest-exact")


def pad_to(x: Tensor, size: Sequence[int], *, mode: str = "constant", value: float = 0.0) -> Tensor:
    """(N, C, spatial...) with each axis at least `size` long: half of what is missing in front, the rest behind.

    Args:
        mode: `constant` pads with `value`, `replicate` with the border.
    """
    missing = [max(0, side - have) for side, have in zip(size, x.shape[2:], strict=True)]
    padding = [value for short in reversed(missing) for value in (short // 2, short - short // 2)]
    if not any(padding):
        return x
    return F.pad(x, padding, mode=mode, value=value if mode == "constant" else None)
