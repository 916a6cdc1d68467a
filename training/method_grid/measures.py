"""What was measured of the weights of a grid, each kind in the same terms: a value with its interval, and what two of
them differ by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..report import columns_in
from ..report.columns import Column
from ..statistics import patients
from ..statistics.patients import LOWER_IS_BETTER, UNITS
from ..statistics.trials import compare, paired, summarise
from ..trials.grids.results import TABLE, Row
from ..trials.task.initialisation import look_up
from ..trials.task.metrics import METRICS
from ..worth import rows

SHOWN = ("landmark error", "iou")
"""Measures of worth that the page shows; the others are on the page of `sg-hub worth`."""


@dataclass(frozen=True)
class Value:
    """Of one of the weights, with the ends of its 95 % interval: NaN where there is none."""

    value: float
    low: float
    high: float
    trials: int
    """That it is the mean of; 0: it is of patients."""


@dataclass(frozen=True)
class Gap:
    """Of one of the weights minus another."""

    value: float
    low: float
    high: float
    paired: float
    """p of a paired test: a bootstrap of patients, or Student's t of the trials of one number."""
    welch: float
    """p of Welch's test, which is not paired."""
    main: float
    """That of the two which Holm's correction goes over."""


class Measure(ABC):
    """One measure of several weights, by the names of their cells."""

    title: str
    unit: str
    lower_is_better = False

    @abstractmethod
    def values(self) -> dict[str, Value]:
        """Of all that have one."""

    @abstractmethod
    def gap(self, one: str, other: str) -> Gap | None:
        """What two of them differ by; None where one is missing, or they were measured on different patients."""


class Worth(Measure):
    """Without fine-tuning: of patients, and draws of the labelled ones."""

    def __init__(self, found: Mapping[str, rows.Row]) -> None:
        self.found, one = found, next(iter(found.values()))
        self.measure, self.unit = one.measure, UNITS.get(one.measure, "")
        self.lower_is_better = one.measure in LOWER_IS_BETTER
        self.title = f"{'landmarks' if one.part == 'zero' else ''} {one.what}".strip()
        if one.part != "zero":
            self.title = f"{one.what}: {one.measure}"

    def values(self) -> dict[str, Value]:
        return {
            name: Value(
                patients.summary(self.measure, row.array),
                *patients.interval(self.measure, row.array, row.joint),
                trials=0,
            )
            for name, row in self.found.items()
        }

    def gap(self, one: str, other: str) -> Gap | None:
        if one not in self.found or other not in self.found:
            return None
        a, b = self.found[one], self.found[other]
        if (a.patients, a.draws) != (b.patients, b.draws):
            return None
        apart = patients.difference(self.measure, a.array, b.array, a.joint)
        return Gap(apart.value, apart.low, apart.high, apart.p, apart.welch, main=apart.p)


class Trials(Measure):
    """Fine-tuned: several trials of each of the weights on a target."""

    unit = "%"

    def __init__(self, column: Column, found: Mapping[str, list[Row]]) -> None:
        self.title = f"{column.name}: {METRICS[column.settings['metric']]}"
        self.found = {name: {row["trial"]: 100 * row["value"] for row in trials} for name, trials in found.items()}

    def values(self) -> dict[str, Value]:
        summaries = {name: summarise([value / 100 for value in trials.values()]) for name, trials in self.found.items()}
        return {name: Value(100 * s.mean, 100 * s.low, 100 * s.high, s.trials) for name, s in summaries.items()}

    def gap(self, one: str, other: str) -> Gap | None:
        if one not in self.found or other not in self.found:
            return None
        a, b = self.found[one], self.found[other]
        welch = compare([value / 100 for value in a.values()], [value / 100 for value in b.values()])
        apart = paired({n: value / 100 for n, value in a.items()}, {n: value / 100 for n, value in b.items()})
        return Gap(100 * welch.difference, 100 * welch.low, 100 * welch.high, apart.p, welch.p, main=welch.p)


def worth_of(folder: Path, inits: Mapping[str, str]) -> list[Measure]:
    """What `sg-hub worth` wrote of these weights.

    Args:
        inits: by name, as they were given to it.
    """
    names = {init: name for name, init in inits.items()}
    grouped: dict[tuple[str, ...], dict[str, rows.Row]] = {}
    for row in rows.read_rows(folder):
        if row.weights in names and row.measure in SHOWN:
            same = grouped.setdefault((row.part, row.what, row.measure), {})
            same[names[row.weights]] = row  # the last that was measured
    return [Worth(found) for _, found in sorted(grouped.items(), reverse=True)]


def trials_of(folder: Path, inits: Mapping[str, str]) -> list[Measure]:
    """What `sg-hub benchmark` wrote of these weights, by whatever name."""
    if not (folder / TABLE).is_file():
        return []
    names = {look_up(init).fingerprint: name for name, init in inits.items()}
    found: list[Measure] = []
    for column in columns_in(folder):
        by_name = {names[t[0]["weights"]]: t for t in column.rows.values() if t[0]["weights"] in names}
        if by_name and column.fraction == 1:
            found.append(Trials(column, by_name))
    return found
