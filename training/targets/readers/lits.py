"""Liver in CT: LiTS 2017 as downloaded, `volume-<n>.nii` and `segmentation-<n>.nii` (also .nii.gz) in any folders.

The masks hold 1 for liver and 2 for tumour; a tumour of the liver is liver. Items 0-99, 100-114 and 115-129 are for
training, validation and test; the 70 items of the challenge's own test part have no masks and are not used. Headers of
some masks differ from those of their volumes; the voxels belong together by index, so the volume's header counts.
"""

from __future__ import annotations

import re

from pydantic import Field

from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import walk

from ...run.recipe import Split
from ..items import Found, Item, LoadedItem
from ..label_maps import LabelMapTarget

NAME = re.compile(r"(volume|segmentation)-(\d+)\.nii(\.gz)?")
PARTS: tuple[tuple[range, Split], ...] = (
    (range(100), "train"),
    (range(100, 115), "validation"),
    (range(115, 130), "test"),
)


class Lits(LabelMapTarget):
    """Liver segmentation."""

    values: dict[str, int | list[int]] = Field(default={"liver": [1, 2]})
    """Numbers of each class in the label maps."""

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        files: dict[tuple[str, int], str] = {}
        for path in (place / name for place, names in walk(folder) for name in names if ".nii" in name):
            match = NAME.fullmatch(path.name)
            if match is None or not path.is_file():
                continue
            key = match.group(1), int(match.group(2))
            if key in files:
                raise InvalidInputError(f"two files of {key[0]} {key[1]}: {files[key]} and {path}; leave one")
            files[key] = str(path)
        if not files:
            raise ReadError(f"{folder} holds no volume-*.nii: give root=FOLDER of LiTS as it is downloaded")
        for number in sorted({number for _, number in files}):
            image, label = files.get(("volume", number)), files.get(("segmentation", number))
            part = next((part for numbers, part in PARTS if number in numbers), None)
            if image is None or label is None:
                found.skipped[f"volume-{number}"] = f"no {'volume' if image is None else 'segmentation'}-{number}.nii"
            elif part is None:
                found.skipped[f"volume-{number}"] = "its number is above 129"
            else:
                found.items.append(Item(f"volume-{number}", f"volume-{number}", image, label, split=part))
        return found

    def load(self, item: Item) -> LoadedItem:
        return self.load_labelled(item.image, str(item.label), same_voxels=True)
