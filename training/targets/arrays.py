"""Crops, sizes and pictures that several readers share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

import sg_hub
from sg_hub import ImagePreprocessing, Scan
from sg_hub.errors import InvalidInputError, ReadError

from .protocol import Grid, LoadedItem, Target


def fit_image(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(C, X, Y, Z) interpolated linearly to `size`, edge to edge."""
    if image.shape[1:] == tuple(size):
        return image.astype(np.float32, copy=False)
    x = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    return F.interpolate(x, tuple(size), mode="trilinear")[0].numpy()


def fit_labels(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(spatial...) of whole numbers on a grid of `size`, edge to edge: the nearest voxel, nothing is averaged."""
    if labels.shape == tuple(size):
        return labels.astype(np.uint8, copy=False)
    x = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))[None, None]
    return F.interpolate(x, tuple(size), mode="nearest-exact")[0, 0].numpy().astype(np.uint8)


def pad_to(array: np.ndarray, corner: Sequence[int], size: Sequence[int], fill: float) -> np.ndarray:
    """The box at `corner` of `size` of (..., X, Y, Z), with `fill` where it reaches outside."""
    spatial = array.shape[-len(corner) :]
    inner, margins = [], []
    for start, side, length in zip(corner, size, spatial, strict=True):
        low, high = min(max(start, 0), length), min(max(start + side, 0), length)
        inner.append(slice(low, high))
        before = min(max(-start, 0), side)
        margins.append((before, side - before - (high - low)))
    lead = array.ndim - len(corner)
    box = array[(slice(None),) * lead + tuple(inner)]
    return np.pad(box, [(0, 0)] * lead + margins, constant_values=fill)


def labelled_scan(
    grid: Grid,
    image: Path | str,
    label: Path | str,
    values: Sequence[Sequence[int]],
    *,
    same_voxels: bool = False,
) -> LoadedItem:
    """A scan and its label map on the target's grid.

    Args:
        values: of the label map, for each class.
        same_voxels: voxels of the same index in the two files belong together, whatever the label map's header says of
            its geometry.

    Raises:
        ReadError, InvalidInputError: a file that cannot be read, or two of different grids.
    """
    scan, labels = sg_hub.load_scan(image), sg_hub.load_scan(label, labels=True)
    if same_voxels:
        labels = _as_placed(labels, scan)
    if labels.size != scan.size:
        raise InvalidInputError(
            f"{label} has size {labels.size}, its image {image} {scan.size}: they must be of the same grid"
        )
    apart = float(np.abs(_corners(labels) - _corners(scan)).max())
    if apart > max(scan.spacing) / 2:
        raise InvalidInputError(
            f"{label} lies elsewhere than its image {image}: by their headers (origin, spacing, direction) they are up "
            f"to {apart:.1f} mm apart. Resample it onto the image; if voxels of the same index belong together give "
            "it the image's header (SimpleITK: label.CopyInformation(image)), or set same_voxels = true"
        )
    return on_grid(grid, scan, numbered(labels.array[0], values))


def _corners(scan: Scan) -> np.ndarray:
    """The first voxel and the last one of each axis, (4, 3) in mm."""
    steps = np.array(scan.direction).reshape(3, 3) * np.array(scan.spacing) * (np.array(scan.size) - 1)
    return np.array(scan.origin) + np.vstack([np.zeros(3), steps.T])


def _as_placed(labels: Scan, scan: Scan) -> Scan:
    """A label map in its file's order of voxels, with the geometry of another file."""
    image, grid = labels.to_image(labels.array), scan.file_grid
    if grid is not None:
        image.SetOrigin(grid.origin)
        image.SetSpacing(grid.spacing)
        image.SetDirection(grid.direction)
    return Scan.from_image(image, labels.source, labels=True)


def numbered(labels: np.ndarray, values: Sequence[Sequence[int]]) -> np.ndarray:
    """Class numbers from 1 on, of a label map whose values belong to classes; 0 elsewhere."""
    numbers = np.zeros(labels.shape, dtype=np.uint8)
    for number, wanted in enumerate(values, 1):
        numbers[np.isin(labels, wanted)] = number
    return numbers


def on_grid(grid: Grid, scan: Scan, labels: np.ndarray) -> LoadedItem:
    """A scan and its class numbers, windowed and resampled as the target says."""
    image = grid.preprocessing().apply(scan)[0].numpy()
    return LoadedItem(image, fit_labels(labels, image.shape[1:]))


def picture_on_grid(target: Target, picture: sg_hub.Image, label: np.ndarray) -> LoadedItem:
    """A picture at the target's size and with its channels, as the 2D weights do it: its proportions are kept, and
    black is added on both sides of the shorter one; so is background to class numbers (H, W)."""
    size = (target.grid.size or picture.size)[:2]
    preprocessing = ImagePreprocessing(input_size=(size[0], size[1]))
    x = preprocessing.apply(picture, target.channels)[0].numpy()
    if label.ndim == 2:
        fitted = fit_labels(label, preprocessing.fitted_size(picture))
        before = [(side - have) // 2 for side, have in zip(size, fitted.shape, strict=True)]
        label = pad_to(fitted, [-margin for margin in before], size, 0)
    return LoadedItem(x, label)


def read_label_image(path: Path) -> np.ndarray:
    """(H, W) whole numbers of a picture of labels (PNG or TIFF, one channel or a palette).

    Raises:
        ReadError: missing, damaged, or in colour.
    """
    try:
        with Image.open(path) as image:
            array = np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ReadError(f"{path} cannot be read as a picture of labels ({error})") from error
    if array.ndim != 2:
        raise ReadError(f"{path} is in colour: expected a picture of labels, one number per pixel")
    return array
