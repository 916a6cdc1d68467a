"""Pictures of scans and images: where they differ, of a scan slices are shown, of an image all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from sg_hub.cli.inputs import Input
from sg_hub.io.image import Image
from sg_hub.io.pictures import ORIENTATION, Row, axial, coronal, grey, montage, overlay, save_png
from sg_hub.models import PretrainedModel

_SLICES = 6


@dataclass(frozen=True)
class View:
    """A way to look at an array (spatial...)."""

    name: str
    axis: int | None
    """Along which its slices follow each other; absent: there is one."""
    direction: str
    pixel: tuple[float, float]
    """Height and width in mm, or in any other unit."""

    def cut(self, array: np.ndarray, place: int) -> np.ndarray:
        """(rows, columns) of a slice."""
        if self.axis is None:
            return array
        return axial(array, place) if self.axis == 2 else coronal(array, place)

    def places(self, array: np.ndarray) -> list[int]:
        """Some slices from end to end."""
        if self.axis is None:
            return [0]
        return [int(share * array.shape[self.axis]) for share in np.linspace(0.1, 0.9, _SLICES)]

    def fullest(self, labels: np.ndarray) -> int:
        """The slice with the most of all labels, each as a share of what is in its own fullest slice, so that a large
        one does not hide a small one. Of several, the one with the most labelled voxels, then the nearest the middle.
        """
        if self.axis is None:
            return 0
        planes = np.moveaxis(labels, self.axis, 0)
        counts = np.stack([np.bincount(plane.ravel(), minlength=int(labels.max()) + 1)[1:] for plane in planes])
        shares = (counts / counts.max(0, initial=1)).sum(1)
        best = np.flatnonzero(shares == shares.max())
        together = counts[best].sum(1)
        best = best[together == together.max()]
        middle = (labels.shape[self.axis] - 1) / 2
        return int(best[np.abs(best - middle).argmin()])


def views(given: Input, grid: tuple[int, ...] | None = None) -> list[View]:
    """How a scan or an image is looked at.

    Args:
        grid: of the network, which covers a scan edge to edge; absent: its own.
    """
    if isinstance(given, Image):
        return [View("", None, "", given.spacing if given.spacing and grid is None else (1.0, 1.0))]
    dx, dy, dz = (length / count for length, count in zip(given.extent, grid or given.size, strict=True))
    return [
        View("axial", 2, "inferior to superior", (dy, dx)),
        View("coronal", 1, "anterior to posterior", (dz, dx)),
    ]


def draw_input(model: PretrainedModel, given: Input, x: Tensor, path: Path) -> None:
    """What the network gets to see, (1, C, spatial...)."""
    array = _in_0_to_1(x[0, 0].numpy(), model.preprocessing.values)
    rows = []
    for view in views(given, tuple(array.shape)):
        label = f"{view.name}, {view.direction} ({ORIENTATION[view.name]})" if view.name else given.source
        rows.append(Row(label, [grey(view.cut(array, place)) for place in view.places(array)], view.pixel))
    save_png(montage(rows, cell=200 if given.array.ndim == 4 else 384), path)


def draw_labels(
    model: PretrainedModel, given: Input, labels: np.ndarray, legend: Mapping[str, int], path: Path
) -> None:
    """Labels over what they are of."""
    low, high = (float(limit.flatten()[0]) for limit in model.preprocessing.limits(given))
    shown = _in_0_to_1(given.array[0], (low, high))  # as the network sees it
    pieces = _largest_pieces(labels) if labels.ndim == 3 else labels
    rows = []
    for view in views(given):
        place = view.fullest(pieces)
        cut = view.cut(shown, place)
        label = given.source
        if view.axis is not None:
            label = f"{view.name} slice {place} of {labels.shape[view.axis]}: {ORIENTATION[view.name]}"
        rows.append(Row(label, [grey(cut), overlay(cut, view.cut(labels, place))], view.pixel))
    save_png(montage(rows, cell=384, legend=legend), path)


def draw_patches(
    model: PretrainedModel, given: Input, grid: tuple[int, ...], batches: Mapping[str, Tensor], path: Path
) -> None:
    """Batches of patches (N, C, spatial...), a row each: of a cube its middle axial slice."""
    view = views(given, grid)[0]
    rows = []
    for label, batch in batches.items():
        arrays = [_in_0_to_1(patch[0].numpy(), model.preprocessing.values) for patch in batch]
        rows.append(Row(label, [grey(view.cut(array, array.shape[-1] // 2)) for array in arrays], view.pixel))
    save_png(montage(rows), path)


def _largest_pieces(labels: np.ndarray) -> np.ndarray:
    """Of each label (X, Y, Z) the largest connected piece: specks elsewhere do not say which slice is drawn. Labels are
    counted from 1 on, whatever their numbers."""
    kept = np.zeros_like(labels)
    for number, label in enumerate(np.unique(labels[labels > 0]), 1):
        parts = sitk.ConnectedComponent(sitk.GetImageFromArray((labels == label).astype(np.uint8)))
        kept[sitk.GetArrayFromImage(sitk.RelabelComponent(parts)) == 1] = number  # by size, the largest first
    return kept


def _in_0_to_1(array: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    low, high = limits
    return (array - low) / max(high - low, 1e-6)
