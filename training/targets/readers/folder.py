"""A user's own task: a folder of images with label maps, or a CSV of classes. No code to write.

Segmentation: `images` and `labels` are folders of files of the same name (NIfTI, MHA, NRRD, an image also a folder of
DICOM; in 2D PNG or TIFF), `values` says which value of the label maps is which class, and `background` which are none.
Classification: `table` is a CSV with the column image, a file in `images`, and label (one of `classes`; of findings any
number, separated by |). Optional columns in either: patient (else the PatientID of a DICOM image; any other image is a
patient of its own) and split (train, validation, test; else drawn by patient). `table` is optional for a segmentation,
and lists the images to use.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.io.finder import IMAGE_SUFFIXES, SCAN_SUFFIXES, find_images, find_scans, plain_name
from sg_hub.io.labels import read_label_image

from ...data.csv_table import read_csv
from ...data.identity import patient_of
from ...run.recipe import Split
from ..defaults import AnyPreprocessing, as_weights_expect, dims_of
from ..items import Found, Item, LoadedItem
from ..label_maps import LabelMapTarget
from ..on_grid import picture_on_grid, scan_on_grid
from ..splits import PARTS

_ADDED = (".seg", *(f"{mark}{word}" for mark in "_-" for word in ("seg", "segmentation", "label", "labels", "mask")))
"""What programs and people add to the names of label maps; .seg is 3D Slicer's."""
_CHANNEL, _SECOND = "_0000", "_0001"
"""What nnU-Net adds to the names of images, of the first channel and of another."""


class Folder(LabelMapTarget):
    """Pairs of files, or images with classes."""

    dims: Literal[2, 3] = 3
    """Of the images: 3 for scans, 2 for pictures. Absent: what the files are."""
    images: str = "images"
    """Folder of the images, below root."""
    labels: str = "labels"
    """Folder of the label maps, below root: files of the images' names."""
    table: str | None = Field(default=None, examples=["table.csv"])
    """CSV below root with the column image, for a classification label, and if wanted patient and split."""
    same_voxels: bool = False
    """Label maps of scans: whether voxels of the same index belong together, whatever the map's own header says."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        named = {"title": values.get("name", ""), "dataset": values.get("name", "")}
        return named | {"ndim": values.get("dims", 3)} | values

    @classmethod
    def completed(
        cls, values: dict[str, Any], weights: Sequence[AnyPreprocessing]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The dimension is that of the files; how an image becomes what the network takes is as the weights expect."""
        images = Path(str(values.get("root", ""))).expanduser() / str(values.get("images", "images"))
        dims = values["dims"] if "dims" in values else dims_of(images)
        return as_weights_expect(values | {"dims": dims}, dims, weights)

    @property
    def data_ndim(self) -> int:
        return self.dims

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        files, masks, rows = self._whole(folder)
        listed: set[str] = set()
        for row in rows:
            name = next((key for known in self._names(row["image"]) if (key := _key(known, files))), None)
            split = row.get("split") or None
            if split is not None and split not in PARTS:
                raise InvalidInputError(f"{self.table}: split {split!r} of {row['image']}; expected {', '.join(PARTS)}")
            if name is None:
                found.skipped[row["image"]] = f"not in {folder / self.images}"
                continue
            listed.add(name)
            mask = of_case(name, files, masks)
            if self.head == "segmentation" and mask is None:
                found.skipped[row["image"]] = (
                    f"no label map of its name in {folder / self.labels}{_near(name, masks.keys() - files.keys())}"
                )
                continue
            label = str(mask) if self.head == "segmentation" else self._label(row)
            part: Split | None = split
            patient = row.get("patient") or patient_of(files[name]) or name
            found.items.append(Item(name, patient, str(files[name]), label, split=part))
        found.skipped |= {name: f"no row in {self.table}" for name in files if name not in listed}
        return found

    def _whole(self, folder: Path) -> tuple[dict[str, Path], dict[str, Path], list[dict[str, str]]]:
        """Images, label maps and rows of the table; what is missing of them is said at once.

        Raises:
            ReadError, InvalidInputError: see `_files` and `_rows`.
        """
        wrong: list[SgHubError] = []

        def tried(work: Callable[[], Any], otherwise: Any) -> Any:
            try:
                return work()
            except SgHubError as error:
                wrong.append(error)
                return otherwise

        files = tried(lambda: self._files(folder / self.images), {})
        masks = tried(lambda: self._files(folder / self.labels), {}) if self.head == "segmentation" else {}
        rows = tried(lambda: self._rows(folder, files), [])
        if wrong:
            raise type(wrong[0])("; ".join(map(str, wrong)))
        unknown = self._unknown_labels(rows)
        if unknown:
            raise InvalidInputError(unknown)
        return files, masks, rows

    def _unknown_labels(self, rows: list[dict[str, str]]) -> str:
        """What is said of labels of a classification that are no class; empty where there are none."""
        if self.head != "classification":
            return ""
        wrong: dict[str, str] = {}
        for row in rows:
            given = [part for part in row["label"].split("|") if part]
            if not {*given} <= {*self.classes} or (self.exclusive and len(given) != 1):
                wrong.setdefault(row["label"], row["image"])
        said = ", ".join(f"{label!r} (of {image})" for label, image in list(wrong.items())[:5])
        return f"{self.table}: label {said}; expected one of {list(self.classes)}" if wrong else ""

    def _rows(self, folder: Path, files: dict[str, Path]) -> list[dict[str, str]]:
        if self.table is not None:
            columns = ("image", "label") if self.head == "classification" else ("image",)
            return read_csv(folder / self.table, columns, ("patient", "split"))
        if self.head == "classification":
            raise InvalidInputError(f"target {self.name}: a classification needs table=CSV (columns image and label)")
        return [{"image": name} for name in files]

    def _files(self, folder: Path) -> dict[str, Path]:
        """Files by their path below the folder, without the suffix; of scans also subfolders of DICOM.

        Raises:
            ReadError: no folder, or one without images.
            InvalidInputError: two files of one name.
        """
        key, what = ("labels", "label maps") if folder != Path(self.root) / self.images else ("images", "images")
        if not folder.is_dir():
            raise ReadError(
                f"{folder.absolute()} is no folder; expected the {what} of the target there: put right root or "
                f"{key} in "
                "its TOML"
            )
        files = find_scans(folder) if self.dims == 3 else find_images(folder)
        if not files:
            raise ReadError(
                f"{folder.absolute()} holds no {what} ({', '.join(self._suffixes())}): put some there, or put right "
                f"{key} in the target's TOML"
            )
        return files

    def _names(self, image: str) -> list[str]:
        """What a row of the table may mean by an image: its path below the folder of images, or below the root, or
        from the top of the disk, of another computer too."""
        path = plain_name(Path(image.replace("\\", "/")).as_posix())
        below = path.removeprefix(f"{self.images}/"), path.rpartition(f"/{self.images}/")[2]
        return [name for given in (path, *below) for name in (given, plain_name(given, self._suffixes()))]

    def _suffixes(self) -> tuple[str, ...]:
        return SCAN_SUFFIXES if self.dims == 3 else IMAGE_SUFFIXES

    def _label(self, row: dict[str, str]) -> int | tuple[int, ...]:
        given = [part for part in row["label"].split("|") if part]
        if self.exclusive:
            return self.classes.index(given[0])
        return tuple(int(name in given) for name in self.classes)

    def load(self, item: Item) -> LoadedItem:
        if self.dims == 2:
            picture = sg_hub.load_image(item.image)
            return picture_on_grid(self, picture, self._mask(item, picture))
        if self.head == "segmentation":
            return self.load_labelled(item.image, str(item.label), same_voxels=self.same_voxels)
        return scan_on_grid(self, sg_hub.load_scan(item.image), np.array(item.label))

    def _mask(self, item: Item, picture: sg_hub.Image) -> np.ndarray:
        """Class numbers of a picture of labels, whose grey values are the classes; or the classes of the picture."""
        if self.head == "classification":
            return np.array(item.label)
        labels = read_label_image(str(item.label))
        if labels.shape != picture.size:
            raise InvalidInputError(
                f"{item.label} has size {labels.shape}, its image {item.image} {picture.size}: they must be the "
                "same: export the two again"
            )
        return self.class_numbers(labels, str(item.label))


