"""Lungs in frontal chest X-rays of the COVID-19 Image Data Collection, outlined for V7's data set, in one file.

On disk: `lungs.npz` with `image` uint8 (n, rows, columns), padded with 0 to a square; `lung` bool, of the same shape,
both lungs together; `ignore` bool, devices and markings that the annotators left out; `patient` (n,).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

import sg_hub
from sg_hub.errors import ReadError

from ...data.identity import content_hashes
from ..items import Found, Item, LoadedItem
from ..on_grid import picture_on_grid
from ..protocol import Target
from ._npz_archive import read_archive

ARRAYS = ("image", "lung", "ignore", "patient")
_SAME = {128: 36}
"""Patients who are another one: their X-rays are four of the other's, but for three grey levels of 256."""


class CovidCxrNpz(Target):
    """Segmentation of both lungs as one class. What the annotators left out is background."""

    DATA_NDIM: ClassVar[int] = 2

    def _archive(self) -> tuple[Path, dict[str, np.ndarray]]:
        folder = self.folder()
        path = folder / "lungs.npz" if folder.is_dir() else folder
        archive = read_archive(path, ARRAYS)
        shapes = {key: archive[key].shape for key in ARRAYS}
        same = shapes["image"] == shapes["lung"] == shapes["ignore"]
        if archive["image"].ndim != 3 or not same or shapes["patient"] != shapes["image"][:1]:
            raise ReadError(f"{path}: its arrays do not fit together ({shapes})")
        return path, archive

    def find(self) -> Found:
        path, archive = self._archive()
        found = Found()
        images: dict[int, int] = {}
        for index, number in enumerate(archive["patient"].tolist()):
            images[number] = images.get(number, -1) + 1
            name = f"patient_{number:03d}_{images[number]}"
            if archive["lung"][index].any():
                patient = f"patient_{_SAME.get(number, number):03d}"
                found.items.append(Item(name, patient, str(path), None, (index,)))
            else:
                found.skipped[name] = "no lung is outlined"
        return found

    def load(self, item: Item) -> LoadedItem:
        archive, index = self._archive()[1], item.place[0]
        return picture_on_grid(self, self._image(item), archive["lung"][index] & ~archive["ignore"][index])

    def image_hashes(self, item: Item) -> tuple[str, ...]:
        return content_hashes(self._image(item))

    def _image(self, item: Item) -> sg_hub.Image:
        return sg_hub.Image(self._archive()[1]["image"][item.place[0]][None].astype(np.float32) / 255)
