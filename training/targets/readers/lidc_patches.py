"""Lung nodules of LIDC-IDRI as cut-out patches: candidates, outlines and malignancy.

On disk: `nodules.npz` and `candidates.npz` in one folder. In both, `image` is uint8 (slices, rows, columns), the slices
of all patches one after the other: patch i is `image[offset[i]:offset[i + 1]]`, a row of `table` says what it is, and
`columns` names the table's columns. nodules.npz: patches of 64 x 64 pixels and `mask`, of the same shape, with one
bit per reader; columns patient, nodule, n_annot, mal_mean, mal_median, diam_mm, spacing_mm, thickness_mm, slices_match,
masks_match. candidates.npz: patches of 48 x 48 pixels; columns patient, nodule, is_nodule, diam_mm, spacing_mm,
thickness_mm.
"""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from sg_hub.errors import ReadError

from ..arrays import fit_image, fit_labels
from ..protocol import Found, Item, LoadedItem, Target

COLUMNS = {
    "candidates.npz": ("patient", "nodule", "is_nodule"),
    "nodules.npz": ("patient", "nodule", "mal_median", "slices_match", "masks_match"),
}


class LidcPatches(Target):
    """Patches of fixed in-plane size; z is resized, for patches cover few slices, and not equally many."""

    task: Literal["candidates", "nodules", "malignancy"]
    minimum_readers: int = Field(default=1, ge=1, le=4)
    """Nodules that fewer readers outlined are left out."""
    crop: int | None = Field(default=None, ge=8)
    """Rows and columns of the middle of a patch that are used; absent: all of it."""

    def _file(self) -> Path:
        return self.folder() / ("candidates.npz" if self.task == "candidates" else "nodules.npz")

    def find(self) -> Found:
        path = self._file()
        archive = read_archive(str(path), COLUMNS[path.name])
        table, columns = archive["table"], list(archive["columns"])
        column = {name: table[:, columns.index(name)] for name in COLUMNS[path.name]}
        found = Found()
        for index in range(len(table)):
            patient = f"LIDC-IDRI-{int(column['patient'][index]):04d}"
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
        archive = read_archive(item.image, COLUMNS[Path(item.image).name])
        size = self.grid.size
        assert size is not None
        image = fit_image(self._cut(patch(archive, "image", item.place[0]))[None].astype(np.float32) / 255, size)
        if self.task != "nodules":
            return LoadedItem(image, np.array(item.label, dtype=np.int64))
        masks = masks_of_readers(patch(archive, "mask", item.place[0]))
        return LoadedItem(image, fit_labels(self._cut(consensus(masks)), size))

    def _cut(self, slices: np.ndarray) -> np.ndarray:
        """(X, Y, Z) of (slices, rows, columns), as large as `crop` says."""
        side = self.crop or slices.shape[1]
        start = max(0, (slices.shape[1] - side) // 2)
        return slices[:, start : start + side, start : start + side].transpose(2, 1, 0)


def masks_of_readers(bits: np.ndarray) -> list[np.ndarray]:
    """One boolean mask per reader who outlined anything."""
    return [mask for mask in ((bits >> reader & 1).astype(bool) for reader in range(8)) if mask.any()]


def consensus(masks: list[np.ndarray]) -> np.ndarray:
    """Voxels within the outline of at least half of the readers who outlined the nodule."""
    return np.mean(masks, axis=0) >= 0.5


def patch(archive: dict[str, np.ndarray], key: str, index: int) -> np.ndarray:
    """(slices, rows, columns) of one patch."""
    start, end = archive["offset"][index : index + 2]
    return archive[key][start:end]


@lru_cache(maxsize=2)
def read_archive(path: str, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """All arrays of a file of patches.

    Raises:
        ReadError: missing, truncated, or without what is expected in it.
    """
    needed = ["image", "offset", "table", "columns", *(["mask"] if "mal_median" in columns else [])]
    try:
        with np.load(path) as file:
            archive = {key: file[key] for key in needed}
    except FileNotFoundError:
        raise ReadError(f"{path} is not there; give root=FOLDER that holds nodules.npz and candidates.npz") from None
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(f"{path} is damaged or lacks an array ({error}); expected {', '.join(needed)}") from error
    missing = [name for name in columns if name not in archive["columns"]]
    if missing:
        raise ReadError(f"{path}: its table lacks the column {missing[0]!r}; it has {', '.join(archive['columns'])}")
    ends = archive["offset"]
    if len(ends) != len(archive["table"]) + 1 or ends[-1] != len(archive["image"]) or (np.diff(ends) < 1).any():
        raise ReadError(f"{path}: offset does not fit {len(archive['table'])} rows and {len(archive['image'])} slices")
    return archive
