"""A first segmentation of a scan from one labelled scan, without training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference.feature_maps import Part
from sg_hub.inference.locate import FOUND, Describer, check_scan, chosen_levels
from sg_hub.inference.matching import Mapped, match, vectors_at
from sg_hub.inference.running import evaluation
from sg_hub.io.labels import check_same_place
from sg_hub.io.results import smallest_type
from sg_hub.io.scan import Scan
from sg_hub.models.wrapped import unwrapped

ANCHORS = 200
"""Places that are located, from which the coarse alignment is found."""
REACH = 24.0
"""mm around the aligned place in which every place is looked for."""
SMOOTH = 12.0
"""mm: width of the Gaussian that smooths the displacements."""
_CELL = 5.0
"""mm that a cell measures, at least: with smaller ones, thousands would be in reach."""
_AROUND = 40.0
"""mm around the labels from which anchors are taken."""
_SHARPNESS = 40.0
"""Of the weights of the places in reach: exp(_SHARPNESS * cosine)."""
_LEAST_ANCHORS = 8
_MOST = 1 << 31
"""What the numbers of classes are below."""
_SLAB = 16
"""Planes of the result that are made at a time."""


def propagate(
    model: nn.Module,
    scan: Scan,
    labels: Any,
    other: Scan,
    *,
    part: Part | None = None,
    levels: Sequence[int] | None = None,
    patch_size: Sequence[int] | None = None,
    batch_size: int = 1,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Carry the labels of one scan over to another: no training, one labelled scan.

    labels = sg_hub.load_scan("labels.nii.gz", labels=True)
    found = sg_hub.propagate(model, scan, labels, other)
    other.save(found, "first.nii.gz")

    Places around the labels are located in the other scan (as `locate` does), and give a coarse alignment. Then every
    place of the other scan is looked for around its aligned place in the labelled one; what is found is smoothed over
    neighbours, and its label is taken. It is a first segmentation, to be corrected, or to start from.

    Args:
        model: as for `locate`.
        scan: the labelled scan.
        labels: (X, Y, Z) whole numbers on its grid, or a mask, or a `Scan` of them as load_scan(path, labels=True)
            gives it; 0 is background.
        other: the scan that gets the labels.
        part, levels, patch_size, batch_size, device, progress: as for `locate`.

    Returns:
        (X, Y, Z) on the grid of `other`, in the type of the labels (of a mask uint8), or the smallest one where they
        are floating point.

    Raises:
        InvalidInputError: labels of another size, fractions, none but background; scans that have too little in common;
            or whatever `locate` refuses.
    """
    model = unwrapped(model)
    for name, one in (("scan", scan), ("other", other)):
        check_scan(model, one, name)
    numbers = _numbers(labels, scan)
    described = Describer(model, chosen_levels(model, part, levels), patch_size, batch_size, progress)
    with evaluation(model, device):
        described.fit([scan, other], least=_CELL)
        labelled, target = described.whole(scan), described.whole(other)
    alignment = _alignment(labelled, target, _near(numbers, scan, labelled))
    displacement = _displacements(labelled, target, alignment, numbers)
    return _carried(numbers, labelled, target, alignment, displacement, other.size)


def _numbers(labels: Any, scan: Scan) -> np.ndarray:
    if isinstance(labels, Scan) and labels.size == scan.size:
        check_same_place(labels, scan)
    if isinstance(labels, Scan) and len(labels.array) == 1:
        labels = labels.array[0]
    array = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if array.shape != scan.size:
        raise InvalidInputError(
            f"labels of size {array.shape} for a scan of {scan.size}: they must be of one grid, voxel by voxel: "
            "give the label map of this very scan, or resample it"
        )
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all() or not np.array_equal(array, np.rint(array)) or abs(array).max() >= _MOST:
            raise InvalidInputError(
                f"labels with fractions, NaN or numbers from {_MOST:,} on: expected whole numbers, one for each class"
            )
        array = smallest_type(array.astype(np.int64))
    if array.dtype.kind not in "iu" or not array.any() or array.min() < 0:
        raise InvalidInputError(
            f"labels of type {array.dtype}, {array.min()} to {array.max()}: expected whole numbers, 0 for the "
            "background and at least one class above it"
        )
    return array


