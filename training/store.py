"""The store: what `prepare` writes and training reads by random crop, without decoding whole scans.

A zarr group (version 3), chunked and compressed, in a folder or on object storage through fsspec:

    patients.csv         patient, split, shape, channels, spacing, source, sha256; written last, when all is there
    scans/<patient>      int16 (C, X, Y, Z) in HU, LPS order, clipped to the window and resampled
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import zarr

from sg_hub.errors import InvalidInputError, ReadError

FORMAT = 1
TABLE = "patients.csv"
COLUMNS = ("patient", "split", "shape", "channels", "spacing", "source", "sha256")


@dataclass(frozen=True)
class Patient:
    """A row of the patient table."""

    name: str
    split: str
    """train, validation or test."""
    shape: tuple[int, int, int]
    """Voxels (X, Y, Z) in the store."""
    channels: int
    spacing: tuple[float, float, float]
    """(x, y, z) in mm, in the store."""
    source: str
    """File or folder, relative to the folder of scans."""
    sha256: str
    """Of the stored voxels."""

    def row(self) -> list[str]:
        return [
            self.name,
            self.split,
            "x".join(map(str, self.shape)),
            str(self.channels),
            "x".join(f"{value:g}" for value in self.spacing),
            self.source,
            self.sha256,
        ]

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Patient:
        shape = tuple(int(value) for value in row["shape"].split("x"))
        spacing = tuple(float(value) for value in row["spacing"].split("x"))
        if len(shape) != 3 or len(spacing) != 3:
            raise ValueError(f"shape {row['shape']}, spacing {row['spacing']}")
        return cls(
            row["patient"], row["split"], shape, int(row["channels"]), spacing, row["source"], row["sha256"]
        )


class Store:
    """A finished store. Can be pickled, and read from several processes.

    Args:
        url: folder or fsspec URL.
        patients: rows of the table.
        settings: what `prepare` was told: window, spacing, chunk.
        cache_mib: decoded scans kept in memory, at most; a scan larger than that is always read by chunk.
    """

    def __init__(self, url: str, patients: list[Patient], settings: dict[str, Any], cache_mib: int = 0) -> None:
        self.url, self.patients, self.settings = url, patients, settings
        low, high = settings["window"]
        self.window: tuple[float, float] = (float(low), float(high))
        self._by_name = {patient.name: patient for patient in patients}
        self._budget = cache_mib * 2**20
        self._group: zarr.Group | None = None
        self._arrays: dict[str, Any] = {}
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._cached_bytes = 0

    @classmethod
    def open(cls, url: str | Path, cache_mib: int = 0) -> Store:
        """Open a finished store.

        Raises:
            ReadError: there is none, it is not finished, or of a newer version.
        """
        settings = read_settings(str(url))
        if settings is None:
            raise ReadError(f"{url} is not a store: run `python -m training prepare` first")
        try:
            with fsspec.open(f"{str(url).rstrip('/')}/{TABLE}", "rt", newline="") as file:
                patients = [Patient.from_row(row) for row in csv.DictReader(file)]
        except FileNotFoundError:
            raise ReadError(f"the store {url} is not finished: run `python -m training prepare` again") from None
        except (KeyError, ValueError, TypeError) as error:
            raise ReadError(f"{url}/{TABLE} is damaged ({error}): remove it and run prepare again") from error
        if not patients:
            raise ReadError(f"the store {url} holds no patients")
        return cls(str(url), patients, settings, cache_mib)

    @property
    def fingerprint(self) -> str:
        """sha256 over the table, which holds the hash of every patient's voxels."""
        rows = "\n".join(",".join(patient.row()) for patient in self.patients)
        return hashlib.sha256(rows.encode()).hexdigest()

    def names(self, split: str | None = None) -> list[str]:
        """Patients of a split, or all, in the order of the table."""
        return [patient.name for patient in self.patients if split in (None, patient.split)]

    def shape(self, name: str) -> tuple[int, int, int]:
        return self._patient(name).shape

    def crop(self, name: str, corner: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
        """(C, *size) int16 in HU from voxel `corner` on; reads no more chunks than it needs.

        Raises:
            InvalidInputError: no such patient, or a crop that reaches outside.
        """
        shape = self._patient(name).shape
        if any(c < 0 or s < 1 or c + s > n for c, s, n in zip(corner, size, shape, strict=True)):
            raise InvalidInputError(f"crop at {corner} of size {size} reaches outside patient {name} of size {shape}")
        x, y, z = (slice(c, c + s) for c, s in zip(corner, size, strict=True))
        scan = self._cached(name)
        if scan is not None:
            return scan[:, x, y, z].copy()
        return self._array(name)[:, x, y, z]

    def whole(self, name: str) -> np.ndarray:
        """(C, X, Y, Z) int16 in HU. Do not write into it."""
        scan = self._cached(name)
        return self._array(name)[:] if scan is None else scan

    def _patient(self, name: str) -> Patient:
        try:
            return self._by_name[name]
        except KeyError:
            raise InvalidInputError(f"no patient {name!r} in the store {self.url}") from None

    def _cached(self, name: str) -> np.ndarray | None:
        """The decoded scan, if it is in the cache or fits into it."""
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        patient = self._patient(name)
        size = 2 * patient.channels * int(np.prod(patient.shape))
        if size > self._budget:
            return None
        while self._cached_bytes + size > self._budget:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= dropped.nbytes
        self._cache[name] = self._array(name)[:]
        self._cached_bytes += size
        return self._cache[name]

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            if self._group is None:
                self._group = zarr.open_group(self.url, mode="r")
            self._arrays[name] = self._group[f"scans/{name}"]
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        empty = {"_group": None, "_arrays": {}, "_cache": OrderedDict(), "_cached_bytes": 0}
        return self.__dict__ | empty


def read_settings(url: str) -> dict[str, Any] | None:
    """What a store was prepared with, or None where there is no store.

    Raises:
        ReadError: the store is of a newer version.
    """
    try:
        settings = dict(zarr.open_group(url, mode="r").attrs)
    except (FileNotFoundError, ValueError, KeyError):
        return None
    if "sg_hub_store" not in settings:
        return None
    if settings["sg_hub_store"] > FORMAT:
        raise ReadError(f"{url} is a store of version {settings['sg_hub_store']}; this sg_hub reads {FORMAT}: upgrade it")
    return settings


def write_table(url: str, patients: list[Patient]) -> None:
    """Finish a store: write its patient table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(patient.row() for patient in patients)
    with fsspec.open(f"{url.rstrip('/')}/{TABLE}", "wt", newline="") as file:
        file.write(text.getvalue())
