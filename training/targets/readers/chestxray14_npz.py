"""A subset of ChestX-ray14 in one file.

On disk: `images.npz` with `image` uint8 (n, rows, columns), `label` bool (n, 14), `patient` (n,), `name` (n,) and
`classes` (14,), the names of the findings.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError

from ...data.identity import content_hashes
from ..items import Found, Item, LoadedItem
from ..on_grid import picture_on_grid
from ..protocol import Target
from ._npz_archive import read_archive

ARRAYS = ("image", "label", "patient", "name", "classes")


class ChestXray14Npz(Target):
    """Findings of frontal chest X-rays."""

    DATA_NDIM: ClassVar[int] = 2

    def _archive(self) -> tuple[Path, dict[str, np.ndarray]]:
        folder = self.folder()
        path = folder / "images.npz" if folder.is_dir() else folder
        archive = read_archive(path, ARRAYS)
        shapes = {key: archive[key].shape for key in ARRAYS}
        if archive["image"].ndim != 3 or shapes["label"] != (len(archive["image"]), *shapes["classes"]):
            raise ReadError(f"{path}: its arrays do not fit together ({shapes})")
        if not shapes["patient"] == shapes["name"] == shapes["label"][:1]:
            raise ReadError(f"{path}: its arrays are of different lengths ({shapes})")
        return path, archive

    def find(self) -> Found:
        path, archive = self._archive()
        names = [str(name) for name in archive["classes"]]
        unknown = [name for name in self.classes if name not in names]
        if unknown:
            raise InvalidInputError(f"target {self.name}: {path} has no finding {unknown[0]!r}; it has {names}")
        labels = archive["label"][:, [names.index(name) for name in self.classes]]
        found = Found()
        for index, (name, patient, label) in enumerate(zip(archive["name"], archive["patient"], labels, strict=True)):
            findings = tuple(int(value) for value in label)
            found.items.append(Item(Path(str(name)).stem, str(patient), str(path), findings, (index,)))
        return found

    def load(self, item: Item) -> LoadedItem:
        return picture_on_grid(self, self._image(item), np.array(item.label, dtype=np.int64))

    def image_hashes(self, item: Item) -> tuple[str, ...]:
        return content_hashes(self._image(item))

    def _image(self, item: Item) -> sg_hub.Image:
        return sg_hub.Image(self._archive()[1]["image"][item.place[0]][None].astype(np.float32) / 255)
