"""Head and body of the hippocampus in T1 MRI: volumes of the Medical Segmentation Decathlon's Task04 in one file.

On disk: `hippocampus.npz` with `image` and `label` uint8, all volumes one after the other: volume i is
`image[offset[i]:offset[i + 1]].reshape(shape[i])`, with axes to the patient's right, anterior and superior, of 1 mm.
Labels: 1 the head (anterior), 2 the body and tail (posterior). `source_number` (n,) is a volume's number in the
decathlon; volumes of one `group` (n,) are probably of one person, and are split together.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from sg_hub import Scan
from sg_hub.errors import ReadError

from ...data.identity import content_hashes
from ..items import Found, Item, LoadedItem
from ..label_maps import LabelMapTarget
from ..on_grid import scan_on_grid
from ._npz_archive import read_archive

ARRAYS = ("image", "label", "shape", "offset", "source_number", "group")


class HippocampusNpz(LabelMapTarget):
    """Segmentation of small MRI volumes, each as a whole."""

    DATA_NDIM: ClassVar[int] = 3

    def _archive(self) -> tuple[Path, dict[str, np.ndarray]]:
        folder = self.folder()
        path = folder / "hippocampus.npz" if folder.is_dir() else folder
        archive = read_archive(path, ARRAYS)
        shapes = {key: archive[key].shape for key in ARRAYS}
        count, ends = len(archive["shape"]), archive["offset"]
        voxels = archive["shape"].astype(np.int64).prod(axis=-1) if archive["shape"].ndim == 2 else np.zeros(0)
        if (
            shapes["shape"] != (count, 3)
            or shapes["offset"] != (count + 1,)
            or not shapes["source_number"] == shapes["group"] == (count,)
            or shapes["image"] != shapes["label"]
            or ends[0] != 0
            or shapes["image"] != (ends[-1],)
            or (np.diff(ends) != voxels).any()
        ):
            raise ReadError(f"{path}: its arrays do not fit together ({shapes})")
        return path, archive

    def find(self) -> Found:
        path, archive = self._archive()
        pairs = enumerate(zip(archive["source_number"], archive["group"], strict=True))
        return Found(
            [
                Item(f"hippocampus_{int(number):03d}", f"group_{int(group):03d}", str(path), None, (index,))
                for index, (number, group) in pairs
            ]
        )

    def load(self, item: Item) -> LoadedItem:
        labels = self._volume("label", item)
        return scan_on_grid(self, self._scan(item), self.class_numbers(labels, f"{item.image} ({item.name})"))

    def image_hashes(self, item: Item) -> tuple[str, ...]:
        return content_hashes(self._scan(item))

    def _scan(self, item: Item) -> Scan:
        volume = self._volume("image", item)[None].astype(np.float32)
        return Scan(np.ascontiguousarray(volume), (1.0, 1.0, 1.0), source=f"{item.image} ({item.name})")

    def _volume(self, key: str, item: Item) -> np.ndarray:
        """(X, Y, Z) in LPS order, uint8."""
        archive, index = self._archive()[1], item.place[0]
        start, end = archive["offset"][index : index + 2]
        return archive[key][start:end].reshape(archive["shape"][index])[::-1, ::-1]
