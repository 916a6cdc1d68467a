"""What differs between initialisations: paired over the trials, corrected for all comparisons of the page.

Named before the test part is read: the cell that the advice is about is that of all labels (else of most), by own
settings where those were asked for. In it all pairs are tested; in the other cells all against the reference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sg_hub.errors import ReadError

from ..report.columns import Column
from ..statistics.patients import Difference, difference
from ..statistics.trials import LEVEL, Comparison, Paired, holm
from ..statistics.trials import compare as unpaired
from ..trials.grids.results import items_of
from ..trials.task.initialisation import RANDOM, kind_of


@dataclass(frozen=True)
class Contrast:
    """One initialisation against another in one cell."""

    column: Column
    one: str
    other: str
    paired: Paired
    welch: Comparison
    holm: float
    """p of the paired test, corrected."""
    over_patients: Difference | None
    """Of a segmentation: when the patients, too, are drawn again."""

    @property
    def differs(self) -> bool:
        return self.holm < LEVEL  # of NaN it is not so


def primary_of(columns: Sequence[Column]) -> Column:
    """The cell that the advice is about."""
    return max(columns, key=lambda column: (column.patients, column.own))


def reference_of(inits: Sequence[str]) -> str:
    """What the others are held against: the random network, where there is one."""
    return next((init for init in inits if kind_of(init) == RANDOM), inits[-1])


def contrasts_of(out: Path, columns: Sequence[Column], inits: Sequence[str]) -> list[Contrast]:
    """Every comparison of the page: those of the primary cell first."""
    primary, reference = primary_of(columns), reference_of(inits)
    pairs = [(primary, one, other) for one, other in _pairs(primary, inits, reference)]
    for column in columns:
        if column is not primary and reference in column.rows:
            pairs += [(column, init, reference) for init in inits if init in column.rows and init != reference]
    found = [column.paired(one, other) for column, one, other in pairs]
    corrected = holm({str(number): test.p for number, test in enumerate(found)})
    return [
        Contrast(
            column,
            one,
            other,
            paired,
            unpaired(column.values[one], column.values[other]),
            corrected[str(number)],
            _over_patients(out, column, one, other) if column is primary else None,
        )
        for number, ((column, one, other), paired) in enumerate(zip(pairs, found, strict=True))
    ]


def _pairs(column: Column, inits: Sequence[str], reference: str) -> list[tuple[str, str]]:
    """All pairs of a cell, the reference second."""
    there = [init for init in inits if init in column.rows]
    ordered = [*(init for init in there if init != reference), *([reference] if reference in there else [])]
    return list(itertools.combinations(ordered, 2))


def _over_patients(out: Path, column: Column, one: str, other: str) -> Difference | None:
    """Of a segmentation, by the items of every trial: trials and patients are drawn again, the same for both."""
    if column.settings["head"] != "segmentation":
        return None
    shared = {*column.by_trial(one)} & {*column.by_trial(other)}
    first, second = (_items(out, column, init, shared) for init in (one, other))
    if first is None or second is None or first[1] != second[1] or first[0].size < 2:
        return None
    return difference(column.settings["metric"], first[0], second[0], joint=False, patients=first[1])


def _items(out: Path, column: Column, init: str, numbers: set[int]) -> tuple[np.ndarray, list[str]] | None:
    """(trials, items, classes) of the metric, and whose each item is."""
    tables: list[list[list[float]]] = []
    patients: list[str] = []
    for row in column.rows[init]:
        if row["trial"] not in numbers:
            continue
        items = items_of(out, row)
        if items is None:
            return None
        try:
            items = sorted(items, key=lambda item: str(item["item"]))
            patients = [item["patient"] for item in items]
            values = [item[column.settings["metric"]] for item in items]
            tables.append([[math.nan if value is None else value for value in of_one] for of_one in values])
        except (KeyError, TypeError) as error:
            raise ReadError(f"{out}: the items of trial {row['key']} are damaged ({error}): remove its line") from error
    return np.array(tables), patients
