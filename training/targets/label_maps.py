"""Label maps: files of the size of their image with a number per voxel, and which class each number is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

import sg_hub
from sg_hub import Scan
from sg_hub.errors import InvalidInputError
from sg_hub.io.labels import check_same_place, load_labels

from .items import Item, LoadedItem
from .on_grid import scan_on_grid
from .protocol import Target


class UnknownLabelError(InvalidInputError):
    """A number that no class has: the target's TOML is wrong, not one file."""


class LabelMapTarget(Target):
    """Says which numbers of the label maps are which class."""

    WHOLE_SCANS: ClassVar[bool] = True

    values: dict[str, int | list[int]] = Field(default={}, examples=[{"liver": 1, "tumour": [2, 3]}])
    """Number, or numbers, of each class; absent: 1, 2, ... in the order of the classes."""
    background: tuple[int, ...] | Literal["others"] = Field(default=(), examples=["others"])
    """Numbers beside 0 that are background, such as other organs; `others`: all that no class has. Any other number is
    an error."""

    @model_validator(mode="after")
    def _every_class_has_numbers(self) -> LabelMapTarget:
        if self.head != "segmentation":
            return self
        unknown = [name for name in self.values if name not in self.classes]
        missing = [name for name in self.classes if self.values and name not in self.values]
        if unknown:
            raise ValueError(f"values: {unknown[0]!r} is none of the classes {list(self.classes)}")
        if missing:
            raise ValueError(
                f"values: no number for the class {missing[0]!r}: write into values which number of the label maps is "
                f"it, such as {missing[0]!r} = 3, or leave it out of classes"
            )
        numbers = [number for of_class in (*self.numbers, self._background()) for number in of_class]
        double = next((number for number in numbers if numbers.count(number) > 1), None)
        if double is not None:
            raise ValueError(f"values, background: {double} is there twice; a number is of one class, or background")
        return self

    @property
    def numbers(self) -> list[list[int]]:
        """Of the label maps, by class."""
        given = [self.values.get(name, number) for number, name in enumerate(self.classes, 1)]
        return [[value] if isinstance(value, int) else value for value in given]

    def class_numbers(self, labels: np.ndarray, source: str | Path) -> np.ndarray:
        """Class numbers from 1 on, uint8, of a label map; 0 is background.

        Raises:
            UnknownLabelError: numbers that no class has, and that are not called background.
        """
        found = np.zeros(labels.shape, dtype=np.uint8)
        for number, wanted in enumerate(self.numbers, 1):
            found[np.isin(labels, wanted)] = number
        if self.background != "others":
            others = labels[found == 0]
            unknown = np.unique(others[~np.isin(others, (0, *self._background()))])
            if len(unknown):
                shown = ", ".join(f"{value:g}" for value in unknown[:12])
                listed = f"[{shown}]" if len(unknown) <= 12 else "[...]"
                values = {
                    name: of[0] if len(of) == 1 else of for name, of in zip(self.classes, self.numbers, strict=True)
                }
                raise UnknownLabelError(
                    f"{source} holds the values {shown}{', ...' if len(unknown) > 12 else ''}, which no class of "
                    f"target {self.name} has (values = {values}): say in `values` which class they are, or that they "
                    f'are none (background = {listed}, or background = "others" for whatever else there is)'
                )
        return found

    def _background(self) -> tuple[int, ...]:
        return self.background if isinstance(self.background, tuple) else ()

    def load(self, item: Item) -> LoadedItem:
        return self.load_labelled(item.image, str(item.label), sequences=item.sequences)

    def load_labelled(
        self, image: str | Path, label: str | Path, *, sequences: Sequence[str] = (), same_voxels: bool = False
    ) -> LoadedItem:
        """A scan and its label map on the target's grid.

        Args:
            sequences: files of further channels.
            same_voxels: voxels of the same index in the two files belong together, whatever the label map's header says
                of its geometry.

        Raises:
            ReadError, InvalidInputError: a file that cannot be read, two of different grids, or a number of no class.
        """
        scan, labels = load_channels(image, sequences), load_labels(label)
        if same_voxels:
            labels = as_placed(labels, scan)
        if labels.size != scan.size:
            raise InvalidInputError(
                f"{label} has size {labels.size}, its image {image} {scan.size}: they must be of the same grid: "
                "export the two again, or resample the label map onto its image"
            )
        check_same_place(labels, scan, hint=", or set same_voxels = true")
        return scan_on_grid(self, scan, self.class_numbers(labels.array[0], label))


def load_channels(image: str | Path, sequences: Sequence[str]) -> Scan:
    """A scan with further sequences of the same patient as its channels.

    Raises:
        ReadError, InvalidInputError: a file that cannot be read, or one that lies on another grid.
    """
    first = sg_hub.load_scan(image)
    scans = [first]
    for path in sequences:
        scan = sg_hub.load_scan(path)
        if scan.size != first.size:
            raise InvalidInputError(
                f"{path} has size {scan.size}, {image} {first.size}: the sequences of an item must be of the same grid"
            )
        check_same_place(scan, first)
        scans.append(scan)
    return replace(first, array=np.concatenate([scan.array for scan in scans])) if sequences else first


def as_placed(labels: Scan, scan: Scan) -> Scan:
    """A label map in its file's order of voxels, with the geometry of another file."""
    image, grid = labels.to_image(labels.array), scan.file_grid
    if grid is not None:
        image.SetOrigin(grid.origin)
        image.SetSpacing(grid.spacing)
        image.SetDirection(grid.direction)
    return Scan.from_image(image, labels.source, labels=True)
