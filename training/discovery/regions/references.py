"""The reference patients that all others are bent onto, and the regions that their tissue is cut into.

A region is a cluster of voxels of one reference that are near each other and alike: no label of a person is looked at.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import writing

from ...data.store import Store
from ...run.folder.arrays import read_arrays
from ...run.recipe import Recipe, Regions
from ...run.seeds import seed_of
from ..cubes import to_network

OUTSIDE = 10.0
"""mm around a reference that still count as in it."""
_POINTS = 60_000
"""Voxels of a reference that regions are found on."""
_ROUNDS = 60
_BATCH = 8192


@dataclass(frozen=True)
class References:
    """The references and their regions."""

    names: tuple[str, ...]
    """In the store."""
    extents: np.ndarray
    """(references, 3) float32 mm."""
    middles: np.ndarray
    """(references, regions, 4) float32: x, y, z in mm from the scan's edge, and the intensity in mm."""
    scale: tuple[float, float, float]
    """How an intensity x in 0..1 counts in mm: (x clipped to the first two) times the third."""

    @property
    def fingerprint(self) -> str:
        """sha256 of the regions."""
        return hashlib.sha256(self.middles.tobytes()).hexdigest()

    @classmethod
    def found(cls, store: Store, recipe: Recipe) -> References:
        """Choose the references of a store, and cut them up.

        Raises:
            InvalidInputError: too few train patients, a store of images, or a reference with too little tissue.
        """
        settings = recipe.regions
        if store.ndim != 3:
            raise InvalidInputError(
                "regions are found in 3D scans: take a 2D method, such as dense_contrast, of images"
            )
        chosen = _largest(store, settings.references)
        scale = _scale(store, settings)
        cut = [_cut_up(store, number, settings, scale, recipe.seed) for number in chosen]
        items = [store.patients[number] for number in chosen]
        extents = [np.array(item.shape) * item.spacing for item in items]
        return cls(tuple(item.name for item in items), np.array(extents, np.float32), np.array(cut, np.float32), scale)

    def save(self, path: Path) -> None:
        with writing(path) as file:
            np.savez(file, names=self.names, extents=self.extents, middles=self.middles, scale=self.scale)

    @classmethod
    def load(cls, path: Path) -> References:
        """Raises ReadError where it is missing or damaged."""
        saved = read_arrays(path, "names", "extents", "middles", "scale")
        low, high, mm = saved["scale"].tolist()
        return cls(tuple(saved["names"].tolist()), saved["extents"], saved["middles"], (low, high, mm))


def smoothed(cubes: Tensor) -> Tensor:
    """(N, spatial...): intensities (N, 1, X, Y, Z) with less noise, half of each voxel and half of its surroundings."""
    around = F.avg_pool3d(cubes, 3, 1, 1, count_include_pad=False)
    return (0.5 * cubes + 0.5 * around)[:, 0]


def in_mm(intensity: Tensor, scale: tuple[float, float, float]) -> Tensor:
    """How intensities in 0..1 count beside a place in mm."""
    low, high, mm = scale
    return intensity.clamp(low, high) * mm


def _scale(store: Store, settings: Regions) -> tuple[float, float, float]:
    low, high = store.window
    first, last = ((hu - low) / (high - low) for hu in settings.intensity)
    return first, last, settings.mm_per_hu * (high - low)


def _largest(store: Store, count: int) -> list[int]:
    """Numbers of the train patients with the largest scans, one of each person."""
    train = [number for number, item in enumerate(store.patients) if item.split == "train"]
    volume = {
        number: math.prod(store.patients[number].shape) * math.prod(store.patients[number].spacing) for number in train
    }
    chosen: dict[str, int] = {}
    for number in sorted(train, key=lambda number: -volume[number]):
        chosen.setdefault(store.patients[number].patient, number)
    if len(chosen) < count + 1:
        raise InvalidInputError(
            f"regions.references={count} need as many train patients and at least one more, and the store has "
            f"{len(chosen)}: set it lower, or add patients"
        )
    return list(chosen.values())[:count]


def _cut_up(store: Store, number: int, settings: Regions, scale: tuple[float, float, float], seed: int) -> np.ndarray:
    """(regions, 4): the middles of a reference's regions."""
    item = store.patients[number]
    scan = to_network(store.whole(item.name)[:1], store.window, item.shape)[None]
    above = (settings.tissue_hu - store.window[0]) / (store.window[1] - store.window[0])
    voxels = (F.avg_pool3d(scan, 5, 1, 2, count_include_pad=False)[0, 0] > above).nonzero()
    if len(voxels) < settings.regions:
        raise InvalidInputError(
            f"regions.regions={settings.regions}: the reference {item.name} has {len(voxels)} voxels of tissue; set it "
            "lower, or regions.tissue_hu"
        )
    place = (voxels + 0.5) * torch.tensor(item.spacing)
    value = in_mm(smoothed(scan)[0][tuple(voxels.T)], scale)
    points = torch.cat([place, value[:, None]], 1).numpy().astype(np.float32)
    random = seed_of(seed, "regions", item.name)
    some = np.random.default_rng(random).permutation(len(points))[:_POINTS]
    clusters = MiniBatchKMeans(
        settings.regions, n_init=1, max_iter=_ROUNDS, batch_size=_BATCH, random_state=random % 2**32
    )
    return clusters.fit(points[some]).cluster_centers_
