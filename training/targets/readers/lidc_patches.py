"""Lung nodules of LIDC-IDRI as cut-out patches: candidates, outlines and malignancy.

On disk: `nodules.npz` and `candidates.npz` in one folder. In both, `image` is uint8 (slices, rows, columns), the slices
of all patches one after the other: patch i is `image[offset[i]:offset[i + 1]]`, a row of `table` says what it is, and
`columns` names the table's columns. nodules.npz: patches of 64 x 64 pixels and `mask`, of the same shape, with one
bit per reader; columns patient, nodule, n_annot, mal_mean, mal_median, diam_mm, spacing_mm, thickness_mm, slices_match,
masks_match. candidates.npz: patches of 48 x 48 pixels; columns patient, nodule, is_nodule, diam_mm, spacing_mm,
thickness_mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from sg_hub.errors import ReadError
from sg_hub.preprocessing.steps import resize

from ..items import Found, Item, LoadedItem
from ..on_grid import fit_labels
from ..protocol import Target
from ._lidc_xml import consensus
from ._npz_archive import read_archive

COLUMNS = {
    "candidates.npz": ("patient", "nodule", "is_nodule"),
    "nodules.npz": ("patient", "nodule", "mal_median", "slices_match", "masks_match"),
}


class LidcPatches(Target):
    """Patches of fixed in-plane size; z is resized, for patches cover few slices, and not equally many."""

    task: Literal["candidates", "nodules", "malignancy"]
    """Which of the three."""
    minimum_readers: int = Field(default=1, ge=1, le=4)
    """Nodules that fewer readers outlined are left out."""
    crop: int | None = Field(default=None, ge=8)
    """Rows and columns of the middle of a patch that are used; absent: all of it."""

    def _archive(self) -> tuple[Path, dict[str, np.ndarray]]:
        """The file, and its arrays."""
        path = self.folder() / ("candidates.npz" if self.task == "candidates" else "nodules.npz")
        archive = read_archive(
            path, ("image", "offset", "table", "columns", *(() if self.task == "candidates" else ("mask",)))
        )
        names, ends, table = archive["columns"].tolist(), archive["offset"], archive["table"]
        missing = [name for name in COLUMNS[path.name] if name not in names]
        if missing:
            raise ReadError(f"{path}: its table lacks the column {missing[0]!r}; it has {', '.join(map(str, names))}")
        if table.shape != (len(table), len(names)) or archive["image"].ndim != 3 or ends.shape != (len(table) + 1,):
            raise ReadError(
                f"{path}: its arrays do not fit together ({ {key: a.shape for key, a in archive.items()} })"
            )
        if (
            ends.dtype.kind not in "iu"
            or ends[0] != 0
            or ends[-1] != len(archive["image"])
            or (np.diff(ends) < 1).any()
        ):
            raise ReadError(f"{path}: offset does not fit {len(table)} rows and {len(archive['image'])} slices")
        if "mask" in archive and archive["mask"].shape != archive["image"].shape:
            raise ReadError(f"{path}: mask is of shape {archive['mask'].shape}, image of {archive['image'].shape}")
        return path, archive

    def find(self) -> Found:
        path, archive = self._archive()
        names = archive["columns"].tolist()
        column = {name: archive["table"][:, names.index(name)] for name in COLUMNS[path.name]}
        found = Found()
        for index, number in enumerate(column["patient"]):
            patient = f"LIDC-IDRI-{int(number):04d}"
            name = f"{patient}_{index}"
            label = self._label(archive, column, index)
            if isinstance(label, str):
                found.skipped[name] = label
            else:
                found.items.append(Item(name, patient, str(path), label, (index,)))
        return found

    def _label(self, archive: dict[str, np.ndarray], column: dict[str, np.ndarray], index: int) -> int | str | None:
        """The class, None where a mask is the label, or why the patch is left out."""
        if self.task == "candidates":
            return int(column["is_nodule"][index])
        if not (column["slices_match"][index] and column["masks_match"][index]):
            return "its slices or masks do not agree with the published annotation"
        readers = len(masks_of_readers(patch(archive, "mask", index)))
        if readers < self.minimum_readers:
            return f"outlined by {readers} readers"
        if self.task == "nodules":
            return None
        malignancy = column["mal_median"][index]
        return int(malignancy > 3) if malignancy != 3 else "its median malignancy is 3, neither benign nor malignant"

    def load(self, item: Item) -> LoadedItem:
        archive, size, index = self._archive()[1], self.grid.size, item.place[0]
        assert size is not None
        x = torch.from_numpy(self._cut(patch(archive, "image", index)).astype(np.float32) / 255)
        image = resize(x[None, None], size)[0].numpy()
        if self.task != "nodules":
            return LoadedItem(image, np.array(item.label, dtype=np.int64))
        together = consensus(masks_of_readers(patch(archive, "mask", index)))
        return LoadedItem(image, fit_labels(self._cut(together), size))

    def image_hashes(self, item: Item) -> tuple[str, ...]:
        return ()  # a patch is no image that anybody else has

    def _cut(self, slices: np.ndarray) -> np.ndarray:
        """(X, Y, Z) of (slices, rows, columns), as large as `crop` says."""
        side = self.crop or slices.shape[1]
        start = max(0, (slices.shape[1] - side) // 2)
        return slices[:, start : start + side, start : start + side].transpose(2, 1, 0)


def masks_of_readers(bits: np.ndarray) -> list[np.ndarray]:
    """One boolean mask per reader who outlined anything."""
    return [mask for mask in ((bits >> reader & 1).astype(bool) for reader in range(8)) if mask.any()]


def patch(archive: dict[str, np.ndarray], key: str, index: int) -> np.ndarray:
    """(slices, rows, columns) of one patch."""
    start, end = archive["offset"][index : index + 2]
    return archive[key][start:end]
