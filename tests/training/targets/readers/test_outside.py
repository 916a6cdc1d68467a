"""A reader of another package: one class, found through its entry point."""

import csv
import sys

import numpy as np
import pytest

from sg_hub.errors import InvalidInputError
from training.targets import in_parts, load_target
from training.targets.readers import GROUP, reader_names

READER = '''
"""Slabs: a folder of .npy with values in 0..1, and a table of who has what."""

import csv
from pathlib import Path

import numpy as np

from sg_hub.errors import ReadError
from training.targets import Found, Item, LoadedItem, Target


class Slabs(Target):
    """Thick or thin."""

    table: str = "slabs.csv"

    def find(self):
        folder, found = self.folder(), Found()
        with open(folder / self.table, newline="") as file:
            for row in csv.DictReader(file):
                path = folder / f"{row['name']}.npy"
                if not path.is_file():
                    found.skipped[row["name"]] = f"{path} is not there"
                    continue
                label = self.classes.index(row["kind"])
                found.items.append(Item(row["name"], row["patient"], str(path), label))
        return found

    def load(self, item):
        try:
            image = np.load(item.image)
        except (OSError, ValueError) as error:
            raise ReadError(f"{item.image} cannot be read ({error})") from error
        return LoadedItem(image[None].astype(np.float32), np.array(item.label))


class Other:
    """No reader."""
'''
ENTRIES = f"""[{GROUP}]
slabs = its_readers:Slabs
other = its_readers:Other
gone = its_readers:Gone
absent = nothing_there:X
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A package that is installed beside this one, and data of its kind."""
    installed = tmp_path / "site-packages"
    information = installed / "its_readers-1.0.dist-info"
    information.mkdir(parents=True)
    (installed / "its_readers.py").write_text(READER, encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: its-readers\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.delitem(sys.modules, "its_readers", raising=False)
    data = tmp_path / "data"
    data.mkdir()
    with open(data / "slabs.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "patient", "kind"))
        for number in range(12):
            kind = ("thin", "thick")[number % 2]
            slab = np.zeros((16, 16, 8))
            slab[: 4 + 8 * (number % 2)] = 0.8
            np.save(data / f"s{number}.npy", slab)
            writer.writerow((f"s{number}", f"p{number // 2}", kind))
        writer.writerow(("s99", "p99", "thin"))
    (tmp_path / "slabs.toml").write_text(
        'reader = "slabs"\nname = "slabs"\ntitle = "slabs"\ndataset = "slabs"\nroot = "data"\nhead = "classification"\n'
        'metric = "auc"\nclasses = ["thin", "thick"]\n[grid]\nsize = [16, 16, 8]\n',
        encoding="utf-8",
    )
    return tmp_path / "slabs.toml"


def test_a_reader_of_another_package_reads_its_data(outside):
    assert len([line for line in READER.splitlines() if line.strip()]) < 40
    target = load_target(outside)
    found = target.split_items()
    assert {part for part, items in in_parts(found.items).items() if items} == {"train", "validation", "test"}
    assert "is not there" in found.skipped["s99"]
    loaded = target.load(found.items[0])
    assert loaded.image.shape == (1, 16, 16, 8)
    assert {"slabs", "folder", "luna16"} <= set(reader_names())
    assert not any(name.startswith("_") for name in reader_names())
    with pytest.raises(InvalidInputError, match=r"tabel.*did you mean table"):
        load_target(outside, ["tabel=x.csv"])


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ("other", r"'other' \(its_readers:Other\) is no subclass"),
        ("gone", "'gone' .* cannot be loaded"),
        ("absent", "'absent' .* cannot be loaded: No module named 'nothing_there'"),
        ("nobody", r"reader = 'nobody'; expected one of .*luna16.*slabs"),
    ],
)
def test_readers_that_cannot_be_used_are_named(outside, reader, said):
    text = outside.read_text(encoding="utf-8").replace('reader = "slabs"', f'reader = "{reader}"')
    outside.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=rf"slabs\.toml: .*{said}"):
        load_target(outside)
