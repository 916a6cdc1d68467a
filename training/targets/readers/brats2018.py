"""Brain tumours in MRI: BraTS 2018 as downloaded, `HGG/<item>/<item>_flair.nii.gz` and `<item>_seg.nii.gz` (and LGG).

Of the four sequences FLAIR alone is read, as in the paper. The masks hold 1 (necrotic core), 2 (oedema) and 4
(enhancing tumour); the whole tumour is all of them. An item is `Brats18_<site>_<patient>_<time>`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from sg_hub.errors import ReadError

from ..arrays import labelled_scan
from ..label_maps import LabelMapTarget
from ..protocol import Found, Item, LoadedItem


class Brats2018(LabelMapTarget):
    """Whole tumour segmentation; split by patient."""

    sequence: str = "flair"
    values: dict[str, int | list[int]] = Field(default={"whole tumour": [1, 2, 4]})

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        items = sorted(path for path in folder.rglob("Brats18_*") if path.is_dir())
        if not items:
            raise ReadError(f"{folder} holds no folder Brats18_*: give root=FOLDER of BraTS 2018 as it is downloaded")
        for item in items:
            files = [_file(item / f"{item.name}_{kind}") for kind in (self.sequence, "seg")]
            if not all(files):
                kind = self.sequence if files[0] is None else "seg"
                found.skipped[item.name] = f"{item / f'{item.name}_{kind}.nii.gz'} is not there"
                continue
            patient = re.sub(r"_\d+$", "", item.name)
            found.items.append(Item(item.name, patient, str(files[0]), str(files[1])))
        return found

    def load(self, item: Item) -> LoadedItem:
        return labelled_scan(self.grid, item.image, str(item.label), self.numbers)


def _file(stem: Path) -> Path | None:
    """The NIfTI of an item, compressed or not."""
    files = (stem.with_name(stem.name + suffix) for suffix in (".nii.gz", ".nii"))
    return next((path for path in files if path.is_file()), None)
