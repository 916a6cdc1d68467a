"""Where patterns may lie, and which patients share them (paper, Sec. 2)."""

from __future__ import annotations

import numpy as np

from ..data.store import Store
from ..run.recipe import Discover
from .cubes import tissue_share
from .located import Places
from .patterns import SPLITS

TRIES = 200
"""Random corners tried in one reference patient before another reference is taken."""
ROWS_AT_ONCE = 1 << 13
"""Patients whose distances are computed together: what is made on the way stays in a cache, however many there are."""


def distances(features: np.ndarray, reference: int) -> np.ndarray:
    """L2 distance of every row of (patients, features) to that of the reference."""
    found = np.empty(len(features), features.dtype)
    for start in range(0, len(features), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        found[part] = np.linalg.norm(features[part] - features[reference], axis=1)
    return found


def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the smallest values, in their order; of equal ones those that come first."""
    if count >= len(values):
        return np.argsort(values, kind="stable")
    kept = np.flatnonzero(values <= np.partition(values, count - 1)[count - 1])
    return kept[np.argsort(values[kept], kind="stable")][:count]


class Search:
    """The search for the patterns of one store."""

    def __init__(self, store: Store, features: np.ndarray | None, settings: Discover) -> None:
        self.store, self.features, self.settings = store, features, settings
        self.cube = np.array(settings.cube)
        self.shapes = np.array([patient.shape for patient in store.patients])
        self.splits = np.array([SPLITS.index(patient.split) for patient in store.patients])
        self.train = np.flatnonzero(self.splits == 0)
        self.typical = np.median(self.shapes[self.train], axis=0)
        self.found: list[np.ndarray] = []
        """Corners so far: voxels, or fractions times the typical size in the relative frame."""

    def corner(self, reference: int, random: np.random.Generator) -> np.ndarray | None:
        """A corner in the reference patient, in the frame's coordinates, or None when no place is found."""
        shape = self.shapes[reference]
        border = np.ceil(np.array(self.settings.border) * shape).astype(int)
        low, high = border, shape - border - self.cube
        if np.any(high < low):
            return None
        for _ in range(TRIES):
            voxel = random.integers(low, high + 1)
            coordinate = self._to_frame(voxel, shape)
            near = any(np.linalg.norm(coordinate - other) < self.settings.min_distance for other in self.found)
            if not near and self._is_tissue(reference, voxel):
                self.found.append(coordinate)
                return coordinate
        return None

    def middle(self, reference: int, coordinate: np.ndarray) -> np.ndarray:
        """The middle of the cube in its reference, in voxels."""
        corner = self._to_voxel(coordinate, self.shapes[[reference]])[0]
        result: np.ndarray = corner + (self.cube - 1) / 2
        return result

    def rows(
        self,
        pattern: int,
        reference: int,
        coordinate: np.ndarray,
        random: np.random.Generator,
        places: Places | None = None,
    ) -> list[tuple[int, ...]]:
        """The table's rows of one pattern: all its neighbours in every split, at every resolution.

        Args:
            places: of the pattern in every patient, where they do not follow from the coordinate.
        """
        rows = []
        if places is None:
            assert self.features is not None, "coordinates say where a place is, and they in whom"
            distance, corners = distances(self.features, reference), self._to_voxel(coordinate, self.shapes)
        else:
            distance = places[1].copy()
            corners = np.round(places[0] - (self.cube - 1) / 2).astype(int)
            corners[reference] = self._to_voxel(coordinate, self.shapes[[reference]])[0]
        distance[reference] = -1.0  # itself included, and first
        fits = np.all((corners >= 0) & (corners + self.cube <= self.shapes), axis=1)
        for split in range(len(SPLITS)):
            candidates = np.flatnonzero((self.splits == split) & fits)
            for patient in candidates[smallest(distance[candidates], self._count(split))]:
                for resolution in range(self.settings.resolutions):
                    corner, size = self._window(corners[patient], self.shapes[patient], resolution, random)
                    rows.append((pattern, int(patient), reference, *corner, *size, resolution, split))
        return rows

    def _count(self, split: int) -> int:
        """K train patients; of the others the same share of their split."""
        total = int((self.splits == split).sum())
        if split == 0:
            return self.settings.neighbours
        return min(total, max(1, round(self.settings.neighbours * total / len(self.train))))

    def _window(
        self, corner: np.ndarray, shape: np.ndarray, resolution: int, random: np.random.Generator
    ) -> tuple[list[int], list[int]]:
        if resolution == 0:
            return corner.tolist(), self.cube.tolist()
        in_plane = random.integers(self.settings.in_plane[0], self.settings.in_plane[1] + 1)
        in_plane = min(in_plane, *shape[:2])  # both sides alike, or it would be stretched
        size = np.minimum([in_plane, in_plane, *self.cube[2:]], shape)
        jitter = np.array(self.settings.jitter)
        moved = corner + (self.cube - size) // 2 + random.integers(-jitter, jitter + 1)
        return np.clip(moved, 0, shape - size).tolist(), size.tolist()

    def _to_frame(self, voxel: np.ndarray, shape: np.ndarray) -> np.ndarray:
        if self.settings.frame == "voxel":
            return voxel.astype(float)
        return (voxel + self.cube / 2) / shape * self.typical

    def _to_voxel(self, coordinate: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        """(patients, axes) corners in voxels, of scans with these shapes (patients, axes)."""
        if self.settings.frame == "voxel":
            return np.broadcast_to(coordinate.astype(int), shapes.shape)
        return np.round(coordinate / self.typical * shapes - self.cube / 2).astype(int)

    def _is_tissue(self, reference: int, voxel: np.ndarray) -> bool:
        name = self.store.patients[reference].name
        corner, size = tuple(voxel.tolist()), tuple(self.cube.tolist())
        return tissue_share(self.store.crop(name, corner, size), self.store, self.settings) > self.settings.tissue
