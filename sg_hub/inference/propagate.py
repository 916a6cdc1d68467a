"""A first segmentation of a scan from one labelled scan, or several that vote, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.inference.deformation import Bending, Compared, align, bent, in_mm, with_one
from sg_hub.inference.feature_maps import Part
from sg_hub.inference.locate import Describer, check_scan, chosen_levels
from sg_hub.inference.matching import Mapped
from sg_hub.inference.running import evaluation
from sg_hub.inference.sliding_window import Size
from sg_hub.io.labels import check_same_place
from sg_hub.io.results import smallest_type
from sg_hub.io.scan import Scan
from sg_hub.models.wrapped import unwrapped

ANCHORS = 200
"""Places that are located, from which the coarse alignment is found."""
REACH = 24.0
"""mm: what is so near to a label, twice, is bent as well."""
ALIKE = 0.06
"""Squared distance of features, 0 to 4, at which a vote counts 1/e."""
_FAR = 4.0
"""Squared distance of features where a labelled scan says nothing, for it does not reach there: the largest one."""
_CELL = 5.0
"""mm that a cell measures, at least: smaller ones take long, and give hardly more."""
_AROUND = 40.0
"""mm around the labels from which anchors are taken."""
_MOST = 1 << 31
"""What the numbers of classes are below."""
_SLAB = 16
"""Planes of the result that are made at a time."""


def propagate(
    model: nn.Module,
    scan: Scan | Sequence[Scan],
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
    """Carry the labels of one scan, or of several, over to another: no training.

    labels = sg_hub.load_scan("labels.nii.gz", labels=True)
    found = sg_hub.propagate(model, scan, labels, other)
    other.save(found, "first.nii.gz")

    Places around the labels are located in the other scan (as `locate` does), and give a coarse alignment. From there
    the other scan is bent, smoothly, onto the labelled one, so that its features lie on features that are like them,
    and each voxel takes the label of where it lies. Several labelled scans vote at each voxel, which is better by far:
    the more alike their features are there, the more a vote counts. It is a first segmentation, to be corrected, or to
    start from.

    Args:
        model: as for `locate`.
        scan: the labelled scan, or several of them.
        labels: (X, Y, Z) whole numbers on its grid, or a mask, or a `Scan` of them as load_scan(path, labels=True)
            gives it; 0 is background. Of several scans a list of such, in their order; a number is the same class in
            all of them, and a scan in which a class is not drawn at all has no vote on it.
        part, levels, patch_size, batch_size, device, progress: as for `locate`.

    Returns:
        (X, Y, Z) on the grid of `other`, in the type of the labels (of a mask uint8; of several types one that holds
        all), or the smallest one where they are floating point.

    Raises:
        InvalidInputError: labels of another size, fractions, none but background; scans and labels that do not go
            together, or have too little in common; or whatever `locate` refuses.
    """
    model = unwrapped(model)
    scans, maps = _pairs(scan, labels)
    for name, one in (*(("scan", one) for one in scans), ("other", other)):
        check_scan(model, one, name)
    numbers = []
    for number, (given, one) in enumerate(zip(maps, scans, strict=True), 1):
        with _naming(number, len(scans)):
            numbers.append(_numbers(given, one))
    described = Describer(model, chosen_levels(model, part, levels), patch_size, batch_size, progress)
    with evaluation(model, device):
        for one in scans:  # of which two are held at a time
            described.fit([one, other], least=_CELL)
        target, carried = described.whole(other), []
        for number, (drawn, one) in enumerate(zip(numbers, scans, strict=True), 1):
            with _naming(number, len(scans)):
                carried.append(_bent(drawn, one, described.whole(one), target))
    return _voted(carried, target, other.size)


@contextmanager
def _naming(number: int, count: int) -> Iterator[None]:
    """Say which of several labelled scans is refused."""
    try:
        yield
    except InvalidInputError as error:
        raise InvalidInputError(f"labelled scan {number} of {count}: {error}" if count > 1 else str(error)) from None


@dataclass(frozen=True)
class _Bent:
    """Labels, and how the other scan lies on theirs."""

    numbers: np.ndarray
    size: Size
    """Voxels of the labelled scan on the network's grid."""
    voxel: tuple[float, ...]
    """mm of such a voxel."""
    bending: Bending


def _pairs(scan: Any, labels: Any) -> tuple[list[Scan], list[Any]]:
    """The labelled scans and their labels.

    Raises:
        InvalidInputError: they do not go together.
    """
    if not isinstance(scan, (list, tuple)):
        return [scan], [labels]
    maps = list(labels) if isinstance(labels, (list, tuple)) else [labels]
    if not scan or len(maps) != len(scan):
        raise InvalidInputError(
            f"{len(scan)} scans with {len(maps)} label maps: give a list of scans, and one of their label maps"
        )
    return list(scan), maps


