"""The data sets of pre-training, which crop from the store when they are asked: cubes of patterns, and random ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sg_hub.errors import InvalidInputError
from sg_hub.preprocessing.steps import resize, window

from ..data.store import Store
from ..run.recipe import Discover, Size
from ..run.seeds import permutation, rng
from .patterns import PatternTable

TRIES = 50
"""Random corners in one patient before the one with the most tissue is taken."""
PER_PATIENT = 32
"""Random cubes of a patient in an epoch, unless a number for all is given (Models Genesis' 32)."""


class Cubes(Dataset[tuple[Any, ...]], ABC):
    """What a method trains on. An item is ((C, *size) float32 in 0..1, and its label where there are labels)."""

    @abstractmethod
    def __len__(self) -> int:
        """Items of an epoch."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The items of an epoch, in the order in which they are trained on."""
        return permutation(len(self), seed, "order", epoch)

    def spread(self, count: int) -> list[int]:
        """A few items that show the variety."""
        return np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int).tolist()

    @abstractmethod
    def describe(self, index: int) -> str:
        """Which cube an item is, for messages."""

    @abstractmethod
    def patient_count(self) -> int:
        """Patients whose cubes these are."""


class PatternDataset(Cubes):
    """Cubes of the patterns table, cropped from the store and resized: ((C, *size) float32 in 0..1, label).

    Args:
        rows: which rows of the table.
        size: voxels (x, y, z), or pixels (rows, columns), that every cube is resized to.
        context: how many times as large as in the table a cube is cropped, around the same middle, so that a place in
            it is the same one in every patient; beyond the scan its border is repeated.
    """

    def __init__(self, table: PatternTable, store: Store, rows: np.ndarray, size: Size, context: float = 1.0) -> None:
        missing = set(table.patients) - set(store.names())
        if missing:
            raise InvalidInputError(
                f"the patterns table names {len(missing)} patients that the store lacks "
                f"({', '.join(sorted(missing)[:5])}): run discover again on this store"
            )
        self.table, self.store, self.row_numbers, self.size, self.context = table, store, rows, size, context

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        patient, corner, size = self._place(index)
        cube = _with_context(self.store, patient, corner, size, self.context)
        return to_network(cube, self.store.window, self.size), int(self.table.pattern[self.row_numbers[index]])

    def spread(self, count: int) -> list[int]:
        """Cubes of the base size, of different patterns."""
        base = np.flatnonzero(self.table.resolution[self.row_numbers] == 0)
        _, first = np.unique(self.table.pattern[self.row_numbers[base]], return_index=True)
        chosen = np.linspace(0, len(first) - 1, min(count, len(first))).round().astype(int)
        return base[first[chosen]].tolist()

    def describe(self, index: int) -> str:
        patient, corner, _ = self._place(index)
        return f"pattern {self.table.pattern[self.row_numbers[index]]} of {patient} at {' '.join(map(str, corner))}"

    def patient_count(self) -> int:
        return _patient_count(self.store, {self.table.patients[p] for p in self.table.patient[self.row_numbers]})

    def _place(self, index: int) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        row, table = self.row_numbers[index], self.table
        corner, size = (tuple(int(v) for v in column[row]) for column in (table.corner, table.size))
        return table.patients[table.patient[row]], corner, size


class RandomCubes(Cubes):
    """Random cubes of a split: uniform over its scans, then anywhere in one where there is enough tissue.

    Cubes are as large as those of the patterns (`discover.cube`) and need as much tissue; where a scan is smaller, its
    border is repeated. Each epoch has cubes of its own; of the same seed and place it always has the same.

    Args:
        size: voxels that every cube is resized to.
        epoch_length: cubes of an epoch; absent: 32 of every scan.
    """

    def __init__(
        self, store: Store, split: str, settings: Discover, size: Size, seed: int, epoch_length: int | None = None
    ) -> None:
        self.store, self.split, self.settings, self.size, self.seed = store, split, settings, size, seed
        self.patients = store.names(split)
        self.length = (epoch_length or PER_PATIENT * len(self.patients)) if self.patients else 0

    def __len__(self) -> int:
        return self.length

    def order(self, seed: int, epoch: int) -> np.ndarray:
        return epoch * self.length + np.arange(self.length)

    def __getitem__(self, index: int) -> tuple[Tensor]:
        _, _, cube = self._draw(index)
        return (to_network(cube, self.store.window, self.size),)

    def describe(self, index: int) -> str:
        patient, corner, _ = self._draw(index)
        return f"{patient} at {' '.join(map(str, corner))}"

    def patient_count(self) -> int:
        return _patient_count(self.store, set(self.patients))

    def _draw(self, index: int) -> tuple[str, tuple[int, ...], np.ndarray]:
        random = rng(self.seed, "random cube", self.split, int(index))
        patient = self.patients[random.integers(len(self.patients))]
        # Voxels that a cube may be moved by; below 0, half of what the scan lacks lies on either side of it.
        spare = np.array(self.store.shape(patient)) - self.settings.cube
        best, most = None, -1.0
        for _ in range(TRIES):
            corner = tuple((random.integers(0, spare.clip(0) + 1) + (spare.clip(max=0) // 2)).tolist())
            cube = _with_context(self.store, patient, corner, self.settings.cube, 1.0)
            share = tissue_share(cube, self.store, self.settings)
            if share > most:
                best, most = (corner, cube), share
            if share > self.settings.tissue:
                break
        assert best is not None  # there is at least one try
        return patient, *best


def _patient_count(store: Store, names: set[str]) -> int:
    return len({item.patient for item in store.items if item.name in names})


def enlarged(size: Size, context: float) -> Size:
    """Sides of a cube that is `context` times as large."""
    return tuple(round(side * context) for side in size)


def _with_context(store: Store, patient: str, corner: Size, size: Size, context: float) -> np.ndarray:
    """(C, spatial...) as stored: a larger box with the same middle, and the scan's border repeated beyond it."""
    large, shape = enlarged(size, context), store.shape(patient)
    first = [c - (new - old) // 2 for c, new, old in zip(corner, large, size, strict=True)]
    inside = [max(0, c) for c in first]
    ends = [min(c + side, length) for c, side, length in zip(first, large, shape, strict=True)]
    cube = store.crop(patient, inside, [end - c for c, end in zip(inside, ends, strict=True)])
    before = [i - c for i, c in zip(inside, first, strict=True)]
    beyond = [c + side - end for c, side, end in zip(first, large, ends, strict=True)]
    return np.pad(cube, [(0, 0), *zip(before, beyond, strict=True)], mode="edge")


def tissue_share(cube: np.ndarray, store: Store, settings: Discover) -> float:
    """Share of a cube's voxels, as stored, that are tissue (above an HU value, or a grey level of an image)."""
    above = settings.tissue_hu if store.ndim == 3 else settings.tissue_level * store.window[1]
    return float((cube > above).mean())


def to_network(cube: np.ndarray, limits: tuple[float, float], size: Size) -> Tensor:
    """(C, spatial...) as stored to (C, *size) float32 in 0..1."""
    return resize(window(torch.from_numpy(np.ascontiguousarray(cube))[None], *limits), size)[0]
