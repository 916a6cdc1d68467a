"""How alike the cubes of a pattern are, from patient to patient: what a label that is shared by all of them is worth.

No label of a person is looked at. Of each pattern, the cube of every train patient is held against the reference's: the
correlation of their intensities, the best of small shifts. By chance: the same against another pattern's cubes, of as
many patients.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data.store import Store
from .patterns import PatternTable

SHIFT = 2
"""Voxels along each axis by which a cube may lie off."""


@dataclass(frozen=True)
class Consistency:
    """Mean correlations, -1..1; NaN of a pattern that one patient has."""

    of_patterns: np.ndarray
    """(patterns,)."""
    by_chance: float
    """Of cubes of other patterns."""

    @property
    def mean(self) -> float:
        known = self.of_patterns[~np.isnan(self.of_patterns)]
        return float(known.mean()) if len(known) else math.nan

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        values = [None if math.isnan(value) else round(float(value), 4) for value in self.of_patterns]
        return {"of_patterns": values, "mean": _rounded(self.mean), "by_chance": _rounded(self.by_chance)}

    def __str__(self) -> str:
        return f"correlation of a pattern's cubes {self.mean:.3f}, with those of another pattern {self.by_chance:.3f}"


def consistency(store: Store, table: PatternTable, *, progress: bool = False) -> Consistency:
    """Of the cubes of the base size of the train part."""
    base = table.rows("train")
    base = base[table.resolution[base] == 0]
    by_pattern = {label: base[table.pattern[base] == label] for label in range(table.classes)}
    found = np.full(table.classes, np.nan)
    chance = []
    for label, rows in tqdm(by_pattern.items(), "comparing cubes", unit="pattern", disable=not progress):
        own = table.patient[rows] == table.reference[rows]
        if not own.any() or own.all():
            continue
        around = _shifted(store, table, int(rows[own][0]))
        found[label] = np.mean([_likeness(around, _crop(store, table, int(row))) for row in rows[~own]])
        other = by_pattern[(label + table.classes // 2) % table.classes] if table.classes > 1 else rows[:0]
        chance += [_likeness(around, _crop(store, table, int(row))) for row in other[: len(rows)]]
    return Consistency(found, float(np.mean(chance)) if chance else float("nan"))


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _crop(store: Store, table: PatternTable, row: int) -> np.ndarray:
    name = table.patients[table.patient[row]]
    return _standardised(store.crop(name, table.corner[row].tolist(), table.size[row].tolist()))


def _shifted(store: Store, table: PatternTable, row: int) -> np.ndarray:
    """(shifts, voxels): the cube of a row, and the same a little off, as far as the scan goes."""
    name, corner, size = table.patients[table.patient[row]], table.corner[row].astype(int), table.size[row].astype(int)
    room = np.array(store.shape(name)) - size
    corners = [np.clip(corner + step, 0, room) for step in itertools.product((-SHIFT, 0, SHIFT), repeat=len(corner))]
    return np.stack([_standardised(store.crop(name, at.tolist(), size.tolist())) for at in np.unique(corners, axis=0)])


def _standardised(cube: np.ndarray) -> np.ndarray:
    flat = cube.astype(np.float32).ravel()
    flat -= flat.mean()
    norm = float(np.linalg.norm(flat))
    return flat / norm if norm > 0 else flat


def _likeness(around: np.ndarray, cube: np.ndarray) -> float:
    return float((around @ cube).max())