def _numbers(labels: Any, scan: Scan) -> np.ndarray:
    if isinstance(labels, Scan) and labels.size == scan.size:
        check_same_place(labels, scan)
    if isinstance(labels, Scan) and len(labels.array) == 1:
        labels = labels.array[0]
    array = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if array.shape != scan.size:
        raise InvalidInputError(
            f"labels of size {array.shape} for {scan.source} of {scan.size}: they must be of one grid, voxel by voxel: "
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


def _bent(numbers: np.ndarray, scan: Scan, labelled: Mapped, target: Mapped) -> _Bent:
    """The target, aligned with a labelled scan and bent onto it; far from the labels only aligned."""
    size = tuple(target.maps.levels[target.maps.finest].shape[1:])
    alignment = align(labelled, target, _near(numbers, scan, labelled))
    box = _box_of(labelled, target, alignment, numbers, size)
    bending = bent(Compared(labelled, _around_labels(numbers, labelled)), target, box, alignment)
    return _Bent(numbers, labelled.maps.size, labelled.voxel, bending)


def _around_labels(numbers: np.ndarray, labelled: Mapped) -> list[slice]:
    """The cells of the labelled scan that are near a label."""
    where, finest = np.argwhere(numbers), labelled.maps.finest
    stride = np.array(labelled.maps.strides[finest])
    scale = np.array(labelled.maps.size) / np.array(numbers.shape) / stride
    around = 3 * REACH / (np.array(labelled.voxel) * stride)
    low = np.floor(where.min(0) * scale - around).clip(0).astype(int)
    high = np.ceil((where.max(0) + 1) * scale + around).astype(int)
    most = labelled.maps.levels[finest].shape[1:]
    return [slice(int(a), min(int(b), side)) for a, b, side in zip(low, high, most, strict=True)]


def _box_of(
    labelled: Mapped, target: Mapped, alignment: Tensor, numbers: np.ndarray, size: Sequence[int]
) -> tuple[slice, ...]:
    """The cells of the target that may be near a label."""
    where = np.argwhere(numbers)
    scale = np.array(labelled.maps.size) / np.array(numbers.shape) * labelled.voxel
    low, high = where.min(0) * scale - 2 * REACH, (where.max(0) + 1) * scale + 2 * REACH
    axes = [torch.arange(float(side)) for side in size]
    cells = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)
    mm = (with_one(in_mm(target.maps.voxels(cells), target)) @ alignment).numpy()
    inside = cells[torch.from_numpy(((mm >= low) & (mm <= high)).all(1))].long()
    if not len(inside):
        raise InvalidInputError("what is labelled lies outside of the other scan: expected the same part of the body")
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(inside.amin(0), inside.amax(0), strict=True))


def _voted(carried: Sequence[_Bent], target: Mapped, wanted: tuple[int, int, int]) -> np.ndarray:
    """The label of every voxel of a grid of size `wanted`, some planes at a time; background outside of the labels."""
    kind = np.result_type(*(one.numbers.dtype for one in carried))
    result = np.zeros(wanted, dtype=kind if kind.kind in "iu" else np.int64)  # of uint64 and int64 it is float64
    drawn = [np.unique(one.numbers) for one in carried] if len(carried) > 1 else []
    scale = np.array(target.maps.size) / np.array(wanted)
    for start in range(0, wanted[0], _SLAB):
        axes = [range(start, min(start + _SLAB, wanted[0])), range(wanted[1]), range(wanted[2])]
        voxels = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        places = torch.from_numpy((voxels + 0.5) * scale - 0.5)
        votes = [_at(one, places, target) for one in carried]
        found = votes[0][0] if len(carried) == 1 else _most(votes, drawn)
        result[start : start + _SLAB] = found.reshape(-1, *wanted[1:])
    return result


def _at(one: _Bent, places: Tensor, target: Mapped) -> tuple[np.ndarray, np.ndarray]:
    """What one labelled scan says of places (n, 3) of the target, in voxels of its network grid: labels, and how much
    that counts."""
    mm, distance = one.bending.at(places, target)
    there = mm / mm.new_tensor(one.voxel) - 0.5
    index = (there.numpy() + 0.5) * np.array(one.numbers.shape) / np.array(one.size) - 0.5
    index = np.rint(index).astype(np.int64)
    inside = ((index >= 0) & (index < one.numbers.shape)).all(1)
    found = np.zeros(len(index), dtype=one.numbers.dtype)
    found[inside] = one.numbers[tuple(index[inside].T)]
    return found, np.exp(-np.where(inside, distance.numpy(), _FAR) / ALIKE)


def _most(votes: Sequence[tuple[np.ndarray, np.ndarray]], drawn: Sequence[np.ndarray]) -> np.ndarray:
    """The label of each place that has the largest share of the votes; on a class vote those in whom it is drawn.

    Args:
        votes: labels and weights of each labelled scan; drawn: which labels it has.
    """
    best = np.zeros(len(votes[0][0]), dtype=np.int64)
    most = np.full(len(best), -1.0)
    for label in sorted({int(value) for found, _ in votes for value in np.unique(found)} | {0}):
        known = [vote for vote, has in zip(votes, drawn, strict=True) if label == 0 or label in has]
        share = sum(np.where(found == label, weight, 0) for found, weight in known) / sum(weight for _, weight in known)
        best, most = np.where(share > most, label, best), np.maximum(share, most)
    return best
