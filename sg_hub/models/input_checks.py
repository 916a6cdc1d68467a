"""What a network takes: sizes and values are checked, and sizes padded to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sg_hub.errors import InvalidInputError

Stride = int | Sequence[int]
"""Voxels of the input per voxel of a feature map: the same along every axis, or one for each."""
AXES = {2: "(N, C, H, W)", 3: "(N, C, X, Y, Z)"}
_OTHERS = {
    2: {5: "a batch of scans (N, C, X, Y, Z) needs a 3D model"},
    3: {4: "a 2D batch (N, C, H, W) needs a 2D model"},
}
_METHOD = {2: "model.preprocess(image)", 3: "model.preprocess(scan)"}
_BEYOND = 0.5
"""Of the range of values: noise and interpolation may leave it by a little; HU and other raw values do by far more."""


def per_axis(stride: Stride, ndim: int) -> tuple[int, ...]:
    """A stride for each of the axes."""
    return (stride,) * ndim if isinstance(stride, int) else tuple(stride)


def nearest_size(size: Sequence[int], stride: Stride) -> tuple[int, ...]:
    """The nearest sides that the stride divides."""
    steps = per_axis(stride, len(size))
    return tuple(max(step, round(side / step) * step) for side, step in zip(size, steps, strict=True))


def check_tensor(x: object, ndim: int) -> None:
    """Refuse what is no tensor of floating-point numbers.

    Raises:
        InvalidInputError: an array, for instance, or whole numbers.
    """
    if not isinstance(x, Tensor):
        raise InvalidInputError(
            f"input is a {type(x).__name__}: a model takes a tensor {AXES[ndim]}; use {_METHOD[ndim]}"
        )
    if not x.is_floating_point():
        raise InvalidInputError(f"input of type {x.dtype}: expected floating point; use {_METHOD[ndim]}")


def check_shape(x: Tensor, in_chans: int, stride: Stride, ndim: int) -> None:
    """Refuse what a network of `ndim` dimensions cannot take, saying what to do.

    Raises:
        InvalidInputError: not (N, in_chans, *spatial), or a side that `stride` does not divide.
    """
    if x.ndim != ndim + 2:
        hint = _OTHERS[ndim].get(x.ndim, "add the missing axes")
        raise InvalidInputError(
            f"input of shape {tuple(x.shape)}: a {ndim}D model takes {AXES[ndim]}; {hint}, or use {_METHOD[ndim]}"
        )
    if x.shape[1] != in_chans:
        raise InvalidInputError(
            f"input with {x.shape[1]} channels given to a model with in_chans={in_chans}: "
            f"load it with from_pretrained(..., in_chans={x.shape[1]})"
        )
    steps = per_axis(stride, ndim)
    if any(side % step or side == 0 for side, step in zip(x.shape[2:], steps, strict=True)):
        multiple = steps[0] if len(set(steps)) == 1 else steps
        raise InvalidInputError(
            f"input of size {tuple(x.shape[2:])}: every side must be a multiple of {multiple}; "
            f"the nearest allowed size is {nearest_size(x.shape[2:], stride)}, or call the model with pad=True"
        )


def check_values(x: Tensor, lowest: float = 0.0, highest: float = 1.0) -> None:
    """Refuse a batch whose values cannot be those that a preprocessing gives.

    Args:
        lowest, highest: between which its values lie.

    Raises:
        InvalidInputError: no values at all, NaN, or values of another range (HU, for instance).
    """
    expected = f"{lowest:g}..{highest:g}"
    if x.numel() == 0:
        raise InvalidInputError(f"input of shape {tuple(x.shape)} is empty: expected at least one {AXES[x.ndim - 2]}")
    if x.is_meta:  # it has a shape and no values
        return
    low, high = (float(value) for value in torch.aminmax(x.detach()))
    if math.isnan(low) or math.isnan(high):
        raise InvalidInputError(
            f"input with NaN: expected values in {expected}; load_scan(path, nan=-1000) replaces them"
        )
    beyond = _BEYOND * (highest - lowest)
    if low < lowest - beyond or high > highest + beyond:
        raise InvalidInputError(
            f"input with values {low:g} to {high:g} (in HU?) given to a model that expects {expected}: use "
            "model.preprocess(scan), which applies the window that the weights were trained with"
        )


def difference(x: Tensor, weight: Tensor) -> str:
    """Why torch could not take an input to these weights: they are of another device or precision. Asked when it has
    failed, for autocast and FSDP may even precisions out. Empty where it failed for another reason.
    """
    if x.device != weight.device:
        return f"input on {x.device} given to a model on {weight.device}: give x.to({str(weight.device)!r})"
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return ""
    return (
        f"input of type {x.dtype} given to a model of {weight.dtype}: give x.to({weight.dtype}), or model.to({x.dtype})"
    )


def all_finite(x: Tensor) -> bool:
    """Whether no number is NaN or infinite; of weights, `isfinite` on all of them takes ten times as long."""
    return x.numel() == 0 or all(bool(value.isfinite()) for value in torch.aminmax(x.detach()))


def impossible(key: str, value: Tensor) -> str:
    """What no tensor of weights of that name can hold, in the type that the network has; empty where it holds none."""
    if not all_finite(value):
        return "values that are no finite numbers"
    negative = key.endswith(("num_batches_tracked", "running_var")) and bool((value < 0).any())
    return "negative values, where there can be none" if negative else ""


def pad_to_multiple(x: Tensor, stride: Stride) -> Tensor:
    """Pad the far side of every spatial axis of (N, C, spatial...) by its border, to multiples of `stride`."""
    amounts = [-side % step for side, step in zip(x.shape[2:], per_axis(stride, x.ndim - 2), strict=True)]
    padding = [value for amount in reversed(amounts) for value in (0, amount)]
    return F.pad(x, padding, mode="replicate") if any(amounts) else x
