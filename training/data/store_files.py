"""The files of a store beside its arrays: what it was prepared with, its table of items, and the checksums of both."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import fsspec

from sg_hub.errors import ReadError
from sg_hub.io.files import write_atomic, write_json

from ..run.recipe import Split
from .remote import FINAL, PAUSE, TRIES, is_remote

FORMAT = 1
TABLE = "patients.csv"
CHECKSUMS = "checksums.json"
SETTINGS = "zarr.json"
COLUMNS = ("patient", "split", "shape", "channels", "spacing", "source", "sha256")
PERSON, IMAGES = "person", "images"


@dataclass(frozen=True)
class StoredItem:
    """A row of the table: a scan, or an image."""

    name: str
    """Of its array in the store."""
    split: str
    """train, validation or test."""
    shape: tuple[int, ...]
    """Voxels (X, Y, Z), or pixels (H, W), in the store."""
    channels: int
    spacing: tuple[float, ...]
    """(x, y, z) in mm, in the store; 1 along each axis of an image."""
    source: str
    """File or folder, relative to the folder of scans."""
    sha256: str
    """Of the stored voxels."""
    patient: str
    """Whose it is: several scans or images may be of one."""
    images: tuple[str, ...] = ()
    """What it is known by elsewhere (`identity.image_hashes`); none in stores that were written before there were."""

    def row(self) -> list[str]:
        """What determines a result, as text; `images` does not."""
        row = [
            self.name,
            self.split,
            "x".join(map(str, self.shape)),
            str(self.channels),
            "x".join(f"{value:.9g}" for value in self.spacing),
            self.source,
            self.sha256,
        ]
        return row if self.named_after_patient else [*row, self.patient]

    @property
    def named_after_patient(self) -> bool:
        """As scans are of which each is of another patient."""
        return len(self.shape) == 3 and self.patient == self.name

    @classmethod
    def from_row(cls, row: dict[str, str]) -> StoredItem:
        """Raises KeyError, ValueError, TypeError or AttributeError where the row is damaged."""
        shape = tuple(int(value) for value in row["shape"].split("x"))
        spacing = tuple(float(value) for value in row["spacing"].split("x"))
        channels = int(row["channels"])
        if len(shape) not in (2, 3) or len(spacing) != len(shape) or min(*shape, channels) < 1:
            raise ValueError(f"shape {row['shape']}, channels {row['channels']}, spacing {row['spacing']}")
        if not all(math.isfinite(value) and value > 0 for value in spacing):
            raise ValueError(f"spacing {row['spacing']}")
        if row["split"] not in get_args(Split):
            raise ValueError(f"split {row['split']!r}")
        name, patient = row["patient"], row.get(PERSON) if len(shape) == 2 else row.get(PERSON) or row["patient"]
        if not (name and patient and row["source"] and row["sha256"]):
            raise ValueError("a cell is empty")
        images = tuple((row.get(IMAGES) or "").split())
        return cls(name, row["split"], shape, channels, spacing, row["source"], row["sha256"], patient, images)


def read_settings(url: str) -> dict[str, Any] | None:
    """What a store was prepared with, or None where there is no store.

    Raises:
        ReadError: the store is damaged or of a newer version, or its address cannot be reached.
    """
    data = read_file(url, SETTINGS)
    if data is None:
        return None
    try:
        settings: dict[str, Any] = json.loads(data)["attributes"]
        version = settings["sg_hub_store"]
    except (KeyError, TypeError):  # a zarr group of something else
        return None
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{url}/{SETTINGS} is damaged ({error}): copy the store again, or remove it") from error
    if not isinstance(version, int) or version > FORMAT:
        raise ReadError(f"{url} is a store of version {version}; this sg_hub reads {FORMAT}: upgrade it")
    return settings


def read_table(url: str) -> tuple[list[StoredItem], bool]:
    """The items of a store, and whether the table is as `prepare` wrote it; stores of before say nothing of it.

    Raises:
        ReadError: it is not there, or damaged, or the settings are not as they were written.
    """
    table = read_file(url, TABLE)
    if table is None:
        raise ReadError(f"the store {url} is not finished: run `sg-hub prepare` again")
    sums = _checksums(url)
    if sums and sums.get(SETTINGS) != _sha256(read_file(url, SETTINGS) or b""):
        raise ReadError(f"{url}/{SETTINGS} is damaged (its checksum is another): copy the store again")
    try:
        items = [StoredItem.from_row(row) for row in csv.DictReader(io.StringIO(table.decode(), newline=""))]
        if len({item.name for item in items}) < len(items) or len({len(item.shape) for item in items}) > 1:
            raise ValueError("two rows of one name, or of scans and of images")
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise ReadError(f"{url}/{TABLE} is damaged ({error}): remove it and run prepare again") from error
    if not items:
        raise ReadError(f"the store {url} holds no patients: remove it and run prepare again")
    return items, not sums or sums.get(TABLE) == _sha256(table)


def unfinish(folder: Path) -> None:
    """Make a store one that `prepare` has not finished."""
    for name in (TABLE, CHECKSUMS):
        (folder / name).unlink(missing_ok=True)


def write_table(folder: Path, items: list[StoredItem]) -> None:
    """Finish a store: write its table, and the checksums of the table and of the settings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    persons = not all(item.named_after_patient for item in items)
    writer.writerow((*COLUMNS, *([PERSON] if persons else []), IMAGES))
    for item in items:
        row = item.row()
        own = [item.patient] if persons and len(row) == len(COLUMNS) else []
        writer.writerow([*row, *own, " ".join(item.images)])
    table = text.getvalue().encode()
    sums = {TABLE: _sha256(table), SETTINGS: _sha256((folder / SETTINGS).read_bytes())}
    if read_file(str(folder), TABLE) == table and _checksums(str(folder)) == sums:
        return
    unfinish(folder)
    write_json(folder / CHECKSUMS, sums)
    write_atomic(folder / TABLE, table)


def _checksums(url: str) -> dict[str, Any] | None:
    """By file; None in stores of before."""
    data = read_file(url, CHECKSUMS)
    if data is None:
        return None
    try:
        sums = dict(json.loads(data))
        if not {TABLE, SETTINGS} <= sums.keys():
            raise ValueError("a sum is missing")
        return sums
    except (ValueError, TypeError, RecursionError) as error:
        raise ReadError(f"{url}/{CHECKSUMS} is damaged ({error}): run `sg-hub prepare` again") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_file(url: str, name: str) -> bytes | None:
    """A file of a store, or None where there is none.

    Raises:
        ReadError: the address means nothing, or cannot be reached.
    """
    for number in range(TRIES):
        try:
            with fsspec.open(f"{url.rstrip('/')}/{name}", "rb") as file:
                return bytes(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ImportError, ValueError) as error:
            raise ReadError(
                f"{url}: {error}; expected a folder, or a URL that fsspec can open (of S3: pip install 'sg_hub[s3]')"
            ) from error
        except Exception as error:  # every kind of storage has its own, for rights and connections
            if number == TRIES - 1 or isinstance(error, FINAL) or not is_remote(url):
                raise ReadError(f"{url} cannot be reached ({type(error).__name__}: {error})") from error
        time.sleep(PAUSE * 2**number)
    raise AssertionError("the last try returns or raises")
