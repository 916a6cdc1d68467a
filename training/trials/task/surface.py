"""How far apart the surfaces of two masks are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


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
