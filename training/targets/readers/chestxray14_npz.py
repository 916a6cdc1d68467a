"""A subset of ChestX-ray14 in one file.

On disk: `images.npz` with `image` uint8 (n, rows, columns), `label` bool (n, 14), `patient` (n,), `name` (n,) and
`classes` (14,), the names of the findings.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError

from ..arrays import picture_on_grid
from ..protocol import Found, Item, LoadedItem, Target

ARRAYS = ("image", "label", "patient", "name", "classes")


class ChestXray14Npz(Target):
    """Findings of frontal chest X-rays."""

    DATA_NDIM: ClassVar[int] = 2

    def _file(self) -> str:
        folder = self.folder()
        return str(folder / "images.npz" if folder.is_dir() else folder)

    def find(self) -> Found:
        path = self._file()
        archive = read_archive(path)
        names = [str(name) for name in archive["classes"]]
        unknown = [name for name in self.classes if name not in names]
        if unknown:
            raise InvalidInputError(f"target {self.name}: {path} has no finding {unknown[0]!r}; it has {names}")
        labels = archive["label"][:, [names.index(name) for name in self.classes]]
        return Found(
            [
                Item(Path(str(name)).stem, str(int(patient)), path, tuple(int(v) for v in label), (index,))
                for index, (name, patient, label) in enumerate(
                    zip(archive["name"], archive["patient"], labels, strict=True)
                )
            ]
        )

    def load(self, item: Item) -> LoadedItem:
        image = read_archive(item.image)["image"][item.place[0]][None].astype(np.float32) / 255
        return picture_on_grid(self, sg_hub.Image(image), np.array(item.label, dtype=np.int64))


@lru_cache(maxsize=1)
def read_archive(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            archive = {key: file[key] for key in ARRAYS}
    except FileNotFoundError:
        raise ReadError(f"{path} is not there; give root=FOLDER that holds images.npz") from None
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(f"{path} is damaged or lacks an array ({error}); expected {', '.join(ARRAYS)}") from error
    lengths = {key: len(archive[key]) for key in ARRAYS[:-1]}
    if len(set(lengths.values())) > 1 or archive["label"].shape[1:] != archive["classes"].shape:
        raise ReadError(f"{path}: its arrays are of different lengths ({lengths})")
    return archive
