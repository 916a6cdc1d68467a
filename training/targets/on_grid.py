"""How scans, cubes and pictures come onto a target's grid, with their labels. The steps are those of sg_hub."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

import sg_hub
from sg_hub.preprocessing.steps import resize, resize_labels, window

from .items import LoadedItem

if TYPE_CHECKING:
    from .protocol import Target

_log = logging.getLogger(__name__)
AIR = -1000.0
"""HU."""


def scan_on_grid(target: Target, scan: sg_hub.Scan, label: np.ndarray) -> LoadedItem:
    """A whole scan, with class numbers (X, Y, Z) of its voxels, or the label () or (findings,) of a classification."""
    image = target.grid.of_scans().apply(scan)[0].numpy()
    if label.ndim != 3:
        return LoadedItem(image, label)
    fitted = fit_labels(label, image.shape[1:])
    say_lost(target, label, fitted, scan.source)
    return LoadedItem(image, fitted, label)


def cube_on_grid(target: Target, cube: np.ndarray, label: np.ndarray) -> LoadedItem:
    """The same of a cube (C, X, Y, Z) in HU that was cut out of a scan; it becomes as large as grid.size says."""
    preprocessing, size = target.grid.of_scans(), target.grid.size
    assert size is not None
    x = window(torch.from_numpy(np.ascontiguousarray(cube))[None], preprocessing.low, preprocessing.high)
    return LoadedItem(resize(x, size)[0].numpy(), fit_labels(label, size) if label.ndim == 3 else label)


def picture_on_grid(target: Target, picture: sg_hub.Image, label: np.ndarray) -> LoadedItem:
    """A picture at the target's size and with its channels, as the 2D weights take it: its proportions are kept, and
    black is added on both sides of the shorter one; so is background to class numbers (H, W)."""
    size = (target.grid.size or picture.size)[:2]
    preprocessing = target.grid.of_pictures(size)
    image = preprocessing.apply(picture, target.channels)[0].numpy()
    if label.ndim == 2:
        fitted = fit_labels(label, preprocessing.fitted_size(picture))
        say_lost(target, label, fitted, picture.source)
        corner = [-((side - have) // 2) for side, have in zip(size, fitted.shape, strict=True)]
        label = box(fitted, corner, size, 0)
    return LoadedItem(image, label)


def say_lost(target: Target, label: np.ndarray, fitted: np.ndarray, source: str) -> None:
    """Warn of classes that were drawn, and fall between the voxels of the target's grid."""
    lost = sorted({*np.unique(label)} - {*np.unique(fitted)} - {0})
    if lost:
        names = ", ".join(target.class_names[int(number)] for number in lost)
        _log.warning("%s: nothing of %s is left on the grid of target %s; give a finer one", source, names, target.name)


def fit_labels(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(spatial...) of class numbers, uint8, on a grid of `size`, edge to edge."""
    x = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))[None, None]
    return resize_labels(x, size)[0, 0].numpy().astype(np.uint8)


def box(array: np.ndarray, corner: Sequence[int], size: Sequence[int], fill: float) -> np.ndarray:
    """The box at `corner` of `size` of (..., spatial...), with `fill` where it reaches outside."""
    spatial = array.shape[-len(corner) :]
    inner, margins = [], []
    for start, side, length in zip(corner, size, spatial, strict=True):
        low, high = min(max(start, 0), length), min(max(start + side, 0), length)
        inner.append(slice(low, high))
        before = min(max(-start, 0), side)
        margins.append((before, side - before - (high - low)))
    lead = array.ndim - len(corner)
    part = array[(slice(None),) * lead + tuple(inner)]
    return np.pad(part, [(0, 0)] * lead + margins, constant_values=fill)
