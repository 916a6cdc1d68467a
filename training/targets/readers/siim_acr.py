"""Pneumothorax in chest X-rays: SIIM-ACR 2019 as downloaded.

On disk: `dicom-images-train/<study>/<series>/<image>.dcm` in any depth, and `train-rle.csv` (or another name, `table`)
with the columns ImageId and EncodedPixels. A mask is a list of pairs `skip length`, where `skip` counts from the END of
the run before, not from the start of the image, and pixels are counted down the columns. An image with several
pneumothoraces has several rows, one without has `-1`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import ClassVar

import numpy as np

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import find_images, plain_name
from sg_hub.io.formats.dicom.files import SUFFIXES
from sg_hub.io.formats.dicom.header import read_image_header

from ...data.csv_table import read_csv
from ..items import Found, Item, LoadedItem
from ..on_grid import picture_on_grid
from ..protocol import Target


class SiimAcr(Target):
    """Pneumothorax segmentation; split by the PatientID of the DICOM files."""

    DATA_NDIM: ClassVar[int] = 2

    table: str = "train-rle.csv"
    """CSV of the masks, below root."""
    images: str = "dicom-images-train"
    """Folder of the images, below root."""

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        table = folder / self.table
        masks: dict[str, list[str]] = defaultdict(list)
        for row in read_csv(table, ("ImageId", "EncodedPixels")):
            masks[row["ImageId"]].append(row["EncodedPixels"])
        files: dict[str, Path] = {}
        for path in find_images(folder / self.images).values():
            name = plain_name(path.name, SUFFIXES)
            if name in files:
                raise InvalidInputError(f"two files of image {name}: {files[name]} and {path}; leave one")
            files[name] = path
        if not files:
            raise ReadError(f"{folder / self.images} holds no .dcm: give root=FOLDER of SIIM-ACR as it is downloaded")
        for name in sorted({*files, *masks}):
            if name not in files:
                found.skipped[name] = "its .dcm is not there"
            elif name not in masks:
                found.skipped[name] = f"no row in {table.name}"
            elif "-1" in masks[name] and len(masks[name]) > 1:
                found.skipped[name] = f"{table.name} calls it empty and gives a mask"
            else:
                runs = tuple(mask for mask in masks[name] if mask != "-1")
                try:
                    patient = str(read_image_header(files[name], "PatientID").get("PatientID") or name).strip()
                except ReadError as error:
                    found.skipped[name] = str(error)
                    continue
                found.items.append(Item(name, patient, str(files[name]), place=runs))
        return found

    def load(self, item: Item) -> LoadedItem:
        image = sg_hub.load_image(item.image)
        mask = np.zeros(image.size, dtype=bool)
        for runs in item.place:
            mask |= decode_runs(runs, mask.shape, f"{item.name} of {self.table}")
        return picture_on_grid(self, image, mask)


def decode_runs(text: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    """(rows, columns) bool of one EncodedPixels.

    Raises:
        InvalidInputError: not pairs of whole numbers, or runs that reach beyond the image.
    """
    try:
        numbers = [int(part) for part in text.split()]
    except ValueError:
        raise InvalidInputError(f"image {name}: EncodedPixels {text[:40]!r} is no list of numbers") from None
    if not numbers or len(numbers) % 2 or min(numbers) < 0:
        raise InvalidInputError(
            f"image {name}: EncodedPixels {text[:40]!r} has {len(numbers)} numbers; expected pairs of skip and length"
        )
    rows, columns = shape
    if sum(numbers) > rows * columns:
        raise InvalidInputError(
            f"image {name}: its runs reach pixel {sum(numbers)} of {rows * columns}; expected relative ones"
        )
    pairs = np.array(numbers).reshape(-1, 2)
    values = np.repeat(np.tile([False, True], len(pairs)), pairs.ravel())
    flat = np.zeros(rows * columns, dtype=bool)
    flat[: len(values)] = values
    return flat.reshape(columns, rows).T