def _near(name: str, masks: Collection[str]) -> str:
    """Which label map may be meant, for a message, of those that no image has; empty where none is similar."""
    near = difflib.get_close_matches(name.lower(), sorted({key.lower() for key in masks}), n=1, cutoff=0.8)
    meant = next((key for key in masks if near and key.lower() == near[0]), None)
    return f" (there is {meant}: names have to be the same, their capitals too)" if meant else ""


def _key(name: str, files: dict[str, Path]) -> str | None:
    """What is called so, or is the only one below a folder of that name."""
    if name in files:
        return name
    below = [key for key in files if key.startswith(f"{name}/")]
    return below[0] if len(below) == 1 else None


def of_case(name: str, files: dict[str, Path], masks: dict[str, Path]) -> Path | None:
    """The label map of an image: of its name, but for what is usually added to it, or of the folder that holds this
    image alone (of a case)."""
    case = name
    while True:
        mask = _key(case, masks) or _with_more(case, files, masks)
        if mask is not None and _key(case, files) == name:
            return masks[mask]
        case, slash, _ = case.rpartition("/")
        if not slash:
            return None


def _with_more(case: str, files: dict[str, Path], masks: dict[str, Path]) -> str | None:
    """The only label map whose name is that of an image but for what is usually added to one of the two."""
    first = case.removesuffix(_CHANNEL)
    alone = first != case and f"{first}{_SECOND}" not in files  # several channels are one case for the reader nnunet
    names = [f"{case}{added}" for added in _ADDED] + ([first] if alone else [])
    found = {key for name in names if (key := _key(name, masks)) is not None}
    return found.pop() if len(found) == 1 else None
