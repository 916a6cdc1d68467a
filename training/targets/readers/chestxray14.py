"""Fourteen findings in chest X-rays: NIH ChestX-ray14 as downloaded.

On disk: the PNG in `images_001/images` to `images_012/images`, or in any one folder; `Data_Entry_2017.csv` (or
`Data_Entry_2017_v2020.csv`) with the columns Image Index, Finding Labels (separated by |, or No Finding) and Patient
ID; and the official split, `train_val_list.txt` and `test_list.txt`, one image name per line. Validation patients are
drawn out of the first list.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

import sg_hub
from sg_hub.errors import InvalidInputError, ReadError
from sg_hub.io.finder import walk

from ...data.csv_table import read_csv
from ...run.recipe import Split
from ..items import Found, Item, LoadedItem
from ..on_grid import picture_on_grid
from ..protocol import Target

LISTS: dict[str, Split] = {"train_val_list.txt": "train", "test_list.txt": "test"}
NONE = "No Finding"


class ChestXray14(Target):
    """Findings of frontal chest X-rays, with the official split."""

    DATA_NDIM: ClassVar[int] = 2

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        tables = sorted(folder.glob("Data_Entry_2017*.csv"))
        if len(tables) != 1:
            raise ReadError(f"{folder} holds {len(tables)} Data_Entry_2017*.csv: exactly one is expected there")
        parts = _parts(folder)
        files = {name: place / name for place, names in walk(folder) for name in names if name.endswith(".png")}
        for row in read_csv(tables[0], ("Image Index", "Finding Labels", "Patient ID")):
            image = row["Image Index"]
            findings = set(row["Finding Labels"].split("|")) - {NONE}
            unknown = sorted(findings - set(self.classes))
            if unknown:
                raise InvalidInputError(f"{tables[0]}: finding {unknown[0]!r} of {image} is none of {self.classes}")
            if image not in parts:
                found.skipped[image] = f"in neither of {' and '.join(LISTS)}"
            elif image not in files:
                found.skipped[image] = "its PNG is not there"
            else:
                label = tuple(int(name in findings) for name in self.classes)
                patient = row["Patient ID"].lstrip("0") or "0"
                item = Item(Path(image).stem, patient, str(files[image]), label, split=parts[image])
                found.items.append(item)
        return found

    def load(self, item: Item) -> LoadedItem:
        return picture_on_grid(self, sg_hub.load_image(item.image), np.array(item.label, dtype=np.int64))


def _parts(folder: Path) -> dict[str, Split]:
    """Image names to their official part."""
    parts: dict[str, Split] = {}
    for name, part in LISTS.items():
        try:
            lines = (folder / name).read_text(encoding="utf-8").split()
        except FileNotFoundError:
            raise ReadError(f"{folder / name} is not there; it comes with the data set and holds the split") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ReadError(f"{folder / name} cannot be read: {error}") from error
        for image in lines:
            if parts.setdefault(image, part) != part:
                raise InvalidInputError(f"{image} is in {' and in '.join(LISTS)}: download the lists again")
    return parts