def _near(numbers: np.ndarray, scan: Scan, labelled: Mapped) -> Tensor:
    """Places (n, 3) of the labelled scan's network grid on and around the labels, spread evenly."""
    where = np.argwhere(numbers)
    scale = np.array(labelled.maps.size) / np.array(scan.size)
    around = _AROUND / np.array(labelled.voxel)
    low = np.maximum((where.min(0) * scale) - around, 0)
    high = np.minimum((where.max(0) + 1) * scale + around, labelled.maps.size)
    step = (float(np.prod((high - low) * labelled.voxel)) / ANCHORS) ** (1 / 3) / np.array(labelled.voxel)
    axes = [np.linspace(a, b, max(2, round((b - a) / s)) + 2)[1:-1] for a, b, s in zip(low, high, step, strict=True)]
    return torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) - 0.5).float()


def _alignment(labelled: Mapped, target: Mapped, anchors: Tensor) -> Tensor:
    """(4, 3): mm in the target, with a 1 behind them, to mm in the labelled scan. Anchors that do not fit the others
    are left out.

    Raises:
        InvalidInputError: hardly any anchor is found in the target.
    """
    found = match([labelled], [anchors], target, surroundings=False)
    sure = found.score >= FOUND
    there, here = _mm(found.places[sure], target), _mm(anchors[sure], labelled)
    if len(there) < _LEAST_ANCHORS:
        raise InvalidInputError(
            f"of {len(anchors)} places around the labels {len(there)} are found in the other scan: expected two scans "
            "of the same part of the body, and weights that know it"
        )
    scale = there.std(0).clamp(min=1.0)
    middle = there.mean(0)
    solution = torch.zeros(4, 3, dtype=torch.float64)
    kept = torch.ones(len(there), dtype=torch.bool)
    for _ in range(6):
        # Towards a shift alone where few anchors are left: what they do not say stays as it is.
        x, y = _with_one((there[kept] - middle) / scale), here[kept] - there[kept]
        ridge = torch.diag(x.new_tensor([2.0, 2.0, 2.0, 0.0]))
        solution = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        error = (_with_one((there - middle) / scale) @ solution + there - here).norm(dim=1)
        kept = error <= max(10.0, float(2 * error.median()))
    linear = solution[:3] / scale[:, None]
    return torch.cat([linear + torch.eye(3, dtype=torch.float64), (solution[3] - middle @ linear)[None]])


def _displacements(labelled: Mapped, target: Mapped, alignment: Tensor, numbers: np.ndarray) -> Tensor:
    """(3, X, Y, Z) in mm of the labelled scan, on the finest cells of the target: how far beside its aligned place each
    cell is found. Weights of all places in reach, summed up, and smoothed over neighbours. None far from the labels.
    """
    finest = target.maps.finest
    step = [s * mm for s, mm in zip(target.maps.strides[finest], target.voxel, strict=True)]
    reach = [math.ceil(REACH / side) for side in step]
    size = tuple(target.maps.levels[finest].shape[1:])
    box = _box_of(labelled, target, alignment, numbers, size)
    own = _on_cells(target, target, None, [torch.arange(float(one.start), one.stop) for one in box])
    around = [torch.arange(float(one.start - most), one.stop + most) for one, most in zip(box, reach, strict=True)]
    aligned = _on_cells(labelled, target, alignment, around)
    inner = own[0].shape[1:]
    linear = alignment[:3].float()
    mass, moved = linear.new_zeros(inner), linear.new_zeros(3, *inner)
    for offset in itertools.product(*(range(-most, most + 1) for most in reach)):
        mm = linear.new_tensor([count * side for count, side in zip(offset, step, strict=True)])
        if float(mm.norm()) > REACH:
            continue
        at = tuple(slice(m + o, m + o + side) for m, o, side in zip(reach, offset, inner, strict=True))
        cosines = [torch.einsum("cxyz,cxyz->xyz", a, b[(slice(None), *at)]) for a, b in zip(own, aligned, strict=True)]
        cosine = torch.stack(cosines).mean(0)
        weight = torch.exp(_SHARPNESS * (cosine - 1) - 0.5 * (float(mm.norm()) / (REACH / 2)) ** 2)
        mass += weight
        moved += weight * (mm @ linear).view(3, 1, 1, 1)
    sigma = [SMOOTH / side for side in step]
    result = linear.new_zeros(3, *size)
    result[(slice(None), *box)] = _smooth(moved, sigma) / _smooth(mass[None], sigma).clamp(min=1e-20)
    return result


