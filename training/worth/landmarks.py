"""Without a label: how far from where they are organs' centres of one patient are found in another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from sg_hub.inference.feature_maps import FeatureMaps
from sg_hub.inference.matching import Mapped, match

from ..targets import Item
from .data import Data, Maps, centre

PATIENTS = 15
"""Whose ordered pairs are looked at, unless a number is given."""

Find = Callable[[int, int, np.ndarray], np.ndarray]
"""(template, patient, places in the template) to places in the patient, all in voxels."""


@dataclass(frozen=True)
class Pairs:
    """Errors in mm, (templates, patients, classes); NaN on the diagonal and where a class is in one of the two only."""

    patients: tuple[str, ...]
    errors: np.ndarray


def centres(data: Data, items: Sequence[Item]) -> list[dict[int, np.ndarray]]:
    """Of each item, the centre of every class that is in it, in voxels."""
    found = []
    for item in items:
        label = data.arrays[item][1].numpy()
        found.append({number: centre(label == number) for number in sorted({*np.unique(label).tolist()} - {0})})
    return found


def by_position(data: Data, items: Sequence[Item]) -> Pairs:
    """The baseline that needs no network: the same fraction of the scan along each axis."""
    where = centres(data, items)
    sizes = [np.array(data.arrays[item][1].shape) for item in items]

    def find(one: int, other: int, places: np.ndarray) -> np.ndarray:
        result: np.ndarray = (places + 0.5) * sizes[other] / sizes[one] - 0.5
        return result

    return _pairs(data, items, where, find, "position", progress=False)


def by_features(
    data: Data, items: Sequence[Item], maps: Maps, names: Sequence[str], title: str, progress: bool
) -> Pairs:
    """By the similarity of feature maps, checked both ways, as `sg_hub.locate` does it."""
    where = centres(data, items)
    mapped = [Mapped(_unit(maps[item].only(names)), data.voxel) for item in items]

    def find(one: int, other: int, places: np.ndarray) -> np.ndarray:
        found = match([mapped[one]], [torch.from_numpy(places).float()], mapped[other])
        result: np.ndarray = found.places.double().numpy()
        return result

    return _pairs(data, items, where, find, title, progress)


def _unit(maps: FeatureMaps) -> FeatureMaps:
    """A copy, for others look at the vectors as they are."""
    copies = tuple(level.clone() for level in maps.levels)
    return FeatureMaps(maps.names, copies, maps.strides, maps.size).normalised()


def _pairs(
    data: Data, items: Sequence[Item], where: Sequence[dict[int, np.ndarray]], find: Find, title: str, progress: bool
) -> Pairs:
    count, classes = len(items), len(data.target.classes)
    errors = np.full((count, count, classes), np.nan)
    both = [(a, b) for a in range(count) for b in range(count) if a != b]
    for a, b in tqdm(both, title, unit="pair", disable=not progress, leave=False):
        shared = [number for number in where[a] if number in where[b]]
        if not shared:
            continue
        found = find(a, b, np.stack([where[a][number] for number in shared]))
        truth = np.stack([where[b][number] for number in shared])
        errors[a, b, [number - 1 for number in shared]] = np.linalg.norm((found - truth) * data.voxel, axis=1)
    return Pairs(tuple(item.patient for item in items), errors)
