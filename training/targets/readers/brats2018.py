"""Brain tumours in MRI: BraTS 2018 as downloaded, `HGG/<case>/<case>_flair.nii.gz` and `<case>_seg.nii.gz` (and LGG).

Of the four sequences FLAIR alone is read, as in the paper. The masks hold 1 (necrotic core), 2 (oedema) and 4
(enhancing tumour); the whole tumour is all of them. A case is `Brats18_<site>_<patient>_<time>`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from sg_hub.errors import ReadError

from ..arrays import labelled_scan
from ..label_maps import LabelMapTarget
from ..protocol import Case, Found, Sample


class Brats2018(LabelMapTarget):
    """Whole tumour segmentation; split by patient."""

    sequence: str = "flair"
    values: dict[str, int | list[int]] = Field(default={"whole tumour": [1, 2, 4]})

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        cases = sorted(path for path in folder.rglob("Brats18_*") if path.is_dir())
        if not cases:
            raise ReadError(f"{folder} holds no folder Brats18_*: give root=FOLDER of BraTS 2018 as it is downloaded")
        for case in cases:
            files = [_file(case / f"{case.name}_{kind}") for kind in (self.sequence, "seg")]
            if not all(files):
                kind = self.sequence if files[0] is None else "seg"
                found.skipped[case.name] = f"{case / f'{case.name}_{kind}.nii.gz'} is not there"
                continue
            patient = re.sub(r"_\d+$", "", case.name)
            found.cases.append(Case(case.name, patient, str(files[0]), str(files[1])))
        return found

    def load(self, case: Case) -> Sample:
        return labelled_scan(self.grid, case.image, str(case.label), self.numbers)


def _file(stem: Path) -> Path | None:
    """The NIfTI of a case, compressed or not."""
    files = (stem.with_name(stem.name + suffix) for suffix in (".nii.gz", ".nii"))
    return next((path for path in files if path.is_file()), None)
