"""Measures of a mask beside its overlap: how much of the surfaces agree, and how far apart the centres are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..trials.task.surface import surface_distances

TOLERANCE = 3.0
"""mm."""


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