def _box_of(
    labelled: Mapped, target: Mapped, alignment: Tensor, numbers: np.ndarray, size: Sequence[int]
) -> tuple[slice, ...]:
    """The cells of the target that may be near a label."""
    where = np.argwhere(numbers)
    scale = np.array(labelled.maps.size) / np.array(numbers.shape) * labelled.voxel
    low, high = where.min(0) * scale - 2 * REACH, (where.max(0) + 1) * scale + 2 * REACH
    axes = [torch.arange(float(side)) for side in size]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)
    mm = (_with_one(_mm(target.maps.voxels(cells), target)) @ alignment).numpy()
    inside = cells[torch.from_numpy(((mm >= low) & (mm <= high)).all(1))].long()
    if not len(inside):
        raise InvalidInputError("what is labelled lies outside of the other scan: expected the same part of the body")
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(inside.amin(0), inside.amax(0), strict=True))


def _on_cells(scan: Mapped, target: Mapped, alignment: Tensor | None, axes: Sequence[Tensor]) -> list[Tensor]:
    """Every level of a scan (channels, X, Y, Z), of length one, where those cells of the target's finest level are, or
    are aligned to."""
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    places = target.maps.voxels(cells.flatten(0, 2))
    if alignment is not None:
        places = _voxels(_with_one(_mm(places, target)) @ alignment, scan)
    return [level.T.reshape(-1, *cells.shape[:3]) for level in vectors_at(scan, places)]


def _smooth(x: Tensor, sigma: Sequence[float]) -> Tensor:
    """(C, X, Y, Z), by a Gaussian of these cells along each axis."""
    for axis, width in enumerate(sigma):
        most = max(1, math.ceil(3 * width))
        kernel = torch.exp(-0.5 * (x.new_tensor(range(-most, most + 1)) / width) ** 2)
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = len(kernel), most
        x = F.conv3d(x[:, None], (kernel / kernel.sum()).view(shape), padding=tuple(padding))[:, 0]
    return x


def _carried(
    numbers: np.ndarray,
    labelled: Mapped,
    target: Mapped,
    alignment: Tensor,
    displacement: Tensor,
    wanted: tuple[int, int, int],
) -> np.ndarray:
    """The label of every voxel of a grid of size `wanted`, some planes at a time; background outside of the labels."""
    result = np.zeros(wanted, dtype=numbers.dtype)
    scale = np.array(target.maps.size) / np.array(wanted)
    stride, size = target.maps.strides[target.maps.finest], displacement.shape[1:]
    for start in range(0, wanted[0], _SLAB):
        axes = [range(start, min(start + _SLAB, wanted[0])), range(wanted[1]), range(wanted[2])]
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        places = torch.from_numpy((voxels + 0.5) * scale - 0.5)
        cells = (places + 0.5) / places.new_tensor(stride)
        grid = (2 * cells / places.new_tensor(size) - 1).flip(1)[None, :, None, None].float()
        moved = F.grid_sample(displacement[None], grid, padding_mode="border", align_corners=False)[0, :, :, 0, 0].T
        there = _voxels(_with_one(_mm(places, target)) @ alignment + moved, labelled).numpy()
        index = np.rint((there + 0.5) * np.array(numbers.shape) / np.array(labelled.maps.size) - 0.5).astype(np.int64)
        inside = ((index >= 0) & (index < numbers.shape)).all(1)
        found = np.zeros(len(index), dtype=numbers.dtype)
        found[inside] = numbers[tuple(index[inside].T)]
        result[start : start + _SLAB] = found.reshape(-1, *wanted[1:])
    return result


def _mm(places: Tensor, scan: Mapped) -> Tensor:
    """Voxels of a network's grid to mm from the scan's edge, double precision."""
    return (places.double() + 0.5) * places.new_tensor(scan.voxel, dtype=torch.float64)


def _voxels(mm: Tensor, scan: Mapped) -> Tensor:
    return mm / mm.new_tensor(scan.voxel) - 0.5


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
