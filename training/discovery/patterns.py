"""The patterns table: where each cube of each pattern lies.

A pattern is coordinates, not copies: memory and disk do not grow with the number of cubes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sg_hub.errors import ReadError, shortened
from sg_hub.io.files import write_atomic

AXES = {3: ("x", "y", "z"), 2: ("row", "column")}
SPLITS = ("train", "validation", "test")


def columns(ndim: int) -> tuple[str, ...]:
    """Of the table's file, for scans (3) or images (2)."""
    axes = AXES.get(ndim, ())
    return ("pattern", "patient", "reference", *axes, *(f"size_{axis}" for axis in axes), "resolution", "split")


@dataclass(frozen=True)
class PatternTable:
    """One row per cube, in columns. A row takes 24 bytes, whatever the cube's size."""

    patients: list[str]
    pattern: np.ndarray
    """(rows,) label 0..C-1."""
    patient: np.ndarray
    """(rows,) index into `patients`."""
    reference: np.ndarray
    """(rows,) index of the pattern's reference patient."""
    corner: np.ndarray
    """(rows, 3) first voxel (x, y, z), or (rows, 2) first pixel (row, column)."""
    size: np.ndarray
    """Voxels that are cropped, of the same shape."""
    resolution: np.ndarray
    """(rows,) 0: base size; 1 and up: a random in-plane size."""
    split: np.ndarray
    """(rows,) index into SPLITS."""

    def __len__(self) -> int:
        return len(self.pattern)

    @property
    def classes(self) -> int:
        return int(self.pattern.max()) + 1

    def rows(self, split: str) -> np.ndarray:
        """Indices of the rows of one split."""
        return np.flatnonzero(self.split == SPLITS.index(split))

    @property
    def fingerprint(self) -> str:
        """sha256 over all rows; the same before and after saving, though `patients` is in another order then."""
        named = np.stack([self.patient, self.reference], axis=1).ravel()
        named = named[np.sort(np.unique(named, return_index=True)[1])]
        number = np.empty(len(self.patients), dtype=np.int64)
        number[named] = np.arange(len(named))
        columns = (self.pattern, number[self.patient], self.corner, self.size, self.split)
        digest = hashlib.sha256("\n".join(self.patients[i] for i in named).encode())
        for column in columns:
            digest.update(column.astype(np.int64).tobytes())
        return digest.hexdigest()

    @classmethod
    def from_rows(cls, patients: list[str], rows: list[tuple[int, ...]]) -> PatternTable:
        """From tuples (pattern, patient, reference, corner..., size..., resolution, split), all numbers."""
        table = np.asarray(rows, dtype=np.int64)
        ndim = (table.shape[1] - len(columns(0))) // 2
        where, extent = slice(3, 3 + ndim), slice(3 + ndim, 3 + 2 * ndim)
        small = np.int16 if table[:, where.start : extent.stop].max() < 2**15 else np.int32
        return cls(
            patients,
            table[:, 0].astype(np.int16),
            table[:, 1].astype(np.int32),
            table[:, 2].astype(np.int32),
            table[:, where].astype(small),
            table[:, extent].astype(small),
            table[:, -2].astype(np.int8),
            table[:, -1].astype(np.int8),
        )

    def save(self, path: Path) -> None:
        """Write the table as CSV, atomically."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns(self.corner.shape[1]))
        for i in range(len(self)):
            writer.writerow(
                [
                    self.pattern[i],
                    self.patients[self.patient[i]],
                    self.patients[self.reference[i]],
                    *self.corner[i],
                    *self.size[i],
                    self.resolution[i],
                    SPLITS[self.split[i]],
                ]
            )
        write_atomic(path, text.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PatternTable:
        """Read the CSV that `save` wrote.

        Raises:
            ReadError: it is not there, or is not a patterns table.
        """
        path = Path(path)
        if not path.is_file():
            raise ReadError(f"{path} is not there yet: run `sg-hub discover` first")
        index: dict[str, int] = {}
        rows = []
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            try:
                header = tuple(next(reader, ()))
                if header not in (columns(2), columns(3)):
                    raise ReadError(f"{path} is not a patterns table: expected the columns {', '.join(columns(3))}")
                for line in reader:
                    if len(line) != len(header):
                        raise ValueError(f"{len(line)} values instead of {len(header)}")
                    pattern, patient, reference, *numbers, split = line
                    where = [int(value) for value in numbers]
                    if not (0 <= int(pattern) < 2**15 and min(where) >= 0 and max(where) < 2**31 and where[-1] < 2**7):
                        raise ValueError("a number that cannot be")
                    if min(where[len(where) // 2 : -1]) < 1 or not (patient and reference):
                        raise ValueError("a size of 0, or a patient without a name")
                    ids = (index.setdefault(name, len(index)) for name in (patient, reference))
                    rows.append((int(pattern), *ids, *where, SPLITS.index(split)))
            except (ValueError, csv.Error) as error:
                raise ReadError(
                    f"{path} line {reader.line_num} is damaged ({shortened(error)}): run `sg-hub discover` again"
                ) from error
        if not rows:
            raise ReadError(f"{path} has no rows: run `sg-hub discover` again")
        return cls.from_rows(list(index), rows)
