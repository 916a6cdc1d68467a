"""Items of a data set: one image with its label each, of one patient. First found, then split, then read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..run.recipe import Split


@dataclass(frozen=True)
class Item:
    """One image with its label, not read yet."""

    name: str
    """Unique within the target."""
    patient: str
    image: str
    """File or folder; several items may lie in one."""
    label: int | tuple[int, ...] | str | None = None
    """Class number; one 0 or 1 per finding; or the file of the mask."""
    place: tuple[Any, ...] = ()
    """Where in the file the item is: an index, world coordinates."""
    split: Split | None = None
    """Absent where the data set has no official one."""
    sequences: tuple[str, ...] = ()
    """Files of its further channels, on the grid of the first."""
    also: tuple[str, ...] = ()
    """The patient in other data sets, as DATASET/NAME: LUNA16's scans are LIDC-IDRI's."""

    def identities(self, dataset: str) -> tuple[str, ...]:
        """The patient as DATASET/NAME, under every name that there is. dataset: of the target."""
        return f"{dataset}/{self.patient}", *self.also


@dataclass(frozen=True)
class LoadedItem:
    """An item as arrays."""

    image: np.ndarray
    """(C, X, Y, Z) or (C, H, W) float in 0..1."""
    label: np.ndarray
    """Segmentation: (X, Y, Z) or (H, W) uint8, 0 is background, i the class number i. Classification: () class
    number, or (findings,) of 0 and 1."""
    drawn: np.ndarray | None = None
    """Of a segmentation of scans: (X, Y, Z) class numbers on the scan's own grid."""


@dataclass
class Found:
    """What a reader found on disk."""

    items: list[Item] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Item, or file, and why it is left out."""
    seen: int = 0
    """Patients who are trained on because weights were pre-trained on them (`splits.pretrained`)."""


def in_parts(items: list[Item]) -> dict[str, list[Item]]:
    """Items by part, all three of them."""
    return {part: [item for item in items if item.split == part] for part in ("train", "validation", "test")}


def identities(dataset: str, items: list[Item]) -> dict[str, list[str]]:
    """Patients by part, each as DATASET/NAME, with what they are called in other data sets. dataset: of the target."""
    return {
        part: sorted({name for item in found for name in item.identities(dataset)})
        for part, found in in_parts(items).items()
    }
