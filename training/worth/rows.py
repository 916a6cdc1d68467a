"""What was measured: a line of JSON each, appended when it is there, so that a stopped suite goes on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sg_hub.errors import ReadError

from ..run.folder.checksums import opened, sealed
from ..run.folder.metrics import Metrics, read_metrics

TABLE = "worth.jsonl"


@dataclass(frozen=True)
class Row:
    """One measure of one of the weights: a value for every draw, patient and class."""

    key: str
    """A hash of what determines it."""
    part: str
    """zero or frozen."""
    what: str
    """Of the network, and how many labels: `decoder`, `encoder, 3 patients`."""
    measure: str
    weights: str
    """Name of the weights; of a random network without its draw."""
    draws: list[str]
    patients: list[str]
    classes: list[str]
    values: list[Any]
    """(draws, patients, classes); null where there is no value. Of several networks together a list of these."""
    joint: bool = False
    """The draws are the patients, as templates."""
    data: str = ""
    """A hash of the items and their files; empty in rows that are older than it."""

    @property
    def array(self) -> np.ndarray:
        result: np.ndarray = np.array(self.values, dtype=float)
        return result

    @property
    def networks(self) -> int:
        """That the values are of."""
        return len(self.values) if self.array.ndim > 3 else 1

    def without(self, patients: Collection[str]) -> Row:
        """The same without these, nor templates of them."""
        kept = [patient not in patients for patient in self.patients]
        array = self.array.compress(kept, -2)
        array = array.compress(kept, -3) if self.joint else array
        names = [patient for patient in self.patients if patient not in patients]
        return replace(self, values=array.tolist(), patients=names, draws=names if self.joint else self.draws)

    def is_of(self, data: str) -> bool:
        """Whether it is of these data, as far as it can be told."""
        return not self.data or not data or self.data == data

    def is_paired(self, other: Row) -> bool:
        """Whether it was measured on the same patients and draws."""
        same = (self.patients, self.draws) == (other.patients, other.draws)
        return same and self.is_of(other.data)


def row(values: np.ndarray, **fields: Any) -> Row:
    """A row of an array, whose NaN are null."""
    rounded = [[[None if np.isnan(v) else round(float(v), 5) for v in item] for item in draw] for draw in values]
    return Row(values=rounded, **fields)


def read_rows(out: Path) -> list[Row]:
    """All that is there; of a row that was written again, for those beside it were not complete, the last.

    Raises:
        ReadError: a damaged line.
    """
    try:
        rows = [Row(**opened(line)) for line in read_metrics(out / TABLE)]
    except (TypeError, ValueError) as error:
        raise ReadError(f"{out / TABLE} is damaged ({error}): remove the line; it is measured again") from error
    return list({one.key: one for one in rows}.values())


def append(out: Path, rows: Iterable[Row]) -> None:
    """Add lines; one that a crash cut off is dropped first."""
    table = Metrics(out / TABLE)
    table.drop_unfinished()
    for one in rows:
        table.write(**sealed(asdict(one)))
