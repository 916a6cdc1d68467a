"""Without a label: how far from where they are organs' centres of one patient, or of several who vote, are found in
another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sg_hub.inference.feature_maps import FeatureMaps
from sg_hub.inference.matching import Mapped, places_in

from ...run.seeds import rng
from ...targets import Item
from ..data import Data, Held, Maps, centre

PATIENTS = 15
"""Whose ordered pairs are looked at, unless a number is given."""
VOTERS = 6
"""Templates that vote; fewer where fewer others have the organ."""
DRAWS = 5
"""Of the templates that vote, for each patient."""

Find = Callable[[Sequence[int], int, Sequence[np.ndarray]], np.ndarray]
"""(templates, patient, the same places in each template) to places in the patient, all in voxels (n, 3)."""


def centres(data: Data, items: Sequence[Item]) -> list[dict[int, np.ndarray]]:
    """Of each item, the centre of every class that is in it, in voxels."""
    found = []
    for item in items:
        label = data.arrays[item][1].numpy()
        found.append({number: centre(label == number) for number in sorted({*np.unique(label).tolist()} - {0})})
    return found


class Landmarks:
    """The centres of some items, to be found in one another."""

    def __init__(self, data: Data, items: Sequence[Item], progress: bool) -> None:
        self._data, self._items, self._progress = data, items, progress
        self._where = centres(data, items)
        self._sizes = [np.array(data.arrays[item][1].shape) for item in items]

    def by_position(self, templates: Sequence[int], patient: int, places: Sequence[np.ndarray]) -> np.ndarray:
        """The baseline that needs no network: the same fraction of the scan along each axis, on average."""
        shares = [(at + 0.5) / self._sizes[one] for one, at in zip(templates, places, strict=True)]
        result: np.ndarray = np.mean(shares, 0) * self._sizes[patient] - 0.5
        return result

    def by_features(self, maps: Maps, names: Sequence[str]) -> Find:
        """By the similarity of feature maps, as `sg_hub.locate` does it."""
        held = Held()  # normalised, beside what is held as it is

        def mapped(number: int) -> Mapped:
            item = self._items[number]
            return Mapped(held.get(item.name, lambda: _unit(maps[item].only(names))), self._data.voxel)

        def find(templates: Sequence[int], patient: int, places: Sequence[np.ndarray]) -> np.ndarray:
            at = [torch.from_numpy(one).float() for one in places]
            found = places_in(mapped(patient), [mapped(one) for one in templates], at)
            result: np.ndarray = found.double().numpy()
            return result

        return find

    def pairs(self, find: Find, title: str) -> np.ndarray:
        """Errors in mm, (templates, items, classes), of every item in each other, of one patient too; NaN on the
        diagonal and of a class that is not in both."""
        count = len(self._items)
        errors = np.full((count, count, len(self._data.target.classes)), np.nan)
        both = [(a, b) for a in range(count) for b in range(count) if a != b]
        for a, b in self._bar(both, title, "pair"):
            shared = [number for number in self._where[a] if number in self._where[b]]
            if shared:
                found = find([a], b, [np.stack([self._where[a][number] for number in shared])])
                errors[a, b, [number - 1 for number in shared]] = self._distances(found, b, shared)
        return errors

    def votes(self, find: Find, title: str) -> np.ndarray:
        """Errors in mm, (DRAWS, items, classes), of VOTERS other patients' items that have the class; NaN where none
        has."""
        count = len(self._items)
        errors = np.full((DRAWS, count, len(self._data.target.classes)), np.nan)
        cells = [(draw, b, number) for draw in range(DRAWS) for b in range(count) for number in self._where[b]]
        for draw, b, number in self._bar(cells, title, "place"):
            order = rng("worth", "voters", draw, self._items[b].name).permutation(count)
            patient = self._items[b].patient
            voters = [a for a in order if self._items[a].patient != patient and number in self._where[a]][:VOTERS]
            if voters:
                found = find(voters, b, [self._where[a][number][None] for a in voters])
                errors[draw, b, number - 1] = self._distances(found, b, [number])[0]
        return errors

    def _distances(self, found: np.ndarray, patient: int, numbers: Sequence[int]) -> np.ndarray:
        truth = np.stack([self._where[patient][number] for number in numbers])
        result: np.ndarray = np.linalg.norm((found - truth) * self._data.voxel, axis=1)
        return result

    def _bar(self, cells: list[Any], title: str, unit: str) -> Iterable[Any]:
        return tqdm(cells, title, unit=unit, disable=not self._progress, leave=False)


def _unit(maps: FeatureMaps) -> FeatureMaps:
    """A copy, for others look at the vectors as they are."""
    copies = tuple(level.clone() for level in maps.levels)
    return FeatureMaps(maps.names, copies, maps.strides, maps.size).normalised()
