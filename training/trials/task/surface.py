"""Two masks beside their overlap: how far apart their surfaces and their centres are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

TOLERANCE = 3.0
"""mm."""
IN_MM = SURFACE_DICE, CENTRE_ERROR = ("surface dice", "centre error")
"""Measures that need millimetres."""
SURFACE_DICE_AT = f"surface Dice at {TOLERANCE:g} mm"


def surface_distances(found: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """From each voxel of either surface to the other surface, (n,); none where a mask is empty.

    A voxel is of the surface where a neighbour along an axis (or the border) is outside.

    Args:
        found, truth: masks of one shape.
        spacing: of the voxels along each axis; the distances are in its unit.
    """
    if not (found.any() and truth.any()):
        return np.empty(0)
    places = np.argwhere(found | truth)  # nothing lies around it, and the transform of a whole scan takes seconds
    box = tuple(slice(low, high + 1) for low, high in zip(places.min(0), places.max(0), strict=True))
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (found, truth)]
    away = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    return np.concatenate([away[1][surfaces[0]], away[0][surfaces[1]]])


def surface_dice(found: np.ndarray, truth: np.ndarray, voxel: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """Share of the two surfaces that lies within a tolerance of the other one (Nikolov et al., 2018), by voxels.

    A surface is the voxels of a mask with a neighbour outside of it. NaN where both masks are empty, 0 where one is.

    Args:
        found, truth: bool (X, Y, Z).
        voxel: mm along each axis.
    """
    if not found.any() and not truth.any():
        return float("nan")
    distances = surface_distances(found, truth, voxel)
    return float((distances <= tolerance).mean()) if len(distances) else 0.0


def centre_error(found: np.ndarray, truth: np.ndarray, voxel: Sequence[float]) -> float:
    """mm between the centres of two masks; NaN where either is empty."""
    if not found.any() or not truth.any():
        return float("nan")
    return float(np.linalg.norm((np.argwhere(found).mean(0) - np.argwhere(truth).mean(0)) * voxel))


def measured_in_mm(
    found: np.ndarray, truth: np.ndarray, voxel: Sequence[float], classes: int
) -> dict[str, list[float]]:
    """The measures `IN_MM` of every class but the background, of two maps of class numbers."""
    masks = [(found == number, truth == number) for number in range(1, classes + 1)]
    return {
        SURFACE_DICE: [surface_dice(one, other, voxel) for one, other in masks],
        CENTRE_ERROR: [centre_error(one, other, voxel) for one, other in masks],
    }
