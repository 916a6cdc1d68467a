"""Organs at risk in head-and-neck CT of OpenKBP, as NIfTI.

On disk: `ct/<patient>.nii.gz` in HU, `labels/<patient>.nii.gz` of the same grid, and `patients.csv` with the columns
patient, split (train-pats, validation-pats) and one per organ: its number of voxels. An organ of 0 voxels was not
drawn, which is not the same as absent: such patients are left out.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...data.csv_table import read_csv
from ...run.recipe import Split
from ..items import Found, Item
from ..label_maps import LabelMapTarget

SPLITS: dict[str, Split] = {"train-pats": "train", "validation-pats": "test"}


class OpenKbp(LabelMapTarget):
    """Segmentation of organs; the official validation patients are the test part."""

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        for row in read_csv(folder / "patients.csv", ("patient", "split", *self.classes)):
            patient = row["patient"]
            image, label = (folder / kind / f"{patient}.nii.gz" for kind in ("ct", "labels"))
            missing = [name for name in self.classes if row[name] in ("", "0")]
            absent = next((path for path in (image, label) if not os.path.isfile(path)), None)
            part = SPLITS.get(row["split"])
            if Path(patient).name != patient:
                found.skipped[patient] = "no name of a file"
            elif missing:
                found.skipped[patient] = f"{' and '.join(missing)} not drawn"
            elif absent is not None:
                found.skipped[patient] = f"{absent} is not there"
            elif part is None:
                found.skipped[patient] = f"its split {row['split']!r} is none of {', '.join(SPLITS)}"
            else:
                found.items.append(Item(patient, patient, str(image), str(label), split=part))
        return found
