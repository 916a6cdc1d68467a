"""Brain tumours in MRI: BraTS 2018 as downloaded, `HGG/<name>/<name>_flair.nii.gz` and `<name>_seg.nii.gz` (and LGG).

Of the four sequences FLAIR alone is read, as in the paper. The masks hold 1 (necrotic core), 2 (oedema) and 4
(enhancing tumour); the whole tumour is all of them. An item is `Brats18_<site>_<patient>_<time>`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from sg_hub.errors import ReadError
from sg_hub.io.finder import walk

from ..items import Found, Item
from ..label_maps import LabelMapTarget


class Brats2018(LabelMapTarget):
    """Whole tumour segmentation; split by patient."""

    sequence: str = "flair"
    """Which of a patient's scans is taken: flair, t1, t1ce or t2."""
    values: dict[str, int | list[int]] = Field(default={"whole tumour": [1, 2, 4]})
    """Numbers of each class in the label maps."""

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        cases = [path for path, _ in walk(folder) if path.name.startswith("Brats18_")]
        if not cases:
            raise ReadError(f"{folder} holds no folder Brats18_*: give root=FOLDER of BraTS 2018 as it is downloaded")
        for case in cases:
            image, label = (_file(case / f"{case.name}_{kind}") for kind in (self.sequence, "seg"))
            if image is None or label is None:
                kind = self.sequence if image is None else "seg"
                found.skipped[case.name] = f"{case / f'{case.name}_{kind}.nii.gz'} is not there"
                continue
            patient = re.sub(r"_\d+$", "", case.name)
            found.items.append(Item(case.name, patient, str(image), str(label)))
        return found


def _file(stem: Path) -> Path | None:
    """The NIfTI of an item, compressed or not."""
    files = (stem.with_name(stem.name + suffix) for suffix in (".nii.gz", ".nii"))
    return next((path for path in files if path.is_file()), None)
